//! What applications write: captured line by line, kept in a file of bounded size for each site, read back and followed.
//!
//! One line of `app.log` is `TIME SOURCE TEXT`. The proxy writes `access.log` beside it; here it is only read. A slow follower
//! loses lines and never slows an application.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use onebox_config::{Account, Paths};
use parking_lot::Mutex;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::sync::broadcast;

use crate::api::LogLine;
use crate::clock::now_ms;

/// A log file is put aside when it has this size.
const ROTATE_BYTES: u64 = 10 * 1024 * 1024;
/// How many files that were put aside stay.
const KEPT_FILES: u32 = 4;
/// Lines that a follower may be behind.
const FOLLOW_LINES: usize = 1024;
/// What is longer is cut: a line without end must not fill the memory.
const LONGEST_LINE: usize = 64 * 1024;
/// So many lines that name a request are found.
const MOST_NAMING: usize = 100;
/// How much of the end of a file is searched for its last lines.
const TAIL_BYTES: u64 = 4 * 1024 * 1024;

/// Where a line came from, in the words of [`LogLine::source`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// Standard output of the application.
    App,
    /// Its standard error.
    Error,
    /// The supervisor, about the site.
    Onebox,
}

impl Source {
    fn as_str(self) -> &'static str {
        match self {
            Self::App => "app",
            Self::Error => "error",
            Self::Onebox => "onebox",
        }
    }
}

/// Where lines go besides to those who follow them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Destination {
    /// To a file for each site.
    Files,
    /// To our own output and error output, as they came: a folder is served in place.
    Terminal,
}

/// The logs of all sites.
#[derive(Debug)]
pub(crate) struct Logs {
    paths: Paths,
    destination: Destination,
    sites: Mutex<HashMap<String, Arc<SiteLog>>>,
}

#[derive(Debug)]
struct SiteLog {
    folder: PathBuf,
    file: Mutex<Option<OpenLog>>,
    /// Lines that could not be written since the last one that could.
    lost: AtomicU64,
    lines: broadcast::Sender<LogLine>,
}

#[derive(Debug)]
struct OpenLog {
    file: File,
    size_bytes: u64,
}

impl Logs {
    /// The logs below a state directory; nothing is opened yet.
    pub(crate) fn new(paths: Paths, destination: Destination) -> Self {
        Self { paths, destination, sites: Mutex::default() }
    }

    fn site(&self, name: &str) -> Arc<SiteLog> {
        let mut sites = self.sites.lock();
        Arc::clone(sites.entry(name.to_owned()).or_insert_with(|| {
            Arc::new(SiteLog {
                folder: self.paths.logs(name),
                file: Mutex::default(),
                lost: AtomicU64::new(0),
                lines: broadcast::channel(FOLLOW_LINES).0,
            })
        }))
    }

    /// Adds lines to a site's log; each line of `text` is one.
    pub(crate) fn write(&self, site: &str, source: Source, text: &str) {
        if self.destination == Destination::Terminal {
            return print(source, text);
        }
        let log = self.site(site);
        for text in text.lines() {
            log.write(LogLine {
                at_ms: now_ms(),
                source: source.as_str().into(),
                text: text.into(),
            });
        }
    }

    /// New lines of a site from now on.
    pub(crate) fn follow(&self, site: &str) -> broadcast::Receiver<LogLine> {
        self.site(site).lines.subscribe()
    }

    /// The last lines of a site's application log, the oldest first. Blocks on the disk.
    pub(crate) fn tail(&self, site: &str, lines: usize) -> io::Result<Vec<LogLine>> {
        last_lines(&self.paths.logs(site).join("app.log"), lines, parse)
    }

    /// The last lines of a site's access log, the oldest first. Blocks on the disk.
    pub(crate) fn tail_access(&self, site: &str, lines: usize) -> io::Result<Vec<LogLine>> {
        last_lines(&self.access_log(site), lines, access_line)
    }

    /// The lines of the end of a site's application log that contain a text, the oldest first. Blocks on the disk.
    pub(crate) fn naming(&self, site: &str, text: &str) -> io::Result<Vec<LogLine>> {
        let named = |line: &str| parse(line).filter(|line| line.text.contains(text));
        last_lines(&self.paths.logs(site).join("app.log"), MOST_NAMING, named)
    }

    /// Where the proxy writes a site's access log.
    pub(crate) fn access_log(&self, site: &str) -> PathBuf {
        self.paths.logs(site).join("access.log")
    }

    /// Makes a site's access log for an engine of another user, who may write the file and nothing beside it. Blocks on the disk.
    pub(crate) fn make_access_log(&self, site: &str, engine: &Account) -> io::Result<()> {
        fs::create_dir_all(self.paths.logs(site))?;
        make_file_of(&self.access_log(site), engine)
    }

