//! The C boundary of an embedded interpreter: the entry point that the binary calls, and its table of callbacks as a host.
//!
//! Source: `onebox_uwsgi::abi`. Nothing unwinds across: the entry point catches panics, and callbacks catch theirs.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::io;
use std::os::fd::{IntoRawFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use onebox_uwsgi::abi::{self, HostTable, RawBytes, RawFile, RawPiece, RawRequest};
use onebox_uwsgi::{FileRange, Vars};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::host::{Answer, Body, Gone, Host, Incoming, Piece, Sent};
use crate::prepare;
use crate::report::Failure;
use crate::spec::Spec;
use crate::teller::Teller;
use crate::watchdog::Remedy;
use crate::workers::{self, Service};

/// The table of another version.
const WRONG_VERSION: i32 = 1;
/// The application can't be loaded; `failed` said why.
const NOT_LOADED: i32 = 2;

/// See [`abi::EntryPoint`].
///
/// # Safety
/// `table` points to a table whose first field is its version and which lives as long as the process; `spec` to `size`
/// readable bytes. The calling thread is Python's main thread and holds the GIL.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn onebox_runtime_start(
    table: *const HostTable,
    spec: *const u8,
    size: usize,
) -> i32 {
    // SAFETY: the version is the first field in every version of the table.
    if unsafe { table.cast::<u32>().read() } != abi::VERSION {
        return WRONG_VERSION;
    }
    // SAFETY: the version says that the whole table is there; the caller keeps it for ever.
    let table = Table(unsafe { &*table });
    // SAFETY: the caller gives `size` readable bytes for this call.
    let spec = unsafe { std::slice::from_raw_parts(spec, size) };
    catch_unwind(AssertUnwindSafe(|| Python::attach(|py| run(py, table, spec))))
        .unwrap_or(NOT_LOADED)
}

fn run(py: Python<'_>, table: Table, spec: &[u8]) -> i32 {
    let teller = match start(py, table, spec) {
        Ok(teller) => teller,
        Err(error) => {
            table.failed(&Failure::of(py, &error));
            return NOT_LOADED;
        }
    };
    table.ready();
    loop {
        if py.detach(|| table.control()) == abi::command::STOP {
            py.detach(|| teller.flush());
            prepare::run_exit_handlers(py);
        }
    }
}

fn start(py: Python<'_>, table: Table, spec: &[u8]) -> PyResult<Arc<Teller>> {
    let spec = Spec::decode(spec).map_err(|error| PyValueError::new_err(error.to_string()))?;
    let gateway = prepare::load(py, &spec)?;
    let service = Service {
        threads: spec.threads,
        host: Arc::new(table),
        gateway,
        deadlines: spec.deadlines,
        remedy: Remedy::FreshThread,
        root: spec.root,
        tell: Box::new(move |line| table.tell(line)),
    };
    Ok(workers::start(py, service)?.teller)
}

