//! A file as an answer: status, validators and the part that is wanted.
//!
//! Source: RFC 9110 §8.8 (validators), §14 (ranges), §15.4.5 (304), §15.5.17 (416).

use std::fs::File;
use std::sync::Arc;

use bytes::Bytes;
use http::Method;

use super::facts::Facts;
use super::multipart;
use crate::compress::{Coding, MIN_BYTES, add_vary};
use crate::conditions::{self, Validators, Verdict};
use crate::message::{RequestHead, Response, ResponseBody};
use crate::range::{self, Range};

/// The bytes of a file.
#[derive(Clone)]
pub(super) enum Content {
    Memory(Bytes),
    Disk(Arc<File>),
}

/// Whether a file of this kind and size comes in several codings.
pub(super) fn has_codings(facts: &Facts) -> bool {
    facts.is_compressible && facts.size >= MIN_BYTES
}

/// The answer to a GET or HEAD request for a file; `coding` says what `content` is in.
pub(super) fn file(
    head: &RequestHead,
    facts: &Facts,
    content: Content,
    coding: Coding,
) -> Response {
    let etag = facts.etag(coding);
    let mut headers = describe(facts, &etag, coding);
    let validators = Validators { etag: Some(&etag), modified: Some(facts.modified) };
    match conditions::evaluate(head, validators) {
        Verdict::Failed => return empty(412, Vec::new()),
        Verdict::NotModified => return empty(304, headers),
        Verdict::Proceed => {}
    }
    let wanted = match coding {
        // Offsets count in the plain bytes.
        Coding::Identity
            if head.method == Method::GET && conditions::allows_range(head, validators) =>
        {
            range::parse(head.header("range"), facts.size)
        }
        _ => Range::Whole,
    };
    match coding {
        Coding::Identity => headers.push((name("Accept-Ranges"), name("bytes"))),
        coding => headers.push((name("Content-Encoding"), coding.name())),
    }
    let several = match &wanted {
        Range::Several(ranges) => Some(multipart::answer(facts, &content, ranges)),
        _ => None,
    };
    if let Some((kind, body)) = several {
        headers.push((name("Content-Type"), kind));
        return Response { body, ..empty(206, headers) };
    }
    headers.push((name("Content-Type"), facts.content_type.clone()));
    let (status, offset, size) = match wanted {
        Range::Whole | Range::Several(_) => {
            let size = match &content {
                Content::Memory(bytes) => bytes.len() as u64,
                Content::Disk(_) => facts.size,
            };
            (200, 0, size)
        }
        Range::Part { offset, size } => {
            let range = format!("bytes {offset}-{}/{}", offset + size - 1, facts.size);
            headers.push((name("Content-Range"), range.into()));
            (206, offset, size)
        }
        Range::Unsatisfiable => {
            let range = format!("bytes */{}", facts.size);
            return empty(416, vec![(name("Content-Range"), range.into())]);
        }
    };
    Response { body: body(content, offset, size), ..empty(status, headers) }
}

/// What the file says in place of the page that was asked for: a site's own `404.html`, or a page of its configuration.
pub(super) fn error_page(status: u16, facts: &Facts, content: Content) -> Response {
    let headers = vec![
        (name("Content-Type"), facts.content_type.clone()),
        (name("X-Content-Type-Options"), name("nosniff")),
    ];
    Response { body: body(content, 0, facts.size), ..empty(status, headers) }
}

/// To the path (as it stands in a URL) with a slash behind it, where a folder is.
pub(super) fn to_folder(head: &RequestHead, path: &[u8]) -> Response {
    // Two slashes in front would name another host (RFC 3986 §4.2).
    let slashes = path.iter().take_while(|byte| **byte == b'/').count();
    let mut location = [b"/", path.get(slashes..).unwrap_or_default(), b"/"].concat();
    if let Some(query) = &head.query {
        location.push(b'?');
        location.extend_from_slice(query);
    }
    empty(301, vec![(name("Location"), location.into())])
}

/// Files are read, not written.
pub(super) fn method_not_allowed() -> Response {
    empty(405, vec![(name("Allow"), name("GET, HEAD"))])
}

fn describe(facts: &Facts, etag: &Bytes, coding: Coding) -> Vec<(Bytes, Bytes)> {
    let mut headers = Vec::with_capacity(9);
    headers.push((name("ETag"), etag.clone()));
    headers.push((name("Last-Modified"), facts.last_modified.clone()));
    headers.push((name("X-Content-Type-Options"), name("nosniff")));
    if facts.is_immutable {
        headers.push((name("Cache-Control"), name("public, max-age=31536000, immutable")));
    }
    if has_codings(facts) || coding != Coding::Identity {
        add_vary(&mut headers);
    }
    headers
}

fn body(content: Content, offset: u64, size: u64) -> ResponseBody {
    match content {
        _ if size == 0 => ResponseBody::Empty,
        Content::Disk(file) => ResponseBody::File { file, offset, size },
        Content::Memory(mut bytes) => {
            // The range was made to lie inside.
            let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
            let mut part = bytes.split_off(start);
            part.truncate(usize::try_from(size).unwrap_or(usize::MAX));
            ResponseBody::Full(part)
        }
    }
}

pub(super) fn empty(status: u16, headers: Vec<(Bytes, Bytes)>) -> Response {
    Response::new(status, headers, ResponseBody::Empty)
}

pub(super) fn name(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}
