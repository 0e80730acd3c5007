//! A client's connection as h2 reads and writes it: bytes that were read before come first, and a client that takes nothing is not
//! waited for longer than `send-timeout`.
//!
//! h2 writes and flushes frame by frame. What it writes is kept here until it is worth a system call (and a record of TLS), or
//! until the connection's task has nothing else to do: the answers to requests that came together leave together. And h2 reads as
//! long as there is something, frame by frame, which a client that never stops could have go on for ever: other connections have
//! their turns, and the connection's own limits theirs, after a few frames.

use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::conduct::{Conduct, FrameHeads};
use crate::http1::Socket;

/// So much is kept before it is written, in bytes: four records of TLS.
const ENOUGH_BYTES: usize = 64 << 10;
/// What most answers together need no more than, in bytes.
const FEW_BYTES: usize = 4 << 10;

/// A connection, and what is to be written to it.
pub(super) struct Wire<'s> {
    socket: &'s mut Socket,
    early: BytesMut,
    /// So much may still be read in this turn.
    turn_bytes: usize,
    kept: BytesMut,
    conduct: Arc<Conduct>,
    heads: FrameHeads,
    /// How long the client may take nothing.
    patience: Duration,
    stalled: Option<Pin<Box<Sleep>>>,
    /// What h2 has to hear yet of a write that it thinks was made.
    failed: Option<io::Error>,
}

impl<'s> Wire<'s> {
    /// Begins with `early`, which was read already.
    pub(super) fn new(
        socket: &'s mut Socket,
        early: BytesMut,
        conduct: Arc<Conduct>,
        patience: Duration,
    ) -> Mutex<Self> {
        Mutex::new(Self {
            socket,
            early,
            turn_bytes: 0,
            kept: BytesMut::new(),
            conduct,
            heads: FrameHeads::new(),
            patience,
            stalled: None,
            failed: None,
        })
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.early.has_remaining() {
            let size = self.early.len().min(buf.remaining());
            let early = self.early.split_to(size);
            self.conduct.heard_asides(self.heads.count_asides(&early));
            buf.put_slice(&early);
            return Poll::Ready(Ok(()));
        }
        if self.turn_bytes == 0 {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buf.filled().len();
        let outcome = self.socket.poll_read(cx, buf);
        let read = buf.filled().get(before..).unwrap_or_default();
        self.turn_bytes = self.turn_bytes.saturating_sub(read.len());
        self.conduct.received(read.len());
        self.conduct.heard_asides(self.heads.count_asides(read));
        outcome
    }

    /// Keeps `parts`, or hands to the kernel what it takes of them after all that was kept.
    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let size = parts.iter().map(|part| part.len()).sum::<usize>();
        if self.kept.len() + size > ENOUGH_BYTES {
            ready!(self.poll_written(cx))?;
        }
        if size > ENOUGH_BYTES {
            let outcome = self.socket.poll_write(cx, parts);
            return self.unless_stalled(cx, outcome);
        }
        if self.kept.is_empty() {
            self.kept.reserve(size.max(FEW_BYTES));
        }
        parts.iter().for_each(|part| self.kept.extend_from_slice(part));
        Poll::Ready(Ok(size))
    }

    /// Waits until the kernel has everything.
    fn poll_written(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.kept.has_remaining() {
            let outcome = self.socket.poll_write(cx, &[IoSlice::new(&self.kept)]);
            match ready!(self.unless_stalled(cx, outcome))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                size => self.kept.advance(size),
            }
        }
        // A connection that waits needs no room.
        self.kept = BytesMut::new();
        let outcome = self.socket.poll_flush(cx);
        self.unless_stalled(cx, outcome)
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

    /// What went wrong when nobody was there to be told.
    fn heard(&mut self) -> io::Result<()> {
        self.failed.take().map_or(Ok(()), Err)
    }
}

/// Does what `serving` does; whenever that waits, what was written goes out.
pub(super) async fn writing<T>(wire: &Mutex<Wire<'_>>, serving: impl Future<Output = T>) -> T {
    let mut serving = pin!(serving);
    std::future::poll_fn(|cx| {
        {
            let mut wire = wire.lock();
            wire.turn_bytes = wire.conduct.turn_bytes();
        }
        let outcome = serving.as_mut().poll(cx);
        let mut wire = wire.lock();
        if let Poll::Ready(Err(error)) = wire.poll_written(cx)
            && outcome.is_pending()
        {
            wire.kept.clear();
            wire.failed = Some(error);
            // h2 hears of it when it reads.
            cx.waker().wake_by_ref();
        }
        outcome
    })
    .await
}

