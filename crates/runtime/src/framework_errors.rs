//! Exceptions that never reach the gateway, since Django or Flask makes a 500 of them.
//!
//! Source: `django.core.signals.got_request_exception`, `flask.got_request_exception`.

use pyo3::prelude::*;
use pyo3::types::PyCFunction;

use crate::seats;

/// Has the failures of the application's framework noted; once it is loaded.
pub(crate) fn install(py: Python<'_>) -> PyResult<()> {
    let failed = PyCFunction::new_closure(py, Some(c"failed"), None, |arguments, _| {
        if let Ok(error) = arguments.get_item(0) {
            seats::note_failure(arguments.py(), &PyErr::from_value(error));
        }
    })?;
    listen(py, &failed)
}

/// Has `failed` called with each exception that the framework of the application, which is loaded, answers itself.
pub(crate) fn listen(py: Python<'_>, failed: &Bound<'_, PyAny>) -> PyResult<()> {
    let code = pyo3::ffi::c_str!(include_str!("framework_errors.py"));
    let module = PyModule::from_code(py, code, c"framework_errors.py", c"onebox_framework_errors")?;
    module.call_method1("install", (failed,)).map(drop)
}
