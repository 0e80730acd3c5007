//! Request parts → uwsgi vars: the only place where names of headers are filtered.
//!
//! Source: RFC 3875 §4.1 (CGI), PEP 3333 (environ), and what nginx's stock `uwsgi_params` sends.

use std::borrow::Cow;
use std::net::SocketAddr;

use onebox_config::SESSION_COOKIE;
use onebox_uwsgi::{EncodeError, Vars, VarsBuilder, key};

use crate::message::{ConnectionInfo, RequestHead, Scheme};
use crate::request_id::RequestId;

const HTTP_HOST: &[u8] = b"HTTP_HOST";

/// What the vars of one request are made of.
pub(crate) struct Parts<'a> {
    pub(crate) head: &'a RequestHead,
    /// What the site is below.
    pub(crate) script_name: &'a [u8],
    /// The rest of the path, decoded.
    pub(crate) path: &'a [u8],
    /// The size of the whole body, in bytes.
    pub(crate) body_bytes: u64,
    pub(crate) connection: &'a ConnectionInfo,
    pub(crate) request_id: RequestId,
}

/// The vars of a request, at most `buffer_size` bytes of them.
///
/// # Errors
/// [`EncodeError`] where they are larger, naming the largest one.
pub(crate) fn build(parts: &Parts<'_>, buffer_size: usize) -> Result<Vars, EncodeError> {
    let head = parts.head;
    // The same limit over every transport: a packet can't say more.
    let mut vars = VarsBuilder::new(buffer_size.min(VarsBuilder::MAX_BLOCK_BYTES));
    vars.push(key::REQUEST_METHOD, head.method.as_str().as_bytes())?;
    vars.push(key::REQUEST_URI, &origin_form(head))?;
    vars.push(key::SCRIPT_NAME, parts.script_name)?;
    vars.push(key::PATH_INFO, parts.path)?;
    vars.push(key::QUERY_STRING, head.query.as_deref().unwrap_or_default())?;
    vars.push(key::SERVER_PROTOCOL, head.version.as_str().as_bytes())?;
    push_scheme(&mut vars, parts.connection.scheme)?;
    push_server(&mut vars, head, parts.connection)?;
    push_client(&mut vars, parts.connection.peer)?;
    vars.push(key::REQUEST_ID, parts.request_id.as_bytes())?;
    push_body(&mut vars, head, parts.body_bytes)?;
    push_headers(&mut vars, head)?;
    Ok(vars.finish())
}

/// A path as SCRIPT_NAME and PATH_INFO of a site that is below `mount` (RFC 3875 §4.1.13; PEP 3333).
pub(crate) fn split<'a>(mount: &'a str, path: &'a [u8]) -> (&'a [u8], &'a [u8]) {
    match onebox_config::below(mount, path) {
        Some(rest) => (mount.as_bytes(), rest),
        // Rules of the site sent it elsewhere.
        None => (b"", path),
    }
}

/// The target without scheme and host, as nginx's `$request_uri` has it, so that applications need to know one form only.
pub(crate) fn origin_form(head: &RequestHead) -> Cow<'_, [u8]> {
    if is_origin_form(&head.target) { Cow::Borrowed(&head.target) } else { head.path_and_query() }
}

/// `HTTPS` is what CGI programs and many frameworks look at; it is there where it is true.
fn push_scheme(vars: &mut VarsBuilder, scheme: Scheme) -> Result<(), EncodeError> {
    vars.push(key::REQUEST_SCHEME, scheme.as_str().as_bytes())?;
    match scheme {
        Scheme::Http => Ok(()),
        Scheme::Https => vars.push(b"HTTPS", b"on"),
    }
}

/// The effective name and port: what the client asked for, else what it reached.
fn push_server(
    vars: &mut VarsBuilder,
    head: &RequestHead,
    connection: &ConnectionInfo,
) -> Result<(), EncodeError> {
    match (&head.host, connection.local) {
        (Some(host), _) => vars.push(key::SERVER_NAME, host.as_bytes())?,
        (None, Some(local)) => vars.push(key::SERVER_NAME, address(local).as_bytes())?,
        (None, None) => vars.push(key::SERVER_NAME, b"localhost")?,
    }
    let port = effective_port(head, connection);
    vars.push(key::SERVER_PORT, itoa::Buffer::new().format(port).as_bytes())?;
    // RFC 9112 §3.2.2: the host of an absolute target replaces the header.
    match (&head.host, head.header("host")) {
        (_, Some(header)) if is_origin_form(&head.target) => vars.push(HTTP_HOST, header),
        (Some(host), _) => match head.port {
            Some(port) => vars.push(HTTP_HOST, format!("{host}:{port}").as_bytes()),
            None => vars.push(HTTP_HOST, host.as_bytes()),
        },
        (None, _) => Ok(()),
    }
}

