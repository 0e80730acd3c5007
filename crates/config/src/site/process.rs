//! What a site's processes are like: whom they run as, where, and within which limits.
//!
//! Source: uWSGI's options of the same names; setrlimit(2), setpriority(2), landlock(7).

use std::path::PathBuf;

use landlock::{
    ABI, Access, AccessFs, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetError,
};

use crate::accounts::{self, Account};
use crate::section::Section;
use crate::types::{Invalid, mask, must_be, number, site_path, size, text, truth};
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
    let user = top.read("uid", name_or_number);
    let gid = top.read("gid", |value| group(&name_or_number(value)?));
    let items = top.items("add-gid").into_iter();
    let added: Vec<Option<u32>> = items
        .map(|item| {
            let found = name_or_number(&item.value).and_then(|name| group(&name));
            top.note("add-gid", &item.origin, found)
        })
        .collect();
    let may_be_root = top.read("allow-root", truth).unwrap_or(false);
    let Some(uid_origin) = uid_origin else {
        for (key, origin) in of_user.into_iter().flatten() {
            let invalid = Invalid::new("says nothing without `uid`");
            top.refuse(key, origin, invalid.hint("name the user too: uid = \"www-data\""));
        }
        return None;
    };
    let mut account = top.note("uid", &uid_origin, account(&user?, gid, gid_origin.is_some()))?;
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

/// The account of a user; one that only has a number needs the number of a group beside it.
fn account(user: &str, gid: Option<u32>, names_group: bool) -> Result<Account, Invalid> {
    let known = Account::find(user);
    match (known, user.parse(), gid) {
        (Some(account), ..) => Ok(account),
        (None, Ok(uid), Some(gid)) => Ok(Account::of_numbers(uid, gid)),
        // The group is refused by itself.
        (None, Ok(uid), None) if names_group => Ok(Account::of_numbers(uid, uid)),
        (None, Ok(uid), None) => {
            Err(Invalid::new(format!("{uid} is nobody's number on this machine"))
                .hint(format!("say its group too: gid = {uid}")))
        }
        (None, Err(_), _) => Err(Invalid::new(format!("this machine has no user \"{user}\""))
            .hint(format!("make it: useradd --system {user}; or name another one"))),
    }
}

fn group(group: &str) -> Result<u32, Invalid> {
    accounts::group_number(group).ok_or_else(|| {
        Invalid::new(format!("this machine has no group \"{group}\""))
            .hint(format!("make it: groupadd --system {group}; or name another one"))
    })
}

fn name_or_number(value: &Value) -> Result<String, Invalid> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '$' | '@');
    match value {
        // The last two numbers stand for "no user" in system calls.
        Value::Integer(number) if (0..i64::from(u32::MAX)).contains(number) => {
            Ok(number.to_string())
        }
        Value::Text(text) if !text.is_empty() && text.chars().all(is_plain) => Ok(text.clone()),
        Value::Text(text) => {
            Err(Invalid::new(format!("\"{text}\" is neither a name nor a number")))
        }
        Value::Integer(number) => Err(Invalid::new(format!("{number} is nobody's number"))),
        other => Err(must_be("a name or a number", other)),
    }
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
