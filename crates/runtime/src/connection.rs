//! One connection from the proxy to an isolated worker: reads a uwsgi packet and its body, writes the answer in frames.
//!
//! Source: the uwsgi protocol; `onebox_uwsgi::frame`.

use std::io::{self, ErrorKind, IoSlice, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use onebox_uwsgi::frame::{FrameHeader, FrameKind, MAX_PAYLOAD_BYTES};
use onebox_uwsgi::{FileRange, PacketHeader, Vars, key};
use rustix::buffer::spare_capacity;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, recv, sendmsg};

use crate::host::{Piece, Sent};

/// How long the proxy may take between the bytes of a request: it has the whole request when it begins to send.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// How much of a body that the application left unread is read to keep the connection, in bytes.
const MAX_DRAINED_BYTES: u64 = 1 << 20;
/// How much is read at once, in bytes.
const READ_BYTES: usize = 16 << 10;
/// Larger pieces of an answer are not copied to the kernel while the GIL is held, in bytes.
const AT_ONCE_BYTES: usize = 32 << 10;

/// Whether the other end may be waited for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waiting {
    Allowed,
    /// [`ErrorKind::WouldBlock`] instead.
    Refused,
}

/// A connection, and where it stands in its request.
pub(crate) struct Connection {
    stream: UnixStream,
    /// Bytes read beyond the vars block.
    buffer: Vec<u8>,
    /// How much of the body is still to come, in bytes, those in `buffer` included.
    body_left: u64,
    /// How much was sent of what could not be sent whole without waiting, in bytes.
    sent: usize,
}

