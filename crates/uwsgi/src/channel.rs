//! The memory transport: a bounded queue of requests from tasks (the proxy) to threads (the interpreter).
//!
//! Requests are complete when they are queued (their bodies were read), so that a thread never waits for a client.
//! Answers come back through a response buffer each, in frames.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{Cursor, Read, Seek, SeekFrom};
use std::sync::{Arc, Weak};
use std::time::Instant;

use bytes::Bytes;
use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::buffer::{BufferLimits, ResponseBuffer};
use crate::{FilePart, ResponseHead, Vars};

/// How often a thread looks for a request before it sleeps.
const LOOKS: usize = 8;

/// A queue for `capacity` waiting requests, and its two ends.
pub fn channel(capacity: usize) -> (Connector, Backlog) {
    let queue = Arc::new(Queue { capacity, state: Mutex::default(), arrived: Condvar::new() });
    (Connector { queue: Arc::clone(&queue) }, Backlog { queue })
}

/// One request on its way to an application.
#[derive(Debug)]
pub struct Request {
    /// The vars of the packet.
    pub vars: Vars,
    /// The whole body.
    pub body: Body,
    /// When its client is told that it took too long (`harakiri`); `None`: never.
    pub deadline: Option<Instant>,
}

impl Request {
    /// How long it may still take, as packets and the C boundary say it: rounded up, so that a worker is never ahead of
    /// the proxy.
    pub fn time_left_ms(&self) -> Option<u64> {
        let left = self.deadline?.saturating_duration_since(Instant::now());
        Some(u64::try_from(left.as_millis()).unwrap_or(u64::MAX).saturating_add(1))
    }
}

/// A request's body, complete.
#[derive(Debug, Default)]
pub enum Body {
    /// No body, or one of no bytes.
    #[default]
    Empty,
    /// In memory.
    Memory(Bytes),
    /// Spooled to a temporary file, to be read from its start.
    File {
        /// The file; nobody else reads or writes it.
        file: File,
        /// Its size, in bytes.
        size: u64,
    },
}

impl Body {
    /// The size, in bytes.
    pub fn size(&self) -> u64 {
        match self {
            Self::Empty => 0,
            Self::Memory(bytes) => bytes.len() as u64,
            Self::File { size, .. } => *size,
        }
    }

    /// The body as a stream from its start.
    ///
    /// # Errors
    /// Where the temporary file can't be rewound.
    pub fn into_reader(self) -> std::io::Result<Box<dyn Read + Send>> {
        Ok(match self {
            Self::Empty => Box::new(std::io::empty()),
            Self::Memory(bytes) => Box::new(Cursor::new(bytes)),
            Self::File { mut file, size } => {
                file.seek(SeekFrom::Start(0))?;
                Box::new(file.take(size))
            }
        })
    }
}

/// Why a request was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DispatchError {
    /// As many requests wait as the queue holds: 503 with `Retry-After`.
    #[error("the queue is full")]
    QueueFull,
    /// The site takes no new requests: 503.
    #[error("the site is draining")]
    Draining,
}

/// Why an answer has no proper end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AbortReason {
    /// The application raised or broke a rule; the text names the exception and is for the log.
    #[error("the application failed: {0}")]
    Application(String),
    /// The worker ended, or its connection broke, before the answer was complete.
    #[error("the worker was lost")]
    WorkerLost,
    /// The worker is being replaced or stopped, and the request had its mercy: the answer had not begun.
    #[error("the worker was replaced")]
    Replaced,
    /// The worker said something that is no frame.
    #[error("the worker broke the protocol")]
    Protocol,
    /// The temporary file of the response buffer could not be written or read.
    #[error("the response buffer failed")]
    BufferFailed,
}

/// The client, or the proxy on its behalf, no longer wants the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the reader of the answer is gone")]
pub struct Gone;

/// A piece of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResponseFrame {
    /// Status and headers; first and once.
    Head(ResponseHead),
    /// Bytes of the body.
    Data(Bytes),
    /// All of the body.
    File(FilePart),
    /// The answer is complete.
    End,
    /// The answer will never be complete.
    Aborted(AbortReason),
}

