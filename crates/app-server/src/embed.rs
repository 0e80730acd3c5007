//! The embedded interpreter: loads libpython and the runtime library into this process and gives them their callbacks.
//!
//! All unsafe code of the crate. Source: `onebox_uwsgi::abi`; the Python/C API, "Initialization".
#![allow(unsafe_code)]

use std::ffi::{CString, c_char, c_int, c_void};
use std::fs::File;
use std::io::Read;
use std::os::fd::FromRawFd;
use std::os::unix::ffi::OsStrExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use bytes::Bytes;
use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_LOCAL, RTLD_NOW};
use onebox_uwsgi::abi::{self, HostTable, RawBytes, RawFile, RawPiece, RawRequest};
use onebox_uwsgi::{
    AbortReason, Backlog, Coming, Empty, FilePart, Gone, Piece, Pushed, ResponseHead, ResponseSink,
    Vars,
};
use parking_lot::Mutex;

use crate::{AppSpec, Interpreter, Notice, RuntimeLibrary, StartError};

/// The stack of Python's main thread, in bytes: as large as the one a program's own main thread has.
const STACK_BYTES: usize = 8 << 20;

/// Set by the first [`embed`]: an interpreter can't be taken out of a process, nor can there be two.
static OCCUPIED: AtomicBool = AtomicBool::new(false);

/// The interpreter of this process; it lives until the process ends.
#[derive(Debug)]
pub struct Embedded {
    commands: Sender<Command>,
}

/// What Python's main thread has to do.
#[derive(Debug)]
enum Command {
    /// Run the exit handlers, and say so.
    Stop(Sender<()>),
}

impl Embedded {
    /// Runs Python's exit handlers. The backlog is to be closed and served before. Blocks, `limit` at most; false where
    /// the handlers were not done by then.
    pub fn stop(&self, limit: Duration) -> bool {
        let (done, finished) = mpsc::channel();
        self.commands.send(Command::Stop(done)).is_ok() && finished.recv_timeout(limit).is_ok()
    }
}

/// Takes what the runtime library says, on a thread of its own that serves no requests.
pub type Listener = Box<dyn Fn(Notice) + Send + Sync>;

/// Loads `interpreter` into this process, and the application into it, and serves `backlog` with its threads.
///
/// Blocks until the application is imported; for a plain thread, never for a task. Once in a process, whatever comes of
/// it. The environment is the process's; the working folder becomes the application's root.
///
/// # Errors
/// [`StartError`]; with the traceback where the application can't be loaded.
pub fn embed(
    interpreter: &Interpreter,
    library: &RuntimeLibrary,
    spec: &AppSpec,
    backlog: Backlog,
    listener: Listener,
) -> Result<Embedded, StartError> {
    let libpython = interpreter
        .libpython
        .clone()
        .ok_or_else(|| StartError::NoSharedLibrary(interpreter.executable.clone()))?;
    let spec = spec.encode()?;
    if OCCUPIED.swap(true, Ordering::SeqCst) {
        return Err(StartError::AlreadyEmbedded);
    }
    let (commands, received) = mpsc::channel();
    let (report, reported) = mpsc::channel();
    let host = Host {
        backlog,
        listener,
        report: Mutex::new(report.clone()),
        commands: Mutex::new(Commands { received, stopping: None }),
    };
    let executable = interpreter.executable.clone();
    let library = library.path.clone();
    std::thread::Builder::new()
        .name("python-main".into())
        .stack_size(STACK_BYTES)
        .spawn(move || {
            if let Err(error) = run(&libpython, &executable, &library, &spec, host) {
                // Nobody reads it where the application's failure was reported before.
                let _ = report.send(Err(error));
            }
            // Python's main thread must not end before the process: the interpreter remembers it.
            loop {
                std::thread::park();
            }
        })
        .map_err(StartError::Thread)?;
    reported.recv().map_err(|_| StartError::Lost)??;
    Ok(Embedded { commands })
}

