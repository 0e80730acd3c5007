//! A request's body, read from its connection on demand.
//!
//! Nothing is read before somebody asks; a client that waits for `100 Continue` is told so at that moment (RFC 9110 §10.1.1).

use std::io::IoSlice;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::time::timeout;

use super::chunked::{ChunkDecoder, Piece};
use super::framing::{Fields, Framing};
use super::socket::{Reader, Writer};
use crate::message::BodyError;

/// The smallest room for a read of a body, in bytes.
const MIN_READ_BYTES: usize = 4 << 10;
/// The largest.
const MAX_READ_BYTES: usize = 64 << 10;
/// How much of an unread body is read and dropped to keep its connection, in bytes.
const MAX_DISCARD_BYTES: u64 = 256 << 10;

/// What became of a body when its request was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rest {
    /// It was read to its end.
    Nothing,
    /// Little enough remains to read it and keep the connection.
    Little,
    /// Too much remains, or nobody can say where it ends.
    TooMuch,
}

/// How long a body's reads and the word `100 Continue` may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BodyPatience {
    pub(crate) read: Duration,
    pub(crate) write: Duration,
}

/// The body of one request.
pub(crate) struct RequestBody<'c> {
    connection: Option<Connection<'c>>,
    decoder: Decoder,
    received: u64,
    limit: u64,
    failed: bool,
}

/// Where the bytes come from.
struct Connection<'c> {
    reader: Reader<'c>,
    writer: &'c Writer<'c>,
    buf: &'c mut BytesMut,
    patience: BodyPatience,
    continue_is_due: bool,
}

enum Decoder {
    /// What remains, in bytes.
    Length(u64),
    Chunked(ChunkDecoder),
    #[cfg(test)]
    Pieces(std::collections::VecDeque<Bytes>),
}

impl<'c> RequestBody<'c> {
    /// The body that follows a head; `buf` holds what was read behind it.
    pub(crate) fn new(
        reader: Reader<'c>,
        writer: &'c Writer<'c>,
        buf: &'c mut BytesMut,
        fields: Fields,
        patience: BodyPatience,
    ) -> Self {
        let decoder = match fields.framing {
            Framing::Length(size) => Decoder::Length(size),
            Framing::Chunked => Decoder::Chunked(ChunkDecoder::new()),
        };
        let continue_is_due = fields.expects_continue;
        let connection = Some(Connection { reader, writer, buf, patience, continue_is_due });
        Self { connection, decoder, received: 0, limit: u64::MAX, failed: false }
    }

    /// No body, of a request that no client has sent.
    pub(crate) fn nothing() -> Self {
        let decoder = Decoder::Length(0);
        Self { connection: None, decoder, received: 0, limit: u64::MAX, failed: false }
    }

    /// A body that is there already.
    #[cfg(test)]
    pub(crate) fn from_chunks(chunks: impl IntoIterator<Item = Bytes>) -> Self {
        let decoder = Decoder::Pieces(chunks.into_iter().collect());
        Self { connection: None, decoder, received: 0, limit: u64::MAX, failed: false }
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
            let piece = self.buffered()?;
            // Refused by its announced size, before it is sent.
            if self.received.saturating_add(self.decoder.announced()) > self.limit {
                return Err(BodyError::TooLarge { limit: self.limit });
            }
            match piece {
                Piece::Data(data) => return Ok(Some(data)),
                Piece::End => return Ok(None),
                Piece::NeedMore => match &mut self.connection {
                    Some(connection) => connection.fill(self.decoder.announced()).await?,
                    None => return Ok(None),
                },
            }
        }
    }

    /// The next piece of what was read already.
    fn buffered(&mut self) -> Result<Piece, BodyError> {
        let mut nothing = BytesMut::new();
        let buf = match &mut self.connection {
            Some(connection) => &mut *connection.buf,
            None => &mut nothing,
        };
        let piece = self.decoder.decode(buf)?;
        if let Piece::Data(data) = &piece {
            self.received += data.len() as u64;
        }
        Ok(piece)
    }

    /// Says something to the client before its answer.
    ///
    /// # Errors
    /// Where the client is gone.
    pub(crate) async fn say_in_between(&mut self, text: &[u8]) -> Result<(), BodyError> {
        match &self.connection {
            Some(connection) => connection.say(text).await,
            None => Ok(()),
        }
    }

    /// What remains unread; drops what is in the buffer of it.
    pub(crate) fn rest(&mut self) -> Rest {
        // A client that waits for 100 may send its body or the next request: nobody can tell which.
        let waits = self
            .connection
            .as_ref()
            .is_some_and(|connection| connection.continue_is_due && connection.buf.is_empty());
        if self.failed {
            return Rest::TooMuch;
        }
        loop {
            match self.buffered() {
                Ok(Piece::Data(_)) => {}
                Ok(Piece::End) => return Rest::Nothing,
                Err(_) => return Rest::TooMuch,
                Ok(Piece::NeedMore) if waits => return Rest::TooMuch,
                Ok(Piece::NeedMore) => {
                    return match self.decoder {
                        Decoder::Length(size) if size <= MAX_DISCARD_BYTES => Rest::Little,
                        _ => Rest::TooMuch,
                    };
                }
            }
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

impl Connection<'_> {
    async fn say(&self, text: &[u8]) -> Result<(), BodyError> {
        self.writer
            .write_all(&mut [IoSlice::new(text)], self.patience.write, &mut 0)
            .await
            .map_err(|_| BodyError::ClientGone)
    }

    /// Reads more, after saying `100 Continue` where that is due.
    async fn fill(&mut self, announced: u64) -> Result<(), BodyError> {
        if self.continue_is_due {
            self.continue_is_due = false;
            if self.buf.is_empty() {
                self.say(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
            }
        }
        let room = usize::try_from(announced).unwrap_or(MAX_READ_BYTES);
        self.buf.reserve(room.clamp(MIN_READ_BYTES, MAX_READ_BYTES));
        match timeout(self.patience.read, self.reader.read(self.buf)).await {
            Err(_) => Err(BodyError::TimedOut),
            Ok(Ok(0) | Err(_)) => Err(BodyError::ClientGone),
            Ok(Ok(_)) => Ok(()),
        }
    }
}

impl Decoder {
    fn decode(&mut self, buf: &mut BytesMut) -> Result<Piece, BodyError> {
        match self {
            Self::Length(0) => Ok(Piece::End),
            Self::Length(_) if buf.is_empty() => Ok(Piece::NeedMore),
            Self::Length(remaining) => {
                let size = usize::try_from(*remaining).unwrap_or(usize::MAX).min(buf.len());
                *remaining -= size as u64;
                Ok(Piece::Data(buf.split_to(size).freeze()))
            }
            Self::Chunked(decoder) => decoder.decode(buf).map_err(|_| BodyError::Malformed),
            #[cfg(test)]
            Self::Pieces(pieces) => Ok(pieces.pop_front().map_or(Piece::End, Piece::Data)),
        }
    }

    /// What is known to come yet, in bytes.
    fn announced(&self) -> u64 {
        match self {
            Self::Length(remaining) => *remaining,
            Self::Chunked(decoder) => decoder.remaining(),
            #[cfg(test)]
            Self::Pieces(_) => 0,
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
