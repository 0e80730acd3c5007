//! Who owns a release's files, where the supervisor is root: the site's user while its commands run, root ever after.
//!
//! Must not follow a link or be led elsewhere by a folder that is swapped while it walks: everything goes through
//! descriptors that were opened with `O_NOFOLLOW`.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, Uid, chownat, fchown, openat};

use super::command::RunAs;
use super::error::DeployProblem;

/// Gives `path` and all below it to the site's user; does nothing where there is none.
///
/// # Errors
/// When an owner cannot be changed.
pub(crate) fn give(path: &Path, user: Option<&RunAs>) -> Result<(), DeployProblem> {
    match user {
        Some(user) => change(path, user.uid, user.gid),
        None => Ok(()),
    }
}

/// Takes `path` and all below it back from the site's user; does nothing where there is none.
///
/// # Errors
/// When an owner cannot be changed.
pub(crate) fn take_back(path: &Path, user: Option<&RunAs>) -> Result<(), DeployProblem> {
    match user {
        Some(_) => change(path, 0, 0),
        None => Ok(()),
    }
}

fn change(path: &Path, uid: u32, gid: u32) -> Result<(), DeployProblem> {
    let owner = Owner { uid: Uid::from_raw(uid), gid: Gid::from_raw(gid) };
    let walk = || -> io::Result<()> {
        if std::fs::symlink_metadata(path)?.is_dir() {
            owner.of_folder(&openat(CWD, path, FOLDER, Mode::empty())?)
        } else {
            owner.of_entry(CWD, path)
        }
    };
    walk().map_err(DeployProblem::file("cannot change the owner of", path))
}

const FOLDER: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

struct Owner {
    uid: Uid,
    gid: Gid,
}

impl Owner {
    fn of_folder(&self, folder: &OwnedFd) -> io::Result<()> {
        for entry in Dir::read_from(folder)? {
            let entry = entry?;
            let name: &CStr = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            if entry.file_type() == FileType::Directory {
                self.of_folder(&openat(folder, name, FOLDER, Mode::empty())?)?;
            } else {
                self.of_entry(folder, name)?;
            }
        }
        Ok(fchown(folder, Some(self.uid), Some(self.gid))?)
    }

    fn of_entry(&self, folder: impl AsFd, name: impl rustix::path::Arg) -> io::Result<()> {
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        Ok(chownat(folder, name, Some(self.uid), Some(self.gid), flags)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, symlink};

    #[test]
    fn a_tree_changes_its_owner_and_what_its_links_point_to_does_not() {
        if !rustix::process::geteuid().is_root() {
            // Only root can give files away.
            return;
        }
        let root = tempfile::tempdir().unwrap();
        let outside = root.path().join("outside");
        let tree = root.path().join("tree");
        std::fs::create_dir_all(tree.join("a")).unwrap();
        std::fs::write(&outside, "").unwrap();
        std::fs::write(tree.join("a/file"), "").unwrap();
        symlink(&outside, tree.join("a/link")).unwrap();
        let user = RunAs { uid: 12345, gid: 54321, home: root.path().to_path_buf() };
        give(&tree, Some(&user)).unwrap();
        let uid = |path: &Path| std::fs::symlink_metadata(path).unwrap().uid();
        assert_eq!(uid(&tree.join("a/file")), 12345);
        assert_eq!(uid(&tree.join("a/link")), 12345);
        assert_eq!(uid(&tree), 12345);
        assert_eq!(uid(&outside), 0);
        take_back(&tree, Some(&user)).unwrap();
        assert_eq!(uid(&tree.join("a/file")), 0);
    }
}
