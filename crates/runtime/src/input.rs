//! `wsgi.input`: the request's body as a file-like object that ends where the body ends.
//!
//! Source: PEP 3333, "Input and Error Streams"; `wsgi.input_terminated` is true, so reading past the end gives `b""`.

use std::io;

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

use crate::host::Body;

/// How much is read from the host at once, in bytes.
const READ_BYTES: usize = 64 << 10;

/// Reads a request's body.
#[pyclass(module = "onebox_runtime")]
pub(crate) struct Input {
    body: Box<dyn Body>,
    /// Bytes read from the host; those before `start` were given out.
    buffer: Vec<u8>,
    start: usize,
    ended: bool,
}

#[pymethods]
impl Input {
    #[pyo3(signature = (size = None, /))]
    fn read<'py>(&mut self, py: Python<'py>, size: Option<isize>) -> PyResult<Bound<'py, PyBytes>> {
        let wanted = limit(size);
        while self.waiting().len() < wanted && self.fill(py)? {}
        Ok(self.take(py, wanted))
    }

    #[pyo3(signature = (size = None, /))]
    fn readline<'py>(
        &mut self,
        py: Python<'py>,
        size: Option<isize>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let wanted = limit(size);
        let mut searched = 0;
        loop {
            let waiting = self.waiting();
            let unseen = waiting.get(searched..).unwrap_or_default();
            if let Some(end) = unseen.iter().position(|&byte| byte == b'\n') {
                let line = searched + end + 1;
                return Ok(self.take(py, line.min(wanted)));
            }
            searched = waiting.len();
            if searched >= wanted || !self.fill(py)? {
                return Ok(self.take(py, wanted));
            }
        }
    }

    #[pyo3(signature = (hint = None, /))]
    fn readlines<'py>(
        &mut self,
        py: Python<'py>,
        hint: Option<isize>,
    ) -> PyResult<Bound<'py, PyList>> {
        // As for files: no hint, or one that is not positive, means all lines.
        let enough = hint.filter(|&hint| hint > 0).map_or(usize::MAX, |hint| limit(Some(hint)));
        let lines = PyList::empty(py);
        let mut total = 0;
        while total < enough
            && let Some(line) = self.__next__(py)?
        {
            total += line.as_bytes().len();
            lines.append(line)?;
        }
        Ok(lines)
    }

    fn __iter__(this: PyRef<'_, Self>) -> PyRef<'_, Self> {
        this
    }

    fn __next__<'py>(&mut self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let line = self.readline(py, None)?;
        Ok(if line.as_bytes().is_empty() { None } else { Some(line) })
    }

    /// Does nothing: the stream belongs to the server.
    fn close(&self) {}
}

impl Input {
    pub(crate) fn new(body: Box<dyn Body>) -> Self {
        Self { body, buffer: Vec::new(), start: 0, ended: false }
    }

    fn waiting(&self) -> &[u8] {
        self.buffer.get(self.start..).unwrap_or_default()
    }

    /// Gives out up to `size` of the waiting bytes.
    fn take<'py>(&mut self, py: Python<'py>, size: usize) -> Bound<'py, PyBytes> {
        let waiting = self.waiting();
        let given = waiting.get(..size).unwrap_or(waiting);
        let bytes = PyBytes::new(py, given);
        self.start += given.len();
        if self.start == self.buffer.len() {
            self.buffer.clear();
            self.start = 0;
        }
        bytes
    }

    /// Reads more from the host; false at the end of the body.
    fn fill(&mut self, py: Python<'_>) -> PyResult<bool> {
        if self.ended {
            return Ok(false);
        }
        if self.start > READ_BYTES {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        let read =
            if self.body.may_wait() { py.detach(|| self.read_more()) } else { self.read_more() }?;
        self.ended = read == 0;
        Ok(!self.ended)
    }

    fn read_more(&mut self) -> io::Result<usize> {
        let filled = self.buffer.len();
        self.buffer.resize(filled + READ_BYTES, 0);
        let read = self.body.read(self.buffer.get_mut(filled..).unwrap_or_default());
        let kept = filled + read.as_ref().copied().unwrap_or(0);
        self.buffer.truncate(kept);
        read
    }
}

/// A size as Python's files take it: none or a negative one means everything.
fn limit(size: Option<isize>) -> usize {
    size.and_then(|size| usize::try_from(size).ok()).unwrap_or(usize::MAX)
}
