//! The variables of a packet → those an application sees: the only place where they are filtered.
//!
//! Source: RFC 3875 §4.1 (CGI), PEP 3333 (environ), uWSGI's `Vars` page (the variables that would choose what runs).

use std::borrow::Cow;
use std::collections::HashMap;

use onebox_uwsgi::{EncodeError, Vars, VarsBuilder, key};

use crate::message::{RequestHead, Scheme};
use crate::request_id::RequestId;
use crate::vars::{push_headers, without_session};

/// What is known better than the packet says it.
pub(super) struct Known<'a> {
    /// SCRIPT_NAME, where the packet has none.
    pub(super) script_name: &'a [u8],
    /// PATH_INFO, without SCRIPT_NAME.
    pub(super) path: &'a [u8],
    /// REQUEST_URI.
    pub(super) target: &'a [u8],
    /// The size of the body that was read; `None`: the request has none.
    pub(super) body_bytes: Option<u64>,
    pub(super) request_id: RequestId,
    /// The head, where rules of the site have changed its query or its headers.
    pub(super) altered: Option<&'a RequestHead>,
}

/// The variables for the application, at most `buffer_size` bytes of them. Fields of HTTP that come twice are joined, of other
/// variables the last one counts; what PEP 3333 wants to be there is there.
///
/// # Errors
/// [`EncodeError`] where they are larger, naming the largest one.
pub(super) fn adopt(
    packet: &Vars,
    known: &Known<'_>,
    buffer_size: usize,
) -> Result<Vars, EncodeError> {
    let mut vars = VarsBuilder::new(buffer_size.min(VarsBuilder::MAX_BLOCK_BYTES));
    vars.push(key::REQUEST_URI, known.target)?;
    vars.push(key::PATH_INFO, known.path)?;
    vars.push(key::REQUEST_SCHEME, scheme(packet).as_str().as_bytes())?;
    let required: [(&[u8], &[u8]); 5] = [
        (key::SCRIPT_NAME, known.script_name),
        (key::QUERY_STRING, b""),
        (key::SERVER_PROTOCOL, b"HTTP/1.0"),
        (key::SERVER_NAME, b"localhost"),
        (key::SERVER_PORT, b"80"),
    ];
    for (name, default) in required {
        let is_altered = known.altered.is_some() && name == key::QUERY_STRING;
        if !is_altered && packet.get(name).is_none_or(|value| value.is_empty()) {
            vars.push(name, default)?;
        }
    }
    for (name, value) in merged(packet) {
        let is_default = required.iter().any(|(required, _)| *required == name);
        let is_altered = known.altered.is_some() && (name == key::QUERY_STRING || is_field(name));
        if is_passed_on(name) && !is_altered && !(is_default && value.is_empty()) {
            let value = if name == b"HTTP_COOKIE" { without_session(value) } else { Some(value) };
            if let Some(value) = value {
                vars.push(name, &value)?;
            }
        }
    }
    if let Some(head) = known.altered {
        vars.push(key::QUERY_STRING, head.query.as_deref().unwrap_or_default())?;
        push_headers(&mut vars, head)?;
    }
    if let Some(body_bytes) = known.body_bytes {
        vars.push(key::CONTENT_LENGTH, itoa::Buffer::new().format(body_bytes).as_bytes())?;
    }
    if let Some(kind) = packet.get(key::CONTENT_TYPE).filter(|kind| !kind.is_empty()) {
        vars.push(key::CONTENT_TYPE, kind)?;
    }
    vars.push(key::REQUEST_ID, known.request_id.as_bytes())?;
    Ok(vars.finish())
}

/// uWSGI's order: its own variable, then HTTPS, which an nginx behind a TLS proxy is told to send though it speaks HTTP itself.
pub(super) fn scheme(packet: &Vars) -> Scheme {
    let is_https = match (packet.get(b"UWSGI_SCHEME"), packet.get(b"HTTPS")) {
        (Some(scheme @ (b"http" | b"https")), _) => scheme == b"https",
        (_, Some(b"on" | b"1" | b"https")) => true,
        _ => packet.get(key::REQUEST_SCHEME) == Some(b"https"),
    };
    if is_https { Scheme::Https } else { Scheme::Http }
}

