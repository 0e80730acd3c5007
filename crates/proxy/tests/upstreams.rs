//! Upstreams over real sockets: servers that answer well, badly, slowly, early or not at all.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

mod common;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use onebox_config::parse_site;
use onebox_proxy::{Heir, RouteTable, Site, StaticMount};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use common::Server;

/// How long anything may take that is not measured.
const DEADLINE: Duration = Duration::from_secs(30);

/// A proxy with one site, whose upstreams are those of an `onebox.toml`.
fn front(config: &str, statics: Vec<StaticMount>) -> Server {
    let server = Server::start();
    let site = Site { statics, ..server.site("site", config) };
    server.proxy.set_routes(RouteTable::new(vec![site]));
    server
}

fn to(servers: &[SocketAddr]) -> String {
    let servers: Vec<_> = servers.iter().map(|server| format!("\"http://{server}\"")).collect();
    format!("[[upstream]]\nto = [{}]\n", servers.join(", "))
}

/// A connection of a client, or of the proxy to a server.
struct Wire {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Wire {
    async fn open(address: SocketAddr) -> Self {
        Self::of(TcpStream::connect(address).await.unwrap())
    }

    fn of(stream: TcpStream) -> Self {
        Self { stream, read: Vec::new() }
    }

    async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    /// What came, up to and with `mark`; what came behind it is kept.
    async fn until(&mut self, mark: &str) -> String {
        loop {
            let text = String::from_utf8_lossy(&self.read).into_owned();
            if let Some(at) = text.find(mark) {
                self.read.drain(..at + mark.len());
                return text[..at + mark.len()].to_owned();
            }
            let reading = self.stream.read_buf(&mut self.read);
            let size = tokio::time::timeout(DEADLINE, reading).await.expect(&text).unwrap();
            assert!(size > 0, "{mark:?} does not come, but {text:?}");
        }
    }

    /// Everything to the end of the connection; whether that was an orderly one.
    async fn rest(&mut self) -> (String, bool) {
        let reading = self.stream.read_to_end(&mut self.read);
        let outcome = tokio::time::timeout(DEADLINE, reading).await.unwrap();
        (String::from_utf8_lossy(&self.read).into_owned(), outcome.is_ok())
    }
}

/// A server that has `serve` do what it likes with each connection; counts them.
async fn server<F>(
    serve: impl Fn(Wire, usize) -> F + Send + 'static,
) -> (SocketAddr, Arc<AtomicUsize>)
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&count);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let number = counter.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(serve(Wire::of(stream), number));
        }
    });
    (address, count)
}

/// A server that reads one head and answers with these bytes, then closes.
async fn saying(answer: &'static str) -> SocketAddr {
    let serve = move |mut wire: Wire, _| async move {
        wire.until("\r\n\r\n").await;
        wire.send(answer).await;
    };
    server(serve).await.0
}

/// A server that answers every request with its name, over connections that stay.
async fn named(name: &'static str) -> (SocketAddr, Arc<AtomicUsize>, Arc<AtomicUsize>) {
    let requests = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&requests);
    let (address, connections) = server(move |mut wire, _| {
        let counter = Arc::clone(&counter);
        async move {
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{name}", name.len());
            loop {
                let mut buf = [0; 4096];
                match wire.stream.read(&mut buf).await {
                    Ok(size) if size > 0 => wire.read.extend_from_slice(&buf[..size]),
                    _ => return,
                }
                while wire.read.windows(4).any(|end| end == b"\r\n\r\n") {
                    wire.until("\r\n\r\n").await;
                    counter.fetch_add(1, Ordering::SeqCst);
                    if wire.stream.write_all(answer.as_bytes()).await.is_err() {
                        return;
                    }
                }
            }
        }
    })
    .await;
    (address, connections, requests)
}

/// An address where nobody listens.
async fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

const GET: &str = "GET /a%20b?c=d HTTP/1.1\r\nHost: a.example\r\n\r\n";
const LAST: &str = "GET /a%20b?c=d HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n";

