//! A request's path, decoded exactly once; and what other servers read in it.

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

/// Refuses a path, decoded, that leads elsewhere where it is read as an upstream might: ours are never altered, so that rules for
/// `/admin` would not hold for `/x/../admin`, which many a server takes for the same.
///
/// # Errors
/// [`ProxyError::BadPath`].
pub(crate) fn check_readings(
    path: &[u8],
    is_same: impl Fn(&[u8]) -> bool,
) -> Result<(), ProxyError> {
    if is_read_alike(path, is_same) { Ok(()) } else { Err(ProxyError::BadPath) }
}

/// The same for whoever only wants to know.
pub fn is_read_alike(path: &[u8], is_same: impl Fn(&[u8]) -> bool) -> bool {
    let is_plain = memchr::memchr2(b'\\', b';', path).is_none()
        && !path.windows(2).any(|pair| matches!(pair, b"//" | b"/."));
    let readings = [b"/".as_slice(), b"/\\"].into_iter().flat_map(|slashes| {
        [false, true].map(|has_parameters| read(path, slashes, has_parameters))
    });
    is_plain || readings.into_iter().all(|reading| is_same(&reading))
}

/// A path without empty segments and dots (RFC 3986 §5.2.4), as nginx and Apache read it; with backslashes as slashes, as on
/// Windows; without what follows a semicolon in a segment, as in servlets.
fn read(path: &[u8], slashes: &[u8], has_parameters: bool) -> Vec<u8> {
    let mut segments: Vec<&[u8]> = Vec::new();
    let mut ends_with_slash = false;
    for segment in path.split(|byte| slashes.contains(byte)) {
        let end = segment.iter().position(|byte| has_parameters && *byte == b';');
        let segment = segment.get(..end.unwrap_or(segment.len())).unwrap_or_default();
        ends_with_slash = matches!(segment, b"" | b"." | b"..");
        match segment {
            b"" | b"." => {}
            b".." => drop(segments.pop()),
            segment => segments.push(segment),
        }
    }
    let mut reading = Vec::with_capacity(path.len());
    for segment in &segments {
        reading.push(b'/');
        reading.extend_from_slice(segment);
    }
    if ends_with_slash {
        reading.push(b'/');
    }
    reading
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

    #[test]
    fn a_path_is_read_as_others_do() {
        for (path, plain, windows, servlets) in [
            ("/a//b/./c", "/a/b/c", "/a/b/c", "/a/b/c"),
            ("/a/../../b/", "/b/", "/b/", "/b/"),
            ("/a/..", "/", "/", "/"),
            ("//", "/", "/", "/"),
            ("/.well-known/a.b", "/.well-known/a.b", "/.well-known/a.b", "/.well-known/a.b"),
            ("/a\\..\\b", "/a\\..\\b", "/b", "/a\\..\\b"),
            ("/a/..;x/b;y", "/a/..;x/b;y", "/a/..;x/b;y", "/b"),
        ] {
            let read = |slashes: &[u8], has_parameters| {
                String::from_utf8(read(path.as_bytes(), slashes, has_parameters)).unwrap()
            };
            let readings = [read(b"/", false), read(b"/\\", false), read(b"/", true)];
            assert_eq!(readings, [plain, windows, servlets], "{path}");
        }
    }

    #[test]
    fn a_path_that_leads_elsewhere_in_one_reading_is_refused() {
        let is_admin = |path: &[u8]| path == b"/admin" || path.starts_with(b"/admin/");
        let is_fine =
            |path: &[u8]| check_readings(path, |other| is_admin(other) == is_admin(path)).is_ok();
        for path in ["/admin//x", "/x//y", "/x;y", "/./x", "/x/../y", "/admin/./x", "/.a", "*", ""]
        {
            assert!(is_fine(path.as_bytes()), "{path}");
        }
        for path in [
            "//admin",
            "/./admin",
            "/x/../admin",
            "/admin/../x",
            "/admin;x",
            "/x/..;/admin",
            "/\\admin",
            "/x\\..\\admin",
            "/x\\y/../admin",
            "/x;/../admin",
        ] {
            assert!(!is_fine(path.as_bytes()), "{path}");
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
