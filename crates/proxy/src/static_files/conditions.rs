//! Preconditions of a request against the validators of a file.
//!
//! Source: RFC 9110 §13.2.2 (order of evaluation), §8.8.3.2 (comparison of entity tags).

use std::time::SystemTime;

use crate::message::RequestHead;

/// What the preconditions say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Go on.
    Proceed,
    /// 304.
    NotModified,
    /// 412.
    Failed,
}

/// Evaluates the preconditions of a GET or HEAD request.
pub(super) fn evaluate(head: &RequestHead, etag: &[u8], modified: SystemTime) -> Verdict {
    if head.header("if-match").is_some() {
        if !has_match(head, "if-match", etag, Comparison::Strong) {
            return Verdict::Failed;
        }
    } else if date(head, "if-unmodified-since").is_some_and(|since| modified > since) {
        return Verdict::Failed;
    }
    if head.header("if-none-match").is_some() {
        if has_match(head, "if-none-match", etag, Comparison::Weak) {
            return Verdict::NotModified;
        }
    } else if date(head, "if-modified-since").is_some_and(|since| modified <= since) {
        return Verdict::NotModified;
    }
    Verdict::Proceed
}

/// Whether a part may be sent: If-Range is missing, or names exactly this state of the file (RFC 9110 §13.1.5).
pub(super) fn allows_range(head: &RequestHead, etag: &[u8], modified: SystemTime) -> bool {
    match head.header("if-range") {
        None => true,
        Some(value) if value.starts_with(b"\"") => value == etag,
        // A weak tag never matches, and is no date.
        Some(value) => parse_date(value).is_some_and(|since| since == modified),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Strong,
    Weak,
}

/// Whether a list of entity tags has `etag`, which is strong; `*` has every one.
fn has_match(head: &RequestHead, name: &str, etag: &[u8], comparison: Comparison) -> bool {
    head.header_values(name).any(|value| {
        value.trim_ascii() == b"*"
            || value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).any(|item| match item {
                [b'W', b'/', tag @ ..] => comparison == Comparison::Weak && tag == etag,
                tag => tag == etag,
            })
    })
}

fn date(head: &RequestHead, name: &str) -> Option<SystemTime> {
    head.header(name).and_then(parse_date)
}

/// What is no date says nothing (RFC 9110 §13.1.3).
fn parse_date(value: &[u8]) -> Option<SystemTime> {
    httpdate::parse_http_date(std::str::from_utf8(value).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use crate::testing;

    const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
    const EXACTLY: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const AFTER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

    fn modified() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(784_111_777)
    }

    #[test]
    fn preconditions_follow_the_rfcs_table() {
        use Verdict::{Failed, NotModified, Proceed};
        let table: &[(&[(&str, &str)], Verdict)] = &[
            (&[], Proceed),
            (&[("if-none-match", "\"a\"")], NotModified),
            (&[("if-none-match", "W/\"a\"")], NotModified),
            (&[("if-none-match", "\"b\", W/\"a\"")], NotModified),
            (&[("if-none-match", "\"b\""), ("if-none-match", "\"a\"")], NotModified),
            (&[("if-none-match", "*")], NotModified),
            (&[("if-none-match", "\"b\"")], Proceed),
            (&[("if-none-match", "\"b\""), ("if-modified-since", AFTER)], Proceed),
            (&[("if-none-match", "a")], Proceed),
            (&[("if-modified-since", EXACTLY)], NotModified),
            (&[("if-modified-since", AFTER)], NotModified),
            (&[("if-modified-since", BEFORE)], Proceed),
            (&[("if-modified-since", "yesterday")], Proceed),
            (&[("if-match", "\"a\"")], Proceed),
            (&[("if-match", "*")], Proceed),
            (&[("if-match", "W/\"a\"")], Failed),
            (&[("if-match", "\"b\"")], Failed),
            (&[("if-match", "\"a\""), ("if-unmodified-since", BEFORE)], Proceed),
            (&[("if-match", "\"a\""), ("if-none-match", "\"a\"")], NotModified),
            (&[("if-unmodified-since", EXACTLY)], Proceed),
            (&[("if-unmodified-since", BEFORE)], Failed),
        ];
        for (headers, verdict) in table {
            let head = testing::get("/", headers);
            assert_eq!(evaluate(&head, b"\"a\"", modified()), *verdict, "{headers:?}");
        }
    }

    #[test]
    fn a_part_is_sent_only_of_exactly_the_state_that_the_client_has() {
        let table = [
            (None, true),
            (Some("\"a\""), true),
            (Some("\"b\""), false),
            (Some("W/\"a\""), false),
            (Some(EXACTLY), true),
            (Some(AFTER), false),
            (Some("nonsense"), false),
        ];
        for (value, expected) in table {
            let headers: Vec<_> = value.iter().map(|value| ("if-range", *value)).collect();
            let head = testing::get("/", &headers);
            assert_eq!(allows_range(&head, b"\"a\"", modified()), expected, "{value:?}");
        }
    }
}
