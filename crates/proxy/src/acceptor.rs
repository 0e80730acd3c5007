//! Accepts connections, as many as there is room for, and gives each its task.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use onebox_metrics::Dropped;
use rustix::io::Errno;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::clients;
use crate::http1::{self, Handler, Socket};
use crate::http2;
use crate::lifecycle::{Heir, Lifecycle};
use crate::listener::Listener;
use crate::message::{ConnectionInfo, Entrance, Handshake, Scheme};
use crate::room::{OneOf, PATIENCE, Place, Room};
use crate::tls::Tls;
use crate::uwsgi_server::{self, Door};

/// How long accepting pauses when descriptors or memory have run out; doubled up to [`MAX_PAUSE`].
const MIN_PAUSE: Duration = Duration::from_millis(10);
const MAX_PAUSE: Duration = Duration::from_secs(1);
/// How long none must have come at an address that is given up, for a handshake that was on its way.
const LAST_HANDSHAKES: Duration = Duration::from_secs(1);
/// What a client has that is told to come later.
const TURNING_AWAY: Duration = Duration::from_secs(5);

/// What all listeners of one proxy share.
pub(crate) struct Acceptor<H> {
    handler: Arc<H>,
    lifecycle: Arc<Lifecycle>,
    room: Arc<Room>,
}

