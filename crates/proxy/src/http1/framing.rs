//! Where a request's body ends, and whether its connection stays open.
//!
//! Source: RFC 9112 §6 (body), §9.3 (persistence), RFC 9113 §8.1 (HTTP/2). Every doubt about the end of a body is refused.

use bytes::Bytes;

use super::refusal::Refusal;
use crate::message::Version;

/// How the end of a body is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// So many bytes.
    Length(u64),
    /// Chunked; in HTTP/2, frames up to one that says that it is the last.
    Chunked,
}

/// What the fields say about the connection and the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fields {
    pub(crate) framing: Framing,
    pub(crate) keep_alive: bool,
    pub(crate) expects_continue: bool,
}

/// Collects the fields that matter here, one after the other.
#[derive(Debug, Default)]
pub(crate) struct FieldReader {
    content_length: Option<u64>,
    codings: Option<Codings>,
    close: bool,
    keep_alive: bool,
    expects_continue: bool,
}

/// The transfer codings seen so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Codings {
    /// Others than `chunked`.
    Unknown,
    /// `chunked`, and it was the last one.
    Chunked { after_others: bool },
}

impl FieldReader {
    /// Takes in a field; its name in lower case.
    ///
    /// # Errors
    /// [`Refusal`] where the field alone, or with those before, makes no sense.
    pub(crate) fn field(&mut self, name: &[u8], value: &[u8]) -> Result<(), Refusal> {
        match name {
            b"content-length" => self.content_length(value),
            b"transfer-encoding" => list(value).try_for_each(|coding| self.transfer_coding(coding)),
            b"connection" => {
                for option in list(value) {
                    self.close |= option.eq_ignore_ascii_case(b"close");
                    self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
                }
                Ok(())
            }
            b"expect" if value.eq_ignore_ascii_case(b"100-continue") => {
                self.expects_continue = true;
                Ok(())
            }
            b"expect" => Err(Refusal::EXPECTATION_FAILED),
            _ => Ok(()),
        }
    }

    /// Judges the whole.
    ///
    /// # Errors
    /// [`Refusal`] where the end of the body is in doubt.
    pub(crate) fn finish(self, version: Version) -> Result<Fields, Refusal> {
        let framing = match (self.codings, self.content_length) {
            (None, None) if version == Version::Http2 => Framing::Chunked,
            (None, length) => Framing::Length(length.unwrap_or(0)),
            (Some(_), Some(_)) => {
                return Err(Refusal::bad_request(
                    "Transfer-Encoding and Content-Length are both given.",
                ));
            }
            // RFC 9112 §6.1: a recipient of the older version could not have understood it.
            (Some(_), None) if version == Version::Http10 => {
                return Err(Refusal::bad_request("HTTP/1.0 has no Transfer-Encoding."));
            }
            (Some(Codings::Chunked { after_others: false }), None) => Framing::Chunked,
            (Some(_), None) => return Err(Refusal::UNKNOWN_CODING),
        };
        let keep_alive = match version {
            Version::Http11 => !self.close,
            Version::Http10 => self.keep_alive && !self.close,
            Version::Http2 => true,
        };
        // RFC 9110 §10.1.1: not in HTTP/1.0, and pointless without a body.
        let expects_continue =
            self.expects_continue && version != Version::Http10 && framing != Framing::Length(0);
        Ok(Fields { framing, keep_alive, expects_continue })
    }

    /// Digits only: no sign, no list, no repetition (RFC 9112 §6.3 allows equal repetitions, nobody sends them in good faith).
    fn content_length(&mut self, value: &[u8]) -> Result<(), Refusal> {
        let is_digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
        let size =
            std::str::from_utf8(value).ok().filter(|_| is_digits).and_then(|t| t.parse().ok());
        match (size, self.content_length) {
            (Some(size), None) => {
                self.content_length = Some(size);
                Ok(())
            }
            (Some(_), Some(_)) => {
                Err(Refusal::bad_request("Content-Length is given more than once."))
            }
            (None, _) => Err(Refusal::bad_request("Content-Length is not a number.")),
        }
    }

