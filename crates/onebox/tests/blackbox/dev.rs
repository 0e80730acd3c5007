//! `onebox dev`: a site while it is being written. What is saved is served, what fails is shown, and a debugger has the terminal.

use std::fs;
use std::process::Stdio;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::{Answer, Connection, DEADLINE, SiteFolder, TestBox, environment_of, get};

/// Answers with its `ANSWER`; raises on `/raise`, and in mid-body on `/cut`; stops in the debugger on `/debug`.
const APP: &str = r#"import time

ANSWER = "one"


def pieces():
    yield b"piece"
    raise RuntimeError("cut on purpose")


def application(environ, start_response):
    path, answer = environ["PATH_INFO"], ANSWER
    if path == "/raise":
        raise LookupError("<no such thing>")
    if path == "/debug":
        time.sleep(1.2)
        breakpoint()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return pieces() if path == "/cut" else [answer.encode()]
"#;

fn site() -> SiteFolder {
    let site = SiteFolder::fixture("hello");
    site.write("app.py", APP);
    site.write("static/site.css", "body {}\n");
    // Shorter than the debugger takes.
    site.write("onebox.toml", "harakiri = \"1s\"\n[static]\n\"/static\" = \"static\"\n");
    site
}

fn develop(site: &SiteFolder, arguments: &[&str]) -> TestBox {
    TestBox::in_place("dev", site.path(), arguments, |_| ())
}

/// Asks until the answer is the one; while the site is loaded anew a connection may be cut.
fn wait_for(served: &TestBox, path: &str, is_it: impl Fn(&Answer) -> bool) -> Answer {
    let begun = Instant::now();
    loop {
        let asked = Connection::open(served.http, "localhost").and_then(|mut open| open.get(path));
        match asked {
            Ok(answer) if is_it(&answer) => return answer,
            other => assert!(begun.elapsed() < DEADLINE, "{other:?}\n{}", served.said()),
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn what_is_saved_is_served_and_a_mistake_is_shown_until_it_is_mended() {
    let site = site();
    let mut served = develop(&site, &[]);
    served.wait_for_line("for development only");
    assert_eq!(get(served.http, "localhost", "/").text(), "one");
    assert_eq!(get(served.http, "localhost", "/static/site.css").text(), "body {}\n");

    site.write("app.py", &APP.replace("\"one\"", "\"two\""));
    wait_for(&served, "/", |answer| answer.text() == "two");

    site.write("app.py", "def application(environ, start_response:\n    pass\n");
    let page = wait_for(&served, "/", |answer| answer.status == 500);
    assert!(
        page.text().contains("SyntaxError") && page.text().contains("app.py"),
        "{}",
        page.text()
    );
    served.wait_for_line("SyntaxError");

    // Saved as editors do it: written beside, and put in its place.
    site.write("app.py.new", &APP.replace("\"one\"", "\"three\""));
    fs::rename(site.path().join("app.py.new"), site.path().join("app.py")).unwrap();
    wait_for(&served, "/", |answer| answer.text() == "three");

    // A configuration that is wrong is told, and the next one holds.
    site.write("onebox.toml", "[statik]\n");
    served.wait_for_line("statik");
    site.write("onebox.toml", "[static]\n\"/files\" = \"static\"\n");
    wait_for(&served, "/files/site.css", |answer| answer.status == 200);

    served.signal(Signal::INT);
    assert_eq!(served.wait(), 0);
    let mut left: Vec<_> =
        fs::read_dir(site.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["app.py", "onebox.toml", "static"]);
}

#[test]
fn what_fails_is_shown_to_whoever_asks_with_its_traceback() {
    let site = site();
    let served = develop(&site, &[]);
    let mut connection = Connection::open(served.http, "localhost").unwrap();
    let page = connection.get("/raise").unwrap();
    assert_eq!(page.status, 500);
    assert!(page.header("content-type").starts_with("text/html"), "{:?}", page.headers);
    let text = page.text();
    assert!(text.contains("LookupError: &lt;no such thing&gt;"), "{text}");
    assert!(text.contains("raise LookupError(") && !text.contains("<no such thing>"), "{text}");
    served.wait_for_line("LookupError: <no such thing>");
    served.wait_for_line("GET /raise 500 ");

    let request = http::Request::get("/raise").header("accept", "application/json");
    let plain = connection.send(request.body(bytes::Bytes::new()).unwrap()).unwrap();
    assert!(plain.header("content-type").starts_with("text/plain"), "{:?}", plain.headers);
    assert!(plain.text().starts_with("Traceback"), "{}", plain.text());
    assert!(Connection::open(served.http, "localhost").unwrap().get("/cut").is_err());
    served.wait_for_line("RuntimeError: cut on purpose");
    assert_eq!(get(served.http, "localhost", "/").text(), "one");
}

/// Frameworks would answer with a page of their own that says nothing.
#[test]
fn what_flask_and_django_answer_themselves_is_shown() {
    let python = environment_of("frameworks");
    for module in ["flask_app:app", "django_app:app"] {
        let site = SiteFolder::fixture("frameworks");
        let served = develop(&site, &["--python", python.to_str().unwrap(), "--module", module]);
        let page = get(served.http, "localhost", "/broken");
        assert_eq!(page.status, 500);
        assert!(
            page.text().contains("RuntimeError: broken on purpose"),
            "{module}: {}",
            page.text()
        );
        assert_eq!(get(served.http, "localhost", "/").status, 200);
    }
}

#[test]
fn a_breakpoint_has_the_terminal_and_no_deadline() {
    let site = site();
    let binary = env!("CARGO_BIN_EXE_onebox");
    let command = format!("exec {binary} dev {} --http 127.0.0.1:0", site.path().display());
    // A pseudo terminal; Debian's bsdutils is essential. A shell that stayed between would have Ctrl-C too.
    let mut terminal = std::process::Command::new("script");
    terminal.args(["--quiet", "--return", "--flush", "--command", &command, "/dev/null"]);
    terminal.stdin(Stdio::piped()).env("NO_COLOR", "1").env("TERM", "dumb").env("SHELL", "/bin/sh");
    let mut served = TestBox::start_as(terminal, None);
    let (sender, answered) = mpsc::channel();
    let address = served.http;
    std::thread::spawn(move || sender.send(get(address, "localhost", "/debug")).ok());
    // Of which line is for the version of Python to say.
    served.wait_for_line("-> ");
    served.type_in("answer = 'from the debugger'\n");
    served.type_in("continue\n");
    let answer = answered.recv_timeout(DEADLINE).unwrap();
    assert_eq!((answer.status.as_u16(), &*answer.text()), (200, "from the debugger"));
    assert_eq!(get(served.http, "localhost", "/").text(), "one");
    // Ctrl-C
    served.type_in("\u{3}");
    assert_eq!(served.wait(), 0);
}

#[test]
fn a_terminal_that_is_closed_ends_it() {
    let site = site();
    let mut served = develop(&site, &[]);
    let address = served.http;
    served.signal(Signal::HUP);
    assert_eq!(served.wait(), 0);
    assert!(Connection::open(address, "localhost").is_err());
}
