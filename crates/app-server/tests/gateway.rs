//! PEP 3333 through real Pythons of every version on this machine, embedded and isolated: both ways answer alike.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod harness;

use harness::{Answer, Outcome, Question, get, post};

/// Runs the errand of an embedded child process; nothing by itself.
#[test]
#[ignore = "the child process of the other tests"]
fn embedded_child() {
    harness::run_errand();
}

type Check = fn(&Answer);

/// Requests with the same variables and other values: more of them than threads, so that each thread sees several.
fn requests_alike() -> impl Iterator<Item = (Question, Check)> {
    (0..20).map(|number| {
        let number = number.to_string();
        let question = get(&format!("/environment/{number}"))
            .with("HTTP_X_NUMBER", &number)
            .with("HTTP_X_TWICE", &number)
            .with("HTTP_X_TWICE", "last");
        let check: Check = |answer| {
            let seen: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
            let number = seen["HTTP_X_NUMBER"].as_str().unwrap();
            assert_eq!(seen["SCRIPT_NAME"], "/environment");
            assert_eq!(seen["PATH_INFO"], format!("/{number}"));
            assert_eq!(seen["HTTP_X_TWICE"], "last");
            assert_eq!(seen["wsgi.input"], "Input");
        };
        (question, check)
    })
}

