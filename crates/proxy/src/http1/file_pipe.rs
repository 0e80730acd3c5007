//! A pipe through which a big file goes to its socket, without a copy: splice(2).
//!
//! It takes a megabyte of pages at a time, where sendfile(2) goes through a pipe of 64 KB of its own: a fifth less CPU for 100 MB.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::io::{Errno, Result};
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};

/// The least of a file that is worth a pipe, in bytes.
const WORTHWHILE_BYTES: u64 = 4 << 20;
/// How much one holds, in bytes: what every user may have by pipe(7).
const PIPE_BYTES: usize = 1 << 20;
/// How many there are at a time. All of a user's pipes may hold 64 MB together; further ones of his, also those of applications,
/// would be very small.
const MAX_PIPES: usize = 16;

static PIPES: AtomicUsize = AtomicUsize::new(0);

/// The pipe of one transfer.
#[derive(Debug)]
pub(super) struct FilePipe {
    out: OwnedFd,
    into: OwnedFd,
    /// Bytes of the file that are in it.
    filled: usize,
    _counted: Counted,
}

impl FilePipe {
    /// A pipe for so many bytes of a file; `None`: they are few, or there is no room for one more pipe, and sendfile(2) does it.
    pub(super) fn new(size: u64) -> Option<Self> {
        if size < WORTHWHILE_BYTES {
            return None;
        }
        let counted = Counted::new()?;
        let (out, into) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).ok()?;
        fcntl_setpipe_size(&into, PIPE_BYTES).ok()?;
        Some(Self { out, into, filled: 0, _counted: counted })
    }

    /// Sends what the socket takes of the file from `offset` to `end`, and moves `offset` behind it; 0: the file ends before.
    pub(super) fn send(
        &mut self,
        socket: BorrowedFd<'_>,
        file: &File,
        offset: &mut u64,
        end: u64,
    ) -> Result<usize> {
        let left = usize::try_from(end - *offset).unwrap_or(usize::MAX);
        if self.filled == 0 {
            let (mut from, count) = (*offset, left.min(PIPE_BYTES));
            let flags = SpliceFlags::empty();
            self.filled = splice(file, Some(&mut from), &self.into, None, count, flags)?;
            if self.filled == 0 {
                return Ok(0);
            }
        }
        let more = if self.filled < left { SpliceFlags::MORE } else { SpliceFlags::empty() };
        let flags = SpliceFlags::NONBLOCK | more;
        let sent = splice(self.out.as_fd(), None, socket, None, self.filled, flags)?;
        self.filled = self.filled.checked_sub(sent).ok_or(Errno::IO)?;
        *offset += sent as u64;
        Ok(sent)
    }
}

/// One of the pipes there may be.
#[derive(Debug)]
struct Counted;

impl Counted {
    fn new() -> Option<Self> {
        let counted = |pipes| (pipes < MAX_PIPES).then_some(pipes + 1);
        PIPES.fetch_update(Ordering::Relaxed, Ordering::Relaxed, counted).ok().map(|_| Self)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        PIPES.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    fn connection() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        server.set_nonblocking(true).unwrap();
        (server, client)
    }

    fn file(size: u64) -> (File, Vec<u8>) {
        let content: Vec<u8> =
            (0..size).map(|at| at.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes()[0]).collect();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&content).unwrap();
        (file, content)
    }

    #[test]
    fn a_span_arrives_whole_however_little_the_client_takes_at_a_time() {
        let (file, content) = file((5 << 20) + 777);
        let (server, mut client) = connection();
        let (mut offset, end) = (333, (5 << 20) + 555);
        let expected = content[333..(5 << 20) + 555].to_vec();
        let reading = std::thread::spawn(move || {
            let (mut received, mut buf) = (Vec::new(), [0; 10_007]);
            while received.len() < expected.len() {
                let size = client.read(&mut buf).unwrap();
                assert_ne!(size, 0);
                received.extend_from_slice(&buf[..size]);
            }
            assert!(received == expected);
        });
        let mut pipe = FilePipe::new(end).unwrap();
        let mut waits = 0;
        while offset < end {
            match pipe.send(server.as_fd(), &file, &mut offset, end) {
                Ok(sent) => assert_ne!(sent, 0),
                Err(Errno::AGAIN) => {
                    waits += 1;
                    std::thread::yield_now();
                }
                Err(error) => panic!("{error}"),
            }
        }
        reading.join().unwrap();
        assert!(waits > 0, "the socket took all at once");
        assert_eq!(pipe.filled, 0);
    }

    #[test]
    fn a_file_that_became_shorter_ends_with_nothing() {
        let (file, _) = file(1 << 20);
        let (server, mut client) = connection();
        let reading = std::thread::spawn(move || std::io::copy(&mut client, &mut std::io::sink()));
        let mut pipe = FilePipe::new(8 << 20).unwrap();
        let mut offset = 0;
        loop {
            match pipe.send(server.as_fd(), &file, &mut offset, 8 << 20) {
                Ok(0) => break,
                Ok(_) | Err(Errno::AGAIN) => {}
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!(offset, 1 << 20);
        drop(server);
        assert_eq!(reading.join().unwrap().unwrap(), 1 << 20);
    }

    #[test]
    fn a_small_part_has_no_pipe() {
        assert!(FilePipe::new(WORTHWHILE_BYTES - 1).is_none());
    }
}
