//! A client's connection as h2 reads and writes it: bytes that were read before come first, and a client that takes nothing is not
//! waited for longer than `send-timeout`.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::conduct::Conduct;
use crate::http1::Socket;

/// A connection that is lent to h2.
pub(super) struct Io<'s> {
    socket: &'s mut Socket,
    early: BytesMut,
    conduct: Arc<Conduct>,
    /// How long the client may take nothing.
    patience: Duration,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<'s> Io<'s> {
    /// Begins with `early`, which was read already.
    pub(super) fn new(
        socket: &'s mut Socket,
        early: BytesMut,
        conduct: Arc<Conduct>,
        patience: Duration,
    ) -> Self {
        Self { socket, early, conduct, patience, stalled: None }
    }

    /// What a write gives; an error where none could be made for too long.
    fn unless_stalled<T>(
        &mut self,
        cx: &mut Context<'_>,
        outcome: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.stalled = None;
            return outcome;
        }
        let patience = self.patience;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(patience)));
        stalled.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Io<'_> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.early.has_remaining() {
            let size = this.early.len().min(buf.remaining());
            buf.put_slice(&this.early.split_to(size));
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let outcome = this.socket.poll_read(cx, buf);
        this.conduct.received(buf.filled().len() - before);
        outcome
    }
}

impl AsyncWrite for Io<'_> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let outcome = this.socket.poll_write(cx, parts);
        this.unless_stalled(cx, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let outcome = this.socket.poll_flush(cx);
        this.unless_stalled(cx, outcome)
    }

    /// The careful close that follows says the rest.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }
}
