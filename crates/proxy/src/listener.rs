//! Accepts connections, at most so many at a time, and gives each its task.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use onebox_metrics::Dropped;
use rustix::io::Errno;
use rustix::net::SocketFlags;
use socket2::{SockFilter, SockRef};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::timeout;

use crate::clients;
use crate::http1::{self, Handler, Socket};
use crate::http2;
use crate::lifecycle::{Heir, Lifecycle};
use crate::message::{ConnectionInfo, Entrance, Scheme};
use crate::tls::Tls;
use crate::uwsgi_server::{self, Door};

/// How long accepting pauses when descriptors or memory have run out; doubled up to [`MAX_PAUSE`].
const MIN_PAUSE: Duration = Duration::from_millis(10);
const MAX_PAUSE: Duration = Duration::from_secs(1);
/// How long none must have come at an address that is given up, for a handshake that was on its way.
const LAST_HANDSHAKES: Duration = Duration::from_secs(1);

/// A socket filter, in classic BPF, that drops packets with SYN and without ACK. A filter of a TCP socket sees the packet from
/// the TCP header on, whose byte 13 has the flags (RFC 9293 §3.1; socket(7), `SO_ATTACH_FILTER`).
const NO_SYN: [SockFilter; 5] = [
    // Load the flags; keep SYN (2) and ACK (16); is it SYN alone?
    SockFilter::new(0x30, 0, 0, 13),
    SockFilter::new(0x54, 0, 0, 0x12),
    SockFilter::new(0x15, 0, 1, 0x02),
    // Return: nothing of the packet, all of it.
    SockFilter::new(0x06, 0, 0, 0),
    SockFilter::new(0x06, 0, 0, u32::MAX),
];

/// A listening socket.
#[derive(Debug)]
pub(crate) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    /// Takes over a TCP listener. Needs a runtime.
    ///
    /// # Errors
    /// Where the socket can't be made non-blocking or watched.
    pub(crate) fn from_tcp(listener: std::net::TcpListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(Self::Tcp(TcpListener::from_std(listener)?))
    }

    /// Takes over a Unix listener. Needs a runtime.
    ///
    /// # Errors
    /// Where the socket can't be made non-blocking or watched.
    pub(crate) fn from_unix(listener: std::os::unix::net::UnixListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(Self::Unix(UnixListener::from_std(listener)?))
    }

    /// Lets no new connection in; what is in the queue can still be accepted.
    ///
    /// # Errors
    /// The kernel's.
    fn let_nobody_in(&self) -> io::Result<()> {
        match self {
            Self::Tcp(listener) => let_nobody_in(listener),
            // A connect after this is refused.
            Self::Unix(listener) => {
                Ok(rustix::net::shutdown(listener, rustix::net::Shutdown::Both)?)
            }
        }
    }

    /// The next connection in the queue of a Unix socket that was shut down; the runtime would wait for it for ever.
    fn accept_left(
        listener: &UnixListener,
        entrance: Entrance,
    ) -> Option<(Socket, ConnectionInfo)> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let accepted = rustix::net::accept_with(listener, flags).ok()?;
        let stream = UnixStream::from_std(accepted.into()).ok()?;
        Some((
            Socket::Unix(stream),
            ConnectionInfo { peer: None, local: None, scheme: Scheme::Http, entrance },
        ))
    }

    async fn accept(&self, entrance: Entrance) -> io::Result<(Socket, ConnectionInfo)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                // Answers go out whole; waiting for more to send would only delay them.
                stream.set_nodelay(true)?;
                let local = stream.local_addr().ok();
                Ok((
                    Socket::Tcp(stream),
                    ConnectionInfo { peer: Some(peer), local, scheme: Scheme::Http, entrance },
                ))
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                let connection =
                    ConnectionInfo { peer: None, local: None, scheme: Scheme::Http, entrance };
                Ok((Socket::Unix(stream), connection))
            }
        }
    }
}

/// Lets no new connection into a listening TCP socket, whichever processes have it; what is in its queue can still be accepted.
///
/// A listening socket has no such state of its own, and closing it resets the connections in its queue. So a filter drops the
/// first packet of each new connection. Clients send it again for a while: they find the next process here, or are refused when
/// the socket closes.
///
/// # Errors
/// Where the kernel has no such filters.
pub fn let_nobody_in<'s>(listener: impl Into<SockRef<'s>>) -> io::Result<()> {
    listener.into().attach_filter(&NO_SYN)
}

/// What all listeners of one proxy share.
pub(crate) struct Acceptor<H> {
    handler: Arc<H>,
    lifecycle: Arc<Lifecycle>,
    /// One permit per open connection.
    room: Arc<Semaphore>,
}

