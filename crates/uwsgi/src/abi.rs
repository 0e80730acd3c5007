//! The C boundary between the binary and the runtime library that it carries.
//!
//! The binary fills a [`HostTable`] and calls the library's entry point ([`ENTRY_POINT`]) with it and with an
//! application's specification (a vars block with the keys in [`spec`]). Nothing of Rust's layout crosses: requests are
//! vars blocks, heads are encoded [`crate::ResponseHead`]s, everything else is pointers, sizes and numbers. No panic
//! crosses either: both sides catch theirs.

use std::ffi::c_void;

/// The version of this boundary; a library refuses a table of another one.
pub const VERSION: u32 = 3;
/// The name of the library's entry point, of the type [`EntryPoint`].
pub const ENTRY_POINT: &str = "onebox_runtime_start";
/// The library's entry point: the table, then the specification's bytes and their size.
///
/// Called on Python's main thread, which holds the GIL. It returns at once (non-zero) where the table is of another
/// version or the application can't be loaded; else it keeps the thread.
pub type EntryPoint = unsafe extern "C" fn(*const HostTable, *const u8, usize) -> i32;

/// The keys of an application's specification.
pub mod spec {
    /// The name of the site.
    pub const SITE: &[u8] = b"site";
    /// `package.module:attribute`; this or [`FILE`].
    pub const MODULE: &[u8] = b"module";
    /// The path of a WSGI file; this or [`MODULE`].
    pub const FILE: &[u8] = b"file";
    /// The name of the callable in the WSGI file.
    pub const CALLABLE: &[u8] = b"callable";
    /// The application's folder: first entry of `sys.path`.
    pub const ROOT: &[u8] = b"root";
    /// The working folder.
    pub const CHDIR: &[u8] = b"chdir";
    /// One more entry of `sys.path`; may come more than once.
    pub const PYTHON_PATH: &[u8] = b"python-path";
    /// The number of threads that serve requests.
    pub const THREADS: &[u8] = b"threads";
    /// `1` where other processes serve the same application.
    pub const MULTIPROCESS: &[u8] = b"multiprocess";
    /// `1` where exceptions are shown to clients.
    pub const DEVELOPMENT: &[u8] = b"development";
    /// How long a request may take that does not say it itself, in milliseconds (`harakiri`).
    pub const HARAKIRI_MS: &[u8] = b"harakiri-ms";
    /// How long its thread has to come back after that, in milliseconds (`harakiri-grace`).
    pub const HARAKIRI_GRACE_MS: &[u8] = b"harakiri-grace-ms";
    /// How long one call may keep the GIL, in milliseconds (`deadlock-timeout`).
    pub const DEADLOCK_TIMEOUT_MS: &[u8] = b"deadlock-timeout-ms";
    /// The environment variable that carries the specification, in hexadecimal digits, to an isolated worker.
    pub const VARIABLE: &str = "ONEBOX_APP_SPEC";
}

/// The descriptors that an isolated worker inherits.
pub mod descriptor {
    /// The listening Unix socket.
    pub const LISTENER: i32 = 3;
    /// The pipe to which the worker writes lines of JSON: first that it is ready, or why not; then what happens to
    /// requests that pass their deadlines.
    pub const STATUS: i32 = 4;
    /// The read end of the life pipe: at its end of file the worker exits at once.
    pub const LIFE: i32 = 5;
}

/// What [`HostTable::take`] says.
pub mod taken {
    /// Here is a request.
    pub const REQUEST: i32 = 0;
    /// Nothing waits: [`super::HostTable::wait`], and come again.
    pub const NOTHING: i32 = 1;
    /// There will be no more requests.
    pub const OVER: i32 = 2;
}

/// What [`HostTable::send`] says.
pub mod sent {
    /// The piece was taken.
    pub const TAKEN: i32 = 0;
    /// Taking it would mean waiting: call again with [`super::RawPiece::may_wait`].
    pub const WOULD_WAIT: i32 = 1;
    /// Nobody wants the answer any more.
    pub const GONE: i32 = 2;
}

/// What [`HostTable::control`] says.
pub mod command {
    /// Run the exit handlers of Python and call again.
    pub const STOP: i32 = 1;
}

