use std::io::IoSlice;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::BytesMut;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, HandshakeKind, RootCertStore, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;

use super::*;
use crate::http1::Socket;

const PATIENCE: Duration = Duration::from_secs(10);

/// A certificate for a name that vouches for itself.
struct Fixture {
    certificate: TlsCertificate,
    der: CertificateDer<'static>,
}

fn certificate(name: &str) -> Fixture {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    let (chain, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let certificate = TlsCertificate::from_pem(chain.as_bytes(), key.as_bytes()).unwrap();
    Fixture { certificate, der: made.cert.der().clone() }
}

fn table(names: &[(&str, &Fixture)]) -> TlsTable {
    let mut table = TlsTable::default();
    for (name, fixture) in names {
        table.add(name, &fixture.certificate, false);
    }
    table
}

fn client(trusted: &[&Fixture]) -> ClientConfig {
    client_of(rustls::ALL_VERSIONS, trusted)
}

fn client_of(versions: &[&'static SupportedProtocolVersion], trusted: &[&Fixture]) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    for fixture in trusted {
        roots.add(fixture.der.clone()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

type ClientStream = tokio_rustls::client::TlsStream<TcpStream>;

async fn connect(
    address: SocketAddr,
    config: &Arc<ClientConfig>,
    name: &str,
) -> io::Result<ClientStream> {
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from(name.to_owned()).unwrap();
    TlsConnector::from(Arc::clone(config)).connect(name, stream).await
}

/// Accepts one connection after the other; each says "hi" and ends.
async fn greeter(tls: &Arc<Tls>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let tls = Arc::clone(tls);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(Some(stream)) = tls.accept(stream, PATIENCE).await else { continue };
            let mut parts = [IoSlice::new(b"hi")];
            stream.write_all(&mut parts, PATIENCE, &mut 0).await.unwrap();
            stream.say_goodbye();
        }
    });
    address
}

/// How the handshake went, after everything was read.
async fn visit(
    address: SocketAddr,
    config: &Arc<ClientConfig>,
    name: &str,
) -> io::Result<HandshakeKind> {
    let mut stream = connect(address, config, name).await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    assert_eq!(text, "hi");
    Ok(stream.get_ref().1.handshake_kind().unwrap())
}

#[tokio::test]
async fn the_name_decides_which_certificate_answers_and_changes_are_live() {
    let (a, b) = (certificate("a.example"), certificate("*.b.example"));
    let tls = Arc::new(Tls::new(&Limits::default()).unwrap());
    let address = greeter(&tls).await;
    let config = Arc::new(client(&[&a, &b]));
    visit(address, &config, "a.example").await.unwrap_err();
    tls.set_table(table(&[("a.example", &a), ("*.b.example", &b)]));
    visit(address, &config, "A.example").await.unwrap();
    visit(address, &config, "x.b.example").await.unwrap();
    visit(address, &config, "x.y.b.example").await.unwrap_err();
    visit(address, &config, "c.example").await.unwrap_err();
    tls.set_table(table(&[("*.b.example", &b)]));
    visit(address, &config, "a.example").await.unwrap_err();
}

#[tokio::test]
async fn clients_without_a_name_and_with_a_strange_one_get_what_was_set_for_them() {
    let (fallback, unknown) = (certificate("127.0.0.1"), certificate("c.example"));
    let tls = Arc::new(Tls::new(&Limits::default()).unwrap());
    let address = greeter(&tls).await;
    let mut table = TlsTable::default();
    table.set_fallback(fallback.certificate.clone());
    table.set_unknown(unknown.certificate.clone());
    tls.set_table(table);
    let config = Arc::new(client(&[&fallback, &unknown]));
    visit(address, &config, "127.0.0.1").await.unwrap();
    visit(address, &config, "c.example").await.unwrap();
}

#[tokio::test]
async fn a_session_goes_on_at_another_engine_that_has_the_keys() {
    let a = certificate("a.example");
    let keys = [TicketKey::random()];
    let fresh = || {
        let tls = Arc::new(Tls::new(&Limits::default()).unwrap());
        tls.set_table(table(&[("a.example", &a)]));
        tls
    };
    let (old, new, stranger) = (fresh(), fresh(), fresh());
    old.set_ticket_keys(&keys);
    new.set_ticket_keys(&[TicketKey::random(), keys[0].clone()]);
    stranger.set_ticket_keys(&[TicketKey::random()]);
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let config = Arc::new(client_of(&[version], &[&a]));
        let (first, next) = (greeter(&old).await, greeter(&new).await);
        let kind = visit(first, &config, "a.example").await.unwrap();
        assert_ne!(kind, HandshakeKind::Resumed, "{version:?}");
        let kind = visit(next, &config, "a.example").await.unwrap();
        assert_eq!(kind, HandshakeKind::Resumed, "{version:?}");
        let elsewhere = greeter(&stranger).await;
        let kind = visit(elsewhere, &config, "a.example").await.unwrap();
        assert_ne!(kind, HandshakeKind::Resumed, "{version:?}");
    }
}

#[tokio::test]
async fn acmes_question_is_answered_with_its_certificate_and_nothing_else() {
    let (a, challenge) = (certificate("a.example"), certificate("a.example"));
    let tls = Arc::new(Tls::new(&Limits::default()).unwrap());
    let mut table = table(&[("a.example", &a)]);
    table.add_challenge("a.example", challenge.certificate.clone());
    tls.set_table(table);
    let address = greeter(&tls).await;
    let mut config = client(&[&challenge]);
    config.alpn_protocols = vec![ACME_TLS.to_vec()];
    let config = Arc::new(config);
    let mut stream = connect(address, &config, "a.example").await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(ACME_TLS));
    let mut text = Vec::new();
    // The connection ends without a word, which TLS calls an unexpected end.
    stream.read_to_end(&mut text).await.unwrap_err();
    assert!(text.is_empty());
    connect(address, &config, "b.example").await.unwrap_err();
}

