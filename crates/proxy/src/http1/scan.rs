//! The byte check: finds the end of a head as its bytes arrive, and refuses bytes that no head contains.
//!
//! Line ends are CRLF and nothing else (RFC 9112 §2.2 lets a recipient accept a bare LF; two parsers in a row that disagree
//! about it are how requests are smuggled). The verdict depends on the bytes alone, never on how they were split.

use memchr::memchr;

use super::refusal::Refusal;

/// What the request line holds beside its target: the longest method, two blanks, version and line end.
const AROUND_TARGET_BYTES: usize = 64;

/// How large a head may be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HeadLimits {
    /// Request line and fields together, in bytes.
    pub(crate) head_bytes: usize,
    /// The request target, in bytes.
    pub(crate) target_bytes: usize,
}

/// How far a head was checked.
#[derive(Debug, Default)]
pub(crate) struct HeadScan {
    checked: usize,
    line_start: usize,
}

impl HeadScan {
    /// Goes on with `bytes`, which begin as they did in the call before; the size of the head once it is complete.
    ///
    /// # Errors
    /// [`Refusal`] for a forbidden byte, a bare line end, an empty first line or too large a head.
    pub(crate) fn advance(
        &mut self,
        bytes: &[u8],
        limits: HeadLimits,
    ) -> Result<Option<usize>, Refusal> {
        loop {
            let (limit, too_large) = self.limit(limits);
            let window = bytes.get(..limit).unwrap_or(bytes);
            let fresh = window.get(self.checked..).unwrap_or_default();
            let Some(line_end) = memchr(b'\n', fresh) else {
                // A CR at the end stays unchecked until the byte behind it is there.
                let text = fresh.strip_suffix(b"\r").unwrap_or(fresh);
                check_text(text)?;
                self.checked += text.len();
                return if window.len() == limit { Err(too_large) } else { Ok(None) };
            };
            let line = fresh.get(..line_end).unwrap_or_default();
            let text = line.strip_suffix(b"\r");
            check_text(text.unwrap_or(line))?;
            if text.is_none() {
                return Err(Refusal::bad_request("A line ends with a bare line feed."));
            }
            let next_line = self.checked + line_end + 1;
            let is_empty = next_line == self.line_start + 2;
            if is_empty {
                return match self.line_start {
                    0 => Err(Refusal::bad_request("The request line is empty.")),
                    _ => Ok(Some(next_line)),
                };
            }
            self.checked = next_line;
            self.line_start = next_line;
        }
    }

    /// Where the current line must have ended, and what is said if it has not.
    fn limit(&self, limits: HeadLimits) -> (usize, Refusal) {
        let first_line = limits.target_bytes.saturating_add(AROUND_TARGET_BYTES);
        if self.line_start == 0 && first_line < limits.head_bytes {
            (first_line, Refusal::TARGET_TOO_LONG)
        } else {
            (limits.head_bytes, Refusal::HEAD_TOO_LARGE)
        }
    }
}

/// Refuses control bytes except the horizontal tab (RFC 9110 §5.5).
fn check_text(text: &[u8]) -> Result<(), Refusal> {
    // Without an early exit this is a vector loop.
    if !text.iter().fold(false, |found, &byte| found | is_control(byte)) {
        return Ok(());
    }
    let first = text.iter().copied().find(|&byte| is_control(byte));
    Err(Refusal::bad_request(match first {
        Some(b'\r') => "The head contains a bare carriage return.",
        _ => "The head contains a control character.",
    }))
}

const fn is_control(byte: u8) -> bool {
    (byte < 0x20 && byte != b'\t') || byte == 0x7f
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: HeadLimits = HeadLimits { head_bytes: 200, target_bytes: 40 };

    fn whole(bytes: &[u8]) -> Result<Option<usize>, Refusal> {
        HeadScan::default().advance(bytes, LIMITS)
    }

    #[test]
    fn the_end_of_a_head_is_behind_its_empty_line() {
        assert_eq!(whole(b"GET / HTTP/1.1\r\nA: b\r\n\r\nbody"), Ok(Some(24)));
        assert_eq!(whole(b"GET / HTTP/1.1\r\nA: b\r\n\r"), Ok(None));
        assert_eq!(whole(b""), Ok(None));
    }

    #[test]
    fn a_long_first_line_is_a_long_target_and_a_long_rest_a_large_head() {
        assert_eq!(whole(&[b'a'; 104]), Err(Refusal::TARGET_TOO_LONG));
        let mut head = b"GET / HTTP/1.1\r\nA: ".to_vec();
        head.resize(200, b'a');
        assert_eq!(whole(&head), Err(Refusal::HEAD_TOO_LARGE));
    }

    #[test]
    fn a_split_at_any_byte_changes_nothing() {
        let messages: [&[u8]; 7] = [
            b"GET / HTTP/1.1\r\nA: b\r\n\r\n",
            b"GET / HTTP/1.1\nA: b\r\n\r\n",
            b"GET / HTTP/1.1\r\nA: b\rc\r\n\r\n",
            b"GET / HTTP/1.1\r\nA: \0b\n\r\n\r\n",
            b"\r\nGET / HTTP/1.1\r\n\r\n",
            b"GET / HTTP/1.1\r\r\n\r\n",
            &[b'a'; 300],
        ];
        for message in messages {
            let expected = whole(message);
            for at in 0..message.len() {
                let mut scan = HeadScan::default();
                let first = scan.advance(&message[..at], LIMITS);
                let verdict = if first == Ok(None) { scan.advance(message, LIMITS) } else { first };
                assert_eq!(verdict, expected, "split at {at}");
            }
        }
    }
}
