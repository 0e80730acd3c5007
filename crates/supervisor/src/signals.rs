//! The signals of the supervisor, as orders.
//!
//! They are blocked in all of its threads and read from descriptors. One that comes while this process becomes another program
//! stays pending over `exec`, and the other program reads it; no moment is without somebody who listens.
//!
//! Source: signalfd(2), execve(2), signal(7).
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::signal::unix::{SignalKind, signal};

const END: [libc::c_int; 2] = [libc::SIGTERM, libc::SIGINT];
const RELOAD: [libc::c_int; 1] = [libc::SIGHUP];
const UPGRADE: [libc::c_int; 1] = [libc::SIGUSR2];
const REOPEN: [libc::c_int; 1] = [libc::SIGUSR1];

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// SIGTERM, SIGINT: drain and end.
    End,
    /// SIGHUP: take in the configuration anew.
    Reload,
    /// SIGUSR1: open the log files anew (nginx has the same).
    Reopen,
    /// SIGUSR2: become the program that this one's file holds now.
    Upgrade,
}

/// The supervisor's signals wait until [`Signals`] asks for them.
#[derive(Debug)]
pub(crate) struct Blocked(());

impl Blocked {
    /// Blocks them in this thread and in those that it starts from now on: call it before there are others. Whoever started this
    /// process may have them ignored (`nohup`, a shell's `&`), which children would inherit.
    ///
    /// # Errors
    /// The kernel's.
    pub(crate) fn new() -> io::Result<Self> {
        let all: Vec<_> = [&END[..], &RELOAD, &UPGRADE, &REOPEN].concat();
        let blocked = set_of(&all);
        // SAFETY: `blocked` is a signal set, and the one of before is not asked for.
        match unsafe {
            libc::pthread_sigmask(libc::SIG_BLOCK, &raw const blocked, std::ptr::null_mut())
        } {
            0 => {}
            error => return Err(io::Error::from_raw_os_error(error)),
        }
        for signal in all {
            // SAFETY: the default action is no code of this process.
            if unsafe { libc::signal(signal, libc::SIG_DFL) } == libc::SIG_ERR {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(Self(()))
    }
}

/// Lets a signal end this process no more. It is listened for once: ignored, it would be in what this process starts, too. Needs a
/// runtime.
///
/// # Errors
/// The kernel's.
pub(crate) fn outlive(kind: SignalKind) -> io::Result<()> {
    signal(kind).map(drop)
}

/// Where a file would become larger than it may (`ulimit -f`), the write fails, and the process goes on. Needs a runtime.
///
/// # Errors
/// The kernel's.
pub(crate) fn outlive_large_files() -> io::Result<()> {
    outlive(SignalKind::from_raw(libc::SIGXFSZ))
}

/// Those that concern the supervisor. None is lost, however late it is asked for.
#[derive(Debug)]
pub(crate) struct Signals {
    end: Pending,
    reload: Pending,
    upgrade: Pending,
    reopen: Pending,
}

impl Signals {
    /// Listens to what is blocked. Needs a runtime.
    ///
    /// # Errors
    /// Where there are no more descriptors.
    pub(crate) fn new(_: &Blocked) -> io::Result<Self> {
        outlive_large_files()?;
        Ok(Self {
            end: Pending::new(&END)?,
            reload: Pending::new(&RELOAD)?,
            upgrade: Pending::new(&UPGRADE)?,
            reopen: Pending::new(&REOPEN)?,
        })
    }

    /// The next order.
    pub(crate) async fn next(&self) -> Order {
        tokio::select! {
            biased;
            () = self.end.next() => Order::End,
            () = self.reload.next() => Order::Reload,
            () = self.upgrade.next() => Order::Upgrade,
            () = self.reopen.next() => Order::Reopen,
        }
    }

    /// The order to end; others are left for [`Self::next`].
    pub(crate) async fn end(&self) {
        self.end.next().await;
    }
}

/// Signals of one meaning.
#[derive(Debug)]
struct Pending(AsyncFd<OwnedFd>);

impl Pending {
    fn new(signals: &[libc::c_int]) -> io::Result<Self> {
        let set = set_of(signals);
        // SAFETY: `set` is a signal set; -1 asks for a new descriptor, which is nobody else's.
        let descriptor = unsafe {
            match libc::signalfd(-1, &raw const set, libc::SFD_NONBLOCK | libc::SFD_CLOEXEC) {
                -1 => return Err(io::Error::last_os_error()),
                number => OwnedFd::from_raw_fd(number),
            }
        };
        // SAFETY: the `OwnedFd` moves in with its descriptor and keeps it open and its number unchanged until both are dropped.
        let watched = unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) };
        Ok(Self(watched.map_err(io::Error::from)?))
    }

    /// Takes one, or waits for it. Where this is given up none has been taken.
    async fn next(&self) {
        let mut information = [0; size_of::<libc::signalfd_siginfo>()];
        loop {
            // Fails only where the runtime ends.
            let Ok(mut ready) = self.0.readable().await else {
                return std::future::pending().await;
            };
            match rustix::io::read(self.0.get_ref(), &mut information) {
                Ok(_) => return,
                Err(_) => ready.clear_ready(),
            }
        }
    }
}

fn set_of(signals: &[libc::c_int]) -> libc::sigset_t {
    // SAFETY: all-zero bytes are a valid sigset_t, which the calls fill in with signals that exist.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        for signal in signals {
            libc::sigaddset(&raw mut set, *signal);
        }
        set
    }
}
