//! uwsgi towards a web server in front: the door of one site, for an nginx with `uwsgi_pass`.
//!
//! Owns the reading of a packet (`packet`), what of its variables an application may see (`vars`), the request they describe
//! (`request`) and the one exchange of a connection (`conn`). Must not know routes or applications: a request goes through the
//! pipeline's own steps (`service`), so that limits, static files, failures, access log and metrics are those of HTTP.
//!
//! Whoever reaches the door is believed about who the client is; that is why addresses have an allow list and Unix sockets an
//! owner and a mode. An answer is HTTP as it is, and its end is the end of the connection.
//!
//! Source: the uwsgi protocol, <https://uwsgi-docs.readthedocs.io/en/latest/Protocol.html>.

mod conn;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod packet;
mod request;
mod vars;

use std::io;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::sync::Arc;

use ipnet::IpNet;
use tokio::sync::oneshot;

use crate::lifecycle::Heir;
use crate::listener::Listener;
use crate::message::ConnectionInfo;
use crate::service::Service;

pub(crate) use conn::serve;
pub(crate) use packet::PacketRefusal;
pub(crate) use request::{PacketRequest, Seen};

/// A listening socket for uwsgi.
#[derive(Debug)]
pub enum UwsgiListener {
    /// A Unix socket: its owner and mode say who may connect.
    Unix(UnixListener),
    /// An address, and who beside this machine may connect.
    Tcp {
        /// The socket.
        listener: TcpListener,
        /// Networks of other machines.
        allow: Vec<IpNet>,
    },
}

/// Dropped, nothing more is accepted there, and what waits is left to whoever accepts on the same socket.
#[derive(Debug)]
pub struct UwsgiListening {
    closes: oneshot::Sender<Heir>,
}

impl UwsgiListening {
    /// With what tells of its end.
    pub(crate) fn new() -> (Self, oneshot::Receiver<Heir>) {
        let (closes, closed) = oneshot::channel();
        (Self { closes }, closed)
    }

    /// Nobody will accept on that socket again: no new connection is let in, and those that were are accepted and answered.
    pub fn give_up(self) {
        // The proxy may have drained before.
        self.closes.send(Heir::Nobody).ok();
    }
}

/// Whose door it is, and for whom.
pub(crate) struct Door {
    site: String,
    /// `None`: a Unix socket, for everybody who may open it.
    allow: Option<Vec<IpNet>>,
    service: Arc<Service>,
}

impl Door {
    /// The door of `site`, and the socket to accept on. Needs a runtime.
    ///
    /// # Errors
    /// Where the socket can't be used.
    pub(crate) fn new(
        listener: UwsgiListener,
        site: &str,
        service: Arc<Service>,
    ) -> io::Result<(Listener, Self)> {
        let (listener, allow) = match listener {
            UwsgiListener::Unix(listener) => (Listener::from_unix(listener)?, None),
            UwsgiListener::Tcp { listener, allow } => (Listener::from_tcp(listener)?, Some(allow)),
        };
        Ok((listener, Self { site: site.to_owned(), allow, service }))
    }

    /// Whether a connection may speak here. This machine always may.
    fn lets_in(&self, connection: &ConnectionInfo) -> bool {
        match (&self.allow, connection.peer) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(allow), Some(peer)) => {
                let address = peer.ip().to_canonical();
                address.is_loopback() || allow.iter().any(|network| network.contains(&address))
            }
        }
    }
}
