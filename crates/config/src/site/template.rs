//! Where a redirect or a rewrite leads: a path with placeholders, as nginx writes them.
//!
//! `$uri` is the path, decoded, `$request_uri` what the client sent, `$args` its query, `$rest` what follows the `path` of the
//! route, `$host` and `$scheme` what the client asked for, `$1` and `$name` what a regular expression has caught; `$$` is a
//! dollar. Names are resolved when the file is read.

use serde::{Deserialize, Serialize};

use crate::types::Invalid;

/// Text with placeholders.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Part {
    Text(String),
    /// Of the regular expression, by its number.
    Capture(usize),
    Rest,
    Uri,
    RequestUri,
    Args,
    Host,
    Scheme,
}

/// Where a redirect or a rewrite leads: a path (or a URL), and a query of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    text: String,
    path: Template,
    /// What stands behind the `?`; the client's query follows it unless it is empty.
    query: Option<Template>,
}

/// What a request puts in place of the placeholders.
#[derive(Debug, Clone, Copy)]
pub struct Filling<'a> {
    /// The path that the route's pattern was compared with, decoded.
    pub path: &'a [u8],
    /// The path as it is now: a rewrite may have changed it.
    pub uri: &'a [u8],
    /// What the pattern has caught of the first.
    pub caught: &'a Caught,
    /// The target as the client sent it.
    pub request_uri: &'a [u8],
    /// The query as the client sent it, without `?`.
    pub query: Option<&'a [u8]>,
    /// With the port, where one was asked for.
    pub host: &'a str,
    /// `http` or `https`.
    pub scheme: &'a str,
}

/// Which parts of a path a pattern has caught.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Caught {
    /// By number: the whole match, then the groups; `None`: the group had no part in it.
    pub(super) groups: Vec<Option<(usize, usize)>>,
    /// Where the rest behind a prefix begins.
    pub(super) rest: usize,
}

impl Caught {
    fn group<'p>(&self, path: &'p [u8], number: usize) -> &'p [u8] {
        let range = self.groups.get(number).copied().flatten();
        range.and_then(|(start, end)| path.get(start..end)).unwrap_or_default()
    }
}

/// How what comes from a request is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Escape {
    /// As it is: the result is a decoded path.
    Nothing,
    /// What may not stand in the path of a URL (RFC 3986 §3.3).
    Path,
    /// The same, and what parts the values of a query.
    Query,
}

impl Template {
    /// Reads a text; `groups` are the names of the groups of the route's regular expression, the whole match first.
    pub(super) fn parse(text: &str, groups: &[Option<String>]) -> Result<Self, Invalid> {
        let mut parts = Vec::new();
        let mut pieces = text.split('$');
        let mut plain = pieces.next().unwrap_or_default().to_owned();
        while let Some(piece) = pieces.next() {
            if piece.is_empty() {
                // `$$`: the text goes on behind the second one.
                let Some(after) = pieces.next() else { return Err(no_placeholder("$")) };
                plain.push('$');
                plain.push_str(after);
                continue;
            }
            let (name, after) = placeholder(piece).ok_or_else(|| no_placeholder(piece))?;
            let part = part(name, groups)?;
            if !plain.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut plain)));
            }
            parts.push(part);
            plain.push_str(after);
        }
        if !plain.is_empty() {
            parts.push(Part::Text(plain));
        }
        Ok(Self { parts })
    }

    /// The path, decoded, that comes out for a request.
    pub fn to_path(&self, filling: &Filling<'_>) -> Vec<u8> {
        self.render(filling, Escape::Nothing)
    }

    fn render(&self, filling: &Filling<'_>, escape: Escape) -> Vec<u8> {
        let mut out = Vec::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => out.extend_from_slice(text.as_bytes()),
                Part::Capture(number) => {
                    push(&mut out, filling.caught.group(filling.path, *number), escape);
                }
                Part::Rest => {
                    let rest = filling.path.get(filling.caught.rest..).unwrap_or_default();
                    push(&mut out, rest, escape);
                }
                Part::Uri => push(&mut out, filling.uri, escape),
                // These are as the client encoded them.
                Part::RequestUri => out.extend_from_slice(filling.request_uri),
                Part::Args => out.extend_from_slice(filling.query.unwrap_or_default()),
                Part::Host => out.extend_from_slice(filling.host.as_bytes()),
                Part::Scheme => out.extend_from_slice(filling.scheme.as_bytes()),
            }
        }
        out
    }

    /// Whether what comes out ends with a slash of the template's own.
    pub fn ends_with_slash(&self) -> bool {
        matches!(self.parts.last(), Some(Part::Text(text)) if text.ends_with('/'))
    }

    fn has_request_uri(&self) -> bool {
        self.parts.contains(&Part::RequestUri)
    }
}

