//! What applications write: captured line by line, kept in a file of bounded size for each site, read back and followed.
//!
//! One line of `app.log` is `TIME SOURCE TEXT`. The proxy writes `access.log` beside it; here it is only read and put aside. A slow
//! follower loses lines and never slows an application.

mod access_line;
mod filter;
mod reading;
mod rotation;

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use onebox_config::site::SiteLog;
use onebox_config::{Account, Paths};
use parking_lot::Mutex;
use tokio::io::{AsyncBufReadExt, AsyncRead};
use tokio::sync::broadcast;

use self::reading::WholeLog;
use crate::api::LogLine;
use crate::clock::now_ms;

pub(crate) use access_line::AccessLine;
pub(crate) use filter::{BadFilter, LineFilter};

/// What applications wrote.
const APP: &str = "app.log";
/// What the proxy answered.
const ACCESS: &str = "access.log";
/// Lines that a follower may be behind.
const FOLLOW_LINES: usize = 1024;
/// What is longer is cut: a line without end must not fill the memory.
const LONGEST_LINE: usize = 64 * 1024;
/// So many lines that name a request are found.
const MOST_NAMING: usize = 100;

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
    sites: Mutex<HashMap<String, Arc<AppLog>>>,
}

/// What holds for the log files of a box.
#[derive(Debug, Clone)]
pub(crate) struct LogRules {
    /// By site; for others the defaults.
    pub(crate) sites: BTreeMap<String, SiteLog>,
    /// The bytes that all of them may take.
    pub(crate) budget: u64,
    /// Who writes the access logs, where that is another user.
    pub(crate) engine: Option<Account>,
}

#[derive(Debug)]
struct AppLog {
    folder: PathBuf,
    settings: Mutex<SiteLog>,
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

