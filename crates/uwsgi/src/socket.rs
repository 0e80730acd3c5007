//! The socket transport: one request at a time over a connection to one of our own workers.
//!
//! The request is a uwsgi packet and its body; the answer comes in [`crate::frame`]s, so the connection stays open.

use std::io::{self, ErrorKind};
use std::pin::pin;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::channel::answer;
use crate::frame::{FrameHeader, FrameKind, HEADER_BYTES};
use crate::{
    AbortReason, Body, BufferLimits, PacketHeader, Request, ResponseHead, ResponseSink,
    ResponseStream, VarsBuilder,
};

/// How much of a spooled body is sent at once, in bytes.
const SEND_BYTES: usize = 128 << 10;

/// Whether the connection can carry another request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connection {
    /// The answer came whole: use it again.
    Reusable,
    /// Close it.
    Spent,
}

/// An answer's two ends: the task that calls [`exchange`] writes, the pipeline reads.
pub fn response(limits: BufferLimits) -> (ResponseSink, ResponseStream) {
    answer(limits)
}

/// Sends `request` over `stream` and copies the answer into `sink`, both at once: a worker may answer before it has read
/// the body, and would wait for ever for somebody who only writes.
///
/// # Errors
/// [`io::Error`] where the request could not be sent whole, with the sink given back: nothing of an answer was seen.
pub async fn exchange<S>(
    stream: &mut S,
    request: Request,
    mut sink: ResponseSink,
) -> Result<Connection, (io::Error, ResponseSink)>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut reader, mut writer) = tokio::io::split(stream);
    let mut sending = pin!(send_request(&mut writer, request));
    let mut sent = None;
    let mut answered = false;
    let received = {
        let mut receiving = pin!(receive_answer(&mut reader, &mut sink, &mut answered));
        tokio::select! {
            biased;
            outcome = &mut sending => {
                sent = Some(outcome);
                receiving.await
            }
            received = &mut receiving => received,
        }
    };
    match received {
        Ok(()) => sink.finish(),
        Err(Interrupted::Aborted(reason)) => sink.abort(reason),
        Err(interrupted) => {
            match interrupted {
                // The request did not arrive whole, and the worker has said nothing.
                Interrupted::Lost if !answered && !matches!(sent, Some(Ok(()))) => {
                    let error = sent.and_then(Result::err);
                    return Err((error.unwrap_or(ErrorKind::BrokenPipe.into()), sink));
                }
                Interrupted::Lost => sink.abort(AbortReason::WorkerLost),
                Interrupted::Protocol => sink.abort(AbortReason::Protocol),
                Interrupted::Aborted(_) | Interrupted::Unwanted => {}
            }
            return Ok(Connection::Spent);
        }
    }
    // A worker that answered before it had the whole request reads the rest, or closes the connection.
    let sent = match sent {
        Some(sent) => sent,
        None => sending.await,
    };
    Ok(if sent.is_ok() { Connection::Reusable } else { Connection::Spent })
}

async fn send_request<S: AsyncWrite + Unpin>(stream: &mut S, request: Request) -> io::Result<()> {
    let block = request.vars.as_bytes();
    debug_assert!(block.len() <= VarsBuilder::MAX_BLOCK_BYTES);
    let datasize =
        u16::try_from(block.len()).map_err(|_| io::Error::from(ErrorKind::InvalidInput))?;
    let mut start = BytesMut::with_capacity(PacketHeader::LEN + block.len());
    start.extend_from_slice(&PacketHeader::request(datasize).encode());
    start.extend_from_slice(block);
    if let Body::Memory(bytes) = &request.body
        && bytes.len() <= SEND_BYTES
    {
        start.extend_from_slice(bytes);
        return stream.write_all(&start).await;
    }
    stream.write_all(&start).await?;
    match request.body {
        Body::Empty => Ok(()),
        Body::Memory(bytes) => stream.write_all(&bytes).await,
        body @ Body::File { .. } => {
            let size = body.size();
            let mut reader = body.into_reader()?;
            let mut sent = 0;
            while sent < size {
                let (back, chunk) = tokio::task::spawn_blocking(move || {
                    let mut chunk = Vec::with_capacity(SEND_BYTES);
                    let read = io::Read::read_to_end(
                        &mut io::Read::take(&mut reader, SEND_BYTES as u64),
                        &mut chunk,
                    );
                    read.map(|_| (reader, chunk))
                })
                .await??;
                if chunk.is_empty() {
                    return Err(ErrorKind::UnexpectedEof.into());
                }
                sent += chunk.len() as u64;
                reader = back;
                stream.write_all(&chunk).await?;
            }
            Ok(())
        }
    }
}

enum Interrupted {
    Aborted(AbortReason),
    Lost,
    Protocol,
    Unwanted,
}

/// Sets `answered` as soon as a frame has come.
async fn receive_answer<S: AsyncRead + Unpin>(
    stream: &mut S,
    sink: &mut ResponseSink,
    answered: &mut bool,
) -> Result<(), Interrupted> {
    loop {
        let (kind, payload) = receive_frame(stream).await?;
        *answered = true;
        match kind {
            FrameKind::Head => {
                let head = ResponseHead::decode(&payload).map_err(|_| Interrupted::Protocol)?;
                sink.head(head).map_err(|_| Interrupted::Unwanted)?;
            }
            FrameKind::Data => sink.data_async(payload).await.map_err(|_| Interrupted::Unwanted)?,
            FrameKind::End => return Ok(()),
            FrameKind::Abort => {
                let text = String::from_utf8_lossy(&payload).into_owned();
                return Err(Interrupted::Aborted(AbortReason::Application(text)));
            }
        }
    }
}

