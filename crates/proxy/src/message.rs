//! Requests and answers as data, between the connection loops (`http1`, `http2`) and the pipeline (`service`).
//!
//! Must not know sockets, routes or applications.

use std::borrow::Cow;
use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::Stream;

use crate::upstream::{Tunnel, Upload};

/// The client's side of a connection.
#[derive(Debug, Clone)]
pub(crate) struct ConnectionInfo {
    /// The other end; `None` on a Unix socket.
    pub(crate) peer: Option<SocketAddr>,
    /// Our end; `None` on a Unix socket.
    pub(crate) local: Option<SocketAddr>,
    /// Whether it is encrypted.
    pub(crate) scheme: Scheme,
    /// Which routes apply.
    pub(crate) entrance: Entrance,
    /// How keys were agreed on, where they were.
    pub(crate) handshake: Option<Arc<Handshake>>,
}

impl ConnectionInfo {
    /// One without TLS to nobody that is known by an address.
    pub(crate) const fn at(entrance: Entrance) -> Self {
        Self { peer: None, local: None, scheme: Scheme::Http, entrance, handshake: None }
    }

    /// How long the handshake took, for the first request that asks.
    pub(crate) fn take_handshake(&self) -> Option<Duration> {
        self.handshake.as_ref()?.take()
    }

    /// The client's address. Over a Unix socket it is somebody on this machine.
    pub(crate) fn client(&self) -> IpAddr {
        self.peer.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |peer| peer.ip()).to_canonical()
    }
}

/// How long a handshake took, until somebody has told it.
#[derive(Debug)]
pub(crate) struct Handshake(AtomicU64);

impl Handshake {
    /// It took so long; in microseconds, and never nothing.
    pub(crate) fn new(lasted: Duration) -> Self {
        Self(AtomicU64::new(u64::try_from(lasted.as_micros()).unwrap_or(u64::MAX).max(1)))
    }

    fn take(&self) -> Option<Duration> {
        let us = self.0.swap(0, Ordering::Relaxed);
        (us > 0).then(|| Duration::from_micros(us))
    }
}

/// The scheme of the URLs that are asked for over a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    Http,
    Https,
}

impl Scheme {
    /// As it stands in URLs.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// The port that goes without saying.
    pub(crate) const fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// Through which door a connection came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entrance {
    /// A public listener.
    Public,
    /// The same while there is no room: whoever comes is told to come later.
    Overflow,
    /// The supervisor's private listener: release candidates stand before live sites.
    Probe,
}

/// The version of HTTP that a request came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    Http10,
    Http11,
    Http2,
}

impl Version {
    /// As CGI and logs name it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
            Self::Http2 => "HTTP/2.0",
        }
    }
}

/// A request's head, already checked: RFC 9112 or RFC 9113 framing is consistent, exactly one valid Host (RFC 9112 §3.2) or none with
/// HTTP/1.0, no forbidden bytes, no `Transfer-Encoding` beside `Content-Length`.
#[derive(Debug, Clone)]
pub(crate) struct RequestHead {
    pub(crate) method: http::Method,
    /// The request target as the client sent it.
    pub(crate) target: Bytes,
    /// Its path, still percent-encoded: starts with `/`, or is `*`.
    pub(crate) path: Bytes,
    /// What follows the first `?`, without it.
    pub(crate) query: Option<Bytes>,
    pub(crate) version: Version,
    /// Names in lower case; values without surrounding blanks; those of one name in the client's order.
    pub(crate) headers: Vec<(Bytes, Bytes)>,
    /// Host in lower case without its port, IPv6 literals in brackets; of the target where that is absolute.
    pub(crate) host: Option<String>,
    /// The port that Host names.
    pub(crate) port: Option<u16>,
    /// The size of the body; `None`: its end is told when it comes.
    pub(crate) content_length: Option<u64>,
    /// When the first byte of the head had arrived.
    pub(crate) received_at: Instant,
}

impl RequestHead {
    /// Path and query, as whoever answers shall see them.
    pub(crate) fn path_and_query(&self) -> Cow<'_, [u8]> {
        match &self.query {
            None => Cow::Borrowed(&self.path),
            Some(query) => Cow::Owned([&self.path[..], b"?", query].concat()),
        }
    }

    /// The host that was asked for, as it was written, with its port.
    pub(crate) fn authority(&self) -> Option<String> {
        match (&self.host, self.port) {
            (Some(host), Some(port)) => Some(format!("{host}:{port}")),
            (Some(host), None) => Some(host.clone()),
            // A packet's host is the web server's in front; it is passed on as a header.
            (None, _) => std::str::from_utf8(self.header("host")?).ok().map(str::to_owned),
        }
    }

    /// The first value of a header, by its name in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers.iter().find(|(key, _)| key == name.as_bytes()).map(|(_, value)| value.as_ref())
    }

    /// All values of a header, by its name in lower case.
    pub(crate) fn header_values<'a>(
        &'a self,
        name: &'a (impl AsRef<[u8]> + ?Sized),
    ) -> impl Iterator<Item = &'a [u8]> {
        self.headers
            .iter()
            .filter(move |(key, _)| key == name.as_ref())
            .map(|(_, value)| value.as_ref())
    }

    /// The value of a cookie, the first of its name.
    pub(crate) fn cookie(&self, name: &str) -> Option<&[u8]> {
        let pairs =
            self.header_values("cookie").flat_map(|value| value.split(|byte| *byte == b';'));
        pairs.map(<[u8]>::trim_ascii).find_map(|pair| {
            pair.strip_prefix(name.as_bytes()).and_then(|rest| rest.strip_prefix(b"="))
        })
    }
}

