//! A server's answer as the pipeline wants it: its body passed on as it comes, its connection kept or cut at the end.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use onebox_config::site::Upstream;
use onebox_metrics::ServedBy;
use tokio::io::WriteHalf;

use super::answer_head::{AnswerHead, BodyEnd};
use super::attempt::Talk;
use super::dial::Connection;
use super::failure::UpstreamError;
use super::server::Lease;
use super::tunnel::Tunnel;
use super::wire::Wire;
use crate::exchange::{BodyOutcome, Exchange};
use crate::http1::{ChunkDecoder, Piece};
use crate::message::{BodyCut, Onward, Response, ResponseBody};

/// The body of an answer, from its server.
struct Relay {
    wire: Wire,
    /// The other half, where the connection may be used again.
    writer: Option<WriteHalf<Connection>>,
    decoder: Decoder,
    patience: Duration,
    lease: Lease,
}

enum Decoder {
    /// What remains, in bytes.
    Length(u64),
    Chunked(ChunkDecoder),
    WithConnection,
}

/// The answer that `talk` has begun.
pub(super) fn into_response(
    talk: Talk,
    method: &Method,
    settings: &Upstream,
    exchange: &mut Exchange,
) -> Response {
    let Talk { head, wire, upload, lease, asked_at } = talk;
    let AnswerHead { status, reason, headers, body_end, keep_alive, upgrade } = head;
    exchange.application_spoke(Some(asked_at));
    exchange.passed_on(upload.received);
    exchange.answered(status, ServedBy::Upstream);
    let mut response = Response::new(status, headers, ResponseBody::Empty);
    response.reason = reason;
    if status == 101 {
        let upgrade = upgrade.unwrap_or_default();
        response.headers.push((Bytes::from_static(b"Upgrade"), upgrade));
        let idle = settings.upgrade_timeout;
        let tunnel = Tunnel { wire, writer: upload.into_writer(), idle, _lease: lease };
        response.onward = Some(Onward::Tunnel(Box::new(tunnel)));
        return response;
    }
    let writer = if upload.is_done() {
        (keep_alive && lease.peer.keeps()).then(|| upload.into_writer())
    } else {
        response.onward = Some(Onward::Body(Box::new(upload)));
        None
    };
    let length = match body_end {
        BodyEnd::Length(length) => Some(length),
        BodyEnd::Chunked | BodyEnd::WithConnection => None,
    };
    let is_bodiless = *method == Method::HEAD || matches!(status, 204 | 304);
    let decoder = match body_end {
        _ if is_bodiless => Decoder::Length(0),
        BodyEnd::Length(length) => Decoder::Length(length),
        BodyEnd::Chunked => Decoder::Chunked(ChunkDecoder::new()),
        BodyEnd::WithConnection => Decoder::WithConnection,
    };
    if is_bodiless {
        response.declared_length = length.filter(|_| status != 204);
    }
    let patience = settings.read_timeout;
    let mut relay = Relay { wire, writer, decoder, patience, lease };
    match relay.at_hand() {
        Some(body) => {
            relay.finish();
            if !body.is_empty() {
                exchange.watch_body().ended();
                response.body = ResponseBody::Full(body);
            }
        }
        None => {
            let outcome = exchange.watch_body();
            let stream = Box::pin(stream(relay, outcome));
            response.body = ResponseBody::Stream { stream, size: length };
        }
    }
    response
}

impl Relay {
    /// The whole body, where all of it has come with the head.
    fn at_hand(&mut self) -> Option<Bytes> {
        let Decoder::Length(length) = &mut self.decoder else { return None };
        let size = usize::try_from(*length).ok().filter(|size| *size <= self.wire.content.len())?;
        *length = 0;
        Some(self.wire.content.split_to(size).freeze())
    }

    /// The next piece; `None` at the end.
    async fn next(&mut self) -> Result<Option<Bytes>, UpstreamError> {
        loop {
            let content = &mut self.wire.content;
            match &mut self.decoder {
                Decoder::Length(0) => return Ok(None),
                Decoder::Length(left) if !content.is_empty() => {
                    let size = usize::try_from(*left).unwrap_or(usize::MAX).min(content.len());
                    *left -= size as u64;
                    return Ok(Some(content.split_to(size).freeze()));
                }
                Decoder::WithConnection if !content.is_empty() => {
                    return Ok(Some(content.split().freeze()));
                }
                Decoder::Chunked(decoder) => match decoder.decode(content) {
                    Ok(Piece::Data(piece)) => return Ok(Some(piece)),
                    Ok(Piece::End) => return Ok(None),
                    Ok(Piece::NeedMore) => {}
                    Err(_) => return Err(UpstreamError::Malformed("its chunks can't be read")),
                },
                Decoder::Length(_) | Decoder::WithConnection => {}
            }
            if !self.wire.more_within(self.patience).await? {
                return match self.decoder {
                    Decoder::WithConnection => Ok(None),
                    Decoder::Length(_) | Decoder::Chunked(_) => {
                        Err(UpstreamError::Ended("in the middle of the answer"))
                    }
                };
            }
        }
    }

    /// After the end of the body: keeps the connection where another request may follow.
    fn finish(mut self) {
        if let Some(said) = self.wire.take_complaints() {
            tracing::warn!(
                server = self.lease.peer.name,
                error = said,
                "a FastCGI server complains"
            );
        }
        // Bytes behind an answer belong to nothing: whoever came next would read them as its own.
        let is_clean =
            self.wire.content.is_empty() && !matches!(self.decoder, Decoder::WithConnection);
        if let Some(writer) = self.writer.filter(|_| is_clean) {
            self.lease.peer.keep(self.wire.reader.unsplit(writer));
        }
    }
}

fn stream(
    relay: Relay,
    outcome: Arc<BodyOutcome>,
) -> impl futures_util::Stream<Item = Result<Bytes, BodyCut>> {
    futures_util::stream::unfold(Some((relay, outcome)), |state| async move {
        let (mut relay, outcome) = state?;
        match relay.next().await {
            Ok(Some(piece)) => Some((Ok(piece), Some((relay, outcome)))),
            Ok(None) => {
                outcome.ended();
                relay.finish();
                None
            }
            Err(error) => {
                relay.lease.peer.failed(&error);
                let cut = BodyCut { reason: format!("{}: {error}", relay.lease.peer.name) };
                outcome.cut(&cut.reason);
                Some((Err(cut), None))
            }
        }
    })
}