    fn transfer_coding(&mut self, coding: &[u8]) -> Result<(), Refusal> {
        if coding.is_empty() || !coding.iter().copied().all(is_token) {
            return Err(Refusal::bad_request("Transfer-Encoding is not valid."));
        }
        self.codings = Some(match (self.codings, coding.eq_ignore_ascii_case(b"chunked")) {
            (Some(Codings::Chunked { .. }), _) => {
                return Err(Refusal::bad_request("chunked is not the only last transfer coding."));
            }
            (before, true) => Codings::Chunked { after_others: before.is_some() },
            (_, false) => Codings::Unknown,
        });
        Ok(())
    }
}

/// The elements of a list, without blanks around them.
fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii)
}

/// Whether a byte may be in a token (RFC 9110 §5.6.2).
pub(crate) const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

/// Reads all fields of a head.
///
/// # Errors
/// [`Refusal`] where they make no sense together.
pub(crate) fn read_fields(headers: &[(Bytes, Bytes)], version: Version) -> Result<Fields, Refusal> {
    let mut reader = FieldReader::default();
    for (name, value) in headers {
        reader.field(name, value)?;
    }
    reader.finish(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(version: Version, fields: &[(&'static str, &'static str)]) -> Result<Fields, u16> {
        let headers: Vec<_> = fields
            .iter()
            .map(|(name, value)| {
                (Bytes::from_static(name.as_bytes()), Bytes::from_static(value.as_bytes()))
            })
            .collect();
        read_fields(&headers, version).map_err(|refusal| refusal.status)
    }

    fn framing(fields: &[(&'static str, &'static str)]) -> Result<Framing, u16> {
        read(Version::Http11, fields).map(|fields| fields.framing)
    }

    #[test]
    fn a_content_length_is_one_number() {
        assert_eq!(framing(&[]), Ok(Framing::Length(0)));
        assert_eq!(framing(&[("content-length", "007")]), Ok(Framing::Length(7)));
        for bad in ["", "+1", "-1", "1,1", "1 1", "0x1", "1.0", "18446744073709551616"] {
            assert_eq!(framing(&[("content-length", bad)]), Err(400), "{bad}");
        }
        assert_eq!(framing(&[("content-length", "1"), ("content-length", "1")]), Err(400));
    }

    #[test]
    fn the_only_transfer_coding_is_chunked_and_only_alone() {
        assert_eq!(framing(&[("transfer-encoding", "Chunked")]), Ok(Framing::Chunked));
        for (value, status) in [
            ("gzip", 501),
            ("identity", 501),
            ("gzip, chunked", 501),
            ("chunked, gzip", 400),
            ("chunked, chunked", 400),
            ("chunked,", 400),
            ("", 400),
            ("chunked;a=b", 400),
            ("\"chunked\"", 400),
        ] {
            assert_eq!(framing(&[("transfer-encoding", value)]), Err(status), "{value}");
        }
        let both = [("transfer-encoding", "chunked"), ("content-length", "1")];
        assert_eq!(framing(&both), Err(400));
        let twice = [("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")];
        assert_eq!(framing(&twice), Err(400));
        assert_eq!(read(Version::Http10, &[("transfer-encoding", "chunked")]), Err(400));
    }

    #[test]
    fn a_connection_stays_open_by_default_in_1_1_and_when_asked_in_1_0() {
        let keeps = |version, value| read(version, &[("connection", value)]).unwrap().keep_alive;
        assert!(keeps(Version::Http11, "te"));
        assert!(!keeps(Version::Http11, "TE, Close"));
        assert!(!keeps(Version::Http10, "te"));
        assert!(keeps(Version::Http10, "Keep-Alive"));
        assert!(!keeps(Version::Http10, "keep-alive, close"));
    }

    #[test]
    fn only_100_continue_can_be_expected() {
        let fields = [("expect", "100-Continue"), ("content-length", "1")];
        assert!(read(Version::Http11, &fields).unwrap().expects_continue);
        assert!(!read(Version::Http10, &fields).unwrap().expects_continue);
        assert!(!read(Version::Http11, &fields[..1]).unwrap().expects_continue);
        assert_eq!(framing(&[("expect", "200-ok")]), Err(417));
    }
}
