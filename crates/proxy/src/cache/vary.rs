//! Which requests an answer is for, where it says that others get another one.
//!
//! Source: RFC 9111 §4.1 (`Vary`, and what may be normalised), RFC 9110 §12.4.2 (weights).

use std::cmp::Reverse;

use bytes::Bytes;

use crate::message::{RequestHead, fields};
use crate::vars;
use crate::weight::weight_of;

/// What is written for the source of who asks, whatever the client says.
const OF_THE_CLIENT: [&[u8]; 4] = [b"forwarded", b"x-forwarded-for", b"x-real-ip", b"x-request-id"];

/// The fields that an answer depends on, and what its request said in them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Selection(pub(super) Vec<(Vec<u8>, Option<Vec<u8>>)>);

impl Selection {
    /// Of an answer to `head`; `None`: no other request is like this one, as with `Vary: *`.
    pub(super) fn of(headers: &[(Bytes, Bytes)], head: &RequestHead) -> Option<Self> {
        let names = fields(headers, "vary").flat_map(|value| value.split(|byte| *byte == b','));
        let names = names.map(|name| name.trim_ascii().to_ascii_lowercase());
        let mut names: Vec<_> = names.filter(|name| !name.is_empty()).collect();
        if names.iter().any(|name| name == b"*" || OF_THE_CLIENT.contains(&name.as_slice())) {
            return None;
        }
        names.sort();
        names.dedup();
        Some(Self(names.into_iter().map(|name| with_value(name, head)).collect()))
    }

    /// Whether a request is like the one of the answer.
    pub(super) fn matches(&self, head: &RequestHead) -> bool {
        self.0.iter().all(|(name, value)| *value == normalised(head, name))
    }

    /// The same, and what another one of the same request depends on.
    pub(super) fn and(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self.0.sort();
        self.0.dedup();
        self
    }

    /// What tells requests apart that look alike to a key, if answers depend on the same fields as this one.
    pub(super) fn of_other(&self, head: &RequestHead) -> Self {
        Self(self.0.iter().map(|(name, _)| with_value(name.clone(), head)).collect())
    }

    /// Appends what it says, so that two of them are the same bytes where they are equal.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        for (name, value) in &self.0 {
            out.push(0);
            out.extend_from_slice(name);
            if let Some(value) = value {
                out.push(b'=');
                out.extend_from_slice(value);
            }
        }
    }

    /// What it takes in memory, in bytes.
    pub(super) fn size(&self) -> usize {
        self.0.iter().map(|(name, value)| name.len() + value.as_ref().map_or(0, Vec::len)).sum()
    }
}

fn with_value(name: Vec<u8>, head: &RequestHead) -> (Vec<u8>, Option<Vec<u8>>) {
    let value = normalised(head, &name);
    (name, value)
}

/// A request's field without differences that say nothing; `None`: it has none that goes on to the source.
fn normalised(head: &RequestHead, name: &[u8]) -> Option<Vec<u8>> {
    if !vars::goes_on(name, head) {
        return None;
    }
    let mut values = head.header_values(name).peekable();
    values.peek()?;
    match name {
        b"accept-encoding" | b"accept-language" | b"accept-charset" | b"accept" => {
            Some(by_weight(values))
        }
        _ => Some(joined(values)),
    }
}

/// Lines of one field are one list (RFC 9110 §5.3), and blanks around its commas say nothing.
fn joined<'a>(values: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let items = values.flat_map(|value| value.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
    items.collect::<Vec<_>>().join(&b","[..])
}

