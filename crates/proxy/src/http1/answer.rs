//! An answer's framing and its head, as bytes. Pure: no socket.
//!
//! Source: RFC 9112 §6 (framing), §9.3 (persistence), RFC 9110 §8.6 (`Content-Length`).

use std::fs::File;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, StatusCode};
use memchr::memchr3;

use super::date::push_date;
use super::framing::is_token;
use crate::message::{BodyStream, RequestHead, Response, ResponseBody, Version};

/// What the request allows its answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    /// No body, whatever the status.
    pub(crate) head_only: bool,
    pub(crate) version: Version,
    /// Whether the connection may stay open.
    pub(crate) keep_alive: bool,
}

impl Asked {
    /// By a request.
    pub(crate) fn by(head: &RequestHead, keep_alive: bool) -> Self {
        Self { head_only: head.method == Method::HEAD, version: head.version, keep_alive }
    }

    /// By a message that is no request.
    pub(crate) const NOTHING: Self =
        Self { head_only: false, version: Version::Http11, keep_alive: false };
}

/// How the body goes on the wire.
pub(crate) enum Transfer {
    Nothing,
    Whole(Bytes),
    File {
        file: Arc<File>,
        offset: u64,
        size: u64,
    },
    Sized {
        stream: BodyStream,
        size: u64,
    },
    Chunked(BodyStream),
    /// The end of the connection is the end of the body.
    UntilClose(BodyStream),
}

/// An answer, ready to be sent.
pub(crate) struct Answer {
    /// Status line and fields, with the empty line.
    pub(crate) head: Vec<u8>,
    pub(crate) transfer: Transfer,
    /// Whether the head promises that the connection stays open.
    pub(crate) keep_alive: bool,
}

/// Decides the framing and writes the head into `head`, a buffer of an earlier answer.
pub(crate) fn prepare(response: Response, asked: Asked, mut head: Vec<u8>) -> Answer {
    let Response { status, reason, headers, declared_length, body, onward: _, close } = response;
    let has_body = !asked.head_only && !forbids_body(status);
    let declared = content_length(status, has_body, declared_length, body.size());
    let transfer = if has_body { transfer(body, asked.version) } else { Transfer::Nothing };
    let keep_alive = asked.keep_alive && !close && !matches!(transfer, Transfer::UntilClose(_));

    head.clear();
    push_status_line(&mut head, status, reason.as_deref());
    let mut has_date = false;
    for (name, value) in &headers {
        if is_ours(name) {
            continue;
        }
        if !is_safe_field(name, value) {
            tracing::warn!(name = %name.escape_ascii(), "a field of an answer was left out");
            continue;
        }
        has_date |= name.eq_ignore_ascii_case(b"date");
        push_field(&mut head, name, value);
    }
    if !has_date {
        head.extend_from_slice(b"Date: ");
        push_date(&mut head);
        head.extend_from_slice(b"\r\n");
    }
    if let Some(size) = declared {
        push_field(&mut head, b"Content-Length", itoa::Buffer::new().format(size).as_bytes());
    } else if matches!(transfer, Transfer::Chunked(_)) {
        push_field(&mut head, b"Transfer-Encoding", b"chunked");
    }
    match (keep_alive, asked.version) {
        // RFC 9110 §7.8: together with the protocol that the connection is for now.
        _ if status == 101 => push_field(&mut head, b"Connection", b"upgrade"),
        (false, _) => push_field(&mut head, b"Connection", b"close"),
        (true, Version::Http10) => push_field(&mut head, b"Connection", b"keep-alive"),
        (true, Version::Http11 | Version::Http2) => {}
    }
    head.extend_from_slice(b"\r\n");
    Answer { head, transfer, keep_alive }
}

/// Whether answers of a status never have a body (RFC 9110 §6.4.1).
pub(crate) fn forbids_body(status: u16) -> bool {
    matches!(status, 100..=199 | 204 | 304)
}

/// What `Content-Length` says; without a body, only what means something (RFC 9110 §8.6).
pub(crate) fn content_length(
    status: u16,
    has_body: bool,
    declared: Option<u64>,
    size: Option<u64>,
) -> Option<u64> {
    match status {
        100..=199 | 204 => None,
        _ if has_body => size,
        _ => declared.or(size.filter(|size| *size > 0)),
    }
}

