//! Where requests come from and answers go: what the gateway needs to know of the two ways it is used.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use onebox_uwsgi::{FileRange, Vars};
use pyo3::Python;

/// A source of requests, shared by all worker threads.
pub(crate) trait Host: Send + Sync {
    /// The next request; gives the GIL up where it has to wait. `None`: this thread is no longer needed.
    fn receive(&self, py: Python<'_>) -> Option<Incoming>;
}

/// One request and the way back.
pub(crate) struct Incoming {
    pub(crate) vars: Arc<Vars>,
    /// Until its client is told that it took too long, where the host says it.
    pub(crate) time_left: Option<Duration>,
    pub(crate) body: Box<dyn Body>,
    pub(crate) answer: Box<dyn Answer>,
}

/// A request's body.
pub(crate) trait Body: Send + Sync {
    /// Reads some bytes; 0 at the end.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize>;
    /// Whether reading may wait for a disk or for the other end, so that the GIL has to be released.
    fn may_wait(&self) -> bool;
}

/// The worker's end of an answer.
pub(crate) trait Answer: Send + Sync {
    /// Takes a piece where that needs no waiting; called with the GIL.
    fn try_send(&mut self, piece: &Piece<'_>) -> Result<Sent, Gone>;
    /// Takes a piece; called without the GIL.
    fn send(&mut self, piece: &Piece<'_>) -> Result<(), Gone>;
    /// Takes a head and a part of a file as the whole body; called without the GIL.
    fn send_file(&mut self, head: &[u8], file: OwnedFd, range: FileRange) -> Result<(), Gone>;
    /// The answer will never be complete; called without the GIL.
    fn abort(&mut self, reason: &str);
}

/// Part of an answer.
pub(crate) struct Piece<'a> {
    /// The encoded head, with the first piece.
    pub(crate) head: Option<&'a [u8]>,
    /// Bytes of the body; may be none.
    pub(crate) data: &'a [u8],
    /// Whether the answer is complete with it.
    pub(crate) last: bool,
}

/// What became of a piece.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    Taken,
    WouldWait,
}

/// Nobody wants the answer any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gone;
