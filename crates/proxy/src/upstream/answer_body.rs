//! The body of an application's answer: whole where everything is there at once, else as it comes.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use onebox_uwsgi::{AbortReason, FilePart, ResponseFrame, ResponseStream};
use tokio::time::Instant;

use super::uwsgi::next_before;
use crate::exchange::{BodyOutcome, Exchange};
use crate::message::{BodyCut, ResponseBody};

/// How much is collected to be sent in one piece, in bytes.
const COLLECT_BYTES: usize = 256 << 10;

/// What comes after the head.
pub(super) struct AnswerBody {
    frames: ResponseStream,
    /// What is missing to the declared Content-Length.
    remaining: Option<u64>,
    deadline: Instant,
    /// Collected, not yet given on.
    ready: Bytes,
    /// Comes behind what is collected.
    cut: Option<Cut>,
}

/// What a frame means for the body.
enum Piece {
    Data(Bytes),
    End,
    Cut(Cut),
}

/// Why an answer stops before its end.
enum Cut {
    Aborted(AbortReason),
    Short { missing: u64 },
    Deadline,
}

impl AnswerBody {
    pub(super) fn new(
        frames: ResponseStream,
        content_length: Option<u64>,
        deadline: Instant,
    ) -> Self {
        Self { frames, remaining: content_length, deadline, ready: Bytes::new(), cut: None }
    }

    /// The file that is all of the body. What else comes first is left to [`Self::next`].
    async fn file(&mut self) -> Option<FilePart> {
        if self.remaining == Some(0) {
            return None;
        }
        match next_before(&mut self.frames, self.deadline).await {
            Some(Some(ResponseFrame::File(part))) if self.remaining == Some(part.size) => {
                return Some(part);
            }
            None => self.cut = Some(Cut::Deadline),
            Some(frame) => match self.piece(frame) {
                Some(Piece::Data(data)) => self.ready = data,
                Some(Piece::Cut(cut)) => self.cut = Some(cut),
                Some(Piece::End) => self.remaining = Some(0),
                None => {}
            },
        }
        None
    }

    async fn next(&mut self) -> Piece {
        loop {
            if !self.ready.is_empty() {
                return Piece::Data(std::mem::take(&mut self.ready));
            }
            if let Some(cut) = self.cut.take() {
                return Piece::Cut(cut);
            }
            if self.remaining == Some(0) {
                return Piece::End;
            }
            let frame = next_before(&mut self.frames, self.deadline).await;
            let Some(frame) = frame else { return Piece::Cut(Cut::Deadline) };
            if let Some(piece) = self.piece(frame) {
                return piece;
            }
        }
    }

    fn piece(&mut self, frame: Option<ResponseFrame>) -> Option<Piece> {
        match (frame, &mut self.remaining) {
            (Some(ResponseFrame::Data(data)), _) if data.is_empty() => None,
            (Some(ResponseFrame::Data(data)), None) => Some(Piece::Data(data)),
            (Some(ResponseFrame::Data(mut data)), Some(remaining)) => {
                let size = data.len() as u64;
                if size > *remaining {
                    tracing::warn!(
                        surplus_bytes = size - *remaining,
                        "the application sent more than its Content-Length; the rest is left out"
                    );
                    data.truncate(usize::try_from(*remaining).unwrap_or(usize::MAX));
                }
                *remaining -= data.len() as u64;
                Some(Piece::Data(data))
            }
            (Some(ResponseFrame::Aborted(reason)), _) => Some(Piece::Cut(Cut::Aborted(reason))),
            (Some(ResponseFrame::End) | None, Some(missing @ 1..)) => {
                Some(Piece::Cut(Cut::Short { missing: *missing }))
            }
            (Some(ResponseFrame::End) | None, _) => Some(Piece::End),
            (Some(ResponseFrame::Head(_) | ResponseFrame::File(_)), _) => {
                Some(Piece::Cut(Cut::Aborted(AbortReason::Protocol)))
            }
        }
    }

    /// What is there already, without waiting for more than the tasks that are about to run.
    async fn next_at_once(&mut self) -> Option<Piece> {
        for turn in 0..2 {
            if let Some(piece) = self.next().now_or_never() {
                return Some(piece);
            }
            if turn == 0 {
                tokio::task::yield_now().await;
            }
        }
        None
    }

    async fn next_for_client(&mut self, outcome: &BodyOutcome) -> Option<Result<Bytes, BodyCut>> {
        match self.next().await {
            Piece::Data(data) => Some(Ok(data)),
            Piece::End => {
                outcome.ended();
                None
            }
            Piece::Cut(cut) => {
                let cut = BodyCut { reason: cut.to_string() };
                outcome.cut(&cut.reason);
                Some(Err(cut))
            }
        }
    }
}

/// The body from its first piece on. What goes wrong from here on cuts it: the application has given its head.
pub(super) async fn begin(mut body: AnswerBody, exchange: &mut Exchange) -> ResponseBody {
    let content_length = body.remaining;
    if let Some(FilePart { file, offset, size }) = body.file().await {
        return ResponseBody::File { file, offset, size };
    }
    // PEP 3333: a head comes with the first piece of its body. Waiting for that delays nothing.
    let first = match body.next().await {
        Piece::Data(data) => data,
        Piece::End => return ResponseBody::Empty,
        Piece::Cut(cut) => {
            body.cut = Some(cut);
            Bytes::new()
        }
    };
    let mut more = BytesMut::new();
    while body.cut.is_none() && first.len() + more.len() < COLLECT_BYTES {
        match body.next_at_once().await {
            Some(Piece::Data(data)) => {
                if more.is_empty() {
                    more.extend_from_slice(&first);
                }
                more.extend_from_slice(&data);
            }
            Some(Piece::End) => {
                exchange.watch_body().ended();
                return ResponseBody::Full(joined(first, more));
            }
            Some(Piece::Cut(cut)) => body.cut = Some(cut),
            None => break,
        }
    }
    body.ready = joined(first, more);
    let outcome = exchange.watch_body();
    ResponseBody::Stream { stream: Box::pin(stream(body, outcome)), size: content_length }
}

fn joined(first: Bytes, more: BytesMut) -> Bytes {
    if more.is_empty() { first } else { more.freeze() }
}

fn stream(
    body: AnswerBody,
    outcome: Arc<BodyOutcome>,
) -> impl futures_util::Stream<Item = Result<Bytes, BodyCut>> {
    futures_util::stream::unfold(Some((body, outcome)), |state| async move {
        let (mut body, outcome) = state?;
        match body.next_for_client(&outcome).await? {
            Ok(data) => Some((Ok(data), Some((body, outcome)))),
            Err(cut) => Some((Err(cut), None)),
        }
    })
}

impl std::fmt::Display for Cut {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Aborted(reason) => reason.fmt(formatter),
            Self::Short { missing } => write!(
                formatter,
                "the application's answer is {missing} bytes shorter than its Content-Length"
            ),
            Self::Deadline => formatter.write_str("the application passed its deadline (harakiri)"),
        }
    }
}
