//! What is known of a request that failed: by its id, with its traceback, and nothing that is its client's own.

use std::time::Instant;

use bytes::Bytes;
use http::Request;
use serde_json::Value;

use crate::harness::{Answer, Connection, DEADLINE, SiteFolder, TestBox, environment_of};

/// Raises on `/raise`, in mid-body on `/cut`, spins on `/spin`; `/bad` is a 500 of its own.
const APP: &str = r#"import sys


def fetch():
    return {}["as asked"]


def pieces():
    yield b"one"
    raise RuntimeError("cut on purpose")


def spin():
    while True:
        pass


def application(environ, start_response):
    environ["wsgi.input"].read()
    path = environ["PATH_INFO"]
    print("printed for", path)
    print("complained", file=sys.stderr)
    environ["wsgi.errors"].write("told the server\n")
    if path == "/raise":
        try:
            fetch()
        except KeyError as error:
            raise LookupError("no such thing") from error
    if path == "/spin":
        spin()
    if path == "/cut":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return pieces()
    status = "500 Bad" if path == "/bad" else "200 OK"
    start_response(status, [("Content-Type", "text/plain"), ("Content-Length", "0")])
    return []
"#;

/// What a client sends that nobody else may read.
const SECRET: &str = "s3cret";

fn serve(isolation: &str) -> TestBox {
    let appliance = TestBox::start();
    let site = SiteFolder::fixture("hello");
    site.write("app.py", APP);
    site.write("onebox.toml", &format!("isolation = \"{isolation}\"\nharakiri = \"1s\"\n"));
    appliance.deploy(site.path()).ok();
    appliance
}

/// Asks with secrets in everything that is private.
fn ask(appliance: &TestBox, path: &str) -> Answer {
    let request = Request::post(format!("{path}?token={SECRET}-query"))
        .header("cookie", format!("session={SECRET}-cookie"))
        .header("authorization", format!("Bearer {SECRET}-token"))
        .body(Bytes::from(format!("{SECRET}-body")));
    Connection::open(appliance.http, "localhost").unwrap().send(request.unwrap()).unwrap()
}

