//! The receiving end of a connection to a worker: frames, and the descriptor that may come with one.
//!
//! Source: unix(7), "Ancillary messages" (`SCM_RIGHTS`).

use std::io::{self, ErrorKind, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;

use bytes::{Buf, Bytes, BytesMut};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use tokio::io::Interest;
use tokio::net::UnixStream;

use super::Interrupted;
use crate::frame::{FrameHeader, FrameKind, HEADER_BYTES};

/// How much room a read has at least, in bytes: the frames of a small answer come with one.
const LEAST_BYTES: usize = 8 << 10;
/// How much room it has at most, in bytes: about what the kernel holds.
const MOST_BYTES: usize = 256 << 10;

/// Reads the frames of one answer.
pub(super) struct FrameReader<'s> {
    stream: &'s UnixStream,
    buffer: BytesMut,
    /// Came with bytes that were read; meant for the next [`FrameKind::File`].
    descriptor: Option<OwnedFd>,
}

impl<'s> FrameReader<'s> {
    pub(super) fn new(stream: &'s UnixStream) -> Self {
        Self { stream, buffer: BytesMut::new(), descriptor: None }
    }

    /// The next frame.
    ///
    /// # Errors
    /// Where the connection ends first, or what comes is no frame.
    pub(super) async fn next(&mut self) -> Result<(FrameKind, Bytes), Interrupted> {
        self.fill_to(HEADER_BYTES).await?;
        let Some(header) = self.buffer.first_chunk() else { return Err(Interrupted::Protocol) };
        let header = FrameHeader::decode(*header).map_err(|_| Interrupted::Protocol)?;
        let size = usize::try_from(header.size).map_err(|_| Interrupted::Protocol)?;
        self.fill_to(HEADER_BYTES + size).await?;
        self.buffer.advance(HEADER_BYTES);
        Ok((header.kind, self.buffer.split_to(size).freeze()))
    }

    /// The descriptor that came with the last frame or before.
    pub(super) fn take_descriptor(&mut self) -> Option<OwnedFd> {
        self.descriptor.take()
    }

    /// Whether nothing came behind the last frame.
    pub(super) fn is_exact(&self) -> bool {
        self.buffer.is_empty() && self.descriptor.is_none()
    }

    async fn fill_to(&mut self, size: usize) -> Result<(), Interrupted> {
        while self.buffer.len() < size {
            let missing = size - self.buffer.len();
            // Longer frames get their memory at once.
            self.buffer.reserve(missing.max(LEAST_BYTES));
            match self.read(missing.clamp(LEAST_BYTES, MOST_BYTES)).await {
                Ok(0) | Err(_) => return Err(Interrupted::Lost),
                Ok(_) => {}
            }
        }
        Ok(())
    }

    /// Appends what is there, `room` bytes at most, or waits for it. 0: nothing more will come.
    async fn read(&mut self, room: usize) -> io::Result<usize> {
        let start = self.buffer.len();
        self.buffer.resize(start + room, 0);
        let read = loop {
            if let Err(error) = self.stream.readable().await {
                break Err(error);
            }
            match self.try_read(start) {
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                read => break read,
            }
        };
        self.buffer.truncate(start + read.as_ref().copied().unwrap_or(0));
        read
    }

    fn try_read(&mut self, start: usize) -> io::Result<usize> {
        let (stream, descriptor) = (self.stream, &mut self.descriptor);
        let target = self.buffer.get_mut(start..).unwrap_or_default();
        let room = target.len();
        let mut read = None;
        let tried = stream.try_io(Interest::READABLE, || {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let parts = &mut [IoSliceMut::new(target)];
            let message = recvmsg(stream, parts, &mut control, RecvFlags::CMSG_CLOEXEC)?;
            let passed = control.drain().filter_map(|message| match message {
                RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
                _ => None,
            });
            let passed = passed.flatten().last();
            read = Some(message.bytes);
            // A short read has emptied the socket, unless it stopped at a descriptor: to try again would be in vain.
            let is_empty = message.bytes < room && passed.is_none();
            if passed.is_some() {
                *descriptor = passed;
            }
            if is_empty { Err(ErrorKind::WouldBlock.into()) } else { Ok(()) }
        });
        match (read, tried) {
            (Some(size), _) => Ok(size),
            (None, Err(error)) => Err(error),
            (None, Ok(())) => Err(ErrorKind::WouldBlock.into()),
        }
    }
}
