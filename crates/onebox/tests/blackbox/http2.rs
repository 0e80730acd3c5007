//! HTTP/2 with clients that nobody here wrote: curl, nghttp, h2load, and Python's h2 for frames that no client sends.

use std::net::SocketAddr;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rustix::process::Signal;

use crate::harness::{
    Fifo, Finished, SiteFolder, TestBox, client_meets, client_works, environment_of, get, run,
};

const APP: &str = r#"
import hashlib
import time


def pieces():
    for _ in range(20):
        yield b"piece\n"
        time.sleep(0.005)


def application(environ, start_response):
    path = environ["PATH_INFO"]
    start_response("200 OK", [("Content-Type", "text/plain"), ("X-Two", "1"), ("X-Two", "2")])
    if path == "/digest":
        return [hashlib.sha256(environ["wsgi.input"].read()).hexdigest().encode()]
    if path == "/stream":
        return pieces()
    if path == "/large":
        return (bytes([number]) * 65536 for number in range(128))
    names = "SERVER_PROTOCOL", "REMOTE_ADDR", "wsgi.url_scheme", "HTTP_HOST", "HTTP_COOKIE", "CONTENT_LENGTH"
    return [" ".join(str(environ.get(name)) for name in names).encode()]
"#;

fn site() -> SiteFolder {
    let site = SiteFolder::fixture("released");
    site.write("app.py", APP);
    site.write("public/page.css", &"a { color: red }\n".repeat(1000));
    site.write("onebox.toml", "[static]\n\"/public\" = \"public\"\n");
    site
}

/// A request without TLS; what it prints ends with the version that was spoken.
fn curl(arguments: &[&str], address: SocketAddr, path: &str) -> Finished {
    let mut command = Command::new("curl");
    command.args(["-sS", "--max-time", "60", "-w", " %{http_version}"]).args(arguments);
    command.arg(format!("http://localhost:{}{path}", address.port()));
    run(command)
}

#[test]
fn a_client_that_sends_too_much_sees_that_it_is_told_so() {
    let site = site();
    site.write("onebox.toml", "max-body = '1KB'\n");
    let appliance = TestBox::run_in_place(site.path(), &[]);
    let large = tempfile::NamedTempFile::new().unwrap();
    large.as_file().set_len(64 << 20).unwrap();
    let data = format!("@{}", large.path().display());
    let arguments = ["-o", "/dev/null", "-w", "%{http_code} 2", "--data-binary", &data];
    assert_eq!(ask(&arguments, appliance.http, "/digest"), "413");
}

/// A request in HTTP/2, which the client knows to be spoken.
fn ask(arguments: &[&str], address: SocketAddr, path: &str) -> String {
    let arguments = [&["--http2-prior-knowledge"], arguments].concat();
    let said = curl(&arguments, address, path).ok().stdout;
    said.strip_suffix(" 2").unwrap_or_else(|| panic!("{said}")).to_owned()
}

fn ask_encrypted(arguments: &[&str], address: SocketAddr, path: &str) -> String {
    let mut command = Command::new("curl");
    command.args(["-sSk", "--max-time", "60", "-w", " %{http_version}"]).args(arguments);
    command.arg(format!("https://localhost:{}{path}", address.port()));
    run(command).ok().stdout
}

/// Whether a program of nghttp2 is here.
fn has(program: &str) -> bool {
    let is_here = Command::new(program).arg("--version").output().is_ok();
    if !is_here {
        eprintln!("SKIPPED: {program} is not here (Debian: nghttp2-client)");
    }
    is_here
}

