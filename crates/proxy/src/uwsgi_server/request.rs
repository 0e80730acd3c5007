//! The request that a packet describes, as the pipeline wants it.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use bytes::Bytes;
use http::Method;
use onebox_config::site::encode_path;
use onebox_uwsgi::{EncodeError, Vars, key};

use super::packet::Packet;
use super::vars::{self, Known};
use crate::error::ProxyError;
use crate::http1::{check_singletons, is_safe_field};
use crate::message::{ConnectionInfo, RequestHead, Version};
use crate::request_id::RequestId;
use crate::vars::split;

/// A request that came as a packet.
pub(crate) struct PacketRequest {
    /// As a client would have sent it.
    pub(crate) head: RequestHead,
    /// PATH_INFO: decoded, below SCRIPT_NAME.
    pub(crate) path: Vec<u8>,
    /// The client behind the web server.
    pub(crate) connection: ConnectionInfo,
    vars: Vars,
    has_length: bool,
}

impl PacketRequest {
    /// Reads the variables of `packet`, which came over `connection`.
    ///
    /// # Errors
    /// [`ProxyError`] where they describe no request.
    pub(super) fn new(
        packet: Packet,
        connection: &ConnectionInfo,
        received_at: Instant,
    ) -> Result<Self, ProxyError> {
        let Packet { vars, script_name_in_path } = packet;
        let value = |name: &[u8]| vars.get(name).filter(|value| !value.is_empty());
        let method = value(key::REQUEST_METHOD).ok_or(ProxyError::BadPacket("no method"))?;
        let method =
            Method::from_bytes(method).map_err(|_| ProxyError::BadPacket("not a method"))?;
        let length = value(key::CONTENT_LENGTH).map(parse_length).transpose()?;
        let script_name = value(key::SCRIPT_NAME).unwrap_or_default();
        let mut path = value(key::PATH_INFO).unwrap_or_default();
        if script_name_in_path {
            path = below(script_name, path);
        }
        // PEP 3333: empty, or it begins with a slash.
        if !matches!(path, [] | [b'/', ..]) || memchr::memchr(0, path).is_some() {
            return Err(ProxyError::BadPath);
        }
        let path = path.to_vec();
        let target = match value(key::REQUEST_URI) {
            Some(target) => Bytes::copy_from_slice(target),
            None => target_of(script_name, &path, value(key::QUERY_STRING)),
        };
        // It goes on in the first line of a request, and in redirects.
        if target.iter().any(|byte| matches!(byte, 0..=b' ' | 0x7f)) {
            return Err(ProxyError::BadPath);
        }
        let (raw_path, query) = match memchr::memchr(b'?', &target) {
            Some(mark) => (target.slice(..mark), Some(target.slice(mark + 1..))),
            None => (target.clone(), None),
        };
        let version = match value(key::SERVER_PROTOCOL) {
            Some(b"HTTP/1.0") | None => Version::Http10,
            Some(_) => Version::Http11,
        };
        let headers = headers(&vars);
        if !headers.iter().all(|(name, value)| is_safe_field(name, value)) {
            return Err(ProxyError::BadPacket("a field that is none of HTTP's"));
        }
        check_singletons(&headers)
            .map_err(|_| ProxyError::BadPacket("a field of one value comes twice"))?;
        let head = RequestHead {
            method,
            target,
            path: raw_path,
            query,
            version,
            headers,
            host: None,
            port: None,
            content_length: Some(length.unwrap_or(0)),
            received_at,
        };
        let peer = client(&vars).or(connection.peer);
        let scheme = vars::scheme(&vars);
        let connection = ConnectionInfo { peer, scheme, ..connection.clone() };
        Ok(Self { head, path, connection, has_length: length.is_some(), vars })
    }

