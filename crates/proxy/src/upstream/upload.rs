//! A request on its way to a server: head and body, as fast as both sides allow.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use onebox_uwsgi::Body;
use tokio::io::{AsyncWriteExt, WriteHalf};
use tokio::time::timeout;

use super::dial::Connection;
use super::failure::UpstreamError;
use super::fastcgi;
use super::passed::BodyFraming;
use crate::error::ProxyError;
use crate::message::BodyError;
use crate::request_body::RequestBody;

/// How much of a file is read at once, in bytes.
const READ_BYTES: usize = 64 << 10;

/// Where the body of a request comes from.
#[derive(Debug, Clone)]
pub(super) enum Source {
    /// It is here and can be sent again.
    Whole(Whole),
    /// From the client, once.
    Client { size: Option<u64> },
}

/// A body that is here.
#[derive(Debug, Clone)]
pub(super) enum Whole {
    Memory(Bytes),
    File { file: Arc<File>, size: u64 },
}

impl From<Body> for Whole {
    fn from(body: Body) -> Self {
        match body {
            Body::Empty => Self::Memory(Bytes::new()),
            Body::Memory(bytes) => Self::Memory(bytes),
            Body::File { file, size } => Self::File { file: Arc::new(file), size },
        }
    }
}

impl Source {
    /// Its size, where that is known.
    pub(super) fn size(&self) -> Option<u64> {
        match self {
            Self::Whole(Whole::Memory(bytes)) => Some(bytes.len() as u64),
            Self::Whole(Whole::File { size, .. }) => Some(*size),
            Self::Client { size } => *size,
        }
    }
}

/// Why a request did not go out whole.
#[derive(Debug)]
pub(super) enum Interrupted {
    /// The server does not take it; it may have answered all the same.
    ByServer(UpstreamError),
    /// The client does not send it, or it can't be read any more.
    ByUs(ProxyError),
}

impl From<BodyError> for Interrupted {
    fn from(error: BodyError) -> Self {
        Self::ByUs(error.into())
    }
}

/// A request that is being sent. What has gone out is remembered, so that [`Upload::run`] can be left and entered again.
pub(crate) struct Upload {
    writer: WriteHalf<Connection>,
    /// To be written before anything else.
    out: BytesMut,
    source: Source,
    /// How much of a file was taken, in bytes.
    offset: u64,
    framing: BodyFraming,
    patience: Duration,
    /// How much of the body was taken from the client, in bytes.
    pub(super) received: u64,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Body,
    /// The body's end stands in `out`.
    LastBytes,
    Done,
}

impl Upload {
    pub(super) fn new(
        writer: WriteHalf<Connection>,
        (head, framing): (BytesMut, BodyFraming),
        source: Source,
        patience: Duration,
    ) -> Self {
        Self {
            writer,
            out: head,
            source,
            offset: 0,
            framing,
            patience,
            received: 0,
            state: State::Body,
        }
    }

    /// Whether everything has gone out.
    pub(super) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// The writing half, for what comes after the request.
    pub(super) fn into_writer(self) -> WriteHalf<Connection> {
        self.writer
    }

    /// Sends what is left. Cancel safe.
    pub(super) async fn run(&mut self, client: &mut RequestBody<'_>) -> Result<(), Interrupted> {
        loop {
            // A small body goes out with its head.
            if self.state == State::Body && self.out.len() < READ_BYTES && self.is_at_hand() {
                self.take_next(client).await?;
                continue;
            }
            self.flush().await.map_err(Interrupted::ByServer)?;
            match self.state {
                State::Body => self.take_next(client).await?,
                State::LastBytes => self.state = State::Done,
                State::Done => return Ok(()),
            }
        }
    }

    /// Sends the rest of the client's body while its answer is on its way; what goes wrong here is the answer's to tell.
    pub(crate) async fn go_on(mut self, client: &mut RequestBody<'_>) {
        if let Err(interrupted) = self.run(client).await {
            tracing::debug!(?interrupted, "the rest of a request was not passed on");
        }
    }

    fn is_at_hand(&self) -> bool {
        matches!(&self.source, Source::Whole(Whole::Memory(bytes)) if bytes.len() <= READ_BYTES)
    }

    /// Takes the next piece, with the end of the body where that is known to stand behind it: a server that answers at once must
    /// not find the request unfinished.
    async fn take_next(&mut self, client: &mut RequestBody<'_>) -> Result<(), Interrupted> {
        let (piece, is_last) = match &self.source {
            Source::Client { size } => {
                let piece = client.chunk().await?.unwrap_or_default();
                self.received += piece.len() as u64;
                let is_last = piece.is_empty() || *size == Some(self.received);
                (piece, is_last)
            }
            Source::Whole(Whole::Memory(bytes)) => (bytes.clone(), true),
            Source::Whole(Whole::File { file, size }) => {
                let piece = read_at(Arc::clone(file), self.offset, size - self.offset).await?;
                self.offset += piece.len() as u64;
                (piece, self.offset == *size)
            }
        };
        if !piece.is_empty() {
            self.put(&piece);
        }
        if is_last {
            self.put_end();
        }
        Ok(())
    }

    fn put(&mut self, piece: &[u8]) {
        match self.framing {
            BodyFraming::Plain => self.out.put_slice(piece),
            BodyFraming::Records => fastcgi::put_stdin(&mut self.out, piece),
            BodyFraming::Chunked => {
                self.out.put_slice(format!("{:x}\r\n", piece.len()).as_bytes());
                self.out.put_slice(piece);
                self.out.put_slice(b"\r\n");
            }
        }
    }

    fn put_end(&mut self) {
        match self.framing {
            BodyFraming::Plain => {}
            BodyFraming::Records => fastcgi::put_stdin(&mut self.out, &[]),
            BodyFraming::Chunked => self.out.put_slice(b"0\r\n\r\n"),
        }
        self.state = State::LastBytes;
    }

    async fn flush(&mut self) -> Result<(), UpstreamError> {
        while self.out.has_remaining() {
            match timeout(self.patience, self.writer.write_buf(&mut self.out)).await {
                Ok(Ok(0)) => {
                    let error = std::io::ErrorKind::WriteZero.into();
                    return Err(UpstreamError::Send(error));
                }
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return Err(UpstreamError::Send(error)),
                Err(_) => return Err(UpstreamError::SendTimedOut(self.patience)),
            }
        }
        // TLS may hold bytes back.
        match timeout(self.patience, self.writer.flush()).await {
            Ok(outcome) => outcome.map_err(UpstreamError::Send),
            Err(_) => Err(UpstreamError::SendTimedOut(self.patience)),
        }
    }
}

/// Without a position of its own: the same file may be sent to another server again.
async fn read_at(file: Arc<File>, offset: u64, left: u64) -> Result<Bytes, Interrupted> {
    let size = usize::try_from(left).unwrap_or(usize::MAX).min(READ_BYTES);
    let read = move || {
        let mut piece = BytesMut::zeroed(size);
        file.read_exact_at(&mut piece, offset).map(|()| piece.freeze())
    };
    match tokio::task::spawn_blocking(read).await {
        Ok(outcome) => outcome.map_err(|error| Interrupted::ByUs(ProxyError::Spool(error))),
        Err(_) => Err(Interrupted::ByUs(ProxyError::TaskLost)),
    }
}
