//! The letter of WSGI over every way to an application: embedded (memory) and isolated (socket); HTTP/1.1, HTTP/1.0, uwsgi over
//! a Unix socket and over TCP; as it is and under `wsgiref.validate`. What comes back is the same to the byte, but for the date
//! and the identity of the request.

mod answer;
mod ask;
mod rows;

use std::io::{Read, Write};

use answer::Answer;
use ask::Ask;
use rows::{Row, rows};
use rustix::process::Signal;

use crate::harness::{Address, SiteFolder, TestBox, free_address, get, rest_of};

/// An appliance with the fixtures, and the ways to them.
struct Served {
    appliance: TestBox,
    mode: &'static str,
    ways: Vec<Way>,
}

/// One way to the fixtures.
struct Way {
    name: &'static str,
    address: Address,
    message: fn(&Ask) -> Vec<u8>,
}

impl Served {
    fn start(mode: &'static str, isolation: &str) -> Self {
        let appliance = TestBox::start();
        let site = SiteFolder::fixture("conformance");
        let uwsgi = free_address();
        site.write(
            "onebox.toml",
            &format!(
                "module = \"app:application\"\nthreads = 2\nisolation = \"{isolation}\"\n\
                 socket = [\"run/front.sock\", \"{uwsgi}\"]\n"
            ),
        );
        appliance.deploy(site.path()).ok();
        assert_eq!(appliance.site("conformance")["mode"], mode);
        let socket = appliance.state().join("sites/conformance/shared/run/front.sock");
        let http = Address::Tcp(appliance.http);
        let way = |name, address, message| Way { name, address, message };
        let ways = vec![
            way("HTTP/1.1", http.clone(), |ask| ask.http("1.1")),
            way("HTTP/1.0", http, |ask| ask.http("1.0")),
            way("uwsgi, Unix", Address::Unix(socket), Ask::uwsgi),
            way("uwsgi, TCP", Address::Tcp(uwsgi), Ask::uwsgi),
        ];
        Self { appliance, mode, ways }
    }

    fn embedded() -> Self {
        Self::start("embedded", "embedded")
    }

    fn isolated() -> Self {
        Self::start("isolated", "process")
    }

    /// The answers by every way, each named.
    fn ask(&self, ask: &Ask) -> Vec<(String, Answer)> {
        let answer = |way: &Way| {
            let what = format!("{} {} ({}, {})", ask.method, ask.target, self.mode, way.name);
            (what, Answer::read(way.address.ask(&(way.message)(ask))))
        };
        self.ways.iter().map(answer).collect()
    }

    /// What the fixtures and the gateway wrote, after the end of the appliance: then all of it is there.
    fn log(mut self) -> String {
        self.appliance.signal(Signal::TERM);
        assert_eq!(self.appliance.wait(), 0);
        std::fs::read_to_string(self.appliance.state().join("logs/conformance/app.log")).unwrap()
    }
}

/// Each is what the row expects, and they are the same.
fn compare(row: &Row, is_streamed: bool, answers: Vec<(String, Answer)>) {
    for (what, answer) in &answers {
        row.expected.check(answer, what);
    }
    let comparable = |answer: Answer| if is_streamed { answer.unframed() } else { answer };
    let mut answers = answers.into_iter().map(|(what, answer)| (what, comparable(answer)));
    let (first_what, first) = answers.next().unwrap();
    for (what, answer) in answers {
        let same = (&answer.head, &answer.body) == (&first.head, &first.body);
        assert!(same, "{what}: {}\n{first_what}: {}", answer.head, first.head);
    }
}

#[test]
fn every_fixture_answers_the_same_over_every_way_and_under_the_checker() {
    let served = [Served::embedded(), Served::isolated()];
    let rows = rows();
    assert!(rows.len() >= 100, "{}", rows.len());
    for row in &rows {
        let plain = served.iter().flat_map(|served| served.ask(&row.ask));
        compare(row, row.is_streamed, plain.collect());
        if row.is_valid {
            // The checker hides how many blocks a body has.
            let checked = row.ask.checked();
            compare(row, true, served.iter().flat_map(|served| served.ask(&checked)).collect());
        }
    }
    for served in served {
        let log = served.log();
        for said in
            ["a complaint, é", "and another", "longer than its Content-Length", "can't be closed"]
        {
            assert!(log.contains(said), "{said} in {log}");
        }
        // Whatever failed is told with its request and its application.
        for row in rows.iter().filter(|row| row.expected.is_a_failure()) {
            let line = format!("{} {} failed (request", row.ask.method, row.ask.target);
            assert!(log.contains(&line), "{line} in {log}");
        }
        assert!(log.contains("app:application: the status must be"), "{log}");
        for never in ["panicked", "garbage collected", "AssertionError: Env"] {
            assert!(!log.contains(never), "{never} in {log}");
        }
    }
}

#[test]
fn the_body_of_a_client_that_leaves_in_mid_stream_is_closed_once() {
    let endless = Ask::get("bodies/closes/endless");
    let closed = Ask::get("bodies/closes/made-and-closed");
    for served in [Served::embedded(), Served::isolated()] {
        for way in &served.ways {
            let mut client = way.address.connect();
            client.write_all(&(way.message)(&endless)).unwrap();
            client.read_exact(&mut [0; 100_000]).unwrap();
            drop(client);
            let answer = Answer::read(served.ways[0].address.ask(&closed.http("1.1")));
            assert_eq!(answer.text(), "as often", "{}, {}", served.mode, way.name);
        }
    }
}

#[test]
fn requests_that_are_sent_by_half_hold_no_python_thread() {
    let post = Ask::post("inputs/echo", "half of it, and the other half");
    for served in [Served::embedded(), Served::isolated()] {
        // Many times as many as there are threads, in every state of being incomplete.
        let mut waiting = Vec::new();
        for way in &served.ways {
            let message = (way.message)(&post);
            for size in [2, 20, message.len() - post.body.len() - 5, message.len() - 5] {
                for _ in 0..3 {
                    let mut client = way.address.connect();
                    client.write_all(&message[..size]).unwrap();
                    waiting.push((way.name, client, message[size..].to_vec()));
                }
            }
        }
        for _ in 0..4 {
            assert_eq!(get(served.appliance.http, "localhost", "/").text(), "healthy");
        }
        // And none of them is lost.
        for (name, mut client, rest) in waiting {
            client.write_all(&rest).unwrap();
            let answer = Answer::read(rest_of(&mut *client));
            assert_eq!(answer.text(), "half of it, and the other half", "{}, {name}", served.mode);
        }
    }
}
