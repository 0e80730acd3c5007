//! The Python stack of one thread: read with the GIL where that is to be had, else written by `faulthandler` to a pipe of
//! ours, from inside a signal handler that runs on that very thread.
//!
//! The second way is for threads that run no Python code at the moment, and these are all while nobody gets the GIL. In a
//! thread that runs some it could meet a frame that is half made: CPython 3.13 was seen to crash.
//!
//! Source: the `faulthandler` module, `register`. It is registered with `chain`, so that our own handler runs on the same
//! thread right after the dump, and marks its end.
#![allow(unsafe_code)]

use std::ffi::c_long;
use std::io::{self, PipeReader, PipeWriter, Read};
use std::os::fd::IntoRawFd;
use std::path::Path;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};

use pyo3::prelude::*;
use pyo3::types::PyDict;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::thread::Pid;

use crate::raised::Frame;

/// How long a dump may take. A thread in an uninterruptible system call never gives one.
const LIMIT: Duration = Duration::from_secs(1);
/// So many calls of a stack are told, as `faulthandler` does.
const MOST_CALLS: usize = 100;
/// Marks the end of a dump; no text of `faulthandler` has it.
const END: u8 = 4;

/// The write end of the pipe; -1 before [`Stacks::install`].
static WRITER: AtomicI32 = AtomicI32::new(-1);

/// Where the dumps of this process arrive.
pub(crate) struct Stacks {
    reader: PipeReader,
}

impl Stacks {
    /// Prepares this process's Python.
    pub(crate) fn install(py: Python<'_>) -> PyResult<Self> {
        let (reader, writer): (PipeReader, PipeWriter) = io::pipe()?;
        // A handler must never wait: what does not fit is lost.
        rustix::io::ioctl_fionbio(&writer, true).map_err(io::Error::from)?;
        rustix::io::ioctl_fionbio(&reader, true).map_err(io::Error::from)?;
        let descriptor = writer.into_raw_fd();
        WRITER.store(descriptor, Ordering::SeqCst);
        crate::signals::handle(signal(), mark_end);
        let options = PyDict::new(py);
        options.set_item("file", descriptor)?;
        options.set_item("all_threads", false)?;
        options.set_item("chain", true)?;
        py.import("faulthandler")?.call_method("register", (signal(),), Some(&options))?;
        Ok(Self { reader })
    }

    /// The stack of a thread that runs no Python code, the innermost call first: a line `  File "PATH", line N in NAME` for each. Empty where it can't be had.
    pub(crate) fn of(&mut self, tid: Pid) -> String {
        let mut dump = Vec::new();
        // What a dump left behind that came too late.
        let _ = self.reader.read_to_end(&mut dump);
        dump.clear();
        if !crate::signals::restart_calls(signal(), mark_end, LIMIT) {
            return String::new();
        }
        let process = rustix::process::getpid().as_raw_nonzero().get();
        // SAFETY: tgkill takes any numbers; this process has a handler for the signal.
        unsafe { libc::syscall(libc::SYS_tgkill, process, tid.as_raw_nonzero().get(), signal()) };
        let ends_at = Instant::now() + LIMIT;
        while dump.last() != Some(&END) {
            let left = ends_at.saturating_duration_since(Instant::now());
            if left.is_zero() || !self.read_some(&mut dump, left) {
                return String::new();
            }
        }
        dump.pop();
        let text = String::from_utf8_lossy(&dump);
        text.lines()
            .filter(|line| line.starts_with("  File "))
            .map(|line| format!("{line}\n"))
            .collect()
    }

    fn read_some(&mut self, dump: &mut Vec<u8>, limit: Duration) -> bool {
        let limit = Timespec::try_from(limit).ok();
        let mut waited = [PollFd::new(&self.reader, PollFlags::IN)];
        let ready = poll(&mut waited, limit.as_ref());
        if !matches!(ready, Ok(1..)) {
            return ready == Err(rustix::io::Errno::INTR);
        }
        // It ends with WouldBlock when everything was read.
        let _ = self.reader.read_to_end(dump);
        true
    }
}

/// The stack of a thread, by its Python identity, in the words of `faulthandler`.
pub(crate) fn with_gil(py: Python<'_>, ident: c_long) -> PyResult<String> {
    let frames = py.import("sys")?.call_method0("_current_frames")?;
    let mut next = frames.call_method1("get", (ident.cast_unsigned(),))?;
    let mut text = String::new();
    for _ in 0..MOST_CALLS {
        if next.is_none() {
            break;
        }
        let code = next.getattr("f_code")?;
        let (file, name) = (code.getattr("co_filename")?, code.getattr("co_name")?);
        let line = next.getattr("f_lineno")?;
        text.push_str(&format!("  File \"{file}\", line {line} in {name}\n"));
        next = next.getattr("f_back")?;
    }
    Ok(text)
}

/// A signal that nobody else uses: real-time signals have no meaning of their own.
fn signal() -> i32 {
    libc::SIGRTMAX() - 1
}

extern "C" fn mark_end(_: i32) {
    let end = [END];
    // SAFETY: write is async-signal-safe; the pipe's end is never closed; `end` is one readable byte. What was
    // interrupted finds its error number as it was.
    unsafe {
        let errno = *libc::__errno_location();
        libc::write(WRITER.load(Ordering::SeqCst), end.as_ptr().cast(), 1);
        *libc::__errno_location() = errno;
    }
}

/// The innermost call of a stack that stands in the application's own files, else the innermost of all:
/// `blog/views.py:12 in index`.
pub(crate) fn place(stack: &str, root: &Path) -> Option<String> {
    let calls = || stack.lines().filter_map(call);
    let own = calls().find_map(|(path, rest)| {
        let below = Path::new(path).strip_prefix(root).ok()?;
        let is_package = below.components().any(|part| part.as_os_str() == "site-packages");
        (!is_package).then(|| format!("{}:{rest}", below.display()))
    });
    own.or_else(|| calls().next().map(|(path, rest)| format!("{path}:{rest}")))
}

/// The calls of a stack, the outermost first.
pub(crate) fn frames(stack: &str) -> Vec<Frame> {
    let frame = |(file, rest): (&str, &str)| {
        let (line, function) = rest.split_once(" in ")?;
        Some(Frame { file: file.into(), line: line.parse().ok()?, function: function.into() })
    };
    let mut frames: Vec<_> = stack.lines().filter_map(call).filter_map(frame).collect();
    frames.reverse();
    frames
}

/// Path, and line with name, of one line of a dump.
fn call(line: &str) -> Option<(&str, &str)> {
    line.strip_prefix("  File \"")?.split_once("\", line ")
}
