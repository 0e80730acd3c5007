//! Log files that are put aside, compressed a while later, and forgotten where all together take too much.
//!
//! `access.log` becomes `access.log-20261122-045223`, that `access.log-20261122-045223.gz`. What somebody else put aside
//! (`access.log.1`) is left as it is, and counts. The file that is written to is never removed.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use flate2::Compression;
use flate2::write::GzEncoder;
use onebox_config::Account;

/// Ends the name of a compressed file.
const COMPRESSED: &str = ".gz";
/// Ends the name of one that is being made.
const PARTIAL: &str = ".part";

/// A log file that nobody writes to any more.
///
/// The one whose last line is older comes first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Aside {
    /// When its last line was written.
    pub(super) modified: SystemTime,
    pub(super) path: PathBuf,
    bytes: u64,
}

/// What was put aside of the log `name`, the oldest first.
pub(super) fn put_aside_of(folder: &Path, name: &str) -> io::Result<Vec<Aside>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let file_name = entry.file_name();
        let is_one = file_name
            .to_str()
            .and_then(|file| file.strip_prefix(name))
            .is_some_and(|end| end.starts_with(['.', '-']) && !end.ends_with(PARTIAL));
        if !is_one {
            continue;
        }
        let metadata = match entry.metadata() {
            // Removed at this moment.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            metadata => metadata?,
        };
        if metadata.is_file() {
            let (modified, bytes) = (metadata.modified()?, metadata.len());
            found.push(Aside { path: entry.path(), modified, bytes });
        }
    }
    found.sort();
    Ok(found)
}