/// The port of the URL that was asked for, else the one that was reached.
pub(crate) fn effective_port(head: &RequestHead, connection: &ConnectionInfo) -> u16 {
    let reached = connection.local.map(|local| local.port());
    head.port.or(reached).unwrap_or(connection.scheme.default_port())
}

fn is_origin_form(target: &[u8]) -> bool {
    matches!(target.first(), Some(b'/' | b'*'))
}

/// Who asks. On a Unix socket that is somebody on this machine.
fn push_client(vars: &mut VarsBuilder, peer: Option<SocketAddr>) -> Result<(), EncodeError> {
    match peer {
        Some(peer) => {
            vars.push(key::REMOTE_ADDR, address(peer).as_bytes())?;
            vars.push(key::REMOTE_PORT, itoa::Buffer::new().format(peer.port()).as_bytes())
        }
        None => vars.push(key::REMOTE_ADDR, b"127.0.0.1"),
    }
}

/// IPv4 in its own form also where it came through an IPv6 socket.
fn address(address: SocketAddr) -> String {
    address.ip().to_canonical().to_string()
}

fn push_body(
    vars: &mut VarsBuilder,
    head: &RequestHead,
    body_bytes: u64,
) -> Result<(), EncodeError> {
    if let Some(kind) = head.header("content-type") {
        vars.push(key::CONTENT_TYPE, kind)?;
    }
    // Of a chunked body too: it was read whole.
    if body_bytes > 0 || head.content_length.is_none() || head.header("content-length").is_some() {
        vars.push(key::CONTENT_LENGTH, itoa::Buffer::new().format(body_bytes).as_bytes())?;
    }
    Ok(())
}

/// `HTTP_*`: each header once, repeated ones joined (RFC 9110 §5.3; Cookie: RFC 6265 §5.4).
pub(crate) fn push_headers(vars: &mut VarsBuilder, head: &RequestHead) -> Result<(), EncodeError> {
    let mut variable = Vec::with_capacity(64);
    for (index, (name, value)) in head.headers.iter().enumerate() {
        let earlier = head.headers.get(..index).unwrap_or_default();
        if !is_passed_on(name, head) || earlier.iter().any(|(other, _)| other == name) {
            continue;
        }
        variable.clear();
        variable.extend_from_slice(b"HTTP_");
        variable.extend(name.iter().map(|byte| match byte {
            b'-' => b'_',
            other => other.to_ascii_uppercase(),
        }));
        let later = head.headers.get(index + 1..).unwrap_or_default();
        let value = match later.iter().any(|(other, _)| other == name) {
            true => Cow::Owned(joined(name, head)),
            false => Cow::Borrowed(&value[..]),
        };
        let value = if &name[..] == b"cookie" { without_session(value) } else { Some(value) };
        if let Some(value) = value {
            vars.push(&variable, &value)?;
        }
    }
    Ok(())
}

fn joined(name: &[u8], head: &RequestHead) -> Vec<u8> {
    let separator: &[u8] = if name == b"cookie" { b"; " } else { b", " };
    let values: Vec<&[u8]> =
        head.headers.iter().filter(|(key, _)| key == name).map(|(_, value)| &value[..]).collect();
    values.join(separator)
}

