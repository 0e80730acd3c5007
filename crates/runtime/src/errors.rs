//! `wsgi.errors`, and what the gateway itself has to say: both go to standard error in whole lines.
//!
//! Source: PEP 3333, "Input and Error Streams".

use std::io::Write;
use std::sync::{Mutex, PoisonError};

use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::printed;

/// A text stream that writes to standard error, line by line. All threads share one, so that nothing of Python is
/// called, and nothing waited for, while the line is held.
#[pyclass(module = "onebox_runtime", frozen)]
#[derive(Default)]
pub(crate) struct ErrorStream {
    /// The line that has not ended yet.
    line: Mutex<Vec<u8>>,
}

#[pymethods]
impl ErrorStream {
    #[getter]
    fn encoding(&self) -> &'static str {
        "utf-8"
    }

    fn write(&self, py: Python<'_>, text: &Bound<'_, PyString>) -> PyResult<usize> {
        let lines = match text.to_cow() {
            Ok(text) => self.add(text.as_bytes()),
            // A lone surrogate: written as its escape.
            Err(_) => {
                let escaped = text.call_method1("encode", ("utf-8", "backslashreplace"))?;
                self.add(escaped.extract::<&[u8]>()?)
            }
        };
        if !lines.is_empty() {
            py.detach(|| write_to_stderr(&lines));
        }
        text.len()
    }

    fn writelines(&self, py: Python<'_>, lines: &Bound<'_, PyAny>) -> PyResult<()> {
        for line in lines.try_iter()? {
            self.write(py, line?.cast::<PyString>()?)?;
        }
        Ok(())
    }

    fn flush(&self, py: Python<'_>) {
        let rest = std::mem::take(&mut *self.line.lock().unwrap_or_else(PoisonError::into_inner));
        if !rest.is_empty() {
            py.detach(|| write_to_stderr(&rest));
        }
    }

    fn isatty(&self) -> bool {
        false
    }
}

impl ErrorStream {
    /// Takes in `text`; what is whole lines now.
    fn add(&self, text: &[u8]) -> Vec<u8> {
        printed::note(text);
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        line.extend_from_slice(text);
        match line.iter().rposition(|&byte| byte == b'\n') {
            Some(end) => line.drain(..=end).collect(),
            None => Vec::new(),
        }
    }
}

/// Writes `text`, which ends with a line feed, to standard error in one call.
pub(crate) fn log(py: Python<'_>, text: &str) {
    py.detach(|| write_to_stderr(text.as_bytes()));
}

/// Writes `bytes` to standard error in one call; one that is gone is no reason to fail a request.
pub(crate) fn write_to_stderr(bytes: &[u8]) {
    let _ = std::io::stderr().lock().write_all(bytes);
}
