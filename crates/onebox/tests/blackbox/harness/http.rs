//! A blocking HTTP client that keeps its connection, so that tests decide when one opens and closes.

use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpSocket, TcpStream};
use tokio::runtime::Runtime;

use super::command::DEADLINE;

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Its status.
    pub(crate) status: StatusCode,
    /// Its fields.
    pub(crate) headers: HeaderMap,
    /// Its body.
    pub(crate) body: Bytes,
}

impl Answer {
    /// Its body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A field's value; empty where there is none.
    pub(crate) fn header(&self, name: &str) -> &str {
        field(&self.headers, name)
    }

    /// Whether the connection ends with it.
    pub(crate) fn closes(&self) -> bool {
        self.header("connection").eq_ignore_ascii_case("close")
    }
}

fn field<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// The answer of the fixture `stream` that waits for its FIFO, when its first piece has come.
pub(crate) fn begin_stream(address: SocketAddr) -> (Connection, Streaming) {
    let mut open = Connection::open(address, "localhost").unwrap();
    let mut answer = open.begin(Request::get("/wait").body(Bytes::new()).unwrap()).unwrap();
    assert_eq!(open.piece(&mut answer).unwrap().unwrap(), "first,");
    (open, answer)
}

/// What goes wrong on a connection, as text: tests only count and show it.
pub(crate) type Trouble = String;

/// A connection that is kept open.
pub(crate) struct Connection {
    runtime: Runtime,
    sender: SendRequest<Full<Bytes>>,
    host: String,
}

impl Connection {
    /// Opens one; `host` is the field of every request.
    pub(crate) fn open(address: SocketAddr, host: &str) -> Result<Self, Trouble> {
        Self::over(TcpStream::connect(address), host)
    }

    /// The same from an address of this machine.
    pub(crate) fn open_from(
        from: [u8; 4],
        address: SocketAddr,
        host: &str,
    ) -> Result<Self, Trouble> {
        let stream = async move {
            let socket = TcpSocket::new_v4()?;
            socket.bind((from, 0).into())?;
            socket.connect(address).await
        };
        Self::over(stream, host)
    }

    fn over(
        stream: impl Future<Output = io::Result<TcpStream>>,
        host: &str,
    ) -> Result<Self, Trouble> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let sender = runtime.block_on(limited(async {
            let stream = stream.await.map_err(|error| format!("connect: {error}"))?;
            let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
            let (sender, connection) = handshake.map_err(|error| format!("handshake: {error}"))?;
            tokio::spawn(connection);
            Ok(sender)
        }))?;
        Ok(Self { runtime, sender, host: host.to_owned() })
    }

    /// Sends a `GET` and reads the whole answer.
    pub(crate) fn get(&mut self, path: &str) -> Result<Answer, Trouble> {
        self.send(Request::get(path).body(Bytes::new()).unwrap())
    }

    /// Sends a `POST` and reads the whole answer.
    pub(crate) fn post(
        &mut self,
        path: &str,
        content_type: &str,
        body: impl Into<Bytes>,
    ) -> Result<Answer, Trouble> {
        self.send(
            Request::post(path).header("content-type", content_type).body(body.into()).unwrap(),
        )
    }

    /// Sends a request and reads the whole answer.
    pub(crate) fn send(&mut self, request: Request<Bytes>) -> Result<Answer, Trouble> {
        let mut streaming = self.begin(request)?;
        let mut body = Vec::new();
        while let Some(piece) = self.piece(&mut streaming)? {
            body.extend_from_slice(&piece);
        }
        Ok(Answer { status: streaming.status, headers: streaming.headers, body: body.into() })
    }

    /// Sends a request and reads the head of the answer.
    pub(crate) fn begin(&mut self, mut request: Request<Bytes>) -> Result<Streaming, Trouble> {
        let host = self.host.parse().unwrap();
        request.headers_mut().entry("host").or_insert(host);
        let sender = &mut self.sender;
        self.runtime.block_on(limited(async {
            sender.ready().await.map_err(|error| format!("ready: {error}"))?;
            let answer = sender
                .send_request(request.map(Full::new))
                .await
                .map_err(|error| format!("{error:?}"))?;
            let (head, body) = answer.into_parts();
            Ok(Streaming { status: head.status, headers: head.headers, body })
        }))
    }

    /// The next piece of an answer's body; `None` at its end.
    pub(crate) fn piece(&mut self, streaming: &mut Streaming) -> Result<Option<Bytes>, Trouble> {
        self.runtime.block_on(limited(async {
            loop {
                match streaming.body.frame().await {
                    None => return Ok(None),
                    Some(Err(error)) => return Err(format!("body: {error}")),
                    Some(Ok(frame)) => {
                        if let Ok(data) = frame.into_data() {
                            return Ok(Some(data));
                        }
                    }
                }
            }
        }))
    }
}

/// An answer whose body is still coming.
pub(crate) struct Streaming {
    /// Its status.
    pub(crate) status: StatusCode,
    headers: HeaderMap,
    body: Incoming,
}

impl Streaming {
    /// A header field of its head; empty where it is not there.
    pub(crate) fn header(&self, name: &str) -> &str {
        field(&self.headers, name)
    }
}

async fn limited<T>(future: impl Future<Output = Result<T, Trouble>>) -> Result<T, Trouble> {
    tokio::time::timeout(DEADLINE, future)
        .await
        .unwrap_or_else(|_| Err("no answer in time".to_owned()))
}

/// One `GET` on a connection of its own.
pub(crate) fn get(address: SocketAddr, host: &str, path: &str) -> Answer {
    Connection::open(address, host).and_then(|mut connection| connection.get(path)).unwrap()
}
