//! The records of FastCGI, as a web server writes and reads them: one request on a connection.
//!
//! Source: FastCGI Specification 1.0, sections 3.3 (records), 5 (types), 6.2 (responder).

use bytes::{Buf, BufMut, BytesMut};
use onebox_uwsgi::Vars;

use super::failure::UpstreamError;

const VERSION: u8 = 1;
const BEGIN_REQUEST: u8 = 1;
const END_REQUEST: u8 = 3;
const PARAMS: u8 = 4;
const STDIN: u8 = 5;
const STDOUT: u8 = 6;
const STDERR: u8 = 7;
const RESPONDER: u16 = 1;
/// There is one request on a connection, and this is it.
const REQUEST_ID: u16 = 1;
const HEADER_BYTES: usize = 8;
/// What a record's length can say, rounded down to whole words.
const MAX_CONTENT_BYTES: usize = 65_528;
/// How much of what a server complains about is kept, in bytes.
const MAX_COMPLAINT_BYTES: usize = 2048;

/// The beginning of a request: who is asked for what.
pub(super) fn begin(params: &Vars) -> BytesMut {
    let mut out = BytesMut::new();
    record(&mut out, BEGIN_REQUEST, 8);
    out.put_u16(RESPONDER);
    // Without FCGI_KEEP_CONN the server closes behind its answer: an idle connection would hold one of its processes.
    out.put_bytes(0, 6);
    let mut block = BytesMut::new();
    for (name, value) in params.iter() {
        put_length(&mut block, name.len());
        put_length(&mut block, value.len());
        block.put_slice(name);
        block.put_slice(value);
    }
    put_stream(&mut out, PARAMS, &block);
    record(&mut out, PARAMS, 0);
    out
}

/// A piece of the request's body; an empty one ends it.
pub(super) fn put_stdin(out: &mut BytesMut, piece: &[u8]) {
    if piece.is_empty() {
        record(out, STDIN, 0);
    } else {
        put_stream(out, STDIN, piece);
    }
}

fn put_stream(out: &mut BytesMut, kind: u8, bytes: &[u8]) {
    for content in bytes.chunks(MAX_CONTENT_BYTES) {
        record(out, kind, u16::try_from(content.len()).unwrap_or(u16::MAX));
        out.put_slice(content);
    }
}

fn record(out: &mut BytesMut, kind: u8, size: u16) {
    out.put_slice(&[VERSION, kind]);
    out.put_u16(REQUEST_ID);
    out.put_u16(size);
    out.put_slice(&[0, 0]);
}

fn put_length(out: &mut BytesMut, length: usize) {
    match u8::try_from(length) {
        Ok(short @ ..=127) => out.put_u8(short),
        _ => out.put_u32(u32::try_from(length).unwrap_or(u32::MAX) | 1 << 31),
    }
}

/// Takes the records from around an answer.
#[derive(Default)]
pub(super) struct Records {
    /// What came and was not yet taken apart.
    pub(super) raw: BytesMut,
    current: Option<Current>,
    complaints: Vec<u8>,
}

/// A record whose content is coming.
#[derive(Clone, Copy)]
struct Current {
    kind: u8,
    content: usize,
    padding: usize,
}

impl Records {
    /// Moves what is there of the answer to `out`; whether the answer is complete.
    ///
    /// # Errors
    /// Where these are no records, or the server refuses the request.
    pub(super) fn unwrap_into(&mut self, out: &mut BytesMut) -> Result<bool, UpstreamError> {
        loop {
            let Some(current) = &mut self.current else {
                match self.header()? {
                    Some(current) => self.current = Some(current),
                    None => return Ok(false),
                }
                continue;
            };
            if current.kind == END_REQUEST {
                if self.raw.len() < current.content {
                    return Ok(false);
                }
                return self.end();
            }
            let size = current.content.min(self.raw.len());
            let content = self.raw.split_to(size);
            current.content -= size;
            match current.kind {
                STDOUT => out.extend_from_slice(&content),
                STDERR => {
                    let room = MAX_COMPLAINT_BYTES.saturating_sub(self.complaints.len());
                    self.complaints.extend(content.iter().take(room));
                }
                _ => {}
            }
            if current.content > 0 {
                return Ok(false);
            }
            let padding = current.padding.min(self.raw.len());
            self.raw.advance(padding);
            current.padding -= padding;
            if current.padding > 0 {
                return Ok(false);
            }
            self.current = None;
        }
    }

    /// What the server complained about, once.
    pub(super) fn take_complaints(&mut self) -> Option<String> {
        let said = std::mem::take(&mut self.complaints);
        let text = String::from_utf8_lossy(&said).trim().to_owned();
        (!text.is_empty()).then_some(text)
    }

