//! A request's body, piece by piece, whichever version of HTTP brings it.
//!
//! Must not know who reads it. Nothing is read before somebody asks.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use crate::http1::{self, Piece, Rest};
use crate::http2;
use crate::message::{BodyError, Interim};

/// The bytes a second that a body must come with, or go, for the time that is waited for it beyond its timeout: Kestrel's number.
/// Who sends or takes a byte now and then would never be late otherwise.
pub(crate) const SLOWEST: u64 = 240;

/// The body of one request.
pub(crate) struct RequestBody<'c> {
    source: Source<'c>,
    received: u64,
    /// For how long it was waited for.
    waited: Duration,
    limit: u64,
    failed: bool,
}

/// Where the bytes come from.
enum Source<'c> {
    Nothing,
    Http1(http1::Incoming<'c>),
    Http2(http2::Incoming<'c>),
    #[cfg(test)]
    Pieces(std::collections::VecDeque<Bytes>),
}

impl<'c> From<http1::Incoming<'c>> for RequestBody<'c> {
    fn from(incoming: http1::Incoming<'c>) -> Self {
        Self::new(Source::Http1(incoming))
    }
}

impl<'c> From<http2::Incoming<'c>> for RequestBody<'c> {
    fn from(incoming: http2::Incoming<'c>) -> Self {
        Self::new(Source::Http2(incoming))
    }
}

impl<'c> RequestBody<'c> {
    fn new(source: Source<'c>) -> Self {
        Self { source, received: 0, waited: Duration::ZERO, limit: u64::MAX, failed: false }
    }

    /// No body, of a request that no client has sent.
    pub(crate) fn nothing() -> Self {
        Self::new(Source::Nothing)
    }

    /// A body that is there already.
    #[cfg(test)]
    pub(crate) fn from_chunks(chunks: impl IntoIterator<Item = Bytes>) -> Self {
        Self::new(Source::Pieces(chunks.into_iter().collect()))
    }

    /// The largest size that is read, in bytes.
    pub(crate) fn set_limit(&mut self, limit: u64) {
        self.limit = limit;
    }

    /// The next piece; `None` at the end. Cancel safe.
    ///
    /// # Errors
    /// [`BodyError`]; the same request's body can't be read any further then.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, BodyError> {
        let outcome = self.try_chunk().await;
        self.failed |= outcome.is_err();
        outcome
    }

    async fn try_chunk(&mut self) -> Result<Option<Bytes>, BodyError> {
        loop {
            let piece = self.source.buffered()?;
            if let Piece::Data(data) = &piece {
                self.received += data.len() as u64;
            }
            // Refused by its announced size, before it is sent.
            if self.received.saturating_add(self.source.announced()) > self.limit {
                return Err(BodyError::TooLarge { limit: self.limit });
            }
            match piece {
                Piece::Data(data) => return Ok(Some(data)),
                Piece::End => return Ok(None),
                Piece::NeedMore => self.fill().await?,
            }
        }
    }

    /// Waits for more, not longer than all that has come is worth.
    async fn fill(&mut self) -> Result<(), BodyError> {
        let begun = Instant::now();
        let patience = self.source.patience();
        let earned = Duration::from_secs(self.received / SLOWEST);
        let left = (patience + earned).saturating_sub(self.waited);
        self.source.fill(patience.min(left)).await?;
        self.waited += begun.elapsed();
        Ok(())
    }

    /// Says something to the client before its answer.
    ///
    /// # Errors
    /// Where the client is gone.
    pub(crate) async fn say_in_between(&mut self, interim: &Interim<'_>) -> Result<(), BodyError> {
        match &self.source {
            Source::Http1(incoming) => incoming.say(interim).await,
            Source::Http2(incoming) => incoming.say(interim),
            _ => Ok(()),
        }
    }

    /// What remains unread on a connection of HTTP/1.1; drops what is in the buffer of it.
    pub(crate) fn rest(&mut self) -> Rest {
        match &mut self.source {
            _ if self.failed => Rest::TooMuch,
            Source::Http1(incoming) => incoming.rest(),
            _ => Rest::Nothing,
        }
    }

    /// Gives a client of HTTP/2 time to see its answer before what it still sends is refused.
    pub(crate) async fn seen_out(&mut self) {
        if let Source::Http2(incoming) = &mut self.source {
            incoming.seen_out().await;
        }
    }

    /// Reads and drops what remains; whether the next request stands behind it now.
    pub(crate) async fn discard(&mut self) -> bool {
        self.limit = u64::MAX;
        loop {
            match self.chunk().await {
                Ok(Some(_)) => {}
                Ok(None) => return true,
                Err(_) => return false,
            }
        }
    }
}

impl Source<'_> {
    /// The next piece of what was read already.
    fn buffered(&mut self) -> Result<Piece, BodyError> {
        match self {
            Self::Nothing => Ok(Piece::End),
            Self::Http1(incoming) => incoming.buffered(),
            Self::Http2(incoming) => Ok(incoming.buffered()),
            #[cfg(test)]
            Self::Pieces(pieces) => Ok(pieces.pop_front().map_or(Piece::End, Piece::Data)),
        }
    }

    /// What is known to come yet, in bytes.
    fn announced(&self) -> u64 {
        match self {
            Self::Http1(incoming) => incoming.announced(),
            _ => 0,
        }
    }

    /// How long the client may send nothing.
    fn patience(&self) -> Duration {
        match self {
            Self::Http1(incoming) => incoming.patience.read,
            Self::Http2(incoming) => incoming.patience,
            _ => Duration::ZERO,
        }
    }

    /// Waits for more.
    async fn fill(&mut self, patience: Duration) -> Result<(), BodyError> {
        match self {
            Self::Http1(incoming) => incoming.fill(patience).await,
            Self::Http2(incoming) => incoming.fill(patience).await,
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_body_over_its_limit_is_refused() {
        let pieces = [Bytes::from_static(b"abc"), Bytes::from_static(b"def")];
        let mut body = RequestBody::from_chunks(pieces);
        body.set_limit(5);
        assert_eq!(body.chunk().await.unwrap().unwrap(), "abc");
        assert!(matches!(body.chunk().await, Err(BodyError::TooLarge { limit: 5 })));
        assert_eq!(body.rest(), Rest::TooMuch);
    }
}
