//! An answer's head as h2 wants it, by the rules that answers of HTTP/1.1 have. Pure: no socket.
//!
//! Source: RFC 9113 §8.2.2 (fields of a connection), §8.3.2 (`:status`), RFC 9110 §8.6 (`Content-Length`).

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, DATE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use crate::http1::{content_length, forbids_body, push_date};
use crate::message::{Response, ResponseBody};

/// Fields that say something about a connection of HTTP/1, or frame a message: there are none here, or they are ours.
const NOT_HERE: [&str; 7] = [
    "connection",
    "content-length",
    "keep-alive",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "upgrade",
];

/// What no two answers have alike: in the table of fields (RFC 7541 §2.3.2) it would take the place of those that come again.
static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// An answer, ready to be sent.
pub(super) struct Answer {
    pub(super) head: http::Response<()>,
    /// [`ResponseBody::Empty`] where nothing follows the head.
    pub(super) body: ResponseBody,
}

/// Whether a request wants the body of its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    HeadAndBody,
    Head,
}

/// Decides what is sent.
pub(super) fn prepare(response: Response, wanted: Wanted) -> Answer {
    let Response { status, headers, declared_length, body, .. } = response;
    let has_body = wanted == Wanted::HeadAndBody && !forbids_body(status);
    let declared = content_length(status, has_body, declared_length, body.size());
    let mut fields = fields(&headers);
    if let Some(size) = declared {
        fields.insert(CONTENT_LENGTH, HeaderValue::from(size));
    }
    if !fields.contains_key(DATE) {
        let mut date = Vec::new();
        push_date(&mut date);
        fields.extend(HeaderValue::try_from(date).ok().map(|date| (DATE, date)));
    }
    if let Some(id) = fields.get_mut(&REQUEST_ID) {
        // h2 leaves such values out of the table.
        id.set_sensitive(true);
    }
    let mut head = http::Response::new(());
    // An application says nothing but final answers.
    let status = StatusCode::from_u16(status).ok().filter(|status| !status.is_informational());
    *head.status_mut() = status.unwrap_or(StatusCode::BAD_GATEWAY);
    *head.headers_mut() = fields;
    Answer { head, body: if has_body { body } else { ResponseBody::Empty } }
}

/// Fields for a client, in lower case; what can't be one is left out.
pub(super) fn fields(headers: &[(Bytes, Bytes)]) -> HeaderMap {
    let mut fields = HeaderMap::with_capacity(headers.len() + 2);
    for (name, value) in headers {
        let field = HeaderName::from_bytes(name).ok();
        let field = field.zip(HeaderValue::from_maybe_shared(without_blanks(value)).ok());
        let is_taken = match field {
            Some((key, _)) if NOT_HERE.contains(&key.as_str()) => true,
            // A map of fields has room for some ten thousands.
            Some((key, value)) => fields.try_append(key, value).is_ok(),
            None => false,
        };
        if !is_taken {
            tracing::warn!(name = %name.escape_ascii(), "a field of an answer was left out");
        }
    }
    fields
}

/// A value has no blanks around it (RFC 9113 §8.2.1); Django's cookies begin with one, which readers of HTTP/1 skip.
fn without_blanks(value: &Bytes) -> Bytes {
    let is_text = |byte: &u8| !matches!(byte, b' ' | b'\t');
    match (value.iter().position(is_text), value.iter().rposition(is_text)) {
        (Some(first), Some(last)) => value.slice(first..=last),
        _ => Bytes::new(),
    }
}

/// About the size of a head before compression, in bytes.
pub(super) fn size(head: &http::Response<()>) -> usize {
    let fields = head.headers().iter();
    ":status: 200\r\n".len()
        + fields.map(|(name, value)| name.as_str().len() + value.len() + 4).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Status and fields, without the date, and whether a body follows.
    fn told(response: Response, wanted: Wanted) -> (u16, String, bool) {
        let Answer { mut head, body } = prepare(response, wanted);
        assert!(head.headers_mut().remove(DATE).is_some());
        let fields = head.headers().iter();
        let fields = fields.map(|(name, value)| format!("{name}={}", value.to_str().unwrap()));
        let has_body = !matches!(body, ResponseBody::Empty);
        (head.status().as_u16(), fields.collect::<Vec<_>>().join(" "), has_body)
    }

    fn full(status: u16) -> Response {
        Response::new(status, Vec::new(), ResponseBody::Full(Bytes::from_static(b"abc")))
    }

    #[test]
    fn a_body_and_its_size_are_told_where_they_mean_something() {
        let both = Wanted::HeadAndBody;
        assert_eq!(told(full(200), both), (200, "content-length=3".into(), true));
        assert_eq!(told(full(200), Wanted::Head), (200, "content-length=3".into(), false));
        assert_eq!(told(full(204), both), (204, String::new(), false));
        let unchanged = Response { declared_length: Some(7), ..full(304) };
        assert_eq!(told(unchanged, both), (304, "content-length=7".into(), false));
        let empty = Response::new(404, Vec::new(), ResponseBody::Empty);
        assert_eq!(told(empty, both), (404, "content-length=0".into(), false));
    }

    #[test]
    fn what_belongs_to_connections_or_would_be_no_field_is_left_out() {
        let mut response = full(200);
        response.headers = [
            ("Connection", "x"),
            ("Keep-Alive", "x"),
            ("Transfer-Encoding", "chunked"),
            ("Upgrade", "h2c"),
            ("Content-Length", "9"),
            ("A", "b\r\nSet-Cookie: c"),
            ("B C", "d"),
            (":status", "500"),
            ("X-A", " \t1"),
            ("x-a", "2 "),
            ("X-B", " "),
        ]
        .map(|(name, value)| (Bytes::from(name), Bytes::from(value)))
        .to_vec();
        let told = told(response, Wanted::HeadAndBody);
        assert_eq!(told, (200, "x-a=1 x-a=2 x-b= content-length=3".into(), true));
    }

    #[test]
    fn the_identity_of_a_request_is_kept_out_of_the_table_of_fields() {
        let mut response = full(200);
        response.headers = [("X-Request-Id", "1"), ("Vary", "a")]
            .map(|(name, value)| (Bytes::from(name), Bytes::from(value)))
            .to_vec();
        let head = prepare(response, Wanted::HeadAndBody).head;
        assert!(head.headers()["x-request-id"].is_sensitive());
        assert!(!head.headers()["vary"].is_sensitive());
    }

    #[test]
    fn an_interim_status_is_no_answer() {
        assert_eq!(told(full(103), Wanted::HeadAndBody).0, 502);
    }
}
