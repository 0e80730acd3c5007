//! Whole conversations over real sockets, with h2's client.

use std::time::Duration;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use http::{Request, Response, StatusCode};
use onebox_metrics::Dropped;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::http1::responder_test::Server;
use crate::lifecycle::Heir;

/// The other end of a connection.
struct Client {
    requests: SendRequest<Bytes>,
    connection: JoinHandle<Result<(), h2::Error>>,
}

fn server() -> Server {
    Server::with_limits(|limits| limits.http2 = true)
}

async fn connect(server: &Server) -> Client {
    connect_with(server, &h2::client::Builder::new()).await
}

async fn connect_with(server: &Server, builder: &h2::client::Builder) -> Client {
    let stream = TcpStream::connect(server.address).await.unwrap();
    let (requests, connection) = builder.handshake(stream).await.unwrap();
    Client { requests, connection: tokio::spawn(connection) }
}

impl Client {
    fn send(&mut self, request: Request<()>, ends: bool) -> (ResponseFuture, SendStream<Bytes>) {
        self.requests.send_request(request, ends).unwrap()
    }

    fn ask(&mut self, path: &str) -> ResponseFuture {
        self.send(get(path), true).0
    }

    async fn text(&mut self, path: &str) -> String {
        let (_, body) = whole(self.ask(path)).await.unwrap();
        String::from_utf8(body).unwrap()
    }
}

fn get(path: &str) -> Request<()> {
    Request::get(format!("http://a.example:81{path}")).body(()).unwrap()
}

fn post(path: &str) -> Request<()> {
    Request::post(format!("http://a.example{path}")).body(()).unwrap()
}

async fn whole(answer: ResponseFuture) -> Result<(Response<()>, Vec<u8>), h2::Error> {
    let (head, mut body) = answer.await?.into_parts();
    let mut all = Vec::new();
    while let Some(piece) = next(&mut body).await {
        all.extend_from_slice(&piece?);
    }
    Ok((Response::from_parts(head, ()), all))
}

async fn next(body: &mut RecvStream) -> Option<Result<Bytes, h2::Error>> {
    let piece = body.data().await?;
    if let Ok(piece) = &piece {
        body.flow_control().release_capacity(piece.len()).unwrap();
    }
    Some(piece)
}

#[tokio::test]
async fn requests_are_answered_side_by_side_and_a_slow_one_holds_up_none() {
    let server = server();
    let mut client = connect(&server).await;
    let slow = client.ask("/wait");
    server.responder.came.notified().await;
    for _ in 0..150 {
        assert_eq!(client.text("/host").await, "a.example");
    }
    let many: Vec<_> = (0..90).map(|at| client.ask(&format!("/target?{at}"))).collect();
    for (at, answer) in many.into_iter().enumerate() {
        let (head, body) = whole(answer).await.unwrap();
        assert_eq!(head.status(), 200);
        assert!(head.headers().contains_key("date"));
        assert_eq!(body, format!("/target?{at}").as_bytes());
    }
    server.responder.go.notify_one();
    assert_eq!(whole(slow).await.unwrap().0.status(), 200);
    assert!(server.responder.sent.lock().iter().all(|sent| sent.complete && sent.bytes > 0));
}

