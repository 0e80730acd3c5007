//! Chunked bodies: a decoder that takes bytes as they come. Pure: no socket.
//!
//! Source: RFC 9112 §7.1. Extensions are checked and dropped, trailers too (§7.1.2 allows that). Sizes are hexadecimal digits and
//! nothing else; every line ends with CRLF.

use bytes::{Buf, Bytes, BytesMut};

use super::framing::is_token;

/// The most bytes of one size line's extensions.
const MAX_EXTENSION_BYTES: usize = 1024;
/// The most bytes of all trailers together.
const MAX_TRAILER_BYTES: usize = 16 * 1024;

/// The framing is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed;

/// What the decoder found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// Bytes of the body.
    Data(Bytes),
    /// The body and its trailers are complete.
    End,
    /// Nothing without more bytes.
    NeedMore,
}

/// Where in the framing the next byte stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before the first digit of a size.
    SizeStart,
    Size,
    /// In blanks before the `;` of an extension.
    ExtensionBlank,
    /// Behind a `;`, before the extension's name.
    ExtensionStart,
    Extension,
    SizeLineFeed,
    Data,
    DataCarriageReturn,
    DataLineFeed,
    TrailerStart,
    TrailerName,
    TrailerValue,
    TrailerLineFeed,
    LastLineFeed,
    Done,
}

/// Decodes one body.
#[derive(Debug)]
pub(crate) struct ChunkDecoder {
    state: State,
    /// The size being read, then what remains of the chunk, in bytes.
    remaining: u64,
    /// Bytes of the current size line's extensions, then of all trailers.
    overhead: usize,
}

impl ChunkDecoder {
    pub(crate) const fn new() -> Self {
        Self { state: State::SizeStart, remaining: 0, overhead: 0 }
    }

    /// What is known to come yet of the current chunk, in bytes.
    pub(crate) fn remaining(&self) -> u64 {
        if self.state == State::Data { self.remaining } else { 0 }
    }

    /// Takes the next piece from the front of `input`.
    ///
    /// # Errors
    /// [`Malformed`] where the framing is wrong; the decoder is of no use then.
    pub(crate) fn decode(&mut self, input: &mut BytesMut) -> Result<Piece, Malformed> {
        loop {
            match self.state {
                State::Done => return Ok(Piece::End),
                State::Data if input.is_empty() => return Ok(Piece::NeedMore),
                State::Data => {
                    let size =
                        usize::try_from(self.remaining).unwrap_or(usize::MAX).min(input.len());
                    let data = input.split_to(size).freeze();
                    self.remaining -= data.len() as u64;
                    if self.remaining == 0 {
                        self.state = State::DataCarriageReturn;
                    }
                    return Ok(Piece::Data(data));
                }
                _ => {
                    let Some(&byte) = input.first() else { return Ok(Piece::NeedMore) };
                    input.advance(1);
                    self.state = self.step(byte)?;
                }
            }
        }
    }

    fn step(&mut self, byte: u8) -> Result<State, Malformed> {
        match (self.state, byte) {
            (State::SizeStart | State::Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                self.digit(byte)
            }
            (State::Size | State::Extension, b'\r') => {
                self.overhead = 0;
                Ok(State::SizeLineFeed)
            }
            (State::Size | State::ExtensionBlank, b' ' | b'\t') => {
                self.overhead(MAX_EXTENSION_BYTES, State::ExtensionBlank)
            }
            (State::Size | State::ExtensionBlank, b';') | (State::ExtensionStart, b' ' | b'\t') => {
                self.overhead(MAX_EXTENSION_BYTES, State::ExtensionStart)
            }
            (State::ExtensionStart, _) if is_token(byte) => {
                self.overhead(MAX_EXTENSION_BYTES, State::Extension)
            }
            (State::Extension, b' '..=b'~' | b'\t') => {
                self.overhead(MAX_EXTENSION_BYTES, State::Extension)
            }
            (State::SizeLineFeed, b'\n') if self.remaining == 0 => Ok(State::TrailerStart),
            (State::SizeLineFeed, b'\n') => Ok(State::Data),
            (State::DataCarriageReturn, b'\r') => Ok(State::DataLineFeed),
            (State::DataLineFeed, b'\n') => Ok(State::SizeStart),
            (State::TrailerStart, b'\r') => Ok(State::LastLineFeed),
            (State::TrailerStart | State::TrailerName, _) if is_token(byte) => {
                self.overhead(MAX_TRAILER_BYTES, State::TrailerName)
            }
            (State::TrailerName, b':') => self.overhead(MAX_TRAILER_BYTES, State::TrailerValue),
            (State::TrailerValue, b'\r') => Ok(State::TrailerLineFeed),
            (State::TrailerValue, b'\t' | b' '..=b'~' | 0x80..) => {
                self.overhead(MAX_TRAILER_BYTES, State::TrailerValue)
            }
            (State::TrailerLineFeed, b'\n') => Ok(State::TrailerStart),
            (State::LastLineFeed, b'\n') => Ok(State::Done),
            _ => Err(Malformed),
        }
    }

