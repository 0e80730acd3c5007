//! The library that runs a WSGI application inside a Python interpreter.
//!
//! One file for every CPython from 3.9 on (abi3), used both ways: the binary loads it beside an embedded interpreter and
//! calls its C entry point ([`table`]); an isolated worker's own Python imports it and calls [`isolated::run`]. Owns the
//! loading of the application, the worker threads and the gateway of PEP 3333. Must not know HTTP framing, configuration
//! or processes: requests come from a [`host`] and answers go back to it.

mod admission;
mod application;
mod blocked;
mod connection;
mod dev;
mod environ;
mod errors;
mod file_wrapper;
mod fork_guard;
mod framework_errors;
mod gateway;
mod head;
mod heart;
mod host;
mod inherited;
mod input;
mod isolated;
mod latin1;
mod listener;
mod notice;
mod prepare;
mod printed;
mod raised;
mod report;
mod seats;
mod signal_guard;
mod signals;
mod spec;
mod stack;
mod start_response;
mod table;
mod teller;
mod watchdog;
mod workers;

use pyo3::prelude::*;

/// The extension module, as an isolated worker's Python imports it.
#[pymodule]
fn onebox_runtime(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(isolated::run, module)?)
}
