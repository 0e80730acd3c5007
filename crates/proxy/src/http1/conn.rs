//! The loop of one connection: wait without a buffer, read a head, have it answered, send the answer, again.
//!
//! The waiting part is small, because most connections wait most of the time; all that a request needs lives in one box that is
//! gone between requests.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use onebox_config::Limits;
use onebox_metrics::Dropped;
use tokio::time::{timeout, timeout_at};

use super::answer::{Asked, prepare};
use super::body::{BodyPatience, Incoming, Rest};
use super::handler::Handler;
use super::linger;
use super::parse::{Parsed, parse_head};
use super::refusal::Refusal;
use super::scan::{HeadLimits, HeadScan};
use super::send::{Sender, Sent};
use super::socket::{Reader, Socket};
use crate::http2;
use crate::lifecycle::{Busy, Lifecycle, Silence};
use crate::message::{ConnectionInfo, Onward, Response, Scheme};
use crate::request_body::RequestBody;
use crate::upstream::Tunnel;

/// The size of a read buffer: most heads fit, in bytes.
const READ_BYTES: usize = 8 << 10;

/// How long the unread rest of a request may take after its answer.
const DISCARD_TIME: Duration = Duration::from_secs(5);

/// What a client may begin its next request in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    /// HTTP/2 too, from a client that knows that it is spoken here.
    AnyVersion,
    Http1,
}

/// What a connection does after a burst of requests.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    /// Wait for another request; `blank_line`: a stray empty line came already.
    Wait { blank_line: bool },
    /// Close so that the client can read the last answer.
    Close,
    /// Close so that the client notices that the last answer is not whole.
    Reset,
    /// The client is gone.
    Gone,
    /// Go on in HTTP/2, with what was read of it.
    Http2(BytesMut),
}

/// Serves one connection to its end.
#[expect(
    clippy::manual_async_fn,
    reason = "an `async fn` keeps its arguments twice, and most connections wait here"
)]
pub(crate) fn serve<H: Handler>(
    mut socket: Socket,
    connection: ConnectionInfo,
    handler: Arc<H>,
    lifecycle: Arc<Lifecycle>,
) -> impl Future<Output = ()> + Send {
    async move {
        let limits = handler.limits();
        let mut timer = pin!(tokio::time::sleep(Duration::ZERO));
        let mut patience = limits.header_timeout;
        let mut ending = pin!(lifecycle.close_idle());
        let mut blank_line = false;
        // With TLS a client that wants HTTP/2 has said so in the handshake (RFC 9113 §3.3).
        let mut expected = match connection.scheme {
            Scheme::Http if limits.http2 => Expected::AnyVersion,
            _ => Expected::Http1,
        };
        loop {
            // After the end was called there is one last look for a request that has just come.
            let is_last = tokio::select! {
                biased;
                readable = socket.readable() => match readable {
                    Ok(()) => false,
                    Err(_) => return,
                },
                silence = lifecycle.silence(timer.as_mut(), patience) => {
                    if silence == Silence::InTheWay {
                        handler.sent_away(Dropped::InTheWay, &connection);
                    }
                    return socket.say_goodbye();
                }
                () = ending.as_mut() => true,
            };
            let burst =
                Burst { connection: &connection, handler: &*handler, lifecycle: &lifecycle };
            match Box::pin(burst.serve(&mut socket, blank_line, &mut expected)).await {
                Next::Wait { .. } if is_last => return socket.say_goodbye(),
                Next::Wait { blank_line: seen } => blank_line = seen,
                Next::Close => {
                    tokio::select! {
                        () = Box::pin(linger::close(&mut socket)) => {}
                        () = lifecycle.cut() => {}
                    }
                    return;
                }
                Next::Reset => {
                    socket.reset_on_close();
                    return;
                }
                Next::Gone => return,
                // Most connections do not carry the room for it.
                Next::Http2(early) => {
                    let client = http2::Client { socket, early, connection: connection.clone() };
                    let served = http2::serve(client, Arc::clone(&handler), Arc::clone(&lifecycle));
                    return Box::pin(served).await;
                }
            }
            patience = limits.idle_timeout;
        }
    }
}

