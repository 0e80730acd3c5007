//! Sends an answer: small ones in one write, files without a copy, streams piece by piece.

use std::io::{self, IoSlice};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;

use super::answer::{Answer, Transfer};
use super::socket::Writer;
use crate::lifecycle::Lifecycle;
use crate::message::BodyStream;

/// The most pieces of a stream in one write.
const MAX_PIECES: usize = 16;
/// A write is not made larger by another piece beyond this, in bytes.
const ENOUGH_BYTES: usize = 64 << 10;

/// What reached the client, as far as the kernel says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sent {
    /// Bytes of the whole answer: head, framing and body.
    pub(crate) bytes: u64,
    /// What of it was the head, where that went out whole.
    pub(crate) head_bytes: u64,
    /// Whether that was all of it.
    pub(crate) complete: bool,
}

impl Sent {
    /// No byte, although there was more to say.
    pub(crate) const NOTHING: Self = Self { bytes: 0, head_bytes: 0, complete: false };
}

/// Why an answer ended early.
enum Cut {
    /// The connection failed, the client took nothing for `send-timeout`, or the proxy's time is over.
    Connection,
    /// The stream broke off, or had another size than it said.
    Stream,
}

impl From<io::Error> for Cut {
    fn from(error: io::Error) -> Self {
        tracing::debug!(%error, "an answer could not be sent");
        Self::Connection
    }
}

/// Sends answers over one connection.
pub(crate) struct Sender<'c> {
    pub(crate) writer: &'c Writer<'c>,
    pub(crate) lifecycle: &'c Lifecycle,
    /// How long the client may take nothing.
    pub(crate) patience: Duration,
}

impl Sender<'_> {
    /// Sends an answer; gives its head's buffer back.
    pub(crate) async fn send(&self, answer: Answer) -> (Sent, Vec<u8>) {
        let Answer { mut head, transfer, .. } = answer;
        let (mut bytes, head_bytes) = (0, head.len() as u64);
        let outcome = match transfer {
            Transfer::Nothing => self.write(&head, &[], b"", &mut bytes).await,
            Transfer::Whole(body) => self.write(&head, &[body], b"", &mut bytes).await,
            Transfer::File { file, offset, size } => {
                self.file(&head, &file, (offset, size), &mut bytes).await
            }
            Transfer::Sized { stream, size } => {
                self.stream(&mut head, stream, Some(size), Framed::Plain, &mut bytes).await
            }
            Transfer::Chunked(stream) => {
                self.stream(&mut head, stream, None, Framed::Chunked, &mut bytes).await
            }
            Transfer::UntilClose(stream) => {
                self.stream(&mut head, stream, None, Framed::Plain, &mut bytes).await
            }
        };
        (Sent { bytes, head_bytes, complete: outcome.is_ok() }, head)
    }

    /// Sends an answer while `other` runs as far as it comes.
    pub(crate) async fn send_beside(
        &self,
        answer: Answer,
        other: impl Future<Output = ()>,
    ) -> (Sent, Vec<u8>) {
        beside(self.send(answer), other).await
    }

    async fn file(
        &self,
        head: &[u8],
        file: &std::fs::File,
        (offset, size): (u64, u64),
        bytes: &mut u64,
    ) -> Result<(), Cut> {
        if size == 0 {
            return self.write(head, &[], b"", bytes).await;
        }
        self.unless_cut(async {
            self.writer.write_with_more(head, self.patience, bytes).await?;
            self.writer.send_file(file, offset, size, self.patience, bytes).await
        })
        .await
    }

    /// Each piece goes out at once; pieces that are ready together share a write, and a chunk.
    async fn stream(
        &self,
        head: &mut Vec<u8>,
        mut stream: BodyStream,
        mut expected: Option<u64>,
        framed: Framed,
        bytes: &mut u64,
    ) -> Result<(), Cut> {
        let mut pieces = Vec::with_capacity(MAX_PIECES);
        loop {
            let has_head = !head.is_empty();
            let state = tokio::select! {
                biased;
                state = std::future::poll_fn(|cx| gather(cx, &mut stream, &mut pieces, has_head)) => state,
                () = self.writer.reset_by_client() => return Err(Cut::Connection),
                () = self.lifecycle.cut() => return Err(Cut::Connection),
            };
            let size = pieces.iter().map(|piece: &Bytes| piece.len() as u64).sum::<u64>();
            if let Some(expected) = &mut expected {
                *expected = expected.checked_sub(size).ok_or(Cut::Stream)?;
            }
            let ends = state == Gathered::End;
            let tail = framed.wrap(head, size, ends);
            self.write(head, &pieces, tail, bytes).await?;
            head.clear();
            pieces.clear();
            // A stream and a client that are always ready must not keep a thread of the runtime to themselves.
            tokio::task::coop::consume_budget().await;
            match state {
                Gathered::More => {}
                Gathered::End if expected.is_some_and(|missing| missing > 0) => {
                    return Err(Cut::Stream);
                }
                Gathered::End => return Ok(()),
                Gathered::Cut => return Err(Cut::Stream),
            }
        }
    }

    async fn write(
        &self,
        head: &[u8],
        pieces: &[Bytes],
        tail: &[u8],
        bytes: &mut u64,
    ) -> Result<(), Cut> {
        let mut slices = [IoSlice::new(&[]); MAX_PIECES + 2];
        let parts = [head].into_iter().chain(pieces.iter().map(AsRef::as_ref)).chain([tail]);
        let mut count = 0;
        for (slot, part) in slices.iter_mut().zip(parts.filter(|part| !part.is_empty())) {
            *slot = IoSlice::new(part);
            count += 1;
        }
        let (slices, _) = slices.split_at_mut(count);
        self.unless_cut(self.writer.write_all(slices, self.patience, bytes)).await
    }

    /// A client that takes nothing does not hold an answer that is given up.
    async fn unless_cut(&self, writing: impl Future<Output = io::Result<()>>) -> Result<(), Cut> {
        tokio::select! {
            biased;
            written = writing => Ok(written?),
            () = self.lifecycle.cut() => Err(Cut::Connection),
        }
    }
}

