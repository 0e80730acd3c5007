//! The signals of an isolated worker: handlers only write to a pipe, and one thread acts.
//!
//! Threads are not blocked for signals: a blocked mask would survive into the application's child processes. All of the
//! unsafe code that signals need is here.
#![allow(unsafe_code)]

use std::io::{self, PipeReader, Read};
use std::os::fd::IntoRawFd;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};

/// The write end of the pipe; -1 before [`on_terminate`].
static PIPE: AtomicI32 = AtomicI32::new(-1);

/// How a signal is handled.
#[derive(Clone, Copy)]
pub(crate) struct Disposition(Option<libc::sigaction>);

/// How `signal` is handled now.
pub(crate) fn disposition(signal: i32) -> Disposition {
    // SAFETY: all-zero bytes are a valid sigaction, which the call below only fills in.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: a null new action only reads; `action` is valid for writing.
    let read = unsafe { libc::sigaction(signal, std::ptr::null(), &raw mut action) };
    Disposition((read == 0).then_some(action))
}

/// Handles `signal` again as it was.
pub(crate) fn restore(signal: i32, disposition: Disposition) {
    if let Disposition(Some(action)) = disposition {
        // SAFETY: `action` came from sigaction in this process; the handler it names is still loaded.
        unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) };
    }
}

/// Calls `act` on a thread of its own at every SIGTERM. SIGINT and SIGHUP, which a terminal sends to all processes in
/// it, and SIGUSR1 and SIGUSR2, which scripts send, do nothing: the supervisor gets them too and decides.
///
/// # Errors
/// Where the pipe or the thread can't be made.
pub(crate) fn on_terminate(act: impl Fn() + Send + 'static) -> io::Result<()> {
    let (mut reader, writer): (PipeReader, _) = io::pipe()?;
    PIPE.store(writer.into_raw_fd(), Ordering::SeqCst);
    std::thread::Builder::new().name("onebox-signals".into()).spawn(move || {
        let mut byte = [0];
        while reader.read_exact(&mut byte).is_ok() {
            act();
        }
    })?;
    handle(libc::SIGTERM, note);
    for harmless in [libc::SIGINT, libc::SIGHUP, libc::SIGUSR1, libc::SIGUSR2] {
        handle(harmless, ignore);
    }
    Ok(())
}

/// Handles `signal` by `handler`, which does only what a signal handler may do.
pub(crate) fn handle(signal: i32, handler: extern "C" fn(i32)) {
    // SAFETY: all-zero bytes are a valid sigaction: an empty mask and no flags.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler as *const () as usize;
    action.sa_flags = libc::SA_RESTART;
    // SAFETY: `action` names a function of this library, which is never unloaded.
    unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) };
}

/// Makes system calls go on that `signal` interrupts, whoever handles it now, after waiting until that is not `but`: then
/// another handler runs, and sets itself again at its end. False where that takes longer than `limit`.
pub(crate) fn restart_calls(signal: i32, but: extern "C" fn(i32), limit: Duration) -> bool {
    let ends_at = Instant::now() + limit;
    while Instant::now() < ends_at {
        let Disposition(Some(mut action)) = disposition(signal) else { return false };
        if action.sa_sigaction != but as *const () as usize {
            action.sa_flags |= libc::SA_RESTART;
            restore(signal, Disposition(Some(action)));
            return true;
        }
        std::thread::yield_now();
    }
    false
}

extern "C" fn note(_: i32) {
    let byte = [1u8];
    // SAFETY: write is async-signal-safe; the pipe's end is never closed; `byte` is one readable byte.
    unsafe { libc::write(PIPE.load(Ordering::SeqCst), byte.as_ptr().cast(), 1) };
}

/// A handler, unlike SIG_IGN, is not inherited by the application's child processes.
extern "C" fn ignore(_: i32) {}
