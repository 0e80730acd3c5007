//! What stored answers are found by: the URL that was asked for.
//!
//! Source: RFC 9111 §2 (cache keys). The method is no part of it: only answers to GET are stored.

use crate::message::{ConnectionInfo, RequestHead};

/// A URL as bytes: scheme, host, port where it is not the scheme's own, path and query as the client wrote them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key(Box<[u8]>);

impl Key {
    /// What a request asks for. Rewrites make no difference: a release does the same to the same URL each time.
    pub(crate) fn of(head: &RequestHead, connection: &ConnectionInfo) -> Self {
        let scheme = connection.scheme;
        let host = head.host.as_deref().unwrap_or_default();
        let target = origin_form(&head.target);
        let mut key = Vec::with_capacity(scheme.as_str().len() + host.len() + target.len() + 9);
        key.extend_from_slice(scheme.as_str().as_bytes());
        key.extend_from_slice(b"://");
        key.extend_from_slice(host.as_bytes());
        if let Some(port) = head.port.filter(|port| *port != scheme.default_port()) {
            key.push(b':');
            key.extend_from_slice(itoa::Buffer::new().format(port).as_bytes());
        }
        key.extend_from_slice(target);
        Self(key.into())
    }

    /// The key of a reference in an answer to a request with this key; `None`: it leads to another origin (RFC 9111 §4.4).
    pub(crate) fn refers_to(&self, reference: &[u8]) -> Option<Self> {
        let reference = reference.split(|byte| *byte == b'#').next()?.trim_ascii();
        let (origin, path) = self.0.split_at_checked(self.origin_end())?;
        let absolute = match reference {
            [] => return None,
            [b'/', b'/', ..] => {
                let scheme = origin.iter().position(|byte| *byte == b'/')?;
                [origin.get(..scheme)?, reference].concat()
            }
            [b'/', ..] => [origin, reference].concat(),
            _ if has_scheme(reference) => Self::lower_origin(reference),
            _ => {
                let path = path.split(|byte| *byte == b'?').next()?;
                let folder = path.iter().rposition(|byte| *byte == b'/')?;
                [origin, path.get(..=folder)?, reference].concat()
            }
        };
        let key = Self(absolute.into());
        (key.0.get(..key.origin_end()) == Some(origin)).then_some(key)
    }

    /// Of a URL as people write it; without a scheme there are two.
    pub(crate) fn of_url(url: &str) -> Vec<Self> {
        let url = url.split('#').next().unwrap_or_default();
        let of = |url: String| Self(Self::lower_origin(url.as_bytes()).into());
        match url.contains("://") {
            true => vec![of(url.to_owned())],
            false => vec![of(format!("http://{url}")), of(format!("https://{url}"))],
        }
    }

    /// Whether it is a URL, or lies below one, that `prefix` begins; of a path only the path counts, on every host.
    pub(crate) fn begins_with(&self, prefix: &str) -> bool {
        let path = self.0.get(self.origin_end()..).unwrap_or_default();
        match prefix.starts_with('/') {
            true => path.starts_with(prefix.as_bytes()),
            false => Self::of_url(prefix).iter().any(|prefix| {
                // A host alone has a slash behind it, so that no longer name of a host begins with it.
                self.0.starts_with(&prefix.0)
            }),
        }
    }

    /// Whether it is this URL; of a path only the path counts, on every host.
    pub(crate) fn is(&self, url: &str) -> bool {
        match url.starts_with('/') {
            true => self.0.get(self.origin_end()..) == Some(url.as_bytes()),
            false => Self::of_url(url).contains(self),
        }
    }

