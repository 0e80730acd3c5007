use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use onebox_uwsgi::frame::{FrameHeader, FrameKind};
use onebox_uwsgi::{AbortReason, PacketHeader, ResponseFrame, ResponseHead, VarsBuilder};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;
use tokio::sync::{Semaphore, mpsc};

use super::*;

const MERCY: Duration = Duration::from_secs(100);

fn request(name: &str) -> Request {
    let mut vars = VarsBuilder::new(1000);
    vars.push(b"NAME", name.as_bytes()).unwrap();
    Request { vars: vars.finish(), body: Body::Empty, deadline: None }
}

fn frame(kind: FrameKind, payload: &[u8]) -> Vec<u8> {
    let size = u32::try_from(payload.len()).unwrap();
    [&FrameHeader { kind, size }.encode()[..], payload].concat()
}

fn answer() -> Vec<u8> {
    let head = ResponseHead { status: 200, ..ResponseHead::default() };
    [frame(FrameKind::Head, &head.encode().unwrap()), frame(FrameKind::End, b"")].concat()
}

/// Reads one request; `None` at the end of the connection.
async fn read_request(stream: &mut UnixStream) -> Option<Vec<u8>> {
    let mut header = [0; PacketHeader::LEN];
    stream.read_exact(&mut header).await.ok()?;
    let mut block = vec![0; usize::from(PacketHeader::decode(header).datasize)];
    stream.read_exact(&mut block).await.ok()?;
    Some(block)
}

/// A worker that says when it got a request and answers when `permits` has one for it.
struct FakeWorker {
    address: WorkerAddress,
    received: mpsc::UnboundedReceiver<()>,
    permits: Arc<Semaphore>,
    connections: Arc<AtomicUsize>,
}

fn worker(folder: &std::path::Path, name: &str, threads: u16) -> FakeWorker {
    let socket = folder.join(name);
    let listener = UnixListener::bind(&socket).unwrap();
    let (report, received) = mpsc::unbounded_channel();
    let permits = Arc::new(Semaphore::new(0));
    let connections = Arc::new(AtomicUsize::new(0));
    let (permits_there, count) = (Arc::clone(&permits), Arc::clone(&connections));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::SeqCst);
            let (report, permits) = (report.clone(), Arc::clone(&permits_there));
            tokio::spawn(async move {
                while read_request(&mut stream).await.is_some() {
                    let _ = report.send(());
                    permits.acquire().await.unwrap().forget();
                    stream.write_all(&answer()).await.unwrap();
                }
            });
        }
    });
    FakeWorker {
        address: WorkerAddress { name: name.into(), socket, threads },
        received,
        permits,
        connections,
    }
}

async fn status(mut stream: ResponseStream) -> Result<u16, AbortReason> {
    let mut status = 0;
    loop {
        match stream.next().await {
            Some(ResponseFrame::Head(head)) => status = head.status,
            Some(ResponseFrame::Aborted(reason)) => return Err(reason),
            Some(ResponseFrame::Data(_) | ResponseFrame::File(_)) => {}
            Some(ResponseFrame::End) | None => return Ok(status),
        }
    }
}

fn group(queue_size: usize) -> Arc<WorkerGroup> {
    Arc::new(WorkerGroup::new(queue_size, Arc::default()))
}

fn dispatch(group: &Arc<WorkerGroup>) -> Result<ResponseStream, DispatchError> {
    group.dispatch(request("a"), BufferLimits::default())
}

#[tokio::test]
async fn requests_wait_for_the_first_worker() {
    let folder = tempfile::tempdir().unwrap();
    let group = group(2);
    let (first, second) = (dispatch(&group).unwrap(), dispatch(&group).unwrap());
    assert_eq!(dispatch(&group).err(), Some(DispatchError::QueueFull));
    let worker = worker(folder.path(), "w", 1);
    worker.permits.add_permits(2);
    group.set_workers(vec![worker.address.clone()], MERCY);
    assert_eq!(status(first).await, Ok(200));
    assert_eq!(status(second).await, Ok(200));
}

#[tokio::test]
async fn a_worker_has_as_many_requests_as_threads_and_the_least_busy_one_is_next() {
    let folder = tempfile::tempdir().unwrap();
    let group = group(10);
    let (mut one, mut two) = (worker(folder.path(), "1", 2), worker(folder.path(), "2", 2));
    group.set_workers(vec![one.address.clone(), two.address.clone()], MERCY);
    let streams: Vec<_> = (0..5).map(|_| dispatch(&group).unwrap()).collect();
    assert_eq!(group.waiting(), 1);
    for _ in 0..2 {
        one.received.recv().await.unwrap();
        two.received.recv().await.unwrap();
    }
    assert!(one.received.try_recv().is_err() && two.received.try_recv().is_err());
    one.permits.add_permits(3);
    two.permits.add_permits(2);
    for stream in streams {
        assert_eq!(status(stream).await, Ok(200));
    }
}

