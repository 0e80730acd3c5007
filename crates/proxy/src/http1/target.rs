//! The request target and the Host field: which path, which host, which port.
//!
//! Source: RFC 9112 §3.2 (forms of the target), RFC 9110 §7.2 (Host), RFC 3986 §3.2.2 (host).

use std::net::Ipv6Addr;

use bytes::Bytes;
use http::Method;
use memchr::memchr;

use super::refusal::Refusal;

const BAD_TARGET: Refusal = Refusal::bad_request("The request target is not valid.");
const BAD_HOST: Refusal = Refusal::bad_request("The host is not valid.");

/// A target, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// Starts with `/`, or is `*`.
    pub(crate) path: Bytes,
    /// What follows the first `?`.
    pub(crate) query: Option<Bytes>,
    /// Host and port of a target in absolute form.
    pub(crate) authority: Option<Bytes>,
}

/// Takes a target apart.
///
/// # Errors
/// [`Refusal`] for a form that the method does not have, a fragment, or bytes that no target contains.
pub(crate) fn parse_target(method: &Method, target: &Bytes) -> Result<Target, Refusal> {
    if *method == Method::CONNECT {
        return Err(Refusal::NO_TUNNELS);
    }
    // A fragment is never sent (RFC 9112 §3.2); other bytes than these can't be in a URI at all.
    if !target.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'#') {
        return Err(BAD_TARGET);
    }
    match target.first() {
        Some(b'/') => {
            let (path, query) = split_query(target);
            Ok(Target { path, query, authority: None })
        }
        Some(b'*') if target.len() == 1 && *method == Method::OPTIONS => {
            Ok(Target { path: target.clone(), query: None, authority: None })
        }
        _ => absolute_form(target),
    }
}

/// `http://authority/path?query` (RFC 9112 §3.2.2).
fn absolute_form(target: &Bytes) -> Result<Target, Refusal> {
    let scheme_size = [&b"http://"[..], b"https://"]
        .into_iter()
        .find(|scheme| {
            target.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
        })
        .map(<[u8]>::len)
        .ok_or(BAD_TARGET)?;
    let rest = target.slice(scheme_size..);
    let authority_size =
        rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
    let (path, query) = split_query(&rest.slice(authority_size..));
    let path = if path.is_empty() { Bytes::from_static(b"/") } else { path };
    Ok(Target { path, query, authority: Some(rest.slice(..authority_size)) })
}

fn split_query(target: &Bytes) -> (Bytes, Option<Bytes>) {
    match memchr(b'?', target) {
        Some(at) => (target.slice(..at), Some(target.slice(at + 1..))),
        None => (target.clone(), None),
    }
}

/// Splits `host[:port]`; the host in lower case.
///
/// Narrower than RFC 3986: a registered name has letters, digits, `-`, `.`, `_` and `~`, because the others (`,`, `;`, `%` …) are
/// in no name that resolves and mean something to applications that build addresses from this field.
///
/// # Errors
/// [`Refusal`] where it is none.
pub(crate) fn parse_host(value: &[u8]) -> Result<(String, Option<u16>), Refusal> {
    let host_size = match value.first() {
        Some(b'[') => memchr(b']', value).ok_or(BAD_HOST)? + 1,
        _ => memchr(b':', value).unwrap_or(value.len()),
    };
    let (host, port) = value.split_at_checked(host_size).ok_or(BAD_HOST)?;
    let text = std::str::from_utf8(host).map_err(|_| BAD_HOST)?;
    let is_valid = match text.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')) {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => {
            !host.is_empty()
                && host.iter().all(|byte| {
                    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
                })
        }
    };
    if !is_valid {
        return Err(BAD_HOST);
    }
    Ok((text.to_ascii_lowercase(), parse_port(port)?))
}

/// `:port`, `:` or nothing.
fn parse_port(text: &[u8]) -> Result<Option<u16>, Refusal> {
    let Some(digits) = text.strip_prefix(b":") else {
        return if text.is_empty() { Ok(None) } else { Err(BAD_HOST) };
    };
    if digits.is_empty() {
        return Ok(None);
    }
    if !digits.iter().all(u8::is_ascii_digit) {
        return Err(BAD_HOST);
    }
    let port = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok());
    port.map(Some).ok_or(BAD_HOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(text: &'static str) -> Result<Target, Refusal> {
        parse_target(&Method::GET, &Bytes::from_static(text.as_bytes()))
    }

    #[test]
    fn a_path_and_its_query_are_split_at_the_first_question_mark() {
        let target = target("/a%20b?c=d?e").unwrap();
        assert_eq!(target.path, "/a%20b");
        assert_eq!(target.query.unwrap(), "c=d?e");
    }

    #[test]
    fn an_absolute_target_names_its_host() {
        let parsed = target("HTTP://Example.com:80?x").unwrap();
        assert_eq!(parsed.path, "/");
        assert_eq!(parsed.query.unwrap(), "x");
        assert_eq!(parsed.authority.unwrap(), "Example.com:80");
        assert_eq!(target("http:///x").unwrap().authority.unwrap(), "");
    }

    #[test]
    fn other_forms_are_refused() {
        for text in ["x", "*", "ftp://h/", "example.com:80", "/a#b", "/\u{e9}", "/a b", ""] {
            assert!(target(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_host_is_a_name_or_an_address_and_perhaps_a_port() {
        assert_eq!(parse_host(b"Example.COM").unwrap(), ("example.com".into(), None));
        assert_eq!(parse_host(b"a:8080").unwrap(), ("a".into(), Some(8080)));
        assert_eq!(parse_host(b"a:").unwrap(), ("a".into(), None));
        assert_eq!(parse_host(b"[::1]:80").unwrap(), ("[::1]".into(), Some(80)));
        for bad in [
            "", ":80", "a:65536", "a:+1", "a:b", "a:1:2", "[::1", "[x]", "[::1]x", "a,b", "a/b",
            "u@h", "a b", "\u{e9}", "a%41",
        ] {
            assert!(parse_host(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
