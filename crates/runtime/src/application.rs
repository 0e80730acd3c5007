//! Finding the WSGI callable: `module:app`, `module`, dotted attributes, `module:factory()`, or a WSGI file.

use std::path::Path;
use std::sync::Arc;

use pyo3::exceptions::{PyAttributeError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyModule};

use crate::head::type_of;
use crate::spec::Target;

/// The attributes that are tried where none is named.
const DEFAULT_ATTRIBUTES: [&str; 2] = ["application", "app"];
/// The name under which a WSGI file is in `sys.modules`.
const FILE_MODULE: &str = "onebox_wsgi_file";

/// A loaded application.
pub(crate) struct Application {
    pub(crate) callable: Py<PyAny>,
    /// As the configuration names it, for messages.
    pub(crate) name: Arc<str>,
}

/// Imports and finds the application.
///
/// # Errors
/// Whatever the application raises while it is imported; `AttributeError` and `TypeError` where there is no callable.
pub(crate) fn load(py: Python<'_>, target: &Target) -> PyResult<Application> {
    let (callable, name) = match target {
        Target::Module(text) => {
            let (module, expression) = match text.split_once(':') {
                Some((module, expression)) => (module, Some(expression)),
                None => (text.as_str(), None),
            };
            let module = py.import(module)?;
            let callable = match expression {
                Some(expression) => evaluate(&module, expression)?,
                None => default_attribute(&module)?,
            };
            (callable, text.clone())
        }
        Target::File(path, attribute) => {
            let module = run_file(py, path)?;
            let name = format!("{}:{attribute}", path.display());
            (evaluate(&module, attribute)?, name)
        }
    };
    if !callable.is_callable() {
        return Err(PyTypeError::new_err(format!(
            "{name} is not callable: it is of the type {}",
            type_of(&callable)
        )));
    }
    Ok(Application { callable: callable.unbind(), name: name.into() })
}

fn default_attribute<'py>(module: &Bound<'py, PyModule>) -> PyResult<Bound<'py, PyAny>> {
    for attribute in DEFAULT_ATTRIBUTES {
        if let Some(found) = module.getattr_opt(attribute)? {
            return Ok(found);
        }
    }
    Err(PyAttributeError::new_err(format!(
        "module '{}' has neither 'application' nor 'app'; name the callable, as in '{0}:my_app'",
        module.name()?.to_string_lossy()
    )))
}

/// `a.b.c` or `a.b()`; a call takes no arguments.
fn evaluate<'py>(module: &Bound<'py, PyModule>, expression: &str) -> PyResult<Bound<'py, PyAny>> {
    let (path, is_call) = match expression.trim().strip_suffix("()") {
        Some(path) => (path, true),
        None => (expression.trim(), false),
    };
    let well_formed = |part: &str| {
        !part.is_empty() && part.chars().all(|letter| letter.is_alphanumeric() || letter == '_')
    };
    if !path.split('.').all(well_formed) {
        return Err(PyValueError::new_err(format!(
            "'{expression}' is neither an attribute, like 'app' or 'web.app', nor a call, like 'create_app()'"
        )));
    }
    let mut object = module.clone().into_any();
    for part in path.split('.') {
        object = object.getattr(part)?;
    }
    if is_call { object.call0() } else { Ok(object) }
}

/// Runs a file of any name as a module, without leaving compiled files beside it.
fn run_file<'py>(py: Python<'py>, path: &Path) -> PyResult<Bound<'py, PyModule>> {
    let source = PyBytes::new(py, &std::fs::read(path)?);
    let code =
        py.import("builtins")?.call_method1("compile", (source, path.as_os_str(), "exec"))?;
    let module = PyModule::new(py, FILE_MODULE)?;
    module.setattr("__file__", path.as_os_str())?;
    py.import("sys")?.getattr("modules")?.set_item(FILE_MODULE, &module)?;
    py.import("builtins")?.call_method1("exec", (code, module.dict()))?;
    Ok(module)
}
