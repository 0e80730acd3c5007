//! `Cache-Control`, as requests and answers say it.
//!
//! Source: RFC 9111 §5.2 (directives), §4.2.1 (what is said twice, or wrongly), RFC 5861, RFC 9213 (`CDN-Cache-Control`).

use std::time::Duration;

use bytes::Bytes;

use crate::message::{RequestHead, field, fields};

/// The longest time that is told apart from for ever (RFC 9111 §1.2.2).
const LONGEST: Duration = Duration::from_secs(1 << 31);

/// A directive that may name fields.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum Extent {
    /// It was not given.
    #[default]
    Nothing,
    /// These fields alone, in lower case.
    Fields(Vec<Vec<u8>>),
    /// The whole answer.
    All,
}

/// What an answer says about caching.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct AnswerDirectives {
    pub(super) public: bool,
    pub(super) private: Extent,
    pub(super) no_cache: Extent,
    pub(super) no_store: bool,
    pub(super) must_revalidate: bool,
    pub(super) proxy_revalidate: bool,
    pub(super) must_understand: bool,
    pub(super) max_age: Option<Duration>,
    pub(super) s_maxage: Option<Duration>,
    pub(super) stale_while_revalidate: Option<Duration>,
    pub(super) stale_if_error: Option<Duration>,
}

impl AnswerDirectives {
    /// Of an answer's fields. What is meant for caches like this one counts in place of what is meant for all (RFC 9213 §2.1).
    pub(super) fn of(headers: &[(Bytes, Bytes)]) -> Self {
        if field(headers, "cdn-cache-control").is_some() {
            return Self::read(headers, "cdn-cache-control");
        }
        Self::read(headers, "cache-control")
    }

    fn read(headers: &[(Bytes, Bytes)], name: &str) -> Self {
        let mut said = Self::default();
        let lines = fields(headers, name);
        for (name, argument) in lines.flat_map(|value| Directives { rest: value }) {
            match name.to_ascii_lowercase().as_slice() {
                b"public" => said.public = true,
                b"private" => said.private.widen(&argument),
                b"no-cache" => said.no_cache.widen(&argument),
                b"no-store" => said.no_store = true,
                b"must-revalidate" => said.must_revalidate = true,
                b"proxy-revalidate" => said.proxy_revalidate = true,
                b"must-understand" => said.must_understand = true,
                b"max-age" => shorten(&mut said.max_age, &argument),
                b"s-maxage" => shorten(&mut said.s_maxage, &argument),
                b"stale-while-revalidate" => shorten(&mut said.stale_while_revalidate, &argument),
                b"stale-if-error" => shorten(&mut said.stale_if_error, &argument),
                _ => {}
            }
        }
        said
    }

    /// Whether it may not be used beyond its time, not even where nobody else answers (RFC 9111 §4.2.4).
    pub(super) fn forbids_stale(&self) -> bool {
        self.must_revalidate || self.proxy_revalidate || self.s_maxage.is_some()
    }
}

/// What a client asks of caches.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct RequestDirectives {
    pub(super) no_cache: bool,
    pub(super) no_store: bool,
    pub(super) only_if_cached: bool,
    pub(super) max_age: Option<Duration>,
    pub(super) min_fresh: Option<Duration>,
    pub(super) max_stale: Option<Duration>,
    pub(super) stale_if_error: Option<Duration>,
}

impl RequestDirectives {
    /// Of a request's fields.
    pub(crate) fn of(head: &RequestHead) -> Self {
        let mut asked = Self::default();
        let mut has_field = false;
        for value in head.header_values("cache-control") {
            has_field = true;
            for (name, argument) in (Directives { rest: value }) {
                match name.to_ascii_lowercase().as_slice() {
                    b"no-cache" => asked.no_cache = true,
                    b"no-store" => asked.no_store = true,
                    b"only-if-cached" => asked.only_if_cached = true,
                    b"max-age" => shorten(&mut asked.max_age, &argument),
                    b"min-fresh" => shorten(&mut asked.min_fresh, &argument),
                    // Without a number however stale it is (§5.2.1.2).
                    b"max-stale" if argument.is_none() => asked.max_stale = Some(LONGEST),
                    b"max-stale" => shorten(&mut asked.max_stale, &argument),
                    b"stale-if-error" => shorten(&mut asked.stale_if_error, &argument),
                    _ => {}
                }
            }
        }
        // §5.4: what clients said before there was Cache-Control.
        if !has_field {
            asked.no_cache = head
                .header_values("pragma")
                .flat_map(|value| Directives { rest: value })
                .any(|(name, _)| name.eq_ignore_ascii_case(b"no-cache"));
        }
        asked
    }

