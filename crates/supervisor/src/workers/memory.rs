//! How much memory a process takes, and the end of one that takes too much.
//!
//! Source: proc_pid_statm(5).

use std::fs;
use std::time::Duration;

use rustix::process::Signal;

use crate::process::Process;

/// How often the memory of a process with a limit is looked at.
const LOOKS: Duration = Duration::from_millis(100);

/// The resident memory of a process; `None` where it is gone.
pub(super) fn resident_bytes(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let pages: u64 = text.split_ascii_whitespace().nth(1)?.parse().ok()?;
    pages.checked_mul(u64::try_from(rustix::param::page_size()).ok()?)
}

/// Watches a process until it takes more than `limit` bytes and kills it: how many it took. `None`: it ended by itself.
pub(super) async fn kill_above(limit: u64, process: &Process) -> Option<u64> {
    loop {
        tokio::select! {
            () = tokio::time::sleep(LOOKS) => {}
            () = process.ended() => return None,
        }
        if let Some(taken) = resident_bytes(process.pid()).filter(|taken| *taken > limit) {
            process.signal(Signal::KILL);
            return Some(taken);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::confinement::Confinement;
    use crate::process::{Exit, spawn};

    #[test]
    fn this_process_takes_memory_and_one_that_is_gone_none() {
        assert!(resident_bytes(std::process::id()).unwrap() > 1_000_000);
        assert_eq!(resident_bytes(u32::MAX), None);
    }

    #[tokio::test]
    async fn a_process_above_its_limit_is_killed_and_one_below_is_not() {
        let shell = |script: &str| {
            let mut command = Command::new("/bin/sh");
            command.args(["-c", script]);
            spawn(command, &[], &Confinement::default()).unwrap()
        };
        let (large, _output) = shell("sleep 60");
        let taken = kill_above(1, &large).await;
        assert!(taken.is_some_and(|taken| taken > 1));
        assert_eq!(large.exited().await, Exit::Signal(9));
        let (small, _output) = shell("sleep 0.2; exit 3");
        assert_eq!(kill_above(u64::MAX, &small).await, None);
        assert_eq!(small.exited().await, Exit::Status(3));
    }
}
