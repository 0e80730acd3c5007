//! As the first process of a container: a small process in front that collects the orphans of the whole container.
//!
//! The kernel gives the orphans of a PID namespace to its first process, and without somebody who waits for them they stay as
//! zombies. The supervisor itself waits for the processes it started and for no others, so that no exit status is ever stolen; as
//! process 1 it therefore goes on in a child, and what stays as process 1 waits, passes signals on, and ends with the child's
//! status.
//!
//! Source: pid_namespaces(7), "The namespace init process".
#![allow(unsafe_code)]

use std::io;

/// Signals that are meant for the supervisor.
const PASSED_ON: [libc::c_int; 6] =
    [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT, libc::SIGUSR1, libc::SIGUSR2];

/// Puts a process in front where this is the first one. Returns in the process that shall go on; call it before any thread is
/// started.
///
/// # Errors
/// Where there can be no second process.
pub fn leave_orphans_to_another() -> io::Result<()> {
    if std::process::id() != 1 {
        return Ok(());
    }
    let blocked = block()?;
    // SAFETY: there is one thread, so that the child has a whole copy of the process.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            // SAFETY: `blocked` is a signal set of before; a group of its own, so that a terminal's Ctrl-C comes once, passed on.
            unsafe {
                libc::setpgid(0, 0);
                libc::sigprocmask(
                    libc::SIG_SETMASK,
                    &raw const blocked.before,
                    std::ptr::null_mut(),
                );
            }
            Ok(())
        }
        child => stand_in_front(child, &blocked.now),
    }
}

struct Blocked {
    before: libc::sigset_t,
    now: libc::sigset_t,
}

/// Keeps the signals pending from now on: the first process has none of the default actions.
fn block() -> io::Result<Blocked> {
    // SAFETY: all-zero bytes are a valid sigset_t, which the calls fill in.
    unsafe {
        let mut blocked: Blocked = std::mem::zeroed();
        libc::sigemptyset(&raw mut blocked.now);
        for signal in PASSED_ON.into_iter().chain([libc::SIGCHLD]) {
            libc::sigaddset(&raw mut blocked.now, signal);
        }
        let (now, before) = (&raw const blocked.now, &raw mut blocked.before);
        match libc::sigprocmask(libc::SIG_BLOCK, now, before) {
            0 => Ok(blocked),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

/// Waits for everybody until the child ends.
fn stand_in_front(child: libc::pid_t, signals: &libc::sigset_t) -> ! {
    // SAFETY: what else is open belongs to the child, which has its own copies; nothing here uses them again.
    unsafe { libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, 0) };
    loop {
        // SAFETY: `signals` is a signal set; the details of the signal are not asked for.
        match unsafe { libc::sigwaitinfo(signals, std::ptr::null_mut()) } {
            libc::SIGCHLD => collect(child),
            signal if PASSED_ON.contains(&signal) => {
                // SAFETY: kill(2) touches no memory; the child's number is its own until `collect` has waited for it.
                unsafe { libc::kill(child, signal) };
            }
            _ => {}
        }
    }
}

/// Waits for all that have ended; ends with the child.
fn collect(child: libc::pid_t) {
    let mut status = 0;
    loop {
        // SAFETY: `status` is valid for writing. Whoever has ended is a child or was given to this process.
        match unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) } {
            pid if pid == child => {
                let code = if libc::WIFEXITED(status) {
                    libc::WEXITSTATUS(status)
                } else {
                    // As a shell says it.
                    128 + libc::WTERMSIG(status)
                };
                std::process::exit(code);
            }
            1.. => {}
            _ => return,
        }
    }
}
