//! The few colours in use, by meaning.

use std::fmt::Display;

use owo_colors::OwoColorize;

/// Something that is well.
pub(crate) fn good(text: impl Display) -> String {
    text.green().to_string()
}

/// Something to look at.
pub(crate) fn warning(text: impl Display) -> String {
    text.yellow().to_string()
}

/// Something that failed.
pub(crate) fn bad(text: impl Display) -> String {
    text.red().to_string()
}

/// What matters most in a line.
pub(crate) fn strong(text: impl Display) -> String {
    text.bold().to_string()
}

/// What matters least.
pub(crate) fn faint(text: impl Display) -> String {
    text.dimmed().to_string()
}

/// An address to open.
pub(crate) fn address(text: impl Display) -> String {
    text.cyan().to_string()
}
