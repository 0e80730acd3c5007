//! The applications of `fixtures/apps/conformance`, what is asked of them, and what must come back.

use super::answer::Answer;
use super::ask::Ask;

/// One application and one request.
pub(super) struct Row {
    pub(super) ask: Ask,
    pub(super) expected: Expected,
    /// Whether `wsgiref.validate` has nothing against the application.
    pub(super) is_valid: bool,
    /// Whether the framing may depend on when the pieces of the body come.
    pub(super) is_streamed: bool,
}

/// What must come back.
pub(super) enum Expected {
    /// A status and a body.
    Whole(u16, &'static str),
    /// A body of so many bytes.
    Size(usize),
    /// Status 200 and a body with these lines.
    Lines(&'static [&'static str]),
    /// The page of a 500.
    Failed,
    /// A head of status 200, and a body that ends early.
    Cut(&'static str),
}

use Expected::{Cut, Failed, Lines, Size, Whole};

impl Expected {
    /// Whether the application broke a rule.
    pub(super) fn is_a_failure(&self) -> bool {
        matches!(self, Failed | Cut(_))
    }

    pub(super) fn check(&self, answer: &Answer, what: &str) {
        let text = answer.text();
        let seen = (answer.status, text.as_str());
        match self {
            Whole(status, body) => assert_eq!(seen, (*status, *body), "{what}"),
            Size(size) => assert_eq!((answer.status, answer.body.len()), (200, *size), "{what}"),
            Lines(lines) => {
                assert_eq!(answer.status, 200, "{what}: {text}");
                for line in *lines {
                    assert!(text.split('\n').any(|seen| seen == *line), "{what}: {line} in {text}");
                }
                for name in NEVER {
                    assert!(!text.contains(name), "{what}: {name} in {text}");
                }
            }
            Failed => {
                assert_eq!(answer.status, 500, "{what}: {text}");
                assert!(text.contains("The application failed to answer"), "{what}: {text}");
            }
            Cut(body) => assert_eq!(seen, (200, *body), "{what}"),
        }
        let is_cut = matches!(self, Cut(_));
        assert_ne!(answer.complete, Some(is_cut), "{what}: {answer:?}");
    }
}

/// What a valid application answers.
fn valid(ask: Ask, expected: Expected) -> Row {
    Row { ask, expected, is_valid: true, is_streamed: false }
}

/// What the checker objects to and we serve.
fn odd(ask: Ask, expected: Expected) -> Row {
    Row { is_valid: false, ..valid(ask, expected) }
}

/// A valid application whose body comes in pieces and announces no length.
fn streamed(ask: Ask, expected: Expected) -> Row {
    Row { is_streamed: true, ..valid(ask, expected) }
}

/// A body that ends early.
fn cut(app: &str, body: &'static str) -> Row {
    Row { is_streamed: true, ..odd(Ask::get(app), Cut(body)) }
}

pub(super) fn rows() -> Vec<Row> {
    let failed = |app: &&str| odd(Ask::get(app), Failed);
    [heads(), bodies(), inputs(), files()]
        .into_iter()
        .flatten()
        .chain(FAILED.iter().map(failed))
        .collect()
}

/// Applications that break a rule before anything was sent.
const FAILED: &[&str] = &[
    "heads/odd",
    "heads/two_digits",
    "heads/no_space",
    "heads/no_reason",
    "heads/letters",
    "heads/interim",
    "heads/upgrade",
    "heads/bytes_status",
    "heads/line_feed",
    "heads/control",
    "heads/null",
    "heads/wide",
    "heads/bytes_value",
    "heads/number_value",
    "heads/bad_name",
    "heads/empty_name",
    "heads/connection",
    "heads/chunked",
    "heads/bad_length",
    "heads/two_lengths",
    "heads/tuple_of_headers",
    "heads/list_pair",
    "heads/triple",
    "heads/no_headers",
    "heads/twice",
    "bodies/too_short_nothing",
    "bodies/text",
    "bodies/bytearrays",
    "bodies/nothing",
    "bodies/number",
    "bodies/bare_text",
    "bodies/writes_text",
    "bodies/silent",
    "bodies/says_nothing",
    "bodies/raises",
    "bodies/raises_before_its_body",
    "bodies/exits",
    "bodies/interrupted",
    "files/text",
    "files/number",
];

fn heads() -> Vec<Row> {
    vec![
        valid(Ask::get("heads/own_reason"), Whole(299, "ok")),
        valid(Ask::get("heads/no_reason_text"), Whole(299, "ok")),
        valid(Ask::get("heads/latin"), Whole(200, "ok")),
        valid(Ask::get("heads/cookies"), Whole(200, "ok")),
        valid(Ask::get("heads/no_content"), Whole(204, "")),
        valid(Ask::get("heads/not_modified"), Whole(304, "")),
        valid(Ask::get("heads/replaced"), Whole(404, "nothing here")),
        valid(Ask::head("heads/replaced"), Whole(404, "")),
        streamed(Ask::get("heads/late"), Whole(503, "sorry")),
        cut("heads/after_the_head", "half"),
    ]
}

fn bodies() -> Vec<Row> {
    vec![
        valid(Ask::get("bodies/whole"), Whole(200, "whole")),
        valid(Ask::head("bodies/whole"), Whole(200, "")),
        streamed(Ask::get("bodies/pair"), Whole(200, "one, two")),
        valid(Ask::get("bodies/empty"), Whole(200, "")),
        valid(Ask::head("bodies/empty"), Whole(200, "")),
        valid(Ask::get("bodies/empty_blocks"), Whole(200, "")),
        streamed(Ask::get("bodies/stream"), Whole(200, "one, two")),
        valid(Ask::head("bodies/stream"), Whole(200, "")),
        valid(Ask::get("bodies/announced"), Whole(200, "one, two")),
        valid(Ask::head("bodies/announced"), Whole(200, "")),
        valid(Ask::get("bodies/large"), Size(2_000_000)),
        streamed(Ask::get("bodies/large_stream"), Size(1_000_000)),
        streamed(Ask::get("bodies/writes"), Whole(200, "written, returned")),
        odd(Ask::get("bodies/bare"), Whole(200, "bare")),
        odd(Ask::get("bodies/too_long"), Whole(200, "123")),
        odd(Ask::get("bodies/too_long_blocks"), Whole(200, "abc")),
        streamed(Ask::get("bodies/closes/whole"), Whole(200, "ab")),
        valid(Ask::head("bodies/closes/whole"), Whole(200, "")),
        odd(Ask::get("bodies/closes/text"), Failed),
        odd(Ask::get("bodies/closes/silent"), Failed),
        cut("bodies/closes/raises", "a"),
        valid(Ask::get("bodies/fails_to_close"), Whole(200, "ab")),
        valid(Ask::get("bodies/closes/made-and-closed"), Whole(200, "as often")),
        cut("bodies/too_short", "123"),
        cut("bodies/too_short_blocks", "123"),
        cut("bodies/raises_late", "half"),
        cut("bodies/exits_late", "half"),
        cut("bodies/interrupted_late", "half"),
        cut("bodies/text_late", "half"),
    ]
}

fn inputs() -> Vec<Row> {
    let text = "one\ntwo\nthree";
    vec![
        valid(
            Ask::get("inputs/environ/caf%C3%A9%20%2F;x=1?a=%20b&c").with("X-Latin", b"\xe9"),
            Lines(SEEN),
        ),
        valid(Ask::post("inputs/environ", "abc").in_chunks(), Lines(SEEN_OF_CHUNKS)),
        valid(
            Ask::get("inputs/environ")
                .with("Cookie", b"a=1")
                .with("Accept", b"x/y")
                .with("Cookie", b"b=2")
                .with("Accept", b"z/*")
                .with("X_Forged", b"1")
                .with("Proxy", b"http://evil")
                .with("Upgrade", b"websocket")
                .with("Expect", b"100-continue"),
            Lines(SEEN_OF_FIELDS),
        ),
        valid(
            Ask { method: "BREW", ..Ask::get("inputs/environ") },
            Lines(&["REQUEST_METHOD=BREW"]),
        ),
        valid(
            Ask { method: "OPTIONS", ..Ask::get("inputs/environ") },
            Lines(&["REQUEST_METHOD=OPTIONS"]),
        ),
        valid(
            Ask::post("inputs/echo", "Grüße\r\n\0"),
            Whole(200, "Gr\u{c3}\u{bc}\u{c3}\u{9f}e\r\n\0"),
        ),
        valid(Ask::post("inputs/echo", vec![b'e'; 300_000]), Size(300_000)),
        valid(Ask::post("inputs/echo", vec![b'c'; 300_000]).in_chunks(), Size(300_000)),
        valid(Ask::post("inputs/pieces", vec![b'p'; 5_500]), Size(5_500)),
        valid(Ask::post("inputs/beyond", text), Whole(200, "13 0")),
        valid(Ask::post("inputs/lines", text), Whole(200, "one\n|two\n|three")),
        valid(Ask::post("inputs/some_lines", text), Whole(200, "one\n|two|\n")),
        valid(Ask::post("inputs/all_lines", text), Whole(200, "one\n|two\n|three")),
        valid(Ask::post("inputs/unread", vec![b'u'; 200_000]), Whole(200, "200000")),
        valid(Ask::get("inputs/echo"), Whole(200, "")),
        valid(Ask::post("inputs/complains", ""), Whole(200, "complained")),
    ]
}

const SEEN: &[&str] = &[
    "REQUEST_METHOD=GET",
    "SCRIPT_NAME=/inputs/environ",
    "PATH_INFO=/caf\u{c3}\u{a9} /;x=1",
    "QUERY_STRING=a=%20b&c",
    "REQUEST_URI=/inputs/environ/caf%C3%A9%20%2F;x=1?a=%20b&c",
    "RAW_URI=/inputs/environ/caf%C3%A9%20%2F;x=1?a=%20b&c",
    "SERVER_NAME=localhost",
    "SERVER_PORT=8080",
    "SERVER_PROTOCOL=HTTP/1",
    "REMOTE_ADDR=127.0.0.1",
    "REMOTE_PORT=given",
    "REQUEST_ID=given",
    "HTTP_HOST=localhost:8080",
    "HTTP_X_LATIN=\u{e9}",
    "wsgi.version=(1, 0)",
    "wsgi.url_scheme=http",
    "wsgi.multithread=True",
    "wsgi.multiprocess=False",
    "wsgi.run_once=False",
    "wsgi.input_terminated=True",
];

/// Variables that no application sees, and beginnings of such.
const NEVER: &[&str] = &[
    "HTTP_CONTENT_",
    "HTTP_TRANSFER_ENCODING",
    "HTTP_PROXY",
    "FORGED",
    "HTTP_CONNECTION",
    "HTTP_UPGRADE",
    "HTTP_EXPECT",
    "TRAILER",
    "UWSGI_",
];

/// Without a Transfer-Encoding, and with the length of what was sent.
const SEEN_OF_CHUNKS: &[&str] = &[
    "CONTENT_LENGTH=3",
    "CONTENT_TYPE=text/x-test",
    "HTTP_HOST=localhost:8080",
    "PATH_INFO=",
    "QUERY_STRING=",
    "RAW_URI=/inputs/environ",
];

const SEEN_OF_FIELDS: &[&str] =
    &["HTTP_ACCEPT=x/y, z/*", "HTTP_COOKIE=a=1; b=2", "HTTP_HOST=localhost:8080"];

fn files() -> Vec<Row> {
    vec![
        streamed(Ask::get("files/whole"), Size(300_000)),
        valid(Ask::head("files/whole"), Whole(200, "")),
        valid(Ask::get("files/announced"), Size(300_000)),
        valid(Ask::head("files/announced"), Whole(200, "")),
        streamed(Ask::get("files/position"), Whole(200, "56789")),
        valid(Ask::get("files/part"), Whole(206, "5678901234")),
        valid(Ask::head("files/part"), Whole(206, "")),
        streamed(Ask::get("files/memory"), Whole(200, "in memory")),
        streamed(Ask::get("files/readable"), Whole(200, "only read")),
        valid(Ask::get("files/nothing"), Whole(200, "")),
        streamed(Ask::get("files/opened"), Whole(200, "3456789")),
        streamed(Ask::get("files/unpacked"), Whole(200, "unpacked")),
        streamed(Ask::get("files/pipe"), Whole(200, "through a pipe")),
        streamed(Ask::get("files/changed"), Whole(200, "ABC")),
        cut("files/too_short", "123"),
    ]
}