#[tokio::test]
async fn a_client_that_never_speaks_is_left_and_one_that_speaks_http_too() {
    let tls = Tls::new(&Limits::default()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let _silent = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    let error = tls.accept(stream, Duration::from_millis(20)).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    let mut plain = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    tls.accept(stream, PATIENCE).await.unwrap_err();
}

/// A connected pair: the client's stream, and ours.
async fn pair() -> (ClientStream, Socket) {
    let a = certificate("a.example");
    let tls = Tls::new(&Limits::default()).unwrap();
    tls.set_table(table(&[("a.example", &a)]));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let config = Arc::new(client(&[&a]));
    let accept = async {
        let (stream, _) = listener.accept().await.unwrap();
        tls.accept(stream, PATIENCE).await.unwrap().unwrap()
    };
    let (client, ours) = tokio::join!(connect(address, &config, "a.example"), accept);
    (client.unwrap(), Socket::Tls(Box::new(ours)))
}

#[tokio::test]
async fn more_than_fits_anywhere_goes_both_ways() {
    let (client, mut ours) = pair().await;
    let (mut from_us, mut to_us) = tokio::io::split(client);
    let sent: Vec<u8> = (0..3_000_000_u32).map(|number| (number % 251) as u8).collect();
    let file = tempfile::tempfile().unwrap();
    io::Write::write_all(&mut &file, &sent).unwrap();
    let echoed = sent.clone();
    let theirs = async {
        let writing = async {
            to_us.write_all(&sent).await.unwrap();
            to_us.shutdown().await.unwrap();
        };
        let reading = async {
            let mut all = Vec::new();
            from_us.read_to_end(&mut all).await.unwrap();
            all
        };
        tokio::join!(writing, reading).1
    };
    let (mut written, mut seen) = (0, BytesMut::new());
    let serving = async {
        let (mut reader, writer) = ours.split();
        let reading = async {
            loop {
                seen.reserve(5000);
                if reader.read(&mut seen).await.unwrap() == 0 {
                    break;
                }
            }
        };
        let writing = async {
            writer.write_with_more(b"head ", PATIENCE, &mut written).await.unwrap();
            let size = echoed.len() as u64;
            writer.send_file(&file, 0, size, PATIENCE, &mut written).await.unwrap();
            let mut parts = [&b"a"[..], b"", b"b"].map(IoSlice::new);
            writer.write_all(&mut parts, PATIENCE, &mut written).await.unwrap();
        };
        tokio::join!(reading, writing);
        ours.shut_down_writing().unwrap();
    };
    let (received, ()) = tokio::join!(theirs, serving);
    assert_eq!(seen, echoed);
    assert_eq!(received, [b"head ", &echoed[..], b"ab"].concat());
    assert_eq!(written, received.len() as u64);
}

#[tokio::test]
async fn what_is_decrypted_already_is_found_without_waiting_for_the_network() {
    let (mut client, mut ours) = pair().await;
    client.write_all(b"GET / HTTP/1.1").await.unwrap();
    for expected in [&b"GET /"[..], b" HTTP", b"/1.1"] {
        ours.readable().await.unwrap();
        let mut buf = BytesMut::with_capacity(5);
        let size = ours.split().0.read_now(&mut buf).await.unwrap().unwrap();
        assert_eq!((&buf[..], size), (expected, expected.len()));
    }
    assert!(ours.split().0.read_now(&mut BytesMut::with_capacity(5)).await.is_none());
}

#[tokio::test]
async fn a_connection_that_ends_without_goodbye_is_an_error_and_a_client_that_takes_nothing_is_too()
{
    let (client, mut ours) = pair().await;
    let writing = async {
        let (_, writer) = ours.split();
        let mut all = 0;
        loop {
            let mut parts = [IoSlice::new(&[0; 60_000])];
            let written = writer.write_all(&mut parts, Duration::from_millis(50), &mut all).await;
            if let Err(error) = written {
                return error.kind();
            }
        }
    };
    assert_eq!(writing.await, io::ErrorKind::TimedOut);
    drop(client);
    let (mut reader, _) = ours.split();
    reader.read(&mut BytesMut::with_capacity(10)).await.unwrap_err();
}

#[test]
fn what_is_no_pair_is_told() {
    let made = |name: &str| rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    let (a, b) = (made("a.example"), made("b.example"));
    let told = |chain: &str, key: &str| {
        TlsCertificate::from_pem(chain.as_bytes(), key.as_bytes()).unwrap_err().to_string()
    };
    let mismatch = told(&a.cert.pem(), &b.signing_key.serialize_pem());
    assert!(mismatch.contains("does not belong"), "{mismatch}");
    assert!(told("", &a.signing_key.serialize_pem()).contains("no certificate"));
    assert!(told(&a.cert.pem(), "").starts_with("the key"));
    assert!(told(&a.cert.pem(), &a.cert.pem()).starts_with("the key"));
    let broken = a.cert.pem().replace("-----END", "----END");
    assert!(told(&broken, &a.signing_key.serialize_pem()).starts_with("the certificate"));
}