/// Cookies without that of the dashboard, which is no site's business (RFC 6265 §8.5: they know no ports); `None`: it was alone.
pub(crate) fn without_session(cookies: Cow<'_, [u8]>) -> Option<Cow<'_, [u8]>> {
    let session = SESSION_COOKIE.as_bytes();
    if memchr::memmem::find(&cookies, session).is_none() {
        return Some(cookies);
    }
    let is_session = |pair: &[u8]| pair.split(|byte| *byte == b'=').next() == Some(session);
    let others: Vec<&[u8]> = cookies
        .split(|byte| *byte == b';')
        .map(<[u8]>::trim_ascii)
        .filter(|pair| !is_session(pair))
        .collect();
    (!others.is_empty()).then(|| Cow::Owned(others.join(&b"; "[..])))
}

/// Whether a header becomes a variable; these have variables of their own.
fn is_passed_on(name: &[u8], head: &RequestHead) -> bool {
    !matches!(name, b"host" | b"content-type" | b"content-length") && goes_on(name, head)
}

/// Whether a header goes on to whoever answers.
pub(crate) fn goes_on(name: &[u8], head: &RequestHead) -> bool {
    // `X_Real_Ip` would become the same variable as `X-Real-Ip`: a client could forge what a proxy sets.
    if memchr::memchr(b'_', name).is_some() {
        return false;
    }
    match name {
        // HTTP_PROXY is what libraries read their outgoing proxy from (CVE-2016-5385).
        b"proxy" => false,
        // RFC 9110 §7.6.1, and what this server has answered itself.
        b"connection"
        | b"keep-alive"
        | b"proxy-connection"
        | b"proxy-authorization"
        | b"te"
        | b"trailer"
        | b"transfer-encoding"
        | b"upgrade"
        | b"expect" => false,
        _ => !is_named_by_connection(name, head),
    }
}

/// Whether `Connection` names a header, whose way ends here then (RFC 9110 §7.6.1).
pub(crate) fn is_named_by_connection(name: &[u8], head: &RequestHead) -> bool {
    head.header_values("connection").any(|value| {
        value.split(|byte| *byte == b',').any(|token| token.trim_ascii().eq_ignore_ascii_case(name))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn vars_of(head: &RequestHead, body_bytes: u64) -> Vars {
        let connection = testing::connection();
        let path = crate::path::decode(&head.path).unwrap();
        let request_id = RequestId::random();
        let parts = Parts {
            head,
            script_name: b"",
            path: &path,
            body_bytes,
            connection: &connection,
            request_id,
        };
        build(&parts, 65_536).unwrap()
    }

    fn text(vars: &Vars, key: &str) -> Option<String> {
        vars.get(key.as_bytes()).map(|value| String::from_utf8_lossy(value).into_owned())
    }

    #[test]
    fn the_request_line_becomes_variables() {
        let vars = vars_of(&testing::get("/caf%C3%A9/a?x=%20&y", &[("host", "A.example:8080")]), 0);
        let expected = [
            ("REQUEST_METHOD", "GET"),
            ("REQUEST_URI", "/caf%C3%A9/a?x=%20&y"),
            ("SCRIPT_NAME", ""),
            ("PATH_INFO", "/café/a"),
            ("QUERY_STRING", "x=%20&y"),
            ("SERVER_PROTOCOL", "HTTP/1.1"),
            ("SERVER_NAME", "a.example"),
            ("SERVER_PORT", "8080"),
            ("REMOTE_ADDR", "192.0.2.7"),
            ("REMOTE_PORT", "50000"),
            ("REQUEST_SCHEME", "http"),
            ("HTTP_HOST", "A.example:8080"),
        ];
        for (key, value) in expected {
            assert_eq!(text(&vars, key).as_deref(), Some(value), "{key}");
        }
        assert_eq!(text(&vars, "CONTENT_LENGTH"), None);
        assert_eq!(text(&vars, "REQUEST_ID").map(|id| id.len()), Some(16));
    }

    #[test]
    fn names_with_underscores_and_the_proxy_header_are_dropped() {
        let headers =
            [("host", "a"), ("x_real_ip", "1"), ("x-real-ip", "2"), ("proxy", "http://evil")];
        let vars = vars_of(&testing::get("/", &headers), 0);
        assert_eq!(text(&vars, "HTTP_X_REAL_IP").as_deref(), Some("2"));
        assert_eq!(vars.iter().filter(|(key, _)| *key == b"HTTP_X_REAL_IP").count(), 1);
        assert_eq!(text(&vars, "HTTP_PROXY"), None);
    }

    #[test]
    fn repeated_headers_are_joined() {
        let headers = [
            ("accept", "a"),
            ("cookie", "x=1"),
            ("accept", "b"),
            ("cookie", "y=2"),
            ("accept", "c"),
        ];
        let vars = vars_of(&testing::get("/", &headers), 0);
        assert_eq!(text(&vars, "HTTP_ACCEPT").as_deref(), Some("a, b, c"));
        assert_eq!(text(&vars, "HTTP_COOKIE").as_deref(), Some("x=1; y=2"));
        assert_eq!(vars.iter().filter(|(key, _)| *key == b"HTTP_ACCEPT").count(), 1);
    }

    #[test]
    fn hop_by_hop_headers_end_here() {
        let headers = [
            ("connection", "keep-alive, X-Private"),
            ("keep-alive", "timeout=5"),
            ("x-private", "1"),
            ("te", "trailers"),
            ("upgrade", "h2c"),
            ("x-public", "2"),
        ];
        let vars = vars_of(&testing::get("/", &headers), 0);
        let names: Vec<_> = vars.iter().filter(|(key, _)| key.starts_with(b"HTTP_")).collect();
        assert_eq!(names, [(&b"HTTP_X_PUBLIC"[..], &b"2"[..])]);
    }

    #[test]
    fn type_and_length_are_no_http_variables() {
        let headers = [("content-type", "text/plain"), ("content-length", "3")];
        let vars = vars_of(&testing::get("/", &headers), 3);
        assert_eq!(text(&vars, "CONTENT_TYPE").as_deref(), Some("text/plain"));
        assert_eq!(text(&vars, "CONTENT_LENGTH").as_deref(), Some("3"));
        assert_eq!(text(&vars, "HTTP_CONTENT_TYPE"), None);
        assert_eq!(text(&vars, "HTTP_CONTENT_LENGTH"), None);
    }

    #[test]
    fn a_chunked_body_gets_the_size_it_turned_out_to_have() {
        let mut head = testing::get("/", &[("transfer-encoding", "chunked")]);
        head.content_length = None;
        let vars = vars_of(&head, 77);
        assert_eq!(text(&vars, "CONTENT_LENGTH").as_deref(), Some("77"));
        assert_eq!(text(&vars, "HTTP_TRANSFER_ENCODING"), None);
    }

    #[test]
    fn the_host_of_an_absolute_target_replaces_the_header() {
        let mut head = testing::get("/x", &[("host", "other.example")]);
        head.target = "http://a.example:81/x?y=z".into();
        head.query = Some("y=z".into());
        (head.host, head.port) = (Some("a.example".into()), Some(81));
        let vars = vars_of(&head, 0);
        assert_eq!(text(&vars, "HTTP_HOST").as_deref(), Some("a.example:81"));
        assert_eq!(text(&vars, "REQUEST_URI").as_deref(), Some("/x?y=z"));
        assert_eq!(text(&vars, "SERVER_NAME").as_deref(), Some("a.example"));
        assert_eq!(text(&vars, "SERVER_PORT").as_deref(), Some("81"));
    }

    /// Of a request for `/` without a body.
    fn parts<'a>(head: &'a RequestHead, connection: &'a ConnectionInfo) -> Parts<'a> {
        Parts {
            head,
            script_name: b"",
            path: b"/",
            body_bytes: 0,
            connection,
            request_id: RequestId::random(),
        }
    }

    #[test]
    fn without_a_host_the_server_is_what_was_reached_and_ipv4_looks_like_ipv4() {
        let head = testing::get("/", &[]);
        let mut connection = testing::connection();
        connection.peer = "[::ffff:192.0.2.7]:50000".parse().ok();
        let parts = parts(&head, &connection);
        let vars = build(&parts, 4096).unwrap();
        assert_eq!(text(&vars, "SERVER_NAME").as_deref(), Some("192.0.2.1"));
        assert_eq!(text(&vars, "SERVER_PORT").as_deref(), Some("80"));
        assert_eq!(text(&vars, "HTTP_HOST"), None);
        assert_eq!(text(&vars, "REMOTE_ADDR").as_deref(), Some("192.0.2.7"));
    }

    #[test]
    fn a_path_is_split_where_the_site_begins() {
        let table = [
            ("", "/a", "", "/a"),
            ("/blog", "/blog/a", "/blog", "/a"),
            ("/blog", "/blog/", "/blog", "/"),
            ("/blog", "/blog", "/blog", ""),
            ("/blog", "/blogs", "", "/blogs"),
            ("/blog", "*", "", "*"),
        ];
        for (mount, path, script_name, rest) in table {
            let expected = (script_name.as_bytes(), rest.as_bytes());
            assert_eq!(split(mount, path.as_bytes()), expected, "{mount}: {path}");
        }
    }

    #[test]
    fn variables_above_buffer_size_name_the_largest_header() {
        let long = "x".repeat(600);
        let head = testing::get("/", &[("x-long", &long), ("accept", "a")]);
        let connection = testing::connection();
        let parts = parts(&head, &connection);
        let error = build(&parts, 700).unwrap_err();
        assert!(error.to_string().contains("HTTP_X_LONG"), "{error}");
    }

    #[test]
    fn the_dashboards_cookie_is_no_business_of_a_site() {
        let cookies = |sent: &str| {
            let vars = vars_of(&testing::get("/", &[("cookie", sent)]), 0);
            vars.get(b"HTTP_COOKIE").map(|value| String::from_utf8(value.to_vec()).unwrap())
        };
        assert_eq!(cookies("onebox_session=abc"), None);
        assert_eq!(cookies("a=1; onebox_session=abc; b=2").as_deref(), Some("a=1; b=2"));
        for kept in ["a=1;b=2", "xonebox_session=1;  a=onebox_session", "onebox_sessions=1"] {
            let kept_whole = cookies(kept).unwrap();
            assert_eq!(kept_whole.replace(' ', ""), kept.replace(' ', ""));
        }
    }
}