/// Requests that come without a pause between them.
struct Burst<'c, H> {
    connection: &'c ConnectionInfo,
    handler: &'c H,
    lifecycle: &'c Lifecycle,
}

/// Why there is no request.
enum NoHead {
    Refused(Refusal),
    /// Nothing but perhaps an empty line was sent.
    Nothing,
    Gone,
    /// It is the beginning of HTTP/2.
    Http2,
}

impl<H: Handler> Burst<'_, H> {
    async fn serve(
        &self,
        socket: &mut Socket,
        mut blank_line: bool,
        expected: &mut Expected,
    ) -> Next {
        let mut busy = self.lifecycle.begin();
        let mut buf = BytesMut::with_capacity(READ_BYTES);
        let mut head_buf = Vec::with_capacity(512);
        match socket.split().0.read_now(&mut buf).await {
            None => return Next::Wait { blank_line },
            Some(Ok(0) | Err(_)) => return Next::Gone,
            Some(Ok(_)) => {}
        }
        loop {
            let (mut reader, _) = socket.split();
            let head = self.read_head(&mut reader, &mut buf, &mut blank_line, *expected).await;
            *expected = Expected::Http1;
            let next = match head {
                Ok(parsed) => self.exchange(socket, &mut buf, (parsed, busy), &mut head_buf).await,
                Err(NoHead::Nothing) => return Next::Wait { blank_line },
                Err(NoHead::Gone) => return Next::Gone,
                Err(NoHead::Http2) => return Next::Http2(buf),
                Err(NoHead::Refused(refusal)) => {
                    self.refuse(socket, refusal, &mut head_buf).await;
                    return Next::Close;
                }
            };
            blank_line = false;
            match next {
                Next::Wait { .. } if !buf.is_empty() => busy = self.lifecycle.begin(),
                next => return next,
            }
        }
    }

    /// Reads on until a head is complete.
    async fn read_head(
        &self,
        reader: &mut Reader<'_>,
        buf: &mut BytesMut,
        blank_line: &mut bool,
        expected: Expected,
    ) -> Result<Parsed, NoHead> {
        let limits = self.limits();
        let head_limits =
            HeadLimits { head_bytes: limits.max_head_bytes, target_bytes: limits.max_target_bytes };
        let received_at = Instant::now();
        let deadline = tokio::time::Instant::from_std(received_at) + limits.header_timeout;
        let mut scan = HeadScan::default();
        let mut in_the_way = pin!(self.lifecycle.in_the_way());
        loop {
            if skip_blank_line(buf, blank_line).map_err(NoHead::Refused)? {
                let end = scan.advance(buf, head_limits).map_err(NoHead::Refused)?;
                if let Some(end) = end {
                    if expected == Expected::AnyVersion
                        && buf.get(..end) == Some(http2::PREFACE_HEAD)
                    {
                        return Err(NoHead::Http2);
                    }
                    return parse_head(buf.split_to(end), head_limits, received_at)
                        .map_err(NoHead::Refused);
                }
            }
            if buf.is_empty() {
                return Err(NoHead::Nothing);
            }
            buf.reserve(READ_BYTES / 4);
            let read = tokio::select! {
                biased;
                read = timeout_at(deadline, reader.read(buf)) => read,
                () = in_the_way.as_mut() => {
                    self.handler.sent_away(Dropped::InTheWay, self.connection);
                    return Err(NoHead::Gone);
                }
            };
            match read {
                Err(_) => return Err(NoHead::Refused(Refusal::HEAD_TIMED_OUT)),
                Ok(Ok(0) | Err(_)) => return Err(NoHead::Gone),
                Ok(Ok(_)) => {}
            }
        }
    }

    /// Has one request answered, and sends the answer.
    async fn exchange(
        &self,
        socket: &mut Socket,
        buf: &mut BytesMut,
        (Parsed { head, fields }, busy): (Parsed, Busy<'_>),
        head_buf: &mut Vec<u8>,
    ) -> Next {
        let limits = self.limits();
        let patience = BodyPatience { read: limits.body_timeout, write: limits.send_timeout };
        let (reader, writer) = socket.split();
        let mut body = RequestBody::from(Incoming::new(reader, &writer, buf, fields, patience));
        let (mut response, exchange) = tokio::select! {
            biased;
            answer = self.handler.handle(&head, &mut body, self.connection) => answer,
            () = writer.reset_by_client() => return Next::Gone,
            () = self.lifecycle.cut() => return Next::Reset,
        };
        let onward = response.onward.take();
        let rest = if onward.is_some() { Rest::TooMuch } else { body.rest() };
        let keep_alive =
            fields.keep_alive && rest != Rest::TooMuch && !self.lifecycle.is_draining();
        let answer = prepare(response, Asked::by(&head, keep_alive), std::mem::take(head_buf));
        let keep_alive = answer.keep_alive;
        let sender =
            Sender { writer: &writer, lifecycle: self.lifecycle, patience: limits.send_timeout };
        // From here on it is a transfer.
        drop(busy);
        let (sent, buffer) = match onward {
            None => sender.send(answer).await,
            Some(Onward::Body(upload)) => {
                Box::pin(sender.send_beside(answer, upload.go_on(&mut body))).await
            }
            Some(Onward::Tunnel(tunnel)) => {
                let (sent, _) = sender.send(answer).await;
                let sent = if sent.complete {
                    Box::pin(self.carry(*tunnel, socket, buf, sent)).await
                } else {
                    sent
                };
                self.handler.sent(exchange, sent);
                return if sent.complete { Next::Close } else { Next::Reset };
            }
        };
        *head_buf = buffer;
        self.handler.sent(exchange, sent);
        if !sent.complete {
            return Next::Reset;
        }
        if !keep_alive {
            return Next::Close;
        }
        match rest {
            Rest::Little if timeout(DISCARD_TIME, body.discard()).await != Ok(true) => Next::Close,
            _ => Next::Wait { blank_line: false },
        }
    }

    /// Lends the connection to an upgraded one until either side ends it.
    async fn carry(
        &self,
        tunnel: Tunnel,
        socket: &mut Socket,
        buf: &mut BytesMut,
        head: Sent,
    ) -> Sent {
        let carried = tokio::select! {
            carried = tunnel.run(socket, buf.split()) => carried,
            () = self.lifecycle.cut() => Sent::NOTHING,
        };
        let bytes = head.bytes + carried.bytes;
        Sent { bytes, head_bytes: head.head_bytes, complete: carried.complete }
    }

    /// Answers a message that is no request.
    async fn refuse(&self, socket: &mut Socket, refusal: Refusal, head_buf: &mut Vec<u8>) {
        let (response, exchange): (Response, _) = self.handler.refuse(&refusal, self.connection);
        let answer = prepare(response, Asked::NOTHING, std::mem::take(head_buf));
        let patience = self.limits().send_timeout;
        let (_, writer) = socket.split();
        let sender = Sender { writer: &writer, lifecycle: self.lifecycle, patience };
        let (sent, _) = sender.send(answer).await;
        self.handler.sent(exchange, sent);
    }

    fn limits(&self) -> &Limits {
        self.handler.limits()
    }
}

/// Drops one empty line before a request line (RFC 9112 §2.2: some clients send one behind a body); more than one is refused.
/// Whether what stands in front now is the beginning of a request line.
fn skip_blank_line(buf: &mut BytesMut, seen: &mut bool) -> Result<bool, Refusal> {
    match buf.as_ref() {
        [] | [b'\r'] => Ok(false),
        [b'\r', b'\n', ..] if *seen => Err(Refusal::bad_request("The request line is empty.")),
        [b'\r', b'\n', ..] => {
            *seen = true;
            buf.advance(2);
            skip_blank_line(buf, seen)
        }
        _ => Ok(true),
    }
}