impl<H: Handler> Acceptor<H> {
    /// Accepts for `handler`, as many as its limits say.
    pub(crate) fn new(handler: Arc<H>, lifecycle: Arc<Lifecycle>) -> Self {
        let room = Room::new(handler.limits());
        Self { handler, lifecycle, room }
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
                let begun = Instant::now();
                let encrypted = tokio::select! {
                    encrypted = Box::pin(encrypt(socket, &tls, handler.limits().header_timeout)) => encrypted,
                    () = lifecycle.close_idle() => return,
                    () = lifecycle.in_the_way() => {
                        return handler.sent_away(Dropped::InTheWay, &connection);
                    }
                };
                let socket = match encrypted {
                    Ok(Some(socket)) => socket,
                    Ok(None) => return,
                    Err(error) => {
                        tracing::debug!(%error, "no handshake");
                        return handler.sent_away(Dropped::Handshake, &connection);
                    }
                };
                let handshake = Some(Arc::new(Handshake::new(begun.elapsed())));
                let connection =
                    ConnectionInfo { scheme: Scheme::Https, handshake, ..connection };
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

impl<H: Handler> Acceptor<H> {
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
        let (handler, lifecycle) = (Arc::clone(&self.handler), Arc::clone(&self.lifecycle));
        let door = Doorman { listener, entrance, serve, handler, room: Arc::clone(&self.room) };
        self.lifecycle.spawn_accept_loop(async move {
            let mut waiting = None;
            let heir = tokio::select! {
                biased;
                heir = closed => {
                    door.let_in(waiting.take(), &lifecycle);
                    if heir == Heir::Nobody {
                        let own = Arc::clone(&lifecycle);
                        lifecycle.spawn(async move { door.accept_left(&own).await });
                    }
                    return;
                }
                heir = lifecycle.stop_accepting() => heir,
                () = door.accept(&mut waiting, &lifecycle) => return,
            };
            door.let_in(waiting.take(), &lifecycle);
            if heir == Heir::Successor {
                return;
            }
            if let Err(error) = door.listener.let_nobody_in() {
                return tracing::warn!(%error, "connections that wait can't be accepted");
            }
            if let Listener::Unix(_) = &door.listener {
                return door.accept_queue(&lifecycle);
            }
            // Handshakes that were on their way complete.
            tokio::select! {
                () = door.accept(&mut waiting, &lifecycle) => {}
                () = lifecycle.close_idle() => {}
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

/// Who lets clients in at one listener.
struct Doorman<H, S> {
    listener: Listener,
    entrance: Entrance,
    serve: S,
    handler: Arc<H>,
    room: Arc<Room>,
}

/// A connection that was accepted, and is to get a place.
type Accepted = (Socket, ConnectionInfo);

impl<H: Handler, F, S> Doorman<H, S>
where
    F: Future<Output = ()> + Send + 'static,
    S: Fn(Socket, ConnectionInfo) -> F,
{
    /// Accepts for ever. One connection at a time is `waiting` for a place; the others do in the kernel's queue.
    async fn accept(&self, waiting: &mut Option<Accepted>, lifecycle: &Lifecycle) {
        let (mut pause, mut patience) = (MIN_PAUSE, PATIENCE);
        loop {
            match self.listener.accept(self.entrance).await {
                Ok((socket, connection)) => {
                    pause = MIN_PAUSE;
                    let Some(one_of) = self.one_of(&connection) else { continue };
                    let (_, connection) = waiting.insert((socket, connection));
                    // The supervisor has to get through to see whether all is well.
                    if connection.entrance == Entrance::Probe {
                        self.let_in(waiting.take(), lifecycle);
                        continue;
                    }
                    let let_go = || self.handler.let_go();
                    let place = self.room.place(lifecycle, patience, let_go).await;
                    let Some(accepted) = waiting.take() else { continue };
                    patience = match &place {
                        Place::Served(_) => PATIENCE,
                        Place::TurnedAway(..) => Duration::ZERO,
                    };
                    self.take_in(accepted, (place, one_of), lifecycle);
                }
                Err(error) if is_exhaustion(&error) => {
                    tracing::warn!(%error, pause_ms = pause.as_millis(), "no connection can be accepted");
                    lifecycle.make_way(tokio::time::sleep(pause)).await;
                    pause = (pause * 2).min(MAX_PAUSE);
                }
                // The client left before it was accepted.
                Err(error) => {
                    tracing::debug!(%error, "a connection was lost before it was accepted");
                }
            }
        }
    }

    /// Lets nobody in any more and serves who waits, while the proxy goes on without this listener.
    async fn accept_left(&self, lifecycle: &Lifecycle) {
        if let Err(error) = self.listener.let_nobody_in() {
            return tracing::warn!(%error, "connections that wait can't be accepted");
        }
        if let Listener::Unix(_) = &self.listener {
            return self.accept_queue(lifecycle);
        }
        loop {
            match timeout(LAST_HANDSHAKES, self.listener.accept(self.entrance)).await {
                Err(_) => return,
                Ok(Ok(accepted)) => self.let_in(Some(accepted), lifecycle),
                Ok(Err(error)) if is_exhaustion(&error) => tokio::time::sleep(MIN_PAUSE).await,
                Ok(Err(_)) => {}
            }
        }
    }

    /// Serves who waits at a Unix socket that was shut down.
    fn accept_queue(&self, lifecycle: &Lifecycle) {
        let Listener::Unix(unix) = &self.listener else { return };
        while let Some(accepted) = Listener::accept_left(unix, self.entrance) {
            self.let_in(Some(accepted), lifecycle);
        }
    }

    /// One more connection of its client; `None`: it has enough. Trusted proxies have many clients.
    fn one_of(&self, connection: &ConnectionInfo) -> Option<Option<OneOf>> {
        let Some(peer) = connection.peer else { return Some(None) };
        if clients::is_trusted(self.handler.clients(), peer.ip()) {
            return Some(None);
        }
        let one_of = self.room.one_of(peer.ip());
        if one_of.is_none() {
            self.handler.sent_away(Dropped::Crowd, connection);
        }
        one_of.map(Some)
    }

    /// Serves a connection in its place.
    fn take_in(
        &self,
        (socket, mut connection): Accepted,
        (place, one_of): (Place, Option<OneOf>),
        lifecycle: &Lifecycle,
    ) {
        match place {
            Place::Served(place) => {
                lifecycle.spawn(keeping((place, one_of), (self.serve)(socket, connection)));
            }
            Place::TurnedAway(place, why) => {
                self.handler.sent_away(why, &connection);
                connection.entrance = Entrance::Overflow;
                let told = timeout(TURNING_AWAY, (self.serve)(socket, connection));
                lifecycle.spawn(keeping((place, one_of), async { drop(told.await) }));
            }
        }
    }

    /// Serves a connection whether there is a place for it or not.
    fn let_in(&self, accepted: Option<Accepted>, lifecycle: &Lifecycle) {
        if let Some((socket, connection)) = accepted {
            lifecycle.spawn((self.serve)(socket, connection));
        }
    }
}

/// Serves a connection, which has its place meanwhile.
async fn keeping<T>(place: T, served: impl Future<Output = ()>) {
    served.await;
    drop(place);
}

/// Errors that stay until something is given back: trying again at once would only burn time.
fn is_exhaustion(error: &io::Error) -> bool {
    [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}
