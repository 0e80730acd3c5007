//! The loop of one connection: takes requests in, lets them be answered side by side, and ends as politely as the client allows.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use h2::Reason;
use h2::server::{Builder, Connection};
use onebox_config::Limits;
use onebox_metrics::Dropped;
use tokio::time::{sleep, timeout};

use super::conduct::Conduct;
use super::io::{Io, Wire, writing};
use super::stream::Visit;
use crate::http1::{Handler, MAX_FIELDS, Socket, close_carefully};
use crate::lifecycle::{Lifecycle, Silence};
use crate::message::ConnectionInfo;

/// How much of its body a request may send before it is read, in bytes.
const STREAM_WINDOW: u32 = 256 << 10;
/// The same for all requests of a connection together: the most that one client can make us keep.
const CONNECTION_WINDOW: u32 = 1 << 20;
/// How much of an answer waits to be written, in bytes.
const SEND_BUFFER: usize = 128 << 10;
/// What RFC 9113 §6.5.2 counts for each field beside its name and value, in bytes.
const FIELD_OVERHEAD: usize = 32;
/// How long a client may take to agree to the end.
const GOODBYE: Duration = Duration::from_secs(5);

/// A client that speaks HTTP/2.
pub(crate) struct Client {
    pub(crate) socket: Socket,
    /// What it has said already.
    pub(crate) early: BytesMut,
    pub(crate) connection: ConnectionInfo,
}

/// Serves one connection to its end.
pub(crate) async fn serve<H: Handler>(client: Client, handler: Arc<H>, lifecycle: Arc<Lifecycle>) {
    let Client { mut socket, early, connection } = client;
    let limits = handler.limits();
    let conduct = Arc::new(Conduct::new());
    let wire = Wire::new(&mut socket, early, Arc::clone(&conduct), limits.send_timeout);
    let visit =
        Visit { connection: &connection, handler: &*handler, lifecycle: &lifecycle, conduct };
    let ending = writing(&wire, async {
        let session = tokio::select! {
            session = open(Io(&wire), limits, &lifecycle) => session?,
            () = lifecycle.in_the_way() => {
                handler.sent_away(Dropped::InTheWay, &connection);
                return None;
            }
        };
        Some(visit.serve(session).await)
    })
    .await;
    match ending {
        None => tracing::debug!("a client did not begin with the preface of HTTP/2"),
        Some(Ending::Careful) => tokio::select! {
            () = close_carefully(&mut socket) => {}
            () = lifecycle.cut() => {}
        },
        Some(Ending::Plain) => {}
    }
}

/// The connection of a client that begins as it should, in time.
async fn open<'w, 's>(
    io: Io<'w, 's>,
    limits: &Limits,
    lifecycle: &Lifecycle,
) -> Option<Connection<Io<'w, 's>, Bytes>> {
    tokio::select! {
        opened = timeout(limits.header_timeout, builder(limits).handshake(io)) => opened.ok()?.ok(),
        () = lifecycle.close_idle() => None,
    }
}

fn builder(limits: &Limits) -> Builder {
    // What is too large is ours to answer, and to count, up to twice of what it may be; above that h2 answers, with nothing but 431.
    let head_bytes = 2 * limits.max_head_bytes + FIELD_OVERHEAD * (MAX_FIELDS + 4);
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(limits.max_streams)
        .max_header_list_size(u32::try_from(head_bytes).unwrap_or(u32::MAX))
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buffer_size(SEND_BUFFER);
    builder
}

/// Why the connection of a client was given up by h2, where that was not the client's wish nor the network's.
fn sent_away(error: &h2::Error) -> Option<Dropped> {
    if !error.is_library() {
        return None;
    }
    match error.reason() {
        Some(Reason::ENHANCE_YOUR_CALM) => Some(Dropped::Flood),
        _ => Some(Dropped::Malformed),
    }
}

/// How a connection ends.
enum Ending {
    /// What was said is read by the client first.
    Careful,
    /// Nobody waits for anything.
    Plain,
}

