//! Child processes: started with chosen descriptors, watched through pidfds, reaped exactly once.
//!
//! Owns the fork and the life pipe. Must not know what the children do. A pidfd stays valid however long the child has been
//! dead, and `waitid(P_PIDFD)` reaps that child alone, so that no other part of the program can steal or lose an exit status.
//!
//! Source: pidfd_open(2), waitid(2); DESIGN section 1.
#![allow(unsafe_code)]

use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use onebox_app_server::{spawn_error, unblock_signals};
use parking_lot::{Mutex, MutexGuard};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, pidfd_send_signal, waitid,
};
use serde::{Deserialize, Serialize};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::unix::pipe;
use tokio::sync::watch;

use crate::confinement::Confinement;
use crate::takeover::Luggage;

/// Descriptors are parked above this number before they are put where the child expects them.
const PARKING_FLOOR: RawFd = 100;

/// Held while a child is started, which inherits what is not closed at exec at that moment.
static SPAWNING: Mutex<()> = Mutex::new(());

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// By itself, with this status.
    Status(i32),
    /// By this signal.
    Signal(i32),
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "exited with status {status}"),
            Self::Signal(9) => write!(f, "was killed (signal 9)"),
            Self::Signal(11) => write!(f, "crashed (signal 11, segmentation fault)"),
            Self::Signal(6) => write!(f, "aborted (signal 6)"),
            Self::Signal(number) => write!(f, "was ended by signal {number}"),
        }
    }
}

/// A child; its exit is reaped whether or not anybody waits for it.
#[derive(Debug)]
pub(crate) struct Process {
    pid: u32,
    pidfd: OwnedFd,
    exit: watch::Receiver<Option<Exit>>,
    /// The same pipes as its [`Output`]'s, to be handed over.
    stdout: OwnedFd,
    stderr: OwnedFd,
}

/// A child of the supervisor before this one: descriptors by their numbers.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ProcessData {
    pid: u32,
    pidfd: RawFd,
    stdout: RawFd,
    stderr: RawFd,
}

/// A child's standard output and error, to be read to their ends.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) stdout: pipe::Receiver,
    pub(crate) stderr: pipe::Receiver,
}

