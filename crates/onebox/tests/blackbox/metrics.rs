//! What is measured: `/metrics`, as Prometheus's own parser reads it, and what the dashboard's charts are made of.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{DEADLINE, Fifo, SiteFolder, TestBox, environment_of, get, run};

#[test]
fn prometheus_own_parser_understands_every_line() {
    let appliance = TestBox::start();
    appliance.deploy(SiteFolder::fixture("hello").path()).ok();
    get(appliance.http, "localhost", "/");
    let begun = Instant::now();
    // It is counted with the next second.
    let counted = "onebox_http_requests_total{site=\"hello\",status=\"2xx\"} ";
    let text = loop {
        let text = appliance.api("/metrics").stdout;
        let count = text.lines().find_map(|line| line.strip_prefix(counted));
        if count.is_some_and(|count| count != "0") {
            break text;
        }
        assert!(begun.elapsed() < DEADLINE, "{text}");
        std::thread::sleep(Duration::from_millis(50));
    };
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("page.txt");
    std::fs::write(&page, text).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/clients/prometheus.py");
    let mut parser = Command::new(environment_of("frameworks").join("bin/python"));
    parser.arg(script).stdin(std::fs::File::open(&page).unwrap());
    assert!(run(parser).ok().stdout.ends_with("done\n"));
}

/// Asks the API until the answer is as it should be: what is counted is told with the next second.
fn wait_for(appliance: &TestBox, path: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    let begun = Instant::now();
    loop {
        let told = appliance.api(path).json();
        if is_so(&told) {
            return told;
        }
        assert!(begun.elapsed() < DEADLINE, "{path}: {told}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The largest value of a curve.
fn largest(curve: &Value) -> f64 {
    curve.as_array().unwrap().iter().filter_map(Value::as_f64).fold(0.0, f64::max)
}

const FAILING: &str = "def application(environ, start_response):
    if environ['PATH_INFO'] == '/fail':
        raise ValueError('as asked')
    start_response('200 OK', [])
    return [b'hello']
";

#[test]
fn each_release_has_figures_of_its_own() {
    let appliance = TestBox::start();
    let site = SiteFolder::fixture("hello");
    site.write("app.py", FAILING);
    appliance.deploy(site.path()).ok();
    let ask = |path: &str| get(appliance.http, "localhost", path).status.as_u16();
    assert_eq!(["/1", "/2", "/fail"].map(ask), [200, 200, 500]);
    appliance.deploy(site.path()).ok();
    assert_eq!(ask("/3"), 200);
    let path = "/api/v1/sites/hello/releases";
    let told = wait_for(&appliance, path, |told| {
        told[0]["traffic"]["requests"].as_u64() >= Some(1)
            && told[1]["traffic"]["requests"].as_u64() >= Some(3)
    });
    let [new, old] = [&told[0]["traffic"], &told[1]["traffic"]];
    assert_eq!((&new["errors"], &old["errors"]), (&0.into(), &1.into()), "{told}");
    assert_eq!(old["responses"]["5xx"], 1, "{told}");
    assert!(old["p95_ms"].as_f64().unwrap() > 0.0 && old["phases_ms"]["app"].is_f64(), "{told}");
    assert!(old["phase_latency_ms"]["app"]["p95"].as_f64() > Some(0.0), "{told}");
    assert!(old["phase_latency_ms"]["tls"].is_null(), "no connection had one: {told}");
    let listed = appliance.cli(&["releases", "hello"]).ok().stdout;
    assert!(listed.contains("P95") && listed.contains(" ms"), "{listed}");
}

/// An application that keeps the GIL while it waits for the FIFO of its query.
const HOLDING: &str = "import ctypes

def application(environ, start_response):
    if environ['PATH_INFO'] == '/hold':
        ctypes.PyDLL(None).open(environ['QUERY_STRING'].encode(), 0)
    start_response('200 OK', [])
    return [b'hello']
";

fn a_gil_that_is_kept_is_seen(isolation: &str, process: &'static str) {
    let appliance = TestBox::start();
    let site = SiteFolder::fixture("hello");
    site.write("app.py", HOLDING);
    site.write("onebox.toml", &format!("isolation = \"{isolation}\"\n"));
    appliance.deploy(site.path()).ok();
    let (fifo, http) = (Fifo::new(), appliance.http);
    let path = format!("/hold?{}", fifo.path().display());
    let holder = std::thread::spawn(move || get(http, "localhost", &path).status.as_u16());
    let find = |told: &Value| {
        let processes = told["processes"].as_array().unwrap().clone();
        processes.into_iter().find(|one| one["process"] == process)
    };
    let told = wait_for(&appliance, "/api/v1/sites/hello/series?span_ms=300000", |told| {
        find(told).is_some_and(|one| largest(&one["gil_longest_ms"]) >= 500.0)
    });
    fifo.release_reader();
    assert_eq!(holder.join().unwrap(), 200);
    assert!(largest(&find(&told).unwrap()["gil_stalled"]) > 0.0, "{told}");
    let page = appliance.api("/metrics").stdout;
    let total = |name: &str| {
        let beginning = format!("onebox_process_{name}{{process=\"{process}\"}} ");
        let value = page.lines().find_map(|line| line.strip_prefix(&beginning));
        value.unwrap_or_else(|| panic!("{page}")).parse::<f64>().unwrap()
    };
    assert!(total("gil_stalls_total") >= 1.0, "{page}");
    assert!(total("gil_stalled_seconds_total") >= 0.5, "{page}");
}

#[test]
fn a_gil_that_is_kept_is_seen_when_embedded() {
    a_gil_that_is_kept_is_seen("embedded", "engine");
}

#[test]
fn a_gil_that_is_kept_is_seen_when_isolated() {
    a_gil_that_is_kept_is_seen("process", "hello.1");
}

#[test]
fn who_is_refused_is_told_over_time() {
    let appliance = TestBox::start();
    let site = SiteFolder::fixture("static-only");
    site.write("onebox.toml", "[[limit]]\nrate = \"1/d\"\n");
    appliance.deploy(site.path()).ok();
    let ask = |path: &str| get(appliance.http, "localhost", path).status.as_u16();
    assert_eq!(["/", "/"].map(ask), [200, 429]);
    let mut stranger = TcpStream::connect(appliance.http).unwrap();
    stranger.write_all(b"\x16\x03\x01 what is this\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    stranger.read_to_end(&mut answer).unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 400 "), "{}", answer.escape_ascii());
    wait_for(&appliance, "/api/v1/series?span_ms=300000", |told| {
        largest(&told["dropped_per_s"]["malformed"]) > 0.0
    });
    wait_for(&appliance, "/api/v1/sites/static-only/series?span_ms=300000", |told| {
        largest(&told["limited_per_s"]) > 0.0
    });
    let page = appliance.api("/metrics").stdout;
    assert!(page.contains("\nonebox_http_limited_total{site=\"static-only\"} 1\n"), "{page}");
}
