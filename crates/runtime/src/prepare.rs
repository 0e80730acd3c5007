//! The interpreter before the application comes, and at its end.

use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::application;
use crate::dev;
use crate::environ;
use crate::fork_guard;
use crate::framework_errors;
use crate::gateway::Gateway;
use crate::printed;
use crate::signal_guard;
use crate::spec::Spec;

/// Makes both kinds of interpreters alike and loads the application; on Python's main thread.
pub(crate) fn load(py: Python<'_>, spec: &Spec) -> PyResult<Gateway> {
    // On some versions the thread that imports it first is the main thread.
    py.import("threading")?;
    std::env::set_current_dir(&spec.chdir)?;
    let sys = py.import("sys")?;
    sys.setattr("argv", ["onebox"])?;
    extend_path(&sys.getattr("path")?.cast_into::<PyList>()?, spec)?;
    show_lines_at_once(&sys)?;
    printed::install(py)?;
    signal_guard::install(py)?;
    fork_guard::install(py)?;
    let loaded = application::load(py, &spec.target);
    framework_errors::install(py)?;
    let application = if spec.development { dev::shown(py, loaded) } else { loaded }?;
    Ok(Gateway::new(application, environ::template(py, spec)?))
}

/// The root first, then what the site adds; the empty entry of `python -c` goes.
fn extend_path(path: &Bound<'_, PyList>, spec: &Spec) -> PyResult<()> {
    if path.len() > 0 && path.get_item(0)?.eq("")? {
        path.del_item(0)?;
    }
    for (index, folder) in std::iter::once(&spec.root).chain(&spec.python_path).enumerate() {
        path.insert(index, folder.as_os_str())?;
    }
    Ok(())
}

/// `print` in an application shall be in the log when it happens, not 8 KB later.
fn show_lines_at_once(sys: &Bound<'_, PyModule>) -> PyResult<()> {
    for name in ["stdout", "stderr"] {
        let stream = sys.getattr(name)?;
        // A process without these descriptors has None here.
        if let Some(reconfigure) = stream.getattr_opt("reconfigure")? {
            let options = pyo3::types::PyDict::new(sys.py());
            options.set_item("line_buffering", true)?;
            reconfigure.call((), Some(&options))?;
        }
    }
    Ok(())
}

/// What Python does at its end, without taking the interpreter apart under threads that still run: waits for threads
/// that are no daemons, runs the exit handlers, flushes the streams.
pub(crate) fn run_exit_handlers(py: Python<'_>) {
    let call = |module: &str, function: &str| -> PyResult<()> {
        py.import(module)?.call_method0(function).map(drop)
    };
    let flush = |stream: &str| -> PyResult<()> {
        py.import("sys")?.getattr(stream)?.call_method0("flush").map(drop)
    };
    for outcome in [
        call("threading", "_shutdown"),
        call("atexit", "_run_exitfuncs"),
        flush("stdout"),
        flush("stderr"),
    ] {
        if let Err(error) = outcome {
            error.print(py);
        }
    }
}
