//! Requests that take too long: told so in time, named with the line where they are, stopped or left behind, and nobody else
//! notices.

use std::process::Command;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use rustix::process::{Pid, test_kill_process};
use serde_json::Value;

use crate::harness::{Answer, Connection, DEADLINE, Fifo, Poller, SiteFolder, TestBox, get, run};

/// Threads of the site; as many meet at `/meet`.
const THREADS: usize = 3;

/// A site that takes too long, and where it says so.
struct SlowSite {
    appliance: TestBox,
    begun: Fifo,
    neighbour: Fifo,
    held: Fifo,
    is_isolated_by_choice: bool,
}

/// An answer that is still to come.
type Pending = Receiver<Result<Answer, String>>;

impl SlowSite {
    fn start(isolation: &str, settings: &str) -> Self {
        let (begun, neighbour, held) = (Fifo::new(), Fifo::new(), Fifo::new());
        let appliance = TestBox::start();
        let site = SiteFolder::fixture("slow");
        let environment = [("BEGUN", &begun), ("NEIGHBOUR", &neighbour), ("HELD", &held)]
            .map(|(name, fifo)| format!("{name}_FIFO = \"{}\"\n", fifo.path().display()))
            .concat();
        site.write(
            "onebox.toml",
            &format!(
                "isolation = \"{isolation}\"\nthreads = {THREADS}\n{settings}\n[static]\n\"/static\" = \"static\"\n[env]\n{environment}"
            ),
        );
        appliance.deploy(site.path()).ok();
        Self { appliance, begun, neighbour, held, is_isolated_by_choice: isolation == "process" }
    }

    fn send(&self, path: &str) -> Pending {
        let (sender, pending) = mpsc::channel();
        let (address, path) = (self.appliance.http, path.to_owned());
        std::thread::spawn(move || {
            let asked = Connection::open(address, "localhost").and_then(|mut open| open.get(&path));
            sender.send(asked).ok();
        });
        pending
    }

    /// Sends a request that says when it has begun, and waits for that.
    fn begin(&self, path: &str) -> Pending {
        let pending = self.send(path);
        self.begun.wait_for_writer();
        pending
    }

    /// Every thread of the site serves: they wait for each other.
    fn is_at_full_strength(&self) {
        let meeting: Vec<_> = (0..THREADS).map(|_| self.send("/meet")).collect();
        for pending in meeting {
            assert_eq!(received(&pending).unwrap().status, 200);
        }
    }

    fn worker(&self) -> i64 {
        self.appliance.site("slow")["workers"][0]["pid"].as_i64().unwrap_or_default()
    }

    /// Waits until another process than `before` serves the site, and nobody else.
    fn wait_for_another_worker(&self, before: i64) {
        let started = Instant::now();
        while [0, before].contains(&self.worker()) {
            assert!(started.elapsed() < DEADLINE, "no other process takes over");
        }
        if self.is_isolated_by_choice {
            return;
        }
        // Said when the engine before accepts no more.
        let said = match self.appliance.site("slow")["mode"].as_str() {
            Some("embedded") => "a fresh engine has taken over",
            _ => "moved to a process of its own",
        };
        while !self.logs().contains(said) {
            assert!(started.elapsed() < DEADLINE, "the switch does not end: {}", self.logs());
        }
    }

    fn logs(&self) -> String {
        self.appliance.cli(&["logs", "slow"]).ok().stdout
    }

    /// What the API tells of requests past their deadlines.
    fn events(&self) -> Vec<Value> {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--max-time", "60", "--unix-socket"])
            .arg(self.appliance.control_socket());
        curl.arg("http://localhost/api/v1/events/past?site=slow");
        run(curl).ok().json().as_array().cloned().unwrap_or_default()
    }

    /// The log and the API name the request, its age, and the line where its thread was.
    fn names(&self, path: &str, request_id: &str, function: &str) {
        let start = format!("request {request_id} GET {path} after ");
        let told = |text: &str| {
            text.lines().any(|line| {
                line.contains(&start)
                    && line.contains("has passed its deadline, at app.py:")
                    && line.ends_with(&format!(" in {function}"))
            })
        };
        let is_event = |event: &Value| {
            event["kind"] == "deadline" && told(event["text"].as_str().unwrap_or_default())
        };
        // The client knows first.
        let started = Instant::now();
        while !(told(&self.logs()) && self.events().iter().any(is_event)) {
            assert!(started.elapsed() < DEADLINE, "{path} {request_id}: {}", self.logs());
        }
        assert!(self.logs().contains("app.py\", line "), "the whole stack: {}", self.logs());
    }
}

