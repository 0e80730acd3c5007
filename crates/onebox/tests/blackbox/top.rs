//! `onebox top` on a real pseudo terminal, and the same truth as data.

use std::fs;
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::harness::{DEADLINE, Fifo, SiteFolder, TestBox, get, onebox, run};

/// What a terminal is told when a program leaves its other screen, and to show its cursor.
const GIVEN_BACK: [&str; 2] = ["\u{1b}[?1049l", "\u{1b}[?25h"];
/// How a colour of the palette begins.
const COLOUR: &str = "\u{1b}[38;5;";

/// Somebody who watches.
struct Watched {
    child: Child,
    shown: Arc<Mutex<String>>,
}

impl Watched {
    /// On a terminal of 80 by 24.
    fn start(appliance: &TestBox, no_color: &str) -> Self {
        let top = appliance.command(&["top"]);
        let program = top.get_program().to_str().unwrap();
        let command = format!("stty cols 80 rows 24; exec {program} top");
        // A pseudo terminal; Debian's bsdutils is essential.
        let mut script = Command::new("script");
        script.args(["--quiet", "--return", "--flush", "--command", &command, "/dev/null"]);
        script.envs(top.get_envs().filter_map(|(name, value)| Some((name, value?))));
        script.env("TERM", "xterm-256color").env("SHELL", "/bin/sh").env("NO_COLOR", no_color);
        let mut child = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (shown, mut pipe) = (Arc::new(Mutex::new(String::new())), child.stdout.take().unwrap());
        let all = Arc::clone(&shown);
        std::thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(size @ 1..) = pipe.read(&mut piece) {
                all.lock().unwrap().push_str(&String::from_utf8_lossy(&piece[..size]));
            }
        });
        Self { child, shown }
    }

    fn shown(&self) -> String {
        self.shown.lock().unwrap().clone()
    }

    /// Waits until it has drawn this so often.
    fn wait_for(&self, text: &str, count: usize) {
        let begun = Instant::now();
        while self.shown().matches(text).count() < count {
            assert!(
                begun.elapsed() < DEADLINE,
                "{text:?} is not in {}",
                self.shown().escape_debug()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn type_in(&mut self, keys: &str) {
        self.child.stdin.as_mut().unwrap().write_all(keys.as_bytes()).unwrap();
    }

    /// The process itself.
    fn pid(&self) -> Pid {
        let script = self.child.id();
        let children =
            fs::read_to_string(format!("/proc/{script}/task/{script}/children")).unwrap();
        Pid::from_raw(children.trim().parse().unwrap()).unwrap()
    }

    /// It has ended well, and the terminal is as it was.
    fn ended_well(mut self) -> String {
        self.wait_for(GIVEN_BACK[0], 1);
        self.wait_for(GIVEN_BACK[1], 1);
        assert!(self.child.wait().unwrap().success(), "{}", self.shown().escape_debug());
        self.shown()
    }
}

#[test]
fn somebody_watches_a_box_on_a_terminal_that_is_as_before_afterwards() {
    let appliance = TestBox::start();
    appliance.deploy(SiteFolder::fixture("static-only").path()).ok();
    let mut watched = Watched::start(&appliance, "");
    for drawn in ["static-only", "running", "REQ/S", "supervisor"] {
        watched.wait_for(drawn, 1);
    }
    // Another size is drawn for anew.
    let terminal = fs::read_link(format!("/proc/{}/fd/0", watched.pid().as_raw_nonzero())).unwrap();
    let mut smaller = Command::new("stty");
    smaller.arg("-F").arg(terminal).args(["cols", "100", "rows", "30"]);
    run(smaller).ok();
    watched.wait_for("REQ/S", 2);
    watched.type_in("\r");
    watched.wait_for("release", 1);
    watched.type_in("?");
    watched.wait_for("Ctrl-C", 1);
    watched.type_in("q");
    let shown = watched.ended_well();
    assert!(shown.contains(COLOUR), "{}", shown.escape_debug());
}

#[test]
fn without_colours_and_ended_by_a_signal_the_terminal_is_given_back() {
    let appliance = TestBox::start();
    let watched = Watched::start(&appliance, "1");
    watched.wait_for("onebox deploy", 1);
    kill_process(watched.pid(), Signal::TERM).unwrap();
    let shown = watched.ended_well();
    assert!(!shown.contains(COLOUR), "{}", shown.escape_debug());
}

#[test]
fn who_watches_sees_that_the_appliance_is_gone_and_back() {
    let state = tempfile::tempdir().unwrap();
    let appliance = TestBox::start_at(state.path());
    let mut watched = Watched::start(&appliance, "1");
    watched.wait_for("onebox deploy", 1);
    drop(appliance);
    watched.wait_for("this is not of now", 1);
    let appliance = TestBox::start_at(state.path());
    appliance.deploy(SiteFolder::fixture("static-only").path()).ok();
    watched.wait_for("static-only", 1);
    watched.type_in("\u{3}");
    watched.ended_well();
}

#[test]
fn it_needs_a_terminal_and_an_appliance() {
    let folder = tempfile::tempdir().unwrap();
    let mut alone = onebox();
    alone.args(["top", "--state-dir"]).arg(folder.path());
    assert!(run(alone).failed().stderr.contains("no appliance is running"));
    let said = TestBox::start().cli(&["top"]).failed().stderr;
    assert!(said.contains("no terminal") && said.contains("onebox top --json"), "{said}");
}

/// Without what changes each second.
fn lasting(mut status: Value) -> Value {
    let all = status.as_object_mut().unwrap();
    all.remove("sample");
    all.remove("events");
    status
}

#[test]
fn top_and_status_tell_the_same_truth() {
    let appliance = TestBox::start();
    let (begun, goes_on) = (Fifo::new(), Fifo::new());
    let site = SiteFolder::fixture("recycled");
    let environment = format!("BEGUN_FIFO = {:?}\nWAIT_FIFO = {:?}", begun.path(), goes_on.path());
    site.write("onebox.toml", &format!("isolation = \"process\"\n[env]\n{environment}\n"));
    appliance.deploy(site.path()).ok();
    let address = appliance.http;
    let waiting = std::thread::spawn(move || get(address, "localhost", "/wait?secret=1").status);
    begun.wait_for_writer();

    // The request that it has now, without its query; told within a second.
    let request = |site: &Value| site["workers"][0]["current"].clone();
    let status = appliance.wait_for_site("recycled", |site| request(site) != Value::Null);
    assert_eq!(
        (&request(&status)["method"], &request(&status)["path"]),
        (&json!("GET"), &json!("/wait"))
    );
    assert_eq!(status["workers"][0]["running"], 1);
    let measured = |all: &Value| {
        let sites = all["sample"]["sites"].as_array()?;
        let taken = all["sample"]["processes"].as_array()?;
        let is_open = sites.iter().any(|did| did["site"] == "recycled" && did["in_flight"] == 1);
        let has = |name: &str| taken.iter().any(|one| one["process"] == name);
        (is_open && ["engine", "supervisor", "recycled.1"].into_iter().all(has)).then_some(())
    };
    let told = || appliance.cli(&["top", "--json"]).ok().json();
    let begun_at = Instant::now();
    let seen = loop {
        let (before, seen, after) = (appliance.status(), told(), appliance.status());
        // How long the request has taken is told anew each second.
        if lasting(before.clone()) == lasting(after.clone()) && measured(&before).is_some() {
            assert_eq!(lasting(seen.clone()), lasting(after));
            break seen;
        }
        assert!(begun_at.elapsed() < DEADLINE, "{before}");
    };
    assert!(measured(&seen).is_some(), "{seen}");
    assert!(seen["sample"]["machine"]["memory_total_bytes"].as_u64().unwrap() > 0, "{seen}");
    let kinds: Vec<_> =
        seen["events"].as_array().unwrap().iter().map(|event| &event["kind"]).collect();
    assert!(kinds.contains(&&json!("deploy")), "{seen}");

    goes_on.release_reader();
    assert_eq!(waiting.join().unwrap(), 200);
    appliance.wait_for_site("recycled", |site| request(site) == Value::Null);
}
