//! A request's path, decoded exactly once.

use std::borrow::Cow;

use crate::error::ProxyError;

/// The bytes that a percent-encoded path stands for (RFC 3986 §2.1).
///
/// # Errors
/// [`ProxyError::BadPath`] for an escape that is none, and for NUL.
pub(crate) fn decode(path: &[u8]) -> Result<Cow<'_, [u8]>, ProxyError> {
    let Some(first) = memchr::memchr(b'%', path) else { return Ok(Cow::Borrowed(path)) };
    let (plain, mut rest) = path.split_at_checked(first).ok_or(ProxyError::BadPath)?;
    let mut decoded = Vec::with_capacity(path.len());
    decoded.extend_from_slice(plain);
    loop {
        match rest {
            [] => return Ok(Cow::Owned(decoded)),
            [b'%', high, low, after @ ..] => {
                let (Some(high), Some(low)) = (hex_digit(*high), hex_digit(*low)) else {
                    return Err(ProxyError::BadPath);
                };
                if (high, low) == (0, 0) {
                    return Err(ProxyError::BadPath);
                }
                decoded.push(high << 4 | low);
                rest = after;
            }
            [b'%', ..] => return Err(ProxyError::BadPath),
            [byte, after @ ..] => {
                decoded.push(*byte);
                rest = after;
            }
        }
    }
}

/// The same for whoever only wants to know; `None`: it can't be decoded.
pub fn decode_path(path: &[u8]) -> Option<Cow<'_, [u8]>> {
    decode(path).ok()
}

fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn escapes_are_decoded_once() {
        assert_eq!(decode(b"/caf%C3%A9/%2e%252e").unwrap(), "/café/.%2e".as_bytes());
        assert!(matches!(decode(b"/plain"), Ok(Cow::Borrowed(b"/plain"))));
    }

    #[test]
    fn bad_escapes_and_nul_are_refused() {
        for path in [&b"/%"[..], b"/%a", b"/%zz", b"/%00", b"/a%0", b"/%%41"] {
            assert!(decode(path).is_err(), "{}", String::from_utf8_lossy(path));
        }
    }

    proptest! {
        #[test]
        fn every_encoded_path_comes_back(bytes in prop::collection::vec(1u8..=255, 0..60)) {
            let encoded: String = bytes.iter().map(|byte| format!("%{byte:02X}")).collect();
            prop_assert_eq!(decode(encoded.as_bytes()).unwrap().into_owned(), bytes);
        }
    }
}
