//! An application's answer, compressed where that is of use.

use bytes::Bytes;
use futures_util::StreamExt;

use super::encoder::{Effort, Encoder, encode_whole};
use super::negotiate::{Coding, choose};
use crate::file_blocks::file_blocks;
use crate::message::{BodyCut, BodyStream, RequestHead, Response, ResponseBody, field, fields};

/// Below this many bytes a coding gains nothing.
pub(crate) const MIN_BYTES: u64 = 1024;

/// Up to this many bytes an answer is compressed on the thread of its connection.
const MAX_INLINE_BYTES: usize = 32 << 10;

/// An application's answer in the coding that its client prefers.
pub(crate) async fn apply(head: &RequestHead, mut response: Response) -> Response {
    if !is_eligible(&response) {
        return response;
    }
    add_vary(&mut response.headers);
    let coding = choose(head);
    if coding == Coding::Identity {
        return response;
    }
    let body = match response.body {
        ResponseBody::Full(bytes) => match encode_full(coding, &bytes).await {
            Some(encoded) => ResponseBody::Full(encoded),
            None => return Response { body: ResponseBody::Full(bytes), ..response },
        },
        ResponseBody::Stream { stream, .. } => {
            ResponseBody::Stream { stream: encode_stream(coding, stream), size: None }
        }
        ResponseBody::File { file, offset, size } => {
            let stream = encode_stream(coding, file_blocks(file, offset, size));
            ResponseBody::Stream { stream, size: None }
        }
        ResponseBody::Empty => return response,
    };
    describe(&mut response.headers, coding);
    Response { body, ..response }
}

/// Larger ones would hold up the other connections of this thread.
async fn encode_full(coding: Coding, bytes: &Bytes) -> Option<Bytes> {
    if bytes.len() <= MAX_INLINE_BYTES {
        return encode_whole(coding, Effort::Once, bytes);
    }
    let bytes = bytes.clone();
    let encoding = tokio::task::spawn_blocking(move || encode_whole(coding, Effort::Once, &bytes));
    encoding.await.ok().flatten()
}

/// Whether an answer could be compressed at all, for whatever client.
pub(crate) fn is_eligible(response: &Response) -> bool {
    if matches!(response.body, ResponseBody::Empty) {
        return false;
    }
    let header = |name: &'static str| field(&response.headers, name);
    // Ranges of a file count in its plain bytes.
    let promises_ranges =
        matches!(response.body, ResponseBody::File { .. }) && header("accept-ranges").is_some();
    !promises_ranges
        && response.body.size().is_none_or(|size| size >= MIN_BYTES)
        && response.status != 206
        && header("content-range").is_none()
        && header("content-encoding").is_none()
        && !header("cache-control").is_some_and(|value| contains(value, b"no-transform"))
        && header("content-type").is_some_and(is_compressible)
}

/// Whether a media type is text or as redundant as text. Event streams are not touched: an event is small, and must not wait.
pub(crate) fn is_compressible(content_type: &[u8]) -> bool {
    let end = content_type.iter().position(|byte| *byte == b';').unwrap_or(content_type.len());
    let kind = content_type.get(..end).unwrap_or_default().trim_ascii().to_ascii_lowercase();
    match kind.as_slice() {
        b"text/event-stream" => false,
        b"application/javascript"
        | b"application/json"
        | b"application/xml"
        | b"application/wasm"
        | b"application/x-ndjson"
        | b"application/rtf"
        | b"application/vnd.ms-fontobject"
        | b"font/ttf"
        | b"font/otf"
        | b"image/bmp"
        | b"image/x-icon"
        | b"image/vnd.microsoft.icon" => true,
        other => {
            other.starts_with(b"text/") || other.ends_with(b"+json") || other.ends_with(b"+xml")
        }
    }
}

fn contains(value: &[u8], word: &[u8]) -> bool {
    memchr::memmem::find(&value.to_ascii_lowercase(), word).is_some()
}

/// RFC 9110 §12.5.5: caches must know that the answer depends on `Accept-Encoding`.
pub(crate) fn add_vary(headers: &mut Vec<(Bytes, Bytes)>) {
    let named = fields(headers, "vary")
        .any(|value| contains(value, b"accept-encoding") || value.trim_ascii() == b"*");
    if !named {
        headers.push((Bytes::from_static(b"Vary"), Bytes::from_static(b"Accept-Encoding")));
    }
}

/// Names the coding, and makes the application's strong validator a weak one: these are other bytes (RFC 9110 §8.8.3.3).
pub(crate) fn describe(headers: &mut Vec<(Bytes, Bytes)>, coding: Coding) {
    headers.retain(|(name, _)| !name.eq_ignore_ascii_case(b"accept-ranges"));
    for (name, value) in headers.iter_mut() {
        if name.eq_ignore_ascii_case(b"etag") && !value.starts_with(b"W/") {
            *value = [b"W/", &value[..]].concat().into();
        }
    }
    headers.push((Bytes::from_static(b"Content-Encoding"), coding.name()));
}

fn encode_stream(coding: Coding, stream: BodyStream) -> BodyStream {
    let Some(encoder) = Encoder::new(coding, Effort::Once) else { return stream };
    Box::pin(futures_util::stream::unfold(Some((encoder, stream)), |state| async move {
        let (mut encoder, mut stream) = state?;
        match stream.next().await {
            Some(Ok(piece)) => Some(match encoder.push(&piece) {
                Ok(encoded) => (Ok(encoded), Some((encoder, stream))),
                Err(error) => (Err(cut(&error)), None),
            }),
            Some(Err(cut)) => Some((Err(cut), None)),
            None => match encoder.finish() {
                Ok(tail) if tail.is_empty() => None,
                Ok(tail) => Some((Ok(tail), None)),
                Err(error) => Some((Err(cut(&error)), None)),
            },
        }
    }))
}

fn cut(error: &std::io::Error) -> BodyCut {
    BodyCut { reason: format!("compression failed: {error}") }
}
