//! Access logs: their formats, with nginx as the oracle; who moves them away; what is found in them.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::harness::{
    Address, Connection, DEADLINE, Nginx, SiteFolder, TestBox, get, rest_of, run,
};

const REOPENED: &str = "the log files were opened anew";

/// The access log of the fixture's site.
fn access_log(appliance: &TestBox) -> PathBuf {
    appliance.state().join("logs/static-only/access.log")
}

/// Reads a file until it is as it shall be.
fn wait_for_text(path: &Path, is_it: impl Fn(&str) -> bool) -> String {
    let begun = Instant::now();
    loop {
        let text = fs::read_to_string(path).unwrap_or_default();
        if is_it(&text) {
            return text;
        }
        assert!(begun.elapsed() < DEADLINE, "{}: {text}", path.display());
        thread::sleep(Duration::from_millis(20));
    }
}

/// Asks until a line about it is in the file: who opens it anew does so a moment after it was told.
fn ask_until_logged(appliance: &TestBox, path: &Path) {
    let begun = Instant::now();
    while fs::read_to_string(path).unwrap_or_default().is_empty() {
        assert!(begun.elapsed() < DEADLINE, "{} stays empty", path.display());
        get(appliance.http, "localhost", "/after");
    }
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// Requests whose lines could be written in more than one way. The connection ends after each.
const REQUESTS: [&str; 10] = [
    "GET /style.css?a=1&b=%22 HTTP/1.1\r\nHost: localhost\r\nUser-Agent: curl/8.0\r\nReferer: http://b/?q=\"2\"\r\n",
    "GET /style.css HTTP/1.1\r\nHost: localhost\r\nUser-Agent: a\" \"b \\x22 \\ \t\u{85}\u{fc}\r\n",
    "HEAD /style.css HTTP/1.1\r\nHost: localhost\r\nReferer:\r\n",
    "GET /style.css HTTP/1.0\r\nHost: localhost\r\nAuthorization: Basic YW5uOnNlY3JldA==\r\n",
    "GET /style.css HTTP/1.1\r\nHost: localhost\r\nAuthorization: basic YSIgW2I6\r\n",
    "GET /style.css HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic Og==\r\n",
    "GET /style.css HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer YW5uOnNlY3JldA==\r\n",
    "GET /style.css HTTP/1.1\r\nHost: localhost\r\nRange: bytes=0-3\r\n",
    "GET http://localhost/style.css?c HTTP/1.1\r\nHost: localhost\r\n",
    "GET /%73tyle.css HTTP/1.1\r\nHost: localhost\r\n",
];

fn ask_all(address: SocketAddr) {
    for request in REQUESTS {
        // Latin-1, so that there are bytes that are no UTF-8.
        let head = format!("{request}Connection: close\r\n\r\n");
        let bytes: Vec<u8> = head.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect();
        let mut stream = Address::Tcp(address).connect();
        stream.write_all(&bytes).unwrap();
        assert!(rest_of(&mut stream).bytes.starts_with(b"HTTP/1.1 20"), "{request}");
    }
}

/// The lines without their times, which must be times.
fn without_times(text: &str) -> Vec<String> {
    let lines = text.lines().map(|line| {
        let (before, rest) = line.rsplit_once(" [").unwrap();
        let (time, behind) = rest.split_once("] ").unwrap();
        let pattern = "00/Mmm/0000:00:00:00 +0000";
        let alike = |(is, like): (char, char)| match like {
            '0' => is.is_ascii_digit(),
            'M' | 'm' => is.is_ascii_alphabetic(),
            '+' => is == '+' || is == '-',
            other => is == other,
        };
        assert!(
            time.len() == pattern.len() && time.chars().zip(pattern.chars()).all(alike),
            "{time}"
        );
        format!("{before} {behind}")
    });
    lines.collect()
}

#[test]
fn combined_lines_read_the_same_as_nginxs() {
    let site = SiteFolder::fixture("static-only");
    site.write("onebox.toml", "[log]\nformat = \"combined\"\nquery = true\n");
    site.write("style.css", &"x".repeat(2000));
    let appliance = TestBox::start();
    appliance.deploy(site.path()).ok();
    let ours = access_log(&appliance);
    // The health check is a request, too.
    let checks = wait_for_text(&ours, |_| true).lines().count();
    ask_all(appliance.http);
    let is_whole = |text: &str| text.lines().count() == REQUESTS.len();
    let ours = wait_for_text(&ours, |text| text.lines().count() == checks + REQUESTS.len());
    let ours: Vec<_> = without_times(&ours).split_off(checks);
    assert!(ours[1].ends_with(r#""a\x22 \x22b \x5Cx22 \x5C \x09\x85\xFC""#), "{}", ours[1]);
    assert!(
        ours[3].contains(" - ann \"GET /style.css HTTP/1.0\" 200 2000 \"-\" \"-\""),
        "{}",
        ours[3]
    );
    let access = appliance.cli(&["logs", "static-only", "--status", "206", "--json"]).ok();
    assert_eq!(access.json_lines().len(), 1, "it is read back, too");
    if Nginx::is_here() {
        let folder = tempfile::tempdir().unwrap();
        let theirs = folder.path().join("access.log");
        let root = site.path().display();
        let server = format!("root {root}; access_log {} combined;", theirs.display());
        let nginx = Nginx::serve(&[server]);
        ask_all(nginx.addresses[0]);
        assert_eq!(ours, without_times(&wait_for_text(&theirs, is_whole)));
    }
}

#[test]
fn a_log_that_was_moved_away_is_begun_anew_on_a_signal() {
    let appliance = TestBox::start();
    appliance.deploy(SiteFolder::fixture("static-only").path()).ok();
    get(appliance.http, "localhost", "/before");
    let log = access_log(&appliance);
    wait_for_text(&log, |text| text.contains("/before"));
    fs::rename(&log, log.with_extension("log.1")).unwrap();
    appliance.signal(Signal::USR1);
    appliance.wait_for_line(REOPENED);
    ask_until_logged(&appliance, &log);
    let found = appliance.cli(&["logs", "static-only", "--path", "/before", "--json"]).ok();
    assert_eq!(found.json_lines().len(), 1, "it is found where it is now");
    assert_eq!(appliance.status()["engine"]["crashes"], 0);
}

#[test]
fn logrotate_rotates_and_loses_nothing() {
    if !Path::new("/usr/sbin/logrotate").exists() {
        eprintln!("skipped: this machine has no /usr/sbin/logrotate");
        return;
    }
    let appliance = TestBox::start();
    appliance.deploy(SiteFolder::fixture("static-only").path()).ok();
    let log = access_log(&appliance);
    let folder = tempfile::tempdir().unwrap();
    let rules = folder.path().join("rules");
    let text = format!(
        "{} {{\n rotate 5\n compress\n delaycompress\n missingok\n create 0640\n postrotate\n kill -USR1 {}\n endscript\n}}\n",
        log.display(),
        appliance.pid().as_raw_nonzero(),
    );
    fs::write(&rules, text).unwrap();
    for round in 1..=2 {
        let asked = format!("/round{round}");
        get(appliance.http, "localhost", &asked);
        wait_for_text(&log, |text| text.contains(&asked));
        let mut logrotate = Command::new("/usr/sbin/logrotate");
        logrotate.arg("-f").arg("-s").arg(folder.path().join("state")).arg(&rules);
        run(logrotate).ok();
        appliance.wait_for_lines(REOPENED, round);
        ask_until_logged(&appliance, &log);
    }
    let names = names_in(log.parent().unwrap());
    assert!(names.contains(&"access.log.2.gz".to_owned()), "{names:?}");
    let found = appliance.cli(&["logs", "static-only", "--path", "/round*", "--json"]).ok();
    assert_eq!(found.json_lines().len(), 2, "{}", found.stdout);
}

#[test]
fn lines_are_found_by_what_they_are_about_also_where_they_were_put_aside() {
    let appliance = TestBox::start();
    appliance.deploy(SiteFolder::fixture("static-only").path()).ok();
    let log = access_log(&appliance);
    get(appliance.http, "localhost", "/index.html");
    get(appliance.http, "localhost", "/nothing?secret=1");
    wait_for_text(&log, |text| text.contains("/nothing"));
    // As it is put aside when it has grown; the next look compresses it.
    fs::rename(&log, log.with_extension("log-20260101-000000")).unwrap();
    appliance.signal(Signal::USR1);
    appliance.wait_for_line(REOPENED);
    assert!(log.with_extension("log-20260101-000000.gz").exists());
    let other = get(appliance.http, "localhost", "/nowhere").header("x-request-id").to_owned();
    let find = |conditions: &[&str]| {
        let arguments = [&["logs", "static-only", "--json"], conditions].concat();
        let lines = appliance.cli(&arguments).ok().json_lines();
        let entry = |line: &Value| serde_json::from_str(line["text"].as_str().unwrap()).unwrap();
        let entries: Vec<Value> = lines.iter().map(entry).collect();
        entries.iter().map(|entry| entry["path"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let begun = Instant::now();
    while find(&["--path", "/nowhere"]).is_empty() {
        assert!(begun.elapsed() < DEADLINE);
    }
    assert_eq!(find(&["--status", "404"]), ["/nothing", "/nowhere"]);
    assert_eq!(find(&["--status", "4xx", "-n", "1"]), ["/nowhere"]);
    assert_eq!(find(&["--path", "/no*", "--address", "127.0.0.0/8"]), ["/nothing", "/nowhere"]);
    assert_eq!(find(&["--path", "*", "--address", "10.0.0.0/8"]), [""; 0]);
    assert_eq!(find(&["--access", "--request-id", &other]), ["/nowhere"]);
    assert_eq!(find(&["--status", "404", "--since", "10m"]), ["/nothing", "/nowhere"]);
    assert_eq!(find(&["--status", "404", "--until", "2020-01-01"]), [""; 0]);
    let all = appliance.cli(&["logs", "static-only", "--access"]).ok().stdout;
    assert!(!all.contains("secret"), "{all}");
    let failed = appliance.cli(&["logs", "static-only", "--status", "9xx"]).failed();
    assert!(failed.stderr.contains("`9xx` is no status"), "{}", failed.stderr);
    assert_eq!(appliance.cli(&["logs", "static-only", "--since", "soon"]).code(), 2);
}

#[test]
fn who_follows_sees_what_comes_and_is_meant() {
    let appliance = TestBox::start();
    appliance.deploy(SiteFolder::fixture("static-only").path()).ok();
    // Each is met by one of what is asked for, and by nothing else.
    let table = [
        (["--status", "404"], "/nowhere"),
        (["--path", "/index*"], "/index.html"),
        (["--address", "127.0.0.2"], "/from-another"),
    ];
    for (condition, expected) in table {
        let arguments =
            [&["logs", "static-only", "--access", "-f", "-n", "0", "--json"], &condition[..]];
        let mut follow = appliance.command(&arguments.concat());
        let mut following = follow.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(following.stdout.take().unwrap()).lines();
        // Asked again and again until the follower is there; it only sees what comes after it.
        let told = thread::scope(|scope| {
            let reader = scope.spawn(move || lines.take(3).map(Result::unwrap).collect::<Vec<_>>());
            while !reader.is_finished() {
                for path in ["/index.html", "/nowhere"] {
                    get(appliance.http, "localhost", path);
                }
                if expected == "/from-another" {
                    let other = Connection::open_from([127, 0, 0, 2], appliance.http, "localhost");
                    other.unwrap().get(expected).unwrap();
                }
            }
            reader.join().unwrap()
        });
        kill_process(Pid::from_child(&following), Signal::KILL).unwrap();
        following.wait().unwrap();
        for line in &told {
            let line: Value = serde_json::from_str(line).unwrap();
            let entry: Value = serde_json::from_str(line["text"].as_str().unwrap()).unwrap();
            assert_eq!(entry["path"], expected, "{condition:?}");
        }
        assert_eq!(told.len(), 3);
    }
}

#[test]
fn nobody_is_told_which_version_runs() {
    let appliance = TestBox::start();
    appliance.deploy(SiteFolder::fixture("static-only").path()).ok();
    for (host, path) in [("localhost", "/"), ("localhost", "/none"), ("nobody.example", "/")] {
        let answer = get(appliance.http, host, path);
        assert_eq!(answer.header("server"), "", "{host}{path}");
        let told = format!("{:?}{}", answer.headers, answer.text());
        assert!(!told.contains(env!("CARGO_PKG_VERSION")), "{told}");
    }
    let mut stream = Address::Tcp(appliance.http).connect();
    stream.write_all(b"nonsense\r\n\r\n").unwrap();
    let said = String::from_utf8(rest_of(&mut stream).bytes).unwrap();
    assert!(said.starts_with("HTTP/1.1 400"), "{said}");
    assert!(!said.to_lowercase().contains("\r\nserver:"), "{said}");
    assert!(!said.contains(env!("CARGO_PKG_VERSION")), "{said}");
}
