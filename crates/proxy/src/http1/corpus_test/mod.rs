//! Raw messages and what becomes of them: the statuses of the answers, and whether the connection stays open.

mod accepted;
mod made;
mod nginx;
mod refused;

use std::time::Instant;

use bytes::BytesMut;

use super::parse::parse_head;
use super::responder_test::Server;
use super::scan::{HeadLimits, HeadScan};

/// Behind every message: it is answered where the connection stays open.
const PROBE: &[u8] = b"GET /close HTTP/1.1\r\nHost: probe\r\n\r\n";

/// What a message is for, its bytes, the statuses of the answers, and whether the connection stays open.
type Line = (&'static str, &'static [u8], &'static [u16], bool);

/// Messages that end too early: what is answered to them when the client has closed its side. Nothing stands behind them.
#[rustfmt::skip]
const UNFINISHED: &[(&str, &[u8], &[u16])] = &[
    ("nothing at all", b"", &[]),
    ("half a request line", b"GET / HT", &[]),
    ("half a head", b"GET / HTTP/1.1\r\nHost: a\r\n", &[]),
    ("half a head behind a request", b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHo", &[200]),
    ("half a body", b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc", &[400]),
    ("half a chunk", b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nabc", &[400]),
    ("chunks without the last one", b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n", &[400]),
    ("a last chunk without its end", b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", &[400]),
    ("half of a body that nobody reads", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc", &[200]),
    ("a whole request", b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", &[200]),
];

/// A message that is followed by [`PROBE`].
struct Row {
    name: String,
    message: Vec<u8>,
    answers: Vec<u16>,
    stays_open: bool,
}

fn rows() -> Vec<Row> {
    let lines = accepted::ACCEPTED.iter().chain(refused::REFUSED);
    let written = lines.map(|&(name, message, answers, stays_open)| Row {
        name: name.into(),
        message: message.to_vec(),
        answers: answers.to_vec(),
        stays_open,
    });
    written.chain(made::rows()).collect()
}

/// The statuses of the answers that stand in `answers`; 100 Continue is none.
fn statuses(answers: &str) -> Vec<u16> {
    answers
        .split("HTTP/1.1 ")
        .skip(1)
        .filter_map(|answer| answer.get(..3)?.parse().ok())
        .filter(|status| *status != 100)
        .collect()
}

#[tokio::test]
async fn every_message_of_the_corpus_gets_its_answers() {
    let rows = rows();
    assert!(rows.len() + UNFINISHED.len() >= 200, "{}", rows.len());
    let server = Server::start();
    let mut wrong = Vec::new();
    for Row { name, message, answers: mut expected, stays_open } in rows {
        let answers = server.ask([&message, PROBE].concat()).await;
        if stays_open {
            expected.push(200);
        }
        let closed = answers.matches("Connection: close\r\n").count();
        if statuses(&answers) != expected || closed != 1 {
            wrong.push(format!("{name}: not {expected:?} but {answers}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn a_client_that_closes_its_side_early_gets_what_is_due_and_no_more() {
    let server = Server::start();
    for (name, message, expected) in UNFINISHED {
        let answers = server.ask(message).await;
        assert_eq!(statuses(&answers), *expected, "{name}: {answers}");
    }
}

#[test]
fn no_two_messages_have_the_same_name_or_the_same_bytes() {
    let rows = rows();
    let names: std::collections::HashSet<_> = rows.iter().map(|row| &row.name).collect();
    let messages: std::collections::HashSet<_> = rows.iter().map(|row| &row.message).collect();
    assert_eq!((names.len(), messages.len()), (rows.len(), rows.len()));
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
    for (name, message, ..) in accepted::ACCEPTED.iter().chain(refused::REFUSED) {
        let whole = verdict(message, [message.len()]);
        assert_eq!(verdict(message, 0..=message.len()), whole, "{name}: byte by byte");
        for at in 0..message.len() {
            assert_eq!(verdict(message, [at, message.len()]), whole, "{name}: split at {at}");
        }
    }
}
