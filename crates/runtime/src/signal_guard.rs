//! Signals that belong to the server: an application's handlers for them are refused politely.
//!
//! Frameworks and schedulers set handlers at import; taking SIGTERM away from the server would break its shutdown, and
//! an exception would break the application. So `signal.signal` does nothing for them and says so (as in mod_wsgi).

use pyo3::prelude::*;

use crate::errors;

const OURS: [(i32, &str); 6] = [
    (libc::SIGTERM, "SIGTERM"),
    (libc::SIGINT, "SIGINT"),
    (libc::SIGHUP, "SIGHUP"),
    (libc::SIGCHLD, "SIGCHLD"),
    (libc::SIGUSR1, "SIGUSR1"),
    (libc::SIGUSR2, "SIGUSR2"),
];

/// `signal.signal` for applications.
#[pyclass(module = "onebox_runtime", frozen)]
struct SignalGuard {
    original: Py<PyAny>,
}

#[pymethods]
impl SignalGuard {
    #[pyo3(signature = (signalnum, handler, /))]
    fn __call__<'py>(
        &self,
        py: Python<'py>,
        signalnum: &Bound<'py, PyAny>,
        handler: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let number = signalnum.extract::<i32>().ok();
        let Some((_, name)) = OURS.iter().find(|(ours, _)| Some(*ours) == number) else {
            return self.original.bind(py).call1((signalnum, handler));
        };
        let stack =
            py.import("traceback")?.call_method0("format_stack")?.extract::<Vec<String>>()?;
        errors::log(
            py,
            &format!(
                "the handler for {name} is not set: this signal belongs to the server\n{}",
                stack.concat()
            ),
        );
        py.import("signal")?.call_method1("getsignal", (signalnum,))
    }
}

/// Puts the guard in front of `signal.signal`, leaving the process's handlers as they are.
pub(crate) fn install(py: Python<'_>) -> PyResult<()> {
    // Importing the module sets a handler for SIGINT where none was set (CPython's _signal).
    let kept = crate::signals::disposition(libc::SIGINT);
    let signal = py.import("signal")?;
    crate::signals::restore(libc::SIGINT, kept);
    let original = signal.getattr("signal")?.unbind();
    signal.setattr("signal", Bound::new(py, SignalGuard { original })?)
}