fn received(pending: &Pending) -> Result<Answer, String> {
    pending.recv_timeout(DEADLINE).expect("an answer in time")
}

/// What becomes of the thread behind a path.
#[derive(Clone, Copy, PartialEq)]
enum Thread {
    ComesBack,
    IsGivenUp,
}

fn every_way_of_taking_too_long(isolation: &str) {
    let site = SlowSite::start(isolation, "harakiri = \"2s\"\nharakiri-grace = \"1s\"");
    let visitors = Poller::keep_alive(site.appliance.http, "localhost", "/pid");
    let engine = site.appliance.engine_pid();
    let mut given_up = 0;
    for (path, function, thread) in [
        ("/loop", "loop", Thread::ComesBack),
        ("/sleep", "sleep", Thread::ComesBack),
        ("/receive", "receive", Thread::ComesBack),
        ("/stream", "stream", Thread::ComesBack),
        ("/lock", "lock", Thread::IsGivenUp),
        ("/take", "take", Thread::IsGivenUp),
    ] {
        let worker = site.worker();
        let stuck = site.begin(path);
        // So that it has time left when the other has none.
        std::thread::sleep(Duration::from_secs(1));
        let neighbour = site.begin("/neighbour");
        let answered = visitors.answered();
        let answer = received(&stuck);
        assert!(visitors.answered() > answered, "others were answered meanwhile");
        site.neighbour.release_reader();
        assert_eq!(received(&neighbour).unwrap().text(), worker.to_string(), "beside {path}");
        match answer {
            Ok(answer) if path != "/stream" => {
                assert_eq!(answer.status, 504, "{path}");
                site.names(path, answer.header("x-request-id"), function);
            }
            Err(trouble) if path == "/stream" => assert!(trouble.contains("body"), "{trouble}"),
            other => panic!("{path}: {other:?}"),
        }
        given_up += u32::from(thread == Thread::IsGivenUp);
        if thread == Thread::IsGivenUp && (isolation == "process" || given_up == 2) {
            site.wait_for_another_worker(worker);
        }
        site.is_at_full_strength();
    }
    let tally = visitors.all_well();
    assert!(tally.bodies.len() > 1, "more than one process served: {:?}", tally.bodies);
    assert_eq!(site.appliance.status()["engine"]["crashes"], 0);
    assert_eq!(site.appliance.engine_pid() == engine, isolation == "process");
}

#[test]
fn an_embedded_site_survives_every_way_of_taking_too_long() {
    every_way_of_taking_too_long("embedded");
}

#[test]
fn an_isolated_site_survives_every_way_of_taking_too_long() {
    every_way_of_taking_too_long("process");
}

/// A neighbour that began before its process was replaced, and ends after.
fn a_neighbour_outlives_the_replacement(isolation: &str) {
    let site = SlowSite::start(isolation, "harakiri = \"8s\"\nharakiri-grace = \"100ms\"");
    let before = site.worker();
    let _stuck = [site.begin("/lock"), site.send("/hang")];
    std::thread::sleep(Duration::from_secs(5));
    let neighbour = site.begin("/neighbour");
    site.wait_for_another_worker(before);
    site.neighbour.release_reader();
    let answer = received(&neighbour).unwrap();
    assert_eq!((answer.status.as_u16(), answer.text()), (200, before.to_string()));
    // With its last request the old process ends, whatever its threads wait for.
    let old = Pid::from_raw(i32::try_from(before).unwrap()).unwrap();
    let started = Instant::now();
    while test_kill_process(old).is_ok() {
        assert!(started.elapsed() < DEADLINE, "the old process does not end");
        std::thread::yield_now();
    }
    site.is_at_full_strength();
}

#[test]
fn a_neighbour_outlives_the_replacement_of_its_engine() {
    a_neighbour_outlives_the_replacement("embedded");
}

#[test]
fn a_neighbour_outlives_the_replacement_of_its_worker() {
    a_neighbour_outlives_the_replacement("process");
}

