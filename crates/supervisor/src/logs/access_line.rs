//! A line of an access log as it was written, in either format.
//!
//! Source: `onebox-proxy`, `access_log`; nginx, `log_format combined`.

use std::borrow::Cow;
use std::net::IpAddr;

use jiff::fmt::strtime;
use serde::Deserialize;

/// What a line says about a request.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct AccessLine<'a> {
    /// When it began; in the combined format when it ended, to the second.
    pub(crate) at_ms: i64,
    /// `None` in the combined format.
    #[serde(borrow, default)]
    pub(crate) request_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(crate) method: Cow<'a, str>,
    /// Without the query.
    #[serde(borrow)]
    pub(crate) path: Cow<'a, str>,
    /// 0 where there was none, in the combined format 499.
    pub(crate) status: u16,
    /// `None`: over a Unix socket.
    #[serde(default)]
    pub(crate) client: Option<IpAddr>,
}

impl<'a> AccessLine<'a> {
    /// Reads a line; `None` where it is not whole.
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        if text.starts_with('{') {
            return serde_json::from_str(text).ok();
        }
        let (client, rest) = text.split_once(' ')?;
        let rest = rest.strip_prefix("- ")?;
        // A quote in a value is written as \x22: the first one begins the request, whatever a user calls himself.
        let (user_and_time, rest) = rest.split_once('"')?;
        let (request, rest) = rest.split_once('"')?;
        let time = user_and_time.trim_end().strip_suffix(']')?.rsplit_once(" [")?.1;
        let time = strtime::parse("%d/%b/%Y:%H:%M:%S %z", time).ok()?.to_timestamp().ok()?;
        let (method, target) = request.split_once(' ')?;
        let target = target.rsplit_once(' ').map_or(target, |(target, _version)| target);
        // Two more values, each in quotes: the line is whole.
        (rest.ends_with('"') && rest.matches('"').count() == 4).then_some(())?;
        Some(Self {
            at_ms: time.as_millisecond(),
            request_id: None,
            method: Cow::Borrowed(method),
            path: path_of(target),
            status: rest.trim_start().split_once(' ')?.0.parse().ok()?,
            client: client.parse().ok(),
        })
    }
}

/// The path of a target as it was logged, in origin or absolute form (RFC 9112 §3.2).
fn path_of(target: &str) -> Cow<'_, str> {
    let path = match target.split_once("://") {
        Some((scheme, rest)) if scheme.bytes().all(|byte| byte.is_ascii_alphanumeric()) => {
            rest.find('/').and_then(|at| rest.get(at..)).unwrap_or("/")
        }
        _ => target,
    };
    let path = path.split_once('?').map_or(path, |(path, _query)| path);
    if path.contains("\\x") { Cow::Owned(unescaped(path)) } else { Cow::Borrowed(path) }
}

/// `\xXX` as the byte that it stands for.
fn unescaped(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, escape)) = rest.split_once("\\x") {
        bytes.extend_from_slice(before.as_bytes());
        let digits = escape.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match digits {
            Some(byte) => {
                bytes.push(byte);
                rest = escape.get(2..).unwrap_or_default();
            }
            None => {
                bytes.extend_from_slice(b"\\x");
                rest = escape;
            }
        }
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_formats_say_the_same() {
        let json = r#"{"at_ms":1795323143000,"site":"blog","request_id":"r1","method":"GET","path":"/a\"b","status":404,"client":"192.0.2.7","user_agent":null}"#;
        let line = AccessLine::parse(json).unwrap();
        let combined = r#"192.0.2.7 - ann [22/Nov/2026:05:52:23 +0100] "GET /a\x22b?q=1 HTTP/1.1" 404 12 "-" "curl/8.0""#;
        let other = AccessLine::parse(combined).unwrap();
        assert_eq!(line.request_id.as_deref(), Some("r1"));
        assert_eq!(other, AccessLine { request_id: None, ..line });
    }

    #[test]
    fn a_client_can_not_make_a_line_say_something_else() {
        let user = r#"x [01/Jan/2020:00:00:00 +0000] \x22GET /fake HTTP/1.1\x22 200"#;
        let text = format!(
            r#"::1 - {user} [22/Nov/2026:04:52:23 +0000] "GET http://h/real\x0A HTTP/1.1" 403 0 "-" "-""#
        );
        let line = AccessLine::parse(&text).unwrap();
        assert_eq!((&*line.path, line.status, line.at_ms), ("/real\n", 403, 1_795_323_143_000));
        assert_eq!(line.client, "::1".parse().ok());
    }

    #[test]
    fn what_is_not_whole_is_no_line() {
        let whole =
            r#"unix: - - [22/Nov/2026:04:52:23 +0000] "GET /\xC3\xBC HTTP/2.0" 200 5 "-" "agent""#;
        let line = AccessLine::parse(whole).unwrap();
        assert_eq!((&*line.path, line.client), ("/ü", None));
        for end in 0..whole.len() {
            assert_eq!(AccessLine::parse(&whole[..end]), None, "{}", &whole[..end]);
        }
        for wrong in
            ["", "{", "{}", "a b", r#"{"at_ms":1,"method":"GET","path":"/","status":70000}"#]
        {
            assert_eq!(AccessLine::parse(wrong), None, "{wrong}");
        }
    }
}