/// RFC 9110 §6.5.1 lets a proxy leave trailers out: fields that come behind a body were checked by nobody. Neither direction
/// has them, nor is one told that there will be any.
#[tokio::test(flavor = "multi_thread")]
async fn trailers_end_here_and_the_connections_go_on() {
    let (address, count) = server(|mut wire, _| async move {
        for _ in 0..2 {
            let head = wire.until("\r\n\r\n").await.to_lowercase();
            assert!(!head.contains("\r\nte:") && !head.contains("trailer"), "{head}");
            let body = wire.until("\r\n0\r\n\r\n").await;
            assert_eq!(body.matches('x').count(), 2000, "{body}");
            wire.send("HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n")
                .await;
            wire.send("5\r\nhello\r\n0\r\nX-Sum: 1\r\nContent-Length: 9\r\n\r\n").await;
        }
        wire.until("never").await;
    })
    .await;
    let front = front(&to(&[address]), Vec::new());
    let mut client = Wire::open(front.address).await;
    for _ in 0..2 {
        client.send("POST / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: TE\r\nTrailer: X-Sum\r\n").await;
        let body = "x".repeat(2000);
        client
            .send(format!(
                "Transfer-Encoding: chunked\r\n\r\n7D0\r\n{body}\r\n0\r\nX-Sum: 1\r\n\r\n"
            ))
            .await;
        let head = client.until("\r\n\r\n").await;
        assert!(
            !head.contains("railer") && head.contains("\r\nTransfer-Encoding: chunked\r\n"),
            "{head}"
        );
        assert_eq!(client.until("0\r\n\r\n").await, "5\r\nhello\r\n0\r\n\r\n");
        assert_eq!(client.read, b"");
    }
    assert_eq!(count.load(Ordering::SeqCst), 1, "one connection");
}

