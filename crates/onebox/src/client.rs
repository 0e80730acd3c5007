//! Talking to the appliance: the admin API as HTTP/1.1 over the control socket, where our own uid is the credential.
//!
//! One connection for each call: a command makes one or two. It knows addresses and shapes, not what they are printed as.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Frame, Incoming};
use hyper_util::rt::TokioIo;
use onebox_supervisor::api::ApiError;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::sync::mpsc;

/// How long the appliance may take to begin the answer to a question.
const PATIENCE: Duration = Duration::from_secs(60);

/// What can go wrong between this command and the appliance.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// Nobody listens.
    #[error("no appliance is running for {}", .state_dir.display())]
    NotRunning { state_dir: PathBuf },
    /// The socket is another user's.
    #[error("the appliance's control socket {} belongs to another user", .socket.display())]
    Permission { socket: PathBuf },
    /// The path is too long, a folder of it is a file, and the like.
    #[error("the control socket {} cannot be reached", .socket.display())]
    Connect { socket: PathBuf, source: std::io::Error },
    /// It took the request and said nothing.
    #[error("the appliance did not answer for {seconds} s")]
    Silent { seconds: u64 },
    /// The connection broke.
    #[error("the appliance ended the conversation in the middle")]
    Broken(#[from] hyper::Error),
    /// It answered with an error.
    #[error("{}", .error.error)]
    Refused { status: StatusCode, error: ApiError },
    /// It answered something we do not understand.
    #[error("the appliance's answer to {path} is not understood")]
    Answer { path: String, source: serde_json::Error },
    /// We could not put the request together.
    #[error("the request could not be written")]
    Request(#[from] http::Error),
    /// We could not write down what to send.
    #[error("what is to be sent could not be written as JSON")]
    Encode(#[source] serde_json::Error),
}

/// A way to the appliance of one state directory.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    socket: PathBuf,
    state_dir: PathBuf,
}

impl Client {
    /// The appliance that keeps its state in `state_dir` and listens on `socket`. Nothing is sent yet.
    pub(crate) fn new(state_dir: &Path, socket: PathBuf) -> Self {
        Self { socket, state_dir: state_dir.to_owned() }
    }

    /// Reads a resource.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.call(Method::GET, path, None::<&()>).await
    }

    /// Sends `body` if there is one and reads the answer; an empty answer is read as JSON's `null`.
    pub(crate) async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<T, ClientError> {
        let answer = self.request(method, path, body).await?;
        let bytes = answer.into_body().collect().await?.to_bytes();
        let text: &[u8] = if bytes.is_empty() { b"null" } else { &bytes };
        serde_json::from_slice(text)
            .map_err(|source| ClientError::Answer { path: path.to_owned(), source })
    }

    /// The same, and the answer comes line by line.
    pub(crate) async fn lines(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<Lines, ClientError> {
        Ok(Lines::new(self.request(method, path, body).await?))
    }

    /// Posts a stream of bytes; the answer comes line by line.
    pub(crate) async fn upload(&self, path: &str, body: ChannelBody) -> Result<Lines, ClientError> {
        let request = Request::post(path)
            .header(header::HOST, "localhost")
            .header(header::CONTENT_TYPE, "application/x-tar")
            .body(body)?;
        Ok(Lines::new(self.send(request).await?))
    }

    async fn request(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<Response<Incoming>, ClientError> {
        let mut request =
            Request::builder().method(method).uri(path).header(header::HOST, "localhost");
        let bytes = match body {
            Some(body) => {
                request = request.header(header::CONTENT_TYPE, "application/json");
                serde_json::to_vec(body).map_err(ClientError::Encode)?
            }
            None => Vec::new(),
        };
        self.send(request.body(Full::new(Bytes::from(bytes)))?).await
    }

    async fn send<B>(&self, request: Request<B>) -> Result<Response<Incoming>, ClientError>
    where
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let stream =
            UnixStream::connect(&self.socket).await.map_err(|source| self.connect_error(source))?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        // Ends by itself when both sides are done; the runtime of a command ends with it.
        tokio::spawn(connection);
        // What only reads is answered at once; a change takes as long as the application takes to load.
        let limit = if request.method() == Method::GET { PATIENCE } else { Duration::MAX };
        let answer = tokio::time::timeout(limit, sender.send_request(request)).await;
        let answer = answer.map_err(|_| ClientError::Silent { seconds: limit.as_secs() })??;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let bytes = answer.into_body().collect().await?.to_bytes();
        let error = serde_json::from_slice(&bytes).unwrap_or_else(|_| ApiError {
            error: format!("the appliance answered {status}"),
            hint: String::new(),
        });
        Err(ClientError::Refused { status, error })
    }

    fn connect_error(&self, source: std::io::Error) -> ClientError {
        use std::io::ErrorKind;
        match source.kind() {
            // A socket file without a listener is what an appliance leaves that was killed.
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => {
                ClientError::NotRunning { state_dir: self.state_dir.clone() }
            }
            ErrorKind::PermissionDenied => ClientError::Permission { socket: self.socket.clone() },
            _ => ClientError::Connect { socket: self.socket.clone(), source },
        }
    }
}

/// An answer read line by line.
#[derive(Debug)]
pub(crate) struct Lines {
    body: Incoming,
    buffer: BytesMut,
    ended: bool,
}

impl Lines {
    fn new(answer: Response<Incoming>) -> Self {
        Self { body: answer.into_body(), buffer: BytesMut::new(), ended: false }
    }

    /// The next line without its end; `None` after the last.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let mut line = self.buffer.split_to(end + 1);
                line.truncate(end);
                return Ok(Some(line.freeze()));
            }
            if self.ended {
                let rest = self.buffer.split().freeze();
                return Ok(Some(rest).filter(|line| !line.is_empty()));
            }
            match self.body.frame().await {
                Some(frame) => {
                    if let Some(data) = frame?.data_ref() {
                        self.buffer.extend_from_slice(data);
                    }
                }
                None => self.ended = true,
            }
        }
    }
}

/// A request body whose pieces come from a thread; an error from it breaks the request off.
#[derive(Debug)]
pub(crate) struct ChannelBody(pub(crate) mpsc::Receiver<std::io::Result<Bytes>>);

impl Body for ChannelBody {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<std::io::Result<Frame<Bytes>>>> {
        self.0.poll_recv(context).map(|piece| piece.map(|bytes| bytes.map(Frame::data)))
    }
}

/// A path segment with everything escaped that is not a plain character.
pub(crate) fn segment(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut escaped, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
        escaped
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_cannot_leave_its_place() {
        assert_eq!(segment("blog-1"), "blog-1");
        assert_eq!(segment("../a?b=c&d"), "..%2Fa%3Fb%3Dc%26d");
    }
}
