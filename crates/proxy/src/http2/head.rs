//! A head as h2 gives it → a request, by the rules that requests of HTTP/1.1 have. Pure: no socket, no clock.
//!
//! h2 has refused already: names in capitals, control bytes, fields that belong to a connection, `te` other than `trailers`,
//! pseudo-fields that are unknown, repeated, missing or behind others, and a body of another size than `content-length` says. It
//! drops a fragment of `:path`, as nginx does.
//!
//! Source: RFC 9113 §8.2 (fields), §8.3 (pseudo-fields), RFC 9110 §7.2 (Host).

use std::time::Instant;

use bytes::{BufMut, Bytes, BytesMut};
use http::request::Parts;
use http::uri;
use onebox_config::Limits;

use crate::http1::{
    Fields, Framing, MAX_FIELDS, Parsed, Refusal, check_singletons, parse_host, parse_target,
    read_fields,
};
use crate::message::{RequestHead, Version};

/// What a head of HTTP/1.1 holds beside method, target, names and values: in its first line, and in each other.
const LINE_BYTES: usize = "  HTTP/1.1\r\n".len();
const FIELD_BYTES: usize = ": \r\n".len();

/// Whether something follows a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Follows {
    Body,
    Nothing,
}

/// The size that a head would have in HTTP/1.1, in bytes.
pub(super) fn size(parts: &Parts) -> usize {
    let fields = parts.headers.iter();
    let fields: usize =
        fields.map(|(name, value)| name.as_str().len() + value.len() + FIELD_BYTES).sum();
    let target = parts.uri.path_and_query().map_or(0, |target| target.as_str().len());
    let authority = parts.uri.authority().map_or(0, |host| host.as_str().len());
    LINE_BYTES + parts.method.as_str().len() + target + authority + fields
}

/// Reads a head.
///
/// # Errors
/// [`Refusal`] where it is not a request that can be served safely.
pub(super) fn read(
    parts: Parts,
    follows: Follows,
    limits: &Limits,
    received_at: Instant,
) -> Result<Parsed, Refusal> {
    let head_bytes = size(&parts);
    let Parts { method, uri, headers: fields, .. } = parts;
    let uri::Parts { authority, path_and_query, .. } = uri.into_parts();
    if method == http::Method::CONNECT {
        return Err(Refusal::NO_TUNNELS);
    }
    let path_and_query = path_and_query.ok_or(Refusal::bad_request("The path is missing."))?;
    let target = path_and_query.as_str();
    if target.len() > limits.max_target_bytes {
        return Err(Refusal::TARGET_TOO_LONG);
    }
    if head_bytes > limits.max_head_bytes || fields.len() > MAX_FIELDS {
        return Err(Refusal::HEAD_TOO_LARGE);
    }
    // Other forms have no place here: the authority has a field of its own.
    if !target.starts_with('/') && target != "*" {
        return Err(Refusal::bad_request("The path does not begin with a slash."));
    }
    // Everything is kept in one piece of memory.
    let mut text = BytesMut::with_capacity(head_bytes + 2 * "host".len());
    let mut keep = |bytes: &[u8]| {
        text.put_slice(bytes);
        text.split().freeze()
    };
    let target = keep(target.as_bytes());
    let host = keep(effective_host(&fields, authority.as_ref())?);
    let mut headers = Vec::with_capacity(fields.len() + 1);
    headers.push((Bytes::from_static(b"host"), host.clone()));
    for name in fields.keys().filter(|name| *name != http::header::HOST) {
        let key = keep(name.as_str().as_bytes());
        if *name == http::header::COOKIE {
            headers.push((key, whole_cookie(&fields)?));
            continue;
        }
        for value in fields.get_all(name) {
            headers.push((key.clone(), keep(checked(value.as_bytes())?)));
        }
    }
    let (host, port) = parse_host(&host)?;
    let target_parts = parse_target(&method, &target)?;
    let mut framed = read_fields(&headers, Version::Http2)?;
    check_singletons(&headers)?;
    if follows == Follows::Nothing {
        framed = Fields { framing: Framing::Length(0), expects_continue: false, ..framed };
    }
    let content_length = match framed.framing {
        // What follows has to be seen to be nothing: frames can say otherwise (RFC 9113 §8.1.1).
        Framing::Length(0) if follows == Follows::Body => None,
        Framing::Length(size) => Some(size),
        Framing::Chunked => None,
    };
    let head = RequestHead {
        method,
        target,
        path: target_parts.path,
        query: target_parts.query,
        version: Version::Http2,
        headers,
        host: Some(host),
        port,
        content_length,
        received_at,
    };
    Ok(Parsed { head, fields: framed })
}

/// `:authority`, else the one `host`; where both are there they name the same (RFC 9113 §8.3.1).
fn effective_host<'a>(
    fields: &'a http::HeaderMap,
    authority: Option<&'a uri::Authority>,
) -> Result<&'a [u8], Refusal> {
    let mut hosts = fields.get_all(http::header::HOST).iter();
    let host = hosts.next().map(|value| value.as_bytes());
    if hosts.next().is_some() {
        return Err(Refusal::bad_request("Host is given more than once."));
    }
    match (authority.map(|authority| authority.as_str().as_bytes()), host) {
        (None, None) => Err(Refusal::bad_request("The host is missing.")),
        (Some(authority), Some(host)) if parse_host(authority)? != parse_host(host)? => {
            Err(Refusal::bad_request("Host and the authority differ."))
        }
        (Some(effective), _) | (None, Some(effective)) => Ok(effective),
    }
}

