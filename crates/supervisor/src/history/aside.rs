//! Putting a database aside: renamed with its journal, so that somebody can look at it, or a later version can have it back.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

/// So many stay; a disk that damages files must not fill up with them.
const MOST_KEPT: usize = 3;

/// Renames the database to `metrics.db-aside-TIME`, and removes what was put aside long ago. Blocks on the disk.
///
/// # Errors
/// Where it can't be renamed.
pub(super) fn put_aside(path: &Path) -> io::Result<PathBuf> {
    let aside = free_name(path)?;
    fs::rename(path, &aside)?;
    match fs::rename(with_suffix(path, "-wal"), with_suffix(&aside, "-wal")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // Only an index of the journal, which SQLite makes anew.
    fs::remove_file(with_suffix(path, "-shm")).ok();
    remove_oldest(path);
    Ok(aside)
}

/// Sorts by time.
fn free_name(path: &Path) -> io::Result<PathBuf> {
    let time = Timestamp::now().strftime("%Y%m%d-%H%M%S-%6f");
    let name = with_suffix(path, &format!("-aside-{time}"));
    if name.exists() { Err(io::ErrorKind::AlreadyExists.into()) } else { Ok(name) }
}

fn remove_oldest(path: &Path) {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return };
    let beginning = format!("{}-aside-", name.to_string_lossy());
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut asides: Vec<PathBuf> = entries
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(&beginning))
        .map(|entry| entry.path())
        .filter(|aside| !is_journal(aside))
        .collect();
    asides.sort();
    let surplus = asides.len().saturating_sub(MOST_KEPT);
    for old in asides.into_iter().take(surplus) {
        tracing::warn!(file = %old.display(), "removed the oldest of the databases that were put aside");
        fs::remove_file(with_suffix(&old, "-wal")).ok();
        fs::remove_file(old).ok();
    }
}

fn is_journal(path: &Path) -> bool {
    path.to_string_lossy().ends_with("-wal")
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_three_stay_with_their_journals() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.db");
        let mut asides = Vec::new();
        for number in 0..5 {
            fs::write(&path, number.to_string()).unwrap();
            fs::write(with_suffix(&path, "-wal"), "journal").unwrap();
            fs::write(with_suffix(&path, "-shm"), "index").unwrap();
            asides.push(put_aside(&path).unwrap());
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 6);
        for (number, aside) in asides.iter().enumerate().skip(2) {
            assert_eq!(fs::read_to_string(aside).unwrap(), number.to_string());
            assert!(with_suffix(aside, "-wal").exists());
        }
        put_aside(&path).unwrap_err();
    }
}
