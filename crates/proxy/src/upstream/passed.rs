//! A request as it is passed on to a server: its head in the server's language.
//!
//! Source: RFC 9110 §7.6 (forwarding), RFC 7239 (`Forwarded`).

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

use bytes::{BufMut, Bytes, BytesMut};
use http::Method;
use onebox_config::site::{Protocol, Server, ServerAddress, Upstream};
use onebox_uwsgi::{PacketHeader, Vars};

use super::{fastcgi, script};
use crate::clients;
use crate::error::ProxyError;
use crate::message::{ConnectionInfo, RequestHead, Version};
use crate::request_id::RequestId;
use crate::vars;

/// What is known of a request when it is passed on.
pub(crate) struct Passed<'a> {
    pub(crate) head: &'a RequestHead,
    /// The path, decoded.
    pub(crate) path: &'a [u8],
    pub(crate) connection: &'a ConnectionInfo,
    pub(crate) request_id: RequestId,
    /// The largest vars block, in bytes.
    pub(crate) buffer_size: usize,
    pub(crate) upgrades: Upgrades,
    pub(crate) dashboard: Dashboard,
}

/// Whether the box's dashboard is behind the server, whose cookie it gets then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dashboard {
    Here,
    Elsewhere,
}

/// Whether a connection may become something else than HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Upgrades {
    Allowed,
    Refused,
}

/// How the body of a request stands on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyFraming {
    /// As it is: its size was told.
    Plain,
    Chunked,
    /// In FastCGI's records.
    Records,
}

/// What is the same for every request to a server.
pub(super) struct Manner<'a> {
    pub(super) server: &'a Server,
    pub(super) settings: &'a Upstream,
    /// Whether the connection shall stay open.
    pub(super) keep_alive: bool,
}

