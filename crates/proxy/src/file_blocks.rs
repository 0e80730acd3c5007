//! A part of a file as a stream, for bodies that are more or other than its bytes.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;

use crate::message::{BodyCut, BodyStream};

/// How much of a file is read at a time, in bytes.
const BLOCK_BYTES: u64 = 256 << 10;

/// `size` bytes of `file` from `offset`, read by threads that may wait; cut where the file has become shorter.
pub(crate) fn file_blocks(file: Arc<File>, offset: u64, size: u64) -> BodyStream {
    Box::pin(stream::unfold((offset, size), move |(offset, size)| {
        let file = Arc::clone(&file);
        async move {
            let block = size.min(BLOCK_BYTES);
            let read = (block > 0)
                .then(|| tokio::task::spawn_blocking(move || read(&file, offset, block)))?;
            let read = read.await.unwrap_or_else(|_| Err(cut("a task was lost")));
            // After a failure there is nothing more.
            let left = if read.is_ok() { size - block } else { 0 };
            Some((read, (offset + block, left)))
        }
    }))
}

fn read(file: &File, offset: u64, size: u64) -> Result<Bytes, BodyCut> {
    let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
    let read = file.read_exact_at(&mut bytes, offset);
    read.map(|()| bytes.into()).map_err(|error| cut(&format!("a file can't be read: {error}")))
}

fn cut(reason: &str) -> BodyCut {
    BodyCut { reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;

    use super::*;

    #[tokio::test]
    async fn a_part_comes_in_blocks() {
        let file = tempfile::tempfile().unwrap();
        let bytes: Vec<u8> = (0..700_000u32).map(|number| number.to_le_bytes()[0]).collect();
        file.write_all_at(&bytes, 0).unwrap();
        let mut stream = file_blocks(Arc::new(file), 10, 600_000);
        let mut seen = Vec::new();
        while let Some(block) = stream.next().await {
            seen.extend_from_slice(&block.unwrap());
        }
        assert_eq!(seen, bytes[10..600_010]);
    }

    #[tokio::test]
    async fn a_file_that_became_shorter_is_cut() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(300_000).unwrap();
        let blocks: Vec<_> = file_blocks(Arc::new(file), 0, 900_000).collect().await;
        assert_eq!(blocks.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false]);
    }
}
