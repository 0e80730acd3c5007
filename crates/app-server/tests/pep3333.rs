//! The small print of PEP 3333, under the oldest and the newest Python here, embedded and isolated: both ways answer alike.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod harness;

use harness::{Answer, Outcome, Question, get, post};
use onebox_app_server::Interpreter;

/// Runs the errand of an embedded child process; nothing by itself.
#[test]
#[ignore = "the child process of the other tests"]
fn embedded_child() {
    harness::run_errand();
}

/// What an answer must be.
enum Expected {
    /// A status and a whole body.
    Whole(u16, &'static str),
    /// The same with one header.
    Header(u16, &'static str, (&'static str, &'static str)),
    /// It fails after a head of this status (0: none) with this text in its reason.
    Fails(u16, &'static str),
}

use Expected::{Fails, Header, Whole};

impl Expected {
    fn check(&self, path: &str, answer: &Answer) {
        let aborted = answer.aborted.as_deref();
        match self {
            Whole(status, body) | Header(status, body, _) => {
                assert_eq!(
                    (answer.status, &*answer.text(), aborted),
                    (*status, *body, None),
                    "{path}"
                );
            }
            Fails(status, reason) => {
                assert_eq!(answer.status, *status, "{path}: {answer:?}");
                assert!(aborted.unwrap_or_default().contains(reason), "{path}: {answer:?}");
            }
        }
        if let Header(_, _, (name, value)) = self {
            let values = answer.headers.iter().filter(|(key, _)| key == name);
            let values: Vec<_> = values.map(|(_, value)| value.as_str()).collect();
            assert_eq!(values, [*value], "{path}");
        }
    }
}

/// Asks everything of two Pythons; the log of the last isolated worker.
fn ask(module: &str, cases: Vec<(Question, Expected)>) -> String {
    ask_of(&oldest_and_newest(), module, cases)
}

/// Asks everything in both ways.
fn ask_of(pythons: &[Interpreter], module: &str, cases: Vec<(Question, Expected)>) -> String {
    let (questions, expected): (Vec<Question>, Vec<Expected>) = cases.into_iter().unzip();
    let spec = harness::spec(module);
    let mut log = String::new();
    for python in pythons {
        let (embedded, embedded_log) = harness::embedded(python, &spec, &questions);
        let (isolated, isolated_log) = harness::isolated(python, &spec, &questions);
        let (embedded, isolated) = (answers(embedded), answers(isolated));
        assert_eq!((embedded.len(), isolated.len()), (expected.len(), expected.len()));
        for (at, (question, expected)) in questions.iter().zip(&expected).enumerate() {
            expected.check(&question.path, &embedded[at]);
            assert_eq!(embedded[at], isolated[at], "{}", question.path);
        }
        assert!(!embedded_log.contains("panicked"), "{embedded_log}");
        log = isolated_log;
    }
    log
}

fn oldest_and_newest() -> Vec<Interpreter> {
    let mut pythons = harness::pythons();
    pythons.sort_by_key(|python| python.version);
    let newest = pythons.pop().unwrap();
    pythons.into_iter().take(1).chain([newest]).collect()
}

fn answers(outcome: Outcome) -> Vec<Answer> {
    match outcome {
        Outcome::Answers(answers) => answers,
        Outcome::Failed { traceback, .. } => panic!("{traceback}"),
    }
}

#[test]
fn files_are_sent_from_their_position_as_far_as_announced_and_closed_once() {
    let all = "0123456789".repeat(10).leak();
    let range = ("Content-Range", "bytes 5-14/100");
    let log = ask(
        "site_of_fixtures",
        vec![
            (get("/files"), Whole(200, all)),
            (get("/files").method("HEAD"), Whole(200, "")),
            (get("/files/readable"), Whole(200, "only read")),
            (get("/files/position"), Whole(200, "56789")),
            (get("/files/range"), Header(206, "5678901234", range)),
            (get("/files/range").method("HEAD"), Header(206, "", range)),
            (get("/files/announced-nothing"), Whole(200, "")),
            (get("/files/too-short"), Fails(200, "ended 1 bytes before its Content-Length")),
            (get("/files/wrapped"), Whole(200, "ABC")),
            (get("/files/text"), Fails(0, "site_of_fixtures: the body must be made of bytes")),
            (
                get("/files/no-file"),
                Fails(0, "AttributeError: 'int' object has no attribute 'read'"),
            ),
            (get("/files/closed"), Whole(200, "7")),
        ],
    );
    assert!(!log.contains("longer than its Content-Length"), "{log}");
}

#[test]
fn the_order_of_calls_and_the_types_of_values_are_what_the_rules_say() {
    let log = ask(
        "site_of_fixtures",
        vec![
            (get("/rules/late-head"), Header(503, "sorry", ("X-Second", "yes"))),
            (get("/rules/start-in-iteration"), Whole(200, "late")),
            (get("/rules/subclasses"), Header(200, "ok", ("X-Text", "text"))),
            (get("/rules/same-length-twice"), Header(200, "ok", ("Content-Length", "2"))),
            (get("/rules/two-lengths"), Fails(0, "Content-Length must be one number")),
            (get("/rules/write-text"), Fails(0, "site_of_fixtures: write() takes bytes, got str")),
            (get("/rules/write-first"), Whole(200, "abcde")),
            (get("/rules/bytearrays"), Fails(0, "bytes expected, got bytearray")),
            (get("/rules/no-status"), Fails(0, "TypeError")),
            (get("/rules/empty-reason"), Whole(299, "ok")),
            (get("/rules/exit-late"), Fails(200, "SystemExit: enough")),
            (get("/rules/interrupt-late"), Fails(200, "KeyboardInterrupt")),
            (get("/rules/generator-exit"), Fails(0, "GeneratorExit")),
            (get("/rules/deep"), Fails(0, "RecursionError")),
            (get("/rules/complains"), Whole(200, "ok")),
            (get("/rules/complains-at-once"), Whole(200, "[]")),
        ],
    );
    for line in ["written é\n", "line one\nline two\n", "printed\n"] {
        assert!(log.contains(line), "{line} in {log}");
    }
}

#[test]
fn what_is_legal_passes_the_checker_of_the_standard_library() {
    let body = b"one\ntwo\nthree";
    ask(
        "site_of_fixtures",
        vec![
            (get("/validated/write"), Whole(200, "written, returned")),
            (get("/validated/wrapper"), Whole(200, "from a file")),
            (get("/validated/wrapper").method("HEAD"), Whole(200, "")),
            (get("/validated/restart"), Whole(404, "nothing here")),
            (get("/validated/no-content"), Whole(204, "")),
            (post("/validated/read", body), Whole(200, "one\ntwo\nthree")),
            (post("/validated/readline", body), Whole(200, "one\ntwo")),
            (post("/validated/readlines", body), Whole(200, "one\n|two\n|three")),
            (post("/validated/iterate", body), Whole(200, "one\n|two\n|three")),
            (get("/validated/read"), Whole(200, "")),
        ],
    );
}

#[test]
fn the_environ_has_what_applications_ask_for_under_both_names() {
    let question = get("/environment/a%20b");
    let spec = harness::spec("site_of_fixtures");
    let python = oldest_and_newest().pop().unwrap();
    let questions = [question];
    for (outcome, _) in [
        harness::embedded(&python, &spec, &questions),
        harness::isolated(&python, &spec, &questions),
    ] {
        let seen: serde_json::Value = serde_json::from_slice(&answers(outcome)[0].body).unwrap();
        for name in ["REQUEST_URI", "RAW_URI"] {
            assert_eq!(seen[name], "/environment/a%20b", "{name}");
        }
        for (name, value) in [("QUERY_STRING", ""), ("SERVER_PORT", "80"), ("wsgi.input", "Input")]
        {
            assert_eq!(seen[name], value, "{name}");
        }
        assert_eq!(seen["HTTP_CONTENT_LENGTH"], serde_json::Value::Null);
    }
}

#[test]
fn the_first_application_of_every_beginner_is_told_what_is_wrong_with_it() {
    let wrong =
        "TypeError: simple_app:simple_app: the body must be made of bytes: bytes expected, got str";
    let log = ask(
        "simple_app:simple_app",
        vec![(get("/"), Fails(0, wrong)), (get("/again"), Fails(0, wrong))],
    );
    assert!(log.contains("GET / failed (request req-1)\n") && log.contains(wrong), "{log}");
}

#[test]
fn whatever_can_be_called_is_an_application() {
    let newest = [oldest_and_newest().pop().unwrap()];
    for module in [
        "lazy",
        "lazy:application",
        "callables:Answer",
        "callables:site",
        "callables:site.respond",
        "callables:Site.build()",
        "callables:Site()",
        "callables:partial",
        "callables:short",
    ] {
        ask_of(&newest, module, vec![(get("/"), Whole(200, "made"))]);
    }
}

#[test]
fn a_large_file_of_the_system_is_handed_over_as_what_it_is() {
    let spec = harness::spec("site_of_fixtures");
    let python = oldest_and_newest().pop().unwrap();
    let data = b"0123456789".repeat(30_000);
    let rest = &data[5..];
    let unflushed = [b"unflushed", &rest[9..]].concat();
    let written = [b"written, ", rest].concat();
    // The question, the body, and whether it is handed over.
    let rows: [(Question, &[u8], bool); 11] = [
        (get("/files/real"), rest, true),
        (get("/files/real").method("HEAD"), b"", false),
        (get("/files/real-part"), &rest[..100_000], true),
        (get("/files/real-little"), &rest[..100], false),
        (get("/files/real-short"), rest, false),
        (get("/files/real-small"), &rest[..995], false),
        (get("/files/real-unbuffered"), rest, true),
        (get("/files/real-subclass"), rest, false),
        (get("/files/real-written"), &written, false),
        (get("/files/real-unflushed"), &unflushed, true),
        (get("/files/real-none"), b"", false),
    ];
    let questions: Vec<_> = rows.iter().map(|(question, ..)| question.clone()).collect();
    for (outcome, _) in [
        harness::embedded(&python, &spec, &questions),
        harness::isolated(&python, &spec, &questions),
    ] {
        for (answer, (question, body, is_handed_over)) in answers(outcome).iter().zip(&rows) {
            let path = &question.path;
            assert!(answer.body == *body, "{path}: {} bytes", answer.body.len());
            assert_eq!(answer.is_handed_over, *is_handed_over, "{path}");
            assert_eq!(answer.aborted.is_some(), path == "/files/real-short", "{path}");
            if *is_handed_over {
                let length = ("Content-Length".to_owned(), body.len().to_string());
                assert!(answer.headers.contains(&length), "{path}: {:?}", answer.headers);
            }
        }
    }
}
