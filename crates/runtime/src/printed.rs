//! What the application prints while a thread of ours serves a request, for the report of one that fails.
//!
//! The streams stay what they are: a report has a copy of the last lines, the log has everything.

use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyString};

use crate::report::lossy;
use crate::seats;

/// So many bytes of a request are kept: the last.
const MOST_BYTES: usize = 16 * 1024;

/// What was printed last.
#[derive(Default)]
pub(crate) struct Printed(Vec<u8>);

impl Printed {
    pub(crate) fn add(&mut self, text: &[u8]) {
        let tail = text.get(text.len().saturating_sub(MOST_BYTES)..).unwrap_or(text);
        let surplus = (self.0.len() + tail.len()).saturating_sub(MOST_BYTES);
        self.0.drain(..surplus.min(self.0.len()));
        self.0.extend_from_slice(tail);
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.0).into_owned()
    }
}

/// Has `sys.stdout` and `sys.stderr` note what they write; before the application is loaded.
pub(crate) fn install(py: Python<'_>) -> PyResult<()> {
    let code = pyo3::ffi::c_str!(include_str!("printed.py"));
    let module = PyModule::from_code(py, code, c"printed.py", c"onebox_printed")?;
    let note = PyCFunction::new_closure(py, Some(c"note"), None, |arguments, _| {
        if let Ok(text) = arguments.get_item(0)
            && let Ok(text) = text.cast::<PyString>()
        {
            note(lossy(text).as_bytes());
        }
    })?;
    module.call_method1("install", (note,)).map(drop)
}

/// Notes what the calling thread prints, where it serves a request.
pub(crate) fn note(text: &[u8]) {
    seats::with_mine(|seat| seat.printed(text));
}