    /// The variables for the application, which sees `path`; `altered` is the head where rules have changed it.
    ///
    /// # Errors
    /// [`EncodeError`] where they are larger than `buffer_size`.
    pub(crate) fn vars(
        &self,
        seen: &Seen<'_>,
        body_bytes: u64,
        request_id: RequestId,
        buffer_size: usize,
    ) -> Result<Vars, EncodeError> {
        let body_bytes = self.has_length.then_some(body_bytes);
        let target = &self.head.target;
        // A web server in front that names a mount has taken it off the path.
        let is_named = self.vars.get(key::SCRIPT_NAME).is_some_and(|name| !name.is_empty());
        let mount = if is_named { "" } else { seen.mount };
        let (script_name, path) = split(mount, seen.path);
        let altered = seen.altered;
        let known = Known { script_name, path, target, body_bytes, request_id, altered };
        vars::adopt(&self.vars, &known, buffer_size)
    }
}

/// A request as the site sees it.
pub(crate) struct Seen<'a> {
    /// What the site is below.
    pub(crate) mount: &'a str,
    /// The path, decoded.
    pub(crate) path: &'a [u8],
    /// The head, where rules of the site have changed it.
    pub(crate) altered: Option<&'a RequestHead>,
}

fn parse_length(text: &[u8]) -> Result<u64, ProxyError> {
    let digits = text.iter().all(u8::is_ascii_digit).then_some(text);
    digits
        .and_then(|digits| std::str::from_utf8(digits).ok())
        .and_then(|digits| digits.parse().ok())
        .ok_or(ProxyError::BadPacket("CONTENT_LENGTH is no size"))
}

/// `path` without the mount in front of it.
fn below<'p>(script_name: &[u8], path: &'p [u8]) -> &'p [u8] {
    match path.strip_prefix(script_name) {
        Some(rest @ ([] | [b'/', ..])) => rest,
        _ => path,
    }
}

/// The target that a client may have sent: CGI's variables hold the path decoded, and the query as it was.
fn target_of(script_name: &[u8], path: &[u8], query: Option<&[u8]>) -> Bytes {
    let mut target = encode_path(&[script_name, path].concat());
    if let Some(query) = query {
        target.push(b'?');
        target.extend_from_slice(query);
    }
    target.into()
}

/// `HTTP_ACCEPT_LANGUAGE` was `accept-language`; of the two that have variables of their own, those count.
fn headers(vars: &Vars) -> Vec<(Bytes, Bytes)> {
    let field = |(name, value): (&[u8], &[u8])| {
        let lower = name.strip_prefix(b"HTTP_")?.iter().map(|byte| match byte {
            b'_' => b'-',
            other => other.to_ascii_lowercase(),
        });
        Some((lower.collect(), Bytes::copy_from_slice(value)))
    };
    let is_own =
        |(name, _): &(&[u8], &[u8])| matches!(*name, b"HTTP_CONTENT_TYPE" | b"HTTP_CONTENT_LENGTH");
    let mut headers: Vec<_> = vars.iter().filter(|var| !is_own(var)).filter_map(field).collect();
    for (name, key) in
        [("content-type", key::CONTENT_TYPE), ("content-length", key::CONTENT_LENGTH)]
    {
        if let Some(value) = vars.get(key).filter(|value| !value.is_empty()) {
            headers.push((Bytes::from_static(name.as_bytes()), Bytes::copy_from_slice(value)));
        }
    }
    headers
}

fn client(vars: &Vars) -> Option<SocketAddr> {
    let text = |name: &[u8]| vars.get(name).and_then(|value| std::str::from_utf8(value).ok());
    let address: IpAddr = text(key::REMOTE_ADDR)?.parse().ok()?;
    let port = text(key::REMOTE_PORT).and_then(|port| port.parse().ok()).unwrap_or(0);
    Some(SocketAddr::new(address, port))
}

#[cfg(test)]
mod tests {
    use onebox_uwsgi::VarsBuilder;
    use proptest::prelude::*;

    use super::*;
    use crate::testing;

