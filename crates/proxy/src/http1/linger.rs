//! The careful close: a socket that is closed while bytes of the client are unread resets the connection, and the reset can destroy
//! an answer that the client has not read yet (RFC 9112 §9.6).

use std::time::Duration;

use bytes::BytesMut;
use tokio::time::{Instant, timeout_at};

use super::socket::Socket;

/// How long the client may send nothing.
const IDLE: Duration = Duration::from_secs(2);
/// How long it may go on sending.
const TOTAL: Duration = Duration::from_secs(10);
/// How much it may go on sending, in bytes.
const MAX_BYTES: usize = 64 << 20;
/// What is read at once, in bytes.
const READ_BYTES: usize = 16 << 10;

/// Says that nothing more comes, then reads and drops what the client sends until it closes too, within limits.
pub(crate) async fn close(socket: &mut Socket) {
    if socket.shut_down_writing().is_err() {
        return;
    }
    let end = Instant::now() + TOTAL;
    let (mut reader, _) = socket.split();
    // The usual client has closed already, or sends nothing more: no buffer yet.
    let mut dropped = BytesMut::with_capacity(64);
    let mut total = 0;
    while total < MAX_BYTES {
        let deadline = end.min(Instant::now() + IDLE);
        match timeout_at(deadline, reader.read(&mut dropped)).await {
            Ok(Ok(size)) if size > 0 => total += size,
            _ => return,
        }
        dropped.clear();
        dropped.reserve(READ_BYTES);
    }
}
