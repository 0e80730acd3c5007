//! A client's connection: TCP or a Unix socket, read and written without locks or copies; or TLS, which has its own way.
//!
//! Reads go through `poll_read`, which knows from a short read that the socket is empty and saves a system call; waiting is always
//! apart from reading, so that a connection that waits needs no buffer.

use std::fs::File;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use rustix::net::SendFlags;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream, tcp, unix};
use tokio_util::io::poll_read_buf;

use super::file_pipe::FilePipe;
use crate::tls::TlsStream;

/// The most that one sendfile(2) sends, in bytes, as with nginx; the kernel rarely has room for more.
const SEND_FILE_BYTES: usize = 2 << 20;

/// An accepted connection.
#[derive(Debug)]
pub(crate) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<TlsStream>),
}

impl Socket {
    /// Its two directions, to be used side by side.
    pub(crate) fn split(&mut self) -> (Reader<'_>, Writer<'_>) {
        match self {
            Self::Tcp(stream) => {
                let (reader, writer) = stream.split();
                (Reader::Tcp(reader), Writer::Tcp(writer))
            }
            Self::Unix(stream) => {
                let (reader, writer) = stream.split();
                (Reader::Unix(reader), Writer::Unix(writer))
            }
            Self::Tls(stream) => (Reader::Tls(stream), Writer::Tls(stream)),
        }
    }

    /// Waits until there is something to read: bytes, the end, or an error.
    pub(crate) async fn readable(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.readable().await,
            Self::Unix(stream) => stream.readable().await,
            Self::Tls(stream) => stream.readable().await,
        }
    }

    /// Reads what is there into `buf`, or waits for it; nothing: the client sends no more.
    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => stream.poll_read_into(cx, buf),
        }
    }

    /// Writes of `parts` what there is room for, or waits for room.
    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, parts),
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, parts),
            Self::Tls(stream) => stream.poll_write(cx, parts),
        }
    }

    /// Waits until the kernel has all that was written.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(_) | Self::Unix(_) => Poll::Ready(Ok(())),
            Self::Tls(stream) => stream.poll_flush(cx),
        }
    }

    /// Makes a reset of the close that follows: the client sees an error, never a short answer that looks complete.
    pub(crate) fn reset_on_close(&self) {
        if let Err(error) = rustix::net::sockopt::set_socket_linger(self, Some(Duration::ZERO)) {
            tracing::debug!(%error, "a connection can't be reset");
        }
    }

    /// Whether the client has chosen HTTP/2 in its handshake.
    pub(crate) fn speaks_http2(&self) -> bool {
        matches!(self, Self::Tls(stream) if stream.speaks_http2())
    }

    /// Says what TLS has to say before a close; without TLS there is nothing.
    pub(crate) fn say_goodbye(&self) {
        if let Self::Tls(stream) = self {
            stream.say_goodbye();
        }
    }

    /// Says that nothing more will be sent.
    pub(crate) fn shut_down_writing(&self) -> io::Result<()> {
        self.say_goodbye();
        Ok(rustix::net::shutdown(self, rustix::net::Shutdown::Write)?)
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
            Self::Tls(stream) => stream.as_fd(),
        }
    }
}

/// From the client.
#[derive(Debug)]
pub(crate) enum Reader<'s> {
    Tcp(tcp::ReadHalf<'s>),
    Unix(unix::ReadHalf<'s>),
    Tls(&'s TlsStream),
}

impl Reader<'_> {
    /// Reads what is there, or waits for it; appends it to `buf`. 0: the client sends no more.
    pub(crate) async fn read(&mut self, buf: &mut BytesMut) -> io::Result<usize> {
        std::future::poll_fn(|cx| self.poll_read(cx, buf)).await
    }

    /// Reads what is there; `None`: nothing.
    pub(crate) async fn read_now(&mut self, buf: &mut BytesMut) -> Option<io::Result<usize>> {
        std::future::poll_fn(|cx| {
            Poll::Ready(match self.poll_read(cx, buf) {
                Poll::Ready(outcome) => Some(outcome),
                Poll::Pending => None,
            })
        })
        .await
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut BytesMut) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(half) => poll_read_buf(Pin::new(half), cx, buf),
            Self::Unix(half) => poll_read_buf(Pin::new(half), cx, buf),
            Self::Tls(stream) => stream.poll_read(cx, buf),
        }
    }
}

