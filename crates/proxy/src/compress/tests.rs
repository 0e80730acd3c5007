use async_compression::tokio::write::{BrotliDecoder, GzipDecoder, ZstdDecoder};
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::io::AsyncWriteExt;

use super::*;
use crate::message::{BodyCut, RequestHead, Response, ResponseBody};
use crate::testing;

const HTML: &str = "text/html; charset=utf-8";

fn answer(
    kind: &'static str,
    body: ResponseBody,
    more: &[(&'static str, &'static str)],
) -> Response {
    let kind = [("Content-Type", kind)];
    let headers = kind.iter().chain(more);
    Response {
        status: 200,
        reason: None,
        headers: headers.map(|(name, value)| (Bytes::from(*name), Bytes::from(*value))).collect(),
        declared_length: None,
        body,
        onward: None,
        close: false,
    }
}

fn page() -> ResponseBody {
    ResponseBody::Full("<p>hello</p>".repeat(200).into())
}

fn client(codings: &'static str) -> RequestHead {
    testing::get("/", &[("accept-encoding", codings)])
}

async fn decoded(coding: &str, bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    let mut decoder: Box<dyn tokio::io::AsyncWrite + Unpin> = match coding {
        "zstd" => Box::new(ZstdDecoder::new(&mut plain)),
        "br" => Box::new(BrotliDecoder::new(&mut plain)),
        "gzip" => Box::new(GzipDecoder::new(&mut plain)),
        other => panic!("unknown coding {other}"),
    };
    decoder.write_all(bytes).await.unwrap();
    decoder.flush().await.unwrap();
    drop(decoder);
    plain
}

#[tokio::test]
async fn a_whole_answer_is_compressed_in_every_coding() {
    for coding in ["zstd", "br", "gzip"] {
        let response = apply(&client(coding), answer(HTML, page(), &[])).await;
        assert_eq!(testing::header(&response, "content-encoding").as_deref(), Some(coding));
        assert_eq!(testing::header(&response, "vary").as_deref(), Some("Accept-Encoding"));
        let body = testing::body(response).await.unwrap();
        assert!(body.len() < 200, "{coding}: {} bytes", body.len());
        assert!(decoded(coding, &body).await == "<p>hello</p>".repeat(200).into_bytes());
    }
}

#[tokio::test]
async fn a_large_answer_is_compressed_in_the_background() {
    let text = "<p>hello</p>".repeat(20_000).into_bytes();
    let body = ResponseBody::Full(text.clone().into());
    let body = testing::body(apply(&client("zstd"), answer(HTML, body, &[])).await).await.unwrap();
    assert!(decoded("zstd", &body).await == text);
}

#[tokio::test]
async fn every_piece_of_a_stream_can_be_decoded_when_it_arrives() {
    for coding in ["zstd", "br", "gzip"] {
        let pieces = futures_util::stream::iter([Ok("one, ".into()), Ok("two".into())]);
        let body = ResponseBody::Stream { stream: Box::pin(pieces), size: None };
        let response = apply(&client(coding), answer(HTML, body, &[])).await;
        let ResponseBody::Stream { mut stream, size: None } = response.body else {
            panic!("not a stream")
        };
        let mut sent = stream.next().await.unwrap().unwrap().to_vec();
        assert_eq!(decoded(coding, &sent).await, b"one, ", "{coding}");
        while let Some(piece) = stream.next().await {
            sent.extend_from_slice(&piece.unwrap());
        }
        assert_eq!(decoded(coding, &sent).await, b"one, two", "{coding}");
    }
}

#[tokio::test]
async fn a_stream_that_is_cut_stays_cut() {
    let cut = BodyCut { reason: "gone".into() };
    let pieces = futures_util::stream::iter([Ok("one".into()), Err(cut)]);
    let body = ResponseBody::Stream { stream: Box::pin(pieces), size: None };
    let response = apply(&client("gzip"), answer(HTML, body, &[])).await;
    assert_eq!(testing::body(response).await.unwrap_err(), "gone");
}

#[tokio::test]
async fn what_should_not_be_compressed_is_left_alone() {
    let long = || ResponseBody::Full(vec![b'x'; 5000].into());
    let stream =
        || ResponseBody::Stream { stream: Box::pin(futures_util::stream::empty()), size: None };
    let partial = Response { status: 206, ..answer(HTML, long(), &[]) };
    let answers = [
        ("short", answer(HTML, ResponseBody::Full("short".into()), &[])),
        ("encoded", answer(HTML, long(), &[("Content-Encoding", "br")])),
        ("no-transform", answer(HTML, long(), &[("Cache-Control", "public, No-Transform")])),
        ("range", answer(HTML, long(), &[("Content-Range", "bytes 0-9/10")])),
        ("image", answer("image/png", long(), &[])),
        ("event stream", answer("text/event-stream", stream(), &[])),
        ("partial", partial),
    ];
    for (what, response) in answers {
        let encoded = response.headers.iter().any(|(_, value)| value == "br");
        let response = apply(&client("gzip"), response).await;
        assert!(encoded || testing::header(&response, "content-encoding").is_none(), "{what}");
        assert_eq!(testing::header(&response, "vary"), None, "{what}");
    }
}

#[tokio::test]
async fn a_client_that_wants_plain_bytes_still_learns_that_others_get_other_ones() {
    let response = apply(&client("identity"), answer(HTML, page(), &[("Vary", "Cookie")])).await;
    assert_eq!(testing::header(&response, "content-encoding"), None);
    let varies = response.headers.iter().filter(|(name, _)| name == "Vary").count();
    assert_eq!(varies, 2);
    let response =
        apply(&client("gzip"), answer(HTML, page(), &[("Vary", "accept-encoding")])).await;
    assert_eq!(testing::header(&response, "vary").as_deref(), Some("accept-encoding"));
}

#[tokio::test]
async fn a_strong_validator_becomes_weak() {
    let more = [("ETag", "\"abc\""), ("Accept-Ranges", "bytes")];
    let response = apply(&client("gzip"), answer(HTML, page(), &more)).await;
    assert_eq!(testing::header(&response, "etag").as_deref(), Some("W/\"abc\""));
    assert_eq!(testing::header(&response, "accept-ranges"), None);
}

#[tokio::test]
async fn a_file_is_compressed_unless_it_promises_ranges() {
    use std::os::unix::fs::FileExt;
    let text = "<p>hello</p>".repeat(50_000);
    let file = tempfile::tempfile().unwrap();
    file.write_all_at(text.as_bytes(), 7).unwrap();
    let file = std::sync::Arc::new(file);
    let body = || ResponseBody::File { file: file.clone(), offset: 7, size: text.len() as u64 };
    let response = apply(&client("zstd"), answer(HTML, body(), &[])).await;
    assert_eq!(testing::header(&response, "content-encoding").as_deref(), Some("zstd"));
    let bytes = testing::body(response).await.unwrap();
    assert!(decoded("zstd", &bytes).await == text.as_bytes());

    let ranges = [("Accept-Ranges", "bytes")];
    for response in [
        apply(&client("zstd"), answer(HTML, body(), &ranges)).await,
        apply(&client("zstd"), answer("video/mp4", body(), &[])).await,
        apply(&client("identity"), answer(HTML, body(), &[])).await,
    ] {
        assert!(matches!(response.body, ResponseBody::File { .. }));
    }
}