    fn site(&self, name: &str) -> Arc<AppLog> {
        let mut sites = self.sites.lock();
        Arc::clone(sites.entry(name.to_owned()).or_insert_with(|| {
            Arc::new(AppLog {
                folder: self.paths.logs(name),
                settings: Mutex::default(),
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

    /// The last lines of a site's application log that a filter takes, the oldest first. Blocks on the disk.
    pub(crate) fn tail(
        &self,
        site: &str,
        lines: usize,
        filter: &LineFilter,
    ) -> io::Result<Vec<LogLine>> {
        self.whole(site, APP, filter.since_ms())
            .last_lines(lines, |text| parse(text).filter(|line| filter.takes(line)))
    }

    /// The same of its access log. Blocks on the disk.
    pub(crate) fn tail_access(
        &self,
        site: &str,
        lines: usize,
        filter: &LineFilter,
    ) -> io::Result<Vec<LogLine>> {
        self.whole(site, ACCESS, filter.since_ms()).last_lines(lines, |text| {
            let line = AccessLine::parse(text).filter(|line| filter.takes_access(line))?;
            Some(as_log_line(&line, text))
        })
    }

    /// Every line of a site's access log since a moment, in no order. Blocks on the disk.
    pub(crate) fn each_access(
        &self,
        site: &str,
        since_ms: i64,
        mut visit: impl FnMut(&AccessLine<'_>),
    ) -> io::Result<()> {
        self.whole(site, ACCESS, Some(since_ms)).each_line(|text| {
            if let Some(line) = AccessLine::parse(text).filter(|line| line.at_ms >= since_ms) {
                visit(&line);
            }
        })
    }

    /// The last lines of a site's application log that contain a text, the oldest first. Blocks on the disk.
    pub(crate) fn naming(&self, site: &str, text: &str) -> io::Result<Vec<LogLine>> {
        self.whole(site, APP, None)
            .last_lines(MOST_NAMING, |line| parse(line).filter(|line| line.text.contains(text)))
    }

    fn whole(&self, site: &str, name: &'static str, since_ms: Option<i64>) -> WholeLog {
        WholeLog { folder: self.paths.logs(site), name, since_ms }
    }

    /// Where the proxy writes a site's access log.
    pub(crate) fn access_log(&self, site: &str) -> PathBuf {
        self.paths.logs(site).join(ACCESS)
    }

    /// Makes a site's access log for an engine of another user, who may write the file and nothing beside it. Blocks on the disk.
    pub(crate) fn make_access_log(&self, site: &str, engine: &Account) -> io::Result<()> {
        fs::create_dir_all(self.paths.logs(site))?;
        rotation::make_file_of(&self.access_log(site), engine)
    }

    /// Does what is due: files that were put aside the last time are compressed, those that have become large or old are put aside,
    /// and the oldest go where all take too much. The proxy begins new access logs; for an engine of another user they are made,
    /// also where somebody else has put one aside. Blocks on the disk.
    pub(crate) fn look_after(&self, rules: &LogRules) -> io::Result<()> {
        let folders = match fs::read_dir(self.paths.box_logs()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            folders => folders?,
        };
        let (mut failed, mut written, mut aside) = (Ok(()), 0, Vec::new());
        for folder in folders {
            let folder = folder?;
            // The supervisor's own log lies beside them.
            if !folder.file_type()?.is_dir() {
                continue;
            }
            let name = folder.file_name().to_string_lossy().into_owned();
            match self.look_after_site(&name, rules) {
                Ok((bytes, files)) => {
                    written += bytes;
                    aside.extend(files);
                }
                // Removed with its site at this moment.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => failed = Err(error),
            }
        }
        rotation::keep_within(rules.budget, written, aside)?;
        failed
    }

    /// Returns the bytes of what is written, and what was put aside.
    fn look_after_site(
        &self,
        site: &str,
        rules: &LogRules,
    ) -> io::Result<(u64, Vec<rotation::Aside>)> {
        let folder = self.paths.logs(site);
        for name in [ACCESS, APP] {
            rotation::compress(&rotation::put_aside_of(&folder, name)?, name)?;
        }
        let settings = rules.sites.get(site).cloned().unwrap_or_default();
        let path = folder.join(ACCESS);
        let is_large = rotation::size_of(&path) >= settings.rotate_size;
        if is_large
            || is_old(&path, settings.rotate_age, |text| Some(AccessLine::parse(text)?.at_ms))
        {
            rotation::put_aside(&folder, ACCESS)?;
        }
        if let Some(engine) = rules.engine.as_ref().filter(|_| rules.sites.contains_key(site)) {
            rotation::make_file_of(&path, engine)?;
        }
        if rules.sites.contains_key(site) {
            self.site(site).look_after(&settings)?;
        }
        let written = [ACCESS, APP].map(|name| rotation::size_of(&folder.join(name))).iter().sum();
        let aside = [ACCESS, APP].map(|name| rotation::put_aside_of(&folder, name));
        let aside = aside.into_iter().collect::<io::Result<Vec<_>>>()?.concat();
        Ok((written, rotation::keep_within(settings.budget, written, aside)?))
    }

    /// Has every application log opened anew for its next line: somebody has put it aside.
    pub(crate) fn reopen(&self) {
        for log in self.sites.lock().values() {
            *log.file.lock() = None;
        }
    }

    /// Closes a site's log, so that its folder can be removed.
    pub(crate) fn forget(&self, site: &str) {
        self.sites.lock().remove(site);
    }
}

impl AppLog {
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
        if let Some(open) = &*slot {
            let SiteLog { rotate_size, budget, .. } = *self.settings.lock();
            if open.size_bytes >= rotate_size {
                *slot = None;
                rotation::put_aside(&self.folder, APP)?;
                // Who writes that much may exceed it before it is looked after.
                rotation::keep_within(budget, 0, rotation::put_aside_of(&self.folder, APP)?)?;
            }
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

    /// Takes in settings, and puts the file aside where it is old.
    fn look_after(&self, settings: &SiteLog) -> io::Result<()> {
        self.settings.lock().clone_from(settings);
        let mut slot = self.file.lock();
        if is_old(&self.folder.join(APP), settings.rotate_age, |text| Some(parse(text)?.at_ms)) {
            *slot = None;
            rotation::put_aside(&self.folder, APP)?;
        }
        Ok(())
    }
}

impl OpenLog {
    fn open(folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let mut options = OpenOptions::new();
        options.create(true).append(true).mode(0o640);
        let file = options.open(folder.join(APP))?;
        let size_bytes = file.metadata()?.len();
        Ok(Self { file, size_bytes })
    }
}

/// Whether the first line of a file is of so long ago.
fn is_old(path: &Path, age: Option<Duration>, time: impl Fn(&str) -> Option<i64>) -> bool {
    let Some(age) = age.and_then(|age| i64::try_from(age.as_millis()).ok()) else { return false };
    let Ok(file) = File::open(path) else { return false };
    let mut line = Vec::new();
    let read = BufReader::new(file.take(LONGEST_LINE as u64)).read_until(b'\n', &mut line);
    let text = String::from_utf8_lossy(&line);
    let began = read.ok().and_then(|_| time(text.trim_end()));
    began.is_some_and(|began_ms| now_ms().saturating_sub(began_ms) >= age)
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

/// A line of the access log, which stays as it is; `None` where it is not whole.
pub(crate) fn access_line(text: &str) -> Option<LogLine> {
    Some(as_log_line(&AccessLine::parse(text)?, text))
}

fn as_log_line(line: &AccessLine<'_>, text: &str) -> LogLine {
    LogLine { at_ms: line.at_ms, source: "access".into(), text: text.into() }
}

/// Reads a child's output to its end and hands on each line, without its end; what is too long comes in pieces.
pub(crate) async fn each_line(output: impl AsyncRead + Unpin, mut line: impl FnMut(&str)) {
    let mut output = tokio::io::BufReader::new(output);
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
    use std::os::unix::fs::MetadataExt;

    use super::rotation::tests::names;
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
        let tail = logs.tail("blog", 2, &LineFilter::default()).unwrap();
        let seen: Vec<_> = tail.iter().map(|line| (&*line.source, &*line.text)).collect();
        assert_eq!(seen, [("app", "  indented"), ("error", "Traceback")]);
        assert!(tail[0].at_ms > 1_600_000_000_000);
        assert_eq!(follower.try_recv().unwrap().text, "hello world");
        assert!(logs.tail("other", 5, &LineFilter::default()).unwrap().is_empty());
    }

    fn rules(site: &str, settings: SiteLog) -> LogRules {
        LogRules { sites: [(site.to_owned(), settings)].into(), budget: 1 << 30, engine: None }
    }

    #[test]
    fn a_full_file_is_put_aside_compressed_and_read_back() {
        let (_folder, logs) = logs();
        logs.write("blog", Source::App, "first");
        let log = logs.site("blog");
        let full = SiteLog::default().rotate_size;
        for text in ["second", "third"] {
            log.file.lock().as_mut().unwrap().size_bytes = full;
            logs.write("blog", Source::App, text);
        }
        let rules = rules("blog", SiteLog::default());
        fs::write(logs.paths.box_logs().join("onebox.log"), "the supervisor's own").unwrap();
        logs.look_after(&rules).unwrap();
        let files = names(&log.folder);
        assert_eq!(files.len(), 3);
        assert!(files[0] == "app.log" && files[1..].iter().all(|name| name.ends_with(".gz")));
        let read = || logs.tail("blog", 10, &LineFilter::default()).unwrap();
        let texts: Vec<_> = read().into_iter().map(|line| line.text).collect();
        assert_eq!(texts, ["first", "second", "third"]);
        logs.look_after(&LogRules { budget: 0, ..rules }).unwrap();
        assert_eq!(names(&log.folder), ["app.log"]);
    }

    #[test]
    fn each_site_has_a_budget_of_its_own() {
        let (_folder, logs) = logs();
        for site in ["small", "large"] {
            let folder = logs.paths.logs(site);
            fs::create_dir_all(&folder).unwrap();
            for number in 1..=3 {
                let path = folder.join(format!("access.log.{number}"));
                File::create(path).unwrap().set_len(1 << 20).unwrap();
            }
        }
        let settings = SiteLog { budget: 2 << 20, ..SiteLog::default() };
        logs.look_after(&rules("small", settings)).unwrap();
        assert_eq!(names(&logs.paths.logs("small")).len(), 2);
        assert_eq!(names(&logs.paths.logs("large")).len(), 3);
    }

    #[test]
    fn a_large_or_an_old_log_is_put_aside_and_another_stays() {
        let (_folder, logs) = logs();
        let large = "x".repeat(usize::try_from(SiteLog::default().rotate_size).unwrap());
        let line = |at_ms: i64| {
            format!("{{\"at_ms\":{at_ms},\"method\":\"GET\",\"path\":\"/\",\"status\":200}}\n")
        };
        let hour = Duration::from_secs(3600);
        let ago = |age: Duration| line(now_ms() - i64::try_from(age.as_millis()).unwrap());
        for (site, text, is_aside) in
            [("large", large, true), ("old", ago(hour), true), ("fresh", ago(hour / 2), false)]
        {
            let folder = logs.paths.logs(site);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join(ACCESS), text).unwrap();
            let settings = SiteLog { rotate_age: Some(hour), ..SiteLog::default() };
            logs.look_after(&rules(site, settings)).unwrap();
            let aside =
                names(&folder).iter().filter(|name| name.starts_with("access.log-")).count();
            assert_eq!(aside == 1, is_aside, "{site}");
            assert_eq!(folder.join(ACCESS).exists(), !is_aside, "{site}");
        }
    }

    #[test]
    fn an_old_application_log_is_put_aside_while_it_is_open() {
        let (_folder, logs) = logs();
        let folder = logs.paths.logs("blog");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(APP), "2020-01-01T00:00:00.000Z app old\n").unwrap();
        logs.write("blog", Source::App, "behind it");
        let settings =
            SiteLog { rotate_age: Some(Duration::from_secs(3600)), ..SiteLog::default() };
        logs.look_after(&rules("blog", settings)).unwrap();
        logs.write("blog", Source::App, "new");
        assert_eq!(names(&folder).len(), 2);
        assert!(fs::read_to_string(folder.join(APP)).unwrap().ends_with(" app new\n"));
    }

    #[test]
    fn a_log_that_somebody_moved_away_is_begun_anew() {
        let (_folder, logs) = logs();
        logs.write("blog", Source::App, "one");
        let folder = logs.paths.logs("blog");
        fs::rename(folder.join(APP), folder.join("app.log.1")).unwrap();
        logs.reopen();
        logs.write("blog", Source::App, "two");
        let text = fs::read_to_string(folder.join(APP)).unwrap();
        assert!(text.ends_with(" app two\n") && text.lines().count() == 1, "{text}");
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
        let full = SiteLog::default().rotate_size;
        File::options().write(true).open(&path).unwrap().set_len(full).unwrap();
        let rules = rules("blog", SiteLog::default());
        logs.look_after(&LogRules { engine: Some(engine), ..rules }).unwrap();
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
