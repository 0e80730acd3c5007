//! The response buffer: takes an answer from its worker at the worker's speed and gives it to the client at the client's.
//!
//! First in memory, then in a temporary file, and only when that is full too does the writer wait (`response-buffering`,
//! `max-temp-file`). One writer, one reader. Every frame can be read as soon as it was written.

use std::collections::VecDeque;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use parking_lot::{Condvar, Mutex, MutexGuard};
use tokio::sync::Notify;

use crate::channel::{AbortReason, Gone, Piece, Pushed, ResponseFrame};
use crate::{FilePart, ResponseHead};

/// How much of one answer is held for a slow reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BufferLimits {
    /// In memory, in bytes (`response-buffering`).
    pub memory_bytes: usize,
    /// Beyond that in a temporary file, in bytes (`max-temp-file`).
    pub file_bytes: u64,
}

impl Default for BufferLimits {
    fn default() -> Self {
        Self { memory_bytes: 256 << 10, file_bytes: 1 << 30 }
    }
}

/// How much is read back from the temporary file at once, in bytes.
const READ_BACK_BYTES: usize = 256 << 10;

/// A write that nothing waits in front of may be so many times as large as the memory limit: most readers take it at once.
/// Beyond, a few slow readers of large answers would fill the memory of the box.
const ALONE_FACTOR: usize = 16;

pub(crate) struct ResponseBuffer {
    limits: BufferLimits,
    state: Mutex<State>,
    readable: Notify,
    writable: Condvar,
    writable_async: Notify,
}

#[derive(Default)]
struct State {
    taken_at: Option<Instant>,
    worker: Option<Arc<str>>,
    head: Option<ResponseHead>,
    /// A head was written, whether or not it was read.
    begun: bool,
    /// The whole body, in place of chunks.
    file: Option<FilePart>,
    chunks: VecDeque<Bytes>,
    memory_bytes: usize,
    spill: Option<Spill>,
    /// The disk is full or read-only: nothing more is written to it.
    spill_failed: bool,
    end: Option<Result<(), AbortReason>>,
    reader_gone: bool,
}

/// The part of an answer that went to a temporary file: bytes `read..written` of it are waiting.
struct Spill {
    file: Arc<File>,
    read: u64,
    written: u64,
}

enum Room {
    Memory,
    File { file: Arc<File>, offset: u64 },
    Full,
}

enum Step {
    Frame(ResponseFrame),
    ReadBack { file: Arc<File>, offset: u64, len: usize },
    Wait,
}

impl ResponseBuffer {
    pub(crate) fn new(limits: BufferLimits) -> Arc<Self> {
        Arc::new(Self {
            limits,
            state: Mutex::default(),
            readable: Notify::new(),
            writable: Condvar::new(),
            writable_async: Notify::new(),
        })
    }

    // --- writer ---

    pub(crate) fn mark_taken(&self) {
        self.state.lock().taken_at = Some(Instant::now());
    }

    pub(crate) fn assign_to(&self, worker: Arc<str>) {
        self.state.lock().worker = Some(worker);
    }

    pub(crate) fn head(&self, head: ResponseHead) -> Result<(), Gone> {
        let mut state = self.state.lock();
        if state.is_given_up() {
            return Err(Gone);
        }
        state.begun = true;
        state.head = Some(head);
        drop(state);
        self.readable.notify_one();
        Ok(())
    }

    pub(crate) fn file(&self, part: FilePart) -> Result<(), Gone> {
        let mut state = self.state.lock();
        if state.is_given_up() {
            return Err(Gone);
        }
        state.file = Some(part);
        drop(state);
        self.readable.notify_one();
        Ok(())
    }

    /// Takes a whole piece under one lock and with one wake-up, or gives it back.
    pub(crate) fn try_push(&self, piece: Piece) -> Result<Pushed, Gone> {
        let mut state = self.state.lock();
        if state.is_given_up() {
            return Err(Gone);
        }
        if !piece.data.is_empty() {
            if !self.memory_has_room(&state, piece.data.len()) {
                return Ok(Pushed::Full(piece));
            }
            state.memory_bytes += piece.data.len();
            state.chunks.push_back(piece.data);
        }
        if piece.head.is_some() {
            state.begun = true;
            state.head = piece.head;
        }
        if piece.last && state.end.is_none() {
            state.end = Some(Ok(()));
        }
        drop(state);
        self.readable.notify_one();
        Ok(Pushed::Taken)
    }

    pub(crate) fn has_room(&self, len: usize) -> bool {
        self.memory_has_room(&self.state.lock(), len)
    }

