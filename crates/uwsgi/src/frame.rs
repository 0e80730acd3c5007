//! Frames of our own worker sockets.
//!
//! Toward a worker a request is a plain uwsgi packet and its body. A plain uwsgi answer is raw HTTP up to the end of the
//! connection, so a connection could serve one request only. Our workers therefore answer in frames, and the connection
//! stays open: `kind` (u8), `size` of the payload (u32, little endian), payload.

use crate::DecodeError;

/// The size of a frame's header, in bytes.
pub const HEADER_BYTES: usize = 5;
/// The largest payload of one frame, in bytes; longer data is sent in several frames.
pub const MAX_PAYLOAD_BYTES: u32 = 1 << 20;

/// What a frame carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameKind {
    /// An encoded [`crate::ResponseHead`].
    Head,
    /// Bytes of the body.
    Data,
    /// All of the body, as a part of a file: an encoded [`crate::FileRange`]. The descriptor comes with it (`SCM_RIGHTS`). Directly
    /// behind the head.
    File,
    /// The answer is complete; no payload.
    End,
    /// The application failed after its head was sent, payload: the reason as text. The answer is incomplete.
    Abort,
}

/// Kind and size of the frame that follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    /// What the frame carries.
    pub kind: FrameKind,
    /// The size of its payload, in bytes.
    pub size: u32,
}

impl FrameHeader {
    /// The header as it stands on the wire.
    pub const fn encode(self) -> [u8; HEADER_BYTES] {
        let kind = match self.kind {
            FrameKind::Head => 1,
            FrameKind::Data => 2,
            FrameKind::End => 3,
            FrameKind::Abort => 4,
            FrameKind::File => 5,
        };
        let [a, b, c, d] = self.size.to_le_bytes();
        [kind, a, b, c, d]
    }

    /// The header that stands in `bytes`.
    ///
    /// # Errors
    /// [`DecodeError`] where the kind is unknown or the payload longer than [`MAX_PAYLOAD_BYTES`].
    pub const fn decode(bytes: [u8; HEADER_BYTES]) -> Result<Self, DecodeError> {
        let [kind, a, b, c, d] = bytes;
        let kind = match kind {
            1 => FrameKind::Head,
            2 => FrameKind::Data,
            3 => FrameKind::End,
            4 => FrameKind::Abort,
            5 => FrameKind::File,
            other => return Err(DecodeError::UnknownFrame(other)),
        };
        let size = u32::from_le_bytes([a, b, c, d]);
        if size > MAX_PAYLOAD_BYTES {
            return Err(DecodeError::FrameTooLong(size));
        }
        Ok(Self { kind, size })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_survives_a_round_trip() {
        for kind in
            [FrameKind::Head, FrameKind::Data, FrameKind::File, FrameKind::End, FrameKind::Abort]
        {
            let header = FrameHeader { kind, size: 77 };
            assert_eq!(FrameHeader::decode(header.encode()), Ok(header));
        }
    }

    #[test]
    fn unknown_kinds_and_long_frames_are_refused() {
        assert_eq!(FrameHeader::decode([9, 0, 0, 0, 0]), Err(DecodeError::UnknownFrame(9)));
        assert_eq!(FrameHeader::decode([2, 0, 0, 0, 1]), Err(DecodeError::FrameTooLong(1 << 24)));
    }
}