impl<H: Handler> Acceptor<H> {
    /// Accepts up to `max-connections` at a time for `handler`.
    pub(crate) fn new(handler: Arc<H>, lifecycle: Arc<Lifecycle>) -> Self {
        let room = handler.limits().max_connections.min(Semaphore::MAX_PERMITS);
        Self { handler, lifecycle, room: Arc::new(Semaphore::new(room)) }
    }

    /// Accepts on a listener until the proxy drains. Needs a runtime.
    pub(crate) fn listen(&self, listener: Listener, entrance: Entrance) {
        let (handler, lifecycle) = (Arc::clone(&self.handler), Arc::clone(&self.lifecycle));
        let never = std::future::pending();
        if entrance == Entrance::Public && handler.clients().proxy_protocol {
            return self.accept(listener, entrance, never, move |socket, connection| {
                let (handler, lifecycle) = (Arc::clone(&handler), Arc::clone(&lifecycle));
                async move {
                    let known = Box::pin(met(&socket, connection, &*handler, &lifecycle)).await;
                    let Some(connection) = known else { return };
                    http1::serve(socket, connection, handler, lifecycle).await;
                }
            });
        }
        self.accept(listener, entrance, never, move |socket, connection| {
            http1::serve(socket, connection, Arc::clone(&handler), Arc::clone(&lifecycle))
        });
    }

    /// The same for a listener that speaks TLS.
    pub(crate) fn listen_tls(&self, listener: Listener, tls: Arc<Tls>) {
        let (handler, lifecycle) = (Arc::clone(&self.handler), Arc::clone(&self.lifecycle));
        self.accept(listener, Entrance::Public, std::future::pending(), move |socket, connection| {
            let (handler, lifecycle) = (Arc::clone(&handler), Arc::clone(&lifecycle));
            let tls = Arc::clone(&tls);
            async move {
                let known = Box::pin(met(&socket, connection, &*handler, &lifecycle)).await;
                let Some(connection) = known else { return };
                let encrypted = tokio::select! {
                    encrypted = Box::pin(encrypt(socket, &tls, handler.limits().header_timeout)) => encrypted,
                    () = lifecycle.close_idle() => return,
                };
                let socket = match encrypted {
                    Ok(Some(socket)) => socket,
                    Ok(None) => return,
                    Err(error) => {
                        tracing::debug!(%error, "no handshake");
                        return handler.sent_away(Dropped::Handshake, &connection);
                    }
                };
                let connection = ConnectionInfo { scheme: Scheme::Https, ..connection };
                if socket.speaks_http2() {
                    let client = http2::Client { socket, early: BytesMut::new(), connection };
                    return Box::pin(http2::serve(client, handler, lifecycle)).await;
                }
                http1::serve(socket, connection, handler, lifecycle).await;
            }
        });
    }
}

/// Agrees on keys with a client; `None` where that was all it wanted.
async fn encrypt(socket: Socket, tls: &Tls, patience: Duration) -> io::Result<Option<Socket>> {
    let Socket::Tcp(stream) = socket else { return Ok(None) };
    let stream = tls.accept(stream, patience).await?;
    Ok(stream.map(|stream| Socket::Tls(Box::new(stream))))
}

/// The connection of whom a trusted proxy introduces at its beginning; `None`: there was no introduction.
async fn met<H: Handler>(
    socket: &Socket,
    connection: ConnectionInfo,
    handler: &H,
    lifecycle: &Lifecycle,
) -> Option<ConnectionInfo> {
    let clients = handler.clients();
    let proxy = connection.peer.filter(|peer| clients::is_trusted(clients, peer.ip()));
    let proxy = proxy.filter(|_| clients.proxy_protocol);
    let (Some(proxy), Socket::Tcp(stream)) = (proxy, socket) else { return Some(connection) };
    let introduced = tokio::select! {
        introduced = clients::introduced(stream, handler.limits().header_timeout) => introduced,
        () = lifecycle.close_idle() => return None,
    };
    match introduced {
        Ok(Some(ends)) => {
            Some(ConnectionInfo { peer: Some(ends.client), local: Some(ends.local), ..connection })
        }
        Ok(None) => Some(connection),
        Err(error) => {
            tracing::debug!(%proxy, %error, "a trusted proxy introduced nobody");
            None
        }
    }
}

impl<H> Acceptor<H> {
    /// Accepts uwsgi until `closed` says who does instead, or the proxy drains. Needs a runtime.
    pub(crate) fn listen_uwsgi(
        &self,
        listener: Listener,
        door: Arc<Door>,
        closed: oneshot::Receiver<Heir>,
    ) {
        let lifecycle = Arc::clone(&self.lifecycle);
        // Dropped without a word, the socket is somebody else's.
        let closed = async { closed.await.unwrap_or(Heir::Successor) };
        self.accept(listener, Entrance::Public, closed, move |socket, connection| {
            uwsgi_server::serve(socket, connection, Arc::clone(&door), Arc::clone(&lifecycle))
        });
    }

