//! Memory limits that the kernel keeps: a control group for each process that has one.
//!
//! Only in a group that was handed over to us (systemd's `Delegate=`, or the root of a container's own hierarchy) and that nobody
//! else is in. What has controllers for its children may have no processes itself: the supervisor goes down into a group of its
//! own first, before it starts anybody, and all its children begin there. Elsewhere `memory` looks how much a process takes.
//!
//! Source: the kernel's "Control Group v2": "Delegation", "No Internal Process Constraint", "Memory Interface Files".

use std::fs::{self, File};
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::getxattr;

/// Where the hierarchy of version 2 is mounted.
const ROOT: &str = "/sys/fs/cgroup";
/// The supervisor's group.
const OURS: &str = "onebox-supervisor";
/// What the names of the other ones begin with.
const PREFIX: &str = "onebox-process-";

/// How memory limits are kept here.
#[derive(Debug)]
pub(crate) enum MemoryGroups {
    ByKernel(Groups),
    /// By looking, and why.
    ByLooking(Unavailable),
}

/// Why there are no groups.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unavailable {
    #[error("this process is in no control group of version 2")]
    NoHierarchy,
    #[error("{0} is not handed over to onebox (`Delegate=memory` in the systemd unit)")]
    NotDelegated(PathBuf),
    #[error("{0} has no memory controller")]
    NoController(PathBuf),
    #[error("other processes are in {0}")]
    Shared(PathBuf),
    #[error("{path} can't be used: {source}")]
    Refused { path: PathBuf, source: io::Error },
}

impl MemoryGroups {
    /// For the children of this process, which has none yet.
    pub(crate) fn find() -> Self {
        let membership = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        // Process 1 of a container stands in front of us (`first_process`).
        let in_front = std::os::unix::process::parent_id();
        let ours = [Some(std::process::id()), Some(in_front).filter(|pid| *pid == 1)];
        match Groups::find(ROOT.as_ref(), &membership, &ours) {
            Ok(groups) => {
                tracing::info!(group = %groups.folder.display(), "the kernel keeps memory limits");
                Self::ByKernel(groups)
            }
            Err(reason) => {
                tracing::debug!(%reason, "memory limits are kept by looking");
                Self::ByLooking(reason)
            }
        }
    }

    /// A group for one more process; `None` where there are none.
    pub(super) fn make(&self, limit_bytes: u64) -> Option<Group> {
        let Self::ByKernel(groups) = self else { return None };
        let made = groups.make(limit_bytes);
        made.inspect_err(|error| tracing::warn!(%error, "a process gets no control group")).ok()
    }

    /// For whoever asks how a site's `memory-limit` is kept.
    pub(crate) fn sentence(&self) -> String {
        match self {
            Self::ByKernel(_) => {
                "`memory-limit` is kept by the kernel, for a process and what it starts.".to_owned()
            }
            Self::ByLooking(reason) => {
                format!("`memory-limit` is looked at ten times a second: {reason}.")
            }
        }
    }
}

/// The group that was handed over, with a controller for its children.
#[derive(Debug)]
pub(crate) struct Groups {
    folder: PathBuf,
    next: AtomicU64,
}

