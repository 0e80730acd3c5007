//! A small handler for this module's tests, and a server around it on a port of its own.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use onebox_config::{Clients, Limits};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use super::{Handler, Refusal, Sent};
use crate::acceptor::Acceptor;
use crate::listener::Listener;
use crate::message::{
    BodyCut, BodyError, BodyStream, ConnectionInfo, Entrance, RequestHead, Response, ResponseBody,
};
use crate::request_body::RequestBody;
use crate::server_method;

/// Answers by the path of the request.
pub(crate) struct Responder {
    limits: Limits,
    clients: Clients,
    /// Lets one request of `/wait` or piece of `/steps` go on.
    pub(crate) go: Notify,
    /// A request of `/wait` or `/steps` has come.
    pub(crate) came: Notify,
    /// A handler or stream was dropped before its end.
    pub(crate) dropped: Notify,
    /// What became of the answers.
    pub(crate) sent: Mutex<Vec<Sent>>,
    /// Why clients were sent away.
    pub(crate) sent_away: Mutex<Vec<onebox_metrics::Dropped>>,
}

impl Handler for Arc<Responder> {
    type Exchange = ();

    fn limits(&self) -> &Limits {
        &self.limits
    }

    fn clients(&self) -> &Clients {
        &self.clients
    }

    async fn handle(
        &self,
        head: &RequestHead,
        body: &mut RequestBody<'_>,
        _connection: &ConnectionInfo,
    ) -> (Response, ()) {
        if let Some(own) = server_method::answer(head) {
            return (own, ());
        }
        let mut answer = response(200, ResponseBody::Empty);
        match head.path.as_ref() {
            b"/echo" => answer = echo(body).await,
            b"/limited" => {
                body.set_limit(10);
                answer = echo(body).await;
            }
            b"/host" => answer.body = full(head.host.clone().unwrap_or_default()),
            b"/target" => answer.body = full(head.target.to_vec()),
            b"/big" => answer.body = full(vec![b'x'; 8 << 20]),
            b"/file" => {
                let mut file = tempfile::tempfile().unwrap();
                file.write_all(&[b"head".as_slice(), &[b'f'; 300_000], b"tail"].concat()).unwrap();
                answer.body = ResponseBody::File { file: file.into(), offset: 4, size: 300_000 };
            }
            b"/short-file" => {
                let file = tempfile::tempfile().unwrap();
                answer.body = ResponseBody::File { file: file.into(), offset: 0, size: 10 };
            }
            b"/chunks" => answer.body = streamed(None, ["ab", "c"]),
            b"/sized" => answer.body = streamed(Some(3), ["ab", "c"]),
            b"/too-short" => answer.body = streamed(Some(9), ["ab", "c"]),
            b"/too-long" => answer.body = streamed(Some(2), ["ab", "c"]),
            b"/cut" => {
                let cut = BodyCut { reason: "ValueError".into() };
                let pieces = [Ok(Bytes::from_static(b"ab")), Err(cut)];
                answer.body =
                    ResponseBody::Stream { stream: Box::pin(stream::iter(pieces)), size: None };
            }
            b"/steps" => {
                answer.body = ResponseBody::Stream { stream: self.steps(), size: None };
            }
            b"/wait" => {
                let guard = Dropped(Arc::clone(self));
                self.came.notify_one();
                self.go.notified().await;
                std::mem::forget(guard);
            }
            b"/no-content" => answer.status = 204,
            b"/close" => answer.close = true,
            _ => {}
        }
        (answer, ())
    }

    fn refuse(&self, refusal: &Refusal, _connection: &ConnectionInfo) -> (Response, ()) {
        (response(refusal.status, full(refusal.reason)), ())
    }

    fn sent(&self, _exchange: (), outcome: Sent) {
        self.sent.lock().push(outcome);
    }

    fn sent_away(&self, why: onebox_metrics::Dropped, _connection: &ConnectionInfo) {
        self.sent_away.lock().push(why);
    }

    fn let_go(&self) {}
}

impl Responder {
    /// A piece whenever the test says so, without an end.
    fn steps(self: &Arc<Self>) -> BodyStream {
        let guard = Dropped(Arc::clone(self));
        Box::pin(stream::unfold(guard, |guard| async {
            guard.0.came.notify_one();
            guard.0.go.notified().await;
            Some((Ok(Bytes::from_static(b"step")), guard))
        }))
    }
}

