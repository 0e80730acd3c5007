//! The checks of PEP 3333 on what an application gives to `start_response`.
//!
//! Source: PEP 3333, "The start_response() Callable"; RFC 9110, 5.1 (names), 5.5 (values), 7.6.1 (hop-by-hop).

use onebox_uwsgi::ResponseHead;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyList, PyString, PyTuple};

use crate::latin1;

/// Headers about one connection: the server's own business.
const HOP_BY_HOP: [&[u8]; 9] = [
    b"connection",
    b"keep-alive",
    b"proxy-authenticate",
    b"proxy-authorization",
    b"te",
    b"trailer",
    b"trailers",
    b"transfer-encoding",
    b"upgrade",
];

/// A head that keeps the rules.
#[derive(Debug, Default)]
pub(crate) struct Head {
    pub(crate) response: ResponseHead,
    /// What the application announced in `Content-Length`, in bytes.
    pub(crate) content_length: Option<u64>,
}

impl Head {
    /// Checks what the application `name` gave.
    ///
    /// # Errors
    /// `TypeError` and `ValueError`, naming the application and what is wrong.
    pub(crate) fn check(
        name: &str,
        status: &Bound<'_, PyAny>,
        headers: &Bound<'_, PyAny>,
    ) -> PyResult<Self> {
        let (status, reason) = check_status(name, status)?;
        let list = headers.cast_exact::<PyList>().map_err(|_| {
            PyTypeError::new_err(format!(
                "{name}: the headers must be a list of tuples, got {}",
                type_of(headers)
            ))
        })?;
        let mut head = Self {
            response: ResponseHead { status, reason, headers: Vec::with_capacity(list.len()) },
            content_length: None,
        };
        for header in list.iter() {
            let (key, value) = check_header(name, &header)?;
            if key.eq_ignore_ascii_case(b"content-length") {
                let is_repeated = head.content_length.is_some();
                head.set_content_length(name, &value)?;
                if is_repeated {
                    continue;
                }
            }
            head.response.headers.push((key, value));
        }
        Ok(head)
    }

    /// Whether an answer with this status has a body.
    pub(crate) fn has_body(&self) -> bool {
        !matches!(self.response.status, 204 | 304)
    }

    /// Announces the length of the body where the application did not.
    pub(crate) fn announce(&mut self, size: u64) {
        if self.content_length.is_none() && self.has_body() {
            let value = size.to_string().into_bytes();
            self.response.headers.push((b"Content-Length".to_vec(), value));
        }
    }

    fn set_content_length(&mut self, name: &str, value: &[u8]) -> PyResult<()> {
        let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
        let length = str::from_utf8(value).ok().filter(|_| digits).and_then(|v| v.parse().ok());
        match (length, self.content_length) {
            (Some(length), None) => self.content_length = Some(length),
            (Some(length), Some(before)) if length == before => {}
            _ => {
                return Err(PyValueError::new_err(format!(
                    "{name}: Content-Length must be one number, got {:?}",
                    String::from_utf8_lossy(value)
                )));
            }
        }
        Ok(())
    }
}

fn check_status(name: &str, status: &Bound<'_, PyAny>) -> PyResult<(u16, Vec<u8>)> {
    // A subclass is a str too: Django's SafeString, for one.
    let text = status.cast::<PyString>().map_err(|_| {
        PyTypeError::new_err(format!("{name}: the status must be a str, got {}", type_of(status)))
    })?;
    let wrong = || {
        PyValueError::new_err(format!(
            "{name}: the status must be three digits from 200 to 999, a space and a reason without control characters, got {}",
            status.repr().map(|text| text.to_string_lossy().into_owned()).unwrap_or_default()
        ))
    };
    let bytes = latin1::encode(text).ok_or_else(wrong)?;
    let (Some((digits, [b' ', reason @ ..])), true) =
        (bytes.split_at_checked(3), bytes.iter().all(|&byte| is_printable(byte)))
    else {
        return Err(wrong());
    };
    if !digits.iter().all(u8::is_ascii_digit) {
        return Err(wrong());
    }
    let number = str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok());
    // 1xx are interim answers: none of them can be the answer.
    let number: u16 = number.filter(|number| *number >= 200).ok_or_else(wrong)?;
    Ok((number, reason.to_vec()))
}

fn check_header(name: &str, header: &Bound<'_, PyAny>) -> PyResult<(Vec<u8>, Vec<u8>)> {
    let type_error = |what: &str| PyTypeError::new_err(format!("{name}: {what}"));
    let pair = header.cast::<PyTuple>().ok().filter(|pair| pair.len() == 2).ok_or_else(|| {
        type_error(&format!("a header must be a tuple of name and value, got {}", type_of(header)))
    })?;
    let (key, value) = (pair.get_item(0)?, pair.get_item(1)?);
    let (Ok(key), Ok(value)) = (key.cast::<PyString>(), value.cast::<PyString>()) else {
        return Err(type_error(&format!(
            "a header's name and value must be str, got ({}, {})",
            type_of(&key),
            type_of(&value)
        )));
    };
    let key_text = key.to_string_lossy();
    let value_error =
        |what: &str| PyValueError::new_err(format!("{name}: the header {key_text:?} {what}"));
    let key = latin1::encode(key)
        .filter(|key| !key.is_empty() && key.iter().all(|&byte| is_token(byte)))
        .ok_or_else(|| value_error("has a name that is no token"))?;
    if HOP_BY_HOP.iter().any(|hop| key.eq_ignore_ascii_case(hop)) {
        return Err(value_error("is about the connection, which belongs to the server"));
    }
    let value = latin1::encode(value)
        .ok_or_else(|| value_error("has a value with characters outside ISO-8859-1"))?;
    if !value.iter().all(|&byte| is_printable(byte)) {
        return Err(value_error("has a value with control characters"));
    }
    Ok((key, value))
}

/// Neither a control character nor DEL.
const fn is_printable(byte: u8) -> bool {
    byte >= 0x20 && byte != 0x7f
}

/// A character of a token (RFC 9110, 5.6.2).
const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'..=b'`' | b'|' | b'~')
}

pub(crate) fn type_of(object: &Bound<'_, PyAny>) -> String {
    object.get_type().name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}