/// What `sending` gives, while `other` runs as far as it comes.
pub(crate) async fn beside<T>(
    sending: impl Future<Output = T>,
    other: impl Future<Output = ()>,
) -> T {
    tokio::pin!(sending, other);
    tokio::select! {
        sent = &mut sending => sent,
        () = other => sending.await,
    }
}

/// What stands around the pieces of a stream.
#[derive(Debug, Clone, Copy)]
enum Framed {
    Plain,
    Chunked,
}

impl Framed {
    /// Appends to `head` what comes before `size` bytes; what comes behind them.
    fn wrap(self, head: &mut Vec<u8>, size: u64, ends: bool) -> &'static [u8] {
        match (self, size, ends) {
            (Self::Plain, _, _) | (Self::Chunked, 0, false) => b"",
            (Self::Chunked, 0, true) => b"0\r\n\r\n",
            (Self::Chunked, _, _) => {
                push_hex(head, size);
                head.extend_from_slice(b"\r\n");
                if ends { b"\r\n0\r\n\r\n" } else { b"\r\n" }
            }
        }
    }
}

fn push_hex(out: &mut Vec<u8>, value: u64) {
    let digits = (u64::BITS - value.leading_zeros()).div_ceil(4).max(1);
    for shift in (0..digits).rev() {
        let digit = u32::try_from(value >> (4 * shift) & 0xf).unwrap_or(0);
        out.extend(char::from_digit(digit, 16).map(|digit| u8::try_from(digit).unwrap_or(b'0')));
    }
}

/// What follows the pieces that were gathered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gathered {
    More,
    End,
    Cut,
}

/// Takes the pieces that are ready. Waits only where there are none and nothing else is to be written.
pub(crate) fn gather(
    cx: &mut Context<'_>,
    stream: &mut BodyStream,
    pieces: &mut Vec<Bytes>,
    has_head: bool,
) -> Poll<Gathered> {
    let mut size = 0;
    for _ in 0..MAX_PIECES {
        match stream.as_mut().poll_next(cx) {
            Poll::Ready(Some(Ok(piece))) if piece.is_empty() => {}
            Poll::Ready(Some(Ok(piece))) => {
                size += piece.len();
                pieces.push(piece);
                if size >= ENOUGH_BYTES {
                    break;
                }
            }
            Poll::Ready(Some(Err(cut))) => {
                tracing::debug!(error = %cut, "an answer was cut");
                return Poll::Ready(Gathered::Cut);
            }
            Poll::Ready(None) => return Poll::Ready(Gathered::End),
            Poll::Pending if pieces.is_empty() && !has_head => return Poll::Pending,
            Poll::Pending => break,
        }
    }
    Poll::Ready(Gathered::More)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_of_chunks_are_hexadecimal() {
        for (value, text) in [
            (1, "1"),
            (15, "f"),
            (16, "10"),
            (0xdead_beef, "deadbeef"),
            (u64::MAX, "ffffffffffffffff"),
        ] {
            let mut out = Vec::new();
            push_hex(&mut out, value);
            assert_eq!(out, text.as_bytes());
        }
    }

    #[test]
    fn the_last_chunk_rides_with_the_last_piece() {
        let mut head = b"head".to_vec();
        assert_eq!(Framed::Chunked.wrap(&mut head, 10, true), b"\r\n0\r\n\r\n");
        assert_eq!(head, b"heada\r\n");
        let mut head = Vec::new();
        assert_eq!(Framed::Chunked.wrap(&mut head, 0, false), b"");
        assert!(head.is_empty());
    }
}
