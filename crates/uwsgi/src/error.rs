//! What can be wrong with a packet, in either direction.

/// Bytes from the other end that are not a valid packet, vars block, head or frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// A length points past the end of the block.
    #[error("a length at byte {offset} of the block points past its end")]
    Truncated {
        /// Where the length stands, in bytes from the start of the block.
        offset: usize,
    },
    /// A key without a name.
    #[error("an empty key at byte {offset} of the block")]
    EmptyKey {
        /// Where the key stands, in bytes from the start of the block.
        offset: usize,
    },
    /// A kind of frame that this version does not know.
    #[error("unknown frame kind {0}")]
    UnknownFrame(u8),
    /// A status outside 100 to 999.
    #[error("status {0} is not a three-digit number")]
    Status(u16),
    /// A frame longer than the limit of [`crate::frame::MAX_PAYLOAD_BYTES`].
    #[error("a frame of {0} bytes is longer than the limit")]
    FrameTooLong(u32),
    /// A [`crate::FileRange`] of another size than it has.
    #[error("a part of a file is said in {0} bytes")]
    FileRange(usize),
}

/// A packet that can't be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// The vars block would be larger than `buffer-size`.
    #[error(
        "the request's variables are larger than buffer-size ({limit} bytes); the largest is {largest} ({largest_bytes} bytes)"
    )]
    BlockTooLarge {
        /// The limit that was passed, in bytes.
        limit: usize,
        /// The name of the largest variable so far.
        largest: String,
        /// Its size, key and value, in bytes.
        largest_bytes: usize,
    },
    /// One key or value is longer than the 65,535 bytes its length field can say.
    #[error("the variable {name} is longer than 65535 bytes")]
    FieldTooLong {
        /// The name of the variable.
        name: String,
    },
}
