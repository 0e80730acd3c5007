//! The control socket: the kernel says who connects, and that is the credential.
//!
//! Source: unix(7), `SO_PEERCRED`.

use std::{fmt, io};

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use rustix::process::{Uid, geteuid};
use tokio::net::unix::SocketAddr;
use tokio::net::{UnixListener, UnixStream};

/// A Unix listener that hangs up on everybody but the owner of this process and root.
#[derive(Debug)]
pub(crate) struct ControlListener {
    inner: UnixListener,
}

impl ControlListener {
    /// Takes over a listener. Needs a runtime.
    ///
    /// # Errors
    /// Where the runtime can't watch it.
    pub(crate) fn new(listener: std::os::unix::net::UnixListener) -> io::Result<Self> {
        Ok(Self { inner: UnixListener::from_std(listener)? })
    }
}

impl Listener for ControlListener {
    type Io = UnixStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, address) = Listener::accept(&mut self.inner).await;
            match stream.peer_cred() {
                Ok(peer) if is_allowed(peer.uid(), geteuid()) => return (stream, address),
                Ok(peer) => tracing::warn!(uid = peer.uid(), "refused on the control socket"),
                Err(error) => tracing::warn!(%error, "refused on the control socket"),
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.inner.local_addr()
    }
}

/// Who is at the other end of a connection, for the audit log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PeerUid(Option<u32>);

impl Connected<IncomingStream<'_, ControlListener>> for PeerUid {
    fn connect_info(stream: IncomingStream<'_, ControlListener>) -> Self {
        Self(stream.io().peer_cred().ok().map(|peer| peer.uid()))
    }
}

impl fmt::Display for PeerUid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(uid) => write!(formatter, "uid {uid}"),
            None => formatter.write_str("uid unknown"),
        }
    }
}

fn is_allowed(peer: u32, own: Uid) -> bool {
    peer == 0 || peer == own.as_raw()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_owner_and_root_are_let_in() {
        let own = Uid::from_raw(1000);
        assert!(is_allowed(1000, own) && is_allowed(0, own));
        assert!(!is_allowed(1001, own));
    }
}