impl Target {
    /// Reads the target of a redirect or a rewrite; `groups` as for [`Template::parse`].
    pub(super) fn parse(text: &str, groups: &[Option<String>]) -> Result<Self, Invalid> {
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Invalid::new(format!("\"{text}\" is not the target of a URL"))
                .hint("write spaces and other special characters as %20 and the like"));
        }
        let (path, query) = match text.split_once('?') {
            Some((path, query)) => (path, Some(Template::parse(query, groups)?)),
            None => (text, None),
        };
        Ok(Self { text: text.to_owned(), path: Template::parse(path, groups)?, query })
    }

    /// As it stands in the file.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The value of `Location`. A target that names no host stays on the request's, whatever that says.
    pub fn to_location(&self, filling: &Filling<'_>) -> Vec<u8> {
        let mut out = self.path.render(filling, Escape::Path);
        if !self.text.starts_with("http") && !self.text.starts_with("$scheme") {
            // `//host` would be another host (RFC 3986 §4.2), and browsers take `\` for a slash; that one was escaped.
            let slashes = out.iter().take_while(|byte| **byte == b'/').count();
            out.drain(1.min(slashes)..slashes);
        }
        if let Some(query) = self.query_for(filling).filter(|_| !self.path.has_request_uri()) {
            out.push(b'?');
            out.extend_from_slice(&query);
        }
        out
    }

    /// The path, decoded, and the query that a rewrite makes of a request.
    pub fn to_rewritten(&self, filling: &Filling<'_>) -> (Vec<u8>, Option<Vec<u8>>) {
        (self.path.to_path(filling), self.query_for(filling))
    }

    /// nginx's rule: the client's query follows what the target says, and is gone where the target ends with `?`.
    fn query_for(&self, filling: &Filling<'_>) -> Option<Vec<u8>> {
        let Some(own) = &self.query else { return filling.query.map(<[u8]>::to_vec) };
        if own.parts.is_empty() {
            return None;
        }
        let mut query = own.render(filling, Escape::Query);
        let asked = filling.query.filter(|asked| !asked.is_empty());
        if let Some(asked) = asked.filter(|_| !own.parts.contains(&Part::Args)) {
            query.push(b'&');
            query.extend_from_slice(asked);
        }
        Some(query)
    }
}

/// `name` and `after` of `name after`, `{name}after`.
fn placeholder(piece: &str) -> Option<(&str, &str)> {
    if let Some(braced) = piece.strip_prefix('{') {
        return braced.split_once('}').filter(|(name, _)| !name.is_empty());
    }
    let is_number = piece.starts_with(|c: char| c.is_ascii_digit());
    let belongs = |c: char| {
        if is_number { c.is_ascii_digit() } else { c.is_ascii_alphanumeric() || c == '_' }
    };
    let end = piece.find(|c| !belongs(c)).unwrap_or(piece.len());
    piece.split_at_checked(end).filter(|(name, _)| !name.is_empty())
}

fn part(name: &str, groups: &[Option<String>]) -> Result<Part, Invalid> {
    let named = groups.iter().position(|group| group.as_deref() == Some(name));
    let numbered = name.parse::<usize>().ok().filter(|number| *number < groups.len());
    Ok(match (named.or(numbered), name) {
        (Some(group), _) => Part::Capture(group),
        (None, "uri") => Part::Uri,
        (None, "request_uri") => Part::RequestUri,
        (None, "args") => Part::Args,
        (None, "rest") => Part::Rest,
        (None, "host") => Part::Host,
        (None, "scheme") => Part::Scheme,
        (None, _) => return Err(no_placeholder(name)),
    })
}

fn no_placeholder(name: &str) -> Invalid {
    Invalid::new(format!("\"${name}\" stands for nothing")).hint(
        "there are $uri, $request_uri, $args, $rest, $host, $scheme, and $1 or $name for the groups of `regex`; $$ is a dollar",
    )
}

