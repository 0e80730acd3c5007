//! What paths of one route have in common: `/posts/42` and `/posts/43` are `/posts/*`.
//!
//! The proxy does not see an application's own routes; it takes for a placeholder what looks like a number or an identity.

use std::borrow::Cow;

use onebox_metrics::{Routes, ServedBy};

/// More segments than this are not told apart.
const MOST_SEGMENTS: usize = 6;
/// Longer ones are no words.
const LONGEST_WORD: usize = 40;
/// From this length on what has a digit and no other letters than those of hexadecimal numbers is one.
const SHORTEST_HEX: usize = 8;

/// The pattern that counts for a path. Files count together by the folder at the root.
pub(crate) fn of(path: &[u8], served_by: ServedBy) -> Cow<'_, str> {
    if !path.starts_with(b"/") {
        return Cow::Borrowed(Routes::OTHER);
    }
    let kept = if served_by == ServedBy::Static { 1 } else { MOST_SEGMENTS };
    let mut segments = path.split(|byte| *byte == b'/').skip(1);
    if segments.clone().count() <= kept && segments.clone().all(is_word) {
        // Words are ASCII.
        return String::from_utf8_lossy(path);
    }
    let mut pattern = String::new();
    for segment in segments.by_ref().take(kept) {
        pattern.push('/');
        match is_word(segment) {
            true => pattern.push_str(&String::from_utf8_lossy(segment)),
            false => pattern.push('*'),
        }
    }
    if segments.next().is_some() {
        pattern.push_str("/*");
    }
    Cow::Owned(pattern)
}

/// Whether a segment is a part of a route's name.
fn is_word(segment: &[u8]) -> bool {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~".contains(byte);
    let digits = segment.iter().filter(|byte| byte.is_ascii_digit()).count();
    let is_hex = digits > 0
        && segment.len() >= SHORTEST_HEX
        && segment.iter().all(|byte| byte.is_ascii_hexdigit() || *byte == b'-');
    let is_number = !segment.is_empty() && digits == segment.len();
    // Half of it digits: a date, an order's number, a token.
    let is_mostly_digits = digits > 1 && 2 * digits >= segment.len();
    segment.len() <= LONGEST_WORD
        && segment.iter().all(is_plain)
        && !(is_hex || is_number || is_mostly_digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_an_identity_is_a_placeholder() {
        let expected = [
            ("/", "/"),
            ("/posts", "/posts"),
            ("/posts/", "/posts/"),
            ("/posts/42/comments", "/posts/*/comments"),
            ("/2026/11/22/a-day", "/*/*/*/a-day"),
            ("/orders/2026-11-22", "/orders/*"),
            ("/users/0d5b4a52-6a0e-4a6b-9a57-2f3f5c6b7d80", "/users/*"),
            ("/blobs/deadbeef12", "/blobs/*"),
            ("/cafe", "/cafe"),
            ("/api/v2/items", "/api/v2/items"),
            ("/h%C3%A4user/1", "/*/*"),
            ("/a/b/c/d/e/f/g/h", "/a/b/c/d/e/f/*"),
            ("/x=1;y", "/*"),
            ("no slash", Routes::OTHER),
            ("*", Routes::OTHER),
        ];
        for (path, pattern) in expected {
            assert_eq!(of(path.as_bytes(), ServedBy::App), pattern, "{path}");
        }
        assert_eq!(of(b"/\xff\"'", ServedBy::App), "/*");
        assert_eq!(of("/".repeat(1000).as_bytes(), ServedBy::App), "///////*");
        let long = format!("/{}", "a".repeat(LONGEST_WORD + 1));
        assert_eq!(of(long.as_bytes(), ServedBy::App), "/*");
    }

    #[test]
    fn files_count_together() {
        assert_eq!(of(b"/static/css/site.css", ServedBy::Static), "/static/*");
        assert_eq!(of(b"/favicon.ico", ServedBy::Static), "/favicon.ico");
    }
}
