//! Users and groups of this machine: names and numbers → what a process needs to run as one.
//!
//! Asks the machine's own databases, which need not be files. Source: getpwnam(3), getgrnam(3), getgrouplist(3).

use std::ffi::CString;
use std::path::PathBuf;

use nix::unistd::{Gid, Group, Uid, User, getgrouplist};

/// Whom a process runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The user's number.
    pub uid: u32,
    /// The group's number.
    pub gid: u32,
    /// Every group that it is in.
    pub groups: Vec<u32>,
    /// The user's name; `None` where the machine has none for the number.
    pub name: Option<String>,
    /// The user's home, which need not be there.
    pub home: Option<PathBuf>,
}

impl Account {
    /// The account of a user, by name or number, with every group it is in; `None` where the machine does not know it.
    pub fn find(user: &str) -> Option<Self> {
        // Asking again where the database could not be asked would only hide that: both mean that nobody can run as it.
        let found = match user.parse() {
            Ok(number) => User::from_uid(Uid::from_raw(number)),
            Err(_) => User::from_name(user),
        };
        let User { name, uid, gid, dir, .. } = found.ok().flatten()?;
        let groups =
            CString::new(name.as_str()).ok().and_then(|name| getgrouplist(&name, gid).ok());
        let groups = groups.unwrap_or_else(|| vec![gid]).into_iter().map(Gid::as_raw).collect();
        Some(Self {
            uid: uid.as_raw(),
            gid: gid.as_raw(),
            groups,
            name: Some(name),
            home: Some(dir),
        })
    }

    /// An account of numbers alone.
    pub fn of_numbers(uid: u32, gid: u32) -> Self {
        Self { uid, gid, groups: vec![gid], name: None, home: None }
    }

    /// As people call it: its name, else its number.
    pub fn shown(&self) -> String {
        self.name.clone().unwrap_or_else(|| self.uid.to_string())
    }
}

/// The number of a user; a number stands for itself.
pub fn user_number(user: &str) -> Option<u32> {
    let named = || Some(User::from_name(user).ok()??.uid.as_raw());
    user.parse().ok().or_else(named).filter(is_somebodys)
}

/// The number of a group; a number stands for itself.
pub fn group_number(group: &str) -> Option<u32> {
    let named = || Some(Group::from_name(group).ok()??.gid.as_raw());
    group.parse().ok().or_else(named).filter(is_somebodys)
}

/// To system calls the largest number means "leave it as it is" (chown(2), setresuid(2)).
fn is_somebodys(number: &u32) -> bool {
    *number != u32::MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_zero_everywhere_by_name_and_by_number() {
        let root = Account::find("root").unwrap();
        assert_eq!((root.uid, root.gid, root.shown().as_str()), (0, 0, "root"));
        assert!(root.groups.contains(&0) && root.home.is_some());
        assert_eq!(Account::find("0"), Some(root));
        assert_eq!((user_number("root"), group_number("root")), (Some(0), Some(0)));
    }

    #[test]
    fn who_is_not_known_is_nobody_and_a_number_is_itself() {
        assert_eq!(Account::find("nobody-has-this-name"), None);
        assert_eq!(Account::find(""), None);
        assert_eq!((user_number("4711"), group_number("nobody-has-this-name")), (Some(4711), None));
        assert_eq!((user_number("4294967295"), group_number("4294967295")), (None, None));
        assert_eq!(Account::of_numbers(7, 8).shown(), "7");
    }
}