/// How far the end of a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Open,
    /// The client knows that it shall not ask here again; what it asked before it knew is answered.
    Leaving,
    /// Nothing more is taken.
    Left,
}

/// What happens next.
enum Event<T> {
    Answered,
    Asked(T),
    /// The process is being replaced, or ends.
    Drain,
    /// Answers shall be given up.
    Cut,
    /// The client wastes too much.
    TooMuch,
    /// Nobody has said anything for long enough.
    Silence(Silence),
}

impl<H: Handler> Visit<'_, H> {
    async fn serve(&self, mut session: Connection<Io<'_, '_>, Bytes>) -> Ending {
        let limits = self.handler.limits();
        let mut requests = FuturesUnordered::new();
        let mut stage = Stage::Open;
        let mut has_asked = false;
        let mut timer = pin!(sleep(Duration::ZERO));
        let mut patience = limits.header_timeout;
        let mut draining = pin!(self.lifecycle.stop_accepting());
        let mut last_call = pin!(self.lifecycle.close_idle());
        let mut cut = pin!(self.lifecycle.cut());
        let mut too_much = pin!(self.conduct.too_much());
        loop {
            let silence = self.lifecycle.silence(timer.as_mut(), patience);
            // What ends it comes first, because a client that never stops uses up the task's turn. Then answers: what they
            // leave with the session is written when it is asked for requests.
            let event = tokio::select! {
                biased;
                () = cut.as_mut(), if stage != Stage::Left => Event::Cut,
                () = too_much.as_mut(), if stage != Stage::Left => Event::TooMuch,
                // Who has not asked yet may be about to, and nobody else may be there to answer.
                _ = draining.as_mut(), if stage == Stage::Open && has_asked => Event::Drain,
                () = last_call.as_mut(), if stage == Stage::Open => Event::Drain,
                Some(()) = requests.next(), if !requests.is_empty() => Event::Answered,
                asked = session.accept() => Event::Asked(asked),
                silence = silence, if requests.is_empty() => Event::Silence(silence),
            };
            match (event, stage) {
                (Event::Asked(Some(Ok((request, respond)))), _) => {
                    has_asked = true;
                    requests.push(self.exchange(request, respond));
                    continue;
                }
                (Event::Asked(Some(Err(error))), _) => {
                    tracing::debug!(%error, "a connection of HTTP/2 broke");
                    if let Some(why) = sent_away(&error) {
                        self.handler.sent_away(why, self.connection);
                    }
                    return if error.is_io() { Ending::Plain } else { Ending::Careful };
                }
                (Event::Asked(None), _) => return Ending::Careful,
                (Event::Answered, _) => {}
                (Event::Silence(Silence::InTheWay), _) => {
                    self.handler.sent_away(Dropped::InTheWay, self.connection);
                    session.abrupt_shutdown(Reason::NO_ERROR);
                    // Said, and not waited for.
                    let _ = session.accept().now_or_never();
                    return Ending::Plain;
                }
                // Twice: at once, and when the client has seen that (RFC 9113 §6.8).
                (Event::Drain, _) | (Event::Silence(Silence::TooLong), Stage::Open) => {
                    session.graceful_shutdown();
                    stage = Stage::Leaving;
                }
                (Event::Silence(Silence::TooLong), Stage::Leaving) => {
                    session.abrupt_shutdown(Reason::NO_ERROR);
                    stage = Stage::Left;
                }
                (Event::Silence(Silence::TooLong), Stage::Left) => return Ending::Plain,
                (Event::Cut, _) => {
                    requests.clear();
                    session.abrupt_shutdown(Reason::NO_ERROR);
                    stage = Stage::Left;
                }
                (Event::TooMuch, _) => {
                    self.handler.sent_away(Dropped::Flood, self.connection);
                    requests.clear();
                    session.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                    stage = Stage::Left;
                }
            }
            patience = if stage == Stage::Open { limits.idle_timeout } else { GOODBYE };
        }
    }
}