struct Dropped(Arc<Responder>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.dropped.notify_one();
    }
}

async fn echo(body: &mut RequestBody<'_>) -> Response {
    let mut all = Vec::new();
    loop {
        match body.chunk().await {
            Ok(Some(piece)) => all.extend_from_slice(&piece),
            Ok(None) => return response(200, full(all)),
            Err(BodyError::Malformed | BodyError::ClientGone) => {
                return response(400, ResponseBody::Empty);
            }
            Err(BodyError::TimedOut) => return response(408, ResponseBody::Empty),
            Err(BodyError::TooLarge { .. }) => return response(413, ResponseBody::Empty),
        }
    }
}

fn response(status: u16, body: ResponseBody) -> Response {
    Response::new(status, Vec::new(), body)
}

fn full(body: impl Into<Vec<u8>>) -> ResponseBody {
    ResponseBody::Full(Bytes::from(body.into()))
}

fn streamed<const N: usize>(size: Option<u64>, pieces: [&'static str; N]) -> ResponseBody {
    let pieces = pieces.map(|piece| Ok(Bytes::from_static(piece.as_bytes())));
    ResponseBody::Stream { stream: Box::pin(stream::iter(pieces)), size }
}

/// A server on a port of its own.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) responder: Arc<Responder>,
    pub(crate) acceptor: Acceptor<Arc<Responder>>,
}

impl Server {
    /// With limits that no test reaches by accident.
    pub(crate) fn start() -> Self {
        Self::with_limits(|_| {})
    }

    pub(crate) fn with_limits(change: impl FnOnce(&mut Limits)) -> Self {
        let mut limits = Limits {
            drain_timeout: Duration::from_secs(60),
            max_connections: 100,
            max_connections_per_client: None,
            max_memory_bytes: None,
            header_timeout: Duration::from_secs(60),
            body_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(60),
            send_timeout: Duration::from_secs(60),
            max_head_bytes: 8192,
            max_target_bytes: 1024,
            http2: false,
            max_streams: 100,
        };
        change(&mut limits);
        let responder = Arc::new(Responder {
            limits,
            clients: Clients::default(),
            go: Notify::new(),
            came: Notify::new(),
            dropped: Notify::new(),
            sent: Mutex::default(),
            sent_away: Mutex::default(),
        });
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let acceptor = Acceptor::new(Arc::new(Arc::clone(&responder)), Arc::default());
        acceptor.listen(Listener::from_tcp(listener).unwrap(), Entrance::Public);
        Self { address, responder, acceptor }
    }

    pub(crate) async fn connect(&self) -> Client {
        let stream = TcpStream::connect(self.address).await.unwrap();
        Client { stream, read: Vec::new() }
    }

    /// Sends `bytes` on a new connection, says that no more comes, and returns all that is answered.
    pub(crate) async fn ask(&self, bytes: impl AsRef<[u8]>) -> String {
        let mut client = self.connect().await;
        client.send(bytes).await;
        client.stream.shutdown().await.unwrap();
        client.rest().await
    }
}

/// The other end of a connection. Every wait of it ends with the test run's own limit.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    read: Vec<u8>,
}

impl Client {
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    /// Reads until `end` has come; returns everything up to and with it.
    pub(crate) async fn until(&mut self, end: &str) -> String {
        loop {
            let found = memchr::memmem::find(&self.read, end.as_bytes());
            if let Some(at) = found {
                let rest = self.read.split_off(at + end.len());
                return String::from_utf8(std::mem::replace(&mut self.read, rest)).unwrap();
            }
            let size = self.stream.read_buf(&mut self.read).await.unwrap();
            assert!(size > 0, "closed after {:?}", String::from_utf8_lossy(&self.read));
        }
    }

    /// Reads to the end of the connection.
    pub(crate) async fn rest(&mut self) -> String {
        self.stream.read_to_end(&mut self.read).await.unwrap();
        String::from_utf8(std::mem::take(&mut self.read)).unwrap()
    }

    /// Reads until the connection ends or fails.
    pub(crate) async fn rest_or_error(&mut self) -> (String, std::io::Result<usize>) {
        let outcome = self.stream.read_to_end(&mut self.read).await;
        (String::from_utf8(std::mem::take(&mut self.read)).unwrap(), outcome)
    }

    /// Asks for `path` and waits for the head of its answer.
    pub(crate) async fn get(&mut self, path: &str) -> String {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")).await;
        self.until("\r\n\r\n").await
    }
}