#[tokio::test]
async fn a_connection_is_used_again() {
    let folder = tempfile::tempdir().unwrap();
    let group = group(10);
    let worker = worker(folder.path(), "w", 1);
    worker.permits.add_permits(5);
    group.set_workers(vec![worker.address.clone()], MERCY);
    for _ in 0..5 {
        assert_eq!(status(dispatch(&group).unwrap()).await, Ok(200));
    }
    assert_eq!(worker.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_connection_that_the_worker_closed_is_not_used_again() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("w");
    let listener = UnixListener::bind(&socket).unwrap();
    let group = group(10);
    group.set_workers(vec![WorkerAddress { name: "w".into(), socket, threads: 1 }], MERCY);
    for _ in 0..3 {
        let stream = dispatch(&group).unwrap();
        let (mut connection, _) = listener.accept().await.unwrap();
        read_request(&mut connection).await.unwrap();
        connection.write_all(&answer()).await.unwrap();
        drop(connection);
        assert_eq!(status(stream).await, Ok(200));
    }
}

#[tokio::test]
async fn a_request_that_a_worker_got_is_never_sent_again() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("w");
    let listener = UnixListener::bind(&socket).unwrap();
    let group = group(10);
    group.set_workers(vec![WorkerAddress { name: "w".into(), socket, threads: 1 }], MERCY);
    // Over a connection that was used before, where a careless proxy would try again.
    let stream = dispatch(&group).unwrap();
    let (mut connection, _) = listener.accept().await.unwrap();
    read_request(&mut connection).await.unwrap();
    connection.write_all(&answer()).await.unwrap();
    assert_eq!(status(stream).await, Ok(200));
    group.idle_again().await;
    let stream = dispatch(&group).unwrap();
    read_request(&mut connection).await.unwrap();
    drop(connection);
    assert_eq!(status(stream).await, Err(AbortReason::WorkerLost));
    let again = tokio::time::timeout(Duration::from_millis(200), listener.accept()).await;
    assert!(again.is_err(), "the request came a second time");
}

#[tokio::test]
async fn a_worker_that_refuses_connections_loses_no_request() {
    let folder = tempfile::tempdir().unwrap();
    let group = group(10);
    let dead = WorkerAddress { name: "w".into(), socket: folder.path().join("dead"), threads: 1 };
    group.set_workers(vec![dead.clone()], MERCY);
    let stream = dispatch(&group).unwrap();
    let worker = worker(folder.path(), "w", 1);
    worker.permits.add_permits(1);
    group.set_workers(vec![dead, worker.address.clone()], MERCY);
    assert_eq!(status(stream).await, Ok(200));
}

#[tokio::test]
async fn a_worker_that_comes_back_under_its_name_is_found_again() {
    let folder = tempfile::tempdir().unwrap();
    let group = group(10);
    let address = WorkerAddress { name: "w".into(), socket: folder.path().join("w"), threads: 1 };
    group.set_workers(vec![address], MERCY);
    let stream = dispatch(&group).unwrap();
    let worker = worker(folder.path(), "w", 1);
    worker.permits.add_permits(1);
    assert_eq!(status(stream).await, Ok(200));
}

#[tokio::test]
async fn a_retired_worker_finishes_what_it_has_and_gets_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let group = group(10);
    let (mut old, new) = (worker(folder.path(), "old", 4), worker(folder.path(), "new", 4));
    group.set_workers(vec![old.address.clone()], MERCY);
    let before = dispatch(&group).unwrap();
    old.received.recv().await.unwrap();
    group.set_workers(vec![new.address.clone()], MERCY);
    new.permits.add_permits(1);
    assert_eq!(status(dispatch(&group).unwrap()).await, Ok(200));
    old.permits.add_permits(1);
    assert_eq!(status(before).await, Ok(200));
    assert!(old.received.try_recv().is_err());
}

#[tokio::test]
async fn a_request_that_a_replaced_worker_does_not_begin_to_answer_in_time_gets_none() {
    let folder = tempfile::tempdir().unwrap();
    let group = group(10);
    let mut old = worker(folder.path(), "old", 4);
    group.set_workers(vec![old.address.clone()], MERCY);
    let before = dispatch(&group).unwrap();
    old.received.recv().await.unwrap();
    group.set_workers(Vec::new(), Duration::ZERO);
    let waiting = dispatch(&group).unwrap();
    assert_eq!(status(before).await, Err(AbortReason::Replaced));
    group.close(Duration::ZERO);
    assert_eq!(status(waiting).await, Err(AbortReason::Replaced));
}

#[tokio::test]
async fn a_closed_group_serves_what_it_has_and_ends() {
    let folder = tempfile::tempdir().unwrap();
    let group = group(10);
    let worker = worker(folder.path(), "w", 1);
    group.set_workers(vec![worker.address.clone()], MERCY);
    let streams = [dispatch(&group).unwrap(), dispatch(&group).unwrap()];
    group.close(MERCY);
    assert_eq!(dispatch(&group).err(), Some(DispatchError::Draining));
    worker.permits.add_permits(2);
    for stream in streams {
        assert_eq!(status(stream).await, Ok(200));
    }
    group.closed().await;
}

#[tokio::test]
async fn a_client_that_left_makes_room_in_the_queue() {
    let group = group(1);
    drop(dispatch(&group).unwrap());
    assert!(dispatch(&group).is_ok());
    assert_eq!(group.waiting(), 1);
}

#[tokio::test]
async fn a_request_with_a_body_is_never_sent_again() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    drop(theirs);
    let (sink, stream) = response(BufferLimits::default());
    let body = Body::Memory(Bytes::from(vec![b'x'; 1 << 20]));
    let job = Job { request: Request { body, ..request("a") }, sink };
    assert!(matches!(over_open_connection(ours, job).await, Served::Done(None)));
    assert_eq!(status(stream).await, Err(AbortReason::WorkerLost));
}

#[tokio::test]
async fn a_request_without_a_body_that_met_a_closed_connection_may_be_sent_again() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    drop(theirs);
    let (sink, _stream) = response(BufferLimits::default());
    let job = Job { request: request("a"), sink };
    assert!(matches!(over_open_connection(ours, job).await, Served::NotSent(_)));
}

impl WorkerGroup {
    /// Until no worker is busy: an answer is complete a moment before its connection is back.
    async fn idle_again(&self) {
        while self.state.lock().workers.iter().any(|worker| !worker.in_hand.is_empty()) {
            tokio::task::yield_now().await;
        }
    }
}
