//! Messages that are too long or too many to be written down.

use super::Row;

/// Every method of the registry that is not refused and not used elsewhere, WebDAV's and CalDAV's too (RFC 9110 §9, RFC 4918, RFC 4791).
const METHODS: [&str; 17] = [
    "PUT",
    "DELETE",
    "OPTIONS",
    "PATCH",
    "PROPFIND",
    "PROPPATCH",
    "MKCOL",
    "COPY",
    "MOVE",
    "LOCK",
    "UNLOCK",
    "REPORT",
    "MKCALENDAR",
    "ACL",
    "SEARCH",
    "VERSION-CONTROL",
    "!#$%&'*+-.^_`|~09az",
];

/// The rows.
pub(super) fn rows() -> Vec<Row> {
    let mut rows: Vec<Row> = METHODS.iter().map(|method| method_row(method)).collect();
    rows.extend(limits());
    rows.push(Row {
        name: "fifty requests at once".into(),
        message: b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(50),
        answers: vec![200; 50],
        stays_open: true,
    });
    let many_chunks = [
        b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec(),
        b"1;a=b\r\nx\r\n".repeat(500),
        b"0\r\n\r\n".to_vec(),
    ];
    rows.push(Row {
        name: "five hundred chunks with extensions".into(),
        message: many_chunks.concat(),
        answers: vec![200],
        stays_open: true,
    });
    rows
}

fn method_row(method: &str) -> Row {
    Row {
        name: format!("the method {method}"),
        message: format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes(),
        answers: vec![200],
        stays_open: true,
    }
}

/// Long targets, fields and heads on both sides of the limits of these tests: 1 KiB, 8 KiB and 128 fields.
fn limits() -> Vec<Row> {
    let target = |size| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(size));
    let method = |size| format!("{} / HTTP/1.1\r\nHost: a\r\n\r\n", "X".repeat(size));
    let value = |size| format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(size));
    let name = |size| format!("GET / HTTP/1.1\r\nHost: a\r\n{}: y\r\n\r\n", "x".repeat(size));
    let host = |size| format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", "x".repeat(size));
    let fields = |count| format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(count));
    let chunked = "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let extension = |size| format!("{chunked}1;{}\r\na\r\n0\r\n\r\n", "e".repeat(size));
    let trailer = |size| format!("{chunked}0\r\nX: {}\r\n\r\n", "t".repeat(size));
    [
        ("a target of 1000 bytes", target(999), 200),
        ("a target of 1025 bytes", target(1024), 414),
        ("a target of 20 kB", target(20_000), 414),
        ("a method of 2 kB", method(2_000), 414),
        ("a value of 7 kB", value(7_000), 200),
        ("a value of 8 KiB", value(8_192), 431),
        ("a value of 100 kB", value(100_000), 431),
        ("a name of 9 kB", name(9_000), 431),
        ("a Host of 9 kB", host(9_000), 431),
        ("127 fields", fields(126), 200),
        ("129 fields", fields(128), 431),
        ("10000 fields", fields(10_000), 431),
        ("an extension of 500 bytes", extension(500), 200),
        ("an extension of 2 kB", extension(2_000), 400),
        ("a trailer of 10 kB", trailer(10_000), 200),
        ("a trailer of 20 kB", trailer(20_000), 400),
    ]
    .into_iter()
    .map(|(name, message, status)| Row {
        name: name.into(),
        message: message.into_bytes(),
        answers: vec![status],
        stays_open: status == 200,
    })
    .collect()
}