    /// One that was written down.
    pub(super) fn from_bytes(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Where the path begins.
    fn origin_end(&self) -> usize {
        origin_end(&self.0)
    }

    /// Scheme and host in lower case, without the port that goes without saying, with a path.
    fn lower_origin(url: &[u8]) -> Vec<u8> {
        let (origin, path) = url.split_at_checked(origin_end(url)).unwrap_or((url, b""));
        let origin = origin.to_ascii_lowercase();
        let port = if origin.starts_with(b"https:") { &b":443"[..] } else { b":80" };
        let origin = origin.strip_suffix(port).unwrap_or(&origin);
        match path {
            [b'/', ..] => [origin, path].concat(),
            _ => [origin, b"/", path].concat(),
        }
    }
}

fn origin_end(url: &[u8]) -> usize {
    let authority = url.windows(3).position(|window| window == b"://").map_or(0, |at| at + 3);
    let rest = url.get(authority..).unwrap_or_default();
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
    authority + end
}

/// RFC 3986 §3.1.
fn has_scheme(reference: &[u8]) -> bool {
    let end = reference.iter().position(|byte| matches!(byte, b':' | b'/' | b'?'));
    end.is_some_and(|end| end > 0 && reference.get(end) == Some(&b':'))
}

/// The target without what it says about the origin (RFC 9112 §3.2.2).
fn origin_form(target: &[u8]) -> &[u8] {
    match target {
        [b'/', ..] => target,
        absolute => absolute.get(origin_end(absolute)..).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Scheme;
    use crate::testing;

    fn key(target: &str, host: &str) -> Key {
        Key::of(&testing::get(target, &[("host", host)]), &testing::connection())
    }

    fn text(key: &Key) -> &str {
        std::str::from_utf8(key.as_bytes()).unwrap()
    }

    #[test]
    fn a_key_is_the_url() {
        assert_eq!(text(&key("/a?b=c", "A.example")), "http://a.example/a?b=c");
        assert_eq!(text(&key("/a", "a.example:80")), "http://a.example/a");
        assert_eq!(text(&key("/a", "a.example:81")), "http://a.example:81/a");
        assert_eq!(text(&key("http://a.example/a?b", "a.example")), "http://a.example/a?b");
        let secure = ConnectionInfo { scheme: Scheme::Https, ..testing::connection() };
        let head = testing::get("/a", &[("host", "a.example")]);
        assert_eq!(text(&Key::of(&head, &secure)), "https://a.example/a");
    }

    #[test]
    fn references_lead_to_keys_of_the_same_origin_or_nowhere() {
        let base = key("/a/b?c", "a.example");
        let table = [
            ("/x?y", Some("http://a.example/x?y")),
            ("x", Some("http://a.example/a/x")),
            ("?x", Some("http://a.example/a/?x")),
            ("//a.example/x", Some("http://a.example/x")),
            ("http://A.example/x", Some("http://a.example/x")),
            ("http://a.example:80/x#y", Some("http://a.example/x")),
            ("http://a.example", Some("http://a.example/")),
            ("https://a.example/x", None),
            ("http://b.example/x", None),
            ("http://a.example.b/x", None),
            ("//b.example/x", None),
            ("mailto:a", None),
            ("", None),
            ("#a", None),
        ];
        for (reference, expected) in table {
            let found = base.refers_to(reference.as_bytes());
            assert_eq!(found.as_ref().map(text), expected, "{reference}");
        }
    }

    #[test]
    fn people_name_urls_paths_and_where_they_begin() {
        let key = key("/a/b?c", "a.example");
        for url in
            ["http://a.example/a/b?c", "a.example/a/b?c", "HTTP://A.EXAMPLE:80/a/b?c", "/a/b?c"]
        {
            assert!(key.is(url), "{url}");
        }
        for url in ["https://a.example/a/b?c", "a.example/a/b", "/a", "", "b"] {
            assert!(!key.is(url), "{url}");
        }
        for prefix in ["/", "/a", "/a/b?", "a.example", "http://a.example/a", "a.example/"] {
            assert!(key.begins_with(prefix), "{prefix}");
        }
        for prefix in ["/b", "a.exampl", "a.example/b", "https://a.example", ""] {
            assert!(!key.begins_with(prefix), "{prefix}");
        }
    }
}