/// Nobody is harmed by a GIL that is held, except that Python answers late.
fn a_held_gil(isolation: &str) {
    let site = SlowSite::start(isolation, "harakiri = \"3s\"");
    let before = site.worker();
    let early = site.begin("/nap");
    std::thread::sleep(Duration::from_secs(1));
    let holder = site.begin("/hold");
    let late = site.send("/pid");
    let admin = site.appliance.admin.unwrap();
    let answers_meanwhile = || {
        assert_eq!(get(site.appliance.http, "localhost", "/static/style.css").status, 200);
        assert!(get(admin, "localhost", "/").status.as_u16() < 500);
        site.appliance.status();
    };
    answers_meanwhile();
    assert!(early.try_recv().is_err() && holder.try_recv().is_err() && late.try_recv().is_err());
    // One after the other by their own deadlines, while nothing of Python runs.
    assert_eq!(received(&early).unwrap().status, 504);
    answers_meanwhile();
    let answer = received(&holder).unwrap();
    assert_eq!(answer.status, 504);
    site.names("/hold", answer.header("x-request-id"), "hold");
    assert_eq!(received(&late).unwrap().status, 504);
    let waiting: Vec<_> = (0..THREADS).map(|_| site.send("/pid")).collect();
    answers_meanwhile();
    assert!(waiting.iter().all(|pending| pending.try_recv().is_err()), "Python is held");
    site.held.release_reader();
    for pending in waiting {
        let answer = received(&pending).unwrap();
        assert_eq!((answer.status.as_u16(), answer.text()), (200, before.to_string()));
    }
    site.is_at_full_strength();
    assert!(site.logs().contains("for the GIL"), "{}", site.logs());
    assert_eq!(site.worker(), before, "nothing had to be replaced");
}

#[test]
fn files_and_dashboard_answer_while_an_embedded_site_holds_the_gil() {
    a_held_gil("embedded");
}

#[test]
fn files_and_dashboard_answer_while_an_isolated_site_holds_the_gil() {
    a_held_gil("process");
}

#[test]
fn a_worker_whose_gil_never_comes_back_is_replaced() {
    let site = SlowSite::start("process", "harakiri = \"2s\"\ndeadlock-timeout = \"1s\"");
    let before = site.worker();
    let stuck = site.begin("/regex");
    site.wait_for_another_worker(before);
    assert_eq!(received(&stuck).unwrap().status, 504);
    site.is_at_full_strength();
    let logs = site.logs();
    assert!(logs.contains("the GIL was not given back within"), "{logs}");
    assert!(logs.contains(" in regex"), "{logs}");
    assert!(site.events().iter().any(|event| event["kind"] == "wedged"));
}

#[test]
fn a_site_that_wedges_the_engine_twice_moves_under_load_without_a_failed_request() {
    let stuck = "[[route]]\npath = \"/lock\"\nharakiri = \"1s\"";
    let site = SlowSite::start("auto", &format!("harakiri-grace = \"100ms\"\n{stuck}"));
    let address = site.appliance.http;
    let visitors = [
        Poller::keep_alive(address, "localhost", "/pid"),
        Poller::start(address, "localhost", "/pid"),
    ];
    for mode in ["embedded", "isolated"] {
        let before = site.worker();
        // One of three threads is left to the visitors.
        let stuck = [site.begin("/lock"), site.begin("/lock")];
        site.wait_for_another_worker(before);
        for pending in stuck {
            assert_eq!(received(&pending).unwrap().status, 504);
        }
        assert_eq!(site.appliance.site("slow")["mode"], mode);
    }
    let bodies = visitors.map(|visitor| visitor.all_well().bodies);
    assert!(bodies.iter().any(|bodies| bodies.len() >= 3), "{bodies:?}");
    site.is_at_full_strength();
}

#[test]
fn a_site_that_wedges_the_engine_twice_is_isolated() {
    let site = SlowSite::start("auto", "harakiri = \"2s\"\ndeadlock-timeout = \"1s\"");
    for mode in ["embedded", "isolated"] {
        let before = site.worker();
        let stuck = site.begin("/regex");
        site.wait_for_another_worker(before);
        assert_eq!(received(&stuck).unwrap().status, 504);
        assert_eq!(site.appliance.site("slow")["mode"], mode);
    }
    site.is_at_full_strength();
    assert_eq!(site.appliance.status()["engine"]["crashes"], 0);
    let explained = site.appliance.cli(&["explain", "slow"]).ok().stdout;
    assert!(explained.contains("wedged the engine"), "{explained}");
}