/// What a worker has of an answer at one moment: head, bytes and end go to the reader together.
#[derive(Debug, Default)]
pub struct Piece {
    /// Status and headers; in the first piece and only there.
    pub head: Option<ResponseHead>,
    /// Bytes of the body; may be none.
    pub data: Bytes,
    /// Whether the answer is complete with this piece.
    pub last: bool,
}

/// What became of a [`Piece`].
#[derive(Debug)]
pub enum Pushed {
    /// The reader will get it.
    Taken,
    /// It has to wait for a disk or for the reader: give it to [`ResponseSink::push`].
    Full(Piece),
}

struct Queue {
    capacity: usize,
    state: Mutex<QueueState>,
    arrived: Condvar,
}

#[derive(Default)]
struct QueueState {
    jobs: VecDeque<Job>,
    closed: bool,
    /// Threads that sleep until they are called.
    sleeping: usize,
    /// Threads that were called and did not take anything yet.
    coming: usize,
}

impl QueueState {
    /// Whether a thread has to be called for what waits; it counts as called then. One at a time: all need the GIL to
    /// begin, and the one that comes calls the next.
    fn call_one(&mut self) -> bool {
        let is_needed = !self.jobs.is_empty() && self.coming == 0 && self.sleeping > 0;
        if is_needed {
            self.sleeping -= 1;
            self.coming += 1;
        }
        is_needed
    }
}

/// The proxy's end of the queue.
#[derive(Clone)]
pub struct Connector {
    queue: Arc<Queue>,
}

impl Connector {
    /// Queues a request; its answer is read from what this returns.
    ///
    /// # Errors
    /// [`DispatchError`] where the queue is full or closed; the request is lost then.
    pub fn dispatch(
        &self,
        request: Request,
        limits: BufferLimits,
    ) -> Result<ResponseStream, DispatchError> {
        let (sink, stream) = answer(limits);
        let mut state = self.queue.state.lock();
        if state.closed {
            return Err(DispatchError::Draining);
        }
        if state.jobs.len() >= self.queue.capacity {
            state.jobs.retain(|job| !job.sink.is_unwanted());
            if state.jobs.len() >= self.queue.capacity {
                return Err(DispatchError::QueueFull);
            }
        }
        state.jobs.push_back(Job { request, sink });
        let call = state.call_one();
        drop(state);
        if call {
            self.queue.arrived.notify_one();
        }
        Ok(stream)
    }

    /// How many requests wait for a thread.
    pub fn waiting(&self) -> usize {
        self.queue.state.lock().jobs.len()
    }

    /// Takes no more requests; those that wait are still served.
    pub fn close(&self) {
        let mut state = self.queue.state.lock();
        state.closed = true;
        state.coming += std::mem::take(&mut state.sleeping);
        drop(state);
        self.queue.arrived.notify_all();
    }
}

/// The application's end of the queue; every worker thread has a clone.
#[derive(Clone)]
pub struct Backlog {
    queue: Arc<Queue>,
}

/// How a thread comes to [`Backlog::take`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coming {
    /// From another request, or for the first time.
    ByItself,
    /// From [`Backlog::wait`].
    Called,
}

/// Why a thread finds no request in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Empty {
    /// Nothing waits: [`Backlog::wait`], and come again.
    Now,
    /// Nothing waits, and nothing will: the queue is closed.
    ForEver,
}

impl Backlog {
    /// Takes the next request whose client is still there, without waiting for one.
    ///
    /// # Errors
    /// [`Empty`] where nothing waits.
    pub fn take(&self, coming: Coming) -> Result<Job, Empty> {
        let mut state = self.queue.state.lock();
        if coming == Coming::Called {
            state.coming -= 1;
        }
        let job = loop {
            match state.jobs.pop_front() {
                Some(job) if job.sink.is_unwanted() => {}
                job => break job,
            }
        };
        let (call, closed) = (state.call_one(), state.closed);
        drop(state);
        if call {
            self.queue.arrived.notify_one();
        }
        let job = job.ok_or(if closed { Empty::ForEver } else { Empty::Now })?;
        job.sink.buffer.mark_taken();
        Ok(job)
    }

