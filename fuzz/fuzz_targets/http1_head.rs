//! Any bytes as a request: the parser never panics, and what it accepts keeps its promises.

#![no_main]

use libfuzzer_sys::fuzz_target;
use onebox_proxy::parse_request_head;

fuzz_target!(|bytes: &[u8]| {
    let Some((size, path, host)) = parse_request_head(bytes) else { return };
    let head = &bytes[..size];
    assert!(head.ends_with(b"\r\n\r\n"));
    let line_feeds = head.iter().filter(|byte| **byte == b'\n').count();
    let line_ends = head.windows(2).filter(|pair| *pair == b"\r\n").count();
    assert_eq!(line_feeds, line_ends, "a bare line feed was accepted");
    assert!(path.starts_with(b"/") || path == b"*");
    assert!(path.iter().all(u8::is_ascii_graphic));
    if let Some(host) = host {
        assert!(!host.is_empty() && !host.bytes().any(|byte| byte.is_ascii_uppercase()));
    }
    // What stands behind the head changes nothing.
    assert_eq!(parse_request_head(head).map(|(size, ..)| size), Some(size));
});