/// The autopsy, as soon as it is there: a report does not hold up the answer.
fn autopsy(appliance: &TestBox, request_id: &str) -> Value {
    let begun = Instant::now();
    loop {
        let told = appliance.cli(&["autopsy", request_id, "--json"]);
        if told.code() == 0 {
            return told.json();
        }
        assert!(begun.elapsed() < DEADLINE, "{}", told.all());
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

/// Its lines come by another way than the report.
fn wait_for_line(appliance: &TestBox, request_id: &str, text: &str) {
    let begun = Instant::now();
    loop {
        let log = autopsy(appliance, request_id)["log"].take();
        if log.as_array().unwrap().iter().any(|line| line["text"] == text) {
            return;
        }
        assert!(begun.elapsed() < DEADLINE, "{text:?} is not in {log}");
    }
}

/// The request itself is told within a second.
fn record(appliance: &TestBox, request_id: &str) -> Value {
    let begun = Instant::now();
    loop {
        let record = autopsy(appliance, request_id)["request"].take();
        if !record.is_null() {
            return record;
        }
        assert!(begun.elapsed() < DEADLINE, "nothing is told of {request_id}");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

fn errors(appliance: &TestBox, site: &str) -> Value {
    appliance.api(&format!("/api/v1/sites/{site}/errors")).json()
}

fn last_frame(raised: &Value) -> &Value {
    raised["frames"].as_array().unwrap().last().unwrap()
}

fn a_failed_request_is_explained(isolation: &str) {
    let appliance = serve(isolation);
    let answer = ask(&appliance, "/raise");
    assert_eq!(answer.status, 500);
    let told = autopsy(&appliance, answer.header("x-request-id"));
    let failure = &told["failures"][0];
    assert_eq!((&failure["kind"], &failure["site"]), (&"exception".into(), &"hello".into()));
    assert_eq!((&failure["method"], &failure["path"]), (&"POST".into(), &"/raise".into()));
    let worker = if isolation == "process" { Value::from("hello.1") } else { Value::Null };
    assert_eq!(failure["worker"], worker);
    assert_eq!(failure["release"], appliance.site("hello")["release"]);
    let [first, last] = failure["raised"].as_array().unwrap().as_slice() else {
        panic!("not a chain of two: {failure}");
    };
    assert_eq!((&first["type"], &last["type"]), (&"KeyError".into(), &"LookupError".into()));
    assert_eq!((&first["after"], &last["after"]), (&Value::Null, &"cause".into()));
    let frame = last_frame(first);
    assert_eq!((&frame["file"], &frame["function"]), (&"app.py".into(), &"fetch".into()));
    assert_eq!((&frame["line"], &frame["source"]), (&5.into(), &"return {}[\"as asked\"]".into()));
    assert_eq!(failure["place"], "app.py:28 in application");
    assert_eq!(failure["printed"], "printed for /raise\ncomplained\ntold the server\n");
    let id = answer.header("x-request-id");
    wait_for_line(&appliance, id, &format!("POST /raise failed (request {id})"));

    let record = record(&appliance, id);
    assert_eq!((&record["status"], &record["path"]), (&500.into(), &"/raise".into()));
    assert_eq!((&record["client"], &record["site"]), (&"127.0.0.1".into(), &"hello".into()));
    assert_eq!(record["worker"], worker);
    assert!(record["error"].as_str().unwrap().contains("LookupError"), "{record}");
    assert!(record["queue_us"].is_u64() && record["app_us"].is_u64(), "{record}");
    let search = |query: &str| {
        let found = appliance.api(&format!("/api/v1/requests?site=hello&path=/rai&{query}"));
        found.json().as_array().unwrap().iter().filter(|found| found["request_id"] == id).count()
    };
    assert_eq!((search("status=5xx"), search("status=200"), search("slower_ms=60000")), (1, 0, 0));

    let cut = ask_and_be_cut(&appliance);
    let told = autopsy(&appliance, &cut);
    assert_eq!(told["failures"][0]["raised"][0]["message"], "cut on purpose");

    let bad = ask(&appliance, "/bad");
    assert_eq!(bad.status, 500);
    let told = autopsy(&appliance, bad.header("x-request-id"));
    assert_eq!(told["failures"][0]["kind"], "answer");
    assert_eq!(told["failures"][0]["printed"], "printed for /bad\ncomplained\ntold the server\n");

    let late = ask(&appliance, "/spin");
    assert_eq!(late.status, 504);
    let told = autopsy(&appliance, late.header("x-request-id"));
    let failure = &told["failures"][0];
    assert_eq!(
        (&failure["kind"], &failure["raised"][0]["type"]),
        (&"deadline".into(), &"DeadlineExceeded".into())
    );
    let frame = last_frame(&failure["raised"][0]);
    assert_eq!((&frame["file"], &frame["function"]), (&"app.py".into(), &"spin".into()));
    assert!(["while True:", "pass"].contains(&frame["source"].as_str().unwrap()), "{frame}");

    // The same traceback once more is no other error, and an answer is none.
    let again = ask(&appliance, "/raise");
    autopsy(&appliance, again.header("x-request-id"));
    let groups = errors(&appliance, "hello");
    let seen: Vec<_> =
        groups.as_array().unwrap().iter().map(|group| (&group["type"], &group["count"])).collect();
    assert_eq!(
        seen,
        [
            (&"LookupError".into(), &2.into()),
            (&"DeadlineExceeded".into(), &1.into()),
            (&"RuntimeError".into(), &1.into()),
        ]
    );
    assert_eq!(groups[0]["request_id"], again.header("x-request-id"));
    assert_eq!(appliance.cli(&["errors", "hello", "--json"]).ok().json(), groups);
    let listed = appliance.cli(&["errors", "hello"]).ok().stdout;
    let last = format!("onebox autopsy {}", again.header("x-request-id"));
    let told = |text: &str| listed.contains(text);
    assert!(told("LookupError: no such thing\n  2×, last ") && told(&last), "{listed}");
    assert!(appliance.cli(&["errors", "nobody"]).failed().stderr.contains("nobody"));

    let text = appliance.cli(&["autopsy", again.header("x-request-id")]).ok().stdout;
    assert!(
        text.contains("return {}[\"as asked\"]") && text.contains("LookupError: no such thing"),
        "{text}"
    );
    appliance.cli(&["autopsy", "0000000000000000"]).failed();
    for request in [&answer, &bad, &late] {
        let told =
            appliance.api(&format!("/api/v1/requests/{}", request.header("x-request-id"))).stdout;
        assert!(!told.contains(SECRET), "{told}");
    }
    assert!(!groups.to_string().contains(SECRET), "{groups}");
    let all = appliance.api("/api/v1/requests?limit=1000").stdout;
    assert!(all.contains("/raise") && !all.contains(SECRET), "{all}");
    let log = appliance.cli(&["logs", "hello", "--access", "-n", "1000"]).ok().stdout;
    assert!(log.contains("/raise") && !log.contains(SECRET), "{log}");
}

/// The id of a request whose answer broke off.
fn ask_and_be_cut(appliance: &TestBox) -> String {
    let mut connection = Connection::open(appliance.http, "localhost").unwrap();
    let request = Request::get("/cut").body(Bytes::new()).unwrap();
    let mut streaming = connection.begin(request).unwrap();
    let request_id = streaming.header("x-request-id").to_owned();
    while let Ok(Some(_)) = connection.piece(&mut streaming) {}
    request_id
}

#[test]
fn a_failed_request_is_explained_by_its_id_when_embedded() {
    a_failed_request_is_explained("embedded");
}

#[test]
fn a_failed_request_is_explained_by_its_id_when_isolated() {
    a_failed_request_is_explained("process");
}

/// Both make a 500 of it themselves, so that it never reaches the server.
#[test]
fn exceptions_that_flask_and_django_answer_themselves_are_explained() {
    let python = environment_of("frameworks");
    for name in ["flask", "django"] {
        let appliance = TestBox::start();
        let site = SiteFolder::fixture("frameworks");
        let module = format!("{name}_app:app");
        site.write(
            "onebox.toml",
            &format!("python = \"{}\"\nmodule = \"{module}\"\n", python.display()),
        );
        site.remove("requirements.txt");
        appliance.deploy(site.path()).ok();
        let mut connection = Connection::open(appliance.http, "localhost").unwrap();
        let answer = connection.get("/broken").unwrap();
        assert_eq!(answer.status, 500);
        let told = autopsy(&appliance, answer.header("x-request-id"));
        let failure = &told["failures"][0];
        assert_eq!(failure["raised"][0]["type"], "RuntimeError", "{name}: {failure}");
        let place = failure["place"].as_str().unwrap();
        assert!(
            place.starts_with(&format!("{name}_app.py:")) && place.ends_with(" in broken"),
            "{place}"
        );
    }
}