    /// Puts access logs aside that have become large. The proxy begins new ones; for an engine of another user they are made, also
    /// where somebody else has put one aside. Blocks on the disk.
    pub(crate) fn rotate_access_logs(&self, engine: Option<&Account>) -> io::Result<()> {
        for entry in fs::read_dir(self.paths.box_logs())? {
            let folder = entry?.path();
            let path = folder.join("access.log");
            if fs::metadata(&path).is_ok_and(|file| file.len() >= ROTATE_BYTES) {
                rotate(&folder, "access.log")?;
            }
            if let Some(engine) = engine
                && folder.join("access.log.1").exists()
            {
                make_file_of(&path, engine)?;
            }
        }
        Ok(())
    }

    /// Closes a site's log, so that its folder can be removed.
    pub(crate) fn forget(&self, site: &str) {
        self.sites.lock().remove(site);
    }
}

impl SiteLog {
    fn write(&self, line: LogLine) {
        let folder = self.folder.display();
        // Said once, not for each line of an application that talks while a disk is full.
        match self.append(&line) {
            Err(error) if self.lost.fetch_add(1, Ordering::Relaxed) == 0 => {
                tracing::warn!(%error, %folder, "log lines can't be written");
            }
            Err(_) => {}
            Ok(()) => match self.lost.swap(0, Ordering::Relaxed) {
                0 => {}
                lost => tracing::warn!(lost, %folder, "log lines are written again"),
            },
        }
        self.lines.send(line).ok();
    }

    fn append(&self, line: &LogLine) -> io::Result<()> {
        let text = format(line);
        let mut slot = self.file.lock();
        if slot.as_ref().is_some_and(|open| open.size_bytes >= ROTATE_BYTES) {
            *slot = None;
            rotate(&self.folder, "app.log")?;
        }
        let open = match &mut *slot {
            Some(open) => open,
            closed => closed.insert(OpenLog::open(&self.folder)?),
        };
        if let Err(error) = open.file.write_all(text.as_bytes()) {
            // A part of it may be there.
            *slot = None;
            return Err(error);
        }
        open.size_bytes += text.len() as u64;
        Ok(())
    }
}

impl OpenLog {
    fn open(folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let mut options = OpenOptions::new();
        options.create(true).append(true).mode(0o640);
        let file = options.open(folder.join("app.log"))?;
        let size_bytes = file.metadata()?.len();
        Ok(Self { file, size_bytes })
    }
}

/// Makes a file unless it is there, and gives it its owner.
fn make_file_of(path: &Path, owner: &Account) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.create(true).append(true).mode(0o640).custom_flags(libc::O_NOFOLLOW);
    let file = options.open(path)?;
    if file.metadata()?.uid() != owner.uid {
        std::os::unix::fs::fchown(&file, Some(owner.uid), Some(owner.gid))?;
    }
    Ok(())
}