#[test]
fn a_site_is_the_same_in_both_versions_with_tls_and_without() {
    let appliance = TestBox::start_with_tls();
    appliance.deploy(site().path()).ok();
    let (plain, https) = (appliance.http, appliance.https.unwrap());
    let shown = |protocol: &str, scheme: &str, port: u16| {
        format!("{protocol} 127.0.0.1 {scheme} localhost:{port} a=1; b=2 ")
    };
    let cookies = ["-H", "Cookie: a=1; b=2"];
    let secure = ask_encrypted(&cookies, https, "/");
    assert!(secure.starts_with(&shown("HTTP/2.0", "https", https.port())), "{secure}");
    assert!(secure.ends_with(" 2"), "{secure}");
    let old = ask_encrypted(&["--http1.1", "-H", "Cookie: a=1; b=2"], https, "/");
    assert!(old.starts_with(&shown("HTTP/1.1", "https", https.port())), "{old}");
    assert!(ask(&cookies, plain, "/").starts_with(&shown("HTTP/2.0", "http", plain.port())));
    // An upgrade is not taken: the request is answered as it came.
    let upgrade = curl(&["--http2"], plain, "/").ok().stdout;
    assert!(upgrade.starts_with("HTTP/1.1 ") && upgrade.ends_with(" 1.1"), "{upgrade}");

    let head = ask(&["-I"], plain, "/");
    assert!(head.starts_with("HTTP/2 200 ") && head.contains("x-two: 1\r\nx-two: 2\r\n"), "{head}");
    for field in ["date: ", "x-request-id: "] {
        assert!(head.contains(field), "{head}");
    }
    for field in ["connection:", "transfer-encoding:", "keep-alive:"] {
        assert!(!head.contains(field), "{head}");
    }
    // Files: whole, in part, unchanged, compressed.
    let file = ask(&["-i"], plain, "/public/page.css");
    assert!(file.contains("content-length: 17000\r\n"), "{file}");
    let etag = file.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap();
    let part = ask(&["-i", "-r", "4-8"], plain, "/public/page.css");
    assert!(part.contains("HTTP/2 206") && part.ends_with("\r\n\r\ncolor"), "{part}");
    let unchanged =
        ask(&["-i", "-H", &format!("If-None-Match: {etag}")], plain, "/public/page.css");
    assert!(unchanged.starts_with("HTTP/2 304 "), "{unchanged}");
    let small = ask(&["-i", "--compressed"], plain, "/public/page.css");
    assert!(
        small.contains("content-encoding: ") && small.ends_with("a { color: red }\n"),
        "{small}"
    );

    for protocol in ["HTTP/2.0", "HTTP/1.1"] {
        let said = format!("\"protocol\":\"{protocol}\"");
        eventually_logged(&appliance, &said);
    }
}

/// The access log is written a moment after the answer.
fn eventually_logged(appliance: &TestBox, text: &str) {
    loop {
        let lines = appliance.cli(&["logs", "released", "--access", "--json"]).ok().json_lines();
        if lines.iter().any(|line| line["text"].as_str().is_some_and(|line| line.contains(text))) {
            return;
        }
        thread::yield_now();
    }
}

#[test]
fn large_bodies_go_both_ways_through_small_windows() {
    let appliance = TestBox::start();
    appliance.deploy(site().path()).ok();
    let folder = tempfile::tempdir().unwrap();
    let upload = folder.path().join("upload");
    let bytes: Vec<u8> = (0..1_000_000_u32).flat_map(u32::to_le_bytes).collect();
    std::fs::write(&upload, bytes).unwrap();
    let mut sum = Command::new("sha256sum");
    sum.arg(&upload);
    let expected = run(sum).ok().stdout;
    let path = upload.display();
    // With a size, and without one.
    for arguments in
        [["--data-binary".to_owned(), format!("@{path}")], ["-T".to_owned(), "-".to_owned()]]
    {
        let mut command = Command::new("curl");
        command.args(["-sS", "--max-time", "60", "--http2-prior-knowledge"]).args(arguments);
        command.arg(format!("http://localhost:{}/digest", appliance.http.port()));
        command.stdin(std::fs::File::open(&upload).unwrap());
        let digest = run(command).ok().stdout;
        assert_eq!(digest.len(), 64, "{digest}");
        assert!(expected.starts_with(&digest), "{digest} {expected}");
    }
    let all = folder.path().join("large");
    ask(&["-o", all.to_str().unwrap()], appliance.http, "/large");
    let large: Vec<u8> = (0..128).flat_map(|number| [number; 65_536]).collect();
    assert!(std::fs::read(&all).unwrap() == large);
    if has("nghttp") {
        let mut command = Command::new("nghttp");
        command.args(["-w", "14", "-W", "15"]);
        command.arg(format!("http://localhost:{}/large", appliance.http.port()));
        let answer = command.output().unwrap();
        assert!(answer.status.success() && answer.stdout == large);
    }
}

