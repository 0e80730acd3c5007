//! What every program that is started from here needs, whoever starts it.
#![allow(unsafe_code)]

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Starts the program with no signal blocked. The supervisor blocks those that it takes from descriptors, a blocked signal stays
/// so at exec, and a program that never asked for it could not be ended.
///
/// Source: execve(2), signal-safety(7).
pub fn unblock_signals(command: &mut Command) {
    // SAFETY: between fork and exec the closure calls only sigemptyset(3) and pthread_sigmask(3), which are async-signal-safe, on
    // a set of its own; all-zero bytes are a valid sigset_t.
    unsafe {
        command.pre_exec(|| {
            let mut none: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&raw mut none);
            match libc::pthread_sigmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut()) {
                0 => Ok(()),
                error => Err(io::Error::from_raw_os_error(error)),
            }
        });
    }
}

/// Why a program could not be started, where the kernel's word for it leaves a reader helpless.
pub fn spawn_error(error: io::Error) -> io::Error {
    let reason = match error.raw_os_error() {
        Some(libc::EAGAIN) => {
            "this user or this service may have no more processes (ulimit -u, TasksMax=, pids.max)"
        }
        Some(libc::ENOMEM) => "the machine has no memory for another process",
        _ => return error,
    };
    io::Error::new(error.kind(), format!("{reason}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_machine_lacks_for_a_process_is_told_in_words() {
        let told = |error| spawn_error(io::Error::from_raw_os_error(error)).to_string();
        assert!(told(libc::EAGAIN).contains("ulimit -u"));
        assert!(told(libc::ENOMEM).contains("no memory"));
        assert_eq!(told(libc::ENOENT), "No such file or directory (os error 2)");
    }
}
