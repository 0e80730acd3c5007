//! The whole proxy over real sockets: an application behind the memory channel, workers behind Unix sockets, and files.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

mod common;

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use onebox_proxy::{Backend, Heir, RouteTable, Site, StaticMount, WorkerAddress, WorkerGroup};
use onebox_uwsgi::frame::{FrameHeader, FrameKind};
use onebox_uwsgi::{Connector, PacketHeader, Piece, ResponseHead, channel, key};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use common::Server;

/// Says what it was asked, in one piece: nothing may depend on when its parts come.
fn echo() -> Connector {
    let (connector, backlog) = channel(64);
    std::thread::spawn(move || {
        while let Some(mut job) = backlog.receive() {
            let mut body = String::new();
            job.request.body.into_reader().unwrap().read_to_string(&mut body).unwrap();
            let path = String::from_utf8_lossy(job.request.vars.get(key::PATH_INFO).unwrap());
            let head = Some(ResponseHead { status: 200, ..ResponseHead::default() });
            let data = Bytes::from(format!("{path} {body}"));
            // A client that left is no failure of the fixture.
            let _ = job.sink.push(Piece { head, data, last: true });
        }
    });
    connector
}

/// A site that has this application, for one host.
fn site(server: &Server, name: &str, backend: Backend) -> Site {
    let (domains, catch_all) = (vec![format!("{name}.example")], false);
    Site { domains, catch_all, backend, ..server.site(name, "") }
}

