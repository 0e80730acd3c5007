//! `wsgi.file_wrapper`: a file-like object as an iterable of blocks, and the file of the system that may be behind it.
//!
//! Source: PEP 3333, "Optional Platform-Specific File Handling".
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;

use onebox_uwsgi::{FileRange, may_be_handed_over};
use pyo3::intern;
use pyo3::prelude::*;
use rustix::io::fcntl_dupfd_cloexec;

/// The block size where the application names none, in bytes; also what the gateway reads at least at once.
const BLOCK_BYTES: usize = 64 << 10;
/// How much of a file of the system is read at once, in bytes.
const FILE_BLOCK_BYTES: usize = 256 << 10;
/// From how much of a file on it is handed over unread, in bytes. To copy less is as quick, and what says that it has a size and
/// has none (in /sys) is never as large.
const LEAST_HANDED_OVER_BYTES: u64 = 64 << 10;

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

/// A regular file, and where in it the object stands.
pub(crate) struct Source {
    file: File,
    position: u64,
}

impl Source {
    /// What of it is to be sent where `room` bytes are announced and the host shall read it; `None` where that is to be done here.
    ///
    /// # Errors
    /// Where the system does not say what file it is.
    pub(crate) fn range(&self, room: Option<u64>) -> io::Result<Option<FileRange>> {
        let left = self.left()?;
        let size = room.unwrap_or(left);
        let is_whole = (LEAST_HANDED_OVER_BYTES..=left).contains(&size);
        if !is_whole || !may_be_handed_over(&self.file)? {
            return Ok(None);
        }
        Ok(Some(FileRange { offset: self.position, size }))
    }

    /// Its descriptor, for the host.
    pub(crate) fn into_descriptor(self) -> OwnedFd {
        self.file.into()
    }

    fn left(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len().saturating_sub(self.position))
    }

    /// Where blocks of it are read to: no more than it is long now.
    ///
    /// # Errors
    /// Where the system does not say how long it is.
    pub(crate) fn block(&self) -> io::Result<Vec<u8>> {
        Ok(vec![0; usize::try_from(self.left()?).unwrap_or(usize::MAX).clamp(1, FILE_BLOCK_BYTES)])
    }

    /// The next bytes, `room` at most; none at the end.
    ///
    /// # Errors
    /// Where it can't be read.
    pub(crate) fn read<'b>(
        &mut self,
        block: &'b mut [u8],
        room: Option<u64>,
    ) -> io::Result<&'b [u8]> {
        let room = room.map_or(usize::MAX, |room| usize::try_from(room).unwrap_or(usize::MAX));
        let size = block.len().min(room);
        let target = block.get_mut(..size).unwrap_or_default();
        let count = loop {
            match self.file.read_at(target, self.position) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        self.position += count as u64;
        Ok(block.get(..count).unwrap_or_default())
    }
}

impl FileWrapper {
    /// The file whose bytes are just what `read` would give; `None` where the object is another one's idea of a file (an unpacked
    /// archive has a descriptor, too, with other bytes).
    ///
    /// # Errors
    /// What the object raises, as where it is closed.
    pub(crate) fn source(&self, py: Python<'_>) -> PyResult<Option<Source>> {
        let filelike = self.filelike.bind(py);
        let module = py.import(intern!(py, "io"))?;
        let is = |object: &Bound<'_, PyAny>, name| -> PyResult<bool> {
            Ok(object.get_type().is(&module.getattr(name)?))
        };
        let is_buffered = is(filelike, intern!(py, "BufferedReader"))?
            || is(filelike, intern!(py, "BufferedRandom"))?;
        let is_plain = match is_buffered {
            true => is(&filelike.getattr(intern!(py, "raw"))?, intern!(py, "FileIO"))?,
            false => is(filelike, intern!(py, "FileIO"))?,
        };
        if !is_plain {
            return Ok(None);
        }
        let number = filelike.call_method0(intern!(py, "fileno"))?.extract()?;
        // SAFETY: the object that just named its descriptor keeps it open, and since then no other Python code could run.
        let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
        // One of our own: the application may close the object from another thread.
        let file = File::from(fcntl_dupfd_cloexec(descriptor, 0).map_err(io::Error::from)?);
        if !file.metadata()?.is_file() {
            return Ok(None);
        }
        // What it was given and has not written yet.
        filelike.call_method0(intern!(py, "flush"))?;
        let position = filelike.call_method0(intern!(py, "tell"))?.extract()?;
        Ok(Some(Source { file, position }))
    }

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
