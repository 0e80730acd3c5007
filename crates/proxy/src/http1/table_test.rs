//! Raw messages and what becomes of them: the statuses of the answers, and whether the connection stays open.
//!
//! The lines of the table are kept on one line each.

use bytes::BytesMut;
use std::time::Instant;

use super::parse::parse_head;
use super::responder_test::Server;
use super::scan::{HeadLimits, HeadScan};

/// Behind every message: it is answered where the connection stays open.
const PROBE: &[u8] = b"GET /close HTTP/1.1\r\nHost: probe\r\n\r\n";

/// What a message is for, its bytes, the statuses of the answers, and whether the connection stays open.
type Row = (&'static str, &'static [u8], &'static [u16], bool);

#[rustfmt::skip]
const TABLE: &[Row] = &[
    ("a plain request", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", &[200], true),
    ("1.0 without Host", b"GET / HTTP/1.0\r\n\r\n", &[200], false),
    ("1.0 that asks to stay", b"GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n", &[200], true),
    ("1.0 that asks to stay, in capitals", b"GET / HTTP/1.0\r\nHost: a\r\nCONNECTION: Keep-Alive\r\n\r\n", &[200], true),
    ("1.0 that asks for both", b"GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive, close\r\n\r\n", &[200], false),
    ("1.1 that asks to close", b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", &[200], false),
    ("close among other options", b"GET / HTTP/1.1\r\nHost: a\r\nConnection: foo, Close ,bar\r\n\r\n", &[200], false),
    ("close in a second field", b"GET / HTTP/1.1\r\nHost: a\r\nConnection: foo\r\nConnection: close\r\n\r\n", &[200], false),
    ("two requests at once", b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", &[200, 200], true),
    ("an empty line in front", b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", &[200], true),
    ("an empty line between", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", &[200, 200], true),
    ("two empty lines in front", b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", &[400], false),
    ("an empty line of a bare LF", b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", &[400], false),
    ("an empty line of a bare CR", b"\rGET / HTTP/1.1\r\nHost: a\r\n\r\n", &[400], false),
    ("HEAD", b"HEAD /echo HTTP/1.1\r\nHost: a\r\n\r\n", &[200], true),
    ("a method of its own", b"BREW / HTTP/1.1\r\nHost: a\r\n\r\n", &[200], true),
    ("a method in small letters", b"get / HTTP/1.1\r\nHost: a\r\n\r\n", &[200], true),
    ("a field without a value", b"GET / HTTP/1.1\r\nHost: a\r\nX-A:\r\n\r\n", &[200], true),
    ("blanks around a value", b"GET / HTTP/1.1\r\nHost: a\r\nX-A: \t b \t\r\n\r\n", &[200], true),
    ("a tab within a value", b"GET / HTTP/1.1\r\nHost: a\r\nX-A: b\tc\r\n\r\n", &[200], true),
    ("bytes above ASCII in a value", b"GET / HTTP/1.1\r\nHost: a\r\nX-A: \xff\x80\r\n\r\n", &[200], true),
    ("every mark that a token may have", b"GET / HTTP/1.1\r\nHost: a\r\n!#$%&'*+-.^_`|~: b\r\n\r\n", &[200], true),
    ("Host in capitals with a port", b"GET / HTTP/1.1\r\nHOST: EXAMPLE.org:8080\r\n\r\n", &[200], true),
    ("Host with an IPv6 address", b"GET / HTTP/1.1\r\nHost: [2001:db8::1]:80\r\n\r\n", &[200], true),
    ("a target with marks", b"GET /a;b=c/%20%zz//..?q='\"|{}<>[]^`\\ HTTP/1.1\r\nHost: a\r\n\r\n", &[200], true),
    ("an absolute target", b"GET http://b.example/x HTTP/1.1\r\nHost: a\r\n\r\n", &[200], true),
    ("an absolute target of https in capitals", b"GET HTTPS://B HTTP/1.1\r\nHost: a\r\n\r\n", &[200], true),
    ("an asterisk for OPTIONS", b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", &[200], true),
    ("a body by length", b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", &[200], true),
    ("a body of no bytes", b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", &[200], true),
    ("a length with zeros in front", b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 0003\r\n\r\nabc", &[200], true),
    ("GET with a body", b"GET /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", &[200], true),
    ("a body that nobody reads", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", &[200], true),
    ("a chunked body", b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", &[200], true),
    ("a chunked body that nobody reads", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", &[200], true),
    ("Chunked in capitals", b"POST /echo HTTP/1.1\r\nHost: a\r\ntransfer-encoding:\tCHUNKED \r\n\r\n0\r\n\r\n", &[200], true),
    ("chunks with extensions", b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;a;b=c;d=\"e f\"\r\nabc\r\n0;z\r\n\r\n", &[200], true),
    ("chunks with trailers", b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n00\r\nX-A: b\r\nContent-Length: 9\r\n\r\n", &[200], true),
    ("a body that waits for 100", b"POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc", &[200], true),
    ("100-continue without a body", b"GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\n\r\n", &[200], true),
    ("another expectation", b"GET / HTTP/1.1\r\nHost: a\r\nExpect: tea\r\n\r\n", &[417], false),
    ("too large a body", b"POST /limited HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\nabcdefghijk", &[413], false),
    ("too large a chunk", b"POST /limited HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nb\r\nabcdefghijk\r\n0\r\n\r\n", &[413], false),
    ("chunked: no size", b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\r\n", &[400], false),
    ("chunked: a size in other letters", b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\ng\r\na\r\n0\r\n\r\n", &[400], false),
    ("chunked: a size with a sign", b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n+1\r\na\r\n0\r\n\r\n", &[400], false),
    ("chunked: a size with 0x", b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0x1\r\na\r\n0\r\n\r\n", &[400], false),
    ("chunked: a blank before the size", b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n 1\r\na\r\n0\r\n\r\n", &[400], false),
    ("chunked: a blank behind the size", b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1 \r\na\r\n0\r\n\r\n", &[400], false),
    ("chunked: a size that overflows", b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000001\r\na\r\n0\r\n\r\n", &[400], false),
    ("chunked: a size line with a bare LF", b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\na\r\n0\r\n\r\n", &[400], false),
    ("chunked: a size line with a bare CR", b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\ra\r\n0\r\n\r\n", &[400], false),
    ("chunked: a chunk that is longer than its size", b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n", &[400], false),
    ("chunked: a chunk that ends with a bare LF", b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\n0\r\n\r\n", &[400], false),
    ("chunked: an extension without a name", b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;\r\na\r\n0\r\n\r\n", &[400], false),
    ("chunked: a control character in an extension", b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;a=\x01\r\na\r\n0\r\n\r\n", &[400], false),
    ("chunked: a bare LF in an extension", b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;a\nb\r\na\r\n0\r\n\r\n", &[400], false),
    ("chunked: a trailer without a colon", b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nabc\r\n\r\n", &[400], false),
    ("chunked: a folded trailer", b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\na: b\r\n c\r\n\r\n", &[400], false),
    ("chunked: a trailer with NUL", b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\na: \0\r\n\r\n", &[400], false),
    ("both framings", b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nabc", &[400], false),
    ("both framings, the other way", b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\nabc", &[400], false),
    ("two lengths", b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc", &[400], false),
    ("the same length twice", b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc", &[400], false),
    ("a list of lengths", b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3, 3\r\n\r\nabc", &[400], false),
    ("a length with a sign", b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\nabc", &[400], false),
    ("a negative length", b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: -3\r\n\r\nabc", &[400], false),
    ("a hexadecimal length", b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 0x3\r\n\r\nabc", &[400], false),
    ("a length of letters", b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: abc\r\n\r\nabc", &[400], false),
    ("an empty length", b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\nabc", &[400], false),
    ("a length that overflows", b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551616\r\n\r\nabc", &[400], false),
    ("an unknown coding", b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\nabc", &[501], false),
    ("an unknown coding before chunked", b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\nabc", &[501], false),
    ("a misspelt coding", b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\nabc", &[501], false),
    ("identity", b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\nabc", &[501], false),
    ("chunked that is not last", b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\nabc", &[400], false),
    ("chunked twice", b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\nabc", &[400], false),
    ("chunked in two fields", b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\nabc", &[400], false),
    ("chunked with a parameter", b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked;q=1\r\n\r\nabc", &[400], false),
    ("chunked in quotes", b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \"chunked\"\r\n\r\nabc", &[400], false),
    ("an empty coding", b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\nabc", &[400], false),
    ("chunked behind a vertical tab", b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\nabc", &[400], false),
    ("a coding with a blank before its colon", b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\nabc", &[400], false),
    ("chunked in 1.0", b"POST /echo HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", &[400], false),
    ("no version", b"GET /\r\nHost: a\r\n\r\n", &[400], false),
    ("nothing but a method", b"GET\r\nHost: a\r\n\r\n", &[400], false),
    ("two blanks before the target", b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", &[400], false),
    ("two blanks behind the target", b"GET /  HTTP/1.1\r\nHost: a\r\n\r\n", &[400], false),
    ("a tab for a blank", b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", &[400], false),
    ("a blank in front", b" GET / HTTP/1.1\r\nHost: a\r\n\r\n", &[400], false),
    ("a blank at the end", b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n", &[400], false),
    ("a blank in the target", b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", &[400], false),
    ("a method with a bracket", b"G(T / HTTP/1.1\r\nHost: a\r\n\r\n", &[400], false),
    ("a method with bytes above ASCII", b"G\xc3\x89T / HTTP/1.1\r\nHost: a\r\n\r\n", &[400], false),
    ("HTTP/2.0", b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", &[505], false),
    ("HTTP/1.2", b"GET / HTTP/1.2\r\nHost: a\r\n\r\n", &[505], false),
    ("HTTP/0.9", b"GET / HTTP/0.9\r\nHost: a\r\n\r\n", &[505], false),
    ("a version of two digits", b"GET / HTTP/1.10\r\nHost: a\r\n\r\n", &[400], false),
    ("a version in small letters", b"GET / http/1.1\r\nHost: a\r\n\r\n", &[400], false),
    ("another protocol", b"GET / ICAP/1.0\r\nHost: a\r\n\r\n", &[400], false),
    ("a target without a slash", b"GET x HTTP/1.1\r\nHost: a\r\n\r\n", &[400], false),
    ("an asterisk for GET", b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", &[400], false),
    ("another scheme", b"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", &[400], false),
    ("a fragment", b"GET /#x HTTP/1.1\r\nHost: a\r\n\r\n", &[400], false),
    ("bytes above ASCII in the target", b"GET /\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n", &[400], false),
    ("NUL in the target", b"GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", &[400], false),
    ("DEL in the target", b"GET /\x7f HTTP/1.1\r\nHost: a\r\n\r\n", &[400], false),
    ("CONNECT", b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n", &[501], false),
    ("an absolute target without a host", b"GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n", &[400], false),
    ("a user in an absolute target", b"GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n", &[400], false),
    ("the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &[505], false),
    ("a TLS greeting", b"\x16\x03\x01\x02\0\x01\0", &[400], false),
    ("a blank before the colon", b"GET / HTTP/1.1\r\nHost: a\r\nX-A : b\r\n\r\n", &[400], false),
    ("a tab before the colon", b"GET / HTTP/1.1\r\nHost: a\r\nX-A\t: b\r\n\r\n", &[400], false),
    ("a line without a colon", b"GET / HTTP/1.1\r\nHost: a\r\nX-A\r\n\r\n", &[400], false),
    ("a field without a name", b"GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n", &[400], false),
    ("a name with a blank", b"GET / HTTP/1.1\r\nHost: a\r\nX A: b\r\n\r\n", &[400], false),
    ("a name with a bracket", b"GET / HTTP/1.1\r\nHost: a\r\nX(A: b\r\n\r\n", &[400], false),
    ("a name with bytes above ASCII", b"GET / HTTP/1.1\r\nHost: a\r\nX-\xc3\xa9: b\r\n\r\n", &[400], false),
    ("a folded line", b"GET / HTTP/1.1\r\nHost: a\r\nX-A: b\r\n c\r\n\r\n", &[400], false),
    ("a folded line with a tab", b"GET / HTTP/1.1\r\nHost: a\r\nX-A: b\r\n\tc\r\n\r\n", &[400], false),
    ("a bare LF behind a field", b"GET / HTTP/1.1\r\nHost: a\r\nX-A: b\nX-B: c\r\n\r\n", &[400], false),
    ("a bare CR in a value", b"GET / HTTP/1.1\r\nHost: a\r\nX-A: b\rX-B: c\r\n\r\n", &[400], false),
    ("two CRs", b"GET / HTTP/1.1\r\nHost: a\r\nX-A: b\r\r\n\r\n", &[400], false),
    ("NUL in a value", b"GET / HTTP/1.1\r\nHost: a\r\nX-A: b\0c\r\n\r\n", &[400], false),
    ("NUL in a name", b"GET / HTTP/1.1\r\nHost: a\r\nX\0A: b\r\n\r\n", &[400], false),
    ("a control character in a value", b"GET / HTTP/1.1\r\nHost: a\r\nX-A: \x01\r\n\r\n", &[400], false),
    ("DEL in a value", b"GET / HTTP/1.1\r\nHost: a\r\nX-A: \x7f\r\n\r\n", &[400], false),
    ("two Hosts", b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", &[400], false),
    ("another Host", b"GET / HTTP/1.1\r\nHost: a\r\nhOST: b\r\n\r\n", &[400], false),
    ("a bare LF behind the request line", b"GET / HTTP/1.1\nHost: a\r\n\r\n", &[400], false),
    ("bare LFs throughout", b"GET / HTTP/1.1\nHost: a\n\n", &[400], false),
    ("a blank before the first field", b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", &[400], false),
    ("no Host", b"GET / HTTP/1.1\r\n\r\n", &[400], false),
    ("no Host beside an absolute target", b"GET http://a/ HTTP/1.1\r\n\r\n", &[400], false),
    ("an empty Host", b"GET / HTTP/1.1\r\nHost: \r\n\r\n", &[400], false),
    ("Host with a blank", b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", &[400], false),
    ("Host with a list", b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", &[400], false),
    ("Host with a path", b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", &[400], false),
    ("Host with a user", b"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", &[400], false),
    ("Host with two ports", b"GET / HTTP/1.1\r\nHost: a:1:2\r\n\r\n", &[400], false),
    ("Host with too large a port", b"GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n", &[400], false),
    ("Host with a port of letters", b"GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", &[400], false),
    ("Host with an open bracket", b"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", &[400], false),
    ("Host with bytes above ASCII", b"GET / HTTP/1.1\r\nHost: \xc3\xa9\r\n\r\n", &[400], false),
];

/// The statuses of the answers that stand in `answers`; 100 Continue is none.
fn statuses(mut answers: &str) -> Vec<u16> {
    let mut statuses = Vec::new();
    while !answers.is_empty() {
        let (head, rest) = answers.split_once("\r\n\r\n").unwrap();
        let status = head["HTTP/1.1 ".len()..][..3].parse().unwrap();
        let size = head
            .lines()
            .find_map(|line| line.strip_prefix("Content-Length: "))
            .map_or(0, |size| size.parse().unwrap());
        answers = &rest[size..];
        if status != 100 {
            statuses.push(status);
        }
    }
    statuses
}

#[tokio::test]
async fn every_message_of_the_table_gets_its_answers() {
    assert!(TABLE.len() >= 80, "{}", TABLE.len());
    let server = Server::start();
    for (name, message, expected, stays_open) in TABLE {
        let answers = server.ask([*message, PROBE].concat()).await;
        let mut expected = expected.to_vec();
        if *stays_open {
            expected.push(200);
        }
        assert_eq!(statuses(&answers), expected, "{name}: {answers}");
        assert_eq!(answers.matches("Connection: close\r\n").count(), 1, "{name}: {answers}");
    }
}

#[tokio::test]
async fn limits_of_the_head_have_their_statuses() {
    let server = Server::start();
    let target = |size| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(size));
    let value = |size| format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(size));
    let fields = |count| format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(count));
    for (message, status) in [
        (target(1023), 200),
        (target(1024), 414),
        (target(10_000), 414),
        (value(8000), 200),
        (value(8192), 431),
        (fields(127), 200),
        (fields(128), 431),
    ] {
        let answers = server.ask(&message).await;
        assert_eq!(statuses(&answers), [status], "{} bytes", message.len());
    }
}

/// What the parser says of a message that comes in these steps.
fn verdict(message: &[u8], ends: impl IntoIterator<Item = usize>) -> String {
    let limits = HeadLimits { head_bytes: 8192, target_bytes: 1024 };
    let mut scan = HeadScan::default();
    for end in ends {
        match scan.advance(&message[..end], limits) {
            Ok(None) => {}
            Ok(Some(size)) => {
                let parsed = parse_head(BytesMut::from(&message[..size]), limits, Instant::now());
                return format!("{:?}", parsed.map(|parsed| (parsed.head.headers, parsed.fields)));
            }
            Err(refusal) => return format!("{refusal:?}"),
        }
    }
    "incomplete".to_owned()
}

#[test]
fn every_message_is_judged_the_same_however_it_is_split() {
    for (name, message, ..) in TABLE {
        let whole = verdict(message, [message.len()]);
        assert_eq!(verdict(message, 0..=message.len()), whole, "{name}: byte by byte");
        for at in 0..message.len() {
            assert_eq!(verdict(message, [at, message.len()]), whole, "{name}: split at {at}");
        }
    }
}
