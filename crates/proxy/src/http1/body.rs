//! The bytes of a request's body, read from its connection on demand.
//!
//! Nothing is read before somebody asks; a client that waits for `100 Continue` is told so at that moment (RFC 9110 §10.1.1).

use std::io::IoSlice;
use std::time::Duration;

use bytes::BytesMut;
use tokio::time::timeout;

use super::chunked::{ChunkDecoder, Piece};
use super::framing::{Fields, Framing};
use super::socket::{Reader, Writer};
use crate::message::{BodyError, Interim};

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

/// The body that follows a head on its connection.
pub(crate) struct Incoming<'c> {
    reader: Reader<'c>,
    writer: &'c Writer<'c>,
    buf: &'c mut BytesMut,
    pub(crate) patience: BodyPatience,
    continue_is_due: bool,
    decoder: Decoder,
}

enum Decoder {
    /// What remains, in bytes.
    Length(u64),
    Chunked(ChunkDecoder),
}

impl<'c> Incoming<'c> {
    /// The body that `fields` announce; `buf` holds what was read behind the head.
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
        Self { reader, writer, buf, patience, continue_is_due: fields.expects_continue, decoder }
    }

    /// The next piece of what was read already.
    pub(crate) fn buffered(&mut self) -> Result<Piece, BodyError> {
        self.decoder.decode(self.buf)
    }

    /// What is known to come yet, in bytes.
    pub(crate) fn announced(&self) -> u64 {
        match &self.decoder {
            Decoder::Length(remaining) => *remaining,
            Decoder::Chunked(decoder) => decoder.remaining(),
        }
    }

    /// Reads more within `patience`, after saying `100 Continue` where that is due. Cancel safe.
    pub(crate) async fn fill(&mut self, patience: Duration) -> Result<(), BodyError> {
        if self.continue_is_due {
            self.continue_is_due = false;
            if self.buf.is_empty() {
                self.write(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
            }
        }
        let room = usize::try_from(self.announced()).unwrap_or(MAX_READ_BYTES);
        self.buf.reserve(room.clamp(MIN_READ_BYTES, MAX_READ_BYTES));
        match timeout(patience, self.reader.read(self.buf)).await {
            Err(_) => Err(BodyError::TimedOut),
            Ok(Ok(0) | Err(_)) => Err(BodyError::ClientGone),
            Ok(Ok(_)) => Ok(()),
        }
    }

    /// Passes on what is said before the answer.
    pub(crate) async fn say(&self, interim: &Interim<'_>) -> Result<(), BodyError> {
        let mut text = format!("HTTP/1.1 {} ", interim.status).into_bytes();
        text.extend_from_slice(interim.reason.unwrap_or_default());
        for (name, value) in interim.headers {
            text.extend_from_slice(&[b"\r\n", &name[..], b": ", value].concat());
        }
        text.extend_from_slice(b"\r\n\r\n");
        self.write(&text).await
    }

    async fn write(&self, text: &[u8]) -> Result<(), BodyError> {
        self.writer
            .write_all(&mut [IoSlice::new(text)], self.patience.write, &mut 0)
            .await
            .map_err(|_| BodyError::ClientGone)
    }

    /// What remains unread; drops what is in the buffer of it.
    pub(crate) fn rest(&mut self) -> Rest {
        // A client that waits for 100 may send its body or the next request: nobody can tell which.
        let waits = self.continue_is_due && self.buf.is_empty();
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
        }
    }
}
