//! An answer, without what differs from request to request.

use crate::harness::Said;

/// What of two answers must be the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// Status line and fields.
    pub(super) head: String,
    pub(super) body: Vec<u8>,
    /// `None`: the way it came has no sign for it.
    pub(super) complete: Option<bool>,
}

impl Answer {
    /// Without Date, and with every place of the request's identity made the same.
    pub(super) fn read(said: Said) -> Self {
        let end = said.bytes.windows(4).position(|window| window == b"\r\n\r\n");
        let end = end.unwrap_or_else(|| panic!("no head: {}", said.bytes.escape_ascii())) + 2;
        let head = latin1(&said.bytes[..end]);
        let field = |name: &str| head.split(name).nth(1).and_then(|rest| rest.split("\r\n").next());
        let (id, date) = (field("X-Request-Id: ").unwrap(), field("Date: ").unwrap());
        let length = field("Content-Length: ").map(|size| size.parse::<usize>().unwrap());
        let is_chunked = field("Transfer-Encoding: ") == Some("chunked");
        let (mut body, last_chunk) = match &said.bytes[end + 2..] {
            chunks if is_chunked => dechunked(chunks),
            body => (body.to_vec(), false),
        };
        let status = head[9..12].parse().unwrap();
        // The page of an error names it.
        if status >= 400
            && let Some(at) = body.windows(id.len()).position(|window| window == id.as_bytes())
        {
            body.splice(at..at + id.len(), *b"ID");
        }
        let is_whole = match length {
            // HEAD and 304 announce what they don't send.
            Some(length) => said.bytes.len() - end - 2 == length || body.is_empty(),
            None => last_chunk || !is_chunked,
        };
        let unknown = length.is_none() && !is_chunked && !said.reset;
        Self {
            status,
            complete: if unknown { None } else { Some(is_whole && !said.reset) },
            head: head.replace(id, "ID").replace(date, "DATE"),
            body,
        }
    }

    /// Without what says where the body ends: that may depend on when its pieces come.
    pub(super) fn unframed(mut self) -> Self {
        let framing = ["Content-Length: ", "Transfer-Encoding: "];
        let lines = self.head.split_inclusive("\r\n");
        let kept = lines.filter(|line| !framing.iter().any(|name| line.starts_with(name)));
        self.head = kept.collect();
        self
    }

    /// Its body as text.
    pub(super) fn text(&self) -> String {
        latin1(&self.body)
    }
}

fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

/// The body in `chunks`, and whether the last chunk is there.
fn dechunked(mut chunks: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    while let Some(line) = chunks.windows(2).position(|window| window == b"\r\n") {
        let size = usize::from_str_radix(&latin1(&chunks[..line]), 16).unwrap();
        if size == 0 {
            return (body, chunks == b"0\r\n\r\n");
        }
        let data = &chunks[line + 2..];
        body.extend(&data[..size.min(data.len())]);
        chunks = data.get(size + 2..).unwrap_or_default();
    }
    (body, false)
}