    /// Appends `bytes`; waits on this thread where memory and file are full.
    pub(crate) fn data_blocking(&self, mut bytes: Bytes) -> Result<(), Gone> {
        loop {
            let mut state = self.state.lock();
            let room = loop {
                match self.room(&mut state, bytes.len())? {
                    Room::Full => self.writable.wait(&mut state),
                    room => break room,
                }
            };
            match self.store(state, room, bytes) {
                Ok(()) => return Ok(()),
                Err(unwritten) => bytes = unwritten,
            }
        }
    }

    /// Appends `bytes`; waits as a task where memory and file are full.
    pub(crate) async fn data(&self, mut bytes: Bytes) -> Result<(), Gone> {
        loop {
            let waiting = self.writable_async.notified();
            {
                let mut state = self.state.lock();
                match self.room(&mut state, bytes.len())? {
                    Room::Full => {}
                    room => match self.store(state, room, bytes) {
                        Ok(()) => return Ok(()),
                        Err(unwritten) => {
                            bytes = unwritten;
                            continue;
                        }
                    },
                }
            }
            waiting.await;
        }
    }

    pub(crate) fn end(&self, end: Result<(), AbortReason>) {
        let mut state = self.state.lock();
        if state.end.is_none() {
            state.end = Some(end);
        }
        drop(state);
        self.readable.notify_one();
    }

    pub(crate) fn abort_unless_begun(&self, reason: AbortReason) {
        let mut state = self.state.lock();
        if !state.begun && state.end.is_none() {
            state.end = Some(Err(reason));
        }
        drop(state);
        self.readable.notify_one();
    }

    /// Whether nobody reads what is written.
    pub(crate) fn is_unwanted(&self) -> bool {
        self.state.lock().is_given_up()
    }

    /// Whether the next `len` bytes may stay in memory, behind nothing that waits in the file.
    fn memory_has_room(&self, state: &State, len: usize) -> bool {
        let spilling = state.spill.as_ref().is_some_and(|spill| spill.read < spill.written);
        let limit = match state.memory_bytes {
            0 => self.limits.memory_bytes.saturating_mul(ALONE_FACTOR),
            _ => self.limits.memory_bytes,
        };
        !spilling && state.memory_bytes.saturating_add(len) <= limit
    }

    /// Where the next `len` bytes go. A single write that fits nowhere is taken into memory when nothing else waits.
    fn room(&self, state: &mut State, len: usize) -> Result<Room, Gone> {
        if state.is_given_up() {
            return Err(Gone);
        }
        if self.memory_has_room(state, len) {
            return Ok(Room::Memory);
        }
        if state.spill.is_none() && !state.spill_failed {
            // A disk that is full or read-only leaves us with memory alone: the writer waits for the reader.
            match tempfile::tempfile() {
                Ok(file) => {
                    state.spill = Some(Spill { file: Arc::new(file), read: 0, written: 0 });
                }
                Err(_) => state.spill_failed = true,
            }
        }
        let spilled = match &mut state.spill {
            Some(spill) => {
                if spill.read == spill.written {
                    (spill.read, spill.written) = (0, 0);
                }
                let fits = spill.written.saturating_add(len as u64) <= self.limits.file_bytes;
                if fits && !state.spill_failed {
                    return Ok(Room::File { file: Arc::clone(&spill.file), offset: spill.written });
                }
                spill.written
            }
            None => 0,
        };
        let nothing_waits = state.memory_bytes == 0 && spilled == 0;
        Ok(if nothing_waits { Room::Memory } else { Room::Full })
    }

    /// Puts `bytes` where there was room, or gives them back where the disk did not take them.
    fn store<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        room: Room,
        bytes: Bytes,
    ) -> Result<(), Bytes> {
        match room {
            Room::Memory => {
                state.memory_bytes += bytes.len();
                state.chunks.push_back(bytes);
            }
            Room::File { file, offset } => {
                // Written without the lock: a slow disk must not hold up the reader. There is one writer.
                drop(state);
                let written = file.write_all_at(&bytes, offset);
                state = self.state.lock();
                match (written, &mut state.spill) {
                    (Ok(()), Some(spill)) => spill.written = offset + bytes.len() as u64,
                    // The reader has left.
                    (Ok(()), None) => {}
                    (Err(_), _) => {
                        state.spill_failed = true;
                        return Err(bytes);
                    }
                }
            }
            Room::Full => return Err(bytes),
        }
        drop(state);
        self.readable.notify_one();
        Ok(())
    }

    // --- reader ---

    pub(crate) async fn next(&self) -> ResponseFrame {
        loop {
            let step = self.state.lock().step();
            match step {
                Step::Frame(frame) => {
                    self.writable.notify_one();
                    self.writable_async.notify_one();
                    return frame;
                }
                Step::ReadBack { file, offset, len } => {
                    return self.read_back(file, offset, len).await;
                }
                Step::Wait => self.readable.notified().await,
            }
        }
    }

    async fn read_back(&self, file: Arc<File>, offset: u64, len: usize) -> ResponseFrame {
        let read = tokio::task::spawn_blocking(move || {
            let mut bytes = BytesMut::zeroed(len);
            file.read_exact_at(&mut bytes, offset).map(|()| bytes.freeze())
        })
        .await;
        let Ok(Ok(bytes)) = read else { return ResponseFrame::Aborted(AbortReason::BufferFailed) };
        if let Some(spill) = &mut self.state.lock().spill {
            spill.read = offset + len as u64;
        }
        self.writable.notify_one();
        self.writable_async.notify_one();
        ResponseFrame::Data(bytes)
    }

    pub(crate) fn taken_at(&self) -> Option<Instant> {
        self.state.lock().taken_at
    }

    pub(crate) fn worker(&self) -> Option<Arc<str>> {
        self.state.lock().worker.clone()
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.state.lock().end.is_some()
    }

    pub(crate) fn leave(&self) {
        let mut state = self.state.lock();
        state.reader_gone = true;
        state.file = None;
        state.chunks.clear();
        state.spill = None;
        drop(state);
        self.writable.notify_one();
        self.writable_async.notify_one();
    }
}