    /// Waits until there is something to [`Backlog::take`]; the thread has to do that then, as [`Coming::Called`].
    ///
    /// One thread at a time looks a few times more before it sleeps, and lets others run in between: under load the next
    /// request comes sooner than a sleep and a call take.
    pub fn wait(&self) {
        let mut state = self.queue.state.lock();
        let mut looks = if state.coming == 0 { LOOKS } else { 0 };
        state.coming += 1;
        while state.jobs.is_empty() && !state.closed {
            if looks == 0 {
                state.coming -= 1;
                state.sleeping += 1;
                // Whoever calls it counts it as coming; this condition variable never wakes by itself.
                self.queue.arrived.wait(&mut state);
                return;
            }
            looks -= 1;
            MutexGuard::unlocked(&mut state, std::thread::yield_now);
        }
    }

    /// Waits for the next request whose client is still there. `None`: the queue is closed and empty.
    pub fn receive(&self) -> Option<Job> {
        let mut coming = Coming::ByItself;
        loop {
            match self.take(coming) {
                Ok(job) => return Some(job),
                Err(Empty::ForEver) => return None,
                Err(Empty::Now) => self.wait(),
            }
            coming = Coming::Called;
        }
    }
}

/// A request that a worker took, and where its answer goes.
pub struct Job {
    /// The request.
    pub request: Request,
    /// Where the answer goes.
    pub sink: ResponseSink,
}

/// An answer's two ends, for a transport that makes them itself.
pub(crate) fn answer(limits: BufferLimits) -> (ResponseSink, ResponseStream) {
    let buffer = ResponseBuffer::new(limits);
    (
        ResponseSink { buffer: Arc::clone(&buffer), ended: false },
        ResponseStream { buffer, done: false },
    )
}

/// Where a worker puts an answer. Dropped before its end, it aborts the answer as [`AbortReason::WorkerLost`].
pub struct ResponseSink {
    buffer: Arc<ResponseBuffer>,
    ended: bool,
}

impl ResponseSink {
    /// Sends status and headers.
    ///
    /// # Errors
    /// [`Gone`] where nobody wants the answer any more.
    pub fn head(&mut self, head: ResponseHead) -> Result<(), Gone> {
        self.buffer.head(head)
    }

    /// Sends bytes of the body; waits on this thread where the response buffer is full.
    ///
    /// # Errors
    /// [`Gone`] where nobody wants the answer any more.
    pub fn data(&mut self, bytes: Bytes) -> Result<(), Gone> {
        self.buffer.data_blocking(bytes)
    }

    /// The same for a task.
    ///
    /// # Errors
    /// [`Gone`] where nobody wants the answer any more.
    pub async fn data_async(&mut self, bytes: Bytes) -> Result<(), Gone> {
        self.buffer.data(bytes).await
    }

    /// Sends a part of a file as the whole body, behind the head; never waits.
    ///
    /// # Errors
    /// [`Gone`] where nobody wants the answer any more.
    pub fn file(&mut self, part: FilePart) -> Result<(), Gone> {
        self.buffer.file(part)
    }

    /// Whether [`Self::try_push`] would take so many bytes now: asked before they are copied.
    pub fn has_room(&self, size_bytes: usize) -> bool {
        self.buffer.has_room(size_bytes)
    }

    /// Sends a piece where memory takes it at once, without waiting for anybody.
    ///
    /// # Errors
    /// [`Gone`] where nobody wants the answer any more.
    pub fn try_push(&mut self, piece: Piece) -> Result<Pushed, Gone> {
        let last = piece.last;
        let pushed = self.buffer.try_push(piece)?;
        self.ended |= last && matches!(pushed, Pushed::Taken);
        Ok(pushed)
    }