/// Requests to `site_of_fixtures`, in their order, and what must come back.
fn cases() -> Vec<(Question, Check)> {
    vec![
        (get("/hello"), |answer| {
            assert_eq!((answer.status, answer.text().as_str()), (200, "hello"));
        }),
        (get("/hello").method("HEAD"), |answer| {
            assert_eq!((answer.status, answer.text().as_str()), (200, ""));
        }),
        (post("/post", &[b'x'; 300_000]), |answer| assert_eq!(answer.body, [b'x'; 300_000])),
        (post("/post", "Grüße\r\n".as_bytes()), |answer| assert_eq!(answer.text(), "Grüße\r\n")),
        (post("/hello", &[b'u'; 200_000]), |answer| assert_eq!(answer.text(), "hello")),
        (
            get("/environment/caf\u{e9}")
                .with("HTTP_X_TWICE", "1")
                .with("HTTP_X_TWICE", "2")
                .with("UWSGI_FILE", "/etc/passwd")
                .with("wsgi.run_once", "x"),
            |answer| {
                let seen: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
                assert_eq!(seen["SCRIPT_NAME"], "/environment");
                assert_eq!(seen["PATH_INFO"], "/caf\u{c3}\u{a9}");
                assert_eq!(seen["HTTP_X_TWICE"], "2");
                assert_eq!(seen["UWSGI_FILE"], serde_json::Value::Null);
                assert_eq!(seen["wsgi.run_once"], false);
                assert_eq!(seen["wsgi.url_scheme"], "https");
                assert_eq!(seen["wsgi.version"], serde_json::json!([1, 0]));
                assert_eq!(seen["wsgi.multithread"], true);
                assert_eq!(seen["wsgi.multiprocess"], false);
                assert_eq!(seen["wsgi.input_terminated"], true);
            },
        ),
        (get("/environment/without"), |answer| {
            let seen: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
            assert_eq!(seen["HTTP_X_TWICE"], serde_json::Value::Null);
        }),
        (get("/stream"), |answer| {
            assert_eq!((answer.text().as_str(), answer.pieces), ("one two three", 3));
        }),
        (get("/stream").method("HEAD"), |answer| {
            assert_eq!((answer.status, answer.pieces), (200, 0))
        }),
        (get("/raises"), |answer| failed(answer, 0, "ValueError: no such luck")),
        (get("/raises/exit"), |answer| failed(answer, 0, "SystemExit: 3")),
        (get("/raises/interrupt"), |answer| failed(answer, 0, "KeyboardInterrupt")),
        (get("/raises/late"), |answer| {
            failed(answer, 200, "ValueError: too late");
            assert_eq!(answer.text(), "half");
        }),
        (get("/writes"), |answer| assert_eq!(answer.text(), "written and returned")),
        (get("/wrapper"), |answer| assert_eq!(answer.body.len(), 200_000)),
        (get("/wrapper/closed"), |answer| assert_eq!(answer.text(), "True")),
        (get("/closing/whole"), |answer| assert_eq!(answer.text(), "ab")),
        (get("/closing/raises"), |answer| failed(answer, 200, "ValueError: in the middle")),
        (get("/closing/str"), |answer| failed(answer, 0, "bytes expected, got str")),
        (get("/closing/silent"), |answer| failed(answer, 0, "before it called start_response")),
        (get("/closing/whole").method("HEAD"), |answer| assert_eq!(answer.text(), "")),
        (get("/closing/count"), |answer| assert_eq!(answer.text(), "5")),
        (post("/lines", b"ab1\n2345\nx\nyy\nzz\nnext\nl1\nl2"), |answer| {
            let seen: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
            assert_eq!(seen["read(2)"], "ab");
            assert_eq!(seen["readline()"], "1\n");
            assert_eq!(seen["readline(3)"], "234");
            assert_eq!(seen["readline(100)"], "5\n");
            assert_eq!(seen["readlines(4)"], serde_json::json!(["x\n", "yy\n"]));
            assert_eq!(seen["next"], "zz\n");
            assert_eq!(seen["list"], serde_json::json!(["next\n", "l1\n", "l2"]));
            assert_eq!(seen["end"], "");
        }),
        (get("/bodies/str"), |answer| {
            failed(
                answer,
                0,
                "TypeError: site_of_fixtures: the body must be made of bytes: bytes expected, got str",
            )
        }),
        (get("/bodies/bytes"), |answer| {
            assert_eq!((answer.text().as_str(), answer.pieces), ("bare", 1))
        }),
        (get("/bodies/one-block"), |answer| {
            assert_eq!(answer.headers, [("Content-Length".to_owned(), "5".to_owned())]);
        }),
        (get("/bodies/empty"), |answer| {
            assert_eq!((answer.status, answer.pieces), (200, 0));
            assert_eq!(answer.headers, [("Content-Length".to_owned(), "0".to_owned())]);
        }),
        (get("/bodies/nothing"), |answer| assert_eq!((answer.status, answer.pieces), (200, 0))),
        (get("/bodies/none"), |answer| failed(answer, 0, "TypeError: ")),
        (get("/bodies/tuple"), |answer| assert_eq!(answer.text(), "ab")),
        (get("/bodies/no-start"), |answer| failed(answer, 0, "before it called start_response")),
        (get("/bodies/short"), |answer| {
            failed(answer, 200, "ended 5 bytes before its Content-Length")
        }),
        (get("/bodies/long"), |answer| {
            assert_eq!((answer.text().as_str(), answer.aborted.is_none()), ("123", true))
        }),
        (get("/bodies/long-blocks"), |answer| {
            assert_eq!((answer.text().as_str(), answer.aborted.is_none()), ("abc", true))
        }),
        (get("/bodies/head-only").method("HEAD"), |answer| {
            assert_eq!(answer.headers, [("Content-Length".to_owned(), "5".to_owned())]);
            assert_eq!((answer.text().as_str(), answer.aborted.is_none()), ("", true));
        }),
        (get("/bodies/no-content"), |answer| {
            assert_eq!((answer.status, answer.pieces, answer.headers.len()), (204, 0, 0))
        }),
        (get("/bodies/not-modified"), |answer| {
            assert_eq!((answer.status, answer.pieces), (304, 0))
        }),
        (get("/heads/restarted"), |answer| {
            assert_eq!((answer.status, answer.text().as_str()), (503, "sorry"));
            assert_eq!(answer.headers[0], ("X-Second".to_owned(), "yes".to_owned()));
        }),
        (get("/heads/twice"), |answer| {
            failed(answer, 0, "called start_response twice without exc_info")
        }),
        (get("/heads/after-head"), |answer| failed(answer, 200, "ValueError: after the head")),
        (get("/heads/four-digits"), |answer| failed(answer, 0, "got '1000 Odd'")),
        (get("/heads/no-reason"), |answer| failed(answer, 0, "got '200'")),
        (get("/heads/interim"), |answer| failed(answer, 0, "got '100 Continue'")),
        (get("/heads/bytes-status"), |answer| failed(answer, 0, "must be a str, got bytes")),
        (get("/heads/line-feed"), |answer| {
            failed(answer, 0, "ValueError: site_of_fixtures: the status must be")
        }),
        (get("/heads/tuple"), |answer| failed(answer, 0, "must be a list of tuples, got tuple")),
        (get("/heads/list-pair"), |answer| {
            failed(answer, 0, "must be a tuple of name and value, got list")
        }),
        (get("/heads/bytes-value"), |answer| failed(answer, 0, "must be str, got (str, bytes)")),
        (get("/heads/control"), |answer| failed(answer, 0, "control characters")),
        (get("/heads/wide"), |answer| failed(answer, 0, "outside ISO-8859-1")),
        (get("/heads/name"), |answer| failed(answer, 0, "a name that is no token")),
        (get("/heads/hop"), |answer| failed(answer, 0, "about the connection")),
        (get("/heads/length"), |answer| failed(answer, 0, "Content-Length must be one number")),
        (get("/heads/latin"), |answer| {
            assert_eq!(answer.reason, "D\u{e9}j\u{e0}");
            assert_eq!(answer.headers[0].1, "Andr\u{e9}");
        }),
        (get("/big/blocks"), |answer| assert!(answer.body == [b'b'; 16 << 16])),
        (get("/big/one"), |answer| assert!(answer.body == [b'1'; 1_200_000])),
        // Neither end may wait for the other while both have much to say.
        (post("/big/one", &[b'u'; 1_100_000]), |answer| assert!(answer.body == [b'1'; 1_200_000])),
        (post("/hello", &[b'u'; 1_100_000]), |answer| assert_eq!(answer.text(), "hello")),
        (get("/endless/iterate").and_leave(), |answer| assert_eq!(answer.status, 200)),
        (get("/endless/closed"), |answer| assert_eq!(answer.text(), "True")),
        (get("/endless/write").and_leave(), |answer| assert_eq!(answer.status, 200)),
        (get("/endless/closed"), |answer| assert_eq!(answer.text(), "True")),
        (get("/process"), |_| {}),
        (get("/process"), |_| {}),
        (get("/process"), |answer| {
            let seen: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
            assert_eq!(seen["argv"], serde_json::json!(["onebox"]));
            for (key, expected) in [
                ("cwd_is_root", true),
                ("local_lives", true),
                ("path_has_empty", false),
                ("signal_kept", true),
            ] {
                assert_eq!(seen[key], expected, "{key} in {seen}");
            }
            assert_eq!(seen["env"], serde_json::json!([]));
            assert_eq!(seen["fs_encoding"], "utf-8");
            assert_eq!(seen["main"], "MainThread");
            assert_eq!(seen["thread"], "onebox-");
        }),
    ]
}

