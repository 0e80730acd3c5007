//! Sends an answer as far as the client's windows are open, and waits for them no longer than `send-timeout`,
//! in all no longer than what was taken in is worth: a window can be opened byte by byte.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use h2::server::SendResponse;
use h2::{Reason, SendStream};
use parking_lot::Mutex;
use tokio::time::{Instant, timeout};

use super::answer::{Answer, size};
use super::conduct::Conduct;
use crate::http1::{Gathered, Sent, gather};
use crate::message::{BodyStream, ResponseBody};
use crate::request_body::SLOWEST;

/// What is read of a file at once, in bytes: four frames.
const FILE_BYTES: usize = 64 << 10;

/// Why an answer ended early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    /// The client does not want it any more, or is gone.
    ByClient,
    /// The client took nothing for `send-timeout`, or too little in all.
    TooSlow,
    /// The stream broke off, or had another size than it said; a file has become shorter.
    Broken,
}

impl From<h2::Error> for Cut {
    fn from(error: h2::Error) -> Self {
        tracing::debug!(%error, "an answer could not be sent");
        Self::ByClient
    }
}

/// Sends the answer to one request.
pub(super) struct Sender<'c> {
    pub(super) respond: &'c Mutex<SendResponse<Bytes>>,
    pub(super) conduct: &'c Conduct,
    /// How long the client may take nothing.
    pub(super) patience: Duration,
}

impl Sender<'_> {
    /// Sends an answer; what was handed to the connection, and why that was not all.
    pub(super) async fn send(&self, answer: Answer) -> (Sent, Result<(), Cut>) {
        let (mut bytes, head_bytes) = (0, size(&answer.head) as u64);
        let outcome = self.try_send(answer, &mut bytes).await;
        (Sent { bytes, head_bytes, complete: outcome.is_ok() }, outcome)
    }

    async fn try_send(&self, answer: Answer, bytes: &mut u64) -> Result<(), Cut> {
        let Answer { head, body } = answer;
        let head_bytes = size(&head);
        let is_all = body.size() == Some(0);
        let stream = self.respond.lock().send_response(head, is_all)?;
        self.conduct.carried(head_bytes);
        *bytes += head_bytes as u64;
        let mut out = Out { stream, sender: self, bytes, waited: Duration::ZERO };
        let outcome = match body {
            _ if is_all => Ok(()),
            ResponseBody::Empty => Ok(()),
            ResponseBody::Full(body) => out.data(body, Position::Last).await,
            ResponseBody::File { file, offset, size } => out.file(&file, offset, size).await,
            ResponseBody::Stream { stream, size } => out.stream(stream, size).await,
        };
        match outcome {
            Err(Cut::Broken) => out.stream.send_reset(Reason::INTERNAL_ERROR),
            Err(Cut::TooSlow) => out.stream.send_reset(Reason::CANCEL),
            Err(Cut::ByClient) | Ok(()) => {}
        }
        outcome
    }
}

/// Where a piece stands in a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Position {
    Last,
    MoreFollow,
}

/// A body on its way.
struct Out<'s> {
    stream: SendStream<Bytes>,
    sender: &'s Sender<'s>,
    bytes: &'s mut u64,
    /// For how long its windows were waited for.
    waited: Duration,
}

impl Out<'_> {
    /// Hands over a piece, in parts as large as the windows allow.
    async fn data(&mut self, mut piece: Bytes, position: Position) -> Result<(), Cut> {
        while !piece.is_empty() {
            let room = self.room(piece.len()).await?;
            let part = piece.split_to(room.min(piece.len()));
            let is_last = position == Position::Last && piece.is_empty();
            self.hand_over(part, is_last)?;
        }
        Ok(())
    }

    async fn file(&mut self, file: &File, mut offset: u64, size: u64) -> Result<(), Cut> {
        let end = offset.saturating_add(size);
        while offset < end {
            let left = usize::try_from(end - offset).unwrap_or(usize::MAX);
            let room = self.room(left.min(FILE_BYTES)).await?;
            let mut part = BytesMut::zeroed(room.min(left).min(FILE_BYTES));
            let read = file.read_at(&mut part, offset).map_err(|error| {
                tracing::debug!(%error, "a file could not be sent");
                Cut::Broken
            })?;
            if read == 0 {
                return Err(Cut::Broken);
            }
            part.truncate(read);
            offset += read as u64;
            self.hand_over(part.freeze(), offset == end)?;
            // A client that is as fast as this loop must not keep its connection to itself.
            tokio::task::coop::consume_budget().await;
        }
        Ok(())
    }

    /// Each piece goes out at once.
    async fn stream(
        &mut self,
        mut stream: BodyStream,
        mut expected: Option<u64>,
    ) -> Result<(), Cut> {
        let mut pieces = Vec::new();
        loop {
            let state = tokio::select! {
                biased;
                state = std::future::poll_fn(|cx| gather(cx, &mut stream, &mut pieces, false)) => state,
                _ = std::future::poll_fn(|cx| self.stream.poll_reset(cx)) => return Err(Cut::ByClient),
            };
            let size = pieces.iter().map(|piece: &Bytes| piece.len() as u64).sum::<u64>();
            if let Some(expected) = &mut expected {
                *expected = expected.checked_sub(size).ok_or(Cut::Broken)?;
            }
            let is_whole = expected.is_none_or(|missing| missing == 0);
            let ends = state == Gathered::End && is_whole;
            let count = pieces.len();
            for (at, piece) in pieces.drain(..).enumerate() {
                let is_last = ends && at + 1 == count;
                let position = if is_last { Position::Last } else { Position::MoreFollow };
                self.data(piece, position).await?;
            }
            tokio::task::coop::consume_budget().await;
            match state {
                Gathered::More => {}
                Gathered::End if !is_whole => return Err(Cut::Broken),
                Gathered::End if count == 0 => return self.hand_over(Bytes::new(), true),
                Gathered::End => return Ok(()),
                Gathered::Cut => return Err(Cut::Broken),
            }
        }
    }

    /// Waits until up to `wanted` bytes may be sent.
    async fn room(&mut self, wanted: usize) -> Result<usize, Cut> {
        self.stream.reserve_capacity(wanted);
        loop {
            let room = self.stream.capacity();
            if room > 0 {
                return Ok(room);
            }
            let opened = std::future::poll_fn(|cx| self.stream.poll_capacity(cx));
            let (begun, patience) = (Instant::now(), self.sender.patience);
            let earned = Duration::from_secs(*self.bytes / SLOWEST);
            let left = (patience + earned).saturating_sub(self.waited);
            let opened = timeout(patience.min(left), opened).await;
            self.waited += begun.elapsed();
            match opened {
                Err(_) => return Err(Cut::TooSlow),
                Ok(None) => return Err(Cut::ByClient),
                Ok(Some(opened)) => opened?,
            };
        }
    }

    fn hand_over(&mut self, part: Bytes, is_last: bool) -> Result<(), Cut> {
        let size = part.len();
        self.stream.send_data(part, is_last)?;
        self.sender.conduct.carried(size);
        *self.bytes += size as u64;
        Ok(())
    }
}
