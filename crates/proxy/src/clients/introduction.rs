//! What a proxy says once, before the first byte of a connection: the PROXY protocol, versions 1 and 2.
//!
//! Source: HAProxy's proxy-protocol.txt. The header is looked at where it lies in the kernel and taken out whole, so that not one
//! byte behind it is touched: TLS and HTTP find their beginning.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use onebox_config::site::ProxyProtocol;
use ppp::{HeaderResult, PartialResult, v1, v2};
use rustix::net::{RecvFlags, recv};
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// The largest header that is taken, extensions included, in bytes.
const LARGEST_BYTES: usize = 4096;

/// The longest header of version 1, in bytes.
const LONGEST_LINE: usize = 107;

/// The two ends of the connection that the proxy has.
pub(crate) struct Ends {
    pub(crate) client: SocketAddr,
    pub(crate) local: SocketAddr,
}

/// Takes the header from the beginning of a connection; `None`: the proxy speaks for itself (`LOCAL`, `UNKNOWN`).
///
/// # Errors
/// Where there is no header, or it is not whole within `patience`.
pub(crate) async fn introduced(stream: &TcpStream, patience: Duration) -> io::Result<Option<Ends>> {
    let mut buffer = vec![0; LARGEST_BYTES];
    let peek = stream.async_io(Interest::READABLE, || {
        let (_, size) = recv(stream, buffer.as_mut_slice(), RecvFlags::PEEK)?;
        let bytes = buffer.get(..size).unwrap_or_default();
        match read(bytes) {
            Ok(header) => Ok(header),
            // Nothing came since the last look: the runtime tells when there is more.
            Err(Unread::Incomplete) if size < LARGEST_BYTES && size > 0 => {
                Err(io::ErrorKind::WouldBlock.into())
            }
            Err(_) => Err(io::Error::new(io::ErrorKind::InvalidData, "no PROXY header")),
        }
    });
    let (size, ends) = timeout(patience, peek).await??;
    let header = buffer.get_mut(..size).unwrap_or_default();
    // All of it is there.
    let (_, taken) = recv(stream, header, RecvFlags::empty())?;
    if taken == size { Ok(ends) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

enum Unread {
    Incomplete,
    Wrong,
}

/// The size of the header, and what it says.
fn read(bytes: &[u8]) -> Result<(usize, Option<Ends>), Unread> {
    const TEXT: &[u8] = b"PROXY ";
    // The parser of version 1 wants a whole line and nothing behind it.
    let is_text = bytes.starts_with(TEXT) || TEXT.starts_with(bytes);
    let line = memchr::memchr(b'\n', bytes).map(|end| end + 1);
    let bytes = match line {
        Some(end) if is_text => bytes.get(..end).unwrap_or_default(),
        None if is_text && bytes.len() < LONGEST_LINE => return Err(Unread::Incomplete),
        _ => bytes,
    };
    let result = HeaderResult::parse(bytes);
    let is_incomplete = result.is_incomplete();
    match result {
        HeaderResult::V2(Ok(header)) => {
            let ends = match (header.command, header.addresses) {
                (v2::Command::Local, _) => None,
                (v2::Command::Proxy, v2::Addresses::IPv4(ip)) => Some(Ends {
                    client: (ip.source_address, ip.source_port).into(),
                    local: (ip.destination_address, ip.destination_port).into(),
                }),
                (v2::Command::Proxy, v2::Addresses::IPv6(ip)) => Some(Ends {
                    client: (ip.source_address, ip.source_port).into(),
                    local: (ip.destination_address, ip.destination_port).into(),
                }),
                (v2::Command::Proxy, _) => None,
            };
            Ok((header.header.len(), ends))
        }
        HeaderResult::V1(Ok(header)) => {
            let ends = match header.addresses {
                v1::Addresses::Tcp4(ip) => Some(Ends {
                    client: (ip.source_address, ip.source_port).into(),
                    local: (ip.destination_address, ip.destination_port).into(),
                }),
                v1::Addresses::Tcp6(ip) => Some(Ends {
                    client: (ip.source_address, ip.source_port).into(),
                    local: (ip.destination_address, ip.destination_port).into(),
                }),
                v1::Addresses::Unknown => None,
            };
            Ok((header.header.len(), ends))
        }
        _ if is_incomplete => Err(Unread::Incomplete),
        _ => Err(Unread::Wrong),
    }
}

/// The header that tells a server who the client is; where that is not known, that the proxy speaks for itself.
pub(crate) fn introduce(
    version: ProxyProtocol,
    client: Option<SocketAddr>,
    local: Option<SocketAddr>,
) -> Vec<u8> {
    let canonical =
        |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
    let ends = client.zip(local).map(|(client, local)| (canonical(client), canonical(local)));
    match (version, ends) {
        (ProxyProtocol::V1, Some((SocketAddr::V4(client), SocketAddr::V4(local)))) => {
            let (from, to) = (client.ip(), local.ip());
            format!("PROXY TCP4 {from} {to} {} {}\r\n", client.port(), local.port()).into_bytes()
        }
        (ProxyProtocol::V1, Some((SocketAddr::V6(client), SocketAddr::V6(local)))) => {
            let (from, to) = (client.ip(), local.ip());
            format!("PROXY TCP6 {from} {to} {} {}\r\n", client.port(), local.port()).into_bytes()
        }
        (ProxyProtocol::V1, _) => b"PROXY UNKNOWN\r\n".to_vec(),
        (ProxyProtocol::V2, Some(ends)) if ends.0.is_ipv4() == ends.1.is_ipv4() => {
            let command = v2::Version::Two | v2::Command::Proxy;
            let built = v2::Builder::with_addresses(command, v2::Protocol::Stream, ends).build();
            // Addresses always fit.
            built.unwrap_or_default()
        }
        (ProxyProtocol::V2, _) => {
            let command = v2::Version::Two | v2::Command::Local;
            let unknown = v2::Addresses::Unspecified;
            let built = v2::Builder::with_addresses(command, v2::Protocol::Unspecified, unknown);
            built.build().unwrap_or_default()
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// What a header says, sent in two pieces that are parted at `at`, and what stands behind it.
    async fn sent(header: &[u8], at: usize) -> io::Result<Option<(SocketAddr, SocketAddr)>> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        client.set_nodelay(true).unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        let (first, second) = header.split_at(at);
        let (first, second) = (first.to_vec(), [second, b"behind"].concat());
        let sending = async {
            client.write_all(&first).await.unwrap();
            tokio::task::yield_now().await;
            client.write_all(&second).await.unwrap();
            client.shutdown().await.unwrap();
        };
        let (ends, ()) = tokio::join!(introduced(&server, Duration::from_secs(10)), sending);
        let ends = ends?;
        let mut rest = String::new();
        server.read_to_string(&mut rest).await.unwrap();
        assert_eq!(rest, "behind");
        Ok(ends.map(|ends| (ends.client, ends.local)))
    }

    #[tokio::test]
    async fn what_is_written_is_read_in_whatever_pieces_it_comes() {
        let pairs = [
            Some(("192.0.2.1:4711", "198.51.100.1:443")),
            Some(("[2001:db8::1]:4711", "[2001:db8::2]:443")),
            Some(("[::ffff:192.0.2.1]:4711", "198.51.100.1:443")),
            Some(("192.0.2.1:4711", "[2001:db8::2]:443")),
            None,
        ];
        for (version, pair) in [ProxyProtocol::V1, ProxyProtocol::V2]
            .into_iter()
            .flat_map(|version| pairs.map(|pair| (version, pair)))
        {
            let parse = |text: &str| text.parse::<SocketAddr>().unwrap();
            let ends = pair.map(|(client, local)| (parse(client), parse(local)));
            let (client, local) = ends.unzip();
            let header = introduce(version, client, local);
            let canonical =
                |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
            let expected = ends
                .map(|(client, local)| (canonical(client), canonical(local)))
                .filter(|(client, local)| client.is_ipv4() == local.is_ipv4());
            for at in 0..header.len() {
                assert_eq!(sent(&header, at).await.unwrap(), expected, "{version:?} {pair:?} {at}");
            }
        }
    }

    #[tokio::test]
    async fn what_is_no_header_is_refused() {
        for text in [
            &b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..],
            b"PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n",
            b"PROXY TCP4 1.2.3.4 5.6.7.8 1 99999\r\n",
            b"PROXY TCP5 1.2.3.4 5.6.7.8 1 2\r\n",
            b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n",
            b"PROXY",
            b"\r\n\r\n\0\r\nQUIT\nxxxxxxxx",
            &[b'x'; 5000],
        ] {
            assert!(sent(text, 0).await.is_err(), "{}", text.escape_ascii());
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..80)) {
            let _ = read(&bytes);
            let _ = read(&[b"PROXY TCP4 ", &bytes[..]].concat());
            let _ = read(&[b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0", &bytes[..]].concat());
        }
    }
}
