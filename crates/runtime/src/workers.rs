//! The threads that serve requests: Python threads, so that thread-local data lives from request to request.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::{IntoPyDict, PyCFunction, PyDict, PyTuple};

use crate::environ::Environs;
use crate::gateway::Gateway;
use crate::host::Host;

/// Starts `count` daemon threads named `onebox-1` and so on; each serves until the host has no more requests.
pub(crate) fn start<'py>(
    py: Python<'py>,
    count: usize,
    host: &Arc<dyn Host>,
    gateway: &Arc<Gateway>,
) -> PyResult<Vec<Bound<'py, PyAny>>> {
    let thread = py.import("threading")?.getattr("Thread")?;
    (1..=count)
        .map(|number| {
            let (host, gateway) = (Arc::clone(host), Arc::clone(gateway));
            let serve = move |arguments: &Bound<'_, PyTuple>, _: Option<&Bound<'_, PyDict>>| {
                serve_requests(arguments.py(), host.as_ref(), &gateway);
            };
            let target = PyCFunction::new_closure(py, Some(c"serve_requests"), None, serve)?;
            let arguments = [
                ("target", target.into_any()),
                ("name", format!("onebox-{number}").into_pyobject(py)?.into_any()),
                ("daemon", true.into_pyobject(py)?.to_owned().into_any()),
            ];
            let worker = thread.call((), Some(&arguments.into_py_dict(py)?))?;
            worker.call_method0("start")?;
            Ok(worker)
        })
        .collect()
}

/// One thread's life. A panic of ours, turned into an exception by pyo3, ends the request and not the thread.
fn serve_requests(py: Python<'_>, host: &dyn Host, gateway: &Gateway) {
    let mut environs = Environs::default();
    while let Some(incoming) = host.receive(py) {
        let respond = || gateway.respond(py, &mut environs, incoming);
        // Dropping the answer has told its reader; the panic's message went to standard error.
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(respond));
    }
}