impl Passed<'_> {
    /// Whether it may be sent a second time (RFC 9110 §9.2.2).
    pub(super) fn is_idempotent(&self) -> bool {
        const METHODS: [Method; 6] = [
            Method::GET,
            Method::HEAD,
            Method::OPTIONS,
            Method::TRACE,
            Method::PUT,
            Method::DELETE,
        ];
        METHODS.contains(&self.head.method)
    }

    /// What the client wants its connection to become, where that is allowed. Other versions of HTTP and TLS are not: in them
    /// a client could send requests that nobody here has seen.
    pub(super) fn wanted_upgrade(&self) -> Option<&[u8]> {
        let head = self.head;
        let asks = vars::is_named_by_connection(b"upgrade", head)
            && self.upgrades == Upgrades::Allowed
            && head.version == Version::Http11
            && head.content_length == Some(0);
        let wanted = head.header("upgrade").filter(|_| asks)?;
        let is_other_http =
            wanted.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).any(|name| {
                let name = name.to_ascii_lowercase();
                name.starts_with(b"h2") || name.starts_with(b"http") || name.starts_with(b"tls")
            });
        (!wanted.is_empty() && !is_other_http).then_some(wanted)
    }

    /// The head for a server; `body_bytes` is the size of the body, where that is known.
    ///
    /// # Errors
    /// [`ProxyError`] where it can't be said in the server's language.
    pub(super) async fn encode(
        &self,
        manner: &Manner<'_>,
        body_bytes: Option<u64>,
    ) -> Result<(BytesMut, BodyFraming), ProxyError> {
        match manner.server.protocol {
            Protocol::Http | Protocol::Https => Ok(self.http(manner, body_bytes)),
            Protocol::Uwsgi => {
                let vars = self.vars(body_bytes.unwrap_or(0))?;
                let block = vars.as_bytes();
                // `vars` holds no more than a packet can say.
                let size = u16::try_from(block.len()).unwrap_or(u16::MAX);
                let mut out = BytesMut::from(&PacketHeader::request(size).encode()[..]);
                out.put_slice(block);
                Ok((out, BodyFraming::Plain))
            }
            Protocol::FastCgi => {
                let target = script::find(manner.settings, self.path).await?;
                let vars = self.vars(body_bytes.unwrap_or(0))?;
                let params =
                    script::params(&vars, &target, &manner.settings.script, self.buffer_size)?;
                Ok((fastcgi::begin(&params), BodyFraming::Records))
            }
        }
    }

    fn vars(&self, body_bytes: u64) -> Result<Vars, ProxyError> {
        let (head, path, connection) = (self.head, self.path, self.connection);
        let (script_name, request_id) = (&b""[..], self.request_id);
        let parts = vars::Parts { head, script_name, path, body_bytes, connection, request_id };
        Ok(vars::build(&parts, self.buffer_size)?)
    }

    fn http(&self, manner: &Manner<'_>, body_bytes: Option<u64>) -> (BytesMut, BodyFraming) {
        let head = self.head;
        let mut out = BytesMut::with_capacity(1024);
        for part in [head.method.as_str().as_bytes(), b" ", &head.path_and_query()] {
            out.put_slice(part);
        }
        out.put_slice(b" HTTP/1.1\r\n");
        field(&mut out, b"Host", &self.host(manner));
        for (name, value) in &head.headers {
            if !vars::goes_on(name, head) || is_written_here(name) {
                continue;
            }
            let value = Cow::Borrowed(&value[..]);
            let value = match (&name[..], self.dashboard) {
                (b"cookie", Dashboard::Elsewhere) => vars::without_session(value),
                _ => Some(value),
            };
            if let Some(value) = value {
                field(&mut out, name, &value);
            }
        }
        self.forwarded(&mut out);
        let framing = match body_bytes {
            Some(0) if head.header("content-length").is_none() && head.content_length.is_some() => {
                BodyFraming::Plain
            }
            Some(size) => {
                field(&mut out, b"Content-Length", itoa::Buffer::new().format(size).as_bytes());
                BodyFraming::Plain
            }
            None => {
                field(&mut out, b"Transfer-Encoding", b"chunked");
                BodyFraming::Chunked
            }
        };
        match self.wanted_upgrade() {
            Some(protocol) => {
                field(&mut out, b"Connection", b"upgrade");
                field(&mut out, b"Upgrade", protocol);
            }
            None if !manner.keep_alive => field(&mut out, b"Connection", b"close"),
            None => {}
        }
        out.put_slice(b"\r\n");
        (out, framing)
    }

    fn host(&self, manner: &Manner<'_>) -> Bytes {
        match (&manner.server.address, self.client_host()) {
            (_, Some(host)) if manner.settings.pass_host => host,
            (ServerAddress::Unix(_), _) => Bytes::from_static(b"localhost"),
            (ServerAddress::Tcp(host, port), _) => {
                let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
                let is_default = matches!(
                    (manner.server.protocol, port),
                    (Protocol::Http, 80) | (Protocol::Https, 443)
                );
                if is_default { host.into() } else { format!("{host}:{port}").into() }
            }
        }
    }

    /// The host the client asked for, as it wrote it. The parser has put that of an absolute target in its place.
    fn client_host(&self) -> Option<Bytes> {
        let host = self.head.headers.iter().find(|(name, _)| name == "host");
        host.map(|(_, value)| value.clone()).filter(|host| !host.is_empty())
    }

    /// Who asks for what, in both languages. Written, never appended: what a client says about itself is worth nothing.
    fn forwarded(&self, out: &mut BytesMut) {
        let proto = self.connection.scheme.as_str();
        let client = self.connection.peer.map(|peer| peer.ip().to_canonical());
        let host = self.client_host();
        let mut forwarded = match client {
            Some(IpAddr::V6(address)) => format!("for=\"[{address}]\""),
            Some(IpAddr::V4(address)) => format!("for={address}"),
            // RFC 7239 §6.3: over a Unix socket there is no address.
            None => "for=unknown".to_owned(),
        };
        // A quoted string holds any host but one with a quote in it, which is none.
        let shown = host.as_ref().and_then(|host| std::str::from_utf8(host).ok());
        if let Some(host) = shown.filter(|host| !host.contains(['"', '\\'])) {
            forwarded.push_str(&format!(";host=\"{host}\""));
        }
        forwarded.push_str(&format!(";proto={proto}"));
        field(out, b"Forwarded", forwarded.as_bytes());
        if let Some(client) = client {
            field(out, b"X-Forwarded-For", client.to_string().as_bytes());
        }
        if let Some(host) = host {
            field(out, b"X-Forwarded-Host", &host);
        }
        field(out, b"X-Forwarded-Proto", proto.as_bytes());
        let port = self.head.port.or(self.connection.local.map(|local: SocketAddr| local.port()));
        if let Some(port) = port {
            field(out, b"X-Forwarded-Port", itoa::Buffer::new().format(port).as_bytes());
        }
        field(out, b"X-Request-Id", self.request_id.as_bytes());
    }
}

/// What clients may not say about themselves, and what is written anew.
fn is_written_here(name: &[u8]) -> bool {
    matches!(name, b"host" | b"content-length" | b"x-request-id") || clients::is_of_proxies(name)
}

