//! The threads that serve requests: Python threads, so that thread-local data lives from request to request.

use std::ffi::CStr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use pyo3::prelude::*;
use pyo3::types::{IntoPyDict, PyCFunction, PyDict, PyTuple};

use crate::admission::Admission;
use crate::environ::Environs;
use crate::gateway::Gateway;
use crate::heart::Heart;
use crate::host::Host;
use crate::seats::{Ended, Next, Seats};
use crate::spec::Deadlines;
use crate::teller::{Tell, Teller};
use crate::watchdog::{self, Parts, Remedy};

/// What a process serves requests with.
pub(crate) struct Service {
    pub(crate) threads: usize,
    pub(crate) host: Arc<dyn Host>,
    pub(crate) gateway: Gateway,
    pub(crate) deadlines: Deadlines,
    pub(crate) remedy: Remedy,
    /// The application's folder.
    pub(crate) root: PathBuf,
    /// Takes what happens to requests that fail or pass their deadlines.
    pub(crate) tell: Tell,
}

/// What every thread needs.
struct Workers {
    host: Arc<dyn Host>,
    gateway: Gateway,
    seats: Arc<Seats>,
    teller: Arc<Teller>,
    admission: Arc<Admission>,
    started: AtomicUsize,
}

/// The threads of a service while it runs.
pub(crate) struct Started {
    pub(crate) seats: Arc<Seats>,
    pub(crate) teller: Arc<Teller>,
}

/// Starts the threads of a service, and those that see to its deadlines.
pub(crate) fn start(py: Python<'_>, service: Service) -> PyResult<Started> {
    let Service { threads, host, gateway, deadlines, remedy, root, tell } = service;
    let (seats, heart) = (Arc::new(Seats::new(deadlines.harakiri)), Arc::new(Heart::default()));
    let teller = Arc::new(Teller::start(tell)?);
    let admission = Arc::new(Admission::new(threads));
    let workers = Arc::new(Workers {
        host,
        gateway,
        seats: Arc::clone(&seats),
        admission: Arc::clone(&admission),
        teller: Arc::clone(&teller),
        started: AtomicUsize::new(0),
    });
    let parts = Parts {
        seats: Arc::clone(&seats),
        heart: Arc::clone(&heart),
        admission,
        deadlines,
        remedy,
        root,
        teller: Arc::clone(&teller),
    };
    watchdog::start(py, parts)?;
    for _ in 0..threads {
        start_one(py, &workers)?;
    }
    start_thread(py, "onebox-heart", c"beat", move |py| {
        heart.beat(py, |py| start_one(py, &workers), || workers.seats.wake())
    })?;
    Ok(Started { seats, teller })
}

/// Starts a thread that serves until the host has no more requests or it is given up.
fn start_one(py: Python<'_>, workers: &Arc<Workers>) -> PyResult<()> {
    let number = workers.started.fetch_add(1, Ordering::Relaxed) + 1;
    workers.seats.expect();
    let workers = Arc::clone(workers);
    start_thread(py, &format!("onebox-{number}"), c"serve_requests", move |py| workers.serve(py))
}

/// Starts a daemon thread of Python's.
fn start_thread(
    py: Python<'_>,
    name: &str,
    function: &'static CStr,
    run: impl Fn(Python<'_>) + Send + Sync + 'static,
) -> PyResult<()> {
    let run = move |arguments: &Bound<'_, PyTuple>, _: Option<&Bound<'_, PyDict>>| {
        run(arguments.py());
    };
    let target = PyCFunction::new_closure(py, Some(function), None, run)?;
    let arguments = [
        ("target", target.into_any()),
        ("name", name.into_pyobject(py)?.into_any()),
        ("daemon", true.into_pyobject(py)?.to_owned().into_any()),
    ];
    let thread = py.import("threading")?.getattr("Thread")?;
    thread.call((), Some(&arguments.into_py_dict(py)?))?.call_method0("start").map(drop)
}

impl Workers {
    /// One thread's life. A panic of ours, turned into an exception by pyo3, ends the request and not the thread.
    fn serve(&self, py: Python<'_>) {
        let seat = self.seats.take();
        let mut environs = Environs::default();
        loop {
            self.admission.enter(py, &seat.ticket);
            let Some(incoming) = self.host.receive(py) else { break };
            self.seats.begin(&seat, &incoming.vars, incoming.time_left);
            let respond = || self.gateway.respond(py, &mut environs, incoming);
            // Dropping the answer has told its reader; the panic's message went to standard error.
            let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(respond));
            let Ended { next, failed } = self.seats.finish(py, &seat);
            if let Some(failed) = failed {
                self.teller.tell_failed(failed);
            }
            if next == Next::Leave {
                break;
            }
        }
        self.admission.leave(&seat.ticket);
        self.seats.leave(&seat);
    }
}
