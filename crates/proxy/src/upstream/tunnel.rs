//! An upgraded connection (a WebSocket): bytes both ways until either side ends, or nothing came for too long.

use std::io::{self, IoSlice};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt, WriteHalf};
use tokio::time::{Instant, timeout, timeout_at};

use super::dial::Connection;
use super::server::Lease;
use super::wire::Wire;
use crate::http1::{Reader, Sent, Socket, Writer};

/// The least room for a read, in bytes.
const READ_BYTES: usize = 16 << 10;

/// The server's end of an upgraded connection.
pub(crate) struct Tunnel {
    pub(super) wire: Wire,
    pub(super) writer: WriteHalf<Connection>,
    /// How long neither side may send anything, and how long one may take nothing.
    pub(super) idle: Duration,
    pub(super) _lease: Lease,
}

impl Tunnel {
    /// Carries bytes until the end; `early` is what the client sent behind its request.
    pub(crate) async fn run(self, socket: &mut Socket, early: BytesMut) -> Sent {
        let (mut reader, writer) = socket.split();
        let Self { mut wire, writer: mut server, idle, _lease } = self;
        let clock = Clock { heard: Mutex::new(Instant::now()), idle };
        let mut bytes = 0;
        let complete = {
            let up = to_server(&mut reader, &mut server, early, &clock);
            let down = to_client(&mut wire, &writer, &clock, &mut bytes);
            tokio::pin!(up, down);
            // The client may say that it sends no more and go on listening; after the server's end there is nothing to hear.
            tokio::select! {
                ended = &mut down => ended.is_ok(),
                ended = &mut up => ended.is_ok() && down.await.is_ok(),
            }
        };
        Sent { bytes, head_bytes: 0, complete }
    }
}

/// When anything came last, from either side.
struct Clock {
    heard: Mutex<Instant>,
    idle: Duration,
}

impl Clock {
    fn hear(&self) {
        *self.heard.lock() = Instant::now();
    }

    /// What `reading` gives, unless both sides are silent for too long. It must be cancel safe.
    async fn watch<F: Future<Output = io::Result<usize>>>(&self, reading: F) -> io::Result<usize> {
        tokio::pin!(reading);
        loop {
            let deadline = *self.heard.lock() + self.idle;
            match timeout_at(deadline, &mut reading).await {
                Ok(outcome) => {
                    self.hear();
                    return outcome;
                }
                Err(_) if Instant::now() < *self.heard.lock() + self.idle => {}
                Err(_) => return Err(io::ErrorKind::TimedOut.into()),
            }
        }
    }
}

async fn to_server(
    client: &mut Reader<'_>,
    server: &mut WriteHalf<Connection>,
    mut buf: BytesMut,
    clock: &Clock,
) -> io::Result<()> {
    loop {
        while buf.has_remaining() {
            timeout(clock.idle, server.write_buf(&mut buf)).await??;
        }
        timeout(clock.idle, server.flush()).await??;
        buf.reserve(READ_BYTES);
        if clock.watch(client.read(&mut buf)).await? == 0 {
            return server.shutdown().await;
        }
    }
}

async fn to_client(
    wire: &mut Wire,
    client: &Writer<'_>,
    clock: &Clock,
    bytes: &mut u64,
) -> io::Result<()> {
    loop {
        let mut parts = [IoSlice::new(&wire.content)];
        client.write_all(&mut parts, clock.idle, bytes).await?;
        wire.content.clear();
        wire.content.reserve(READ_BYTES);
        if clock.watch(wire.reader.read_buf(&mut wire.content)).await? == 0 {
            return Ok(());
        }
    }
}
