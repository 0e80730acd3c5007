//! Several ranges of a file in one answer.
//!
//! Source: RFC 9110 §14.6 (`multipart/byteranges`), RFC 2046 §5.1.1 (boundaries).

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt, stream};

use super::answer::Content;
use super::facts::Facts;
use crate::file_blocks::file_blocks;
use crate::message::{BodyStream, ResponseBody};

/// The content type and the body of an answer with these ranges (offsets and sizes), which lie inside the file.
pub(super) fn answer(
    facts: &Facts,
    content: &Content,
    ranges: &[(u64, u64)],
) -> (Bytes, ResponseBody) {
    // Random: no file can have it in it.
    let boundary = format!("{:032x}", rand::random::<u128>());
    let mut pieces = Vec::with_capacity(ranges.len() * 2 + 1);
    let mut size = 0;
    for (offset, part_size) in ranges.iter().copied() {
        let mut head = format!("\r\n--{boundary}\r\nContent-Type: ").into_bytes();
        head.extend_from_slice(&facts.content_type);
        let (last, total) = (offset + part_size - 1, facts.size);
        head.extend_from_slice(
            format!("\r\nContent-Range: bytes {offset}-{last}/{total}\r\n\r\n").as_bytes(),
        );
        size += head.len() as u64 + part_size;
        pieces.push(whole(head.into()));
        pieces.push(match content {
            Content::Memory(bytes) => {
                let at = |place: u64| usize::try_from(place).unwrap_or(usize::MAX).min(bytes.len());
                whole(bytes.slice(at(offset)..at(offset + part_size)))
            }
            Content::Disk(file) => file_blocks(Arc::clone(file), offset, part_size),
        });
    }
    let tail = format!("\r\n--{boundary}--\r\n");
    size += tail.len() as u64;
    pieces.push(whole(tail.into()));
    let stream = Box::pin(stream::iter(pieces).flatten());
    let kind = format!("multipart/byteranges; boundary={boundary}");
    (kind.into(), ResponseBody::Stream { stream, size: Some(size) })
}

fn whole(bytes: Bytes) -> BodyStream {
    Box::pin(stream::iter([Ok(bytes)]))
}