    fn header(&mut self) -> Result<Option<Current>, UpstreamError> {
        if self.raw.len() < HEADER_BYTES {
            return Ok(None);
        }
        let version = self.raw.get_u8();
        let kind = self.raw.get_u8();
        let id = self.raw.get_u16();
        let content = usize::from(self.raw.get_u16());
        let padding = usize::from(self.raw.get_u8());
        self.raw.advance(1);
        let is_known = matches!((kind, id), (STDOUT | STDERR | END_REQUEST, REQUEST_ID));
        if version != VERSION || !is_known || (kind == END_REQUEST && content != 8) {
            return Err(UpstreamError::Malformed("it is not in records of FastCGI"));
        }
        Ok(Some(Current { kind, content, padding }))
    }

    fn end(&mut self) -> Result<bool, UpstreamError> {
        self.raw.advance(4);
        match self.raw.get_u8() {
            0 => Ok(true),
            1 => Err(UpstreamError::Refused("one request on a connection is one too many")),
            2 => Err(UpstreamError::Refused("it is overloaded")),
            3 => Err(UpstreamError::Refused("it is no responder")),
            _ => Err(UpstreamError::Malformed("it ends in a way that FastCGI has not")),
        }
    }
}

#[cfg(test)]
mod tests {
    use onebox_uwsgi::VarsBuilder;
    use proptest::prelude::*;

    use super::*;

    fn answer(records: &[(u8, &[u8], usize)]) -> Vec<u8> {
        let mut out = BytesMut::new();
        for (kind, content, padding) in records {
            out.put_slice(&[VERSION, *kind, 0, 1]);
            out.put_u16(u16::try_from(content.len()).unwrap());
            out.put_slice(&[u8::try_from(*padding).unwrap(), 0]);
            out.put_slice(content);
            out.put_bytes(0, *padding);
        }
        out.to_vec()
    }

    fn unwrapped(bytes: &[u8], step: usize) -> Result<(Vec<u8>, bool), UpstreamError> {
        let (mut records, mut out, mut ended) = (Records::default(), BytesMut::new(), false);
        for piece in bytes.chunks(step.max(1)) {
            records.raw.extend_from_slice(piece);
            ended = records.unwrap_into(&mut out)?;
        }
        Ok((out.to_vec(), ended))
    }

    #[test]
    fn a_request_is_begin_params_and_an_empty_record() {
        let mut vars = VarsBuilder::new(65_535);
        vars.push(b"A", b"bc").unwrap();
        vars.push(b"LONG", &[b'x'; 200]).unwrap();
        let bytes = begin(&vars.finish());
        assert_eq!(&bytes[..16], b"\x01\x01\0\x01\0\x08\0\0\0\x01\0\0\0\0\0\0");
        let params = 5 + 1 + 4 + 4 + 200;
        assert_eq!(&bytes[16..24], [1, 4, 0, 1, 0, params, 0, 0].map(|byte: u8| byte));
        assert_eq!(&bytes[24..29], b"\x01\x02Abc");
        assert_eq!(&bytes[29..34], b"\x04\x80\0\0\xc8");
        assert_eq!(&bytes[bytes.len() - 8..], b"\x01\x04\0\x01\0\0\0\0");
    }

    #[test]
    fn large_bodies_are_several_records() {
        let mut out = BytesMut::new();
        put_stdin(&mut out, &[b'a'; 100_000]);
        put_stdin(&mut out, b"");
        assert_eq!(out.len(), 100_000 + 3 * HEADER_BYTES);
    }

    #[test]
    fn an_answer_is_taken_out_of_its_records() {
        let bytes = answer(&[
            (STDOUT, b"Status: 200\r\n\r\nhe", 7),
            (STDERR, b"PHP Warning", 5),
            (STDOUT, b"llo", 0),
            (STDOUT, b"", 0),
            (END_REQUEST, &[0; 8], 0),
        ]);
        for step in [1, 2, 7, 1000] {
            let expected = (b"Status: 200\r\n\r\nhello".to_vec(), true);
            assert_eq!(unwrapped(&bytes, step).unwrap(), expected);
        }
        let mut records = Records { raw: BytesMut::from(&bytes[..]), ..Records::default() };
        records.unwrap_into(&mut BytesMut::new()).unwrap();
        assert_eq!(records.take_complaints().as_deref(), Some("PHP Warning"));
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        assert!(unwrapped(b"HTTP/1.1 200 OK\r\n\r\n", 100).is_err());
        assert!(unwrapped(&answer(&[(END_REQUEST, b"\0\0\0\0\x02\0\0\0", 0)]), 100).is_err());
        assert!(unwrapped(&answer(&[(END_REQUEST, b"", 0)]), 100).is_err());
        assert!(unwrapped(&answer(&[(PARAMS, b"", 0)]), 100).is_err());
        assert!(!unwrapped(&answer(&[(STDOUT, b"cut", 0)]), 100).unwrap().1);
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken_apart_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..80), step in 1_usize..80) {
            let mut framed = vec![VERSION, STDOUT, 0, 1];
            framed.extend_from_slice(&bytes);
            prop_assert_eq!(unwrapped(&framed, step).is_err(), unwrapped(&framed, 1000).is_err());
        }
    }
}