#[tokio::test]
async fn bodies_come_whole_however_large_their_windows_are() {
    let server = server();
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(50_000).initial_connection_window_size(70_000);
    for builder in [builder, h2::client::Builder::new()] {
        let mut client = connect_with(&server, &builder).await;
        let (_, big) = whole(client.ask("/big")).await.unwrap();
        assert_eq!((big.len(), big.iter().all(|byte| *byte == b'x')), (8 << 20, true));
        let (head, file) = whole(client.ask("/file")).await.unwrap();
        assert_eq!(head.headers()["content-length"], "300000");
        assert_eq!((file.len(), file.iter().all(|byte| *byte == b'f')), (300_000, true));
        for (path, length) in [("/chunks", None), ("/sized", Some("3"))] {
            let (head, body) = whole(client.ask(path)).await.unwrap();
            let declared = head.headers().get("content-length").map(|it| it.to_str().unwrap());
            assert_eq!((body, declared), (b"abc".to_vec(), length));
        }
        let head = Request::head("http://a/file").body(()).unwrap();
        let (head, body) = whole(client.send(head, true).0).await.unwrap();
        assert_eq!(
            (&head.headers()["content-length"], body.len()),
            (&"300000".parse().unwrap(), 0)
        );
        let (head, _) = whole(client.ask("/no-content")).await.unwrap();
        assert_eq!(
            (head.status(), head.headers().contains_key("content-length")),
            (StatusCode::NO_CONTENT, false)
        );
    }
}

