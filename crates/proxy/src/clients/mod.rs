//! Who the client is where other proxies stand in front: the address, scheme, host and port that it would have here without them.
//!
//! Only proxies that the box trusts are believed. `forwarded` reads what they say in each request, `introduction` what they say
//! once, at the beginning of a connection (the PROXY protocol).

mod forwarded;
mod introduction;

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use onebox_config::{ClientHeader, Clients};

use crate::http1::parse_host;
use crate::message::{ConnectionInfo, Entrance, RequestHead, Scheme};

pub(crate) use introduction::{introduce, introduced};

/// A request and its connection as proxies in front had them.
pub(crate) struct Understood {
    pub(crate) head: RequestHead,
    pub(crate) connection: ConnectionInfo,
}

/// What a proxy says about a request; every part may be missing.
#[derive(Debug, Default, PartialEq, Eq)]
struct Said {
    client: Option<SocketAddr>,
    scheme: Option<Scheme>,
    /// As in the field Host.
    host: Option<String>,
    port: Option<u16>,
}

/// Whether an address is that of a proxy which is believed.
pub(crate) fn is_trusted(clients: &Clients, address: IpAddr) -> bool {
    let address = address.to_canonical();
    clients.trusted_proxies.iter().any(|net| net.contains(&address))
}

/// What one client has, as a number.
pub(crate) fn network(address: IpAddr) -> u128 {
    match onebox_config::client_network(address).network() {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// The request as the proxies in front had it; `None`: as it came. What anybody else says about itself is worth nothing and taken
/// out: applications that were behind a proxy believe it (Werkzeug's `ProxyFix`, Django's `SECURE_PROXY_SSL_HEADER`).
pub(crate) fn understood(
    clients: &Clients,
    head: &RequestHead,
    connection: &ConnectionInfo,
) -> Option<Box<Understood>> {
    let peer = connection.peer.filter(|_| connection.entrance == Entrance::Public)?;
    let trusted = |address: IpAddr| is_trusted(clients, address);
    let is_proxy = trusted(peer.ip());
    let is_forged =
        |name: &[u8]| is_of_proxies(name) && !(is_proxy && is_read(clients.header, name));
    let said = match (is_proxy, clients.header) {
        (false, _) => Said::default(),
        (true, ClientHeader::XForwarded) => forwarded::x_forwarded(head, trusted),
        (true, ClientHeader::Forwarded) => forwarded::forwarded(head, trusted),
    };
    let needs_change =
        said != Said::default() || head.headers.iter().any(|(name, _)| is_forged(name));
    needs_change.then(|| {
        let (mut head, connection) = (head.clone(), connection.clone());
        head.headers.retain(|(name, _)| !is_forged(name));
        let mut understood = Understood { head, connection };
        understood.believe(said);
        Box::new(understood)
    })
}

/// Whether a header says who a proxy's client is, or what it asked for.
pub(crate) fn is_of_proxies(name: &[u8]) -> bool {
    name.starts_with(b"x-forwarded-") || matches!(name, b"forwarded" | b"x-real-ip")
}

/// Whether it is of the language that is read. A proxy that writes the one lets its clients' other one pass.
fn is_read(language: ClientHeader, name: &[u8]) -> bool {
    (name == b"forwarded") == (language == ClientHeader::Forwarded)
}

impl Understood {
    fn believe(&mut self, said: Said) {
        let Self { head, connection } = self;
        let host = said.host.as_deref().and_then(|host| parse_host(host.as_bytes()).ok());
        if let Some((host, port)) = host {
            let text = port.map_or_else(|| host.clone(), |port| format!("{host}:{port}"));
            head.headers.retain(|(name, _)| name != "host");
            head.headers.insert(0, (Bytes::from_static(b"host"), text.into()));
            (head.host, head.port) = (Some(host), port);
        }
        connection.peer = said.client.or(connection.peer);
        connection.scheme = said.scheme.unwrap_or(connection.scheme);
        // The proxy's port is what the client reached; without a word of it the one that its scheme has.
        let port = said.port.or(said.scheme.map(Scheme::default_port));
        if let (Some(local), Some(port)) = (&mut connection.local, port) {
            local.set_port(port);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn clients(header: ClientHeader) -> Clients {
        let trusted_proxies = ["192.0.2.0/24", "10.0.0.0/8"].map(|net| net.parse().unwrap());
        Clients { trusted_proxies: trusted_proxies.to_vec(), header, proxy_protocol: false }
    }

    /// Client, scheme, host with port, and the port that was reached.
    fn seen(header: ClientHeader, fields: &[(&str, &str)]) -> (String, &'static str, String, u16) {
        let connection = testing::connection();
        let head = testing::get("/", fields);
        let clients = clients(header);
        let Understood { head, connection } = *understood(&clients, &head, &connection)
            .unwrap_or_else(|| Box::new(Understood { head, connection }));
        let port = crate::vars::effective_port(&head, &connection);
        let peer = connection.peer.unwrap().to_string();
        (peer, connection.scheme.as_str(), head.authority().unwrap(), port)
    }

    fn is(
        peer: &str,
        scheme: &'static str,
        host: &str,
        port: u16,
    ) -> (String, &'static str, String, u16) {
        (peer.to_owned(), scheme, host.to_owned(), port)
    }

    #[test]
    fn a_trusted_proxy_says_who_asks_for_what() {
        let fields = [
            ("host", "inside:8000"),
            ("x-forwarded-for", "6.6.6.6, 198.51.100.7, 10.1.2.3"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "Shop.example"),
            ("forwarded", "for=9.9.9.9;proto=http;host=forged"),
        ];
        assert_eq!(
            seen(ClientHeader::XForwarded, &fields),
            is("198.51.100.7:0", "https", "shop.example", 443)
        );
        let fields = [
            ("host", "inside"),
            (
                "forwarded",
                "for=6.6.6.6;host=evil, for=\"[2001:db8::7]:4711\";proto=https;host=\"shop.example:8443\", for=10.1.2.3",
            ),
            ("x-forwarded-for", "9.9.9.9"),
        ];
        assert_eq!(
            seen(ClientHeader::Forwarded, &fields),
            is("[2001:db8::7]:4711", "https", "shop.example:8443", 8443)
        );
    }

    #[test]
    fn nobody_else_is_believed_and_nonsense_neither() {
        let host = ("host", "a.example");
        let forged = [host, ("x-forwarded-for", "6.6.6.6"), ("x-forwarded-proto", "https")];
        let head = testing::get("/", &forged);
        let clients = clients(ClientHeader::XForwarded);
        for peer in ["203.0.113.1:1", "[2001:db8::1]:1"] {
            let connection = ConnectionInfo { peer: peer.parse().ok(), ..testing::connection() };
            let seen = understood(&clients, &head, &connection).unwrap();
            assert_eq!(
                (seen.connection.peer, seen.connection.scheme),
                (connection.peer, Scheme::Http)
            );
            assert_eq!(seen.head.headers.len(), 1, "{:?}", seen.head.headers);
        }
        assert!(
            understood(&clients, &testing::get("/", &[host]), &testing::connection()).is_none()
        );
        let mapped =
            ConnectionInfo { peer: "[::ffff:10.0.0.1]:1".parse().ok(), ..testing::connection() };
        assert_eq!(understood(&clients, &head, &mapped).unwrap().connection.scheme, Scheme::Https);
        let nonsense = [
            host,
            ("x-forwarded-for", "unknown"),
            ("x-forwarded-proto", "gopher"),
            ("x-forwarded-host", "a b"),
            ("x-forwarded-port", "99999"),
        ];
        assert_eq!(
            seen(ClientHeader::XForwarded, &nonsense),
            is("192.0.2.7:50000", "http", "a.example", 80)
        );
    }
}
