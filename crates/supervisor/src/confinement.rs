//! What a child is held to from before its program begins: its control group, user, file mode mask, niceness, limits and,
//! where the site asks for it, a system that it can only read. No child ever gains privileges.
//!
//! Must not know what the children do. Source: setrlimit(2), `PR_SET_NO_NEW_PRIVS` in prctl(2), landlock(7).
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use landlock::{
    ABI, Access, AccessFs, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, RulesetError,
};
use onebox_config::Account;
use onebox_config::site::ProcessProperties;
use rustix::fs::Mode;
use rustix::process::{Gid, Resource, Rlimit, Uid, setpriority_process, setrlimit, umask};
use rustix::thread::{set_no_new_privs, set_thread_gid, set_thread_groups, set_thread_uid};

use crate::{mask, users};

/// Where everybody may write, as far as the permissions of files go.
const SHARED_BY_ALL: [&str; 3] = ["/tmp", "/var/tmp", "/dev"];

/// What a child is held to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Confinement {
    /// `None`: the supervisor's own user.
    pub(crate) account: Option<Account>,
    umask: Option<Mode>,
    nice: Option<i32>,
    limits: Vec<(Resource, u64)>,
    /// Where it may write; `None`: wherever its user may.
    writable: Option<Vec<PathBuf>>,
    /// The `cgroup.procs` of the control group that it belongs to.
    group: Option<Arc<File>>,
}

impl Confinement {
    /// A child that only has another user than the supervisor.
    pub(crate) fn to_user(account: Option<Account>) -> Self {
        Self { account, ..Self::default() }
    }

    /// The processes of a site, whose own folders are `folders`.
    pub(crate) fn of_site(
        account: Option<Account>,
        properties: &ProcessProperties,
        folders: Vec<PathBuf>,
    ) -> Self {
        let limits = users::limits(properties).into_iter();
        Self {
            account,
            umask: properties.umask.map(Mode::from_raw_mode),
            nice: properties.nice,
            limits: limits.map(|(_, resource, value)| (resource, value)).collect(),
            writable: properties.read_only_system.then_some(folders),
            group: None,
        }
    }

    /// The same in another control group, whose `cgroup.procs` this is.
    pub(crate) fn in_group(self, entrance: Option<Arc<File>>) -> Self {
        Self { group: entrance, ..self }
    }

    /// Holds what `command` starts to this.
    ///
    /// # Errors
    /// Where the rules of a read-only system can't be made.
    pub(crate) fn hold(&self, command: &mut Command) -> io::Result<()> {
        let rules = match &self.writable {
            Some(folders) => rules(folders).map_err(io::Error::other)?,
            None => None,
        };
        let (nice, mask) = (self.nice, self.umask.or_else(mask::of_children));
        let group = self.group.clone();
        let limits: Vec<(Resource, Rlimit)> = self
            .limits
            .iter()
            .map(|(resource, value)| {
                (*resource, Rlimit { current: Some(*value), maximum: Some(*value) })
            })
            .collect();
        let user = self.account.as_ref().map(|account| {
            let groups = account.groups.iter().map(|group| Gid::from_raw(*group));
            let groups: Vec<Gid> = groups.collect();
            (groups, Gid::from_raw(account.gid), Uid::from_raw(account.uid))
        });
        // SAFETY: between fork and exec the closure makes only system calls, by rustix's raw backend, which neither allocates
        // nor locks, and by syscall(2); everything they need was made before, and the closure owns it.
        unsafe {
            command.pre_exec(move || {
                // What only root may do comes first.
                if let Some(group) = &group {
                    rustix::io::write(group, b"0")?;
                }
                if let Some(nice) = nice {
                    setpriority_process(None, nice)?;
                }
                for (resource, limit) in &limits {
                    setrlimit(*resource, *limit)?;
                }
                if let Some(mask) = mask {
                    umask(mask);
                }
                if let Some((groups, gid, uid)) = &user {
                    set_thread_groups(groups)?;
                    set_thread_gid(*gid)?;
                    set_thread_uid(*uid)?;
                }
                set_no_new_privs(true)?;
                rules.as_ref().map_or(Ok(()), restrict)
            });
        }
        Ok(())
    }
}

