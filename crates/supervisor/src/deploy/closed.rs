//! Who gets through to a site's folder: the supervisor, the engine and the site's user, and no other user of the machine.
//!
//! The two are different users, so that it takes an access control list: that of acl(5), in the layout of Linux's
//! `posix_acl_xattr.h`.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use onebox_config::SiteConfig;
use onebox_config::site::SocketAddress;
use rustix::fs::{XattrFlags, getxattr, removexattr, setxattr};
use rustix::io::Errno;

use super::error::DeployProblem;
use crate::users::{RunAs, SiteDefaults, another};

const ACL: &str = "system.posix_acl_access";
const VERSION: u32 = 2;
/// The id of entries that name nobody.
const NOBODY: u32 = u32::MAX;
/// Tags of entries.
const OWNER: u16 = 0x01;
const USER: u16 = 0x02;
const GROUP: u16 = 0x04;
const MASK: u16 = 0x10;
const OTHERS: u16 = 0x20;
/// What may be done with a folder.
const EVERYTHING: u16 = 7;
const ENTER: u16 = 1;

/// Closes a site's folder, unless servers shall find a Unix socket in it. Who was let in before stays: a release of another user
/// may still run.
///
/// # Errors
/// When the folder can't be changed.
pub(crate) fn close(
    defaults: &SiteDefaults,
    site: &str,
    config: &SiteConfig,
    user: Option<&RunAs>,
) -> Result<(), DeployProblem> {
    let folder = defaults.paths.site_dir(site);
    let has_socket = config.sockets.addresses.iter().any(|address| match address {
        SocketAddress::Unix(path) => path.is_relative() || path.starts_with(&folder),
        SocketAddress::Tcp(_) => false,
    });
    let engine = another(defaults.user.as_ref());
    let users = [engine, user.map(|user| &user.account)].into_iter().flatten();
    let closed = match has_socket {
        true => open(&folder),
        false => let_in(&folder, users.map(|account| account.uid).collect()),
    };
    closed.map_err(DeployProblem::file("cannot close the folder", &folder))
}

fn open(folder: &Path) -> io::Result<()> {
    match removexattr(folder, ACL) {
        Ok(()) | Err(Errno::NODATA | Errno::NOTSUP) => {}
        Err(error) => return Err(error.into()),
    }
    fs::set_permissions(folder, Permissions::from_mode(0o711))
}

fn let_in(folder: &Path, mut users: BTreeSet<u32>) -> io::Result<()> {
    users.extend(known(folder)?);
    if users.is_empty() {
        return fs::set_permissions(folder, Permissions::from_mode(0o700));
    }
    match setxattr(folder, ACL, &encode(&users), XattrFlags::empty()) {
        Err(Errno::NOTSUP) => {
            tracing::warn!(
                folder = %folder.display(),
                "its file system has no access control lists: other users of this machine can get to the site's files"
            );
            Ok(())
        }
        set => Ok(set?),
    }
}

/// Whom a list lets in.
fn known(folder: &Path) -> io::Result<Vec<u32>> {
    let mut list = [0; 4 << 10];
    let size = match getxattr(folder, ACL, &mut list) {
        Err(Errno::NODATA | Errno::NOTSUP) => 0,
        size => size?,
    };
    let (entries, _) = list.get(4..size).unwrap_or_default().as_chunks::<8>();
    let users = entries.iter().filter_map(|[tag0, tag1, _, _, id0, id1, id2, id3]| {
        let is_user = u16::from_le_bytes([*tag0, *tag1]) == USER;
        is_user.then(|| u32::from_le_bytes([*id0, *id1, *id2, *id3]))
    });
    Ok(users.collect())
}

fn encode(users: &BTreeSet<u32>) -> Vec<u8> {
    let others = [(GROUP, 0, NOBODY), (MASK, ENTER, NOBODY), (OTHERS, 0, NOBODY)];
    let entries = [(OWNER, EVERYTHING, NOBODY)]
        .into_iter()
        .chain(users.iter().map(|uid| (USER, ENTER, *uid)))
        .chain(others);
    let mut list = VERSION.to_le_bytes().to_vec();
    for (tag, rights, id) in entries {
        list.extend(tag.to_le_bytes());
        list.extend(rights.to_le_bytes());
        list.extend(id.to_le_bytes());
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_let_in_stays_and_nobody_else_gets_in() {
        let folder = tempfile::tempdir().unwrap();
        let mode = || fs::metadata(folder.path()).unwrap().permissions().mode() & 0o777;
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        let_in(folder.path(), BTreeSet::new()).unwrap();
        assert_eq!((mode(), known(folder.path()).unwrap()), (0o700, vec![]));
        let_in(folder.path(), [33].into()).unwrap();
        let_in(folder.path(), [65530, 7].into()).unwrap();
        // What the group may is the mask, where there is a list.
        assert_eq!((mode(), known(folder.path()).unwrap()), (0o710, vec![7, 33, 65530]));
        open(folder.path()).unwrap();
        assert_eq!((mode(), known(folder.path()).unwrap()), (0o711, vec![]));
    }
}