/// Why a request's body could not be read to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    /// The client closed or reset the connection.
    #[error("the client left in the middle of its request's body")]
    ClientGone,
    /// The client sent nothing for `body-timeout`: 408.
    #[error("the client sent its request's body too slowly")]
    TimedOut,
    /// Chunked framing is wrong: 400.
    #[error("the request's body is not valid chunked encoding")]
    Malformed,
    /// More than `max-body` bytes: 413.
    #[error("the request's body is larger than max-body ({limit} bytes)")]
    TooLarge {
        /// The limit, in bytes.
        limit: u64,
    },
}

/// Something that is said before the answer (RFC 9110 §15.2).
#[derive(Debug)]
pub(crate) struct Interim<'a> {
    /// Below 200, and not 101.
    pub(crate) status: u16,
    pub(crate) reason: Option<&'a [u8]>,
    pub(crate) headers: &'a [(Bytes, Bytes)],
}

/// What an answer's body is made of.
pub(crate) enum ResponseBody {
    /// Nothing; `Content-Length: 0` unless the status or the method forbids it.
    Empty,
    /// Whole, in memory.
    Full(Bytes),
    /// A part of a file, sent from `offset`.
    File { file: Arc<File>, offset: u64, size: u64 },
    /// As it comes. Where `size` is unknown, HTTP/1.1 sends it in chunks and HTTP/1.0 until the connection closes.
    Stream { stream: BodyStream, size: Option<u64> },
}

impl ResponseBody {
    /// Its size in bytes, where that is known before it is sent.
    pub(crate) fn size(&self) -> Option<u64> {
        match self {
            Self::Empty => Some(0),
            Self::Full(bytes) => Some(bytes.len() as u64),
            Self::File { size, .. } => Some(*size),
            Self::Stream { size, .. } => *size,
        }
    }
}

/// Pieces of an answer; an error cuts the connection, so that a short body never looks complete.
pub(crate) type BodyStream = Pin<Box<dyn Stream<Item = Result<Bytes, BodyCut>> + Send>>;

/// An answer that was begun and can't be completed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the answer was cut: {reason}")]
pub(crate) struct BodyCut {
    /// For the log.
    pub(crate) reason: String,
}

/// Where the client's bytes go on to while it is answered, or after it was.
pub(crate) enum Onward {
    /// The rest of the request's body, to a server that answers early.
    Body(Box<Upload>),
    /// Everything, both ways: the connection was upgraded.
    Tunnel(Box<Tunnel>),
}

/// An answer. The connection loop adds framing (`Content-Length`, `Transfer-Encoding`), `Connection` and `Date`, and leaves
/// out the body where the request's method or the status forbids it (HEAD, 204, 304).
pub(crate) struct Response {
    pub(crate) status: u16,
    /// The application's own reason phrase; else the standard one.
    pub(crate) reason: Option<Vec<u8>>,
    /// Without framing and hop-by-hop headers; names as they shall be sent.
    pub(crate) headers: Vec<(Bytes, Bytes)>,
    /// `Content-Length` that a HEAD or 304 answer declares though its body is empty.
    pub(crate) declared_length: Option<u64>,
    pub(crate) body: ResponseBody,
    /// What the client goes on to send while it is answered.
    pub(crate) onward: Option<Onward>,
    /// Close the connection after this answer.
    pub(crate) close: bool,
}

impl Response {
    /// One that says nothing special about its framing or its connection.
    pub(crate) fn new(status: u16, headers: Vec<(Bytes, Bytes)>, body: ResponseBody) -> Self {
        Self {
            status,
            reason: None,
            headers,
            declared_length: None,
            body,
            onward: None,
            close: false,
        }
    }
}

/// The first value of an answer's field, in whichever case its name is.
pub(crate) fn field<'a>(
    headers: &'a [(Bytes, Bytes)],
    name: &'a (impl AsRef<[u8]> + ?Sized),
) -> Option<&'a [u8]> {
    fields(headers, name).next()
}

/// All values of an answer's field, in whichever case its name is.
pub(crate) fn fields<'a>(
    headers: &'a [(Bytes, Bytes)],
    name: &'a (impl AsRef<[u8]> + ?Sized),
) -> impl Iterator<Item = &'a [u8]> {
    let named = headers.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name.as_ref()));
    named.map(|(_, value)| &value[..])
}

#[cfg(test)]
mod tests {
    use crate::testing;

    #[test]
    fn a_cookie_is_found_by_its_whole_name() {
        let head = testing::get("/", &[("cookie", "xsid=1; sid=2"), ("cookie", "sid=3")]);
        assert_eq!(head.cookie("sid"), Some(&b"2"[..]));
        assert_eq!(head.cookie("si"), None);
    }
}