fn field(out: &mut BytesMut, name: &[u8], value: &[u8]) {
    for part in [name, b": ", value, b"\r\n"] {
        out.put_slice(part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn http(head: &RequestHead, body_bytes: Option<u64>, server: &str, pass_host: bool) -> String {
        let connection = testing::connection();
        let passed = testing::passed(head, &connection);
        let settings = Upstream { pass_host, ..Upstream::default() };
        let server = testing::server(server);
        let manner = Manner { server: &server, settings: &settings, keep_alive: true };
        let (out, _) = passed.http(&manner, body_bytes);
        let text = String::from_utf8(out.to_vec()).unwrap();
        text.lines()
            .filter(|line| !line.starts_with("X-Request-Id"))
            .map(|line| format!("{line}\n"))
            .collect()
    }

    #[test]
    fn a_request_is_passed_on_with_who_asked() {
        let headers = [
            ("host", "a.example:8080"),
            ("accept", "*/*"),
            ("x-forwarded-for", "6.6.6.6"),
            ("x-forwarded-proto", "https"),
            ("forwarded", "for=6.6.6.6"),
            ("x-real-ip", "6.6.6.6"),
            ("x_forwarded_for", "6.6.6.6"),
            ("connection", "keep-alive, x-hop"),
            ("x-hop", "1"),
            ("te", "trailers"),
            ("expect", "100-continue"),
            ("proxy", "http://evil"),
        ];
        let text = http(&testing::get("/a%20b?c=d", &headers), Some(0), "http://b:1", true);
        assert_eq!(
            text,
            "GET /a%20b?c=d HTTP/1.1\nHost: a.example:8080\naccept: */*\n\
             Forwarded: for=192.0.2.7;host=\"a.example:8080\";proto=http\n\
             X-Forwarded-For: 192.0.2.7\nX-Forwarded-Host: a.example:8080\n\
             X-Forwarded-Proto: http\nX-Forwarded-Port: 8080\n\n"
        );
    }

    #[test]
    fn only_the_dashboard_gets_its_cookie() {
        let head = testing::get("/", &[("host", "a"), ("cookie", "a=1; onebox_session=abc")]);
        let connection = testing::connection();
        let settings = Upstream::default();
        let server = testing::server("http://b");
        let manner = Manner { server: &server, settings: &settings, keep_alive: true };
        for (dashboard, expected) in [
            (Dashboard::Here, "cookie: a=1; onebox_session=abc\r\n"),
            (Dashboard::Elsewhere, "cookie: a=1\r\n"),
        ] {
            let passed = Passed { dashboard, ..testing::passed(&head, &connection) };
            let (out, _) = passed.http(&manner, Some(0));
            assert!(String::from_utf8_lossy(&out).contains(expected), "{dashboard:?}");
        }
    }

    #[test]
    fn the_host_is_the_servers_own_where_the_clients_is_not_passed() {
        let head = testing::get("/", &[("host", "a.example")]);
        let host = |server: &str| {
            let text = http(&head, Some(0), server, false);
            text.lines().nth(1).unwrap().to_owned()
        };
        assert_eq!(host("http://b.example"), "Host: b.example");
        assert_eq!(host("http://b.example:81"), "Host: b.example:81");
        assert_eq!(host("https://[::1]:8443"), "Host: [::1]:8443");
        assert_eq!(host("http://unix:/run/a.sock"), "Host: localhost");
    }

    #[test]
    fn a_body_of_unknown_size_is_chunked() {
        let head = testing::request(Method::POST, "/", &[("host", "a")]);
        assert!(http(&head, None, "http://b", true).contains("\nTransfer-Encoding: chunked\n"));
        assert!(http(&head, Some(7), "http://b", true).contains("\nContent-Length: 7\n"));
        assert!(!http(&head, Some(0), "http://b", true).contains("Content-Length"));
    }

    #[test]
    fn upgrades_pass_except_to_another_http() {
        let wanted = |upgrade: &str, connection: &str| {
            let headers = [("host", "a"), ("connection", connection), ("upgrade", upgrade)];
            http(&testing::get("/", &headers), Some(0), "http://b", true).contains("\nUpgrade: ")
        };
        assert!(wanted("websocket", "keep-alive, Upgrade"));
        assert!(wanted("my-protocol/1", "upgrade"));
        for refused in ["h2c", "websocket, h2c", "HTTP/2.0", "TLS/1.0", ""] {
            assert!(!wanted(refused, "upgrade"), "{refused}");
        }
        assert!(!wanted("websocket", "close"));
    }
}