/// To the client.
#[derive(Debug)]
pub(crate) enum Writer<'s> {
    Tcp(tcp::WriteHalf<'s>),
    Unix(unix::WriteHalf<'s>),
    Tls(&'s TlsStream),
}

impl Writer<'_> {
    /// Writes all `parts`; counts in `written` what the kernel took, also where it fails.
    ///
    /// # Errors
    /// The socket's, and [`io::ErrorKind::TimedOut`] where the client takes nothing for `patience`.
    pub(crate) async fn write_all(
        &self,
        mut parts: &mut [IoSlice<'_>],
        patience: Duration,
        written: &mut u64,
    ) -> io::Result<()> {
        IoSlice::advance_slices(&mut parts, 0);
        while !parts.is_empty() {
            let outcome = match self {
                Self::Tcp(half) => half.try_write_vectored(parts),
                Self::Unix(half) => half.try_write_vectored(parts),
                Self::Tls(stream) => return stream.write_all(parts, patience, written).await,
            };
            if let Some(size) = self.taken(outcome, patience).await? {
                *written += size as u64;
                IoSlice::advance_slices(&mut parts, size);
            }
        }
        Ok(())
    }

    /// Writes `bytes` and tells the kernel that more follows at once, so that they share a packet with it.
    ///
    /// # Errors
    /// As [`Writer::write_all`].
    pub(crate) async fn write_with_more(
        &self,
        mut bytes: &[u8],
        patience: Duration,
        written: &mut u64,
    ) -> io::Result<()> {
        if let Self::Tls(stream) = self {
            return stream.write_with_more(bytes, patience, written).await;
        }
        let flags = SendFlags::MORE | SendFlags::NOSIGNAL;
        while !bytes.is_empty() {
            let outcome = self.try_write(|socket| rustix::net::send(socket, bytes, flags));
            if let Some(size) = self.taken(outcome, patience).await? {
                *written += size as u64;
                bytes = bytes.get(size..).unwrap_or_default();
            }
        }
        Ok(())
    }

    /// Sends `size` bytes of `file` from `offset`, without TLS also without copying them through this process.
    ///
    /// # Errors
    /// As [`Writer::write_all`]; `ENODATA` where the file has become shorter.
    pub(crate) async fn send_file(
        &self,
        file: &File,
        mut offset: u64,
        size: u64,
        patience: Duration,
        written: &mut u64,
    ) -> io::Result<()> {
        if let Self::Tls(stream) = self {
            return stream.send_file(file, offset, size, patience, written).await;
        }
        let end = offset.saturating_add(size);
        let mut pipe = FilePipe::new(size);
        while offset < end {
            let count = usize::try_from(end - offset).unwrap_or(usize::MAX).min(SEND_FILE_BYTES);
            let outcome = self.try_write(|socket| {
                let sent = match &mut pipe {
                    Some(pipe) => pipe.send(socket, file, &mut offset, end),
                    None => rustix::fs::sendfile(socket, file, Some(&mut offset), count),
                };
                match sent {
                    // Nothing left before `end`: somebody cut the file.
                    Ok(0) => Err(rustix::io::Errno::NODATA),
                    other => other,
                }
            });
            if let Some(size) = self.taken(outcome, patience).await? {
                *written += size as u64;
                // A client that is as fast as this loop must not keep a thread of the runtime to itself.
                tokio::task::coop::consume_budget().await;
            }
        }
        Ok(())
    }

    /// Waits until the client has reset the connection. A client that only says that it sends no more (a half-close) has not.
    pub(crate) async fn reset_by_client(&self) {
        // An error of the wait itself means that the runtime ends: as good as gone.
        let _ = match self {
            Self::Tcp(half) => half.ready(Interest::ERROR).await,
            Self::Unix(half) => half.ready(Interest::ERROR).await,
            Self::Tls(stream) => stream.tcp().ready(Interest::ERROR).await,
        };
    }

    fn try_write(
        &self,
        mut write: impl FnMut(BorrowedFd<'_>) -> rustix::io::Result<usize>,
    ) -> io::Result<usize> {
        match self {
            Self::Tcp(half) => {
                let stream: &TcpStream = half.as_ref();
                stream.try_io(Interest::WRITABLE, || Ok(write(stream.as_fd())?))
            }
            Self::Unix(half) => {
                let stream: &UnixStream = half.as_ref();
                stream.try_io(Interest::WRITABLE, || Ok(write(stream.as_fd())?))
            }
            // What goes past the session would not be understood.
            Self::Tls(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// What a write took; `None` after waiting for room.
    async fn taken(
        &self,
        outcome: io::Result<usize>,
        patience: Duration,
    ) -> io::Result<Option<usize>> {
        match outcome {
            Ok(0) => Err(io::ErrorKind::WriteZero.into()),
            Ok(size) => Ok(Some(size)),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let room = async {
                    match self {
                        Self::Tcp(half) => half.writable().await,
                        Self::Unix(half) => half.writable().await,
                        Self::Tls(stream) => stream.tcp().writable().await,
                    }
                };
                tokio::time::timeout(patience, room).await??;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}
