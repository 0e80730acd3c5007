//! An encrypted connection after its handshake: the session between the socket and whoever reads and writes.
//!
//! Both directions share the session, so it stands behind a lock that is held only while bytes are moved in memory or handed to
//! the kernel, never while anybody waits. Nobody else is there to contend for it: reader and writer are one task.

use std::fs::File;
use std::io::{self, BufRead, IoSlice, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use parking_lot::Mutex;
use rustls::ServerConnection;
use tokio::io::ReadBuf;
use tokio::net::TcpStream;

use super::HTTP_2;

/// What is read of a file at once, in bytes: four records.
const FILE_BYTES: usize = 64 << 10;

/// A TCP connection and its session.
#[derive(Debug)]
pub(crate) struct TlsStream {
    tcp: TcpStream,
    session: Mutex<ServerConnection>,
}

impl TlsStream {
    /// A connection whose handshake is done.
    pub(super) fn new(tcp: TcpStream, session: ServerConnection) -> Self {
        Self { tcp, session: Mutex::new(session) }
    }

    /// The connection below.
    pub(crate) fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    /// Waits until there is something to read: bytes, the end, or an error.
    pub(crate) async fn readable(&self) -> io::Result<()> {
        std::future::poll_fn(|cx| self.poll_readable(cx, &mut self.session.lock())).await
    }

    /// Appends what is there to `buf`, as much as it has room for; 0: the client sends no more.
    pub(crate) fn poll_read(
        &self,
        cx: &mut Context<'_>,
        buf: &mut BytesMut,
    ) -> Poll<io::Result<usize>> {
        let mut session = self.session.lock();
        ready!(self.poll_readable(cx, &mut session))?;
        let mut reader = session.reader();
        let there = reader.fill_buf()?;
        let room = (buf.capacity() - buf.len()).max(1);
        let taken = there.get(..room).unwrap_or(there);
        buf.extend_from_slice(taken);
        let size = taken.len();
        reader.consume(size);
        Poll::Ready(Ok(size))
    }

    /// Reads what is there into `buf`; nothing: the client sends no more.
    pub(crate) fn poll_read_into(
        &self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut session = self.session.lock();
        ready!(self.poll_readable(cx, &mut session))?;
        let mut reader = session.reader();
        let there = reader.fill_buf()?;
        let taken = there.get(..buf.remaining()).unwrap_or(there);
        buf.put_slice(taken);
        let size = taken.len();
        reader.consume(size);
        Poll::Ready(Ok(()))
    }

    /// Takes of `parts` what the session has room for, and hands to the kernel what that takes of it now.
    pub(crate) fn poll_write(
        &self,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut session = self.session.lock();
        ready!(self.poll_written(cx, &mut session))?;
        let taken = session.writer().write_vectored(parts)?;
        match self.poll_written(cx, &mut session) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            // What is left goes out before the next, or with the flush.
            _ => Poll::Ready(Ok(taken)),
        }
    }

    /// Waits until the kernel has everything.
    pub(crate) fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_written(cx, &mut self.session.lock())
    }

    fn poll_written(
        &self,
        cx: &mut Context<'_>,
        session: &mut ServerConnection,
    ) -> Poll<io::Result<()>> {
        while session.wants_write() {
            match session.write_tls(&mut Kernel(&self.tcp)) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(self.tcp.poll_write_ready(cx))?;
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Whether the client has chosen HTTP/2 in the handshake (RFC 7301).
    pub(crate) fn speaks_http2(&self) -> bool {
        self.session.lock().alpn_protocol() == Some(HTTP_2)
    }

    /// Decrypts what comes until there is something to read.
    fn poll_readable(
        &self,
        cx: &mut Context<'_>,
        session: &mut ServerConnection,
    ) -> Poll<io::Result<()>> {
        loop {
            match session.reader().fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // The end, and what is wrong, is for the read to say.
                _ => return Poll::Ready(Ok(())),
            }
            ready!(self.tcp.poll_read_ready(cx))?;
            match session.read_tls(&mut Kernel(&self.tcp)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                taken => taken?,
            };
            let processed = session.process_new_packets();
            // An alert, or new keys. What the kernel does not take now goes with the next answer.
            while session.wants_write() && session.write_tls(&mut Kernel(&self.tcp)).is_ok() {}
            processed.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        }
    }

    /// Writes all `parts`; counts in `written` what the session took.
    ///
    /// # Errors
    /// The socket's, and [`io::ErrorKind::TimedOut`] where the client takes nothing for `patience`.
    pub(crate) async fn write_all(
        &self,
        mut parts: &mut [IoSlice<'_>],
        patience: Duration,
        written: &mut u64,
    ) -> io::Result<()> {
        IoSlice::advance_slices(&mut parts, 0);
        while !self.encrypt(&mut parts, written)? {
            tokio::time::timeout(patience, self.tcp.writable()).await??;
        }
        Ok(())
    }

    /// Encrypts and hands to the kernel as much as it takes; whether that was all.
    fn encrypt(&self, parts: &mut &mut [IoSlice<'_>], written: &mut u64) -> io::Result<bool> {
        let mut session = self.session.lock();
        loop {
            let taken = match parts.is_empty() {
                true => 0,
                false => session.writer().write_vectored(parts)?,
            };
            *written += taken as u64;
            IoSlice::advance_slices(parts, taken);
            if !session.wants_write() {
                return if parts.is_empty() {
                    Ok(true)
                } else {
                    Err(io::ErrorKind::WriteZero.into())
                };
            }
            match session.write_tls(&mut Kernel(&self.tcp)) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
    }

    /// Writes `bytes`, which go out with what is written next.
    ///
    /// # Errors
    /// As [`Self::write_all`].
    pub(crate) async fn write_with_more(
        &self,
        bytes: &[u8],
        patience: Duration,
        written: &mut u64,
    ) -> io::Result<()> {
        let taken = self.session.lock().writer().write(bytes)?;
        *written += taken as u64;
        match bytes.get(taken..) {
            None | Some([]) => Ok(()),
            Some(rest) => self.write_all(&mut [IoSlice::new(rest)], patience, written).await,
        }
    }

    /// Sends `size` bytes of `file` from `offset`.
    ///
    /// # Errors
    /// As [`Self::write_all`]; `ENODATA` where the file has become shorter.
    pub(crate) async fn send_file(
        &self,
        file: &File,
        mut offset: u64,
        size: u64,
        patience: Duration,
        written: &mut u64,
    ) -> io::Result<()> {
        let end = offset.saturating_add(size);
        let mut buf = vec![0; usize::try_from(size).unwrap_or(FILE_BYTES).min(FILE_BYTES)];
        while offset < end {
            let wanted = usize::try_from(end - offset).unwrap_or(usize::MAX).min(buf.len());
            let (room, _) = buf.split_at_mut(wanted);
            let read = file.read_at(room, offset)?;
            if read == 0 {
                return Err(rustix::io::Errno::NODATA.into());
            }
            let (piece, _) = room.split_at(read);
            self.write_all(&mut [IoSlice::new(piece)], patience, written).await?;
            offset += read as u64;
            // A client that is as fast as this loop must not keep a thread of the runtime to itself.
            tokio::task::coop::consume_budget().await;
        }
        Ok(())
    }

    /// Says that nothing more will be sent, so that the client can tell this end from one that was forged; as far as the kernel
    /// takes it at once.
    pub(crate) fn say_goodbye(&self) {
        let mut session = self.session.lock();
        session.send_close_notify();
        while session.wants_write() && session.write_tls(&mut Kernel(&self.tcp)).is_ok() {}
    }
}

impl AsFd for TlsStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.tcp.as_fd()
    }
}

/// The socket as the session wants it: whatever the kernel has or takes at this moment.
struct Kernel<'s>(&'s TcpStream);

impl Read for Kernel<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buf)
    }
}

impl Write for Kernel<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(parts)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
