//! The request parser's door for the fuzzer.

use std::time::Instant;

use bytes::BytesMut;

use super::parse::parse_head;
use super::scan::{HeadLimits, HeadScan};

/// Parses the head at the front of `bytes`: its size, path and host; `None` where it is refused or not complete.
pub fn parse_request_head(bytes: &[u8]) -> Option<(usize, Vec<u8>, Option<String>)> {
    let limits = HeadLimits { head_bytes: 64 << 10, target_bytes: 8 << 10 };
    let size = HeadScan::default().advance(bytes, limits).ok()??;
    let head = BytesMut::from(bytes.get(..size)?);
    let parsed = parse_head(head, limits, Instant::now()).ok()?;
    Some((size, parsed.head.path.to_vec(), parsed.head.host))
}