    /// Sends a piece; waits on this thread where the response buffer is full.
    ///
    /// # Errors
    /// [`Gone`] where nobody wants the answer any more.
    pub fn push(&mut self, piece: Piece) -> Result<(), Gone> {
        if let Some(head) = piece.head {
            self.buffer.head(head)?;
        }
        if !piece.data.is_empty() {
            self.buffer.data_blocking(piece.data)?;
        }
        if piece.last {
            self.ended = true;
            self.buffer.end(Ok(()));
        }
        Ok(())
    }

    /// The answer is complete.
    pub fn finish(mut self) {
        self.ended = true;
        self.buffer.end(Ok(()));
    }

    /// The answer will never be complete.
    pub fn abort(mut self, reason: AbortReason) {
        self.ended = true;
        self.buffer.end(Err(reason));
    }

    /// Whether nobody wants the answer any more.
    pub fn is_unwanted(&self) -> bool {
        self.buffer.is_unwanted()
    }

    /// The way to give the answer up from outside.
    pub fn withdrawal(&self) -> Withdrawal {
        Withdrawal { buffer: Arc::downgrade(&self.buffer) }
    }

    /// Marks the moment when a worker took the request, for transports that queue by themselves.
    pub fn mark_taken(&self) {
        self.buffer.mark_taken();
    }

    /// Notes which worker shall answer, for transports with several.
    pub fn assign_to(&self, worker: Arc<str>) {
        self.buffer.assign_to(worker);
    }
}

impl Drop for ResponseSink {
    fn drop(&mut self) {
        if !self.ended {
            self.buffer.end(Err(AbortReason::WorkerLost));
        }
    }
}

/// Gives an answer up that its worker has not begun. Keeps neither end alive.
#[derive(Clone)]
pub struct Withdrawal {
    buffer: Weak<ResponseBuffer>,
}

impl Withdrawal {
    /// Aborts the answer unless its head was sent or it has ended; the worker learns that nobody wants it any more.
    pub fn abort_unless_begun(&self, reason: AbortReason) {
        if let Some(buffer) = self.buffer.upgrade() {
            buffer.abort_unless_begun(reason);
        }
    }
}

/// Where the proxy reads an answer. Dropped, it tells the worker that the client is gone.
pub struct ResponseStream {
    buffer: Arc<ResponseBuffer>,
    done: bool,
}

impl ResponseStream {
    /// The next frame; waits for it. `None` after [`ResponseFrame::End`] or [`ResponseFrame::Aborted`].
    /// Cancel safe, except that a frame being read back from the temporary file is read again.
    pub async fn next(&mut self) -> Option<ResponseFrame> {
        if self.done {
            return None;
        }
        let frame = self.buffer.next().await;
        self.done = matches!(frame, ResponseFrame::End | ResponseFrame::Aborted(_));
        Some(frame)
    }

    /// When a worker took the request; `None` while it waits in the queue.
    pub fn taken_at(&self) -> Option<Instant> {
        self.buffer.taken_at()
    }

    /// The name of the worker that has the request, or had it last.
    pub fn worker(&self) -> Option<Arc<str>> {
        self.buffer.worker()
    }

    /// Whether the worker has finished or aborted the answer; frames of it may still wait here.
    pub fn is_complete(&self) -> bool {
        self.buffer.has_ended()
    }
}

