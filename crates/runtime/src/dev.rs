//! `onebox dev`: an application that shows its exceptions, and a stand-in for one that can't be imported.

use std::sync::Arc;

use pyo3::prelude::*;

use crate::application::Application;
use crate::errors;
use crate::framework_errors;
use crate::report;

/// The application that a developer sees.
pub(crate) fn shown(py: Python<'_>, loaded: PyResult<Application>) -> PyResult<Application> {
    let code = pyo3::ffi::c_str!(include_str!("dev.py"));
    let module = PyModule::from_code(py, code, c"onebox dev", c"onebox_dev")?;
    match loaded {
        Ok(Application { callable, name }) => {
            let shown = module.getattr("Shown")?.call1((callable,))?;
            framework_errors::listen(py, &shown.getattr("saw")?)?;
            Ok(Application { callable: shown.unbind(), name })
        }
        Err(error) => {
            errors::log(py, &report::traceback(py, &error));
            let broken = module.getattr("Broken")?.call1((error.into_value(py),))?;
            Ok(Application { callable: broken.unbind(), name: Arc::from("onebox dev") })
        }
    }
}