/// Initialises Python on this thread and calls the runtime library; returns only where something failed.
fn run(
    libpython: &Path,
    executable: &Path,
    library: &Path,
    spec: &Vars,
    host: Host,
) -> Result<(), StartError> {
    // RTLD_GLOBAL: extension modules find Python's symbols without linking the library themselves.
    let python = load(libpython, RTLD_NOW | RTLD_GLOBAL)?;
    initialise(&python, libpython, executable)?;
    let runtime = load(library, RTLD_NOW | RTLD_LOCAL)?;
    // SAFETY: the library is the one that this binary carries, so that the symbol is of this type.
    let start = unsafe { runtime.get::<abi::EntryPoint>(abi::ENTRY_POINT) }
        .map_err(|error| load_error(library, &error))?;
    let table: &'static HostTable = Box::leak(Box::new(host_table(Box::leak(Box::new(host)))));
    let spec = spec.as_bytes();
    // SAFETY: the table lives for ever, the bytes for the call, and this thread has initialised Python and so holds
    // the GIL.
    unsafe { start(table, spec.as_ptr(), spec.len()) };
    // The application may have left threads and callbacks behind, whose code must stay.
    std::mem::forget((python, runtime));
    Err(StartError::Lost)
}

fn load(path: &Path, flags: c_int) -> Result<Library, StartError> {
    // SAFETY: what runs at loading is libpython's or our own library's initialisation, which has no preconditions.
    unsafe { Library::open(Some(path), flags) }.map_err(|error| load_error(path, &error))
}

fn load_error(path: &Path, error: &libloading::Error) -> StartError {
    StartError::Load { path: path.to_path_buf(), message: error.to_string() }
}

/// `Py_SetProgramName(executable)`, from which Python finds its environment, and `Py_InitializeEx(0)`, which leaves the
/// process's signals alone.
fn initialise(python: &Library, libpython: &Path, executable: &Path) -> Result<(), StartError> {
    type DecodeLocale = unsafe extern "C" fn(*const c_char, *mut usize) -> *mut c_void;
    type SetProgramName = unsafe extern "C" fn(*const c_void);
    type InitializeEx = unsafe extern "C" fn(c_int);
    preinitialise(python, libpython)?;
    // SAFETY: these are the types of the functions in every CPython that has them.
    let (decode, set_program_name, initialize) = unsafe {
        (
            python.get::<DecodeLocale>("Py_DecodeLocale"),
            // Deprecated since 3.11: where it is gone, Python looks for itself.
            python.get::<SetProgramName>("Py_SetProgramName"),
            python.get::<InitializeEx>("Py_InitializeEx"),
        )
    };
    if let (Ok(decode), Ok(set_program_name)) = (decode, set_program_name) {
        let name = CString::new(executable.as_os_str().as_bytes()).unwrap_or_default();
        // SAFETY: `name` ends with NUL; the decoded text is never freed, as Python keeps the pointer.
        unsafe {
            let decoded = decode(name.as_ptr(), std::ptr::null_mut());
            if !decoded.is_null() {
                set_program_name(decoded);
            }
        }
    }
    let initialize = initialize.map_err(|error| load_error(libpython, &error))?;
    // SAFETY: first and only initialisation in this process (`OCCUPIED`), on the thread that stays.
    unsafe { initialize(0) };
    Ok(())
}

/// Gives Python the encodings that the program `python` would have here. `Py_InitializeEx` alone knows neither `PYTHONUTF8`
/// nor that a C locale, or one that the machine does not have, means UTF-8 (PEP 538, PEP 540).
fn preinitialise(python: &Library, libpython: &Path) -> Result<(), StartError> {
    type InitPythonConfig = unsafe extern "C" fn(*mut PreConfig);
    type PreInitialize = unsafe extern "C" fn(*const PreConfig) -> PyStatus;
    let missing = |error| load_error(libpython, &error);
    // SAFETY: these are the types of the functions in every CPython from 3.8 on.
    let (init_python_config, pre_initialize) = unsafe {
        (
            python.get::<InitPythonConfig>("PyPreConfig_InitPythonConfig").map_err(missing)?,
            python.get::<PreInitialize>("Py_PreInitialize").map_err(missing)?,
        )
    };
    let mut config = PreConfig([0; 64]);
    // SAFETY: `PreConfig` has room for the structure; Python is not initialised yet.
    let status = unsafe {
        init_python_config(&raw mut config);
        pre_initialize(&raw const config)
    };
    match status.kind {
        PY_STATUS_OK => Ok(()),
        kind => Err(StartError::Load {
            path: libpython.to_path_buf(),
            message: format!("Py_PreInitialize ended with status {kind}"),
        }),
    }
}

/// `PyPreConfig`, which Python alone fills and reads: about ten `int`s, and room for what versions add.
#[repr(C)]
struct PreConfig([c_int; 64]);

/// `PyStatus`
#[repr(C)]
struct PyStatus {
    kind: c_int,
    function: *const c_char,
    message: *const c_char,
    exit_code: c_int,
}

/// `_PyStatus_TYPE_OK`
const PY_STATUS_OK: c_int = 0;

