//! Listening sockets: what is accepted on them, and how they let nobody in any more.

use std::io;

use rustix::net::SocketFlags;
use socket2::{SockFilter, SockRef};
use tokio::net::{TcpListener, UnixListener, UnixStream};

use crate::http1::Socket;
use crate::message::{ConnectionInfo, Entrance};

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
    pub(crate) fn let_nobody_in(&self) -> io::Result<()> {
        match self {
            Self::Tcp(listener) => let_nobody_in(listener),
            // A connect after this is refused.
            Self::Unix(listener) => {
                Ok(rustix::net::shutdown(listener, rustix::net::Shutdown::Both)?)
            }
        }
    }

    /// The next connection in the queue of a Unix socket that was shut down; the runtime would wait for it for ever.
    pub(crate) fn accept_left(
        listener: &UnixListener,
        entrance: Entrance,
    ) -> Option<(Socket, ConnectionInfo)> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let accepted = rustix::net::accept_with(listener, flags).ok()?;
        let stream = UnixStream::from_std(accepted.into()).ok()?;
        Some((Socket::Unix(stream), ConnectionInfo::at(entrance)))
    }

    /// The next connection.
    ///
    /// # Errors
    /// The kernel's.
    pub(crate) async fn accept(&self, entrance: Entrance) -> io::Result<(Socket, ConnectionInfo)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                // Answers go out whole; waiting for more to send would only delay them.
                stream.set_nodelay(true)?;
                let local = stream.local_addr().ok();
                let connection =
                    ConnectionInfo { peer: Some(peer), local, ..ConnectionInfo::at(entrance) };
                Ok((Socket::Tcp(stream), connection))
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok((Socket::Unix(stream), ConnectionInfo::at(entrance)))
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