impl Drop for ResponseStream {
    fn drop(&mut self) {
        self.buffer.leave();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> Request {
        Request { vars: Vars::default(), body: Body::Empty, deadline: None }
    }

    fn small() -> BufferLimits {
        BufferLimits { memory_bytes: 10, file_bytes: 100 }
    }

    #[test]
    fn a_full_queue_refuses() {
        let (connector, _backlog) = channel(1);
        let _first = connector.dispatch(request(), small()).ok().unwrap();
        assert_eq!(connector.dispatch(request(), small()).err(), Some(DispatchError::QueueFull));
    }

    #[test]
    fn a_client_that_left_makes_room_in_the_queue() {
        let (connector, backlog) = channel(1);
        drop(connector.dispatch(request(), small()).ok().unwrap());
        let _second = connector.dispatch(request(), small()).ok().unwrap();
        assert!(backlog.receive().is_some());
        assert_eq!(connector.waiting(), 0);
    }

    #[tokio::test]
    async fn only_an_answer_that_has_not_begun_is_withdrawn() {
        let (mut sink, mut stream) = answer(small());
        let withdrawal = sink.withdrawal();
        sink.head(ResponseHead::default()).unwrap();
        withdrawal.abort_unless_begun(AbortReason::Replaced);
        assert!(!sink.is_unwanted());
        sink.finish();
        assert!(matches!(stream.next().await, Some(ResponseFrame::Head(_))));
        assert_eq!(stream.next().await, Some(ResponseFrame::End));

        let (mut sink, mut stream) = answer(small());
        sink.withdrawal().abort_unless_begun(AbortReason::Replaced);
        assert_eq!(sink.head(ResponseHead::default()), Err(Gone));
        assert_eq!(stream.next().await, Some(ResponseFrame::Aborted(AbortReason::Replaced)));
    }

    #[test]
    fn a_closed_queue_serves_what_waits_and_ends() {
        let (connector, backlog) = channel(4);
        let _stream = connector.dispatch(request(), small()).ok().unwrap();
        connector.close();
        assert_eq!(connector.dispatch(request(), small()).err(), Some(DispatchError::Draining));
        assert!(backlog.receive().is_some());
        assert!(backlog.receive().is_none());
    }

    #[test]
    fn a_request_that_takes_long_holds_up_no_other() {
        let (connector, backlog) = channel(8);
        let meeting = Arc::new(std::sync::Barrier::new(4));
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let (backlog, meeting) = (backlog.clone(), Arc::clone(&meeting));
                std::thread::spawn(move || {
                    let job = backlog.receive().unwrap();
                    // Nobody gets here before everybody has a request.
                    meeting.wait();
                    job.sink.finish();
                    assert!(backlog.receive().is_none());
                })
            })
            .collect();
        let streams: Vec<_> =
            (0..4).map(|_| connector.dispatch(request(), small()).ok().unwrap()).collect();
        while !streams.iter().all(ResponseStream::is_complete) {
            std::thread::yield_now();
        }
        connector.close();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    }

    #[test]
    fn a_thread_that_was_called_calls_the_next_where_more_waits() {
        let (connector, backlog) = channel(8);
        connector.queue.state.lock().sleeping = 2;
        let mut streams = Vec::new();
        let counts = |backlog: &Backlog| {
            let state = backlog.queue.state.lock();
            (state.sleeping, state.coming)
        };
        for _ in 0..3 {
            streams.push(connector.dispatch(request(), small()).ok().unwrap());
        }
        assert_eq!(counts(&backlog), (1, 1), "one is enough until it has come");
        // A thread that was busy takes one meanwhile.
        assert!(backlog.take(Coming::ByItself).is_ok());
        assert_eq!(counts(&backlog), (1, 1));
        assert!(backlog.take(Coming::Called).is_ok());
        assert_eq!(counts(&backlog), (0, 1), "the third request still waits");
        assert!(backlog.take(Coming::Called).is_ok());
        assert_eq!(counts(&backlog), (0, 0));
        assert_eq!(backlog.take(Coming::ByItself).err(), Some(Empty::Now));
    }

    #[tokio::test]
    async fn frames_arrive_in_order_through_memory_and_file() {
        let (connector, backlog) = channel(1);
        let mut stream = connector.dispatch(request(), small()).unwrap();
        let mut sink = backlog.receive().unwrap().sink;
        sink.head(ResponseHead { status: 200, ..ResponseHead::default() }).unwrap();
        for digit in b'0'..=b'9' {
            sink.data(Bytes::from(vec![digit; 8])).unwrap();
        }
        sink.finish();
        assert!(
            matches!(stream.next().await, Some(ResponseFrame::Head(head)) if head.status == 200)
        );
        let mut body = Vec::new();
        loop {
            match stream.next().await {
                Some(ResponseFrame::Data(bytes)) => body.extend_from_slice(&bytes),
                other => {
                    assert_eq!(other, Some(ResponseFrame::End));
                    break;
                }
            }
        }
        let expected: Vec<u8> = (b'0'..=b'9').flat_map(|digit| [digit; 8]).collect();
        assert_eq!(body, expected);
        assert_eq!(stream.next().await, None);
    }

    #[tokio::test]
    async fn a_piece_is_taken_whole_or_not_at_all() {
        let (connector, backlog) = channel(1);
        let mut stream = connector.dispatch(request(), small()).unwrap();
        let mut sink = backlog.receive().unwrap().sink;
        let head = ResponseHead { status: 200, ..ResponseHead::default() };
        let first =
            Piece { head: Some(head.clone()), data: Bytes::from_static(b"12345678"), last: false };
        assert!(matches!(sink.try_push(first), Ok(Pushed::Taken)));
        assert!(sink.has_room(2) && !sink.has_room(4));
        let second = Piece { head: None, data: Bytes::from_static(b"9012"), last: true };
        let Ok(Pushed::Full(second)) = sink.try_push(second) else { panic!("memory was full") };
        sink.push(second).unwrap();
        let expected = [
            ResponseFrame::Head(head),
            ResponseFrame::Data(Bytes::from_static(b"12345678")),
            ResponseFrame::Data(Bytes::from_static(b"9012")),
            ResponseFrame::End,
        ];
        for frame in expected {
            assert_eq!(stream.next().await, Some(frame));
        }
    }

    #[tokio::test]
    async fn a_writer_waits_for_its_reader_only_when_the_file_is_full() {
        let (connector, backlog) = channel(1);
        let mut stream = connector
            .dispatch(request(), BufferLimits { memory_bytes: 10, file_bytes: 20 })
            .unwrap();
        let (progress, mut written) = tokio::sync::mpsc::unbounded_channel();
        let worker = std::thread::spawn(move || {
            let mut sink = backlog.receive().unwrap().sink;
            for _ in 0..4 {
                sink.data(Bytes::from_static(b"0123456789")).unwrap();
                progress.send(()).unwrap();
            }
            sink.finish();
        });
        for _ in 0..3 {
            written.recv().await.unwrap();
        }
        assert!(written.try_recv().is_err(), "the fourth block had to wait");
        let mut size = 0;
        while let Some(frame) = stream.next().await {
            if let ResponseFrame::Data(bytes) = frame {
                size += bytes.len();
            }
        }
        assert_eq!(size, 40);
        worker.join().unwrap();
    }

    #[tokio::test]
    async fn a_waiting_writer_learns_that_its_reader_left() {
        let (connector, backlog) = channel(1);
        let stream =
            connector.dispatch(request(), BufferLimits { memory_bytes: 1, file_bytes: 1 }).unwrap();
        let mut sink = backlog.receive().unwrap().sink;
        sink.data(Bytes::from_static(b"ab")).unwrap();
        let worker = std::thread::spawn(move || sink.data(Bytes::from_static(b"cd")));
        drop(stream);
        assert_eq!(worker.join().unwrap(), Err(Gone));
    }

    #[tokio::test]
    async fn a_dropped_sink_is_a_lost_worker() {
        let (connector, backlog) = channel(1);
        let mut stream = connector.dispatch(request(), small()).unwrap();
        drop(backlog.receive());
        assert_eq!(stream.next().await, Some(ResponseFrame::Aborted(AbortReason::WorkerLost)));
    }

    #[test]
    fn a_body_in_a_file_is_read_from_its_start() {
        use std::io::Write;
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"hello").unwrap();
        let mut text = String::new();
        Body::File { file, size: 5 }.into_reader().unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "hello");
    }
}