impl Connection {
    pub(crate) fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_read_timeout(Some(READ_TIMEOUT))?;
        Ok(Self { stream, buffer: Vec::new(), body_left: 0, sent: 0 })
    }

    pub(crate) fn stream(&self) -> &UnixStream {
        &self.stream
    }

    /// Reads the next packet. `None` where the other end closed the connection before it began one.
    ///
    /// # Errors
    /// Where the connection breaks, is silent for too long, or says something that is no WSGI request; and where the packet is not
    /// here yet and waiting was refused: what has come is kept for the next call.
    pub(crate) fn read_request(&mut self, waiting: Waiting) -> io::Result<Option<Vars>> {
        if !self.fill_to(PacketHeader::LEN, waiting)? {
            return if self.buffer.is_empty() {
                Ok(None)
            } else {
                Err(ErrorKind::UnexpectedEof.into())
            };
        }
        let Some((header, _)) = self.buffer.split_first_chunk() else {
            return Err(ErrorKind::UnexpectedEof.into());
        };
        let header = PacketHeader::decode(*header);
        if header.modifier1 != PacketHeader::WSGI {
            return Err(ErrorKind::InvalidData.into());
        }
        let end = PacketHeader::LEN + usize::from(header.datasize);
        if !self.fill_to(end, waiting)? {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let rest = self.buffer.split_off(end);
        let mut block = std::mem::replace(&mut self.buffer, rest);
        block.drain(..PacketHeader::LEN);
        let vars =
            Vars::decode(block).map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
        self.body_left = content_length(&vars)?;
        if self.buffer.len() as u64 > self.body_left {
            return Err(ErrorKind::InvalidData.into());
        }
        Ok(Some(vars))
    }

    /// Reads some of the body; 0 at its end.
    ///
    /// # Errors
    /// Where the connection ends or is silent before the body is complete.
    pub(crate) fn read_body(&mut self, target: &mut [u8]) -> io::Result<usize> {
        let wanted = usize::try_from(self.body_left).unwrap_or(usize::MAX).min(target.len());
        let Some(target) = target.get_mut(..wanted).filter(|target| !target.is_empty()) else {
            return Ok(0);
        };
        let read = if self.buffer.is_empty() {
            read_some(&mut self.stream, target)?
        } else {
            let count = self.buffer.as_slice().read(target)?;
            self.buffer.drain(..count);
            count
        };
        if read == 0 {
            return Err(io::Error::new(
                ErrorKind::UnexpectedEof,
                "the request's body is incomplete",
            ));
        }
        self.body_left -= read as u64;
        Ok(read)
    }

    /// Reads what is left of the body. False where that is too much: the connection can't be used again.
    ///
    /// # Errors
    /// As [`Self::read_body`].
    pub(crate) fn drain_body(&mut self) -> io::Result<bool> {
        if self.body_left > MAX_DRAINED_BYTES {
            return Ok(false);
        }
        let mut bin = vec![0; if self.body_left > 0 { READ_BYTES } else { 0 }];
        while self.body_left > 0 {
            self.read_body(&mut bin)?;
        }
        Ok(true)
    }

    /// Writes a piece of the answer. Where it would have to wait and that was refused, the next call is for the same piece, and goes on
    /// with it.
    ///
    /// # Errors
    /// Where the other end is gone.
    pub(crate) fn write_piece(&mut self, piece: &Piece<'_>, waiting: Waiting) -> io::Result<Sent> {
        // What the application left unread of the request is read behind its answer.
        let may_wait = piece.data.len() > AT_ONCE_BYTES || piece.last && self.body_left > 0;
        if may_wait && waiting == Waiting::Refused {
            return Ok(Sent::WouldWait);
        }
        let limit = usize::try_from(MAX_PAYLOAD_BYTES).unwrap_or(usize::MAX);
        let mut frames: Vec<([u8; 5], &[u8])> = Vec::with_capacity(3);
        if let Some(head) = piece.head {
            frames.push((header(FrameKind::Head, head)?, head));
        }
        for data in piece.data.chunks(limit) {
            frames.push((header(FrameKind::Data, data)?, data));
        }
        if piece.last {
            frames.push((header(FrameKind::End, b"")?, b""));
        }
        self.write_frames(&frames, None, waiting)
    }

    /// Writes the head of the answer, and the file that is its body.
    ///
    /// # Errors
    /// Where the other end is gone.
    pub(crate) fn write_file(
        &mut self,
        head: &[u8],
        file: &OwnedFd,
        range: FileRange,
    ) -> io::Result<Sent> {
        let range = range.encode();
        let frames = [
            (header(FrameKind::Head, head)?, head),
            (header(FrameKind::File, &range)?, &range[..]),
        ];
        self.write_frames(&frames, Some(file), Waiting::Allowed)
    }

    /// Writes that the answer will never be complete.
    ///
    /// # Errors
    /// Where the other end is gone.
    pub(crate) fn write_abort(&mut self, reason: &str) -> io::Result<Sent> {
        let limit = usize::try_from(MAX_PAYLOAD_BYTES).unwrap_or(usize::MAX);
        let reason = reason.as_bytes().get(..limit).unwrap_or(reason.as_bytes());
        let frames = [(header(FrameKind::Abort, reason)?, reason)];
        self.write_frames(&frames, None, Waiting::Allowed)
    }

    /// Writes frames, but for what was sent of them before; a descriptor goes with their first byte.
    fn write_frames(
        &mut self,
        frames: &[([u8; 5], &[u8])],
        mut descriptor: Option<&OwnedFd>,
        waiting: Waiting,
    ) -> io::Result<Sent> {
        let mut slices: Vec<IoSlice<'_>> = frames
            .iter()
            .flat_map(|(header, payload)| [IoSlice::new(header), IoSlice::new(payload)])
            .collect();
        let mut slices = slices.as_mut_slice();
        IoSlice::advance_slices(&mut slices, self.sent);
        while !slices.is_empty() {
            match send_with(&self.stream, slices, descriptor, waiting) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => {
                    descriptor = None;
                    self.sent += written;
                    IoSlice::advance_slices(&mut slices, written);
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) if waiting == Waiting::Refused => return Ok(Sent::WouldWait),
                Err(error) => return Err(error.into()),
            }
        }
        self.sent = 0;
        Ok(Sent::Taken)
    }

    /// Reads until `buffer` holds `size` bytes; false where the connection ends before.
    fn fill_to(&mut self, size: usize, waiting: Waiting) -> io::Result<bool> {
        let flags = match waiting {
            Waiting::Allowed => RecvFlags::empty(),
            Waiting::Refused => RecvFlags::DONTWAIT,
        };
        while self.buffer.len() < size {
            self.buffer.reserve(READ_BYTES);
            match recv(&self.stream, spare_capacity(&mut self.buffer), flags) {
                Ok((0, _)) => return Ok(false),
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }
}

/// Sends of `parts` what there is room for, and the descriptor with it.
fn send_with(
    stream: &UnixStream,
    parts: &[IoSlice<'_>],
    descriptor: Option<&OwnedFd>,
    waiting: Waiting,
) -> rustix::io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors = descriptor.map(|descriptor| [descriptor.as_fd()]);
    if let Some(descriptors) = &descriptors {
        control.push(SendAncillaryMessage::ScmRights(descriptors));
    }
    let mut flags = SendFlags::NOSIGNAL;
    flags.set(SendFlags::DONTWAIT, waiting == Waiting::Refused);
    sendmsg(stream, parts, &mut control, flags)
}

/// A socket with a timeout is interrupted by signals.
fn read_some(stream: &mut UnixStream, target: &mut [u8]) -> io::Result<usize> {
    loop {
        match stream.read(target) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            read => return read,
        }
    }
}

fn header(kind: FrameKind, payload: &[u8]) -> io::Result<[u8; 5]> {
    let size =
        u32::try_from(payload.len()).map_err(|_| io::Error::from(ErrorKind::InvalidInput))?;
    Ok(FrameHeader { kind, size }.encode())
}

fn content_length(vars: &Vars) -> io::Result<u64> {
    match vars.get(key::CONTENT_LENGTH) {
        None | Some(b"") => Ok(0),
        Some(text) => str::from_utf8(text)
            .ok()
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| ErrorKind::InvalidData.into()),
    }
}