/// Everything can be read and run, and written only below `folders` and where everybody may.
fn rules(folders: &[PathBuf]) -> Result<Option<OwnedFd>, RulesetError> {
    // What newer kernels can hold a process to as well; the oldest one that can do it at all has to.
    let abi = ABI::V5;
    let ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(ABI::V1))?
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(abi))?
        .create()?;
    let everywhere = beneath(ruleset, "/".as_ref(), AccessFs::from_read(abi))?;
    let writable = folders.iter().cloned().chain(SHARED_BY_ALL.map(PathBuf::from));
    let ruleset = writable.into_iter().try_fold(everywhere, |ruleset, folder| {
        beneath(ruleset, &folder, AccessFs::from_all(abi))
    })?;
    Ok(ruleset.into())
}

/// A folder that is not there can't be written to anyway.
fn beneath(
    ruleset: RulesetCreated,
    folder: &std::path::Path,
    access: impl Into<landlock::BitFlags<AccessFs>>,
) -> Result<RulesetCreated, RulesetError> {
    match PathFd::new(folder) {
        Ok(opened) => ruleset.add_rule(PathBeneath::new(opened, access)),
        Err(_) => Ok(ruleset),
    }
}

/// Between fork and exec: holds the process to the rules for ever.
fn restrict(rules: &OwnedFd) -> io::Result<()> {
    // SAFETY: landlock_restrict_self(2) takes a descriptor, which is open as long as `rules` is, and flags.
    match unsafe { libc::syscall(libc::SYS_landlock_restrict_self, rules.as_raw_fd(), 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(confinement: &Confinement, script: &str) -> String {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        confinement.hold(&mut command).unwrap();
        let output = command.output().unwrap();
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    #[test]
    fn nobody_gains_privileges() {
        let said = said(&Confinement::default(), "grep NoNewPrivs /proc/self/status");
        assert_eq!(said, "NoNewPrivs:\t1");
    }

    #[test]
    fn limits_mask_and_niceness_are_those_of_the_site() {
        let properties = ProcessProperties {
            umask: Some(0o027),
            nice: Some(7),
            limit_nofile: Some(123),
            limit_as: Some(1 << 30),
            limit_nproc: Some(4321),
            ..ProcessProperties::default()
        };
        let confinement = Confinement::of_site(None, &properties, Vec::new());
        let script = "umask; cut -d' ' -f19 /proc/self/stat; ulimit -n; ulimit -Hn; ulimit -v; \
                      grep 'Max processes' /proc/self/limits";
        let said = said(&confinement, script);
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!(lines[..5], ["0027", "7", "123", "123", "1048576"]);
        assert!(lines[5].contains(" 4321 "), "{said}");
    }

    #[test]
    fn a_read_only_system_can_be_written_only_in_its_own_folders() {
        // Not where the checkout may be: /tmp can be written.
        let home = std::env::home_dir().unwrap();
        let own = tempfile::tempdir_in(&home).unwrap();
        let other = tempfile::tempdir_in(&home).unwrap();
        let properties = ProcessProperties { read_only_system: true, ..Default::default() };
        let folders = vec![own.path().to_owned(), PathBuf::from("/nowhere")];
        let confinement = Confinement::of_site(None, &properties, folders);
        let (own, other) = (own.path().display(), other.path().display());
        let script = format!(
            "for folder in {own} {other} /tmp /dev/shm; do \
               if touch $folder/$$ 2>/dev/null; then rm $folder/$$; echo yes; else echo no; fi; done; \
             echo >/dev/null && cat /etc/passwd >/dev/null && echo read"
        );
        assert_eq!(said(&confinement, &script), "yes\nno\nyes\nyes\nread");
    }

    #[test]
    fn another_user_has_its_own_groups_and_no_way_back() {
        if !rustix::process::geteuid().is_root() {
            // Only root can become somebody else.
            return;
        }
        let mut account = Account::of_numbers(12_345, 23_456);
        account.groups.push(34_567);
        let confinement = Confinement::to_user(Some(account));
        assert_eq!(said(&confinement, "id -u; id -g; id -G"), "12345\n23456\n23456 34567");
    }
}