/// How a body is sent to a client of that version.
fn transfer(body: ResponseBody, version: Version) -> Transfer {
    match body {
        ResponseBody::Empty => Transfer::Nothing,
        ResponseBody::Full(bytes) => Transfer::Whole(bytes),
        ResponseBody::File { file, offset, size } => Transfer::File { file, offset, size },
        ResponseBody::Stream { stream, size: Some(size) } => Transfer::Sized { stream, size },
        ResponseBody::Stream { stream, size: None } => match version {
            Version::Http10 => Transfer::UntilClose(stream),
            Version::Http11 | Version::Http2 => Transfer::Chunked(stream),
        },
    }
}

fn push_status_line(head: &mut Vec<u8>, status: u16, reason: Option<&[u8]>) {
    // RFC 9110 §6.2: our own version, also towards HTTP/1.0.
    head.extend_from_slice(b"HTTP/1.1 ");
    head.extend_from_slice(itoa::Buffer::new().format(status).as_bytes());
    head.push(b' ');
    let standard = || {
        StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or("")
    };
    let own = reason.filter(|text| is_safe_value(text));
    head.extend_from_slice(own.unwrap_or_else(|| standard().as_bytes()));
    head.extend_from_slice(b"\r\n");
}

fn push_field(head: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    head.extend_from_slice(name);
    head.extend_from_slice(b": ");
    head.extend_from_slice(value);
    head.extend_from_slice(b"\r\n");
}

/// Fields that frame the message: written here and by nobody else.
fn is_ours(name: &[u8]) -> bool {
    [&b"content-length"[..], b"transfer-encoding", b"connection"]
        .iter()
        .any(|ours| name.eq_ignore_ascii_case(ours))
}

/// What somebody else put into a field must not become another field or another message.
pub(crate) fn is_safe_field(name: &[u8], value: &[u8]) -> bool {
    !name.is_empty() && name.iter().copied().all(is_token) && is_safe_value(value)
}

fn is_safe_value(value: &[u8]) -> bool {
    memchr3(b'\r', b'\n', 0, value).is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GET: Asked = Asked { head_only: false, version: Version::Http11, keep_alive: true };

    fn response(status: u16, body: ResponseBody) -> Response {
        Response::new(status, Vec::new(), body)
    }

    /// The head without its date.
    fn head(response: Response, asked: Asked) -> String {
        let head = String::from_utf8(prepare(response, asked, Vec::new()).head).unwrap();
        head.split_inclusive("\r\n").filter(|line| !line.starts_with("Date: ")).collect()
    }

    fn stream(size: Option<u64>) -> ResponseBody {
        ResponseBody::Stream { stream: Box::pin(futures_util::stream::empty()), size }
    }

    #[test]
    fn a_body_is_framed_by_its_size_or_in_chunks() {
        assert_eq!(
            head(response(200, ResponseBody::Full(Bytes::from_static(b"abc"))), GET),
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n"
        );
        assert_eq!(
            head(response(404, ResponseBody::Empty), GET),
            "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
        );
        assert_eq!(
            head(response(200, stream(Some(9))), GET),
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"
        );
        assert_eq!(
            head(response(200, stream(None)), GET),
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        );
    }

    #[test]
    fn a_stream_of_unknown_size_closes_a_connection_of_1_0() {
        let asked = Asked { version: Version::Http10, ..GET };
        assert_eq!(
            head(response(200, stream(None)), asked),
            "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"
        );
        assert_eq!(
            head(response(200, stream(Some(1))), asked),
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: keep-alive\r\n\r\n"
        );
    }

    #[test]
    fn answers_without_a_body_declare_a_length_only_where_it_means_something() {
        let full = || ResponseBody::Full(Bytes::from_static(b"abc"));
        let asked = Asked { head_only: true, ..GET };
        assert_eq!(
            head(response(200, full()), asked),
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n"
        );
        assert_eq!(head(response(200, ResponseBody::Empty), asked), "HTTP/1.1 200 OK\r\n\r\n");
        assert_eq!(head(response(204, full()), GET), "HTTP/1.1 204 No Content\r\n\r\n");
        let mut unchanged = response(304, ResponseBody::Empty);
        unchanged.declared_length = Some(7);
        assert_eq!(head(unchanged, GET), "HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n");
    }

    #[test]
    fn what_would_split_the_answer_is_left_out() {
        let mut response = response(200, ResponseBody::Empty);
        response.reason = Some(b"Fine\r\nX: y".to_vec());
        response.headers =
            [("A", "b\r\nSet-Cookie: c"), ("B C", "d"), ("Content-Length", "9"), ("D", "e")]
                .map(|(name, value)| (Bytes::from(name), Bytes::from(value)))
                .to_vec();
        assert_eq!(head(response, GET), "HTTP/1.1 200 OK\r\nD: e\r\nContent-Length: 0\r\n\r\n");
    }
}
