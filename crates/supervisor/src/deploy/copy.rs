//! The files of one release as those of the next.
//!
//! Owns what comes along: everything but bytecode, and links that leave the site's folder, which are those to what is kept and
//! are made anew. Must not follow a link or be led elsewhere by a folder that is swapped while it walks: what is read here may be
//! read by root.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Dir, FileType, Mode, OFlags, fstat, openat, readlinkat};

use super::archive::{self, ArchiveLimits, Unpacked};
use super::error::DeployProblem;

/// Python's own files, which every release makes anew.
const BYTECODE: &str = "__pycache__";

const FOLDER: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// Not blocking: what was a file may be a FIFO by now.
const FILE: OFlags =
    OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Copies what is in the folder `from` to `to`, which exists and is empty, but for the file `without`.
///
/// # Errors
/// When something can't be read or written, or is more than `limits` allow; what was copied until then is left.
pub(super) fn copy(
    from: &Path,
    to: &Path,
    without: &str,
    limits: ArchiveLimits,
) -> Result<Unpacked, DeployProblem> {
    let folder = openat(CWD, from, FOLDER, Mode::empty()).map_err(io::Error::from);
    let folder = folder.map_err(DeployProblem::file("cannot read", from))?;
    let mut copier = Copier { to, without, limits, done: Unpacked::default() };
    copier.folder(&folder, Path::new(""))?;
    Ok(copier.done)
}

struct Copier<'a> {
    to: &'a Path,
    without: &'a str,
    limits: ArchiveLimits,
    done: Unpacked,
}

impl Copier<'_> {
    fn folder(&mut self, folder: &OwnedFd, below: &Path) -> Result<(), DeployProblem> {
        let broken = |error: rustix::io::Errno, path: &Path| {
            DeployProblem::file("cannot copy", path)(error.into())
        };
        for entry in Dir::read_from(folder).map_err(|error| broken(error, below))? {
            let entry = entry.map_err(|error| broken(error, below))?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            let path = below.join(name);
            if [".", "..", BYTECODE].iter().any(|left| name == *left)
                || path == Path::new(self.without)
            {
                continue;
            }
            match entry.file_type() {
                FileType::Directory => {
                    let place = self.to.join(&path);
                    fs::create_dir(&place).map_err(DeployProblem::file("cannot make", &place))?;
                    let inner = openat(folder, name, FOLDER, Mode::empty());
                    self.folder(&inner.map_err(|error| broken(error, &path))?, &path)?;
                }
                FileType::RegularFile => {
                    let file = openat(folder, name, FILE, Mode::empty());
                    self.file(file.map_err(|error| broken(error, &path))?, &path)?;
                }
                FileType::Symlink => {
                    let to = readlinkat(folder, name, Vec::new());
                    let to = to.map_err(|error| broken(error, &path))?;
                    let to = PathBuf::from(OsStr::from_bytes(to.to_bytes()));
                    if archive::stays_inside(&path, &to) {
                        let place = self.to.join(&path);
                        symlink(to, &place).map_err(DeployProblem::file("cannot link", &place))?;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn file(&mut self, file: OwnedFd, path: &Path) -> Result<(), DeployProblem> {
        let place = self.to.join(path);
        let copy = || -> io::Result<Option<u64>> {
            let about = fstat(&file)?;
            if !FileType::from_raw_mode(about.st_mode).is_file() {
                return Ok(None);
            }
            let mut copied = archive::create(&place, about.st_mode)?;
            io::copy(&mut File::from(file), &mut copied).map(Some)
        };
        if let Some(bytes) = copy().map_err(DeployProblem::file("cannot copy", path))? {
            self.done.files = self.done.files.saturating_add(1);
            self.done.bytes = self.done.bytes.saturating_add(bytes);
        }
        match self.done {
            Unpacked { files, .. } if files > self.limits.entries => {
                Err(DeployProblem::ArchiveRefused(format!(
                    "it has more than {} files",
                    self.limits.entries
                )))
            }
            Unpacked { bytes, .. } if bytes > self.limits.bytes => {
                Err(archive::too_large(self.limits))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn limits(entries: u64, bytes: u64) -> ArchiveLimits {
        ArchiveLimits { entries, bytes }
    }

    #[test]
    fn everything_comes_along_but_bytecode_the_configuration_and_links_that_leave() {
        let root = tempfile::tempdir().unwrap();
        let (from, to) = (root.path().join("from"), root.path().join("to"));
        fs::create_dir_all(from.join("package/__pycache__")).unwrap();
        fs::create_dir(&to).unwrap();
        for file in ["onebox.toml", "app.py", "package/onebox.toml", "package/__pycache__/a.pyc"] {
            fs::write(from.join(file), file).unwrap();
        }
        fs::set_permissions(from.join("app.py"), fs::Permissions::from_mode(0o4777)).unwrap();
        symlink("app.py", from.join("inside")).unwrap();
        symlink("../../../shared/media", from.join("media")).unwrap();
        symlink("/etc/passwd", from.join("package/absolute")).unwrap();
        rustix::fs::mkfifoat(CWD, from.join("fifo"), Mode::RWXU).unwrap();

        let done = copy(&from, &to, "onebox.toml", limits(10, 1000)).unwrap();
        assert_eq!((done.files, done.bytes), (2, 25));
        let mode = fs::metadata(to.join("app.py")).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o755);
        assert_eq!(fs::read_link(to.join("inside")).unwrap(), Path::new("app.py"));
        assert!(to.join("package/onebox.toml").exists());
        for left in ["onebox.toml", "media", "fifo", "package/absolute", "package/__pycache__"] {
            assert!(fs::symlink_metadata(to.join(left)).is_err(), "{left}");
        }
    }

    #[test]
    fn more_than_the_limits_allow_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let from = root.path().join("from");
        fs::create_dir(&from).unwrap();
        for file in ["a", "b", "c"] {
            fs::write(from.join(file), "1234").unwrap();
        }
        for (name, limits, is_fine) in
            [("1", limits(3, 12), true), ("2", limits(2, 12), false), ("3", limits(3, 11), false)]
        {
            let to = root.path().join(name);
            fs::create_dir(&to).unwrap();
            assert_eq!(copy(&from, &to, "none", limits).is_ok(), is_fine, "{limits:?}");
        }
        let to = root.path().join("4");
        fs::create_dir(&to).unwrap();
        assert!(copy(&root.path().join("nowhere"), &to, "none", limits(3, 12)).is_err());
    }

    #[test]
    fn a_folder_that_is_a_link_is_not_entered() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("real")).unwrap();
        fs::create_dir(root.path().join("to")).unwrap();
        symlink("real", root.path().join("link")).unwrap();
        let done = copy(&root.path().join("link"), &root.path().join("to"), "x", limits(3, 12));
        assert!(done.is_err());
    }
}
