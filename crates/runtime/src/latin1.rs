//! Native strings of PEP 3333: every character stands for one byte (ISO-8859-1).

use pyo3::prelude::*;
use pyo3::types::PyString;

/// The native string of `bytes`.
pub(crate) fn decode<'py>(py: Python<'py>, bytes: &[u8]) -> Bound<'py, PyString> {
    match str::from_utf8(bytes) {
        Ok(text) if text.is_ascii() => PyString::new(py, text),
        _ => PyString::new(py, &bytes.iter().map(|&byte| char::from(byte)).collect::<String>()),
    }
}

/// The bytes of a native string; `None` where a character stands for no byte.
pub(crate) fn encode(text: &Bound<'_, PyString>) -> Option<Vec<u8>> {
    let text = text.to_cow().ok()?;
    if text.is_ascii() {
        return Some(text.into_owned().into_bytes());
    }
    text.chars().map(|character| u8::try_from(u32::from(character)).ok()).collect()
}
