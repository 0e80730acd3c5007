//! A complete head → a request. Pure: no socket, no clock.
//!
//! The bytes were checked by [`super::scan`]; httparse takes them apart; the rules about single fields are in [`super::target`]
//! and [`super::framing`]. Values are slices of the head's buffer: nothing is copied.

use std::mem::MaybeUninit;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use http::Method;
use memchr::memchr;

use super::framing::{Fields, Framing, read_fields};
use super::refusal::Refusal;
use super::scan::HeadLimits;
use super::singleton::check_singletons;
use super::target::{parse_host, parse_target};
use crate::message::{RequestHead, Version};

/// The most fields of a head.
pub(crate) const MAX_FIELDS: usize = 128;

/// A request, and what its head says about its body and its connection.
#[derive(Debug)]
pub(crate) struct Parsed {
    pub(crate) head: RequestHead,
    pub(crate) fields: Fields,
}

/// Parses a head that ends with its empty line.
///
/// # Errors
/// [`Refusal`] where it is not a request that can be served safely.
pub(crate) fn parse_head(
    mut bytes: BytesMut,
    limits: HeadLimits,
    received_at: Instant,
) -> Result<Parsed, Refusal> {
    lower_field_names(&mut bytes);
    let bytes = bytes.freeze();
    let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut request = httparse::Request::new(&mut []);
    let complete = request
        .parse_with_uninit_headers(&bytes, &mut fields)
        .map_err(|error| refusal_of(error, &bytes))?
        .is_complete();
    let (true, Some(method), Some(target), Some(version)) =
        (complete, request.method, request.path, request.version)
    else {
        return Err(Refusal::bad_request("The head is not complete."));
    };
    if target.len() > limits.target_bytes {
        return Err(Refusal::TARGET_TOO_LONG);
    }
    let method = Method::from_bytes(method.as_bytes())
        .map_err(|_| Refusal::bad_request("The method is not valid."))?;
    let version = if version == 0 { Version::Http10 } else { Version::Http11 };
    let mut headers: Vec<(Bytes, Bytes)> = request
        .headers
        .iter()
        .map(|field| (bytes.slice_ref(field.name.as_bytes()), bytes.slice_ref(field.value)))
        .collect();
    let target_bytes = bytes.slice_ref(target.as_bytes());
    let target = parse_target(&method, &target_bytes)?;
    let fields = read_fields(&headers, version)?;
    check_singletons(&headers)?;
    let (host, port) = effective_host(&mut headers, target.authority, version)?.unzip();
    let content_length = match fields.framing {
        Framing::Length(size) => Some(size),
        Framing::Chunked => None,
    };
    let head = RequestHead {
        method,
        target: target_bytes,
        path: target.path,
        query: target.query,
        version,
        headers,
        host,
        port: port.flatten(),
        content_length,
        received_at,
    };
    Ok(Parsed { head, fields })
}

/// Exactly one valid Host, or none in HTTP/1.0 (RFC 9112 §3.2); the authority of an absolute target replaces it (§3.2.2), in
/// the field too, so that nobody behind us reads another name.
fn effective_host(
    headers: &mut [(Bytes, Bytes)],
    authority: Option<Bytes>,
    version: Version,
) -> Result<Option<(String, Option<u16>)>, Refusal> {
    let mut hosts = headers.iter_mut().filter(|(name, _)| name.as_ref() == b"host");
    let field = hosts.next().map(|(_, value)| value);
    if hosts.next().is_some() {
        return Err(Refusal::bad_request("Host is given more than once."));
    }
    if field.is_none() && version == Version::Http11 {
        return Err(Refusal::bad_request("Host is missing."));
    }
    let mut host = field.as_deref().map(|value| parse_host(value)).transpose()?;
    if let Some(authority) = authority {
        host = Some(parse_host(&authority)?);
        if let Some(value) = field {
            *value = authority;
        }
    }
    Ok(host)
}

/// Field names in lower case, in place. Whether they are names is httparse's question.
fn lower_field_names(head: &mut [u8]) {
    let Some(mut rest) = memchr(b'\n', head).and_then(|end| head.get_mut(end + 1..)) else {
        return;
    };
    while let Some(end) = memchr(b'\n', rest) {
        let (line, next) = std::mem::take(&mut rest).split_at_mut(end + 1);
        let name_size = memchr(b':', line).unwrap_or(0);
        line.iter_mut().take(name_size).for_each(u8::make_ascii_lowercase);
        rest = next;
    }
}