/// The context of the table.
struct Host {
    backlog: Backlog,
    listener: Listener,
    report: Mutex<Sender<Result<(), StartError>>>,
    commands: Mutex<Commands>,
}

struct Commands {
    received: Receiver<Command>,
    /// Told when Python's main thread comes back from a stop.
    stopping: Option<Sender<()>>,
}

/// A request's body, behind its handle.
struct BodyHandle {
    vars: Vars,
    reader: Box<dyn Read + Send>,
}

/// A request's answer, behind its handle; empty after an abort.
struct AnswerHandle(Option<ResponseSink>);

fn host_table(host: &'static Host) -> HostTable {
    HostTable {
        version: abi::VERSION,
        context: std::ptr::from_ref(host).cast(),
        take,
        wait,
        read_body,
        release_body,
        send,
        send_file,
        abort,
        release_answer,
        ready,
        failed,
        control,
        tell,
    }
}

/// Runs a callback; a panic, whose message went to standard error, becomes `otherwise`.
fn guarded<T>(otherwise: T, callback: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(callback)).unwrap_or(otherwise)
}

/// # Safety
/// `context` is the one of [`host_table`].
unsafe fn host_of<'a>(context: *const c_void) -> &'a Host {
    // SAFETY: the caller's promise; the host is never freed.
    unsafe { &*context.cast::<Host>() }
}

/// # Safety
/// `bytes` describes readable memory for as long as the result is used.
unsafe fn bytes_of<'a>(bytes: RawBytes) -> &'a [u8] {
    if bytes.size == 0 {
        return &[];
    }
    // SAFETY: the caller's promise.
    unsafe { std::slice::from_raw_parts(bytes.data, bytes.size) }
}

unsafe extern "C" fn take(context: *const c_void, request: *mut RawRequest, called: u8) -> i32 {
    guarded(abi::taken::OVER, || {
        // SAFETY: the library passes the table's context.
        let host = unsafe { host_of(context) };
        let mut coming = if called == 1 { Coming::Called } else { Coming::ByItself };
        loop {
            let job = match host.backlog.take(coming) {
                Ok(job) => job,
                Err(Empty::Now) => return abi::taken::NOTHING,
                Err(Empty::ForEver) => return abi::taken::OVER,
            };
            coming = Coming::ByItself;
            let time_left_ms = job.request.time_left_ms().unwrap_or(0);
            let body_may_wait = matches!(job.request.body, onebox_uwsgi::Body::File { .. });
            // A temporary file that can't be read ends its answer; the next request may do.
            let Ok(reader) = job.request.body.into_reader() else {
                job.sink.abort(AbortReason::BufferFailed);
                continue;
            };
            let body = Box::new(BodyHandle { vars: job.request.vars, reader });
            let raw = RawRequest {
                vars: RawBytes::of(body.vars.as_bytes()),
                body_may_wait: body_may_wait.into(),
                body: Box::into_raw(body).cast(),
                answer: Box::into_raw(Box::new(AnswerHandle(Some(job.sink)))).cast(),
                time_left_ms,
            };
            // SAFETY: the library gives a pointer that is valid for writing.
            unsafe { request.write(raw) };
            return abi::taken::REQUEST;
        }
    })
}

unsafe extern "C" fn wait(context: *const c_void) {
    // SAFETY: the library passes the table's context.
    guarded((), || unsafe { host_of(context) }.backlog.wait());
}

unsafe extern "C" fn read_body(body: *mut c_void, buffer: *mut u8, size: usize) -> isize {
    guarded(-1, || {
        // SAFETY: a handle of `take`, used on one thread at a time and not yet released.
        let body = unsafe { &mut *body.cast::<BodyHandle>() };
        // SAFETY: the library gives `size` writable and initialised bytes.
        let buffer = unsafe { std::slice::from_raw_parts_mut(buffer, size) };
        body.reader.read(buffer).ok().and_then(|read| isize::try_from(read).ok()).unwrap_or(-1)
    })
}

unsafe extern "C" fn release_body(body: *mut c_void) {
    // SAFETY: a handle of `take`, released once.
    guarded((), || drop(unsafe { Box::from_raw(body.cast::<BodyHandle>()) }));
}