async fn receive_frame<S: AsyncRead + Unpin>(
    stream: &mut S,
) -> Result<(FrameKind, Bytes), Interrupted> {
    let mut header = [0; HEADER_BYTES];
    stream.read_exact(&mut header).await.map_err(|_| Interrupted::Lost)?;
    let header = FrameHeader::decode(header).map_err(|_| Interrupted::Protocol)?;
    let mut payload =
        BytesMut::zeroed(usize::try_from(header.size).map_err(|_| Interrupted::Protocol)?);
    stream.read_exact(&mut payload).await.map_err(|_| Interrupted::Lost)?;
    Ok((header.kind, payload.freeze()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ResponseFrame;

    async fn run(answer_bytes: &[u8]) -> (Connection, Vec<ResponseFrame>) {
        let (mut ours, mut theirs) = tokio::io::duplex(1 << 20);
        let (sink, mut stream) = response(BufferLimits::default());
        let mut vars = VarsBuilder::new(100);
        vars.push(b"A", b"b").unwrap();
        let request =
            Request { vars: vars.finish(), body: Body::Memory(Bytes::from_static(b"body")) };
        theirs.write_all(answer_bytes).await.unwrap();
        theirs.shutdown().await.unwrap();
        let connection = exchange(&mut ours, request, sink).await.ok().unwrap();
        let mut sent = vec![0; 14];
        theirs.read_exact(&mut sent).await.unwrap();
        assert_eq!(sent, b"\x00\x06\x00\x00\x01\x00A\x01\x00bbody");
        let mut frames = Vec::new();
        while let Some(frame) = stream.next().await {
            frames.push(frame);
        }
        (connection, frames)
    }

    fn frame(kind: FrameKind, payload: &[u8]) -> Vec<u8> {
        let size = u32::try_from(payload.len()).unwrap();
        [&FrameHeader { kind, size }.encode()[..], payload].concat()
    }

    #[tokio::test]
    async fn a_whole_answer_leaves_the_connection_open() {
        let head =
            ResponseHead { status: 204, reason: b"No Content".to_vec(), headers: Vec::new() };
        let bytes = [
            frame(FrameKind::Head, &head.encode().unwrap()),
            frame(FrameKind::Data, b"x"),
            frame(FrameKind::End, b""),
        ]
        .concat();
        let (connection, frames) = run(&bytes).await;
        assert_eq!(connection, Connection::Reusable);
        let expected = [
            ResponseFrame::Head(head),
            ResponseFrame::Data(Bytes::from_static(b"x")),
            ResponseFrame::End,
        ];
        assert_eq!(frames, expected);
    }

    #[tokio::test]
    async fn a_truncated_answer_is_a_lost_worker() {
        let (connection, frames) = run(&frame(FrameKind::Data, b"x")[..5]).await;
        assert_eq!(connection, Connection::Spent);
        assert_eq!(frames, [ResponseFrame::Aborted(AbortReason::WorkerLost)]);
    }

    #[tokio::test]
    async fn an_unknown_frame_is_a_protocol_error() {
        let (connection, frames) = run(b"HTTP/1.1 200 OK\r\n").await;
        assert_eq!(connection, Connection::Spent);
        assert_eq!(frames, [ResponseFrame::Aborted(AbortReason::Protocol)]);
    }

    #[tokio::test]
    async fn an_application_error_keeps_the_connection() {
        let (connection, frames) = run(&frame(FrameKind::Abort, b"ValueError")).await;
        assert_eq!(connection, Connection::Reusable);
        assert_eq!(frames, [ResponseFrame::Aborted(AbortReason::Application("ValueError".into()))]);
    }

    fn large() -> Request {
        let body = Body::Memory(Bytes::from(vec![b'u'; 100_000]));
        Request { vars: VarsBuilder::new(100).finish(), body }
    }

    #[tokio::test]
    async fn a_worker_may_answer_before_it_has_read_the_request() {
        let (mut ours, mut theirs) = tokio::io::duplex(1024);
        let (sink, mut stream) = response(BufferLimits::default());
        let worker = async move {
            let bytes = [frame(FrameKind::Data, &[b'x'; 5000]), frame(FrameKind::End, b"")];
            theirs.write_all(&bytes.concat()).await.unwrap();
        };
        let (connection, ()) = tokio::join!(exchange(&mut ours, large(), sink), worker);
        assert_eq!(connection.ok(), Some(Connection::Spent));
        assert!(
            matches!(stream.next().await, Some(ResponseFrame::Data(data)) if data.len() == 5000)
        );
        assert_eq!(stream.next().await, Some(ResponseFrame::End));
    }

    #[tokio::test]
    async fn a_worker_that_closes_without_a_word_gives_the_sink_back() {
        let (mut ours, theirs) = tokio::io::duplex(1024);
        drop(theirs);
        let (sink, _stream) = response(BufferLimits::default());
        assert!(exchange(&mut ours, large(), sink).await.is_err());
    }
}