/// Gives a log file another name, under which it is never in the way of an earlier one.
pub(super) fn put_aside(folder: &Path, name: &str) -> io::Result<()> {
    let now = jiff::Timestamp::now().strftime("%Y%m%d-%H%M%S").to_string();
    let mut aside = folder.join(format!("{name}-{now}"));
    let mut number = 1;
    while aside.exists() || with_end(&aside, COMPRESSED).exists() {
        number += 1;
        aside = folder.join(format!("{name}-{now}.{number}"));
    }
    match fs::rename(folder.join(name), aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Compresses what we have put aside. It must not be called in the second in which that happened: the proxy writes to a file
/// until it notices that it has another name.
pub(super) fn compress(files: &[Aside], name: &str) -> io::Result<()> {
    let is_ours = |file: &&Aside| {
        let file = file.path.file_name().and_then(|file| file.to_str()).unwrap_or_default();
        file.strip_prefix(name).is_some_and(|end| end.starts_with('-'))
            && !file.ends_with(COMPRESSED)
    };
    files.iter().filter(is_ours).try_for_each(|file| compress_one(&file.path))
}

fn compress_one(path: &Path) -> io::Result<()> {
    let mut source = File::open(path)?;
    let before = source.metadata()?;
    let partial = with_end(path, PARTIAL);
    let mut options = OpenOptions::new();
    options.create(true).write(true).truncate(true).mode(0o640).custom_flags(libc::O_NOFOLLOW);
    let mut encoder = GzEncoder::new(options.open(&partial)?, Compression::default());
    let read = io::copy(&mut source, &mut encoder)?;
    let compressed = encoder.finish()?;
    if source.metadata()?.len() != read {
        // Somebody writes to it yet: another time.
        return fs::remove_file(partial);
    }
    compressed.set_modified(before.modified()?)?;
    compressed.sync_all()?;
    fs::rename(partial, with_end(path, COMPRESSED))?;
    fs::remove_file(path)
}

/// Removes the oldest of `files` until they and what is `written` take no more than `budget`; all in bytes. Returns what stays.
pub(super) fn keep_within(
    budget: u64,
    written: u64,
    mut files: Vec<Aside>,
) -> io::Result<Vec<Aside>> {
    files.sort();
    let mut total = written + files.iter().map(|file| file.bytes).sum::<u64>();
    let mut surplus = 0;
    for file in &files {
        if total <= budget {
            break;
        }
        match fs::remove_file(&file.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        total = total.saturating_sub(file.bytes);
        surplus += 1;
    }
    files.drain(..surplus);
    Ok(files)
}

/// The size of a file in bytes; 0 where there is none.
pub(super) fn size_of(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |file| file.len())
}

/// Makes a file unless it is there, and gives it its owner.
pub(super) fn make_file_of(path: &Path, owner: &Account) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.create(true).append(true).mode(0o640).custom_flags(libc::O_NOFOLLOW);
    let file = options.open(path)?;
    if file.metadata()?.uid() != owner.uid {
        std::os::unix::fs::fchown(&file, Some(owner.uid), Some(owner.gid))?;
    }
    Ok(())
}

fn with_end(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    PathBuf::from(name)
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Read;
    use std::time::Duration;

    use super::*;

    pub(in super::super) fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn write(folder: &Path, name: &str, text: &str, age_s: u64) {
        let path = folder.join(name);
        fs::write(&path, text).unwrap();
        let at = SystemTime::now() - Duration::from_secs(age_s);
        File::options().append(true).open(path).unwrap().set_modified(at).unwrap();
    }

    #[test]
    fn what_is_put_aside_never_takes_the_place_of_an_earlier_one() {
        let folder = tempfile::tempdir().unwrap();
        put_aside(folder.path(), "app.log").unwrap();
        assert!(names(folder.path()).is_empty(), "there was nothing");
        for text in ["one", "two", "three"] {
            write(folder.path(), "app.log", text, 0);
            put_aside(folder.path(), "app.log").unwrap();
            let files = put_aside_of(folder.path(), "app.log").unwrap();
            compress(&files, "app.log").unwrap();
        }
        let found = put_aside_of(folder.path(), "app.log").unwrap();
        assert_eq!(found.len(), 3);
        assert!(names(folder.path()).iter().all(|name| name.ends_with(".gz")));
    }

    #[test]
    fn what_we_put_aside_is_compressed_and_what_others_did_is_not() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "access.log-20261122-045223", "line\n", 500);
        for other in ["access.log", "access.log.1", "access.log.2.gz", "access.logs", "app.log-1"] {
            write(folder.path(), other, "line\n", 0);
        }
        let files = put_aside_of(folder.path(), "access.log").unwrap();
        let modified = files[0].modified;
        compress(&files, "access.log").unwrap();
        let expected = [
            "access.log",
            "access.log-20261122-045223.gz",
            "access.log.1",
            "access.log.2.gz",
            "access.logs",
            "app.log-1",
        ];
        assert_eq!(names(folder.path()), expected);
        let compressed = File::open(folder.path().join(expected[1])).unwrap();
        assert_eq!(compressed.metadata().unwrap().modified().unwrap(), modified);
        let mut text = String::new();
        flate2::read::GzDecoder::new(compressed).read_to_string(&mut text).unwrap();
        assert_eq!(text, "line\n");
    }

    #[test]
    fn the_oldest_goes_first_and_what_is_written_never() {
        let folder = tempfile::tempdir().unwrap();
        for (name, age_s) in [("a.log-1", 30), ("a.log.2", 20), ("a.log-3.gz", 10), ("a.log", 0)] {
            write(folder.path(), name, "0123456789", age_s);
        }
        let files = || put_aside_of(folder.path(), "a.log").unwrap();
        assert_eq!(keep_within(40, 10, files()).unwrap().len(), 3);
        assert_eq!(keep_within(39, 10, files()).unwrap().len(), 2);
        assert_eq!(names(folder.path()), ["a.log", "a.log-3.gz", "a.log.2"]);
        assert!(keep_within(0, 10, files()).unwrap().is_empty());
        assert_eq!(names(folder.path()), ["a.log"]);
    }
}
