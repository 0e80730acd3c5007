//! Freeing a thread that waits in a socket: the kernel says in which descriptor it waits, and shutting that down ends the wait.
//!
//! Source: proc(5), `/proc/PID/syscall`. Only for threads past their deadline.
#![allow(unsafe_code)]

use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};

use rustix::fs::{FileType, fstat};
use rustix::io::fcntl_dupfd_cloexec;
use rustix::net::{Shutdown, shutdown};
use rustix::thread::Pid;

/// Shuts down the socket that a thread of this process waits in. Whether there was one.
pub(crate) fn free(tid: Pid) -> bool {
    let Some(descriptor) = waited_for(tid) else { return false };
    // SAFETY: the number may be closed at any moment, which makes the calls below fail and nothing else.
    let borrowed = unsafe { BorrowedFd::borrow_raw(descriptor) };
    // A copy stays the same socket, whatever becomes of the number.
    let Ok(pinned) = fcntl_dupfd_cloexec(borrowed, 0) else { return false };
    // It is shut down only if the thread, after the copy was made, still waits in what was copied.
    if !is_socket(&pinned) || waited_for(tid) != Some(descriptor) || !is_same(&pinned, borrowed) {
        return false;
    }
    shutdown(&pinned, Shutdown::Both).is_ok()
}

/// Whether a thread of this process waits in a system call.
pub(crate) fn waits(tid: Pid) -> bool {
    system_call(tid).is_some_and(|text| text.starts_with(|first: char| first.is_ascii_digit()))
}

fn system_call(tid: Pid) -> Option<String> {
    fs::read_to_string(format!("/proc/self/task/{}/syscall", tid.as_raw_nonzero())).ok()
}

fn is_socket(descriptor: &OwnedFd) -> bool {
    fstat(descriptor).is_ok_and(|status| FileType::from_raw_mode(status.st_mode).is_socket())
}

fn is_same(one: &OwnedFd, other: BorrowedFd<'_>) -> bool {
    let identity = |descriptor: BorrowedFd<'_>| {
        fstat(descriptor).ok().map(|status| (status.st_dev, status.st_ino))
    };
    identity(one.as_fd()) == identity(other)
}

/// The descriptor that a thread waits in, alone, for input or output.
fn waited_for(tid: Pid) -> Option<RawFd> {
    let text = system_call(tid)?;
    let mut words = text.split_whitespace();
    // `running`, or -1 for a wait outside of system calls.
    let number: libc::c_long = words.next()?.parse().ok()?;
    let mut argument = || usize::from_str_radix(words.next()?.strip_prefix("0x")?, 16).ok();
    let (first, second) = (argument()?, argument()?);
    match number {
        libc::SYS_read
        | libc::SYS_write
        | libc::SYS_readv
        | libc::SYS_writev
        | libc::SYS_recvfrom
        | libc::SYS_recvmsg
        | libc::SYS_sendto
        | libc::SYS_sendmsg
        | libc::SYS_connect
        | libc::SYS_accept
        | libc::SYS_accept4 => RawFd::try_from(first).ok().filter(|number| *number >= 0),
        number if is_poll(number) && second == 1 => polled(first),
        _ => None,
    }
}

fn is_poll(number: libc::c_long) -> bool {
    #[cfg(target_arch = "x86_64")]
    if number == libc::SYS_poll {
        return true;
    }
    number == libc::SYS_ppoll
}

/// The descriptor in the `pollfd` at `address`. The thread may go on meanwhile, so the kernel reads it: an address that is
/// no longer good is an error then.
fn polled(address: usize) -> Option<RawFd> {
    let mut entry = libc::pollfd { fd: -1, events: 0, revents: 0 };
    let size = size_of::<libc::pollfd>();
    let local = libc::iovec { iov_base: (&raw mut entry).cast(), iov_len: size };
    let remote = libc::iovec { iov_base: address as *mut libc::c_void, iov_len: size };
    // SAFETY: `local` is valid for writing; `remote` is checked by the kernel.
    let read = unsafe {
        libc::process_vm_readv(libc::getpid(), &raw const local, 1, &raw const remote, 1, 0)
    };
    (usize::try_from(read) == Ok(size) && entry.fd >= 0).then_some(entry.fd)
}