/// Starts a child in a process group of its own, so that a terminal's Ctrl-C reaches only the supervisor. Each of `inherited`
/// is a descriptor and the number it has in the child; what is closed at exec is not there, and that is everything else after
/// [`keep_inherited_descriptors`]. The child is held to `confinement`.
///
/// # Errors
/// Where the program can't be started, or the kernel has no pidfds (before Linux 5.4).
pub(crate) fn spawn(
    mut command: Command,
    inherited: &[(BorrowedFd<'_>, RawFd)],
    confinement: &Confinement,
) -> io::Result<(Process, Output)> {
    confinement.hold(&mut command)?;
    command.stdin(Stdio::null()).stdout(Stdio::piped()).process_group(0);
    spawn_as_told(command, inherited)
}

/// The same for a child that shares our terminal, and what is typed there: its standard output is not captured.
///
/// # Errors
/// As [`spawn`].
pub(crate) fn spawn_at_terminal(
    mut command: Command,
    inherited: &[(BorrowedFd<'_>, RawFd)],
    confinement: &Confinement,
) -> io::Result<(Process, Output)> {
    confinement.hold(&mut command)?;
    command.stdin(Stdio::inherit()).stdout(Stdio::inherit());
    spawn_as_told(command, inherited)
}

fn spawn_as_told(
    mut command: Command,
    inherited: &[(BorrowedFd<'_>, RawFd)],
) -> io::Result<(Process, Output)> {
    let mut parked = Vec::with_capacity(inherited.len());
    for (descriptor, number) in inherited {
        parked.push((rustix::io::fcntl_dupfd_cloexec(descriptor, PARKING_FLOOR)?, *number));
    }
    let moves: Vec<(RawFd, RawFd)> =
        parked.iter().map(|(descriptor, number)| (descriptor.as_raw_fd(), *number)).collect();
    command.stderr(Stdio::piped());
    unblock_signals(&mut command);
    // SAFETY: between fork and exec the closure calls only dup2(2), which is async-signal-safe, on descriptors that `parked`
    // keeps open until after the spawn; it allocates nothing and touches no lock. Their numbers are at or above
    // PARKING_FLOOR and the targets below it, so that no move overwrites the source of a later one.
    unsafe {
        command.pre_exec(move || {
            for (from, to) in &moves {
                if libc::dup2(*from, *to) < 0 {
                    return Err(io::Error::last_os_error());
                }
            }
            Ok(())
        });
    }
    let spawning = SPAWNING.lock();
    let mut child = command.spawn().map_err(spawn_error)?;
    drop((parked, spawning));
    let pid = child.id();
    // The child can't have been reaped yet, so its number is still its own.
    let pidfd = Pid::from_raw(i32::try_from(pid).unwrap_or(0))
        .ok_or(io::ErrorKind::InvalidData.into())
        .and_then(|pid| pidfd_open(pid, PidfdFlags::NONBLOCK).map_err(io::Error::from));
    let stdout = match child.stdout.take() {
        Some(stdout) => Ok(stdout.into()),
        // It has ours: there is nothing to be read.
        None => io::pipe().map(|(nothing, _)| nothing.into()),
    };
    let (Ok(pidfd), Ok(stdout), Some(stderr)) = (pidfd, stdout, child.stderr.take()) else {
        child.kill().ok();
        child.wait().ok();
        return Err(io::Error::new(io::ErrorKind::Unsupported, "pidfds need Linux 5.4 or later"));
    };
    watched(pid, pidfd, (stdout, stderr.into()))
}

/// A child and what it prints.
fn watched(
    pid: u32,
    pidfd: OwnedFd,
    (stdout, stderr): (OwnedFd, OwnedFd),
) -> io::Result<(Process, Output)> {
    let output = Output {
        stdout: pipe::Receiver::from_owned_fd(stdout.try_clone()?)?,
        stderr: pipe::Receiver::from_owned_fd(stderr.try_clone()?)?,
    };
    let exit = reap(pidfd.try_clone()?)?;
    Ok((Process { pid, pidfd, exit, stdout, stderr }, output))
}

/// No child is started while this is held.
pub(crate) fn hold_spawning() -> MutexGuard<'static, ()> {
    SPAWNING.lock()
}

/// Waits for the child in a task of its own; the task ends with the child.
fn reap(pidfd: OwnedFd) -> io::Result<watch::Receiver<Option<Exit>>> {
    let (ended, exit) = watch::channel(None);
    // SAFETY: the `OwnedFd` moves in with its descriptor and keeps it open and its number unchanged until both are dropped.
    let pidfd = unsafe { AsyncFd::register_with_interest(pidfd, Interest::READABLE) }
        .map_err(io::Error::from)?;
    tokio::spawn(async move {
        loop {
            let Ok(mut ready) = pidfd.readable().await else { break };
            match waitid(
                WaitId::PidFd(pidfd.get_ref().as_fd()),
                WaitIdOptions::EXITED | WaitIdOptions::NOHANG,
            ) {
                Ok(Some(status)) => {
                    let exit = match (status.exit_status(), status.terminating_signal()) {
                        (Some(status), _) => Exit::Status(status),
                        (None, signal) => Exit::Signal(signal.unwrap_or(0)),
                    };
                    ended.send_replace(Some(exit));
                    break;
                }
                Ok(None) | Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {
                    ready.clear_ready();
                }
                Err(error) => {
                    tracing::error!(%error, "a child could not be waited for");
                    ended.send_replace(Some(Exit::Status(-1)));
                    break;
                }
            }
        }
    });
    Ok(exit)
}

impl Process {
    /// A child of the process that this one was before.
    ///
    /// # Errors
    /// Where its descriptors are not there.
    pub(crate) fn adopt(data: &ProcessData) -> io::Result<(Self, Output)> {
        let output = (take_inherited(data.stdout)?, take_inherited(data.stderr)?);
        watched(data.pid, take_inherited(data.pidfd)?, output)
    }

    /// For the process that this one becomes.
    ///
    /// # Errors
    /// Where there are no more descriptors.
    pub(crate) fn pack(&self, luggage: &mut Luggage) -> io::Result<ProcessData> {
        Ok(ProcessData {
            pid: self.pid,
            pidfd: luggage.pack(&self.pidfd)?,
            stdout: luggage.pack(&self.stdout)?,
            stderr: luggage.pack(&self.stderr)?,
        })
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// How it ended, if it did.
    pub(crate) fn exit(&self) -> Option<Exit> {
        *self.exit.borrow()
    }

    /// Waits until it has ended.
    pub(crate) async fn exited(&self) -> Exit {
        let mut exit = self.exit.clone();
        loop {
            if let Some(exit) = *exit.borrow_and_update() {
                return exit;
            }
            if exit.changed().await.is_err() {
                return exit.borrow().unwrap_or(Exit::Status(-1));
            }
        }
    }

    /// The same, for whoever outlives this value.
    pub(crate) fn ended(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut exit = self.exit.clone();
        async move {
            exit.wait_for(Option::is_some).await.ok();
        }
    }

    /// Sends a signal; one that has ended is left alone.
    pub(crate) fn signal(&self, signal: Signal) {
        if self.exit().is_none() {
            pidfd_send_signal(&self.pidfd, signal).ok();
        }
    }

    /// Waits for its end, and kills it when the limit is over.
    pub(crate) async fn exited_or_killed(&self, limit: Duration) -> Exit {
        if let Ok(exit) = tokio::time::timeout(limit, self.exited()).await {
            return exit;
        }
        self.signal(Signal::KILL);
        self.exited().await
    }
}

/// Keeps what this process was started with, beyond the standard three, from its own children. What it opens itself is kept
/// from them anyway.
pub(crate) fn keep_inherited_descriptors() {
    // SAFETY: close_range(2) with CLOSE_RANGE_CLOEXEC sets a flag on descriptors, whoever owns them, and closes nothing.
    let result =
        unsafe { libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if result < 0 {
        // Before Linux 5.11. Children have a few descriptors more then, and nothing breaks.
        tracing::debug!("close_range(2) with CLOSE_RANGE_CLOEXEC is not there");
    }
}

/// Takes a descriptor that the parent put at this number for us.
///
/// Call it once for each number, which nothing else can have: it was open when the process was started.
pub(crate) fn take_inherited(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: fcntl(2) with F_GETFD reads flags and tells whether the number stands for something open; nothing is touched.
    if number < 3 || unsafe { libc::fcntl(number, libc::F_GETFD) } < 0 {
        return Err(io::Error::new(io::ErrorKind::NotFound, "not started by the supervisor"));
    }
    // SAFETY: the descriptor is open, the supervisor put it there for this process alone, and each number is taken once
    // (contract of this function), so that nobody else owns it.
    let descriptor = unsafe { OwnedFd::from_raw_fd(number) };
    rustix::io::fcntl_setfd(&descriptor, rustix::io::FdFlags::CLOEXEC)?;
    Ok(descriptor)
}

/// The pipe whose closing tells every child that the supervisor is gone, however it ended.
#[derive(Debug)]
pub(crate) struct LifePipe {
    reader: OwnedFd,
    writer: OwnedFd,
}

/// The life pipe of the children of before, which is theirs and ours.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct LifePipeData {
    reader: RawFd,
    writer: RawFd,
}

impl LifePipe {
    /// Opens it; both ends close at exec except where a child is given the reader.
    pub(crate) fn new() -> io::Result<Self> {
        let (reader, writer) = io::pipe()?;
        Ok(Self { reader: reader.into(), writer: writer.into() })
    }

    /// The one that was handed over.
    ///
    /// # Errors
    /// Where it is not there.
    pub(crate) fn adopt(data: &LifePipeData) -> io::Result<Self> {
        Ok(Self { reader: take_inherited(data.reader)?, writer: take_inherited(data.writer)? })
    }

    /// For the process that this one becomes.
    ///
    /// # Errors
    /// Where there are no more descriptors.
    pub(crate) fn pack(&self, luggage: &mut Luggage) -> io::Result<LifePipeData> {
        let (reader, writer) = (luggage.pack(&self.reader)?, luggage.pack(&self.writer)?);
        Ok(LifePipeData { reader, writer })
    }

    /// The end that children hold.
    pub(crate) fn reader(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }
}

/// How long to wait before a process that ended is started again: 100 ms, doubling to 10 s, from the start again after a
/// minute of health.
#[derive(Debug)]
pub(crate) struct BackOff {
    next: Duration,
    ends: u32,
    started: Instant,
}

impl Default for BackOff {
    fn default() -> Self {
        Self::new()
    }
}

impl BackOff {
    const FIRST: Duration = Duration::from_millis(100);
    const LONGEST: Duration = Duration::from_secs(10);
    const LOOP: u32 = 5;
    const HEALTHY: Duration = Duration::from_secs(60);

    /// One that has seen no failure; the process starts now.
    pub(crate) fn new() -> Self {
        Self { next: Self::FIRST, ends: 0, started: Instant::now() }
    }

    /// The pause after an end at `now`; the next start is counted from when it is over.
    pub(crate) fn after_end(&mut self, now: Instant) -> Duration {
        if now.duration_since(self.started) >= Self::HEALTHY {
            self.next = Self::FIRST;
            self.ends = 0;
        }
        self.ends = self.ends.saturating_add(1);
        let pause = self.next;
        self.next = (pause * 2).min(Self::LONGEST);
        self.started = now + pause;
        pause
    }

    /// Whether it ended so often in a row that the next start will hardly be better.
    pub(crate) fn is_a_loop(&self) -> bool {
        self.ends >= Self::LOOP
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use tokio::io::AsyncReadExt;

    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        command
    }

    #[tokio::test]
    async fn status_and_signal_are_told_apart() {
        let (process, _output) = spawn(shell("exit 7"), &[], &Confinement::default()).unwrap();
        assert_eq!(process.exited().await, Exit::Status(7));
        let (process, _output) =
            spawn(shell("kill -KILL $$"), &[], &Confinement::default()).unwrap();
        assert_eq!(process.exited().await, Exit::Signal(9));
        assert_eq!(process.exited().await, Exit::Signal(9), "an exit is remembered");
    }

    #[tokio::test]
    async fn a_child_gets_descriptors_at_the_numbers_it_was_promised() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let life = LifePipe::new().unwrap();
        let (process, mut output) = spawn(
            shell("echo out; echo err >&2; echo four >&4; read line <&5; exit 3"),
            &[(theirs.as_fd(), 4), (life.reader(), 5)],
            &Confinement::default(),
        )
        .unwrap();
        drop(theirs);
        drop(life);
        assert_eq!(process.exited().await, Exit::Status(3));
        let mut text = String::new();
        output.stdout.read_to_string(&mut text).await.unwrap();
        output.stderr.read_to_string(&mut text).await.unwrap();
        (&ours).read_to_string(&mut text).unwrap();
        assert_eq!(text, "out\nerr\nfour\n");
        (&ours).write_all(b"x").unwrap_err();
    }

    #[tokio::test]
    async fn a_child_has_no_signal_blocked() {
        crate::signals::Blocked::new().unwrap();
        let shown = "grep SigBlk /proc/self/status";
        let (process, mut output) = spawn(shell(shown), &[], &Confinement::default()).unwrap();
        assert_eq!(process.exited().await, Exit::Status(0));
        let mut text = String::new();
        output.stdout.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "SigBlk:\t0000000000000000\n");
    }

    #[tokio::test]
    async fn what_does_not_end_in_time_is_killed() {
        let stubborn = shell("trap '' TERM; while :; do :; done");
        let (process, _output) = spawn(stubborn, &[], &Confinement::default()).unwrap();
        process.signal(Signal::TERM);
        let exit = process.exited_or_killed(Duration::from_millis(50)).await;
        assert!(matches!(exit, Exit::Signal(9 | 15)));
    }

    #[test]
    fn pauses_double_up_to_a_limit_and_health_forgets_them() {
        let mut back_off = BackOff::new();
        let mut now = back_off.started;
        let pauses: Vec<u128> = (0..9)
            .map(|_| {
                let pause = back_off.after_end(now);
                now += pause;
                pause.as_millis()
            })
            .collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
        assert!(back_off.is_a_loop());
        assert_eq!(back_off.after_end(now + BackOff::HEALTHY).as_millis(), 100);
        assert!(!back_off.is_a_loop());
    }
}
