//! The whole life of an isolated worker, inside the site's own Python.
#![allow(unsafe_code)]

use std::fs::File;
use std::io::Write;
use std::sync::Arc;
use std::sync::mpsc;

use onebox_uwsgi::abi;
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;

use crate::inherited::Inherited;
use crate::listener::Server;
use crate::prepare;
use crate::report::Failure;
use crate::signals;
use crate::spec::Spec;
use crate::watchdog::Remedy;
use crate::workers::{self, Service};

/// Loads the application named in the environment and serves it until SIGTERM; called on Python's main thread, once.
#[pyfunction]
pub(crate) fn run(py: Python<'_>) -> PyResult<()> {
    // SAFETY: the worker's command calls this once, first of all; the supervisor opened the descriptors.
    let inherited = unsafe { Inherited::take()? };
    let (listener, status) = inherited.watch_life()?;
    let loaded = take_spec(py).and_then(|spec| Ok((prepare::load(py, &spec)?, spec)));
    let (gateway, spec) = match loaded {
        Ok(loaded) => loaded,
        Err(error) => {
            report(&status, &Failure::of(py, &error).to_json());
            return Err(error);
        }
    };
    let server = Server::new(listener)?;
    let (stop, stopped) = mpsc::channel();
    let stopping = Arc::clone(&server);
    signals::on_terminate(move || {
        stopping.stop();
        let _ = stop.send(());
    })?;
    let told = status.try_clone()?;
    let started = workers::start(
        py,
        Service {
            threads: spec.threads,
            host: Arc::new(server),
            gateway,
            deadlines: spec.deadlines,
            remedy: Remedy::FreshProcess,
            root: spec.root,
            tell: Box::new(move |line| report(&told, line)),
        },
    )?;
    report(&status, "{\"ready\":true}\n");
    py.detach(move || stopped.recv())
        .map_err(|error| PyRuntimeError::new_err(error.to_string()))?;
    py.detach(|| {
        started.seats.wait_until_left();
        started.teller.flush();
    });
    prepare::run_exit_handlers(py);
    // SAFETY: _exit is always allowed. Threads of the application may still run, and must not see the interpreter taken
    // apart under them.
    unsafe { libc::_exit(0) }
}

/// Writes a line to the status pipe. A supervisor that is gone ends us by the life pipe.
fn report(mut status: &File, line: &str) {
    let _ = status.write_all(line.as_bytes());
}

/// The specification, removed from the environment that the application and its children see.
fn take_spec(py: Python<'_>) -> PyResult<Spec> {
    let environment = py.import("os")?.getattr("environ")?;
    let digits: String = environment.call_method1("pop", (abi::spec::VARIABLE,))?.extract()?;
    Spec::decode_hexadecimal(&digits).map_err(|error| PyValueError::new_err(error.to_string()))
}
