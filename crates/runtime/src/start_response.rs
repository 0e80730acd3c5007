//! One answer: `start_response`, the `write` callable it returns, and the pieces that the gateway sends.
//!
//! Source: PEP 3333, "The start_response() Callable", "The write() Callable", "Handling the Content-Length Header".

use std::io;
use std::sync::Arc;

use pyo3::exceptions::{PyAssertionError, PyBrokenPipeError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::errors;
use crate::file_wrapper::Source;
use crate::head::{Head, type_of};
use crate::host::{Answer, Gone, Piece, Sent};
use crate::seats;

/// Whether the gateway should go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    /// Send more.
    Continue,
    /// Nothing more will reach the client: enough was sent, or the answer has no body.
    Stop,
}

/// Whether the request asks for a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    All,
    /// HEAD
    HeadOnly,
}

/// What was said of the head.
enum State {
    /// `start_response` was not called.
    Silent,
    /// It was called; nothing was sent.
    Started(Head),
    /// The head was sent. `remaining`: how many bytes are still announced.
    Sending { remaining: Option<u64>, has_body: bool },
    /// Complete, aborted, or nobody wants it.
    Over,
}

/// The answer of one request; calling it is `start_response`.
#[pyclass(module = "onebox_runtime")]
pub(crate) struct StartResponse {
    answer: Box<dyn Answer>,
    application: Arc<str>,
    wanted: Wanted,
    state: State,
    gone: bool,
}

#[pymethods]
impl StartResponse {
    #[pyo3(signature = (status, response_headers, exc_info = None, /))]
    fn __call__(
        this: &Bound<'_, Self>,
        status: &Bound<'_, PyAny>,
        response_headers: &Bound<'_, PyAny>,
        exc_info: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Write> {
        let mut answer = this.try_borrow_mut()?;
        match (&answer.state, exc_info) {
            (State::Silent, _) | (State::Started(_), Some(_)) => {}
            (State::Started(_) | State::Sending { .. }, None) => {
                return Err(answer.broken("called start_response twice without exc_info"));
            }
            // The head is on its way: the exception ends the answer.
            (State::Sending { .. }, Some(exc_info)) => {
                let value = exc_info.get_item(1)?;
                return Err(PyErr::from_value(value));
            }
            (State::Over, _) => {
                return Err(answer.broken("called start_response after its answer was over"));
            }
        }
        let head = Head::check(&answer.application, status, response_headers)?;
        if let Some(exc_info) = exc_info.filter(|exc_info| !exc_info.is_none()) {
            seats::note_failure(this.py(), &PyErr::from_value(exc_info.get_item(1)?));
        }
        if head.response.status >= 500 {
            seats::note_bad_answer();
        }
        answer.state = State::Started(head);
        Ok(Write { answer: this.clone().unbind() })
    }
}

/// The `write` callable.
#[pyclass(module = "onebox_runtime", frozen)]
pub(crate) struct Write {
    answer: Py<StartResponse>,
}

#[pymethods]
impl Write {
    fn __call__(&self, py: Python<'_>, data: &Bound<'_, PyAny>) -> PyResult<()> {
        let mut answer = self.answer.try_borrow_mut(py)?;
        let data = data.cast::<PyBytes>().map_err(|_| {
            PyTypeError::new_err(format!(
                "{}: write() takes bytes, got {}",
                answer.application,
                type_of(data)
            ))
        })?;
        answer.send(py, data.as_bytes())?;
        if answer.gone {
            return Err(PyBrokenPipeError::new_err("the client is gone"));
        }
        Ok(())
    }
}

impl StartResponse {
    pub(crate) fn new(answer: Box<dyn Answer>, application: Arc<str>, wanted: Wanted) -> Self {
        Self { answer, application, wanted, state: State::Silent, gone: false }
    }

    /// Whether the client left before the answer was complete.
    pub(crate) fn client_is_gone(&self) -> bool {
        self.gone
    }

    /// How many bytes are announced and not yet sent, where a length was announced.
    pub(crate) fn room(&self) -> Option<u64> {
        match &self.state {
            State::Started(head) => head.content_length,
            State::Sending { remaining, .. } => *remaining,
            State::Silent | State::Over => None,
        }
    }

    /// Sends a block, with the head in front of the first one that is not empty.
    pub(crate) fn send(&mut self, py: Python<'_>, data: &[u8]) -> PyResult<Flow> {
        if data.is_empty() && !matches!(self.state, State::Silent) {
            return Ok(Flow::Continue);
        }
        self.send_piece(py, data, false)
    }

    /// Sends a file to its end, or as much of it as is announced; without the GIL and without Python's memory. A large one is handed
    /// over as what it is, and the host reads it while the client takes it.
    ///
    /// # Errors
    /// As for [`Self::send`], and where the file can't be read.
    pub(crate) fn send_file(&mut self, py: Python<'_>, source: Source) -> PyResult<()> {
        let drops_body = self.drops_body();
        match (source.range(self.room())?, &mut self.state) {
            (Some(range), State::Started(head)) if !drops_body => {
                head.announce(range.size);
                let (head, file) = (encoded(head, &self.application)?, source.into_descriptor());
                let answer = &mut self.answer;
                self.gone = py.detach(|| answer.send_file(&head, file, range)).is_err();
                self.state = State::Sending { remaining: Some(0), has_body: true };
                Ok(())
            }
            _ => self.send_blocks(py, source),
        }
    }

