//! What a site's processes are like: whom they run as, where, and within which limits.
//!
//! Source: uWSGI's options of the same names; setrlimit(2), setpriority(2), landlock(7).

use std::path::PathBuf;

use landlock::{
    ABI, Access, AccessFs, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetError,
};

use crate::Account;
use crate::section::Section;
use crate::types::{Invalid, group, mask, number, site_path, size, text, truth, user};
use crate::value::Value;

const MB: u64 = 1 << 20;
const TB: u64 = 1 << 40;

/// `uid`, `umask` and the like; what is not said stays as it is in the appliance.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProcessProperties {
    /// `uid`, `gid` and `add-gid`; `None`: the user that the box has for sites
    pub account: Option<Account>,
    /// `chdir`: the working folder, below the site's root where it is not absolute; `None`: the application's own
    pub chdir: Option<PathBuf>,
    /// `umask`
    pub umask: Option<u32>,
    /// `nice`
    pub nice: Option<i32>,
    /// `limit-nofile`: open files
    pub limit_nofile: Option<u64>,
    /// `limit-as`, bytes of address space
    pub limit_as: Option<u64>,
    /// `limit-nproc`: processes and threads of the user
    pub limit_nproc: Option<u64>,
    /// `read-only-system`
    pub read_only_system: bool,
}

impl ProcessProperties {
    /// What holds for a whole process, so that one of the engine's can't have it: whether it is set, and its name. Whether the
    /// user is another one than the engine's is not known here.
    pub(super) fn of_own_processes(&self) -> [(bool, &'static str); 6] {
        [
            (self.umask.is_some(), "`umask`"),
            (self.nice.is_some(), "`nice`"),
            (self.limit_nofile.is_some(), "`limit-nofile`"),
            (self.limit_as.is_some(), "`limit-as`"),
            (self.limit_nproc.is_some(), "`limit-nproc`"),
            (self.read_only_system, "`read-only-system`"),
        ]
    }
}

/// Reads the keys at the top of a site's file.
pub(super) fn read(top: &mut Section) -> ProcessProperties {
    ProcessProperties {
        account: read_account(top),
        chdir: top.read("chdir", text(folder)),
        umask: top.read("umask", mask),
        nice: top.read("nice", number(-20..=19)),
        limit_nofile: top.read("limit-nofile", number(32..=1_048_576)),
        limit_as: top.read("limit-as", size(64 * MB..=TB)),
        limit_nproc: top.read("limit-nproc", number(1..=4_194_304)),
        read_only_system: top.read("read-only-system", read_only_system).unwrap_or(false),
    }
}

fn read_account(top: &mut Section) -> Option<Account> {
    let uid_origin = top.origin_of("uid");
    let of_user = ["gid", "add-gid", "allow-root"];
    let of_user = of_user.map(|key| top.origin_of(key).map(|origin| (key, origin)));
    let gid_origin = top.origin_of("gid");
    let account = top.read("uid", user);
    let gid = top.read("gid", group);
    let items = top.items("add-gid").into_iter();
    let added: Vec<Option<u32>> =
        items.map(|item| top.note("add-gid", &item.origin, group(&item.value))).collect();
    let may_be_root = top.read("allow-root", truth).unwrap_or(false);
    let Some(uid_origin) = uid_origin else {
        for (key, origin) in of_user.into_iter().flatten() {
            let invalid = Invalid::new("says nothing without `uid`");
            top.refuse(key, origin, invalid.hint("name the user too: uid = \"www-data\""));
        }
        return None;
    };
    let mut account = account?;
    account.gid = gid.unwrap_or(account.gid);
    account.groups.extend(added.into_iter().flatten().chain([account.gid]));
    account.groups.sort_unstable();
    account.groups.dedup();
    let root = |what: &str| {
        Invalid::new(format!("would make the application {what} of this machine"))
            .hint("name another one; `allow-root = true` allows it")
    };
    if !may_be_root && account.uid == 0 {
        top.refuse("uid", uid_origin, root("root"));
    } else if let (false, 0, Some(origin)) = (may_be_root, account.gid, gid_origin) {
        top.refuse("gid", origin, root("a member of root's group"));
    }
    Some(account)
}

/// `chdir`: an absolute folder, or one below the site's root.
fn folder(text: &str) -> Result<PathBuf, Invalid> {
    if text.starts_with('/') && !text.contains('\0') {
        return Ok(PathBuf::from(text));
    }
    site_path(text)
}

/// Refused where it could not be kept.
fn read_only_system(value: &Value) -> Result<bool, Invalid> {
    let wanted = truth(value)?;
    if wanted && let Err(error) = try_landlock() {
        return Err(Invalid::new(format!("can't be kept: this kernel has no landlock ({error})"))
            .hint("it needs Linux 5.13 or later, with landlock among its `lsm=`; leave it out"));
    }
    Ok(wanted)
}

/// Makes a set of rules that nobody is held to.
fn try_landlock() -> Result<(), RulesetError> {
    let ruleset = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    ruleset.handle_access(AccessFs::from_all(ABI::V1))?.create().map(drop)
}
