//! `wsgi.file_wrapper`: a file-like object as an iterable of blocks.
//!
//! Source: PEP 3333, "Optional Platform-Specific File Handling".

use pyo3::intern;
use pyo3::prelude::*;

/// The block size where the application names none, in bytes; also what the gateway reads at least at once.
const BLOCK_BYTES: usize = 64 << 10;

/// Reads a file-like object in blocks.
#[pyclass(module = "onebox_runtime", frozen)]
pub(crate) struct FileWrapper {
    #[pyo3(get)]
    filelike: Py<PyAny>,
    #[pyo3(get)]
    blksize: usize,
}

#[pymethods]
impl FileWrapper {
    #[new]
    #[pyo3(signature = (filelike, blksize = BLOCK_BYTES))]
    fn new(filelike: Py<PyAny>, blksize: usize) -> Self {
        Self { filelike, blksize: blksize.max(1) }
    }

    fn __iter__(this: PyRef<'_, Self>) -> PyRef<'_, Self> {
        this
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.read(py, self.blksize)
    }

    /// Closes the file-like object where it can be closed.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        match self.filelike.bind(py).getattr_opt(intern!(py, "close"))? {
            Some(close) => close.call0().map(drop),
            None => Ok(()),
        }
    }
}

impl FileWrapper {
    /// The next block, in the gateway's own size; never more than `room` bytes, which is what is still announced
    /// (PEP 3333: a file is sent to its end or for Content-Length bytes, whichever comes first).
    pub(crate) fn next_block<'py>(
        &self,
        py: Python<'py>,
        room: Option<u64>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let room = room.map_or(usize::MAX, |room| usize::try_from(room).unwrap_or(usize::MAX));
        match self.blksize.max(BLOCK_BYTES).min(room) {
            0 => Ok(None),
            size => self.read(py, size),
        }
    }

    fn read<'py>(&self, py: Python<'py>, size: usize) -> PyResult<Option<Bound<'py, PyAny>>> {
        let block = self.filelike.bind(py).call_method1(intern!(py, "read"), (size,))?;
        Ok(if block.is_truthy()? { Some(block) } else { None })
    }
}