    /// Whether nothing but an answer that is already here is wanted.
    pub(crate) fn only_if_cached(&self) -> bool {
        self.only_if_cached
    }
}

impl Extent {
    fn widen(&mut self, argument: &Option<Vec<u8>>) {
        let fields = argument.as_deref().unwrap_or_default();
        let fields = fields.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        let fields = fields.filter(|name| !name.is_empty()).map(<[u8]>::to_ascii_lowercase);
        let fields: Vec<_> = fields.collect();
        match self {
            _ if fields.is_empty() => *self = Self::All,
            Self::All => {}
            Self::Fields(named) => named.extend(fields),
            Self::Nothing => *self = Self::Fields(fields),
        }
    }

    /// Whether it is a field that this directive names.
    pub(super) fn names(&self, field: &[u8]) -> bool {
        matches!(self, Self::Fields(fields) if fields.iter().any(|name| name.eq_ignore_ascii_case(field)))
    }
}

/// Of two times the shorter one counts; what is no time is none (RFC 9111 §4.2.1: to be taken for stale).
fn shorten(time: &mut Option<Duration>, argument: &Option<Vec<u8>>) {
    let said = argument.as_deref().and_then(seconds).unwrap_or_default();
    *time = Some(time.map_or(said, |other| other.min(said)));
}

/// Whole seconds (RFC 9111 §1.2.2).
pub(super) fn seconds(text: &[u8]) -> Option<Duration> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = std::str::from_utf8(text).ok()?.parse().map_or(LONGEST, Duration::from_secs);
    Some(number.min(LONGEST))
}

/// The directives of a field's value: names, and arguments without their quotes.
struct Directives<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Directives<'a> {
    type Item = (&'a [u8], Option<Vec<u8>>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if self.rest.is_empty() {
                return None;
            }
            let item = self.take_item();
            if item.is_empty() {
                continue;
            }
            let Some(equals) = item.iter().position(|byte| *byte == b'=') else {
                return Some((item, None));
            };
            let (name, argument) = item.split_at(equals);
            return Some((name, Some(unquoted(argument.get(1..).unwrap_or_default()))));
        }
    }
}

impl<'a> Directives<'a> {
    /// As far as the next comma that is in no quotes.
    fn take_item(&mut self) -> &'a [u8] {
        let (mut is_quoted, mut is_escaped) = (false, false);
        let end = self.rest.iter().position(|byte| match byte {
            _ if is_escaped => {
                is_escaped = false;
                false
            }
            b'\\' if is_quoted => {
                is_escaped = true;
                false
            }
            b'"' => {
                is_quoted = !is_quoted;
                false
            }
            b',' => !is_quoted,
            _ => false,
        });
        let (item, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest.get(1..).unwrap_or_default();
        item.trim_ascii()
    }
}