/// A list by weight, in lower case, without blanks and without the weight that goes without saying. What weighs the same
/// keeps its order: applications take the first of those.
fn by_weight<'a>(values: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let items = values.flat_map(|value| value.split(|byte| *byte == b','));
    let mut items: Vec<Vec<u8>> = items
        .map(|item| item.to_ascii_lowercase())
        .map(|item| item.into_iter().filter(|byte| !matches!(byte, b' ' | b'\t')).collect())
        .map(|item: Vec<u8>| match item.strip_suffix(b";q=1") {
            Some(plain) => plain.to_vec(),
            None => item,
        })
        .filter(|item| !item.is_empty())
        .collect();
    items.sort_by_key(|item| Reverse(weight_of(item)));
    items.join(&b","[..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn selection(vary: &str, request: &[(&str, &str)]) -> Option<Selection> {
        let headers = [(Bytes::from_static(b"Vary"), Bytes::copy_from_slice(vary.as_bytes()))];
        Selection::of(&headers, &testing::get("/", request))
    }

    #[test]
    fn requests_are_alike_whose_named_fields_are() {
        type Fields<'a> = &'a [(&'a str, &'a str)];
        let table: [(&str, Fields<'_>, Fields<'_>, bool); 20] = [
            ("", &[("a", "1")], &[("a", "2")], true),
            ("A", &[("a", "1")], &[("a", "1"), ("b", "2")], true),
            ("A", &[("a", "1")], &[("a", "2")], false),
            ("A", &[("a", "1")], &[], false),
            ("A", &[], &[("a", "1")], false),
            ("A", &[], &[("a", "")], false),
            ("A", &[], &[], true),
            ("A, b", &[("a", "1"), ("b", "2")], &[("a", "1"), ("b", "3")], false),
            ("A", &[("a", "1,2")], &[("a", "1 , 2")], true),
            ("A", &[("a", "1, 2")], &[("a", "1"), ("a", "2")], true),
            ("A", &[("a", "1, 2")], &[("a", "2, 1")], false),
            ("A", &[("a", "x")], &[("a", "X")], false),
            (
                "Accept-Encoding",
                &[("accept-encoding", "gzip, br")],
                &[("accept-encoding", "gzip,BR")],
                true,
            ),
            (
                "Accept-Encoding",
                &[("accept-encoding", "gzip;q=1")],
                &[("accept-encoding", "gzip")],
                true,
            ),
            (
                "Accept-Encoding",
                &[("accept-encoding", "gzip")],
                &[("accept-encoding", "br")],
                false,
            ),
            (
                "Accept-Language",
                &[("accept-language", "en, de")],
                &[("accept-language", "DE,en")],
                false,
            ),
            (
                "Accept-Language",
                &[("accept-language", "en;q=0.5, de")],
                &[("accept-language", "de,en; q=0.5")],
                true,
            ),
            (
                "Accept-Language",
                &[("accept-language", "en;q=0.5")],
                &[("accept-language", "en")],
                false,
            ),
            ("Accept-Language", &[("accept-language", "en")], &[("accept-language", "de")], false),
            ("Cookie", &[("cookie", "a=1")], &[("cookie", "a=2")], false),
        ];
        for (vary, of, other, expected) in table {
            let selection = selection(vary, of).unwrap();
            let other = testing::get("/", other);
            assert_eq!(selection.matches(&other), expected, "{vary}: {of:?} {:?}", other.headers);
            let (mut mine, mut theirs) = (Vec::new(), Vec::new());
            selection.write(&mut mine);
            selection.of_other(&other).write(&mut theirs);
            assert_eq!(mine == theirs, expected, "{vary}");
        }
    }

    #[test]
    fn what_the_source_has_not_read_makes_no_difference_to_its_answer() {
        let german = ("accept-language", "de");
        let hidden = selection("Accept-Language", &[german, ("connection", "Accept-Language")]);
        let hidden = hidden.unwrap();
        assert!(!hidden.matches(&testing::get("/", &[german])));
        assert!(hidden.matches(&testing::get("/", &[])));
        let underscored = selection("X_A", &[("x_a", "1")]).unwrap();
        assert!(underscored.matches(&testing::get("/", &[("x_a", "2")])));
    }

    #[test]
    fn an_answer_that_depends_on_who_asks_is_for_nobody_else() {
        for name in ["X-Forwarded-For", "forwarded", "X-Real-Ip", "X-Request-Id"] {
            assert_eq!(selection(name, &[]), None, "{name}");
        }
        assert!(selection("X-Forwarded-Proto", &[]).is_some(), "the scheme is in the key");
    }

    #[test]
    fn no_request_is_like_one_whose_answer_depends_on_everything() {
        assert_eq!(selection("*", &[]), None);
        assert_eq!(selection("Accept-Encoding, *", &[]), None);
    }
}
