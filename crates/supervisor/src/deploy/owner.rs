//! Who owns a release's files, where the supervisor is root: the site's user while its commands run, root ever after.
//!
//! Must not follow a link or be led elsewhere by a folder that is swapped while it walks: everything goes through
//! descriptors that were opened with `O_NOFOLLOW`.

use std::ffi::CStr;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, Uid, chownat, fchmod, fchown, fstat, openat,
};

use super::error::DeployProblem;
use crate::users::RunAs;

/// Makes the home of a site's user, before anything runs as it.
///
/// # Errors
/// When it can't be made.
pub(crate) fn settle(user: &RunAs) -> Result<(), DeployProblem> {
    if owner(&user.home).is_none() {
        let parent = user.home.parent().unwrap_or(&user.home);
        let made = fs::create_dir_all(parent)
            .and_then(|()| DirBuilder::new().mode(0o700).create(&user.home));
        made.map_err(DeployProblem::file("cannot make the folder", &user.home))?;
    }
    inherit(&user.home, user)
}

/// Gives the site's user what persists, where it was another one's.
///
/// # Errors
/// When an owner cannot be changed.
pub(crate) fn inherit(place: &Path, user: &RunAs) -> Result<(), DeployProblem> {
    match owner(place) {
        Some(uid) if uid != user.account.uid => give(place, Some(user)),
        _ => Ok(()),
    }
}

fn owner(path: &Path) -> Option<u32> {
    fs::symlink_metadata(path).ok().map(|place| place.uid())
}

/// Lets the site's user read a complete release that was made while the site had another one.
///
/// # Errors
/// When an owner cannot be changed.
pub(crate) fn open_to(release: &Path, user: &RunAs) -> Result<(), DeployProblem> {
    let folders = fs::read_dir(release).map_err(DeployProblem::file("cannot read", release))?;
    for folder in folders.filter_map(|entry| entry.ok().map(|entry| entry.path())) {
        // A folder itself is changed after all that is in it.
        let is_done = fs::symlink_metadata(&folder)
            .is_ok_and(|place| !place.is_dir() || place.gid() == user.account.gid);
        if !is_done {
            take_back(&folder, Some(user))?;
        }
    }
    Ok(())
}

/// Gives `path` and all below it to the site's user; does nothing where there is none.
///
/// # Errors
/// When an owner cannot be changed.
pub(crate) fn give(path: &Path, user: Option<&RunAs>) -> Result<(), DeployProblem> {
    match user {
        Some(user) => change(path, user.account.uid, user.account.gid, Modes::Kept),
        None => Ok(()),
    }
}

/// Takes `path` and all below it back from the site's user, who may read it as before; does nothing where there is none.
///
/// # Errors
/// When an owner cannot be changed.
pub(crate) fn take_back(path: &Path, user: Option<&RunAs>) -> Result<(), DeployProblem> {
    match user {
        // What its commands made for themselves alone is their group's now.
        Some(user) => change(path, 0, user.account.gid, Modes::OpenToGroup),
        None => Ok(()),
    }
}

/// What becomes of the permissions.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Modes {
    Kept,
    /// The group may read and enter what the owner may.
    OpenToGroup,
}

fn change(path: &Path, uid: u32, gid: u32, modes: Modes) -> Result<(), DeployProblem> {
    let owner = Owner { uid: Uid::from_raw(uid), gid: Gid::from_raw(gid), modes };
    let walk = || -> io::Result<()> {
        if fs::symlink_metadata(path)?.is_dir() {
            owner.of_folder(&openat(CWD, path, FOLDER, Mode::empty())?)
        } else {
            owner.of_entry(CWD, path)
        }
    };
    walk().map_err(DeployProblem::file("cannot change the owner of", path))
}

const FOLDER: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Not blocking: what was a file may be a FIFO by now.
const FILE: OFlags =
    OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

struct Owner {
    uid: Uid,
    gid: Gid,
    modes: Modes,
}

impl Owner {
    fn of_folder(&self, folder: &OwnedFd) -> io::Result<()> {
        for entry in Dir::read_from(folder)? {
            let entry = entry?;
            let name: &CStr = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            match (entry.file_type(), self.modes) {
                (FileType::Directory, _) => {
                    self.of_folder(&openat(folder, name, FOLDER, Mode::empty())?)?;
                }
                (FileType::RegularFile, Modes::OpenToGroup) => {
                    self.of_opened(&openat(folder, name, FILE, Mode::empty())?)?;
                }
                _ => self.of_entry(folder, name)?,
            }
        }
        self.of_opened(folder)
    }

    fn of_opened(&self, opened: &OwnedFd) -> io::Result<()> {
        fchown(opened, Some(self.uid), Some(self.gid))?;
        if self.modes == Modes::OpenToGroup {
            let mode = Mode::from_raw_mode(fstat(opened)?.st_mode);
            let open = mode | Mode::from_raw_mode((mode & (Mode::RUSR | Mode::XUSR)).bits() >> 3);
            if open != mode {
                fchmod(opened, open)?;
            }
        }
        Ok(())
    }

    fn of_entry(&self, folder: impl AsFd, name: impl rustix::path::Arg) -> io::Result<()> {
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        Ok(chownat(folder, name, Some(self.uid), Some(self.gid), flags)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use onebox_config::Account;

    #[test]
    fn a_tree_changes_its_owner_and_what_its_links_point_to_does_not() {
        if !rustix::process::geteuid().is_root() {
            // Only root can give files away.
            return;
        }
        let root = tempfile::tempdir().unwrap();
        let outside = root.path().join("outside");
        let tree = root.path().join("tree");
        fs::create_dir_all(tree.join("a")).unwrap();
        fs::write(&outside, "").unwrap();
        fs::write(tree.join("a/file"), "").unwrap();
        symlink(&outside, tree.join("a/link")).unwrap();
        let account = Account::of_numbers(12345, 54321);
        let user = RunAs { account, home: root.path().to_path_buf() };
        give(&tree, Some(&user)).unwrap();
        let uid = |path: &Path| fs::symlink_metadata(path).unwrap().uid();
        assert_eq!(uid(&tree.join("a/file")), 12345);
        assert_eq!(uid(&tree.join("a/link")), 12345);
        assert_eq!(uid(&tree), 12345);
        assert_eq!(uid(&outside), 0);
        let private = fs::Permissions::from_mode(0o600);
        fs::set_permissions(tree.join("a/file"), private).unwrap();
        take_back(&tree, Some(&user)).unwrap();
        let file = fs::metadata(tree.join("a/file")).unwrap();
        assert_eq!((file.uid(), file.gid(), file.mode() & 0o777), (0, 54321, 0o640));
    }
}
