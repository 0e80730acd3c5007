//! `wsgi.errors`, and what the gateway itself has to say: both go to standard error in whole lines.
//!
//! Source: PEP 3333, "Input and Error Streams".

use std::io::Write;

use pyo3::prelude::*;
use pyo3::types::PyString;

/// A text stream that writes to standard error, line by line.
#[pyclass(module = "onebox_runtime")]
#[derive(Default)]
pub(crate) struct ErrorStream {
    /// The line that has not ended yet.
    line: Vec<u8>,
}

#[pymethods]
impl ErrorStream {
    #[getter]
    fn encoding(&self) -> &'static str {
        "utf-8"
    }

    fn write(&mut self, py: Python<'_>, text: &Bound<'_, PyString>) -> PyResult<usize> {
        match text.to_cow() {
            Ok(text) => self.line.extend_from_slice(text.as_bytes()),
            // A lone surrogate: written as its escape.
            Err(_) => {
                let escaped = text.call_method1("encode", ("utf-8", "backslashreplace"))?;
                self.line.extend_from_slice(escaped.extract::<&[u8]>()?);
            }
        }
        if let Some(end) = self.line.iter().rposition(|&byte| byte == b'\n') {
            let lines: Vec<u8> = self.line.drain(..=end).collect();
            py.detach(|| write_to_stderr(&lines));
        }
        text.len()
    }

    fn writelines(&mut self, py: Python<'_>, lines: &Bound<'_, PyAny>) -> PyResult<()> {
        for line in lines.try_iter()? {
            self.write(py, line?.cast::<PyString>()?)?;
        }
        Ok(())
    }

    fn flush(&mut self, py: Python<'_>) {
        let rest = std::mem::take(&mut self.line);
        if !rest.is_empty() {
            py.detach(|| write_to_stderr(&rest));
        }
    }

    fn isatty(&self) -> bool {
        false
    }
}

/// Writes `text`, which ends with a line feed, to standard error in one call.
pub(crate) fn log(py: Python<'_>, text: &str) {
    py.detach(|| write_to_stderr(text.as_bytes()));
}

/// Standard error that is gone is no reason to fail a request.
fn write_to_stderr(bytes: &[u8]) {
    let _ = std::io::stderr().lock().write_all(bytes);
}