unsafe extern "C" fn send(answer: *mut c_void, piece: *const RawPiece) -> i32 {
    guarded(abi::sent::GONE, || {
        // SAFETY: a handle of `take`, used on one thread at a time and not yet released.
        let answer = unsafe { &mut *answer.cast::<AnswerHandle>() };
        // SAFETY: the library gives a piece that lives during the call, and so do its bytes.
        let (raw, head, data) =
            unsafe { (&*piece, bytes_of((*piece).head), bytes_of((*piece).data)) };
        let Some(sink) = &mut answer.0 else { return abi::sent::GONE };
        if raw.may_wait == 0 && !sink.has_room(data.len()) {
            // Not copied in vain: the library asks again without the GIL.
            return abi::sent::WOULD_WAIT;
        }
        let head = if head.is_empty() { None } else { ResponseHead::decode(head).ok() };
        let piece = Piece { head, data: Bytes::copy_from_slice(data), last: raw.last != 0 };
        let taken = match sink.try_push(piece) {
            Ok(Pushed::Taken) => Ok(()),
            Ok(Pushed::Full(_)) if raw.may_wait == 0 => return abi::sent::WOULD_WAIT,
            Ok(Pushed::Full(piece)) => sink.push(piece),
            Err(gone) => Err(gone),
        };
        if taken.is_ok() { abi::sent::TAKEN } else { abi::sent::GONE }
    })
}

unsafe extern "C" fn send_file(answer: *mut c_void, file: *const RawFile) -> i32 {
    guarded(abi::sent::GONE, || {
        // SAFETY: the library gives a file that lives during the call, and so do the bytes of its head.
        let (raw, head) = unsafe { (&*file, bytes_of((*file).head)) };
        // SAFETY: the descriptor is open, and ours from here on.
        let file = Arc::new(unsafe { File::from_raw_fd(raw.descriptor) });
        // SAFETY: a handle of `take`, used on one thread at a time and not yet released.
        let answer = unsafe { &mut *answer.cast::<AnswerHandle>() };
        let (Some(sink), Ok(head)) = (&mut answer.0, ResponseHead::decode(head)) else {
            return abi::sent::GONE;
        };
        let part = FilePart { file, offset: raw.offset, size: raw.size };
        match sink.head(head).and_then(|()| sink.file(part)) {
            Ok(()) => abi::sent::TAKEN,
            Err(Gone) => abi::sent::GONE,
        }
    })
}

unsafe extern "C" fn abort(answer: *mut c_void, reason: RawBytes) {
    guarded((), || {
        // SAFETY: a handle of `take`, used on one thread at a time and not yet released.
        let answer = unsafe { &mut *answer.cast::<AnswerHandle>() };
        // SAFETY: the text lives during the call.
        let reason = String::from_utf8_lossy(unsafe { bytes_of(reason) }).into_owned();
        if let Some(sink) = answer.0.take() {
            sink.abort(AbortReason::Application(reason));
        }
    });
}

unsafe extern "C" fn release_answer(answer: *mut c_void) {
    // SAFETY: a handle of `take`, released once.
    guarded((), || drop(unsafe { Box::from_raw(answer.cast::<AnswerHandle>()) }));
}

unsafe extern "C" fn ready(context: *const c_void) {
    guarded((), || {
        // SAFETY: the library passes the table's context.
        let _ = unsafe { host_of(context) }.report.lock().send(Ok(()));
    });
}

unsafe extern "C" fn failed(context: *const c_void, summary: RawBytes, traceback: RawBytes) {
    guarded((), || {
        // SAFETY: both texts live during the call.
        let text = |bytes| String::from_utf8_lossy(unsafe { bytes_of(bytes) }).into_owned();
        let error = StartError::Application { summary: text(summary), traceback: text(traceback) };
        // SAFETY: the library passes the table's context.
        let _ = unsafe { host_of(context) }.report.lock().send(Err(error));
    });
}

unsafe extern "C" fn tell(context: *const c_void, line: RawBytes) {
    guarded((), || {
        // SAFETY: the text lives during the call.
        let line = String::from_utf8_lossy(unsafe { bytes_of(line) });
        if let Some(notice) = Notice::parse(&line) {
            // SAFETY: the library passes the table's context.
            (unsafe { host_of(context) }.listener)(notice);
        }
    });
}

unsafe extern "C" fn control(context: *const c_void) -> i32 {
    guarded(0, || {
        // SAFETY: the library passes the table's context.
        let mut commands = unsafe { host_of(context) }.commands.lock();
        if let Some(done) = commands.stopping.take() {
            let _ = done.send(());
        }
        match commands.received.recv() {
            Ok(Command::Stop(done)) => {
                commands.stopping = Some(done);
                abi::command::STOP
            }
            // Nobody can command any more; the process ends some day.
            Err(_) => loop {
                std::thread::park();
            },
        }
    })
}