#[test]
fn frameworks_do_not_notice() {
    let python = environment_of("frameworks");
    let run = |module: &str| {
        let site = SiteFolder::fixture("frameworks");
        let arguments = ["--python", python.to_str().unwrap(), "--module", module];
        (TestBox::run_in_place(site.path(), &arguments), site)
    };
    let (flask, _site) = run("flask_app:app");
    let greeted = ask(&["-d", "name=Ada+%26+Gr%C3%A4fin"], flask.http, "/form");
    assert_eq!(greeted, "hello Ada & Gräfin");
    let entered = ask(&["-i"], flask.http, "/enter");
    assert_eq!(entered.matches("set-cookie: ").count(), 2, "{entered}");
    let (django, _site) = run("django_app:app");
    let page = ask(&["-i"], django.http, "/");
    assert!(page.contains("set-cookie: sessionid="), "{page}");
    for served in [&flask, &django] {
        assert!(ask(&[], served.http, "/").contains("<h1>page</h1>"));
        assert!(ask(&["-i"], served.http, "/broken").starts_with("HTTP/2 500 "));
        assert!(ask(&["-i"], served.http, "/nowhere").starts_with("HTTP/2 404 "));
    }
}

#[test]
fn a_thousand_requests_on_few_connections_are_all_answered() {
    if !has("h2load") {
        return;
    }
    let appliance = TestBox::start();
    appliance.deploy(site().path()).ok();
    let port = appliance.http.port();
    let mut command = Command::new("h2load");
    // Not more at a time than may wait for the site.
    command.args(["-n", "1000", "-c", "3", "-m", "30"]);
    command.args(["/", "/public/page.css"].map(|path| format!("http://localhost:{port}{path}")));
    let said = run(command).ok().stdout;
    let all = "1000 succeeded, 0 failed, 0 errored, 0 timeout";
    assert!(said.contains(all) && said.contains("1000 2xx"), "{said}");
}

/// What it sends and what it expects is in the script.
#[test]
fn strange_frames_and_floods_are_answered_as_they_deserve_and_harm_nobody_else() {
    let appliance = TestBox::start();
    appliance.deploy(site().path()).ok();
    client_works("http2_frames.py", appliance.http);
    assert_eq!(get(appliance.http, "localhost", "/public/page.css").status, 200);
    // Pings, settings, unknown frames, resets, CONTINUATION and DATA without content; the log hears of one, for a while.
    appliance.wait_for_line("floods its connection");
    while appliance.status()["dropped"]["flood"].as_u64().unwrap() < 6 {
        thread::yield_now();
    }
    assert!(appliance.status()["dropped"]["malformed"].as_u64().unwrap() > 30);
    let status = appliance.cli(&["status"]).ok().stdout;
    assert!(status.contains("flooded their connection"), "{status}");
    let metrics = appliance.api("/metrics").ok().stdout;
    assert!(metrics.contains("onebox_clients_dropped_total{reason=\"flood\"} "), "{metrics}");
}

