//! An exception as data: its type, its message, where it was raised, and what it was raised after.
//!
//! Only taken while something has failed. Source lines are read later, by whoever tells of it, without the GIL.

use std::collections::HashMap;
use std::path::Path;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyTraceback;

use crate::report;

/// So many exceptions of one chain are taken.
const MOST_RAISED: usize = 8;
/// So many calls of one traceback are: the innermost.
const MOST_FRAMES: usize = 100;
/// Longer messages are cut, in characters.
const LONGEST_MESSAGE: usize = 2000;
/// Longer lines of source are cut, in characters.
const LONGEST_LINE: usize = 200;
/// Larger files are no source.
const LARGEST_SOURCE: u64 = 4 * 1024 * 1024;

/// One exception of a chain.
#[derive(Debug, Clone)]
pub(crate) struct Raised {
    pub(crate) kind: String,
    pub(crate) message: String,
    /// How it came after the one before it in the chain; `None` for the first.
    pub(crate) after: Option<After>,
    /// The outermost call first, as Python prints them.
    pub(crate) frames: Vec<Frame>,
}

/// How one exception came after another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum After {
    /// `raise … from`
    Cause,
    /// While the other was handled.
    Context,
}

/// One call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) file: String,
    pub(crate) line: u32,
    pub(crate) function: String,
}

/// `error` and what it was raised after, the first of them first.
pub(crate) fn chain(py: Python<'_>, error: &PyErr) -> Vec<Raised> {
    let mut found = Vec::new();
    let mut next = Some((error.value(py).clone().into_any(), error.traceback(py)));
    while let Some((value, traceback)) = next.take()
        && found.len() < MOST_RAISED
    {
        let mut raised = Raised {
            kind: report::type_name(&value.get_type()),
            message: message(&value),
            after: None,
            frames: traceback.and_then(|traceback| frames(&traceback).ok()).unwrap_or_default(),
        };
        if let Some((after, older)) = older(&value) {
            raised.after = Some(after);
            let traceback = older.getattr(intern!(py, "__traceback__")).ok();
            let traceback = traceback.and_then(|traceback| traceback.cast_into().ok());
            next = Some((older, traceback));
        }
        found.push(raised);
    }
    // What the limit has left out came before it.
    if let Some(first) = found.last_mut() {
        first.after = None;
    }
    found.reverse();
    found
}

/// The exception that `value` came after, where Python would print it.
fn older<'py>(value: &Bound<'py, PyAny>) -> Option<(After, Bound<'py, PyAny>)> {
    let py = value.py();
    let there = |name| value.getattr(name).ok().filter(|other| !other.is_none());
    if let Some(cause) = there(intern!(py, "__cause__")) {
        return Some((After::Cause, cause));
    }
    let is_hidden = there(intern!(py, "__suppress_context__"))?.is_truthy().unwrap_or(true);
    let context = there(intern!(py, "__context__"))?;
    (!is_hidden).then_some((After::Context, context))
}

fn message(value: &Bound<'_, PyAny>) -> String {
    let text = value.str().map(|text| report::lossy(&text)).unwrap_or_default();
    text.chars().take(LONGEST_MESSAGE).collect()
}

fn frames(traceback: &Bound<'_, PyTraceback>) -> PyResult<Vec<Frame>> {
    let py = traceback.py();
    let mut frames = std::collections::VecDeque::new();
    let mut next = Some(traceback.clone().into_any());
    while let Some(call) = next {
        let code = call.getattr(intern!(py, "tb_frame"))?.getattr(intern!(py, "f_code"))?;
        if frames.len() == MOST_FRAMES {
            frames.pop_front();
        }
        frames.push_back(Frame {
            file: report::lossy(&code.getattr(intern!(py, "co_filename"))?.str()?),
            line: call.getattr(intern!(py, "tb_lineno"))?.extract().unwrap_or(0),
            function: report::lossy(&code.getattr(intern!(py, "co_name"))?.str()?),
        });
        next = Some(call.getattr(intern!(py, "tb_next"))?).filter(|call| !call.is_none());
    }
    Ok(frames.into())
}

/// Source files, each read once.
#[derive(Default)]
pub(crate) struct Sources(HashMap<String, Option<String>>);

impl Sources {
    /// The line where a call is, without its indentation; `None` where it can't be had.
    pub(crate) fn line(&mut self, frame: &Frame) -> Option<String> {
        let text = self.0.entry(frame.file.clone()).or_insert_with(|| read(Path::new(&frame.file)));
        let index = usize::try_from(frame.line).ok()?.checked_sub(1)?;
        let line = text.as_deref()?.lines().nth(index)?.trim();
        (!line.is_empty()).then(|| line.chars().take(LONGEST_LINE).collect())
    }
}

/// Names such as `<string>` are no files, and what is no regular file is never opened: it might wait.
fn read(path: &Path) -> Option<String> {
    let about = path.is_absolute().then(|| std::fs::metadata(path))?.ok()?;
    let is_source = about.is_file() && about.len() <= LARGEST_SOURCE;
    let bytes = is_source.then(|| std::fs::read(path))?.ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}