/// What httparse did not like.
fn refusal_of(error: httparse::Error, head: &[u8]) -> Refusal {
    match error {
        httparse::Error::Version if names_other_version(head) => Refusal::UNKNOWN_VERSION,
        httparse::Error::Version => Refusal::bad_request("The HTTP version is not valid."),
        httparse::Error::TooManyHeaders => Refusal::HEAD_TOO_LARGE,
        httparse::Error::HeaderName => Refusal::bad_request("A field name is not valid."),
        httparse::Error::HeaderValue => Refusal::bad_request("A field value is not valid."),
        httparse::Error::Token | httparse::Error::NewLine | httparse::Error::Status => {
            Refusal::bad_request("The request line is not valid.")
        }
    }
}

/// Whether a well-formed version (RFC 9112 §2.3) stands in its place, which then is one that is not spoken here.
fn names_other_version(head: &[u8]) -> bool {
    let line = memchr(b'\r', head).and_then(|end| head.get(..end)).unwrap_or_default();
    let version = line.splitn(3, |byte| *byte == b' ').nth(2).unwrap_or_default();
    matches!(version, [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
        if major.is_ascii_digit() && minor.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::http1::scan::HeadScan;

    const LIMITS: HeadLimits = HeadLimits { head_bytes: 4096, target_bytes: 1024 };

    fn parse(text: &str) -> Result<Parsed, Refusal> {
        parse_head(BytesMut::from(text), LIMITS, Instant::now())
    }

    #[test]
    fn names_are_lowered_and_values_trimmed_and_kept() {
        let head =
            parse("GET /X HTTP/1.1\r\nHost: A.example:80\r\nX-Thing:\t A b \r\n\r\n").unwrap().head;
        assert_eq!(head.header("x-thing"), Some(&b"A b"[..]));
        assert_eq!((head.host.as_deref(), head.port), (Some("a.example"), Some(80)));
        assert_eq!(head.path, "/X");
        assert_eq!(head.content_length, Some(0));
    }

    #[test]
    fn the_authority_of_an_absolute_target_replaces_host() {
        let head = parse("GET http://a.example/ HTTP/1.1\r\nHost: b.example\r\n\r\n").unwrap().head;
        assert_eq!(head.host.as_deref(), Some("a.example"));
        assert_eq!(head.header("host"), Some(&b"a.example"[..]));
    }

    #[test]
    fn other_versions_are_told_from_nonsense() {
        for (version, status) in
            [("HTTP/2.0", 505), ("HTTP/1.2", 505), ("HTTP/1.1x", 400), ("http/1.1", 400)]
        {
            let message = format!("GET / {version}\r\nHost: a\r\n\r\n");
            assert_eq!(parse(&message).unwrap_err().status, status, "{version}");
        }
    }

    fn verdict(message: &[u8], splits: &[usize]) -> Result<Option<String>, Refusal> {
        let mut scan = HeadScan::default();
        let ends = splits.iter().copied().chain([message.len()]);
        for end in ends {
            if let Some(size) = scan.advance(&message[..end], LIMITS)? {
                let parsed = parse_head(BytesMut::from(&message[..size]), LIMITS, Instant::now())?;
                return Ok(Some(format!("{:?} {:?}", parsed.head.headers, parsed.fields)));
            }
        }
        Ok(None)
    }

    proptest! {
        #[test]
        fn any_bytes_are_parsed_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let _ = verdict(&bytes, &[]);
            let _ = parse_head(BytesMut::from(&bytes[..]), LIMITS, Instant::now());
        }

        #[test]
        fn any_request_like_text_is_parsed_or_refused_the_same_in_pieces(
            text in "(GET|POST|P ST|OPTIONS) (/|\\*|http://a/|/\u{e9}) HTTP/[0-2]\\.[01]\r?\n((Host|A-b|Content-Length|Transfer-Encoding) ?: ?[ -~\t]{0,12}\r?\n){0,4}\r?\n",
            at in any::<prop::sample::Index>(),
        ) {
            let at = at.index(text.len());
            prop_assert_eq!(verdict(text.as_bytes(), &[at]), verdict(text.as_bytes(), &[]));
        }
    }
}