impl State {
    /// The reader has left, or was told that there is no answer.
    fn is_given_up(&self) -> bool {
        self.reader_gone || self.end.is_some()
    }

    /// What the reader can have now: memory is always older than the file.
    fn step(&mut self) -> Step {
        if let Some(head) = self.head.take() {
            return Step::Frame(ResponseFrame::Head(head));
        }
        if let Some(part) = self.file.take() {
            return Step::Frame(ResponseFrame::File(part));
        }
        if let Some(bytes) = self.chunks.pop_front() {
            self.memory_bytes -= bytes.len();
            return Step::Frame(ResponseFrame::Data(bytes));
        }
        if let Some(Spill { file, read, written }) = &self.spill
            && read < written
        {
            let len =
                usize::try_from(written - read).unwrap_or(READ_BACK_BYTES).min(READ_BACK_BYTES);
            return Step::ReadBack { file: Arc::clone(file), offset: *read, len };
        }
        match &self.end {
            Some(Ok(())) => Step::Frame(ResponseFrame::End),
            Some(Err(reason)) => Step::Frame(ResponseFrame::Aborted(reason.clone())),
            None => Step::Wait,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: BufferLimits = BufferLimits { memory_bytes: 10, file_bytes: 1000 };

    fn in_memory(buffer: &ResponseBuffer) -> usize {
        buffer.state.lock().memory_bytes
    }

    #[tokio::test]
    async fn a_very_large_single_write_waits_in_the_file() {
        let buffer = ResponseBuffer::new(LIMITS);
        let bytes = Bytes::from(vec![b'x'; 10 * ALONE_FACTOR + 1]);
        buffer.data_blocking(bytes.clone()).unwrap();
        assert_eq!(in_memory(&buffer), 0);
        assert_eq!(buffer.next().await, ResponseFrame::Data(bytes));
    }

    #[tokio::test]
    async fn a_somewhat_large_single_write_stays_in_memory() {
        let buffer = ResponseBuffer::new(LIMITS);
        buffer.data_blocking(Bytes::from(vec![b'x'; 10 * ALONE_FACTOR])).unwrap();
        assert_eq!(in_memory(&buffer), 10 * ALONE_FACTOR);
    }

    #[tokio::test]
    async fn a_single_write_that_fits_nowhere_is_taken_when_nothing_else_waits() {
        let buffer = ResponseBuffer::new(LIMITS);
        let bytes = Bytes::from(vec![b'x'; 2000]);
        buffer.data_blocking(bytes.clone()).unwrap();
        assert_eq!(buffer.next().await, ResponseFrame::Data(bytes));
    }

    #[tokio::test]
    async fn a_full_disk_makes_the_writer_wait_and_cuts_nothing() {
        let buffer = ResponseBuffer::new(LIMITS);
        let full = File::options().write(true).open("/dev/full").unwrap();
        buffer.state.lock().spill = Some(Spill { file: Arc::new(full), read: 0, written: 0 });
        buffer.data_blocking(Bytes::from_static(b"0123456789")).unwrap();
        let writer = Arc::clone(&buffer);
        let worker = std::thread::spawn(move || {
            writer.data_blocking(Bytes::from_static(b"abc")).unwrap();
            writer.end(Ok(()));
        });
        assert_eq!(buffer.next().await, ResponseFrame::Data(Bytes::from_static(b"0123456789")));
        assert_eq!(buffer.next().await, ResponseFrame::Data(Bytes::from_static(b"abc")));
        assert_eq!(buffer.next().await, ResponseFrame::End);
        worker.join().unwrap();
    }
}