/// The binary's table.
#[derive(Clone, Copy)]
struct Table(&'static HostTable);

// SAFETY: the table is never written after the entry point was called, and its functions may be called on any thread.
unsafe impl Send for Table {}
// SAFETY: as above.
unsafe impl Sync for Table {}

impl Table {
    fn ready(self) {
        // SAFETY: the table's functions take its own context.
        unsafe { (self.0.ready)(self.0.context) }
    }

    fn failed(self, failure: &Failure) {
        let (summary, traceback) =
            (RawBytes::of(failure.summary.as_bytes()), RawBytes::of(failure.traceback.as_bytes()));
        // SAFETY: both texts live during the call.
        unsafe { (self.0.failed)(self.0.context, summary, traceback) }
    }

    fn tell(self, line: &str) {
        // SAFETY: the text lives during the call.
        unsafe { (self.0.tell)(self.0.context, RawBytes::of(line.as_bytes())) }
    }

    fn control(self) -> i32 {
        // SAFETY: the table's functions take its own context.
        unsafe { (self.0.control)(self.0.context) }
    }
}

impl Table {
    /// What waits already.
    fn take(self, mut called: bool) -> Result<Incoming, NoRequest> {
        loop {
            let none = RawBytes { data: std::ptr::null(), size: 0 };
            let mut request = RawRequest {
                vars: none,
                body: std::ptr::null_mut(),
                body_may_wait: 0,
                answer: std::ptr::null_mut(),
                time_left_ms: 0,
            };
            // SAFETY: `request` is valid for writing.
            match unsafe { (self.0.take)(self.0.context, &raw mut request, called.into()) } {
                abi::taken::REQUEST => {}
                abi::taken::NOTHING => return Err(NoRequest::Yet),
                _ => return Err(NoRequest::Ever),
            }
            called = false;
            let body = TableBody {
                table: self,
                handle: request.body,
                may_wait: request.body_may_wait != 0,
            };
            let answer = TableAnswer { table: self, handle: request.answer };
            // SAFETY: the host keeps the block as long as the body's handle, which `body` holds.
            let block = unsafe { bytes_of(&request.vars) }.to_vec();
            // The host decoded the block itself; one that is broken ends its answer.
            if let Ok(vars) = Vars::decode(block) {
                let time_left =
                    (request.time_left_ms > 0).then(|| Duration::from_millis(request.time_left_ms));
                let (body, answer) = (Box::new(body), Box::new(answer));
                return Ok(Incoming { vars: Arc::new(vars), time_left, body, answer });
            }
        }
    }

    fn wait(self) {
        // SAFETY: the table's functions take its own context.
        unsafe { (self.0.wait)(self.0.context) }
    }
}

/// Why there is no request.
enum NoRequest {
    Yet,
    Ever,
}

impl Host for Table {
    /// The GIL is kept where the next request waits already: to give it up between two requests would hand it to another
    /// thread that waits for requests, and cost a change of threads for each.
    fn receive(&self, py: Python<'_>) -> Option<Incoming> {
        let mut called = false;
        loop {
            match self.take(called) {
                Ok(incoming) => return Some(incoming),
                Err(NoRequest::Ever) => return None,
                Err(NoRequest::Yet) => py.detach(|| self.wait()),
            }
            called = true;
        }
    }
}

/// # Safety
/// `bytes` describes readable memory for as long as the result is used.
unsafe fn bytes_of(bytes: &RawBytes) -> &[u8] {
    if bytes.size == 0 {
        return &[];
    }
    // SAFETY: the caller's promise.
    unsafe { std::slice::from_raw_parts(bytes.data, bytes.size) }
}

struct TableBody {
    table: Table,
    handle: *mut c_void,
    may_wait: bool,
}

// SAFETY: a handle may be used on any thread, on one at a time; `&mut self` ensures that.
unsafe impl Send for TableBody {}
// SAFETY: nothing of it can be called through `&self` that reaches the handle.
unsafe impl Sync for TableBody {}

impl Body for TableBody {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // SAFETY: the handle is ours until it is released; the buffer is writable for its length.
        let read =
            unsafe { (self.table.0.read_body)(self.handle, buffer.as_mut_ptr(), buffer.len()) };
        usize::try_from(read).map_err(|_| io::Error::other("the request's body can't be read"))
    }

    fn may_wait(&self) -> bool {
        self.may_wait
    }
}

impl Drop for TableBody {
    fn drop(&mut self) {
        // SAFETY: released once, here.
        unsafe { (self.table.0.release_body)(self.handle) }
    }
}

struct TableAnswer {
    table: Table,
    handle: *mut c_void,
}

// SAFETY: as for the body.
unsafe impl Send for TableAnswer {}
// SAFETY: as for the body.
unsafe impl Sync for TableAnswer {}

impl TableAnswer {
    fn send_raw(&mut self, piece: &Piece<'_>, may_wait: bool) -> i32 {
        let piece = RawPiece {
            head: RawBytes::of(piece.head.unwrap_or_default()),
            data: RawBytes::of(piece.data),
            last: piece.last.into(),
            may_wait: may_wait.into(),
        };
        // SAFETY: the handle is ours until it is released; the piece lives during the call.
        unsafe { (self.table.0.send)(self.handle, &raw const piece) }
    }
}

impl Answer for TableAnswer {
    fn try_send(&mut self, piece: &Piece<'_>) -> Result<Sent, Gone> {
        match self.send_raw(piece, false) {
            abi::sent::TAKEN => Ok(Sent::Taken),
            abi::sent::WOULD_WAIT => Ok(Sent::WouldWait),
            _ => Err(Gone),
        }
    }

    fn send(&mut self, piece: &Piece<'_>) -> Result<(), Gone> {
        if self.send_raw(piece, true) == abi::sent::TAKEN { Ok(()) } else { Err(Gone) }
    }

    fn send_file(&mut self, head: &[u8], file: OwnedFd, range: FileRange) -> Result<(), Gone> {
        let FileRange { offset, size } = range;
        let descriptor = file.into_raw_fd();
        let raw = RawFile { head: RawBytes::of(head), descriptor, offset, size };
        // SAFETY: the handle is ours until it is released; the head lives during the call; the host owns the descriptor.
        let sent = unsafe { (self.table.0.send_file)(self.handle, &raw const raw) };
        if sent == abi::sent::TAKEN { Ok(()) } else { Err(Gone) }
    }

    fn abort(&mut self, reason: &str) {
        // SAFETY: the handle is ours until it is released; the text lives during the call.
        unsafe { (self.table.0.abort)(self.handle, RawBytes::of(reason.as_bytes())) }
    }
}

impl Drop for TableAnswer {
    fn drop(&mut self) {
        // SAFETY: released once, here.
        unsafe { (self.table.0.release_answer)(self.handle) }
    }
}
