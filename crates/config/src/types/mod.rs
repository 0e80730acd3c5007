//! The kinds of values that settings have: text in, checked value out.

mod account;
mod address;
mod amount;
mod listen;
mod module;
mod names;
mod path;
mod server;

pub(crate) use account::{group, user};
pub(crate) use address::{Families, addresses};
pub(crate) use amount::{duration, number, size, size_text};
pub use listen::{client_network, network};
pub(crate) use listen::{mask, mode, owner, socket, unprotected};
pub(crate) use module::{module, wsgi_file};
pub(crate) use path::{site_path, url_path, url_prefix};
pub(crate) use server::server;

pub use names::{HostName, SiteName};

use crate::value::Value;

/// Why a value can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Invalid {
    /// What is wrong, to be read after the key or the value.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Invalid {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// A value that must be a text, read by `parse`.
pub(crate) fn text<T>(
    parse: impl FnOnce(&str) -> Result<T, Invalid>,
) -> impl FnOnce(&Value) -> Result<T, Invalid> {
    |value| match value {
        Value::Text(text) => parse(text),
        other => Err(must_be("a text", other)),
    }
}

/// `true` or `false`.
pub(crate) fn truth(value: &Value) -> Result<bool, Invalid> {
    match value {
        Value::Bool(truth) => Ok(*truth),
        other => Err(must_be("true or false", other).hint("write it without quotes")),
    }
}

/// The refusal of a value of the wrong kind; what would be right in quotes is shown so.
pub(crate) fn must_be(wanted: &str, value: &Value) -> Invalid {
    let invalid = Invalid::new(format!("must be {wanted}, not {}", value.kind()));
    match value {
        Value::Text(_) => invalid,
        other => match other.scalar_text() {
            Some(text) if wanted.contains("text") => {
                invalid.hint(format!("write it in quotes: \"{text}\""))
            }
            _ => invalid,
        },
    }
}
