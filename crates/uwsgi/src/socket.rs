//! The socket transport: one request at a time over a connection to one of our own workers.
//!
//! The request is a uwsgi packet and its body; the answer comes in [`crate::frame`]s, so the connection stays open.

use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::pin::pin;
use std::task::Poll;

use bytes::BytesMut;
use tokio::net::UnixStream;

use crate::channel::answer;
use crate::frame::FrameKind;
use crate::{
    AbortReason, Body, BufferLimits, FilePart, FileRange, PacketHeader, Request, ResponseHead,
    ResponseSink, ResponseStream, VarsBuilder, key,
};
use frame_reader::FrameReader;

mod frame_reader;

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

/// Sends `request` over `stream` and copies the answer into `sink`.
///
/// Both at once: an application may answer before it has read its request's body, or without reading it.
///
/// # Errors
/// [`io::Error`] where the request could not be sent whole and nothing of an answer was seen, with the sink given back.
pub async fn exchange(
    stream: &UnixStream,
    request: Request,
    mut sink: ResponseSink,
) -> Result<Connection, (io::Error, ResponseSink)> {
    let (sent, received) = converse(stream, request, &mut sink).await;
    let is_reusable = sent.is_ok() && received.is_exact;
    let connection = if is_reusable { Connection::Reusable } else { Connection::Spent };
    match (received.end, sent) {
        (Err(Interrupted::Lost), Err(error)) if !received.began => return Err((error, sink)),
        (Ok(()), _) => sink.finish(),
        (Err(Interrupted::Aborted(reason)), _) => sink.abort(reason),
        (Err(Interrupted::Lost), _) => {
            sink.abort(AbortReason::WorkerLost);
            return Ok(Connection::Spent);
        }
        (Err(Interrupted::Protocol), _) => {
            sink.abort(AbortReason::Protocol);
            return Ok(Connection::Spent);
        }
        (Err(Interrupted::Unwanted), _) => return Ok(Connection::Spent),
    }
    Ok(connection)
}

/// What came back for a request.
struct Received {
    /// Whether a frame was seen.
    began: bool,
    /// Whether nothing came behind the answer.
    is_exact: bool,
    end: Result<(), Interrupted>,
}

/// Sends and receives until the answer is complete or can't be; an error of the first where the request was not sent whole.
async fn converse(
    stream: &UnixStream,
    request: Request,
    sink: &mut ResponseSink,
) -> (io::Result<()>, Received) {
    let mut sending = pin!(send_request(stream, request));
    let mut receiving = pin!(receive_answer(stream, sink));
    let sent = poll_fn(|context| match sending.as_mut().poll(context) {
        Poll::Ready(sent) => Poll::Ready(Ok(sent)),
        Poll::Pending => receiving.as_mut().poll(context).map(Err),
    });
    match sent.await {
        // The worker closed its end: what it said before that is still to be read.
        Ok(Err(error)) if !is_closed(&error) => {
            (Err(error), Received { began: false, is_exact: false, end: Err(Interrupted::Lost) })
        }
        Ok(sent) => (sent, receiving.await),
        Err(received) => (Err(ErrorKind::Interrupted.into()), received),
    }
}

fn is_closed(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset)
}

async fn send_request(stream: &UnixStream, request: Request) -> io::Result<()> {
    let block = request.vars.as_bytes();
    debug_assert!(block.len() <= VarsBuilder::MAX_BLOCK_BYTES);
    let time_left = encode_time_left(&request, VarsBuilder::MAX_BLOCK_BYTES - block.len());
    let datasize = u16::try_from(block.len() + time_left.len())
        .map_err(|_| io::Error::from(ErrorKind::InvalidInput))?;
    let mut start = BytesMut::with_capacity(PacketHeader::LEN + usize::from(datasize));
    start.extend_from_slice(&PacketHeader::request(datasize).encode());
    start.extend_from_slice(block);
    start.extend_from_slice(&time_left);
    if let Body::Memory(bytes) = &request.body
        && bytes.len() <= SEND_BYTES
    {
        start.extend_from_slice(bytes);
        return write_all(stream, &start).await;
    }
    write_all(stream, &start).await?;
    match request.body {
        Body::Empty => Ok(()),
        Body::Memory(bytes) => write_all(stream, &bytes).await,
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
                write_all(stream, &chunk).await?;
            }
            Ok(())
        }
    }
}