#[tokio::test]
async fn a_body_that_is_sent_comes_back() {
    let server = server();
    let mut client = connect(&server).await;
    let sent: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect();
    let (answer, mut out) = client.send(post("/echo"), false);
    out.send_data(Bytes::from(sent.clone()), true).unwrap();
    let (_, came_back) = whole(answer).await.unwrap();
    assert!(came_back == sent);
    let (answer, mut out) = client.send(post("/echo"), false);
    out.send_data(Bytes::from_static(b"abc"), false).unwrap();
    out.send_trailers([(http::header::COOKIE, "a".parse().unwrap())].into_iter().collect())
        .unwrap();
    assert_eq!(whole(answer).await.unwrap().1, b"abc");
    let (answer, mut out) = client.send(post("/limited"), false);
    out.send_data(Bytes::from(vec![b'x'; 20]), false).unwrap();
    assert_eq!(answer.await.unwrap().status(), 413);
    assert_eq!(client.text("/host").await, "a.example");
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_reset_and_never_looks_whole() {
    let server = server();
    let mut client = connect(&server).await;
    for path in ["/too-short", "/too-long", "/cut", "/short-file"] {
        let error = whole(client.ask(path)).await.unwrap_err();
        assert_eq!(error.reason(), Some(Reason::INTERNAL_ERROR), "{path}");
    }
    assert_eq!(client.text("/host").await, "a.example");
    let cut = server.responder.sent.lock().iter().filter(|sent| !sent.complete).count();
    assert_eq!(cut, 4);
}

#[tokio::test]
async fn a_request_that_is_taken_back_stops_its_handler_and_its_stream() {
    let server = server();
    let mut client = connect(&server).await;
    for path in ["/wait", "/steps"] {
        let (answer, mut out) = client.send(get(path), true);
        server.responder.came.notified().await;
        out.send_reset(Reason::CANCEL);
        server.responder.dropped.notified().await;
        drop(answer);
    }
    let _left = client.ask("/wait");
    server.responder.came.notified().await;
    client.connection.abort();
    drop(client);
    server.responder.dropped.notified().await;
}

#[tokio::test]
async fn each_piece_of_a_stream_goes_out_at_once() {
    let server = server();
    let mut client = connect(&server).await;
    let mut body = client.ask("/steps").await.unwrap().into_body();
    for _ in 0..3 {
        server.responder.go.notify_one();
        assert_eq!(next(&mut body).await.unwrap().unwrap(), "step");
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_head_is_said_and_the_connection_goes_on() {
    let server = server();
    let mut client = connect(&server).await;
    let long = "x".repeat(2000);
    let asked = [
        (get("/host"), 200),
        (Request::get("/").header("host", "a").body(()).unwrap(), 200),
        (Request::get("http://a/").header("host", "b").body(()).unwrap(), 400),
        (Request::get(format!("http://a/{long}")).body(()).unwrap(), 414),
        (Request::get("http://a/").header("x", "y".repeat(9000)).body(()).unwrap(), 431),
        (Request::connect("a:1").body(()).unwrap(), 501),
        (Request::builder().method("TRACE").uri("http://a/").body(()).unwrap(), 405),
        (Request::options("*").header("host", "a").body(()).unwrap(), 200),
    ];
    for (request, status) in asked {
        let shown = format!("{request:?}");
        assert_eq!(client.send(request, true).0.await.unwrap().status(), status, "{shown:.80}");
    }
}

#[tokio::test]
async fn a_client_that_opens_no_window_loses_its_answer_and_not_its_connection() {
    let server = Server::with_limits(|limits| {
        limits.http2 = true;
        limits.send_timeout = Duration::from_millis(50);
    });
    // The window of the connection has room for others.
    let mut builder = h2::client::Builder::new();
    builder.initial_connection_window_size(1 << 20);
    let mut client = connect_with(&server, &builder).await;
    let (_, mut body) = client.ask("/big").await.unwrap().into_parts();
    let error = loop {
        match body.data().await.unwrap() {
            // Taken in, and never told.
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(error.reason(), Some(Reason::CANCEL));
    drop(body);
    assert_eq!(client.text("/host").await, "a.example");
}

#[tokio::test]
async fn a_client_that_opens_its_window_by_the_byte_loses_its_answer_too() {
    let server = Server::with_limits(|limits| {
        limits.http2 = true;
        limits.send_timeout = Duration::from_millis(50);
    });
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(1);
    let mut client = connect_with(&server, &builder).await;
    let (_, mut body) = client.ask("/big").await.unwrap().into_parts();
    let mut taken = 0;
    let error = loop {
        match body.data().await.unwrap() {
            Ok(piece) => {
                taken += piece.len();
                assert!(taken < 240, "it goes on");
                tokio::time::sleep(Duration::from_millis(10)).await;
                body.flow_control().release_capacity(piece.len()).unwrap();
            }
            Err(error) => break error,
        }
    };
    assert_eq!(error.reason(), Some(Reason::CANCEL));
    drop(body);
    assert_eq!(client.ask("/no-content").await.unwrap().status(), 204);
}

#[tokio::test]
async fn a_client_that_takes_its_requests_back_for_sport_is_sent_away() {
    let server = server();
    let client = connect(&server).await;
    let error = loop {
        if client.connection.is_finished() {
            break client.connection.await.unwrap().unwrap_err();
        }
        let Ok(mut requests) = client.requests.clone().ready().await else { continue };
        let Ok((_, mut out)) = requests.send_request(get("/wait"), true) else { continue };
        tokio::task::yield_now().await;
        out.send_reset(Reason::CANCEL);
    };
    assert_eq!(error.reason(), Some(Reason::ENHANCE_YOUR_CALM));
    assert_eq!(*server.responder.sent_away.lock(), [Dropped::Flood]);
    let mut other = connect(&server).await;
    assert_eq!(other.text("/host").await, "a.example");
}

#[tokio::test]
async fn a_draining_server_says_so_answers_what_was_asked_and_closes_who_never_asked_last() {
    let server = server();
    let (mut busy, mut used, silent) =
        (connect(&server).await, connect(&server).await, connect(&server).await);
    let answer = busy.ask("/wait");
    server.responder.came.notified().await;
    used.text("/host").await;
    server.acceptor.drain(Duration::from_secs(60), Heir::Successor);
    let conversation = async {
        used.connection.await.unwrap().unwrap();
        server.responder.go.notify_one();
        assert_eq!(whole(answer).await.unwrap().0.status(), 200);
        busy.connection.await.unwrap().unwrap();
        silent.connection.await.unwrap().unwrap();
    };
    tokio::join!(server.acceptor.drained(), conversation);
}

#[tokio::test]
async fn where_it_is_switched_off_the_preface_is_a_version_that_is_not_spoken() {
    let answer = Server::start().ask("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 505 "), "{answer}");
    // It is a beginning, and nothing else.
    let late = "GET / HTTP/1.1\r\nHost: a\r\n\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let answers = server().ask(late).await;
    assert!(answers.contains("HTTP/1.1 505 "), "{answers}");
}
