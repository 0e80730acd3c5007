//! Connections to servers of an upstream: made within a time limit, kept while idle, looked at before they are used again.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use onebox_config::site::{Protocol, Server, ServerAddress};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

use super::failure::UpstreamError;
use super::trust::Trust;

/// A connection to a server.
pub(super) enum Connection {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    Unix(UnixStream),
}

/// Connects to `server`, which `trust` believes, and sends it what stands before everything else; mostly nothing.
///
/// # Errors
/// Where it does not accept, or its certificate is not valid, within `patience`.
pub(super) async fn dial(
    server: &Server,
    trust: &Trust,
    introduction: &[u8],
    patience: Duration,
) -> Result<Connection, UpstreamError> {
    match timeout(patience, connect(server, trust, introduction)).await {
        Ok(outcome) => outcome.map_err(UpstreamError::Connect),
        Err(_) => Err(UpstreamError::ConnectTimedOut(patience)),
    }
}

async fn connect(server: &Server, trust: &Trust, introduction: &[u8]) -> io::Result<Connection> {
    match &server.address {
        ServerAddress::Unix(path) => {
            let mut stream = UnixStream::connect(path).await?;
            stream.write_all(introduction).await?;
            Ok(Connection::Unix(stream))
        }
        ServerAddress::Tcp(host, port) => {
            let mut stream = TcpStream::connect((host.as_str(), *port)).await?;
            stream.set_nodelay(true)?;
            stream.write_all(introduction).await?;
            if server.protocol != Protocol::Https {
                return Ok(Connection::Tcp(stream));
            }
            let name = ServerName::try_from(host.clone()).map_err(io::Error::other)?;
            let stream = trust.handshake(name, stream).await?;
            Ok(Connection::Tls(Box::new(stream)))
        }
    }
}

impl Connection {
    /// Whether an idle connection is still open and has nothing to say. Asked of the kernel: the runtime learns of a close
    /// only when it polls.
    pub(super) fn is_quiet(&self) -> bool {
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        recv(self.as_fd(), &mut [0; 1], flags).err() == Some(Errno::AGAIN)
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Tls(stream) => stream.get_ref().0.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