/// Whether a variable is a field of the request that rules may have changed.
fn is_field(name: &[u8]) -> bool {
    name.starts_with(b"HTTP_") && name != b"HTTP_HOST"
}

/// Every variable once, in the order in which they first come.
fn merged(packet: &Vars) -> Vec<(&[u8], Cow<'_, [u8]>)> {
    let mut all: Vec<(&[u8], Cow<'_, [u8]>)> = Vec::new();
    let mut places: HashMap<&[u8], usize> = HashMap::new();
    for (name, value) in packet.iter() {
        let place = *places.entry(name).or_insert(all.len());
        match all.get_mut(place) {
            None => all.push((name, Cow::Borrowed(value))),
            Some((_, earlier)) if name.starts_with(b"HTTP_") && name != b"HTTP_HOST" => {
                // RFC 9110 §5.3; Cookie: RFC 6265 §5.4.
                let separator: &[u8] = if name == b"HTTP_COOKIE" { b"; " } else { b", " };
                earlier.to_mut().extend_from_slice(separator);
                earlier.to_mut().extend_from_slice(value);
            }
            Some((_, earlier)) => *earlier = Cow::Borrowed(value),
        }
    }
    all
}

/// Whether the application gets a variable as the packet has it.
fn is_passed_on(name: &[u8]) -> bool {
    // UWSGI_FILE, UWSGI_SCRIPT, UWSGI_MODULE, UWSGI_CHDIR …: nobody chooses by a request what runs.
    if name.starts_with(b"UWSGI_") || name.starts_with(b"wsgi.") {
        return false;
    }
    match name {
        // Known better.
        b"REQUEST_URI" | b"PATH_INFO" | b"REQUEST_SCHEME" => false,
        b"CONTENT_LENGTH" | b"CONTENT_TYPE" | b"REQUEST_ID" => false,
        // Variables of their own.
        b"HTTP_CONTENT_LENGTH" | b"HTTP_CONTENT_TYPE" => false,
        // What libraries read their outgoing proxy from (CVE-2016-5385).
        b"HTTP_PROXY" => false,
        // RFC 9110 §7.6.1: about the connection of the web server, which has answered them.
        b"HTTP_CONNECTION"
        | b"HTTP_KEEP_ALIVE"
        | b"HTTP_PROXY_CONNECTION"
        | b"HTTP_PROXY_AUTHORIZATION"
        | b"HTTP_TE"
        | b"HTTP_TRAILER"
        | b"HTTP_TRANSFER_ENCODING"
        | b"HTTP_UPGRADE"
        | b"HTTP_EXPECT" => false,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packet(pairs: &[(&str, &str)]) -> Vars {
        let mut builder = VarsBuilder::new(VarsBuilder::MAX_BLOCK_BYTES);
        for (name, value) in pairs {
            builder.push(name.as_bytes(), value.as_bytes()).unwrap();
        }
        builder.finish()
    }

    fn adopted(packet: &Vars, limit: usize) -> Result<Vars, EncodeError> {
        let request_id = RequestId::random();
        let known = Known {
            script_name: b"",
            path: b"/",
            target: b"/",
            body_bytes: None,
            request_id,
            altered: None,
        };
        adopt(packet, &known, limit)
    }

    #[test]
    fn what_would_choose_the_application_never_arrives() {
        let names = [
            "UWSGI_FILE",
            "UWSGI_SCRIPT",
            "UWSGI_MODULE",
            "UWSGI_CHDIR",
            "UWSGI_PYHOME",
            "UWSGI_SETENV",
            "wsgi.input",
            "HTTP_PROXY",
            "HTTP_CONTENT_LENGTH",
            "HTTP_CONTENT_TYPE",
            "HTTP_TRANSFER_ENCODING",
            "CONTENT_LENGTH",
        ];
        for name in names {
            let vars = adopted(&packet(&[(name, "x")]), 4096).unwrap();
            assert_eq!(vars.get(name.as_bytes()), None, "{name}");
        }
    }

    #[test]
    fn the_dashboards_cookie_is_no_business_of_a_site() {
        let cookies = |sent: &str| {
            let vars = adopted(&packet(&[("HTTP_COOKIE", sent)]), 4096).unwrap();
            vars.get(b"HTTP_COOKIE").map(<[u8]>::to_vec)
        };
        assert_eq!(cookies("onebox_session=abc"), None);
        assert_eq!(cookies("a=1; onebox_session=abc"), Some(b"a=1".to_vec()));
    }

    #[test]
    fn what_pep_3333_wants_is_there_and_the_rest_as_it_came() {
        let vars = adopted(&packet(&[("HTTPS", "on"), ("HTTP_X_A", "1"), ("CUSTOM", "2")]), 4096);
        let vars = vars.unwrap();
        let expected: [(&[u8], &[u8]); 6] = [
            (key::SCRIPT_NAME, b""),
            (key::SERVER_PORT, b"80"),
            (key::REQUEST_SCHEME, b"https"),
            (b"HTTPS", b"on"),
            (b"HTTP_X_A", b"1"),
            (b"CUSTOM", b"2"),
        ];
        for (name, value) in expected {
            assert_eq!(vars.get(name), Some(value), "{}", name.escape_ascii());
        }
    }

    #[test]
    fn the_scheme_is_what_the_web_server_says_loudest() {
        let scheme = |pairs: &[(&str, &str)]| {
            let vars = adopted(&packet(pairs), 4096).unwrap();
            String::from_utf8(vars.get(key::REQUEST_SCHEME).unwrap().to_vec()).unwrap()
        };
        assert_eq!(scheme(&[]), "http");
        assert_eq!(scheme(&[("REQUEST_SCHEME", "https")]), "https");
        assert_eq!(scheme(&[("REQUEST_SCHEME", "http"), ("HTTPS", "on")]), "https");
        assert_eq!(scheme(&[("REQUEST_SCHEME", "https"), ("HTTPS", "")]), "https");
        assert_eq!(scheme(&[("UWSGI_SCHEME", "https"), ("REQUEST_SCHEME", "http")]), "https");
        assert_eq!(scheme(&[("REQUEST_SCHEME", "gopher")]), "http");
    }

    #[test]
    fn fields_that_come_twice_are_joined_and_of_other_variables_the_last_counts() {
        let pairs = [
            ("HTTP_COOKIE", "a=1"),
            ("HTTP_ACCEPT", "x"),
            ("HTTP_COOKIE", "b=2"),
            ("HTTP_ACCEPT", "y"),
            ("SERVER_NAME", "old"),
            ("SERVER_NAME", "new"),
        ];
        let vars = adopted(&packet(&pairs), 4096).unwrap();
        assert_eq!(vars.get(b"HTTP_COOKIE"), Some(&b"a=1; b=2"[..]));
        assert_eq!(vars.get(b"HTTP_ACCEPT"), Some(&b"x, y"[..]));
        assert_eq!(vars.get(b"SERVER_NAME"), Some(&b"new"[..]));
    }

    #[test]
    fn variables_above_buffer_size_name_the_largest() {
        let error = adopted(&packet(&[("HTTP_X_LONG", &"x".repeat(5000))]), 4096).unwrap_err();
        assert!(error.to_string().contains("HTTP_X_LONG"), "{error}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_variables_come_out_once_each_and_filtered(
            pairs in prop::collection::vec(("[A-Z_]{1,4}|UWSGI_[A-Z]{1,3}|HTTP_[A-Z]{1,2}", "[ -~]{0,8}"), 0..40)
        ) {
            let pairs: Vec<_> = pairs.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
            let vars = adopted(&packet(&pairs), VarsBuilder::MAX_BLOCK_BYTES).unwrap();
            let mut names: Vec<_> = vars.iter().map(|(name, _)| name).collect();
            prop_assert!(names.iter().all(|name| !name.starts_with(b"UWSGI_")));
            let all = names.len();
            names.sort();
            names.dedup();
            prop_assert_eq!(names.len(), all);
        }
    }
}