/// RFC 9110 §5.6.4.
fn unquoted(argument: &[u8]) -> Vec<u8> {
    let inner = argument.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
    let Some(inner) = inner else { return argument.to_vec() };
    let mut is_escaped = false;
    let kept = inner.iter().filter(|byte| {
        is_escaped = **byte == b'\\' && !is_escaped;
        !is_escaped
    });
    kept.copied().collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing;

    fn answer(lines: &[&str]) -> AnswerDirectives {
        let headers: Vec<_> = lines
            .iter()
            .map(|value| {
                (Bytes::from_static(b"Cache-Control"), Bytes::copy_from_slice(value.as_bytes()))
            })
            .collect();
        AnswerDirectives::of(&headers)
    }

    fn s(seconds: u64) -> Option<Duration> {
        Some(Duration::from_secs(seconds))
    }

    #[test]
    fn times_are_whole_seconds_and_what_is_none_is_stale() {
        let table = [
            ("max-age=60", s(60)),
            ("Max-Age=60", s(60)),
            ("max-age=\"60\"", s(60)),
            ("max-age=007", s(7)),
            ("max-age=0", s(0)),
            ("max-age=99999999999999999999", s(1 << 31)),
            ("max-age=4294967296", s(1 << 31)),
            ("max-age=-1", s(0)),
            ("max-age=1.5", s(0)),
            ("max-age=60a", s(0)),
            ("max-age='60'", s(0)),
            ("max-age= 60", s(0)),
            ("max-age=", s(0)),
            ("max-age", s(0)),
            ("max-age=60, max-age=30", s(30)),
            ("max-age=30, max-age=60", s(30)),
            ("public", None),
            ("x-max-age=60", None),
            ("a=\"max-age=60\"", None),
            ("a=\"\\\", max-age=60\"", None),
        ];
        for (value, expected) in table {
            assert_eq!(answer(&[value]).max_age, expected, "{value}");
        }
        assert_eq!(answer(&["public", "max-age=60"]).max_age, s(60));
    }

    #[test]
    fn fields_are_named_in_quotes_and_no_name_is_all_of_them() {
        let fields = |names: &[&str]| {
            Extent::Fields(names.iter().map(|name| name.as_bytes().to_vec()).collect())
        };
        let table = [
            ("no-cache", Extent::All),
            ("no-cache=\"\"", Extent::All),
            ("no-cache=\"Set-Cookie\"", fields(&["set-cookie"])),
            ("no-cache=Set-Cookie", fields(&["set-cookie"])),
            ("no-cache=\"a, B ,\", max-age=1", fields(&["a", "b"])),
            ("no-cache=\"a\", no-cache=\"b\"", fields(&["a", "b"])),
            ("no-cache=\"a\", no-cache", Extent::All),
            ("no-cache, no-cache=\"a\"", Extent::All),
            ("private=\"a\"", Extent::Nothing),
        ];
        for (value, expected) in table {
            assert_eq!(answer(&[value]).no_cache, expected, "{value}");
        }
        assert!(fields(&["set-cookie"]).names(b"Set-Cookie"));
        assert!(!Extent::All.names(b"Set-Cookie"));
    }

    #[test]
    fn a_field_for_caches_like_this_one_counts_in_place_of_the_other() {
        let headers = [("Cache-Control", "no-store"), ("CDN-Cache-Control", "max-age=60")];
        let headers = headers.map(|(name, value)| (Bytes::from(name), Bytes::from(value)));
        let said = AnswerDirectives::of(&headers);
        assert_eq!((said.no_store, said.max_age), (false, s(60)));
    }

    #[test]
    fn requests_say_what_they_want() {
        let asked = |headers: &[(&str, &str)]| RequestDirectives::of(&testing::get("/", headers));
        assert!(asked(&[("cache-control", "No-Cache")]).no_cache);
        assert_eq!(asked(&[("cache-control", "max-age=1")]).max_age, s(1));
        assert!(asked(&[("pragma", "No-Cache")]).no_cache);
        let both = [("pragma", "no-cache"), ("cache-control", "max-stale")];
        assert_eq!((asked(&both).no_cache, asked(&both).max_stale), (false, Some(LONGEST)));
        assert_eq!(asked(&[("cache-control", "max-stale=5")]).max_stale, s(5));
        assert!(asked(&[("cache-control", "only-if-cached")]).only_if_cached());
        assert_eq!(asked(&[]), RequestDirectives::default());
    }

    proptest! {
        #[test]
        fn no_value_makes_the_reader_panic_or_go_on_for_ever(value in "[a-z=\",\\\\ ]{0,40}") {
            let read = Directives { rest: value.as_bytes() }.count();
            prop_assert!(read <= value.len());
        }
    }
}