    fn accept<F>(
        &self,
        listener: Listener,
        entrance: Entrance,
        closed: impl Future<Output = Heir> + Send + 'static,
        serve: impl Fn(Socket, ConnectionInfo) -> F + Send + Sync + 'static,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let (lifecycle, room) = (Arc::clone(&self.lifecycle), Arc::clone(&self.room));
        self.lifecycle.spawn_accept_loop(async move {
            let heir = tokio::select! {
                biased;
                heir = closed => {
                    if heir == Heir::Nobody {
                        let own = Arc::clone(&lifecycle);
                        lifecycle.spawn(async move { accept_left(&listener, entrance, &serve, &own, &room).await });
                    }
                    return;
                }
                heir = lifecycle.stop_accepting() => heir,
                () = accept_loop(&listener, entrance, &serve, &lifecycle, &room) => return,
            };
            if heir == Heir::Successor {
                return;
            }
            if let Err(error) = listener.let_nobody_in() {
                return tracing::warn!(%error, "connections that wait can't be accepted");
            }
            let Listener::Unix(unix) = &listener else {
                // Handshakes that were on their way complete.
                return tokio::select! {
                    () = accept_loop(&listener, entrance, &serve, &lifecycle, &room) => {}
                    () = lifecycle.close_idle() => {}
                };
            };
            while let Some((socket, connection)) = Listener::accept_left(unix, entrance) {
                lifecycle.spawn(serve(socket, connection));
            }
        });
    }

    /// Stops accepting; each open connection is served once more.
    pub(crate) fn drain(&self, limit: Duration, heir: Heir) {
        self.lifecycle.drain(limit, heir);
    }

    /// After [`Acceptor::drain`]: resolves when no connection will be accepted any more.
    pub(crate) async fn stopped_accepting(&self) {
        self.lifecycle.stopped_accepting().await;
    }

    /// After [`Acceptor::drain`]: waits until no request is in flight, closes what is idle, and at the limit cuts what is left.
    pub(crate) async fn drained(&self) {
        self.lifecycle.drained().await;
    }
}

/// Connections beyond the limit wait in the kernel's queue.
async fn accept_loop<F>(
    listener: &Listener,
    entrance: Entrance,
    serve: &(impl Fn(Socket, ConnectionInfo) -> F + Send + Sync),
    lifecycle: &Lifecycle,
    room: &Arc<Semaphore>,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let mut pause = MIN_PAUSE;
    // The semaphore is never closed.
    while let Ok(permit) = Arc::clone(room).acquire_owned().await {
        match listener.accept(entrance).await {
            Ok((socket, connection)) => {
                pause = MIN_PAUSE;
                let served = serve(socket, connection);
                lifecycle.spawn(keeping(permit, served));
            }
            Err(error) if is_exhaustion(&error) => {
                tracing::warn!(%error, pause_ms = pause.as_millis(), "no connection can be accepted");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(MAX_PAUSE);
            }
            // The client left before it was accepted.
            Err(error) => tracing::debug!(%error, "a connection was lost before it was accepted"),
        }
    }
}

/// Serves a connection, which counts as open meanwhile.
async fn keeping(permit: OwnedSemaphorePermit, served: impl Future<Output = ()>) {
    served.await;
    drop(permit);
}

/// Lets nobody in any more and accepts who waits, while the proxy goes on without this listener.
async fn accept_left<F>(
    listener: &Listener,
    entrance: Entrance,
    serve: &(impl Fn(Socket, ConnectionInfo) -> F + Send + Sync),
    lifecycle: &Lifecycle,
    room: &Arc<Semaphore>,
) where
    F: Future<Output = ()> + Send + 'static,
{
    if let Err(error) = listener.let_nobody_in() {
        return tracing::warn!(%error, "connections that wait can't be accepted");
    }
    if let Listener::Unix(unix) = listener {
        while let Some((socket, connection)) = Listener::accept_left(unix, entrance) {
            lifecycle.spawn(serve(socket, connection));
        }
        return;
    }
    while let Ok(permit) = Arc::clone(room).acquire_owned().await {
        match timeout(LAST_HANDSHAKES, listener.accept(entrance)).await {
            Err(_) => return,
            Ok(Ok((socket, connection))) => {
                let served = serve(socket, connection);
                lifecycle.spawn(keeping(permit, served));
            }
            Ok(Err(error)) if is_exhaustion(&error) => tokio::time::sleep(MIN_PAUSE).await,
            Ok(Err(_)) => {}
        }
    }
}

/// Errors that stay until something is given back: trying again at once would only burn time.
fn is_exhaustion(error: &io::Error) -> bool {
    [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}
