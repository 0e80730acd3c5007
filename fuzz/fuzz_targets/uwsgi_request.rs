//! Any bytes from a web server in front: refused, or variables that keep what applications are promised.

#![no_main]

use std::collections::HashSet;

use libfuzzer_sys::fuzz_target;
use onebox_proxy::take_uwsgi_request;

const BUFFER_BYTES: usize = 4096;
/// PEP 3333 wants them to be there, or applications rely on them.
const ALWAYS: [&[u8]; 9] = [
    b"REQUEST_METHOD",
    b"SCRIPT_NAME",
    b"PATH_INFO",
    b"QUERY_STRING",
    b"REQUEST_URI",
    b"SERVER_NAME",
    b"SERVER_PORT",
    b"SERVER_PROTOCOL",
    b"REQUEST_ID",
];
const NEVER: [&[u8]; 5] = [
    b"HTTP_PROXY",
    b"HTTP_CONTENT_LENGTH",
    b"HTTP_CONTENT_TYPE",
    b"HTTP_TRANSFER_ENCODING",
    b"HTTP_CONNECTION",
];

fuzz_target!(|bytes: &[u8]| {
    let Some((size, vars)) = take_uwsgi_request(bytes, BUFFER_BYTES) else { return };
    assert!(vars.as_bytes().len() <= BUFFER_BYTES);
    let mut names = HashSet::new();
    for (name, _) in vars.iter() {
        assert!(names.insert(name), "a variable comes twice");
        assert!(!name.starts_with(b"UWSGI_") && !name.starts_with(b"wsgi."));
    }
    for name in ALWAYS {
        assert!(names.contains(name), "{} is missing", name.escape_ascii());
    }
    for name in NEVER {
        assert!(!names.contains(name), "{} was passed on", name.escape_ascii());
    }
    let method = vars.get(b"REQUEST_METHOD").unwrap_or_default();
    assert!(!method.is_empty() && method.iter().all(|byte| byte.is_ascii_graphic()));
    let path = vars.get(b"PATH_INFO").unwrap_or_default();
    assert!(matches!(path, [] | [b'/', ..]) && !path.contains(&0));
    assert!(matches!(vars.get(b"REQUEST_SCHEME"), Some(b"http" | b"https")));
    if let Some(length) = vars.get(b"CONTENT_LENGTH") {
        assert!(!length.is_empty() && length.iter().all(u8::is_ascii_digit));
    }
    // What stands behind the packet changes nothing.
    assert_eq!(take_uwsgi_request(&bytes[..size], BUFFER_BYTES).map(|(size, _)| size), Some(size));
});