impl Groups {
    /// Takes over the group of this process, below `root`; `membership` is what proc(5) says of it, `ours` who may be in it.
    fn find(root: &Path, membership: &str, ours: &[Option<u32>]) -> Result<Self, Unavailable> {
        let path = membership.lines().find_map(|line| line.strip_prefix("0::/"));
        let path = Path::new(path.ok_or(Unavailable::NoHierarchy)?);
        let place = root.join(path);
        // An earlier program of this process was here.
        let is_settled = path.ends_with(OURS);
        let folder = place.parent().filter(|_| is_settled).unwrap_or(&place).to_path_buf();
        if !path.components().all(|part| matches!(part, Component::Normal(_)))
            || (folder != root && !is_delegated(&folder))
        {
            return Err(Unavailable::NotDelegated(folder));
        }
        let file = |name: &str| folder.join(name);
        let refused = |path: &Path| {
            let path = path.to_path_buf();
            move |source| Unavailable::Refused { path, source }
        };
        let controllers = file("cgroup.controllers");
        let controllers = fs::read_to_string(&controllers).map_err(refused(&controllers))?;
        if !controllers.split_ascii_whitespace().any(|name| name == "memory") {
            return Err(Unavailable::NoController(folder));
        }
        let listed = file("cgroup.procs");
        let inside = fs::read_to_string(&listed).map_err(refused(&listed))?;
        if !inside.lines().all(|pid| pid.parse().is_ok_and(|pid| ours.contains(&Some(pid)))) {
            return Err(Unavailable::Shared(folder));
        }
        let own = file(OURS);
        match fs::create_dir(&own) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(refused(&own)(error));
            }
            _ => {}
        }
        let control = file("cgroup.subtree_control");
        let settled = move_all(&inside, &own)
            .map_err(refused(&own))
            .and_then(|()| fs::write(&control, "+memory").map_err(refused(&control)));
        if let Err(error) = settled {
            move_all(&inside, &folder).ok();
            fs::remove_dir(&own).ok();
            return Err(error);
        }
        let groups = Self { folder, next: AtomicU64::new(0) };
        groups.sweep();
        Ok(groups)
    }

    fn make(&self, limit_bytes: u64) -> io::Result<Group> {
        self.sweep();
        let group = loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let folder = self.folder.join(format!("{PREFIX}{number}"));
            match fs::create_dir(&folder) {
                Ok(()) => {
                    let entrance = folder.join("cgroup.procs");
                    let entrance =
                        File::options().write(true).create(true).truncate(false).open(entrance);
                    break Group { folder, entrance: Arc::new(entrance?) };
                }
                // Whom an earlier process started is still in it.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        };
        fs::write(group.folder.join("memory.max"), limit_bytes.to_string())?;
        // One that passes its limit ends whole.
        fs::write(group.folder.join("memory.oom.group"), "1")?;
        // Where memory is swapped out, the limit would be none. Not every kernel counts that.
        fs::write(group.folder.join("memory.swap.max"), "0").ok();
        Ok(group)
    }

    /// Removes what was left behind; the kernel keeps what somebody is in.
    fn sweep(&self) {
        let Ok(entries) = fs::read_dir(&self.folder) else { return };
        for entry in entries.flatten() {
            if entry.file_name().as_encoded_bytes().starts_with(PREFIX.as_bytes()) {
                fs::remove_dir(entry.path()).ok();
            }
        }
    }
}

/// Marks that systemd puts on what it hands over.
fn is_delegated(folder: &Path) -> bool {
    ["user.delegate", "trusted.delegate"].iter().any(|name| {
        let mut value = [0; 1];
        getxattr(folder, *name, &mut value).is_ok_and(|size| size == 1) && value == *b"1"
    })
}

/// Puts processes into a group, one line each.
fn move_all(pids: &str, folder: &Path) -> io::Result<()> {
    pids.lines().try_for_each(|pid| fs::write(folder.join("cgroup.procs"), pid))
}

/// The group of one process; it goes with this.
#[derive(Debug)]
pub(super) struct Group {
    folder: PathBuf,
    /// A process that writes "0" here is in it.
    pub(super) entrance: Arc<File>,
}

