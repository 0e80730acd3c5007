//! The descriptors that an isolated worker inherits from the supervisor, taken into ownership once.
#![allow(unsafe_code)]

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::net::UnixListener;

use onebox_uwsgi::abi::descriptor;
use rustix::io::{FdFlags, fcntl_setfd};

/// What the supervisor handed down.
pub(crate) struct Inherited {
    pub(crate) listener: UnixListener,
    status: File,
    life: File,
}

impl Inherited {
    /// Takes the descriptors, and keeps them from the application's child processes.
    ///
    /// # Errors
    /// Where one of them is not open.
    ///
    /// # Safety
    /// To be called once in a process, before anything else could own these numbers.
    pub(crate) unsafe fn take() -> io::Result<Self> {
        // SAFETY: the caller calls once; the supervisor opened these descriptors for us.
        let owned = |number| unsafe { OwnedFd::from_raw_fd(number) };
        let (listener, status, life) =
            (owned(descriptor::LISTENER), owned(descriptor::STATUS), owned(descriptor::LIFE));
        for descriptor in [&listener, &status, &life] {
            fcntl_setfd(descriptor, FdFlags::CLOEXEC)?;
        }
        Ok(Self { listener: listener.into(), status: status.into(), life: life.into() })
    }

    /// Ends the process at once when the life pipe is closed; gives back the listener and the status pipe.
    ///
    /// # Errors
    /// Where the thread can't be made.
    pub(crate) fn watch_life(self) -> io::Result<(UnixListener, File)> {
        let mut life = self.life;
        std::thread::Builder::new().name("onebox-life".into()).spawn(move || {
            let mut byte = [0];
            loop {
                match life.read(&mut byte) {
                    Ok(1..) => {}
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    // SAFETY: _exit is always allowed; nothing may run after the supervisor's end.
                    Ok(0) | Err(_) => unsafe { libc::_exit(1) },
                }
            }
        })?;
        Ok((self.listener, self.status))
    }
}
