//! Preconditions of a request against the validators of what it asks for: a file, or a stored answer.
//!
//! Source: RFC 9110 §13.2.2 (order of evaluation), §8.8.3.2 (comparison of entity tags).

use std::time::SystemTime;

use crate::message::RequestHead;

/// What tells one state of a resource from another (RFC 9110 §8.8).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Validators<'a> {
    /// With its quotes, and with its `W/` where it is weak.
    pub(crate) etag: Option<&'a [u8]>,
    pub(crate) modified: Option<SystemTime>,
}

/// What the preconditions say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Go on.
    Proceed,
    /// 304.
    NotModified,
    /// 412.
    Failed,
}

/// Evaluates the preconditions of a GET or HEAD request.
pub(crate) fn evaluate(head: &RequestHead, validators: Validators<'_>) -> Verdict {
    let Validators { etag, modified } = validators;
    let modified_and = |name: &str| modified.zip(date(head, name));
    if head.header("if-match").is_some() {
        if !has_match(head, "if-match", etag, Comparison::Strong) {
            return Verdict::Failed;
        }
    } else if modified_and("if-unmodified-since").is_some_and(|(at, since)| at > since) {
        return Verdict::Failed;
    }
    if head.header("if-none-match").is_some() {
        if has_match(head, "if-none-match", etag, Comparison::Weak) {
            return Verdict::NotModified;
        }
    } else if modified_and("if-modified-since").is_some_and(|(at, since)| at <= since) {
        return Verdict::NotModified;
    }
    Verdict::Proceed
}

/// Whether a part may be sent: If-Range is missing, or names exactly this state (RFC 9110 §13.1.5).
pub(crate) fn allows_range(head: &RequestHead, validators: Validators<'_>) -> bool {
    match head.header("if-range") {
        None => true,
        Some(value) if value.starts_with(b"\"") => Some(value) == validators.etag,
        // A weak tag never matches, and is no date.
        Some(value) => parse_date(value).is_some_and(|since| Some(since) == validators.modified),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Strong,
    Weak,
}

/// Whether a list of entity tags has `etag`; `*` has every one.
fn has_match(head: &RequestHead, name: &str, etag: Option<&[u8]>, comparison: Comparison) -> bool {
    let is_it = |item: &[u8]| match (comparison, etag) {
        (_, None) => false,
        (Comparison::Strong, Some(etag)) => item == etag && !etag.starts_with(b"W/"),
        (Comparison::Weak, Some(etag)) => opaque(item) == opaque(etag),
    };
    head.header_values(name).any(|value| {
        value.trim_ascii() == b"*"
            || value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).any(is_it)
    })
}

/// An entity tag without what says that it is weak.
fn opaque(etag: &[u8]) -> &[u8] {
    etag.strip_prefix(b"W/").unwrap_or(etag)
}

fn date(head: &RequestHead, name: &str) -> Option<SystemTime> {
    head.header(name).and_then(parse_date)
}

/// A date of HTTP; what is none says nothing (RFC 9110 §13.1.3).
pub(crate) fn parse_date(value: &[u8]) -> Option<SystemTime> {
    httpdate::parse_http_date(std::str::from_utf8(value).ok()?.trim()).ok()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use crate::testing;

    const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
    const EXACTLY: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const AFTER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

    fn validators(etag: &str) -> Validators<'_> {
        let modified = Some(UNIX_EPOCH + Duration::from_secs(784_111_777));
        Validators { etag: Some(etag.as_bytes()), modified }
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
            assert_eq!(evaluate(&head, validators("\"a\"")), *verdict, "{headers:?}");
        }
    }

    #[test]
    fn a_weak_tag_matches_weakly_and_what_is_missing_never() {
        use Verdict::{Failed, NotModified, Proceed};
        let table = [
            ("if-none-match", "\"a\"", NotModified),
            ("if-none-match", "W/\"a\"", NotModified),
            ("if-match", "W/\"a\"", Failed),
            ("if-match", "\"a\"", Failed),
        ];
        for (name, value, verdict) in table {
            let head = testing::get("/", &[(name, value)]);
            assert_eq!(evaluate(&head, validators("W/\"a\"")), verdict, "{name}: {value}");
        }
        let nothing = Validators { etag: None, modified: None };
        for (name, value) in [("if-none-match", "\"a\""), ("if-modified-since", AFTER)] {
            let head = testing::get("/", &[(name, value)]);
            assert_eq!(evaluate(&head, nothing), Proceed, "{name}: {value}");
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
            assert_eq!(allows_range(&head, validators("\"a\"")), expected, "{value:?}");
        }
    }
}