    /// Reads a file block by block. It is read, not mapped: somebody who cuts it short meanwhile would end the process (SIGBUS),
    /// where now the answer alone is too short.
    fn send_blocks(&mut self, py: Python<'_>, mut source: Source) -> PyResult<()> {
        let (mut block, room) = (source.block()?, self.room());
        let first = py.detach(|| source.read(&mut block, room))?;
        // With it goes the head.
        if first.is_empty() || self.send(py, first)? == Flow::Stop {
            return Ok(());
        }
        Ok(py.detach(|| self.send_rest(&mut source, &mut block))?)
    }

    fn send_rest(&mut self, source: &mut Source, block: &mut [u8]) -> io::Result<()> {
        while let State::Sending { remaining, .. } = &mut self.state {
            let data = source.read(block, *remaining)?;
            if data.is_empty() {
                break;
            }
            *remaining = remaining.map(|left| left - data.len() as u64);
            if self.answer.send(&Piece { head: None, data, last: false }).is_err() {
                self.gone = true;
                break;
            }
        }
        Ok(())
    }

    /// Sends the only block of the answer, and its end.
    pub(crate) fn send_whole(&mut self, py: Python<'_>, data: &[u8]) -> PyResult<()> {
        if let (State::Started(head), Wanted::All) = (&mut self.state, self.wanted) {
            head.announce(data.len() as u64);
        }
        // A body that is too short must not be told complete.
        let exact = match &self.state {
            State::Started(head) => {
                head.content_length.is_none_or(|size| data.len() as u64 >= size)
            }
            _ => false,
        };
        if exact || self.drops_body() {
            return self.send_piece(py, data, true).map(drop);
        }
        self.send(py, data)?;
        self.finish(py)
    }

    /// Sends the end of the answer.
    pub(crate) fn finish(&mut self, py: Python<'_>) -> PyResult<()> {
        if self.gone || matches!(self.state, State::Over) {
            return Ok(());
        }
        if let State::Started(head) = &mut self.state
            && self.wanted == Wanted::All
        {
            // Nothing was sent, so the body is known to be empty.
            if head.content_length.unwrap_or(0) == 0 || !head.has_body() {
                head.announce(0);
            } else {
                let missing = head.content_length.unwrap_or(0);
                return Err(self.too_short(missing));
            }
        }
        if let State::Sending { remaining: Some(missing @ 1..), has_body: true } = self.state {
            return Err(self.too_short(missing));
        }
        self.send_piece(py, b"", true).map(drop)
    }

    /// Ends the answer as one that will never be complete.
    pub(crate) fn abort(&mut self, py: Python<'_>, reason: &str) {
        if !self.gone && !matches!(self.state, State::Over) {
            py.detach(|| self.answer.abort(reason));
        }
        self.state = State::Over;
    }

    fn drops_body(&self) -> bool {
        self.wanted == Wanted::HeadOnly
            || matches!(&self.state, State::Started(head) if !head.has_body())
            || matches!(self.state, State::Sending { has_body: false, .. })
    }

    fn send_piece(&mut self, py: Python<'_>, data: &[u8], last: bool) -> PyResult<Flow> {
        if self.gone {
            return Ok(Flow::Stop);
        }
        let drops_body = self.drops_body();
        let (encoded, remaining) = match &self.state {
            State::Silent => {
                return Err(self.broken("gave a body before it called start_response"));
            }
            State::Over => return Err(self.broken("wrote after its answer was over")),
            State::Started(head) => (Some(encoded(head, &self.application)?), head.content_length),
            State::Sending { remaining, .. } => (None, *remaining),
        };
        let (data, remaining) =
            if drops_body { (&b""[..], None) } else { self.within(py, data, remaining) };
        let piece = Piece { head: encoded.as_deref(), data, last };
        let sent = match self.answer.try_send(&piece) {
            Ok(Sent::WouldWait) => py.detach(|| self.answer.send(&piece)),
            Ok(Sent::Taken) => Ok(()),
            Err(Gone) => Err(Gone),
        };
        self.gone = sent.is_err();
        self.state =
            if last { State::Over } else { State::Sending { remaining, has_body: !drops_body } };
        let enough = drops_body || remaining == Some(0) && !last;
        Ok(if self.gone || enough { Flow::Stop } else { Flow::Continue })
    }

    /// The part of `data` that the announced length has room for, and what is announced beyond it.
    fn within<'a>(
        &self,
        py: Python<'_>,
        data: &'a [u8],
        remaining: Option<u64>,
    ) -> (&'a [u8], Option<u64>) {
        let Some(remaining) = remaining else { return (data, None) };
        let room = usize::try_from(remaining).unwrap_or(usize::MAX);
        if let Some((fits, rest)) = data.split_at_checked(room)
            && !rest.is_empty()
        {
            let name = &self.application;
            errors::log(
                py,
                &format!(
                    "{name}: the body is longer than its Content-Length; the rest is not sent\n"
                ),
            );
            return (fits, Some(0));
        }
        (data, Some(remaining - data.len() as u64))
    }

    fn too_short(&self, missing: u64) -> PyErr {
        self.broken_value(&format!("ended {missing} bytes before its Content-Length"))
    }

    fn broken(&self, what: &str) -> PyErr {
        PyAssertionError::new_err(format!("{} {what}", self.application))
    }

    fn broken_value(&self, what: &str) -> PyErr {
        PyValueError::new_err(format!("{} {what}", self.application))
    }
}

/// A head as it goes to the host.
fn encoded(head: &Head, application: &str) -> PyResult<Vec<u8>> {
    let encoded = head.response.encode();
    encoded.map_err(|error| PyValueError::new_err(format!("{application}: {error}")))
}