    /// One more digit of the size; overflow is an error (RFC 9112 §7.1), and so are more digits than any size needs.
    fn digit(&mut self, byte: u8) -> Result<State, Malformed> {
        let value = char::from(byte).to_digit(16).ok_or(Malformed)?;
        let shifted = self.remaining.checked_mul(16).ok_or(Malformed)?;
        self.remaining = shifted | u64::from(value);
        self.overhead(16, State::Size)
    }

    fn overhead(&mut self, limit: usize, next: State) -> Result<State, Malformed> {
        self.overhead += 1;
        if self.overhead > limit { Err(Malformed) } else { Ok(next) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The body, whether it is complete, and what stands behind it.
    fn decode(pieces: &[&[u8]]) -> Result<(Vec<u8>, bool, Vec<u8>), Malformed> {
        let (mut decoder, mut body) = (ChunkDecoder::new(), Vec::new());
        let (mut input, mut is_complete) = (BytesMut::new(), false);
        for piece in pieces {
            input.extend_from_slice(piece);
            is_complete = loop {
                match decoder.decode(&mut input)? {
                    Piece::Data(data) => body.extend_from_slice(&data),
                    end => break end == Piece::End,
                }
            };
        }
        Ok((body, is_complete, input.to_vec()))
    }

    #[test]
    fn chunks_extensions_and_trailers_are_taken_apart() {
        let message = b"5;a=\"b c\" ; d\r\nhello\r\n01\r\n!\r\n0\r\nX-A: \xe9\r\nB:\r\n\r\nnext";
        assert_eq!(decode(&[message]), Ok((b"hello!".to_vec(), true, b"next".to_vec())));
    }

    #[test]
    fn a_body_without_its_last_chunk_is_not_complete() {
        assert_eq!(decode(&[b"1\r\na\r\n"]), Ok((b"a".to_vec(), false, Vec::new())));
        assert_eq!(decode(&[b"0\r\n"]), Ok((Vec::new(), false, Vec::new())));
    }

    #[test]
    fn wrong_framing_is_refused() {
        let bad: [&[u8]; 24] = [
            b"\r\n",
            b"g\r\n",
            b"-1\r\n",
            b"+1\r\n",
            b"0x1\r\n",
            b" 1\r\n",
            b"1 \r\n",
            b"1\n",
            b"1\r\r",
            b"1;\r\n",
            b"1;=\r\n",
            b"1;a\x01\r\n",
            b"1;a\n",
            b"1;a\xff\r\n",
            b"10000000000000000\r\n",
            b"00000000000000001\r\n",
            b"1\r\nab\r\n",
            b"1\r\na\n",
            b"1\r\na\rb",
            b"0\r\n:\r\n",
            b"0\r\n a: b\r\n",
            b"0\r\na b\r\n",
            b"0\r\na: b\n",
            b"0\r\na: \0\r\n",
        ];
        for message in bad {
            assert_eq!(
                decode(&[message]),
                Err(Malformed),
                "{:?}",
                message.escape_ascii().to_string()
            );
        }
    }

    #[test]
    fn endless_extensions_and_trailers_are_refused() {
        let extension = [b"1;".as_slice(), &[b'a'; MAX_EXTENSION_BYTES]].concat();
        assert_eq!(decode(&[&extension]), Err(Malformed));
        let trailer = [b"0\r\na:".as_slice(), &[b'a'; MAX_TRAILER_BYTES]].concat();
        assert_eq!(decode(&[&trailer]), Err(Malformed));
    }

    proptest! {
        #[test]
        fn any_bytes_are_decoded_or_refused_the_same_in_pieces(
            bytes in prop::collection::vec(prop::sample::select(&b"0123aF;= \t\r\n\r\n\r\nx:\x00"[..]), 0..80),
            at in any::<prop::sample::Index>(),
        ) {
            let (front, back) = bytes.split_at(at.index(bytes.len() + 1));
            prop_assert_eq!(decode(&[front, back]), decode(&[&bytes]));
        }

        #[test]
        fn what_is_encoded_is_decoded(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..300), 0..8)) {
            let mut message = Vec::new();
            for chunk in &chunks {
                message.extend_from_slice(format!("{:X}\r\n", chunk.len()).as_bytes());
                message.extend_from_slice(chunk);
                message.extend_from_slice(b"\r\n");
            }
            message.extend_from_slice(b"0\r\n\r\n");
            prop_assert_eq!(decode(&[&message]), Ok((chunks.concat(), true, Vec::new())));
        }
    }
}
