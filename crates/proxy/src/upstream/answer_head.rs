//! The head of a server's answer: read strictly, because what two readers could understand in two ways is an attack on one of them.
//!
//! Source: RFC 9112 §4 (status line), §6.3 (where an answer ends); RFC 3875 §6 (CGI).

use bytes::{Bytes, BytesMut};
use memchr::memchr;

use super::failure::UpstreamError;
use super::uwsgi::{is_hop_by_hop, parse_size};
use crate::http1::{HeadLimits, HeadScan};

/// The largest head, in bytes.
const MAX_HEAD_BYTES: usize = 64 << 10;
/// The most fields of a head.
const MAX_FIELDS: usize = 128;
const LIMITS: HeadLimits = HeadLimits { head_bytes: MAX_HEAD_BYTES, target_bytes: MAX_HEAD_BYTES };

/// How a head begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// With a status line.
    Http,
    /// With fields, `Status` among them.
    Cgi,
}

/// Where the body of an answer ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyEnd {
    Length(u64),
    Chunked,
    /// With the connection, or FastCGI's last record.
    WithConnection,
}

/// A checked head.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct AnswerHead {
    pub(super) status: u16,
    pub(super) reason: Option<Vec<u8>>,
    /// Without framing and hop-by-hop fields.
    pub(super) headers: Vec<(Bytes, Bytes)>,
    pub(super) body_end: BodyEnd,
    /// Whether another request may follow on the connection.
    pub(super) keep_alive: bool,
    /// What `Upgrade` names.
    pub(super) upgrade: Option<Bytes>,
}

/// Reads a head as it comes.
#[derive(Default)]
pub(super) struct HeadReader {
    scan: HeadScan,
}

impl HeadReader {
    /// Takes the head from the front of `content`, once it is there as a whole.
    pub(super) fn take(
        &mut self,
        content: &mut BytesMut,
        form: Form,
    ) -> Result<Option<AnswerHead>, UpstreamError> {
        let refused = |_| UpstreamError::Malformed("its head has a wrong byte or is too large");
        let Some(size) = self.scan.advance(content, LIMITS).map_err(refused)? else {
            return Ok(None);
        };
        self.scan = HeadScan::default();
        parse(content.split_to(size).freeze(), form).map(Some)
    }
}

fn parse(head: Bytes, form: Form) -> Result<AnswerHead, UpstreamError> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let refused = |_| UpstreamError::Malformed("its head can't be read");
    match form {
        Form::Http => {
            let mut answer = httparse::Response::new(&mut fields);
            answer.parse(&head).map_err(refused)?;
            let (Some(version), Some(status)) = (answer.version, answer.code) else {
                return Err(UpstreamError::Malformed("its status line can't be read"));
            };
            let mut reader = FieldReader::new(version, status);
            for field in answer.headers.iter() {
                reader.field(&head, field)?;
            }
            reader.reason = reason(&head);
            reader.finish()
        }
        Form::Cgi => {
            let (_, fields) = match httparse::parse_headers(&head, &mut fields) {
                Ok(httparse::Status::Complete(parsed)) => parsed,
                _ => return Err(UpstreamError::Malformed("its head can't be read")),
            };
            // The connection ends with the answer, so that its version does not matter.
            let mut reader = FieldReader::new(1, 0);
            for field in fields {
                reader.cgi_field(&head, field)?;
            }
            reader.finish()
        }
    }
}

/// What stands behind the status in the status line.
fn reason(head: &[u8]) -> Option<Vec<u8>> {
    let line = head.get(..memchr(b'\r', head)?)?;
    let reason = line.splitn(3, |byte| *byte == b' ').nth(2)?;
    (!reason.is_empty()).then(|| reason.to_vec())
}

/// Collects the fields of a head.
struct FieldReader {
    version: u8,
    status: u16,
    reason: Option<Vec<u8>>,
    headers: Vec<(Bytes, Bytes)>,
    length: Option<u64>,
    chunked: bool,
    close: bool,
    keep_alive: bool,
    named: Vec<Bytes>,
    upgrade: Option<Bytes>,
    location: bool,
}