/// `app.log` becomes `app.log.1`, that `app.log.2`, and so on; the oldest is overwritten.
fn rotate(folder: &Path, name: &str) -> io::Result<()> {
    for number in (0..KEPT_FILES).rev() {
        let from = match number {
            0 => folder.join(name),
            number => folder.join(format!("{name}.{number}")),
        };
        match fs::rename(from, folder.join(format!("{name}.{}", number + 1))) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Passes on what an application wrote; what the supervisor has to say is in its own log.
fn print(source: Source, text: &str) {
    let text = format!("{}\n", text.trim_end_matches('\n'));
    // Where nobody reads it there is nobody to tell.
    match source {
        Source::App => io::stdout().lock().write_all(text.as_bytes()).ok(),
        Source::Error => io::stderr().lock().write_all(text.as_bytes()).ok(),
        Source::Onebox => None,
    };
}

fn format(line: &LogLine) -> String {
    let at = jiff::Timestamp::from_millisecond(line.at_ms).unwrap_or_default();
    format!("{at:.3} {} {}\n", line.source, line.text)
}

fn parse(text: &str) -> Option<LogLine> {
    let (at, rest) = text.split_once(' ')?;
    let (source, text) = rest.split_once(' ')?;
    let at: jiff::Timestamp = at.parse().ok()?;
    Some(LogLine { at_ms: at.as_millisecond(), source: source.into(), text: text.into() })
}

/// A line of the access log, which is JSON and stays so; `None` where it is not whole.
pub(crate) fn access_line(text: &str) -> Option<LogLine> {
    let entry: serde_json::Value = serde_json::from_str(text).ok()?;
    let at_ms = entry.get("at_ms")?.as_i64()?;
    Some(LogLine { at_ms, source: "access".into(), text: text.into() })
}

fn last_lines(
    path: &Path,
    lines: usize,
    parse: impl Fn(&str) -> Option<LogLine>,
) -> io::Result<Vec<LogLine>> {
    let mut file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        file => file?,
    };
    let start = file.metadata()?.len().saturating_sub(TAIL_BYTES);
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let mut found: Vec<LogLine> = text.lines().rev().filter_map(parse).take(lines).collect();
    found.reverse();
    Ok(found)
}

/// Reads a child's output to its end and hands on each line, without its end; what is too long comes in pieces.
pub(crate) async fn each_line(output: impl AsyncRead + Unpin, mut line: impl FnMut(&str)) {
    let mut output = BufReader::new(output);
    let mut pending = Vec::new();
    while let Ok(available) = output.fill_buf().await
        && !available.is_empty()
    {
        let end = available.iter().position(|byte| *byte == b'\n');
        let taken = end.unwrap_or(available.len());
        pending.extend_from_slice(available.get(..taken).unwrap_or_default());
        output.consume(taken + usize::from(end.is_some()));
        if end.is_some() || pending.len() >= LONGEST_LINE {
            line(String::from_utf8_lossy(&pending).trim_end_matches('\r'));
            pending.clear();
        }
    }
    if !pending.is_empty() {
        line(&String::from_utf8_lossy(&pending));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logs() -> (tempfile::TempDir, Logs) {
        let folder = tempfile::tempdir().unwrap();
        let logs = Logs::new(Paths::new(folder.path()), Destination::Files);
        (folder, logs)
    }

    #[test]
    fn lines_are_read_back_as_they_were_written() {
        let (_folder, logs) = logs();
        let mut follower = logs.follow("blog");
        logs.write("blog", Source::App, "hello world\n  indented");
        logs.write("blog", Source::Error, "Traceback");
        let tail = logs.tail("blog", 2).unwrap();
        let seen: Vec<_> = tail.iter().map(|line| (&*line.source, &*line.text)).collect();
        assert_eq!(seen, [("app", "  indented"), ("error", "Traceback")]);
        assert!(tail[0].at_ms > 1_600_000_000_000);
        assert_eq!(follower.try_recv().unwrap().text, "hello world");
        assert!(logs.tail("other", 5).unwrap().is_empty());
    }

    #[test]
    fn a_full_file_is_put_aside_and_the_oldest_goes() {
        let (_folder, logs) = logs();
        logs.write("blog", Source::App, "first");
        let log = logs.site("blog");
        for _ in 0..=KEPT_FILES + 1 {
            log.file.lock().as_mut().unwrap().size_bytes = ROTATE_BYTES;
            logs.write("blog", Source::App, "next");
        }
        let mut names: Vec<_> = fs::read_dir(&log.folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["app.log", "app.log.1", "app.log.2", "app.log.3", "app.log.4"]);
        for name in names {
            let text = fs::read_to_string(log.folder.join(name)).unwrap();
            assert!(text.ends_with("next\n"), "the first line is gone: {text}");
        }
    }

    #[test]
    fn a_large_access_log_is_put_aside_and_a_small_one_stays() {
        let (_folder, logs) = logs();
        for (site, size) in [("large", ROTATE_BYTES), ("small", 10)] {
            let folder = logs.paths.logs(site);
            fs::create_dir_all(&folder).unwrap();
            File::create(folder.join("access.log")).unwrap().set_len(size).unwrap();
        }
        logs.rotate_access_logs(None).unwrap();
        assert!(logs.paths.logs("large").join("access.log.1").exists());
        assert!(!logs.paths.logs("large").join("access.log").exists());
        assert!(logs.paths.logs("small").join("access.log").exists());
    }

    #[test]
    fn an_engine_of_another_user_has_a_file_to_write_after_each_rotation() {
        if !rustix::process::geteuid().is_root() {
            // Only root has an engine of another user.
            return;
        }
        let (_folder, logs) = logs();
        let engine = Account::of_numbers(12_345, 54_321);
        logs.make_access_log("blog", &engine).unwrap();
        let path = logs.access_log("blog");
        File::options().write(true).open(&path).unwrap().set_len(ROTATE_BYTES).unwrap();
        logs.rotate_access_logs(Some(&engine)).unwrap();
        let fresh = fs::metadata(&path).unwrap();
        assert_eq!((fresh.len(), fresh.uid(), fresh.gid()), (0, 12_345, 54_321));
        assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().uid(), 0);
    }

    #[tokio::test]
    async fn output_is_split_into_lines_whatever_its_bytes() {
        let mut lines = Vec::new();
        let long = "x".repeat(2 * LONGEST_LINE);
        let output = [b"one\r\n\n\xff\n".as_slice(), long.as_bytes()].concat();
        each_line(&output[..], |line| lines.push(line.to_owned())).await;
        assert_eq!(lines[..3], ["one", "", "\u{fffd}"]);
        assert_eq!(lines[3..].concat(), long);
        assert!(lines.len() > 4);
    }
}
