//! Several ranges of a file in one answer.
//!
//! Source: RFC 9110 §14.6 (`multipart/byteranges`), RFC 2046 §5.1.1 (boundaries).

use std::collections::VecDeque;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;

use super::answer::Content;
use super::facts::Facts;
use crate::message::{BodyCut, ResponseBody};

/// How much of a file is read at a time, in bytes.
const BLOCK_BYTES: u64 = 256 << 10;

/// A part of the body.
enum Piece {
    Bytes(Bytes),
    File { file: Arc<File>, offset: u64, size: u64 },
}

/// The content type and the body of an answer with these ranges (offsets and sizes), which lie inside the file.
pub(super) fn answer(
    facts: &Facts,
    content: &Content,
    ranges: &[(u64, u64)],
) -> (Bytes, ResponseBody) {
    // Random: no file can have it in it.
    let boundary = format!("{:032x}", rand::random::<u128>());
    let mut pieces = VecDeque::with_capacity(ranges.len() * 2 + 1);
    let mut size = 0;
    for (offset, part_size) in ranges.iter().copied() {
        let mut head = format!("\r\n--{boundary}\r\nContent-Type: ").into_bytes();
        head.extend_from_slice(&facts.content_type);
        let (last, total) = (offset + part_size - 1, facts.size);
        head.extend_from_slice(
            format!("\r\nContent-Range: bytes {offset}-{last}/{total}\r\n\r\n").as_bytes(),
        );
        size += head.len() as u64 + part_size;
        pieces.push_back(Piece::Bytes(head.into()));
        pieces.push_back(match content {
            Content::Memory(bytes) => {
                let at = |place: u64| usize::try_from(place).unwrap_or(usize::MAX).min(bytes.len());
                Piece::Bytes(bytes.slice(at(offset)..at(offset + part_size)))
            }
            Content::Disk(file) => Piece::File { file: Arc::clone(file), offset, size: part_size },
        });
    }
    let tail = format!("\r\n--{boundary}--\r\n");
    size += tail.len() as u64;
    pieces.push_back(Piece::Bytes(tail.into()));
    let stream = Box::pin(stream::unfold(pieces, next));
    let kind = format!("multipart/byteranges; boundary={boundary}");
    (kind.into(), ResponseBody::Stream { stream, size: Some(size) })
}

async fn next(mut pieces: VecDeque<Piece>) -> Option<(Result<Bytes, BodyCut>, VecDeque<Piece>)> {
    match pieces.pop_front()? {
        Piece::Bytes(bytes) => Some((Ok(bytes), pieces)),
        Piece::File { file, offset, size } => {
            let block = size.min(BLOCK_BYTES);
            if block < size {
                let (offset, size) = (offset + block, size - block);
                pieces.push_front(Piece::File { file: Arc::clone(&file), offset, size });
            }
            let read = tokio::task::spawn_blocking(move || {
                let mut bytes = vec![0; usize::try_from(block).unwrap_or(0)];
                file.read_exact_at(&mut bytes, offset).map(|()| bytes)
            });
            let read = match read.await {
                Ok(Ok(bytes)) => Ok(bytes.into()),
                Ok(Err(error)) => Err(BodyCut { reason: format!("a file can't be read: {error}") }),
                Err(_) => Err(BodyCut { reason: "a task was lost".to_owned() }),
            };
            Some((read, pieces))
        }
    }
}