    fn request(pairs: &[(&str, &str)], script_name_in_path: bool) -> Result<PacketRequest, u16> {
        let mut builder = VarsBuilder::new(VarsBuilder::MAX_BLOCK_BYTES);
        for (name, value) in pairs {
            builder.push(name.as_bytes(), value.as_bytes()).unwrap();
        }
        let packet = Packet { vars: builder.finish(), script_name_in_path };
        PacketRequest::new(packet, &testing::connection(), Instant::now())
            .map_err(|error| error.status())
    }

    #[test]
    fn modifier_30_takes_the_script_name_out_of_the_path() {
        let path = |script: &str, path: &str, strip| {
            let pairs = [("REQUEST_METHOD", "GET"), ("SCRIPT_NAME", script), ("PATH_INFO", path)];
            String::from_utf8(request(&pairs, strip).ok().unwrap().path).unwrap()
        };
        assert_eq!(path("/app", "/app/x", true), "/x");
        assert_eq!(path("/app", "/app", true), "");
        assert_eq!(path("/app", "/apple", true), "/apple");
        assert_eq!(path("/app", "/app/x", false), "/app/x");
    }

    #[test]
    fn what_is_no_request_is_a_400() {
        let method = ("REQUEST_METHOD", "GET");
        let kind = ("CONTENT_TYPE", "a/b");
        let credentials = ("HTTP_AUTHORIZATION", "Basic YTpi");
        let wrong: [&[(&str, &str)]; 14] = [
            &[],
            &[("REQUEST_METHOD", "")],
            &[("REQUEST_METHOD", "G T")],
            &[method, ("CONTENT_LENGTH", "-1")],
            &[method, ("PATH_INFO", "/a\0b")],
            &[method, ("PATH_INFO", "a")],
            &[method, credentials, credentials],
            &[method, ("REQUEST_URI", "/a b")],
            &[method, ("REQUEST_URI", "/a\r\nX: y")],
            &[method, ("PATH_INFO", "/a"), ("QUERY_STRING", "b\nc")],
            &[method, ("HTTP_X", "a\r\nY: b")],
            &[method, ("HTTP_X", "a\0b")],
            &[method, ("HTTP_", "a")],
            &[method, ("HTTP_X: A\r\nY", "b")],
        ];
        for pairs in wrong {
            assert_eq!(request(pairs, false).err(), Some(400), "{pairs:?}");
        }
        // A web server's own variables may come twice, and nginx sends the type as a field too.
        let twice = [method, kind, kind, ("HTTP_CONTENT_TYPE", "a/b")];
        assert!(request(&twice, false).is_ok());
    }

    #[test]
    fn a_target_that_is_made_of_the_path_is_encoded() {
        let pairs =
            [("REQUEST_METHOD", "GET"), ("SCRIPT_NAME", "/é"), ("PATH_INFO", "/a b\r\nX: y?")];
        let request = request(&pairs, false).ok().unwrap();
        assert_eq!(request.head.target, "/%C3%A9/a%20b%0D%0AX:%20y%3F");
        assert_eq!((request.head.path, request.head.query), (request.head.target, None));
        assert_eq!(request.path, b"/a b\r\nX: y?");
    }

    #[test]
    fn the_client_is_who_the_web_server_says() {
        let pairs =
            [("REQUEST_METHOD", "GET"), ("REMOTE_ADDR", "2001:db8::1"), ("REMOTE_PORT", "4711")];
        let request = request(&pairs, false).ok().unwrap();
        assert_eq!(request.connection.peer, "[2001:db8::1]:4711".parse().ok());
    }

    proptest! {
        #[test]
        fn no_variables_make_the_reader_panic(
            pairs in prop::collection::vec(("REQUEST_METHOD|REQUEST_URI|SCRIPT_NAME|PATH_INFO|CONTENT_LENGTH|HTTP_[A-Z_]{0,3}", ".{0,6}"), 0..12),
            strip in any::<bool>(),
        ) {
            let pairs: Vec<_> = pairs.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
            if let Ok(request) = request(&pairs, strip) {
                let seen = Seen { mount: "/a", path: &request.path, altered: None };
                let _ = request.vars(&seen, 0, RequestId::random(), 4096);
            }
        }
    }
}
