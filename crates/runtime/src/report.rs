//! What went wrong in an application, as text for people.

use pyo3::prelude::*;
use pyo3::types::{PyString, PyType};

/// One line, and the traceback.
pub(crate) struct Failure {
    pub(crate) summary: String,
    pub(crate) traceback: String,
}

impl Failure {
    /// What `error` says.
    pub(crate) fn of(py: Python<'_>, error: &PyErr) -> Self {
        Self { summary: summary(py, error), traceback: traceback(py, error) }
    }

    /// The line of JSON that an isolated worker writes to its status pipe.
    pub(crate) fn to_json(&self) -> String {
        format!(
            "{{\"ready\":false,\"summary\":{},\"traceback\":{}}}\n",
            json_string(&self.summary),
            json_string(&self.traceback)
        )
    }
}

/// `ValueError: the text`, with the module in front where it is no builtin.
pub(crate) fn summary(py: Python<'_>, error: &PyErr) -> String {
    let kind = type_name(&error.get_type(py));
    let text = error.value(py).str().map(|text| lossy(&text)).unwrap_or_default();
    let first = text.lines().next().unwrap_or_default();
    if first.is_empty() { kind } else { format!("{kind}: {first}") }
}

/// The traceback as Python prints it.
pub(crate) fn traceback(py: Python<'_>, error: &PyErr) -> String {
    let format = || -> PyResult<String> {
        let lines = py.import("traceback")?.call_method1(
            "format_exception",
            (error.get_type(py), error.value(py), error.traceback(py)),
        )?;
        let mut text = String::new();
        for line in lines.try_iter()? {
            text.push_str(&lossy(line?.cast::<PyString>()?));
        }
        Ok(text)
    };
    format().unwrap_or_else(|_| summary(py, error) + "\n")
}

/// The text with what is no character replaced.
pub(crate) fn lossy(text: &Bound<'_, PyString>) -> String {
    text.to_string_lossy().into_owned()
}

/// The name of an exception's class, with its module where it is no builtin.
pub(crate) fn type_name(kind: &Bound<'_, PyType>) -> String {
    let name = kind.qualname().map(|name| lossy(&name)).unwrap_or_else(|_| "exception".into());
    match kind.module().map(|module| lossy(&module)) {
        Ok(module) if module != "builtins" => format!("{module}.{name}"),
        _ => name,
    }
}

/// A string as JSON writes it.
pub(crate) fn json_string(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            control if control < ' ' => {
                quoted.push_str(&format!("\\u{:04x}", u32::from(control)));
            }
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}
