//! Connections to servers of an upstream: made within a time limit, kept while idle, looked at before they are used again.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use onebox_config::site::{Protocol, Server, ServerAddress};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::failure::UpstreamError;

/// A connection to a server.
pub(super) enum Connection {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    Unix(UnixStream),
}

/// Connects to `server` and sends it what stands before everything else; mostly nothing.
///
/// # Errors
/// Where it does not accept, or its certificate is not valid, within `patience`.
pub(super) async fn dial(
    server: &Server,
    introduction: &[u8],
    patience: Duration,
) -> Result<Connection, UpstreamError> {
    match timeout(patience, connect(server, introduction)).await {
        Ok(outcome) => outcome.map_err(UpstreamError::Connect),
        Err(_) => Err(UpstreamError::ConnectTimedOut(patience)),
    }
}

async fn connect(server: &Server, introduction: &[u8]) -> io::Result<Connection> {
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
            let stream = tls().await?.connect(name, stream).await?;
            Ok(Connection::Tls(Box::new(stream)))
        }
    }
}

/// What trusts the authorities that this machine trusts. Read once, in the background: it is a folder of files.
async fn tls() -> io::Result<TlsConnector> {
    static CONNECTOR: OnceLock<TlsConnector> = OnceLock::new();
    if let Some(connector) = CONNECTOR.get() {
        return Ok(connector.clone());
    }
    let made = tokio::task::spawn_blocking(make_tls).await.map_err(io::Error::other)??;
    Ok(CONNECTOR.get_or_init(|| made).clone())
}

fn make_tls() -> io::Result<TlsConnector> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (trusted, _) = roots.add_parsable_certificates(found.certs);
    if trusted == 0 {
        return Err(io::Error::other(
            "this machine trusts no certificate authority; Debian's package is ca-certificates",
        ));
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
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
