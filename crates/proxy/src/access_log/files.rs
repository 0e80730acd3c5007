//! The open files of the access log's writer thread.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use onebox_config::site::LogFormat;

use super::Entry;
use super::combined::Combined;

/// How often it is checked whether somebody else renamed or removed a file (log rotation).
const CHECK_EVERY: Duration = Duration::from_secs(1);

pub(super) struct LogFiles {
    folder: PathBuf,
    open: HashMap<String, LogFile>,
    buffer: Vec<u8>,
    combined: Combined,
    /// Whether a warning was given that holds yet.
    failing: bool,
}

struct LogFile {
    path: PathBuf,
    writer: BufWriter<File>,
    /// Device and inode.
    identity: (u64, u64),
    checked_at: Instant,
}

impl LogFiles {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            open: HashMap::new(),
            buffer: Vec::new(),
            combined: Combined::new(),
            failing: false,
        }
    }

    /// Appends a line. One that can't be written is lost, and the file is opened anew for the next.
    pub(super) fn append(&mut self, entry: &Entry) {
        if let Err(error) = self.try_append(entry) {
            self.open.remove(entry.site());
            self.warn(entry.site(), &error);
        }
    }

    pub(super) fn flush(&mut self) {
        let mut failed = None;
        self.open.retain(|site, file| match file.writer.flush() {
            Ok(()) => true,
            Err(error) => {
                failed = Some((site.clone(), error));
                false
            }
        });
        match failed {
            Some((site, error)) => self.warn(&site, &error),
            None if !self.open.is_empty() => self.failing = false,
            None => {}
        }
    }

    /// Has every file opened anew for its next line.
    pub(super) fn close(&mut self) {
        self.flush();
        self.open.clear();
    }

    /// Once, not for each line while a disk is full.
    fn warn(&mut self, site: &str, error: &io::Error) {
        if !std::mem::replace(&mut self.failing, true) {
            tracing::warn!(site, %error, "the access log can't be written");
        }
    }

    fn try_append(&mut self, entry: &Entry) -> io::Result<()> {
        self.buffer.clear();
        match entry.routed.site.log.format {
            LogFormat::Json => entry.write_to(&mut self.buffer)?,
            LogFormat::Combined => self.combined.write_to(entry, &mut self.buffer),
        }
        let site = entry.site();
        if !self.open.get_mut(site).is_some_and(LogFile::is_current) {
            match LogFile::open(self.folder.join(site).join("access.log")) {
                Ok(file) => drop(self.open.insert(site.to_owned(), file)),
                // Put aside a moment ago by whoever makes the next one for us.
                Err(_) if self.open.contains_key(site) => {}
                Err(error) => return Err(error),
            }
        }
        match self.open.get_mut(site) {
            Some(file) => file.writer.write_all(&self.buffer),
            None => Ok(()),
        }
    }
}

impl LogFile {
    fn open(path: PathBuf) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let file = OpenOptions::new().create(true).append(true).mode(0o640).open(&path)?;
        let identity = identity(&file.metadata()?);
        Ok(Self { path, writer: BufWriter::new(file), identity, checked_at: Instant::now() })
    }

    /// Whether the path still leads to the open file.
    fn is_current(&mut self) -> bool {
        if self.checked_at.elapsed() < CHECK_EVERY {
            return true;
        }
        self.checked_at = Instant::now();
        identity_at(&self.path) == Some(self.identity)
    }
}

fn identity_at(path: &Path) -> Option<(u64, u64)> {
    std::fs::metadata(path).ok().map(|metadata| identity(&metadata))
}

fn identity(metadata: &std::fs::Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access_log::entry::tests::entry;

    #[test]
    fn a_renamed_file_is_followed_by_a_new_one() {
        let folder = tempfile::tempdir().unwrap();
        let mut files = LogFiles::new(folder.path().into());
        files.append(&entry("blog"));
        files.flush();
        let path = folder.path().join("blog/access.log");
        std::fs::rename(&path, folder.path().join("blog/access.log.1")).unwrap();
        let file = files.open.get_mut("blog").unwrap();
        file.checked_at = Instant::now().checked_sub(CHECK_EVERY).unwrap();
        files.append(&entry("blog"));
        files.flush();
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 1);
    }

    #[test]
    fn closed_files_are_opened_anew() {
        let folder = tempfile::tempdir().unwrap();
        let mut files = LogFiles::new(folder.path().into());
        files.append(&entry("blog"));
        let path = folder.path().join("blog/access.log");
        std::fs::rename(&path, folder.path().join("blog/mine")).unwrap();
        files.close();
        files.append(&entry("blog"));
        files.flush();
        for name in ["access.log", "mine"] {
            let text = std::fs::read_to_string(folder.path().join("blog").join(name)).unwrap();
            assert_eq!(text.lines().count(), 1, "{name}");
        }
    }
}
