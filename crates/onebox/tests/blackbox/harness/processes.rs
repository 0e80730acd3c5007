//! Processes by their parents, as /proc has them.
//!
//! Source: proc_pid_stat(5).

use std::fs;
use std::time::{Duration, Instant};

use rustix::process::Pid;

use super::command::DEADLINE;

/// Everything that a process started, and what that started; parents first.
pub(crate) fn descendants(of: Pid) -> Vec<Pid> {
    let all: Vec<(Pid, i32)> = fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| {
            let pid = Pid::from_raw(entry.ok()?.file_name().to_str()?.parse().ok()?)?;
            Some((pid, parent(pid)?))
        })
        .collect();
    let mut found = vec![of];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        let children = all.iter().filter(|(_, of)| *of == parent.as_raw_nonzero().get());
        found.extend(children.map(|(pid, _)| *pid));
        next += 1;
    }
    found.remove(0);
    found
}

/// Those of its descendants that have ended and that nobody has waited for.
pub(crate) fn zombies(of: Pid) -> Vec<Pid> {
    let is_zombie = |pid: &Pid| fields(*pid).is_some_and(|(state, _)| state == "Z");
    descendants(of).into_iter().filter(is_zombie).collect()
}

/// Waits until none of these runs any more; one that nobody waited for does not run either.
pub(crate) fn wait_until_gone(pids: &[Pid]) {
    let begun = Instant::now();
    while let Some(left) =
        pids.iter().find(|pid| fields(**pid).is_some_and(|(state, _)| state != "Z"))
    {
        assert!(begun.elapsed() < DEADLINE, "{left:?} is still there");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn parent(pid: Pid) -> Option<i32> {
    fields(pid).map(|(_, parent)| parent)
}

/// State and parent.
fn fields(pid: Pid) -> Option<(String, i32)> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    // The name before them may hold spaces and brackets.
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    Some((fields.next()?.to_owned(), fields.next()?.parse().ok()?))
}
