//! New lines of a site's access log as they come. The proxy writes that file in another process; here its end is read
//! again and again while somebody follows it.
//!
//! Must not slow the writer: nothing is locked, and who reads too slowly loses lines, as with the application's log.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::stream::{self, Stream};

use crate::api::LogLine;
use crate::logs::access_line;

/// How often the file is looked at.
const INTERVAL: Duration = Duration::from_millis(250);
/// What is read at a time; a follower that is further behind goes on near the end.
const MOST_BYTES: u64 = 1024 * 1024;

/// A place in an access log.
#[derive(Debug)]
pub(crate) struct AccessFollower {
    path: PathBuf,
    /// `None` while there is no file.
    file: Option<File>,
    /// The beginning of a line whose end was not written yet.
    pending: Vec<u8>,
}

impl AccessFollower {
    /// From the end of the file at `path` on, or from its beginning where there is none yet. Blocks on the disk.
    ///
    /// # Errors
    /// Where it is there and can't be opened.
    pub(crate) fn at_end(path: PathBuf) -> io::Result<Self> {
        let mut follower = Self { path, file: None, pending: Vec::new() };
        follower.open()?;
        if let Some(file) = &mut follower.file {
            file.seek(SeekFrom::End(0))?;
        }
        Ok(follower)
    }

    /// The lines from here on, for as long as the file can be read.
    pub(crate) fn into_stream(self) -> impl Stream<Item = LogLine> {
        let batches = stream::try_unfold(self, async |mut follower| {
            tokio::time::sleep(INTERVAL).await;
            let read = tokio::task::spawn_blocking(move || {
                let lines = follower.read()?;
                Ok((lines, follower))
            });
            read.await.map_err(io::Error::other)?.map(Some)
        });
        let lines = futures_util::StreamExt::map(batches, |batch: io::Result<Vec<LogLine>>| {
            let lines = batch.unwrap_or_else(|error| {
                tracing::warn!(%error, "an access log can't be followed any longer");
                Vec::new()
            });
            stream::iter(lines)
        });
        futures_util::StreamExt::flatten(lines)
    }

    /// The lines that were written since the last time; a file that was put aside is read to its end first.
    fn read(&mut self) -> io::Result<Vec<LogLine>> {
        let is_replaced = self.is_replaced()?;
        let mut lines = Vec::new();
        self.read_open(&mut lines)?;
        if is_replaced {
            self.pending.clear();
            self.open()?;
            self.read_open(&mut lines)?;
        }
        Ok(lines)
    }

    fn read_open(&mut self, lines: &mut Vec<LogLine>) -> io::Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        let (at, end) = (file.stream_position()?, file.metadata()?.len());
        if end < at || end - at > MOST_BYTES {
            // Cut short by somebody, or too much: the first piece of a line there is not one.
            self.pending.clear();
            file.seek(SeekFrom::Start(end.saturating_sub(MOST_BYTES)))?;
        }
        file.take(MOST_BYTES).read_to_end(&mut self.pending)?;
        let Some(last) = self.pending.iter().rposition(|byte| *byte == b'\n') else {
            return Ok(());
        };
        let rest = self.pending.split_off(last + 1);
        let text = std::mem::replace(&mut self.pending, rest);
        lines.extend(String::from_utf8_lossy(&text).lines().filter_map(access_line));
        Ok(())
    }

    /// Whether the path leads to another file than the open one: the writer has begun a new one.
    fn is_replaced(&self) -> io::Result<bool> {
        let now = match fs::metadata(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            metadata => metadata?,
        };
        let Some(file) = &self.file else { return Ok(true) };
        let open = file.metadata()?;
        Ok((open.dev(), open.ino()) != (now.dev(), now.ino()))
    }

    fn open(&mut self) -> io::Result<()> {
        self.file = match File::open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            file => Some(file?),
        };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn append(path: &PathBuf, text: &str) {
        let mut file = File::options().create(true).append(true).open(path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    fn entry(path: &str) -> String {
        format!("{{\"at_ms\":7,\"method\":\"GET\",\"path\":\"{path}\",\"status\":200}}\n")
    }

    fn read(follower: &mut AccessFollower) -> String {
        follower.read().unwrap().iter().map(|line| line.text.as_str()).collect()
    }

    #[test]
    fn only_whole_new_lines_come_and_a_new_file_is_read_from_its_beginning() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        append(&path, &entry("/before"));
        let mut follower = AccessFollower::at_end(path.clone()).unwrap();
        assert_eq!(read(&mut follower), "");
        let two = [entry("/one"), entry("/two")].concat();
        append(&path, &two[..two.len() - 4]);
        assert_eq!(read(&mut follower), entry("/one").trim_end());
        append(&path, &two[two.len() - 4..]);
        assert_eq!(read(&mut follower), entry("/two").trim_end());
        append(&path, &entry("/last"));
        fs::rename(&path, folder.path().join("access.log.1")).unwrap();
        append(&path, &entry("/new"));
        let both = format!("{}{}", entry("/last").trim_end(), entry("/new").trim_end());
        assert_eq!(read(&mut follower), both);
    }

    #[test]
    fn a_file_that_comes_later_is_followed_and_too_much_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        let mut follower = AccessFollower::at_end(path.clone()).unwrap();
        assert_eq!(read(&mut follower), "");
        append(&path, &entry("/first"));
        assert_eq!(read(&mut follower), entry("/first").trim_end());
        append(&path, &entry(&"x".repeat(2 * 1024 * 1024)));
        append(&path, &entry("/end"));
        assert!(read(&mut follower).ends_with(entry("/end").trim_end()));
    }
}
