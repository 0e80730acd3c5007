//! Whole conversations over real sockets.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::responder_test::Server;
use super::{Socket, serve};
use crate::lifecycle::Heir;
use crate::message::{ConnectionInfo, Entrance};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

#[tokio::test]
async fn requests_follow_each_other_on_one_connection() {
    let server = Server::start();
    let mut client = server.connect().await;
    for _ in 0..3 {
        let head = client.get("/").await;
        assert!(head.starts_with("HTTP/1.1 200 OK\r\nDate: "), "{head}");
        assert!(head.ends_with("\r\nContent-Length: 0\r\n\r\n"), "{head}");
    }
    assert_eq!(server.responder.sent.lock().len(), 3);
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order_also_to_a_half_closed_client() {
    let server = Server::start();
    let messages: String = (0..50)
        .map(|i| format!("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n<{i:02}"))
        .collect();
    let answers = server.ask(messages).await;
    let bodies: Vec<_> = answers.split("\r\n\r\n").skip(1).map(|part| &part[..3]).collect();
    let expected: Vec<_> = (0..50).map(|i| format!("<{i:02}")).collect();
    assert_eq!(bodies, expected);
}

#[tokio::test]
async fn a_half_closed_client_gets_its_answer_however_late() {
    let server = Server::start();
    let mut client = server.connect().await;
    client.send("GET /wait HTTP/1.1\r\nHost: a\r\n\r\n").await;
    client.stream.shutdown().await.unwrap();
    server.responder.came.notified().await;
    let early =
        tokio::time::timeout(Duration::from_millis(50), server.responder.dropped.notified());
    assert!(early.await.is_err(), "a half-close is no reason to stop");
    server.responder.go.notify_one();
    assert!(client.rest().await.starts_with("HTTP/1.1 200 OK\r\n"));
}

#[tokio::test]
async fn a_client_that_resets_its_connection_stops_its_handler_and_its_stream() {
    let server = Server::start();
    for path in ["/wait", "/steps"] {
        let mut client = server.connect().await;
        client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")).await;
        server.responder.came.notified().await;
        client.stream.set_zero_linger().unwrap();
        drop(client);
        server.responder.dropped.notified().await;
    }
}

#[tokio::test]
async fn each_piece_of_a_stream_goes_out_at_once() {
    let server = Server::start();
    let mut client = server.connect().await;
    let head = client.get("/steps").await;
    assert!(head.contains("Transfer-Encoding: chunked\r\n"), "{head}");
    for _ in 0..3 {
        server.responder.go.notify_one();
        assert_eq!(client.until("step\r\n").await, "4\r\nstep\r\n");
    }
}

#[tokio::test]
async fn the_handler_sees_the_host_that_counts_and_the_target_as_it_was_sent() {
    let server = Server::start();
    let ask = async |line: &str| {
        let answer = server.ask(format!("{line} HTTP/1.1\r\nHost: B.example:80\r\n\r\n")).await;
        answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap()
    };
    assert_eq!(ask("GET /host").await, "b.example");
    assert_eq!(ask("GET http://A.example/host").await, "a.example");
    assert_eq!(ask("GET /target?a%20=//b").await, "/target?a%20=//b");
}

#[tokio::test]
async fn bodies_are_sent_as_they_are_framed() {
    let server = Server::start();
    for (path, body) in
        [("/chunks", "3\r\nabc\r\n0\r\n\r\n"), ("/sized", "abc"), ("/no-content", "")]
    {
        let mut client = server.connect().await;
        client.get(path).await;
        client.send("GET /close HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let rest = client.rest().await;
        assert!(
            rest.strip_prefix(body).is_some_and(|rest| rest.starts_with("HTTP/1.1 200")),
            "{path}: {rest}"
        );
    }
}

#[tokio::test]
async fn a_file_is_sent_from_its_offset() {
    let server = Server::start();
    let mut client = server.connect().await;
    assert!(client.get("/file").await.contains("Content-Length: 300000\r\n"));
    client.send("GET /close HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let rest = client.until("HTTP").await;
    assert_eq!(rest.len(), 300_004);
    assert!(rest.starts_with("fff"));
}

#[tokio::test]
async fn an_answer_that_is_not_whole_never_looks_complete() {
    let server = Server::start();
    for path in ["/cut", "/too-short", "/too-long", "/short-file"] {
        for version in ["1.0", "1.1"] {
            let mut client = server.connect().await;
            client.send(format!("GET {path} HTTP/{version}\r\nHost: a\r\n\r\n")).await;
            let (rest, outcome) = client.rest_or_error().await;
            assert!(outcome.is_err(), "{path}: {rest}");
            assert!(!rest.ends_with("0\r\n\r\n"), "{path}: {rest}");
            assert!(!server.responder.sent.lock().pop().unwrap().complete);
        }
    }
}

#[tokio::test]
async fn a_client_that_waits_for_100_is_told_when_its_body_is_wanted() {
    let server = Server::start();
    let mut client = server.connect().await;
    client
        .send("POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        .await;
    assert_eq!(client.until("\r\n\r\n").await, "HTTP/1.1 100 Continue\r\n\r\n");
    client.send("hi").await;
    assert!(client.until("hi").await.starts_with("HTTP/1.1 200 OK\r\n"));
}

#[tokio::test]
async fn a_body_that_is_not_wanted_is_not_asked_for() {
    let server = Server::start();
    let mut client = server.connect().await;
    client
        .send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        .await;
    let answer = client.rest().await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("Connection: close\r\n"), "{answer}");
}

#[tokio::test]
async fn a_short_unread_body_is_dropped_and_the_connection_kept() {
    let server = Server::start();
    let mut client = server.connect().await;
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n").await;
    assert!(!client.until("\r\n\r\n").await.contains("Connection"));
    client.send(vec![b'x'; 100_000]).await;
    assert!(client.get("/").await.starts_with("HTTP/1.1 200 OK\r\n"));
}

#[tokio::test]
async fn a_client_that_uploads_too_much_can_read_why_it_was_refused() {
    let server = Server::start();
    let mut client = server.connect().await;
    client.send("POST /limited HTTP/1.1\r\nHost: a\r\nContent-Length: 4000000\r\n\r\n").await;
    client.send(vec![b'x'; 4_000_000]).await;
    let answer = client.rest().await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(answer.contains("Connection: close\r\n"), "{answer}");
}

#[tokio::test]
async fn an_endless_upload_that_nobody_reads_is_answered_at_once_and_ended() {
    let server = Server::start();
    for (path, status) in [("/", "200"), ("/limited", "413")] {
        let mut client = server.connect().await;
        client
            .send(format!("POST {path} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"))
            .await;
        let chunk = [b"10000\r\n".as_slice(), &[b'x'; 0x10000], b"\r\n"].concat();
        let (mut reader, mut writer) = client.stream.into_split();
        // Never the last chunk: only the server can end this.
        let upload = async { while writer.write_all(&chunk).await.is_ok() {} };
        let answer = async {
            let mut head = [0; 512];
            let size = reader.read(&mut head).await.unwrap();
            String::from_utf8_lossy(&head[..size]).into_owned()
        };
        let (answer, ()) = tokio::join!(answer, upload);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    }
}

#[tokio::test]
async fn a_head_that_does_not_end_is_answered_408_and_an_idle_connection_closed_without_a_word() {
    let server = Server::with_limits(|limits| {
        limits.header_timeout = Duration::from_millis(30);
        limits.idle_timeout = Duration::from_millis(30);
        limits.body_timeout = Duration::from_millis(30);
    });
    let mut silent = server.connect().await;
    assert_eq!(silent.rest().await, "");
    let mut slow = server.connect().await;
    slow.send("GET / HTTP/1.1\r\nHo").await;
    assert!(slow.rest().await.starts_with("HTTP/1.1 408 "));
    let mut idle = server.connect().await;
    idle.get("/").await;
    assert_eq!(idle.rest().await, "");
    let mut stuck = server.connect().await;
    stuck.send("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc").await;
    assert!(stuck.rest().await.starts_with("HTTP/1.1 408 "));
}

#[tokio::test]
async fn a_body_that_drips_is_answered_408_however_often_a_byte_comes() {
    let server = Server::with_limits(|limits| limits.body_timeout = Duration::from_secs(1));
    let mut client = server.connect().await;
    client.send("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n").await;
    let (mut read, mut write) = client.stream.split();
    let drip = async {
        while write.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let mut said = [0; 13];
    tokio::select! {
        () = drip => panic!("nothing is said"),
        read = read.read_exact(&mut said) => assert_eq!(read.unwrap(), said.len()),
    }
    assert_eq!(&said, b"HTTP/1.1 408 ");
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_cut_off() {
    let server = Server::with_limits(|limits| limits.send_timeout = Duration::from_millis(50));
    let mut client = server.connect().await;
    client.send("GET /big HTTP/1.1\r\nHost: a\r\n\r\n").await;
    while server.responder.sent.lock().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(!server.responder.sent.lock()[0].complete);
    assert!(client.rest_or_error().await.1.is_err());
}

#[tokio::test]
async fn beyond_the_limit_connections_wait_for_room() {
    let server = Server::with_limits(|limits| limits.max_connections = 1);
    let mut first = server.connect().await;
    first.get("/").await;
    let mut second = server.connect().await;
    second.send(GET).await;
    assert!(
        tokio::time::timeout(Duration::from_millis(50), second.until("\r\n\r\n")).await.is_err()
    );
    drop(first);
    assert!(second.until("\r\n\r\n").await.starts_with("HTTP/1.1 200 OK\r\n"));
}

#[tokio::test]
async fn a_draining_server_serves_open_connections_once_more_and_closes_idle_ones_last() {
    let server = Server::start();
    let (mut busy, mut used, mut idle) =
        (server.connect().await, server.connect().await, server.connect().await);
    busy.send("GET /wait HTTP/1.1\r\nHost: a\r\n\r\n").await;
    server.responder.came.notified().await;
    used.get("/").await;
    idle.get("/").await;
    server.acceptor.drain(Duration::from_secs(60), Heir::Successor);
    let drained = server.acceptor.drained();
    let conversation = async {
        assert!(used.get("/").await.contains("Connection: close\r\n"));
        assert_eq!(used.rest().await, "");
        server.responder.go.notify_one();
        assert!(busy.rest().await.contains("Connection: close\r\n"));
        assert_eq!(idle.rest().await, "");
        drop((used, busy));
    };
    tokio::join!(drained, conversation);
    assert!(tokio::net::TcpStream::connect(server.address).await.is_err());
}

#[tokio::test]
async fn one_empty_line_before_a_request_is_overlooked_and_a_second_refused() {
    let server = Server::start();
    let mut client = server.connect().await;
    client.get("/").await;
    client.send("\r\n").await;
    client.get("/").await;
    client.send("\r").await;
    client.send("\n").await;
    client.send("\r\n").await;
    assert!(client.rest().await.starts_with("HTTP/1.1 400 "));
}

/// A connection over a Unix socket, not yet served, and its other end.
fn unix_connection(server: &Server) -> (impl Future<Output = ()> + Send + use<>, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let connection = ConnectionInfo::at(Entrance::Probe);
    let handler = Arc::new(Arc::clone(&server.responder));
    (serve(Socket::Unix(ours), connection, handler, Arc::default()), theirs)
}

#[tokio::test]
async fn a_waiting_connection_is_small() {
    let (task, _theirs) = unix_connection(&Server::start());
    assert!(size_of_val(&task) <= 800, "{} bytes", size_of_val(&task));
}

#[tokio::test]
async fn a_unix_socket_is_served_too() {
    let (task, mut theirs) = unix_connection(&Server::start());
    let task = tokio::spawn(task);
    theirs.write_all(b"GET /file HTTP/1.0\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    theirs.read_to_end(&mut answer).await.unwrap();
    assert!(answer.len() > 300_000 && answer.ends_with(b"ff"));
    task.await.unwrap();
}
