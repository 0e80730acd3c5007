//! Request bodies: read whole before an application sees the request, so that no Python thread waits for a client.
//!
//! Up to `post-buffering` in memory, beyond that in a temporary file without a name.

use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;

use bytes::{Bytes, BytesMut};
use onebox_uwsgi::Body;

use crate::error::ProxyError;
use crate::message::BodyError;
use crate::request_body::RequestBody;

/// How much is collected before it is written to the temporary file, in bytes.
const WRITE_BYTES: usize = 256 << 10;

/// How a site's bodies are kept.
pub(crate) struct SpoolLimits<'a> {
    /// The largest body in memory, in bytes.
    pub(crate) memory_bytes: u64,
    /// The largest body at all, in bytes.
    pub(crate) max_bytes: u64,
    /// Where temporary files are made; `None`: where the system makes them.
    pub(crate) folder: Option<&'a PathBuf>,
}

/// Reads a body to its end.
///
/// # Errors
/// [`ProxyError::Body`] where the client does not send it right, [`ProxyError::Spool`] where the file can't be written.
pub(crate) async fn read_whole(
    body: &mut RequestBody<'_>,
    content_length: Option<u64>,
    limits: &SpoolLimits<'_>,
) -> Result<Body, ProxyError> {
    match content_length {
        Some(0) => return Ok(Body::Empty),
        // Told in advance: refused before a byte is read.
        Some(size) if size > limits.max_bytes => {
            return Err(BodyError::TooLarge { limit: limits.max_bytes }.into());
        }
        _ => body.set_limit(limits.max_bytes),
    }
    let Some(first) = body.chunk().await? else { return Ok(Body::Empty) };
    let in_memory = |size: usize| size as u64 <= limits.memory_bytes;
    let mut collected = match body.chunk().await? {
        None if in_memory(first.len()) => return Ok(Body::Memory(first)),
        None => BytesMut::from(first),
        Some(second) => {
            let known = content_length.unwrap_or(0).min(limits.memory_bytes);
            let mut both = BytesMut::with_capacity(usize::try_from(known).unwrap_or(0));
            both.extend_from_slice(&first);
            both.extend_from_slice(&second);
            both
        }
    };
    while in_memory(collected.len()) {
        let Some(chunk) = body.chunk().await? else {
            return Ok(Body::Memory(collected.freeze()));
        };
        collected.extend_from_slice(&chunk);
    }
    to_file(body, collected, limits).await
}

async fn to_file(
    body: &mut RequestBody<'_>,
    mut collected: BytesMut,
    limits: &SpoolLimits<'_>,
) -> Result<Body, ProxyError> {
    let folder = limits.folder.cloned();
    let mut file = in_background(move || match folder {
        Some(folder) => tempfile::tempfile_in(folder),
        None => tempfile::tempfile(),
    })
    .await?;
    let mut size = 0;
    loop {
        let chunk = body.chunk().await?;
        if let Some(chunk) = &chunk {
            collected.extend_from_slice(chunk);
        }
        if chunk.is_none() || collected.len() >= WRITE_BYTES {
            size += collected.len() as u64;
            file = write(file, collected.split().freeze()).await?;
        }
        if chunk.is_none() {
            return Ok(Body::File { file, size });
        }
    }
}

async fn write(mut file: File, bytes: Bytes) -> Result<File, ProxyError> {
    in_background(move || file.write_all(&bytes).map(|()| file)).await
}

async fn in_background<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, ProxyError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| ProxyError::TaskLost)?
        .map_err(ProxyError::Spool)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    async fn read(
        chunks: &[&'static [u8]],
        length: Option<u64>,
        max_bytes: u64,
    ) -> Result<Body, ProxyError> {
        let mut body =
            RequestBody::from_chunks(chunks.iter().map(|chunk| Bytes::from_static(chunk)));
        let limits = SpoolLimits { memory_bytes: 8, max_bytes, folder: None };
        read_whole(&mut body, length, &limits).await
    }

    fn text(body: Body) -> String {
        let mut text = String::new();
        body.into_reader().unwrap().read_to_string(&mut text).unwrap();
        text
    }

    #[tokio::test]
    async fn a_small_body_stays_in_memory() {
        let body = read(&[b"abcd", b"efg", b"h"], None, 100).await.unwrap();
        assert!(matches!(body, Body::Memory(_)));
        assert_eq!(text(body), "abcdefgh");
        assert!(matches!(read(&[b"abcd"], Some(4), 100).await.unwrap(), Body::Memory(_)));
    }

    #[tokio::test]
    async fn a_body_above_post_buffering_goes_to_a_file() {
        let body = read(&[b"abcd", b"efgh", b"i", b"jk"], None, 100).await.unwrap();
        assert!(matches!(body, Body::File { size: 11, .. }));
        assert_eq!(text(body), "abcdefghijk");
        let body = read(&[b"abcdefghi"], Some(9), 100).await.unwrap();
        assert!(matches!(body, Body::File { size: 9, .. }));
        assert_eq!(text(body), "abcdefghi");
    }

    #[tokio::test]
    async fn a_body_above_max_body_is_refused_declared_or_not() {
        for length in [Some(11), None] {
            let error = read(&[b"abcdef", b"ghijk"], length, 10).await.unwrap_err();
            assert_eq!(error.status(), 413);
        }
    }

    #[tokio::test]
    async fn no_body_is_empty() {
        assert!(matches!(read(&[], Some(0), 10).await.unwrap(), Body::Empty));
        assert!(matches!(read(&[], None, 10).await.unwrap(), Body::Empty));
    }
}