impl FieldReader {
    fn new(version: u8, status: u16) -> Self {
        Self {
            version,
            status,
            reason: None,
            headers: Vec::new(),
            length: None,
            chunked: false,
            close: false,
            keep_alive: false,
            named: Vec::new(),
            upgrade: None,
            location: false,
        }
    }

    /// `Status: 404 Not Found` (RFC 3875 §6.3.3) is the status line of a CGI answer.
    fn cgi_field(
        &mut self,
        head: &Bytes,
        field: &httparse::Header<'_>,
    ) -> Result<(), UpstreamError> {
        if !field.name.eq_ignore_ascii_case("status") {
            return self.field(head, field);
        }
        let (code, reason) = field.value.split_at_checked(3).unwrap_or((field.value, b""));
        let status = parse_size(code).filter(|_| matches!(reason, [] | [b' ', ..]));
        let status = status.and_then(|status| u16::try_from(status).ok());
        match (status, self.status) {
            (Some(status), 0) => self.status = status,
            _ => return Err(UpstreamError::Malformed("its Status can't be read")),
        }
        self.reason = Some(reason.trim_ascii().to_vec()).filter(|reason| !reason.is_empty());
        Ok(())
    }

    fn field(&mut self, head: &Bytes, field: &httparse::Header<'_>) -> Result<(), UpstreamError> {
        let (name, value) = (field.name.as_bytes(), field.value.trim_ascii());
        match () {
            () if name.eq_ignore_ascii_case(b"content-length") => {
                let size = parse_size(value).filter(|_| !value.is_empty() && self.length.is_none());
                self.length = Some(size.ok_or(UpstreamError::Malformed(
                    "its Content-Length is no size, or is given twice",
                ))?);
            }
            () if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(UpstreamError::Malformed(
                        "its Transfer-Encoding is another than chunked",
                    ));
                }
                self.chunked = true;
            }
            () if name.eq_ignore_ascii_case(b"connection") => {
                for option in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                    self.close |= option.eq_ignore_ascii_case(b"close");
                    self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
                    self.named.push(Bytes::copy_from_slice(option));
                }
            }
            () if name.eq_ignore_ascii_case(b"upgrade") => {
                self.upgrade = Some(head.slice_ref(value));
            }
            () if is_hop_by_hop(name) => {}
            () => {
                self.location |= name.eq_ignore_ascii_case(b"location");
                self.headers.push((head.slice_ref(name), head.slice_ref(value)));
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Result<AnswerHead, UpstreamError> {
        if self.status == 0 {
            // RFC 3875 §6.2: a redirect where only a place is given.
            self.status = if self.location { 302 } else { 200 };
        }
        if !(100..=599).contains(&self.status) {
            return Err(UpstreamError::Malformed("its status is none of HTTP's"));
        }
        let body_end = match (self.chunked, self.length) {
            (true, Some(_)) => {
                return Err(UpstreamError::Malformed(
                    "Transfer-Encoding and Content-Length are both given",
                ));
            }
            // RFC 9112 §6.1: whoever wrote it could not have meant it.
            (true, None) if self.version == 0 => {
                return Err(UpstreamError::Malformed("HTTP/1.0 has no Transfer-Encoding"));
            }
            (true, None) => BodyEnd::Chunked,
            (false, Some(length)) => BodyEnd::Length(length),
            (false, None) => BodyEnd::WithConnection,
        };
        let named = std::mem::take(&mut self.named);
        self.headers.retain(|(name, _)| !named.iter().any(|hop| hop.eq_ignore_ascii_case(name)));
        Ok(AnswerHead {
            status: self.status,
            reason: self.reason,
            headers: self.headers,
            body_end,
            keep_alive: !self.close && (self.version > 0 || self.keep_alive),
            upgrade: self.upgrade,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str, form: Form) -> Result<Option<AnswerHead>, UpstreamError> {
        HeadReader::default().take(&mut BytesMut::from(text), form)
    }

    fn http(text: &str) -> AnswerHead {
        read(text, Form::Http).unwrap().unwrap()
    }

    fn names(head: &AnswerHead) -> Vec<&[u8]> {
        head.headers.iter().map(|(name, _)| &name[..]).collect()
    }

    #[test]
    fn an_answer_ends_where_its_fields_say() {
        let end = |fields: &str| http(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n")).body_end;
        assert_eq!(end("Content-Length: 5\r\n"), BodyEnd::Length(5));
        assert_eq!(end("Transfer-Encoding: Chunked\r\n"), BodyEnd::Chunked);
        assert_eq!(end("X: y\r\n"), BodyEnd::WithConnection);
    }

    #[test]
    fn what_is_said_about_the_connection_ends_here() {
        let head = http(
            "HTTP/1.1 200 Fine so far\r\nConnection: X-Private, keep-alive\r\nX-Private: 1\r\nKeep-Alive: timeout=5\r\nX-Public: 2\r\nContent-Length: 0\r\n\r\n",
        );
        assert_eq!(names(&head), [b"X-Public"]);
        assert_eq!(head.reason.as_deref(), Some(&b"Fine so far"[..]));
        assert!(head.keep_alive);
        assert!(!http("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n").keep_alive);
        assert!(!http("HTTP/1.0 200 OK\r\n\r\n").keep_alive);
    }

    #[test]
    fn a_doubtful_head_is_refused() {
        for fields in [
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            "Content-Length: 5\r\nContent-Length: 5\r\n",
            "Content-Length: 5, 5\r\n",
            "Content-Length: -5\r\n",
            "Content-Length: +5\r\n",
            "Content-Length: 0x5\r\n",
            "Content-Length:\r\n",
            "Content-Length: 99999999999999999999\r\n",
            "Transfer-Encoding: gzip, chunked\r\n",
            "Transfer-Encoding: gzip\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "X: a\n",
            "X : a\r\n",
            "X: a\r\n folded\r\n",
            "X: a\0b\r\n",
            "X: a\rb\r\n",
            "no colon\r\n",
            ": nothing\r\n",
        ] {
            let text = format!("HTTP/1.1 200 OK\r\n{fields}\r\n");
            assert!(read(&text, Form::Http).is_err(), "{fields:?}");
        }
        for line in [
            "HTTP/1.1 20 OK",
            "HTTP/1.1 2000 OK",
            "HTTP/1.1 099 OK",
            "HTTP/1.1 600 OK",
            "HTTP/2 200 OK",
            "HTTP/1.1200 OK",
            "ICY 200 OK",
            "200 OK",
            "",
        ] {
            assert!(read(&format!("{line}\r\n\r\n"), Form::Http).is_err(), "{line:?}");
        }
        assert!(read("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", Form::Http).is_err());
        let endless = format!("HTTP/1.1 200 OK\r\nX: {}", "a".repeat(MAX_HEAD_BYTES));
        assert!(read(&endless, Form::Http).is_err());
        assert_eq!(read("HTTP/1.1 200 OK\r\nX: y\r\n", Form::Http).unwrap(), None);
    }

    #[test]
    fn a_cgi_head_has_its_status_in_a_field() {
        let cgi = |text: &str| read(text, Form::Cgi).unwrap().unwrap();
        let head = cgi("Status: 404 Not Found\r\nContent-Type: text/html\r\n\r\n");
        assert_eq!((head.status, head.reason.as_deref()), (404, Some(&b"Not Found"[..])));
        assert_eq!(names(&head), [b"Content-Type"]);
        assert_eq!(cgi("Content-Type: text/html\r\n\r\n").status, 200);
        assert_eq!(cgi("Location: /x\r\n\r\n").status, 302);
        for text in
            ["Status: abc\r\n\r\n", "Status: 200\r\nStatus: 200\r\n\r\n", "Status: 20000\r\n\r\n"]
        {
            assert!(read(text, Form::Cgi).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let head = [b"HTTP/1.1 200 OK\r\n", &bytes[..], b"\r\n\r\n"].concat();
            for form in [Form::Http, Form::Cgi] {
                let _ = HeadReader::default().take(&mut BytesMut::from(&bytes[..]), form);
                let _ = HeadReader::default().take(&mut BytesMut::from(&head[..]), form);
            }
        }
    }
}