/// Everything that comes back for `requests` until the connection ends.
async fn talk(address: SocketAddr, requests: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(requests.as_bytes()).await.unwrap();
    let mut text = Vec::new();
    let reading = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut text));
    reading.await.unwrap().unwrap();
    String::from_utf8_lossy(&text).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_on_one_connection_reach_their_sites() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.css"), "body{}").unwrap();
    let server = Server::start();
    let mount = StaticMount { url: "/static".into(), folders: vec![folder.path().into()] };
    let blog = site(&server, "blog", Backend::Memory(echo()));
    let shop = site(&server, "shop", Backend::Stopped);
    server.proxy.set_routes(RouteTable::new(vec![Site { statics: vec![mount], ..blog }, shop]));
    let long = "x".repeat(5000);
    let requests = format!(
        "GET /a%20b HTTP/1.1\r\nHost: blog.example\r\n\r\n\
         POST /post HTTP/1.1\r\nHost: blog.example\r\nContent-Length: 5000\r\n\r\n{long}\
         POST /chunks HTTP/1.1\r\nHost: BLOG.example:81\r\nTransfer-Encoding: chunked\r\n\r\n\
         3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n\
         GET /static/a.css HTTP/1.1\r\nHost: blog.example\r\n\r\n\
         GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n\
         GET / HTTP/1.1\r\nHost: other.example\r\nConnection: close\r\n\r\n"
    );
    let text = talk(server.address, &requests).await;
    let parts = ["/a b ", &format!("/post {long}"), "/chunks abcde", "body{}", " 503 ", " 421 "];
    let mut rest = text.as_str();
    for part in parts {
        let at = rest.find(part).unwrap_or_else(|| panic!("{part:.40} is missing in {rest:.400}"));
        rest = &rest[at + part.len()..];
    }
    let counted = server.registry.snapshot();
    let blog = &counted.sites["blog"];
    assert_eq!((blog.app, blog.r#static, blog.in_flight), (3, 1, 0));
    assert_eq!(counted.sites["shop"].proxy, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_answers_over_its_socket() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("worker.sock");
    let listener = tokio::net::UnixListener::bind(&socket).unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut header = [0; PacketHeader::LEN];
        while stream.read_exact(&mut header).await.is_ok() {
            let size = usize::from(PacketHeader::decode(header).datasize);
            stream.read_exact(&mut vec![0; size]).await.unwrap();
            let head = ResponseHead { status: 404, ..ResponseHead::default() }.encode().unwrap();
            for (kind, payload) in
                [(FrameKind::Head, &head[..]), (FrameKind::Data, b"none"), (FrameKind::End, b"")]
            {
                let size = u32::try_from(payload.len()).unwrap();
                stream.write_all(&FrameHeader { kind, size }.encode()).await.unwrap();
                stream.write_all(payload).await.unwrap();
            }
        }
    });
    let server = Server::start();
    let group = Arc::new(WorkerGroup::new(10, Arc::default()));
    group.set_workers(vec![WorkerAddress { name: "w".into(), socket, threads: 1 }], Duration::ZERO);
    let blog = site(&server, "blog", Backend::Workers(group));
    server.proxy.set_routes(RouteTable::new(vec![Site { catch_all: true, ..blog }]));
    let request = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let last = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let text = talk(server.address, &[request, request, last].concat()).await;
    assert_eq!(text.matches("HTTP/1.1 404 Not Found\r\n").count(), 3, "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_request_is_refused_with_a_page() {
    let server = Server::start();
    let text = talk(server.address, "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n").await;
    assert!(text.starts_with("HTTP/1.1 400 "), "{text}");
    assert!(text.contains("X-Request-Id: ") && text.contains("Connection: close"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_drains() {
    let server = Server::start();
    let blog = site(&server, "blog", Backend::Memory(echo()));
    server.proxy.set_routes(RouteTable::new(vec![Site { catch_all: true, ..blog }]));
    let text = talk(server.address, "GET / HTTP/1.0\r\n\r\n").await;
    assert!(text.contains(" 200 "), "{text}");
    server.proxy.drain(Duration::from_secs(5), Heir::Successor);
    let drained = server.proxy.drained();
    tokio::time::timeout(Duration::from_secs(20), drained).await.unwrap();
    assert!(TcpStream::connect(server.address).await.is_err());
}

/// Ends as an answer of HTTP/1.0 does that is whole, if it did not end by a reset.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_to_a_client_that_takes_nothing_is_cut_when_the_proxys_time_is_over() {
    const SIZE: usize = 256 << 20;
    let folder = tempfile::tempdir().unwrap();
    let file = std::fs::File::create(folder.path().join("large")).unwrap();
    file.set_len(SIZE as u64).unwrap();
    let server = Server::start();
    let mount = StaticMount { url: "/static".into(), folders: vec![folder.path().into()] };
    let (connector, backlog) = channel(64);
    std::thread::spawn(move || {
        while let Some(mut job) = backlog.receive() {
            let head = Some(ResponseHead { status: 200, ..ResponseHead::default() });
            let data = Bytes::from(vec![b'x'; SIZE]);
            // It ends when the connection does.
            let _ = job.sink.push(Piece { head, data, last: true });
        }
    });
    let blog = site(&server, "blog", Backend::Memory(connector));
    let blog = Site { statics: vec![mount], catch_all: true, ..blog };
    server.proxy.set_routes(RouteTable::new(vec![blog]));
    let mut slow = Vec::new();
    for path in ["/static/large", "/app"] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).await.unwrap();
        let mut begun = [0; 100];
        stream.read_exact(&mut begun).await.unwrap();
        assert!(begun.starts_with(b"HTTP/1.1 200"), "{path}");
        slow.push(stream);
    }
    server.proxy.drain(Duration::from_millis(100), Heir::Successor);
    server.proxy.drained().await;
    for mut stream in slow {
        let mut rest = Vec::new();
        let reading = tokio::time::timeout(Duration::from_secs(60), stream.read_to_end(&mut rest));
        let error = reading.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    }
}

/// What waits in a listener's queue when its process ends was let in: it is answered.
#[tokio::test]
async fn a_proxy_without_a_successor_answers_everybody_who_was_let_in() {
    let server = Server::start();
    let blog = site(&server, "blog", Backend::Memory(echo()));
    server.proxy.set_routes(RouteTable::new(vec![Site { catch_all: true, ..blog }]));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("probe.sock");
    server.proxy.serve_unix(std::os::unix::net::UnixListener::bind(&path).unwrap()).unwrap();
    // Nothing is accepted here: this thread does not wait in between.
    let ask = |mut stream: Box<dyn Socket>| {
        stream.write_all(b"GET /late HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        stream
    };
    let over_tcp = || std::net::TcpStream::connect(server.address).unwrap();
    let mut waiting: Vec<_> = (0..20).map(|_| ask(Box::new(over_tcp()))).collect();
    let over_unix = || std::os::unix::net::UnixStream::connect(&path).unwrap();
    waiting.extend((0..20).map(|_| ask(Box::new(over_unix()))));
    server.proxy.drain(Duration::from_secs(60), Heir::Nobody);
    let answers = tokio::task::spawn_blocking(move || {
        let read = |mut stream: Box<dyn Socket>| {
            let mut text = String::new();
            stream.read_to_string(&mut text).map(|_| text)
        };
        waiting.into_iter().map(read).collect::<Vec<_>>()
    });
    let (answers, ()) = tokio::join!(answers, server.proxy.drained());
    for answer in answers.unwrap() {
        assert!(answer.unwrap().contains("/late"));
    }
    let late = tokio::time::timeout(Duration::from_millis(300), TcpStream::connect(server.address));
    assert!(!matches!(late.await, Ok(Ok(_))));
}

trait Socket: Read + Write + Send {}
impl<T: Read + Write + Send> Socket for T {}