fn push(out: &mut Vec<u8>, bytes: &[u8], escape: Escape) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in bytes {
        let is_plain = match escape {
            Escape::Nothing => true,
            Escape::Path => is_path_byte(*byte),
            Escape::Query => is_path_byte(*byte) && !matches!(byte, b'&' | b'=' | b'+'),
        };
        if is_plain {
            out.push(*byte);
        } else {
            let digit = |nibble: u8| HEX.get(usize::from(nibble)).copied().unwrap_or(b'0');
            out.extend([b'%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
}

/// The path of a URL that stands for these bytes.
pub fn encode_path(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len());
    push(&mut out, path, Escape::Path);
    out
}

/// `pchar` and the slash (RFC 3986 §3.3).
fn is_path_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn groups() -> Vec<Option<String>> {
        vec![None, None, Some("name".to_owned())]
    }

    fn location(target: &str, path: &str, query: Option<&str>) -> String {
        // As if the expression were `^/(?<first>[^/]*)/(?<name>.*)$`, and the prefix as long as the first segment.
        let second = path.get(1..).and_then(|rest| rest.find('/')).map_or(path.len(), |at| at + 1);
        let group = |start: usize, end: usize| Some((start.min(path.len()), end));
        let caught = Caught {
            groups: vec![group(0, path.len()), group(1, second), group(second + 1, path.len())],
            rest: second,
        };
        let filling = Filling {
            path: path.as_bytes(),
            uri: path.as_bytes(),
            caught: &caught,
            request_uri: b"/as%20sent?q",
            query: query.map(str::as_bytes),
            host: "a.example:81",
            scheme: "https",
        };
        let target = Target::parse(target, &groups()).unwrap();
        String::from_utf8(target.to_location(&filling)).unwrap()
    }

    #[test]
    fn placeholders_are_filled_and_escaped() {
        let table = [
            ("/new", "/new?x=1"),
            ("/new$rest", "/new/b%20c/%25?x=1"),
            ("/$2/$1", "/b%20c/%25/a?x=1"),
            ("/${name}!", "/b%20c/%25!?x=1"),
            ("https://b.example$request_uri", "https://b.example/as%20sent?q"),
            ("$scheme://$host/", "https://a.example:81/?x=1"),
            ("/u?id=$1", "/u?id=a&x=1"),
            ("/u?", "/u"),
            ("/u?$args&b", "/u?x=1&b"),
            ("/cost$$5", "/cost$5?x=1"),
            ("$uri/", "/a/b%20c/%25/?x=1"),
        ];
        for (target, expected) in table {
            assert_eq!(location(target, "/a/b c/%", Some("x=1")), expected, "{target}");
        }
        assert_eq!(location("/u?id=$1", "/a&b=c/", None), "/u?id=a%26b%3Dc");
    }

    #[test]
    fn no_request_leads_a_redirect_to_another_host_or_another_line() {
        for path in
            ["/a//evil.example", "/a///evil.example", "//evil.example", "/a/\\evil", "/a/\r\nX: y"]
        {
            for target in ["/$2", "$uri", "/$1", "/$2?"] {
                let location = location(target, path, None);
                assert!(location.starts_with('/') && !location.starts_with("//"), "{location}");
                assert!(!location.contains(['\\', '\r', '\n', ' ']), "{location}");
            }
        }
    }

    #[test]
    fn what_stands_for_nothing_is_refused() {
        for text in ["/$3", "/$nothing", "/$", "/${}", "/${uri", "/a b", "", "/$-"] {
            assert!(Target::parse(text, &groups()).is_err(), "{text}");
        }
        assert!(Target::parse("/$1", &[]).is_err());
    }

    #[test]
    fn a_rewrite_makes_a_decoded_path_and_keeps_the_query() {
        let caught = Caught { groups: Vec::new(), rest: 2 };
        let filling = Filling {
            path: b"/a/b c",
            uri: b"/a/b c",
            caught: &caught,
            request_uri: b"/a/b%20c?x",
            query: Some(b"x"),
            host: "h",
            scheme: "http",
        };
        let rewritten = |target: &str| Target::parse(target, &[]).unwrap().to_rewritten(&filling);
        assert_eq!(rewritten("/n$rest"), (b"/n/b c".to_vec(), Some(b"x".to_vec())));
        assert_eq!(rewritten("/n?p=$rest"), (b"/n".to_vec(), Some(b"p=/b%20c&x".to_vec())));
        assert_eq!(rewritten("/n?"), (b"/n".to_vec(), None));
    }
}