/// A stream that has begun, a request whose answer has not, and one that comes when the client has been told to leave, while `end`
/// ends the process that has them.
fn nothing_in_flight_is_lost(end: impl FnOnce(&TestBox)) -> TestBox {
    let appliance = TestBox::start();
    let [stream, held, hold, begun, told] = std::array::from_fn(|_| Fifo::new());
    let site = SiteFolder::fixture("stream");
    site.write(
        "onebox.toml",
        &format!(
            "reload-mercy = \"60s\"\n[env]\nSTREAM_FIFO = {:?}\nHELD_FIFO = {:?}\nHOLD_FIFO = {:?}\n",
            stream.path(),
            held.path(),
            hold.path()
        ),
    );
    appliance.deploy(site.path()).ok();
    thread::scope(|scope| {
        let fifos = [begun.path(), told.path()];
        let http = appliance.http;
        let client = scope.spawn(move || client_meets("http2_drain.py", http, &fifos));
        held.wait_for_writer();
        begun.wait_for_writer();
        end(&appliance);
        told.wait_for_writer();
        hold.release_reader();
        stream.release_reader();
        client.join().unwrap();
    });
    appliance
}

#[test]
fn streams_in_flight_finish_when_the_appliance_ends() {
    let mut appliance = nothing_in_flight_is_lost(|appliance| appliance.signal(Signal::TERM));
    assert_eq!(appliance.wait(), 0);
}

#[test]
fn streams_in_flight_finish_when_the_configuration_is_read_again() {
    let appliance = nothing_in_flight_is_lost(|appliance| {
        appliance.write_config("[limits]\nmax-streams = 100\n");
        appliance.signal(Signal::HUP);
    });
    assert_eq!(get(appliance.http, "localhost", "/").status, 200);
}

#[test]
fn where_it_is_switched_off_clients_speak_http_1() {
    let config =
        "[listen]\nhttp = '127.0.0.1:0'\nhttps = '127.0.0.1:0'\nadmin = 'none'\nhttp2 = false\n";
    let appliance = TestBox::start_with_config(config);
    appliance.deploy(site().path()).ok();
    let secure = ask_encrypted(&["--http2"], appliance.https.unwrap(), "/");
    assert!(secure.starts_with("HTTP/1.1 ") && secure.ends_with(" 1.1"), "{secure}");
    assert!(!curl(&["--http2-prior-knowledge"], appliance.http, "/").status.success());
}

/// One kind of request, again and again, until it is over and enough were answered. With TLS: curl 7.88 can't use a connection
/// again that it began with HTTP/2 by prior knowledge, whoever serves.
fn keep_asking(arguments: &[&str], port: u16, path: &str, over: &AtomicBool) {
    let mut rounds = 0;
    while !over.load(Ordering::Acquire) || rounds < 3 {
        let mut command = Command::new("curl");
        command.args(["-sSk", "--no-progress-meter", "--max-time", "90", "-o", "/dev/null"]);
        command.args(["-w", "%{http_code} %{http_version}\n"]).args(arguments);
        // A hundred requests on the connections that the client thinks it needs.
        command.arg(format!("https://localhost:{port}{path}?[1-100]"));
        let said = run(command).ok().stdout;
        assert_eq!(said, "200 2\n".repeat(100), "{path}");
        rounds += 1;
    }
}

#[test]
fn nothing_fails_while_processes_are_replaced() {
    let appliance = TestBox::start_with_tls();
    let site = site();
    appliance.deploy(site.path()).ok();
    let folder = tempfile::tempdir().unwrap();
    let body = folder.path().join("body");
    std::fs::write(&body, [b'x'; 200_000]).unwrap();
    let upload = format!("@{}", body.display());
    let (port, over) = (appliance.https.unwrap().port(), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| keep_asking(&[], port, "/", &over));
        scope.spawn(|| keep_asking(&["-Z", "--parallel-max", "20"], port, "/", &over));
        scope.spawn(|| keep_asking(&["--data-binary", &upload], port, "/digest", &over));
        scope.spawn(|| keep_asking(&["-Z", "--parallel-max", "10"], port, "/stream", &over));
        site.write("release.txt", "two");
        appliance.deploy(site.path()).ok();
        appliance.cli(&["rollback", "released"]).ok();
        appliance.cli(&["restart", "released"]).ok();
        appliance.signal(Signal::USR2);
        appliance.wait_for_line(" upgraded");
        appliance.deploy(site.path()).ok();
        over.store(true, Ordering::Release);
    });
}