async fn write_all(stream: &UnixStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match stream.try_write(bytes) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::WouldBlock => stream.writable().await?,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The variable that says how long the request may still take. A block that is full goes without it: the worker then
/// counts from the moment when it takes the request.
fn encode_time_left(request: &Request, room: usize) -> Vec<u8> {
    let Some(left) = request.time_left_ms() else { return Vec::new() };
    let mut vars = VarsBuilder::new(room);
    match vars.push(key::TIME_LEFT_MS, left.to_string().as_bytes()) {
        Ok(()) => vars.finish().as_bytes().to_vec(),
        Err(_) => Vec::new(),
    }
}

enum Interrupted {
    Aborted(AbortReason),
    Lost,
    Protocol,
    Unwanted,
}

async fn receive_answer(stream: &UnixStream, sink: &mut ResponseSink) -> Received {
    let mut frames = FrameReader::new(stream);
    let mut began = false;
    let end = receive_frames(&mut frames, sink, &mut began).await;
    Received { began, is_exact: frames.is_exact(), end }
}

async fn receive_frames(
    frames: &mut FrameReader<'_>,
    sink: &mut ResponseSink,
    began: &mut bool,
) -> Result<(), Interrupted> {
    loop {
        let (kind, payload) = frames.next().await?;
        *began = true;
        match kind {
            FrameKind::Head => {
                let head = ResponseHead::decode(&payload).map_err(|_| Interrupted::Protocol)?;
                sink.head(head).map_err(|_| Interrupted::Unwanted)?;
            }
            FrameKind::Data => sink.data_async(payload).await.map_err(|_| Interrupted::Unwanted)?,
            FrameKind::File => {
                let range = FileRange::decode(&payload).map_err(|_| Interrupted::Protocol)?;
                let descriptor = frames.take_descriptor().ok_or(Interrupted::Protocol)?;
                // A worker of ours hands over no other file; a process that is none is not trusted with this one's threads.
                let part = FilePart::received(descriptor, range);
                sink.file(part.map_err(|_| Interrupted::Protocol)?)
                    .map_err(|_| Interrupted::Unwanted)?;
            }
            FrameKind::End => return Ok(()),
            FrameKind::Abort => {
                let text = String::from_utf8_lossy(&payload).into_owned();
                return Err(Interrupted::Aborted(AbortReason::Application(text)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::mem::MaybeUninit;
    use std::os::fd::AsFd;

    use bytes::Bytes;
    use rustix::fs::{MemfdFlags, memfd_create};
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::ResponseFrame;
    use crate::frame::FrameHeader;

    async fn run(answer_bytes: &[u8]) -> (Connection, Vec<ResponseFrame>) {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let (sink, mut stream) = response(BufferLimits::default());
        let mut vars = VarsBuilder::new(100);
        vars.push(b"A", b"b").unwrap();
        let request = Request {
            vars: vars.finish(),
            body: Body::Memory(Bytes::from_static(b"body")),
            deadline: None,
        };
        theirs.write_all(answer_bytes).await.unwrap();
        theirs.shutdown().await.unwrap();
        let connection = exchange(&ours, request, sink).await.ok().unwrap();
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

    #[test]
    fn the_time_left_is_told_where_there_is_room() {
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
        let vars = VarsBuilder::new(100).finish();
        let request = Request { vars, body: Body::Empty, deadline: Some(deadline) };
        let said = encode_time_left(&request, 100);
        let vars = crate::Vars::decode(said).unwrap();
        let left: u64 =
            str::from_utf8(vars.get(key::TIME_LEFT_MS).unwrap()).unwrap().parse().unwrap();
        assert!((50_000..=60_001).contains(&left), "{left}");
        assert!(encode_time_left(&request, 20).is_empty());
        assert!(encode_time_left(&Request { deadline: None, ..request }, 100).is_empty());
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
    async fn a_worker_that_says_more_than_its_answer_loses_the_connection() {
        let (connection, frames) =
            run(&[frame(FrameKind::End, b""), frame(FrameKind::Data, b"x")].concat()).await;
        assert_eq!(connection, Connection::Spent);
        assert_eq!(frames, [ResponseFrame::End]);
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

    #[tokio::test]
    async fn an_answer_to_a_body_that_nobody_read_still_arrives() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let (sink, mut stream) = response(BufferLimits::default());
        let body = Body::Memory(Bytes::from(vec![b'x'; 1 << 20]));
        let request = Request { vars: VarsBuilder::new(100).finish(), body, deadline: None };
        let head = ResponseHead { status: 401, ..ResponseHead::default() };
        let answer =
            [frame(FrameKind::Head, &head.encode().unwrap()), frame(FrameKind::End, b"")].concat();
        let worker = async move {
            theirs.read_exact(&mut [0; 500]).await.unwrap();
            theirs.write_all(&answer).await.unwrap();
        };
        let (connection, ()) = tokio::join!(exchange(&ours, request, sink), worker);
        assert_eq!(connection.ok(), Some(Connection::Spent));
        assert_eq!(stream.next().await, Some(ResponseFrame::Head(head)));
        assert_eq!(stream.next().await, Some(ResponseFrame::End));
    }

    #[tokio::test]
    async fn an_answer_that_begins_before_its_request_was_read_blocks_nobody() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let (sink, mut stream) = response(BufferLimits::default());
        let body = Body::Memory(Bytes::from(vec![b'x'; 1 << 20]));
        let request = Request { vars: VarsBuilder::new(100).finish(), body, deadline: None };
        let worker = async move {
            let data = frame(FrameKind::Data, &[b'y'; 100_000]);
            theirs.write_all(&data).await.unwrap();
            AsyncReadExt::take(&mut theirs, (1 << 20) + 4)
                .read_to_end(&mut Vec::new())
                .await
                .unwrap();
            theirs.write_all(&frame(FrameKind::End, b"")).await.unwrap();
        };
        let (connection, ()) = tokio::join!(exchange(&ours, request, sink), worker);
        assert_eq!(connection.ok(), Some(Connection::Reusable));
        assert!(
            matches!(stream.next().await, Some(ResponseFrame::Data(data)) if data.len() == 100_000)
        );
        assert_eq!(stream.next().await, Some(ResponseFrame::End));
    }

    #[tokio::test]
    async fn a_request_that_was_not_sent_whole_and_not_answered_gives_its_sink_back() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (sink, _stream) = response(BufferLimits::default());
        let body = Body::Memory(Bytes::from(vec![b'x'; 1 << 20]));
        let request = Request { vars: VarsBuilder::new(100).finish(), body, deadline: None };
        drop(theirs);
        assert!(exchange(&ours, request, sink).await.is_err());
    }

    /// What the reader sees of an answer that a worker says in `messages`, the first of them with a descriptor.
    async fn run_with(descriptor: impl AsFd, messages: &[Vec<u8>]) -> Vec<ResponseFrame> {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let (sink, mut stream) = response(BufferLimits::default());
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let descriptors = [descriptor.as_fd()];
        assert!(control.push(SendAncillaryMessage::ScmRights(&descriptors)));
        let (first, rest) = messages.split_first().unwrap();
        let parts = [io::IoSlice::new(first)];
        let sent = sendmsg(&theirs, &parts, &mut control, SendFlags::empty()).unwrap();
        assert_eq!(sent, first.len());
        for message in rest {
            theirs.write_all(message).await.unwrap();
        }
        theirs.shutdown().await.unwrap();
        let vars = VarsBuilder::new(100).finish();
        let request = Request { vars, body: Body::Empty, deadline: None };
        exchange(&ours, request, sink).await.ok().unwrap();
        let mut frames = Vec::new();
        while let Some(frame) = stream.next().await {
            frames.push(frame);
        }
        frames
    }

    fn head_frame() -> Vec<u8> {
        let head = ResponseHead { status: 200, ..ResponseHead::default() };
        frame(FrameKind::Head, &head.encode().unwrap())
    }

    fn file_frame() -> Vec<u8> {
        frame(FrameKind::File, &FileRange { offset: 2, size: 3 }.encode())
    }

    #[tokio::test]
    async fn a_file_comes_as_its_descriptor() {
        let file = || {
            let file = File::from(memfd_create("file", MemfdFlags::CLOEXEC).unwrap());
            std::os::unix::fs::FileExt::write_all_at(&file, b"0123456789", 0).unwrap();
            file
        };
        let end = frame(FrameKind::End, b"");
        for messages in [
            vec![[head_frame(), file_frame(), end.clone()].concat()],
            vec![head_frame(), file_frame(), end.clone()],
            // In two halves.
            vec![head_frame(), file_frame()[..9].to_vec(), [&file_frame()[9..], &end].concat()],
        ] {
            let frames = run_with(file(), &messages).await;
            let [ResponseFrame::Head(_), ResponseFrame::File(part), ResponseFrame::End] =
                &frames[..]
            else {
                panic!("{frames:?}");
            };
            let mut bytes = [0; 3];
            std::os::unix::fs::FileExt::read_exact_at(&*part.file, &mut bytes, part.offset)
                .unwrap();
            assert_eq!((&bytes, part.size), (b"234", 3));
        }
    }

    #[tokio::test]
    async fn what_is_no_file_to_hand_over_is_a_protocol_error() {
        let folder = File::open("/").unwrap();
        let whole = [head_frame(), file_frame(), frame(FrameKind::End, b"")].concat();
        let short = [head_frame(), frame(FrameKind::File, b"short")].concat();
        let file = memfd_create("file", MemfdFlags::CLOEXEC).unwrap();
        for frames in [
            run_with(&folder, std::slice::from_ref(&whole)).await,
            run_with(&file, &[short]).await,
            run(&whole).await.1,
        ] {
            let [ResponseFrame::Head(_), ResponseFrame::Aborted(reason)] = &frames[..] else {
                panic!("{frames:?}");
            };
            assert_eq!(*reason, AbortReason::Protocol);
        }
    }
}