/// Bytes that the caller owns and keeps during the call; `data` may be null where `size` is 0.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct RawBytes {
    /// The first byte.
    pub data: *const u8,
    /// How many bytes.
    pub size: usize,
}

impl RawBytes {
    /// The bytes of `slice`, as long as that lives.
    pub const fn of(slice: &[u8]) -> Self {
        Self { data: slice.as_ptr(), size: slice.len() }
    }
}

/// One request, as the host hands it over.
#[repr(C)]
#[derive(Debug)]
pub struct RawRequest {
    /// The vars block; it lives as long as `body`.
    pub vars: RawBytes,
    /// The body's handle; given back by [`HostTable::release_body`].
    pub body: *mut c_void,
    /// Whether reading the body may wait for a disk (1) or copies memory (0).
    pub body_may_wait: u8,
    /// The answer's handle; given back by [`HostTable::release_answer`].
    pub answer: *mut c_void,
    /// How long the request may still take, in milliseconds; 0: it does not say.
    pub time_left_ms: u64,
}

/// A piece of an answer.
#[repr(C)]
#[derive(Debug)]
pub struct RawPiece {
    /// The encoded head, in the first piece; else of size 0.
    pub head: RawBytes,
    /// Bytes of the body.
    pub data: RawBytes,
    /// Whether the answer is complete with this piece (1).
    pub last: u8,
    /// Whether the call may wait (1). Without the GIL only.
    pub may_wait: u8,
}

/// A part of a file as the whole body of an answer.
#[repr(C)]
#[derive(Debug)]
pub struct RawFile {
    /// The encoded head.
    pub head: RawBytes,
    /// The descriptor; the host's own from the call on.
    pub descriptor: i32,
    /// Where the part begins, in bytes.
    pub offset: u64,
    /// Its size, in bytes.
    pub size: u64,
}

/// What the library calls. Every function may be called on any thread; a handle on one thread at a time.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct HostTable {
    /// [`VERSION`].
    pub version: u32,
    /// The host's own pointer, first argument where a call is about no request.
    pub context: *const c_void,
    /// Fills in the next request, without waiting for one: a value of [`taken`]. `called` is 1 where the thread comes
    /// from `wait`.
    pub take:
        unsafe extern "C" fn(context: *const c_void, request: *mut RawRequest, called: u8) -> i32,
    /// Waits, without the GIL, until there is something to take; the thread has to come and take it then.
    pub wait: unsafe extern "C" fn(context: *const c_void),
    /// Reads up to `size` bytes of a body: how many, 0 at its end, negative where it can't be read.
    pub read_body: unsafe extern "C" fn(body: *mut c_void, buffer: *mut u8, size: usize) -> isize,
    /// Gives a body's handle back.
    pub release_body: unsafe extern "C" fn(body: *mut c_void),
    /// Sends a piece of an answer: a value of [`sent`].
    pub send: unsafe extern "C" fn(answer: *mut c_void, piece: *const RawPiece) -> i32,
    /// Sends a head and a file: [`sent::TAKEN`] or [`sent::GONE`]. Never waits.
    pub send_file: unsafe extern "C" fn(answer: *mut c_void, file: *const RawFile) -> i32,
    /// Ends an answer that will never be complete, with the reason as text.
    pub abort: unsafe extern "C" fn(answer: *mut c_void, reason: RawBytes),
    /// Gives an answer's handle back; without a last piece or an abort before, its reader sees a lost worker.
    pub release_answer: unsafe extern "C" fn(answer: *mut c_void),
    /// Says that the application is loaded and its threads wait for requests.
    pub ready: unsafe extern "C" fn(context: *const c_void),
    /// Says that the application can't be loaded: one line, and the traceback.
    pub failed:
        unsafe extern "C" fn(context: *const c_void, summary: RawBytes, traceback: RawBytes),
    /// Waits, without the GIL, for something that Python's main thread has to do: a value of [`command`]. To call it
    /// again says that the command before is done.
    pub control: unsafe extern "C" fn(context: *const c_void) -> i32,
    /// Says what happens to a request past its deadline: a line of JSON, as on [`descriptor::STATUS`]. Called without
    /// the GIL, on a thread that serves no requests.
    pub tell: unsafe extern "C" fn(context: *const c_void, line: RawBytes),
}