/// A connection that is lent to h2.
pub(super) struct Io<'w, 's>(pub(super) &'w Mutex<Wire<'s>>);

impl AsyncRead for Io<'_, '_> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut wire = self.0.lock();
        wire.heard()?;
        wire.poll_read(cx, buf)
    }
}

impl AsyncWrite for Io<'_, '_> {
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
        let mut wire = self.0.lock();
        wire.heard()?;
        wire.poll_write(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// [`writing`] does, when there is nothing else to be written.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.0.lock().heard())
    }

    /// The careful close that follows says the rest.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut wire = self.0.lock();
        wire.heard()?;
        wire.poll_written(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixStream;

    use super::*;

    fn lent(socket: &mut Socket) -> Mutex<Wire<'_>> {
        Wire::new(socket, BytesMut::new(), Arc::new(Conduct::new()), Duration::from_secs(60))
    }

    #[tokio::test]
    async fn what_is_written_goes_out_together_when_there_is_nothing_else_to_do() {
        let (ours, mut peer) = UnixStream::pair().unwrap();
        let mut socket = Socket::Unix(ours);
        let wire = lent(&mut socket);
        let mut read = [0; 8];
        let size = writing(&wire, async {
            for part in [b"a", b"b", b"c"] {
                Io(&wire).write_all(part).await.unwrap();
                Io(&wire).flush().await.unwrap();
                let nothing = peer.try_read(&mut read).unwrap_err();
                assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
            }
            peer.read(&mut read).await.unwrap()
        })
        .await;
        assert_eq!(read.get(..size), Some(&b"abc"[..]));
    }

    #[tokio::test]
    async fn what_is_much_is_not_kept_and_comes_behind_what_was() {
        let (ours, mut peer) = UnixStream::pair().unwrap();
        let mut socket = Socket::Unix(ours);
        let wire = lent(&mut socket);
        let much = vec![b'b'; 3 * ENOUGH_BYTES];
        let written = writing(&wire, async {
            Io(&wire).write_all(b"a").await.unwrap();
            for piece in much.chunks(ENOUGH_BYTES / 2) {
                Io(&wire).write_all(piece).await.unwrap();
            }
            Io(&wire).write_all(&much).await.unwrap();
            Io(&wire).shutdown().await.unwrap();
        });
        let mut read = vec![0; 1 + 2 * much.len()];
        let (_, size) = tokio::join!(written, peer.read_exact(&mut read));
        assert_eq!(size.unwrap(), read.len());
        let (first, rest) = read.split_first().unwrap();
        assert!(*first == b'a' && rest.iter().all(|byte| *byte == b'b'));
    }

    #[tokio::test]
    async fn who_sends_without_end_leaves_others_their_turns() {
        let (ours, peer) = UnixStream::pair().unwrap();
        let mut socket = Socket::Unix(ours);
        let wire = lent(&mut socket);
        let (turn, mut sent) = (Conduct::new().turn_bytes(), 0);
        peer.writable().await.unwrap();
        while let Ok(size) = peer.try_write(&[0; 1000]) {
            sent += size;
        }
        assert!(sent > 2 * turn, "{sent}");
        let read = Cell::new(0);
        let mut reading = pin!(writing(&wire, async {
            let mut buffer = vec![0; turn / 2];
            loop {
                read.set(read.get() + Io(&wire).read(&mut buffer).await.unwrap());
            }
        }));
        let mut turns = 0;
        while read.get() < sent {
            turns += 1;
            poll_fn(|cx| {
                let polled: Poll<()> = reading.as_mut().poll(cx);
                assert!(polled.is_pending());
                Poll::Ready(())
            })
            .await;
            tokio::task::yield_now().await;
            assert!(read.get() <= turns * turn, "{turns} turns: {}", read.get());
        }
        assert!(turns > 2, "{turns}");
    }

    #[tokio::test]
    async fn who_reads_hears_that_a_write_failed() {
        let (ours, peer) = UnixStream::pair().unwrap();
        drop(peer);
        let mut socket = Socket::Unix(ours);
        let wire = lent(&mut socket);
        let heard = writing(&wire, async {
            Io(&wire).write_all(b"a").await.unwrap();
            tokio::task::yield_now().await;
            Io(&wire).read(&mut [0]).await
        });
        assert_eq!(heard.await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
