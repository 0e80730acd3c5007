//! HTTP/1.1 towards clients: what the pipeline sees of it.

use std::collections::VecDeque;
use std::marker::PhantomData;

use bytes::Bytes;

use crate::message::BodyError;

/// A message that is no request, and the answer to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// The status of the answer.
    pub(crate) status: u16,
    /// One sentence.
    pub(crate) reason: &'static str,
}

/// What became of an answer on the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sent {
    /// How many bytes went out, head and body.
    pub(crate) bytes: u64,
    /// Whether these were all of them.
    pub(crate) complete: bool,
}

/// The body of a request, read on demand.
pub(crate) struct RequestBody<'c> {
    chunks: VecDeque<Bytes>,
    limit: u64,
    seen: u64,
    connection: PhantomData<&'c mut ()>,
}

impl RequestBody<'_> {
    /// The next piece; `None` at the end.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, BodyError> {
        let Some(chunk) = self.chunks.pop_front() else { return Ok(None) };
        self.seen += chunk.len() as u64;
        if self.seen > self.limit {
            return Err(BodyError::TooLarge { limit: self.limit });
        }
        Ok(Some(chunk))
    }

    /// The largest size that is read.
    pub(crate) fn set_limit(&mut self, limit: u64) {
        self.limit = limit;
    }

    /// A body that is there already.
    #[cfg(test)]
    pub(crate) fn from_chunks(chunks: impl IntoIterator<Item = Bytes>) -> Self {
        Self {
            chunks: chunks.into_iter().collect(),
            limit: u64::MAX,
            seen: 0,
            connection: PhantomData,
        }
    }
}