/// The cookies of a request may come in pieces; applications know one field (RFC 9113 §8.2.3).
fn whole_cookie(fields: &http::HeaderMap) -> Result<Bytes, Refusal> {
    let mut whole = BytesMut::new();
    for value in fields.get_all(http::header::COOKIE) {
        if !whole.is_empty() {
            whole.put_slice(b"; ");
        }
        whole.put_slice(checked(value.as_bytes())?);
    }
    Ok(whole.freeze())
}

/// A value has no blanks around it (RFC 9113 §8.2.1).
fn checked(value: &[u8]) -> Result<&[u8], Refusal> {
    match value {
        [b' ' | b'\t', ..] | [.., b' ' | b'\t'] => {
            Err(Refusal::bad_request("A field value begins or ends with a blank."))
        }
        _ => Ok(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_as(
        request: http::request::Builder,
        follows: Follows,
    ) -> Result<Parsed, (u16, &'static str)> {
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let limits = Limits { max_head_bytes: 1000, max_target_bytes: 100, ..Limits::default() };
        read(parts, follows, &limits, Instant::now())
            .map_err(|refusal| (refusal.status, refusal.reason))
    }

    fn get(uri: &str, fields: &[(&str, &str)]) -> Result<Parsed, (u16, &'static str)> {
        let request = http::Request::get(uri);
        let request = fields.iter().fold(request, |all, (name, value)| all.header(*name, *value));
        read_as(request, Follows::Nothing)
    }

    fn status(uri: &str, fields: &[(&str, &str)]) -> u16 {
        get(uri, fields).unwrap_err().0
    }

    #[test]
    fn a_request_is_as_it_would_be_in_http_1() {
        let fields = [("x-a", "1"), ("x-a", "2"), ("accept", "*/*")];
        let head = get("https://A.example:8443/a%20b?c=d", &fields).unwrap().head;
        assert_eq!(
            (head.path.as_ref(), head.query.as_deref()),
            (&b"/a%20b"[..], Some(&b"c=d"[..]))
        );
        assert_eq!(head.target, "/a%20b?c=d");
        assert_eq!((head.host.as_deref(), head.port), (Some("a.example"), Some(8443)));
        assert_eq!(head.header("host"), Some(&b"A.example:8443"[..]));
        assert_eq!(head.header_values("x-a").collect::<Vec<_>>(), [b"1", b"2"]);
        assert_eq!(head.content_length, Some(0));
    }

    #[test]
    fn authority_and_host_name_the_same_or_one_of_them_is_not_there() {
        assert_eq!(get("/", &[("host", "a.example")]).unwrap().head.host.unwrap(), "a.example");
        let both = get("http://a.example/", &[("host", "A.Example")]).unwrap().head;
        assert_eq!(both.header_values("host").count(), 1);
        assert_eq!(status("http://a.example/", &[("host", "b.example")]), 400);
        assert_eq!(status("http://a.example/", &[("host", "a.example:81")]), 400);
        assert_eq!(status("/", &[("host", "a"), ("host", "a")]), 400);
        assert_eq!(status("/", &[]), 400);
        assert_eq!(status("http://user@a.example/", &[]), 400);
        assert_eq!(status("/", &[("host", "a b")]), 400);
    }

    #[test]
    fn a_path_is_there_and_begins_with_a_slash() {
        let options = http::Request::options("*").header("host", "a");
        assert_eq!(read_as(options, Follows::Nothing).unwrap().head.path, "*");
        assert_eq!(status("*", &[("host", "a")]), 400);
        let connect = http::Request::connect("a.example:443");
        assert_eq!(read_as(connect, Follows::Body).unwrap_err().0, 501);
    }

    #[test]
    fn too_long_is_too_long() {
        assert_eq!(status(&format!("http://a/{}", "x".repeat(100)), &[]), 414);
        assert_eq!(status("http://a/", &[("x", &"x".repeat(1000))]), 431);
        let many: Vec<_> = (0..129).map(|_| ("x", "")).collect();
        assert_eq!(status("http://a/", &many), 431);
        assert!(get("http://a/", &many[..100]).is_ok());
    }

    #[test]
    fn cookies_in_pieces_are_one_and_other_single_fields_come_once() {
        let head = get("http://a/", &[("cookie", "a=1"), ("x", "y"), ("cookie", "b=2")]).unwrap();
        assert_eq!(head.head.header_values("cookie").collect::<Vec<_>>(), [b"a=1; b=2"]);
        assert_eq!(status("http://a/", &[("authorization", "a"), ("authorization", "b")]), 400);
        assert_eq!(status("http://a/", &[("x", " y")]), 400);
        assert_eq!(status("http://a/", &[("cookie", "y\t")]), 400);
    }

    #[test]
    fn the_size_of_a_body_is_known_or_told_at_its_end() {
        let post = || http::Request::post("http://a/");
        let size = |request, follows| read_as(request, follows).unwrap().head.content_length;
        assert_eq!(size(post(), Follows::Body), None);
        assert_eq!(size(post(), Follows::Nothing), Some(0));
        assert_eq!(size(post().header("content-length", "7"), Follows::Body), Some(7));
        let twice = post().header("content-length", "7").header("content-length", "7");
        assert_eq!(read_as(twice, Follows::Body).unwrap_err().0, 400);
        let waits = |request, follows| read_as(request, follows).unwrap().fields.expects_continue;
        assert!(waits(post().header("expect", "100-continue"), Follows::Body));
        assert!(!waits(post().header("expect", "100-continue"), Follows::Nothing));
        assert_eq!(read_as(post().header("expect", "x"), Follows::Body).unwrap_err().0, 417);
    }
}