/// The status of an answer to a `GET`, and all of it.
async fn get(front: &Server) -> (String, String) {
    let mut client = Wire::open(front.address).await;
    client.send(LAST).await;
    let (text, _) = client.rest().await;
    (text.get(9..12).unwrap_or_default().to_owned(), text)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_passed_on_and_the_connection_kept() {
    let (address, count) = server(|mut wire, _| async move {
        for _ in 0..2 {
            let head = wire.until("\r\n\r\n").await;
            assert!(head.starts_with("GET /a%20b?c=d HTTP/1.1\r\nHost: a.example\r\n"), "{head}");
            assert!(head.contains("\r\nX-Forwarded-For: 127.0.0.1\r\n"), "{head}");
            wire.send(
                "HTTP/1.1 201 Made\r\nX-A: b\r\nKeep-Alive: x\r\nContent-Length: 5\r\n\r\nhello",
            )
            .await;
        }
        wire.until("never").await;
    })
    .await;
    let front = front(&to(&[address]), Vec::new());
    let mut client = Wire::open(front.address).await;
    for _ in 0..2 {
        client.send(GET).await;
        let text = client.until("hello").await;
        assert!(text.starts_with("HTTP/1.1 201 Made\r\nX-A: b\r\n"), "{text}");
        assert!(!text.contains("Keep-Alive"), "{text}");
    }
    assert_eq!(count.load(Ordering::SeqCst), 1);
    let counted = front.registry.site("site").snapshot();
    // The second answer is counted after its last byte.
    assert!(counted.app >= 1 && counted.proxy == 0, "{counted:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_answer_is_a_502() {
    for answer in [
        "",
        "HTTP/1.1 200 OK\r\nContent-Length: 5",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nhello",
        "HTTP/1.1 200 OK\nContent-Length: 5\n\nhello",
        "HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
        "HTTP/1.1 99 No\r\n\r\n",
        "SSH-2.0-OpenSSH_9.2\r\n\r\n",
        "hello",
    ] {
        let front = front(&to(&[saying(answer).await]), Vec::new());
        let (status, text) = get(&front).await;
        assert_eq!(status, "502", "{answer:?} became {text}");
        assert!(text.contains("X-Request-Id") && !text.contains("hello"), "{text}");
    }
    let endless =
        Box::leak(format!("HTTP/1.1 200 OK\r\nX: {}", "a".repeat(70_000)).into_boxed_str());
    let front = front(&to(&[saying(endless).await]), Vec::new());
    assert_eq!(get(&front).await.0, "502");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_breaks_off_never_looks_whole() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\n0\n\n",
    ] {
        let front = front(&to(&[saying(answer).await]), Vec::new());
        let mut client = Wire::open(front.address).await;
        client.send(LAST).await;
        let (text, orderly) = client.rest().await;
        // The last chunk is missing, or 45 of the 50 bytes, or the client saw a reset before the head.
        let is_short = match text.split_once("\r\n\r\n") {
            Some((head, body)) if head.contains("chunked") => !body.ends_with("0\r\n\r\n"),
            Some((head, body)) => head.contains("Content-Length: 50") && body.len() < 50,
            None => !orderly,
        };
        assert!(is_short, "{answer:?} became {text:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_behind_an_answer_reach_nobody() {
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
    let front = front(&to(&[saying(answer).await]), Vec::new());
    for _ in 0..3 {
        let (status, text) = get(&front).await;
        assert_eq!((status.as_str(), text.contains("evil")), ("200", false), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn interim_answers_are_passed_on_and_are_not_the_answer() {
    let answer = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
    let front = front(&to(&[saying(answer).await]), Vec::new());
    let (_, text) = get(&front).await;
    let early = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\n";
    assert!(text.starts_with(early) && text.ends_with("hello"), "{text}");
    let mut old = Wire::open(front.address).await;
    old.send("GET / HTTP/1.0\r\nHost: a\r\n\r\n").await;
    assert!(old.rest().await.0.starts_with("HTTP/1.1 200 OK\r\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_to_head_and_304_have_no_body() {
    let (address, count) = server(|mut wire, _| async move {
        let head = wire.until("\r\n\r\n").await;
        assert!(head.starts_with("HEAD "), "{head}");
        wire.send("HTTP/1.1 200 OK\r\nContent-Length: 12345\r\n\r\n").await;
        wire.until("\r\n\r\n").await;
        wire.send("HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n").await;
        wire.until("never").await;
    })
    .await;
    let front = front(&to(&[address]), Vec::new());
    let mut client = Wire::open(front.address).await;
    client.send(GET.replace("GET", "HEAD")).await;
    assert!(client.until("\r\n\r\n").await.contains("Content-Length: 12345\r\n"));
    client.send(GET).await;
    assert!(client.until("\r\n\r\n").await.starts_with("HTTP/1.1 304 "));
    assert_eq!(count.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn both_directions_stream_at_the_same_time() {
    let (address, _) = server(|mut wire, _| async move {
        let head = wire.until("\r\n\r\n").await;
        assert!(head.contains("\r\nTransfer-Encoding: chunked\r\n"), "{head}");
        wire.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
        for piece in ["one", "two", "three"] {
            wire.until(piece).await;
            wire.send(format!("{:x}\r\n{piece}\r\n", piece.len())).await;
        }
        wire.until("0\r\n\r\n").await;
        wire.send("0\r\n\r\n").await;
    })
    .await;
    let front = front(&to(&[address]), Vec::new());
    let mut client = Wire::open(front.address).await;
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    client.until("\r\n\r\n").await;
    for piece in ["one", "two", "three"] {
        client.send(format!("{:x}\r\n{piece}\r\n", piece.len())).await;
        client.until(&format!("{piece}\r\n")).await;
    }
    client.send("0\r\n\r\n").await;
    client.until("0\r\n\r\n").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_arrive_whole_small_and_large_told_and_chunked() {
    let (address, _) = server(|mut wire, _| async move {
        while let Ok(size @ 1..) = wire.stream.read_buf(&mut wire.read).await {
            let _ = size;
            let Some(end) = wire.read.windows(4).position(|end| end == b"\r\n\r\n") else {
                continue;
            };
            let text = String::from_utf8_lossy(&wire.read[..end]).to_ascii_lowercase();
            let told = text
                .split("content-length: ")
                .nth(1)
                .map(|rest| rest.split("\r\n").next().unwrap().parse::<usize>().unwrap());
            let body = &wire.read[end + 4..];
            let is_whole = match told {
                Some(size) => body.len() == size,
                None => body.ends_with(b"0\r\n\r\n"),
            };
            if is_whole {
                let count = body.iter().filter(|byte| **byte == b'x').count();
                let text = count.to_string();
                let head = format!(
                    "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}",
                    text.len()
                );
                wire.send(head).await;
                return;
            }
        }
    })
    .await;
    let front = front(&to(&[address]), Vec::new());
    for size in [0, 1, 1000, 1001, 3 << 20] {
        let body = "x".repeat(size);
        let mut client = Wire::open(front.address).await;
        client.send(format!("PUT / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {size}\r\n\r\n{body}")).await;
        assert!(client.rest().await.0.ends_with(&format!("\r\n\r\n{size}")));
        let mut client = Wire::open(front.address).await;
        let chunk = if size == 0 { String::new() } else { format!("{size:x}\r\n{body}\r\n") };
        client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}0\r\n\r\n")).await;
        assert!(client.rest().await.0.ends_with(&format!("\r\n\r\n{size}")));
    }
    let mut client = Wire::open(front.address).await;
    client.send(format!("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", 5 << 20)).await;
    assert!(client.until("\r\n\r\n").await.starts_with("HTTP/1.1 413 "));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_early_answer_ends_an_upload() {
    let (address, _) = server(|mut wire, _| async move {
        wire.until("\r\n\r\n").await;
        wire.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno").await;
        wire.until("never").await;
    })
    .await;
    let front = front(&to(&[address]), Vec::new());
    let mut client = Wire::open(front.address).await;
    client
        .send(format!("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\nabc", 1 << 20))
        .await;
    let text = client.until("\r\n\r\nno").await;
    assert!(text.starts_with("HTTP/1.1 403 ") && text.contains("Connection: close"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_silent_or_drips_is_a_504() {
    let (silent, _) = server(|mut wire, _| async move {
        wire.until("never").await;
    })
    .await;
    let (dripping, _) = server(|mut wire, _| async move {
        wire.until("\r\n\r\n").await;
        for byte in "HTTP/1.1 200 OK\r\nX-Slow: ".bytes().chain(std::iter::repeat(b'a')) {
            if wire.stream.write_all(&[byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    for address in [silent, dripping] {
        let front = front(&format!("{}read-timeout = '300ms'\n", to(&[address])), Vec::new());
        assert_eq!(get(&front).await.0, "504");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_gone_is_a_502_and_another_takes_over() {
    let gone = nobody().await;
    let alone = front(&to(&[gone]), Vec::new());
    assert_eq!(get(&alone).await.0, "502");
    let (address, _, requests) = named("here").await;
    let front = front(&to(&[gone, address]), Vec::new());
    for _ in 0..5 {
        let mut client = Wire::open(front.address).await;
        client
            .send("POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
            .await;
        assert!(client.rest().await.0.ends_with("here"));
    }
    assert_eq!(requests.load(Ordering::SeqCst), 5);
}

/// A server that reads a request, and closes.
async fn closing() -> (SocketAddr, Arc<AtomicUsize>) {
    server(|mut wire, _| async move {
        wire.until("\r\n\r\n").await;
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_idempotent_goes_to_a_second_server() {
    for (request, status, seen) in [
        ("GET / HTTP/1.1\r\n", "200", 1),
        ("DELETE / HTTP/1.1\r\n", "200", 1),
        ("PUT / HTTP/1.1\r\nContent-Length: 3\r\n", "200", 1),
        ("POST / HTTP/1.1\r\nContent-Length: 3\r\n", "502", 0),
        ("PATCH / HTTP/1.1\r\nContent-Length: 3\r\n", "502", 0),
        // What comes from the client as it is sent on is gone.
        ("PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n", "502", 0),
    ] {
        let (first, tried) = closing().await;
        let (second, _, requests) = named("here").await;
        let front = front(&to(&[first, second]), Vec::new());
        let mut client = Wire::open(front.address).await;
        let body = match request {
            _ if request.contains("Length") => "abc",
            _ if request.contains("chunked") => "3\r\nabc\r\n0\r\n\r\n",
            _ => "",
        };
        client.send(format!("{request}Host: a\r\nConnection: close\r\n\r\n{body}")).await;
        let (text, _) = client.rest().await;
        assert_eq!(text.get(9..12), Some(status), "{request}: {text}");
        assert_eq!(tried.load(Ordering::SeqCst), 1, "{request}");
        assert_eq!(requests.load(Ordering::SeqCst), seen, "{request}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_that_the_server_has_closed_costs_nothing() {
    let (address, count) = server(|mut wire, number| async move {
        wire.until("\r\n\r\n").await;
        wire.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
        if number == 0 {
            // It closes when the next request comes, as servers do whose patience ends at that moment.
            wire.until("\r\n\r\n").await;
        }
    })
    .await;
    let front = front(&format!("{}max-fails = 1\n", to(&[address])), Vec::new());
    let mut client = Wire::open(front.address).await;
    for _ in 0..3 {
        client.send(GET).await;
        assert!(client.until("ok").await.starts_with("HTTP/1.1 200 "));
    }
    assert!(count.load(Ordering::SeqCst) >= 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn full_servers_are_a_503() {
    let (address, _) = server(|mut wire, _| async move {
        wire.until("\r\n\r\n").await;
        wire.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe").await;
        wire.until("never").await;
    })
    .await;
    let front = front(&format!("{}max-connections = 1\n", to(&[address])), Vec::new());
    let mut first = Wire::open(front.address).await;
    first.send(GET).await;
    first.until("he").await;
    let (status, text) = get(&front).await;
    assert!(status == "503" && text.contains("Retry-After: 1"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn checks_take_a_server_out_and_bring_it_back() {
    let healthy = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let switch = Arc::clone(&healthy);
    let (address, _) = server(move |mut wire, _| {
        let switch = Arc::clone(&switch);
        async move {
            let head = wire.until("\r\n\r\n").await;
            let is_check = head.starts_with("GET /up HTTP/1.1\r\nHost: localhost\r\n");
            let status = if is_check && !switch.load(Ordering::SeqCst) { 500 } else { 200 };
            wire.send(format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n")).await;
        }
    })
    .await;
    let check = "[upstream.health]\npath = '/up'\ninterval = '100ms'\nfails = 2\npasses = 2\n";
    let front = front(&format!("{}{check}", to(&[address])), Vec::new());
    let becomes = async |wanted: &str| {
        let waiting = async {
            while get(&front).await.0 != wanted {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(DEADLINE, waiting).await.expect(wanted);
    };
    becomes("503").await;
    healthy.store(true, Ordering::SeqCst);
    becomes("200").await;
}

/// A server that switches to an echo.
async fn echo() -> SocketAddr {
    let serve = |mut wire: Wire, _| async move {
        let head = wire.until("\r\n\r\n").await;
        assert!(head.contains("Connection: upgrade\r\nUpgrade: my-echo\r\n"), "{head}");
        wire.send(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: my-echo\r\nConnection: Upgrade\r\n\r\nhi",
        )
        .await;
        let mut bytes = std::mem::take(&mut wire.read);
        loop {
            wire.stream.write_all(&bytes).await.unwrap();
            bytes.clear();
            match wire.stream.read_buf(&mut bytes).await {
                Ok(1..) => {}
                _ => return,
            }
        }
    };
    server(serve).await.0
}

const UPGRADE: &str =
    "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: my-echo\r\n\r\nearly";

async fn upgraded(front: &Server) -> Wire {
    let mut client = Wire::open(front.address).await;
    client.send(UPGRADE).await;
    let head = client.until("\r\n\r\n").await;
    assert!(
        head.starts_with("HTTP/1.1 101 ") && head.contains("Connection: upgrade\r\n"),
        "{head}"
    );
    assert!(!head.contains("Content-Length") && !head.contains("Transfer-Encoding"), "{head}");
    client.until("hiearly").await;
    client
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgraded_connection_carries_bytes_both_ways_until_either_ends_it() {
    let front = front(&to(&[echo().await]), Vec::new());
    let mut client = upgraded(&front).await;
    let large = "y".repeat(3 << 20);
    let (mut reader, mut writer) = client.stream.split();
    let mut back = vec![0; large.len()];
    let (sent, read) =
        tokio::join!(writer.write_all(large.as_bytes()), reader.read_exact(&mut back));
    sent.unwrap();
    read.unwrap();
    assert_eq!(back, large.as_bytes());
    client.stream.shutdown().await.unwrap();
    assert_eq!(client.rest().await.0, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgraded_connection_outlives_the_listener_and_is_cut_at_the_limit() {
    let front = front(&to(&[echo().await]), Vec::new());
    let mut client = upgraded(&front).await;
    front.proxy.drain(Duration::from_secs(4), Heir::Successor);
    front.proxy.stopped_accepting().await;
    let proxy = front.proxy.clone();
    let drained: JoinHandle<()> = tokio::spawn(async move { proxy.drained().await });
    client.send("still here").await;
    client.until("still here").await;
    assert!(!drained.is_finished());
    client.rest().await;
    tokio::time::timeout(DEADLINE, drained).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_upgrade_is_an_answer_and_a_silent_one_ends() {
    let front1 = front(
        &to(&[saying("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno").await]),
        Vec::new(),
    );
    let mut client = Wire::open(front1.address).await;
    client.send(UPGRADE).await;
    assert!(client.until("no").await.starts_with("HTTP/1.1 403 "));
    let front2 = front(&format!("{}upgrade-timeout = '1s'\n", to(&[echo().await])), Vec::new());
    let mut client = upgraded(&front2).await;
    client.rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_longer_of_upstream_and_folder_is_asked_and_scripts_are_never_shown() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a.txt", "api", "page.php"] {
        std::fs::write(folder.path().join(name), "from the folder").unwrap();
    }
    let mount = StaticMount { url: "/".into(), folders: vec![folder.path().into()] };
    let (api, ..) = named("from /api").await;
    let (rest, ..) = named("from /").await;
    let php = saying("not FastCGI, but asked").await;
    let config = format!(
        "[[upstream]]\npath = '/api'\nto = 'http://{api}'\n\
         [[upstream]]\nto = ['http://{rest}']\n\
         [[upstream]]\npath = '/x'\nto = 'fastcgi://{php}'\nroot = '{}'\nread-timeout = '1s'\n",
        folder.path().display()
    );
    std::fs::create_dir(folder.path().join("x")).unwrap();
    std::fs::write(folder.path().join("x/page.php"), "from the folder").unwrap();
    let front = front(&config, vec![mount]);
    for (path, expected) in [
        ("/a.txt", "from the folder"),
        ("/none", "from /"),
        ("/api", "from /api"),
        ("/api/x", "from /api"),
        ("/apix", "from /"),
    ] {
        let mut client = Wire::open(front.address).await;
        client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")).await;
        let (text, _) = client.rest().await;
        assert!(text.ends_with(expected), "{path}: {text}");
    }
    let mut client = Wire::open(front.address).await;
    client.send("GET /x/page.php HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    let (text, _) = client.rest().await;
    assert!(!text.contains("from the folder"), "{text}");
}

/// Paths go to upstreams as they came, and many servers read them with dots resolved, slashes merged and more.
#[tokio::test]
async fn no_spelling_of_a_path_leads_past_a_route_or_out_of_a_prefix() {
    let (api, ..) = named("from /api").await;
    let (rest, ..) = named("from /").await;
    let config = format!(
        "[[upstream]]\npath = '/api'\nto = 'http://{api}'\n[[upstream]]\nto = 'http://{rest}'\n\
         [[route]]\npath = '/admin'\nstatus = 403\n"
    );
    let routing = parse_site(&config, Path::new("onebox.toml")).unwrap().routing.into();
    let front = Server::start();
    let site = Site { routing, ..front.site("site", &config) };
    front.proxy.set_routes(RouteTable::new(vec![site]));
    let status = async |path: &str| {
        let mut client = Wire::open(front.address).await;
        client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")).await;
        let (text, _) = client.rest().await;
        text.split(' ').nth(1).unwrap().to_owned()
    };
    for (path, expected) in [
        ("/admin", "403"),
        ("/%61dmin/x", "403"),
        ("//admin", "400"),
        ("/%2fadmin", "400"),
        ("/./admin", "400"),
        ("/x/../admin", "400"),
        ("/x/%2e%2e/admin", "400"),
        ("/x/..%2fadmin", "400"),
        ("/x%5c..%5cadmin", "400"),
        ("/x/..;/admin", "400"),
        ("/admin;x", "400"),
        ("/admin/../x", "400"),
        ("/api/../x", "400"),
        ("/api/%2e%2e/", "400"),
        ("/x/../api/y", "400"),
        ("/api//x", "200"),
        ("/x//y;z", "200"),
        ("/.well-known/x", "200"),
    ] {
        assert_eq!(status(path).await, expected, "{path}");
    }
}