impl Group {
    /// Whether the kernel has killed somebody in it for memory.
    pub(super) fn has_killed(&self) -> bool {
        let events = fs::read_to_string(self.folder.join("memory.events")).unwrap_or_default();
        let count = events.lines().find_map(|line| line.strip_prefix("oom_kill "));
        count.is_some_and(|count| count != "0")
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        fs::remove_dir(&self.folder).ok();
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::confinement::Confinement;

    const SUPERVISOR: [Option<u32>; 2] = [Some(71), None];

    /// A hierarchy of plain files, as a container sees its own.
    fn hierarchy(controllers: &str, inside: &str) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("cgroup.controllers"), controllers).unwrap();
        fs::write(root.path().join("cgroup.procs"), inside).unwrap();
        root
    }

    fn read(path: PathBuf) -> String {
        fs::read_to_string(path).unwrap()
    }

    #[test]
    fn the_supervisor_goes_down_and_a_process_gets_a_group_with_its_limit() {
        let root = hierarchy("cpu memory pids", "71\n1\n");
        let stale = root.path().join("onebox-process-0");
        fs::create_dir(&stale).unwrap();
        fs::create_dir(root.path().join("other")).unwrap();
        let groups = Groups::find(root.path(), "0::/\n", &[Some(71), Some(1)]).unwrap();
        // Each write moves one.
        assert_eq!(read(root.path().join("onebox-supervisor/cgroup.procs")), "1");
        assert_eq!(read(root.path().join("cgroup.subtree_control")), "+memory");
        assert!(!stale.exists() && root.path().join("other").exists());

        let group = groups.make(150 << 20).unwrap();
        let folder = group.folder.clone();
        let said = ["memory.max", "memory.oom.group", "memory.swap.max"];
        assert_eq!(said.map(|name| read(folder.join(name))), ["157286400", "1", "0"]);
        let confinement = Confinement::default().in_group(Some(Arc::clone(&group.entrance)));
        let mut command = Command::new("/bin/true");
        confinement.hold(&mut command).unwrap();
        assert!(command.status().unwrap().success());
        assert_eq!(read(folder.join("cgroup.procs")), "0");
        assert!(!group.has_killed());
        fs::write(folder.join("memory.events"), "oom 0\noom_kill 0\n").unwrap();
        assert!(!group.has_killed());
        fs::write(folder.join("memory.events"), "oom 1\noom_kill 1\noom_group_kill 1\n").unwrap();
        assert!(group.has_killed());

        let another = groups.make(1 << 20).unwrap();
        assert_ne!(another.folder, folder);
        // The files are the kernel's, and go with their group.
        for file in fs::read_dir(&folder).unwrap() {
            fs::remove_file(file.unwrap().path()).unwrap();
        }
        drop(group);
        assert!(!folder.exists());
    }

    #[test]
    fn the_next_program_of_the_process_finds_its_group_again() {
        let root = hierarchy("memory", "");
        fs::create_dir(root.path().join("onebox-supervisor")).unwrap();
        let busy = root.path().join("onebox-process-0");
        fs::create_dir(&busy).unwrap();
        fs::write(busy.join("cgroup.procs"), "99").unwrap();
        let groups = Groups::find(root.path(), "0::/onebox-supervisor\n", &SUPERVISOR).unwrap();
        assert_eq!(groups.folder, root.path());
        assert!(busy.exists());
        assert_eq!(groups.make(1).unwrap().folder, root.path().join("onebox-process-1"));
    }

    #[test]
    fn what_is_not_ours_is_left_alone() {
        let refused = |root: &tempfile::TempDir, membership: &str| {
            let error = Groups::find(root.path(), membership, &SUPERVISOR).unwrap_err();
            assert!(!root.path().join("onebox-supervisor").exists(), "{error}");
            error.to_string()
        };
        let root = hierarchy("cpu memory", "71\n72\n");
        assert!(refused(&root, "0::/\n").starts_with("other processes are in"));
        assert!(refused(&root, "4:memory:/x\n").contains("no control group"));
        assert!(refused(&root, "0::/../x\n").contains("not handed over"));
        fs::create_dir(root.path().join("session.scope")).unwrap();
        assert!(refused(&root, "0::/session.scope\n").contains("not handed over"));
        let without = hierarchy("cpu pids", "71\n");
        assert!(refused(&without, "0::/\n").contains("no memory controller"));
        let nothing = tempfile::tempdir().unwrap();
        assert!(refused(&nothing, "0::/\n").contains("can't be used"));
    }

    #[test]
    fn a_group_that_gives_its_children_no_controller_is_left_as_it_was() {
        let root = hierarchy("memory", "71\n");
        fs::create_dir(root.path().join("cgroup.subtree_control")).unwrap();
        let error = Groups::find(root.path(), "0::/\n", &SUPERVISOR).unwrap_err();
        assert!(matches!(error, Unavailable::Refused { .. }), "{error}");
        assert_eq!(read(root.path().join("cgroup.procs")), "71");
    }
}