/// The answer ended with an exception, after a head of `status` (0: none).
fn failed(answer: &Answer, status: u16, reason: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    let aborted = answer.aborted.as_deref().unwrap_or_default();
    assert!(aborted.contains(reason), "{aborted:?} lacks {reason:?}");
}

fn answers(outcome: Outcome) -> Vec<Answer> {
    match outcome {
        Outcome::Answers(answers) => answers,
        Outcome::Failed { traceback, .. } => panic!("{traceback}"),
    }
}

#[test]
fn both_ways_answer_alike_and_right_under_every_python() {
    let (questions, checks): (Vec<Question>, Vec<Check>) = requests_alike().chain(cases()).unzip();
    let spec = harness::spec("site_of_fixtures");
    let pythons = harness::pythons();
    for python in &pythons {
        assert!(python.can_embed(), "{} has no libpython", python.executable.display());
        let (embedded, embedded_log) = harness::embedded(python, &spec, &questions);
        let (isolated, isolated_log) = harness::isolated(python, &spec, &questions);
        let (embedded, isolated) = (answers(embedded), answers(isolated));
        assert_eq!(embedded.len(), checks.len());
        for ((question, check), (one, other)) in
            questions.iter().zip(&checks).zip(embedded.iter().zip(&isolated))
        {
            println!(
                "{} {}: {} {}",
                python.version_text(),
                question.method,
                question.path,
                one.status
            );
            // Large bodies are cut as the way needs it; threads take requests in no promised order.
            if question.path.starts_with("/big/") {
                assert!(one.body == other.body && one.headers == other.headers);
            } else if question.path != "/process" {
                assert!(one == other, "{}: {} {}", question.path, one.status, other.status);
            }
            check(one);
            check(other);
        }
        for (answer, name) in [(&embedded, "embedded"), (&isolated, "isolated")] {
            let seen: serde_json::Value =
                serde_json::from_slice(&answer.last().unwrap().body).unwrap();
            assert_eq!(seen["executable"], python.executable.to_str().unwrap(), "{name}");
            assert_eq!(seen["prefix"], python.prefix.to_str().unwrap(), "{name}");
        }
        for log in [embedded_log, isolated_log] {
            assert!(log.contains("GET /raises failed (request req-1)\nTraceback"), "{log}");
            assert!(log.contains("ValueError: no such luck\n"), "{log}");
            assert!(log.contains("the handler for SIGTERM is not set"), "{log}");
            assert!(log.contains("the body is longer than its Content-Length"), "{log}");
            assert!(!log.contains("panicked"), "{log}");
            assert!(!log.contains("/endless"), "a client that left is no error: {log}");
        }
    }
    println!("served under {} Pythons", pythons.len());
}
