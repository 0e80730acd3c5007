//! Processes that end by themselves: only what was in flight fails, nobody is refused, and what does not hold is not left in place.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::harness::{Connection, DEADLINE, Fifo, Poller, SiteFolder, TestBox, get, zombies};

/// Ten times what the next process may take to answer.
const BACK: Duration = Duration::from_secs(10);

/// A site that ends its process when it is asked to, or told to before it is imported.
struct Hazard {
    site: SiteFolder,
    told: PathBuf,
}

impl Hazard {
    fn new(configuration: &str) -> Self {
        let site = SiteFolder::fixture("hazard");
        let told = site.path().with_file_name("told.txt");
        let environment = format!("[env]\nHAZARD_FILE = \"{}\"\n", told.display());
        site.write("onebox.toml", &format!("{configuration}\n{environment}"));
        Self { site, told }
    }

    fn release(&self, appliance: &TestBox, text: &str) -> String {
        self.site.write("release.txt", text);
        appliance.deploy(self.site.path()).ok();
        appliance.site("hazard")["release"].as_str().unwrap().to_owned()
    }

    /// From now on that release ends its process in that way when it is imported.
    fn tell(&self, release: &str, way: &str) {
        std::fs::write(&self.told, format!("{release} {way}")).unwrap();
    }

    fn untell(&self) {
        std::fs::remove_file(&self.told).unwrap();
    }
}

/// Asks for a path that ends the process; the answer, if there is one, is a failure.
fn crash(appliance: &TestBox, way: &str) {
    let asked = Connection::open(appliance.http, "hazard.localhost")
        .and_then(|mut open| open.get(&format!("/{way}")));
    if let Ok(answer) = asked {
        assert_eq!(answer.status, 502, "{way}: {}", answer.text());
    }
}

/// Asks again and again until the answer is that.
fn wait_for_answer(appliance: &TestBox, host: &str, wanted: &str) {
    let begun = Instant::now();
    let mut last = String::new();
    while begun.elapsed() < DEADLINE {
        match Connection::open(appliance.http, host).and_then(|mut open| open.get("/")) {
            Ok(answer) if answer.status == 200 && answer.text() == wanted => return,
            Ok(answer) => last = format!("{} {}", answer.status, answer.text()),
            Err(trouble) => last = trouble,
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("{host} never answers {wanted:?}, last {last}");
}

fn a_crash_fails_only_what_is_in_flight(mode: &str, configuration: &str) {
    let appliance = TestBox::start();
    let hazard = Hazard::new(configuration);
    for way in ["segfault", "exit", "abort", "kill"] {
        // A new release has a clean record: it is not moved out of the engine.
        hazard.release(&appliance, way);
        assert_eq!(appliance.site("hazard")["mode"], mode);
        let clients: Vec<_> = (0..4)
            .map(|number| match number % 2 {
                0 => Poller::keep_alive(appliance.http, "hazard.localhost", "/"),
                _ => Poller::start(appliance.http, "hazard.localhost", "/"),
            })
            .collect();
        while clients.iter().any(|client| client.answered() == 0) {
            std::thread::yield_now();
        }
        crash(&appliance, way);
        let (crashed, before) = (Instant::now(), clients.iter().map(Poller::answered));
        let before: Vec<_> = before.collect();
        while clients.iter().zip(&before).any(|(client, before)| client.answered() <= *before + 1) {
            assert!(crashed.elapsed() < BACK, "{way}: it is not back");
            std::thread::yield_now();
        }
        for client in clients {
            let tally = client.stop();
            // A client has one request in flight at a time.
            assert!(tally.failures.len() <= 1, "{way}: {:?}", tally.failures);
            assert!(!tally.failures.concat().contains("refused"), "{way}: {:?}", tally.failures);
            assert_eq!(tally.bodies.keys().collect::<Vec<_>>(), [way]);
        }
    }
    let log = appliance.cli(&["logs", "hazard"]).ok().stdout;
    for cause in ["signal 11", "exited with status 3", "signal 6", "signal 9"] {
        assert!(log.contains(cause), "{cause} in {log}");
    }
}

#[test]
fn a_crash_of_an_embedded_site_fails_only_what_is_in_flight() {
    a_crash_fails_only_what_is_in_flight("embedded", "");
}

#[test]
fn a_crash_of_a_worker_fails_only_what_is_in_flight() {
    a_crash_fails_only_what_is_in_flight("isolated", "isolation = \"process\"");
}

#[test]
fn a_site_that_crashes_the_engine_twice_moves_out_of_it_under_load() {
    let appliance = TestBox::start();
    let hazard = Hazard::new("");
    hazard.release(&appliance, "one");
    assert_eq!(appliance.site("hazard")["mode"], "embedded");
    let clients: Vec<_> =
        (0..4).map(|_| Poller::keep_alive(appliance.http, "hazard.localhost", "/")).collect();
    crash(&appliance, "abort");
    wait_for_answer(&appliance, "hazard.localhost", "one");
    crash(&appliance, "segfault");
    // The last of the move is told when nobody is served by the engine any more.
    appliance.wait_for_log("hazard", "moved to a process of its own");
    assert_eq!(appliance.site("hazard")["mode"], "isolated");
    let engine = appliance.engine_pid();
    crash(&appliance, "segfault");
    wait_for_answer(&appliance, "hazard.localhost", "one");
    assert_eq!(appliance.engine_pid(), engine);
    for client in clients {
        let tally = client.stop();
        // One request of a client can be in flight at each of the three crashes.
        assert!(tally.failures.len() <= 3, "{:?}", tally.failures);
        assert!(!tally.failures.concat().contains("refused"), "{:?}", tally.failures);
    }
    let explained = appliance.cli(&["explain", "hazard"]).ok().stdout;
    assert!(explained.contains("twice in ten minutes"), "{explained}");
}

#[test]
fn a_crash_of_one_isolated_site_is_noticed_by_nobody_else() {
    let appliance = TestBox::start();
    appliance.deploy(SiteFolder::fixture("recycled").path()).ok();
    let hazard = Hazard::new("");
    hazard.release(&appliance, "one");
    let (engine, pid) =
        (appliance.engine_pid(), get(appliance.http, "recycled.localhost", "/").text());
    let visitors = [
        Poller::keep_alive(appliance.http, "recycled.localhost", "/"),
        Poller::start(appliance.http, "recycled.localhost", "/"),
    ];
    for _ in 0..3 {
        crash(&appliance, "segfault");
        wait_for_answer(&appliance, "hazard.localhost", "one");
    }
    for visitor in visitors {
        assert!(visitor.all_well().bodies.into_keys().eq([pid.as_str()]));
    }
    assert_eq!(appliance.engine_pid(), engine);
}

fn a_release_that_keeps_crashing_gives_way(configuration: &str) {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let appliance = TestBox::start_at(&state);
    let hazard = Hazard::new(configuration);
    let one = hazard.release(&appliance, "one");
    let two = hazard.release(&appliance, "two");
    hazard.tell("two", "abort");
    crash(&appliance, "segfault");
    wait_for_answer(&appliance, "localhost", "one");
    let said = |status: &Value| {
        assert_eq!(
            (&status["state"], &status["release"]),
            (&"running".into(), &one.clone().into())
        );
        let problem = status["problem"].as_str().unwrap();
        for word in [&two, &one, "signal 6", "onebox restart"] {
            assert!(problem.contains(word), "{word} in {problem}");
        }
    };
    // The last of the operation is that its workers are the only ones.
    said(&appliance.wait_for_site("hazard", |status| status["release"] == one.as_str()));
    let log = appliance.cli(&["logs", "hazard"]).ok().stdout;
    assert!(log.contains(&format!("release {two} did not hold")), "{log}");
    let table = appliance.cli(&["status"]).ok().stdout;
    assert!(table.contains("did not hold"), "{table}");

    // It is known after the appliance was killed, too.
    drop(appliance);
    let appliance = TestBox::start_at(&state);
    said(&appliance.wait_for_site("hazard", |status| status["state"] == "running"));
    assert_eq!(get(appliance.http, "localhost", "/").text(), "one");

    // A restart tries the newer one, which is proven before anything is touched.
    appliance.cli(&["restart", "hazard"]).failed();
    assert_eq!(get(appliance.http, "localhost", "/").text(), "one");
    said(&appliance.site("hazard"));
    hazard.untell();
    appliance.cli(&["restart", "hazard"]).ok();
    assert_eq!(get(appliance.http, "localhost", "/").text(), "two");
    let status = appliance.site("hazard");
    assert_eq!((&status["release"], &status["problem"]), (&two.into(), &Value::Null));
}

#[test]
fn an_embedded_release_that_keeps_crashing_gives_way_to_the_one_before() {
    a_release_that_keeps_crashing_gives_way("");
}

#[test]
fn an_isolated_release_that_keeps_crashing_gives_way_to_the_one_before() {
    a_release_that_keeps_crashing_gives_way("isolation = \"process\"");
}

#[test]
fn an_embedded_site_that_crashes_at_its_import_holds_up_no_other_and_comes_back() {
    let appliance = TestBox::start();
    let hazard = Hazard::new("isolation = \"embedded\"");
    hazard.release(&appliance, "one");
    appliance.deploy(SiteFolder::fixture("static-only").path()).ok();
    hazard.tell("one", "abort");
    crash(&appliance, "kill");
    let status = appliance.wait_for_site("hazard", |status| status["state"] == "failed");
    assert_eq!(status["mode"], "isolated", "it was taken out of the engine");
    assert!(status["problem"].as_str().unwrap().contains("signal 6"), "{status}");
    let engine = appliance.engine_pid();
    let visitors = Poller::start(appliance.http, "static-only.localhost", "/");
    assert_eq!(get(appliance.http, "hazard.localhost", "/").status, 503);
    while visitors.answered() < 20 {
        std::thread::yield_now();
    }
    assert_eq!(appliance.engine_pid(), engine, "nobody ends it any more");
    hazard.untell();
    wait_for_answer(&appliance, "hazard.localhost", "one");
    visitors.all_well();
    assert_eq!(appliance.site("hazard")["problem"], Value::Null);
}

#[test]
fn an_embedded_site_that_cannot_be_imported_for_a_while_comes_back() {
    let appliance = TestBox::start();
    let hazard = Hazard::new("");
    hazard.release(&appliance, "one");
    hazard.tell("one", "raise");
    crash(&appliance, "exit");
    let status = appliance.wait_for_site("hazard", |status| status["state"] == "failed");
    assert!(status["problem"].as_str().unwrap().contains("raised on purpose"), "{status}");
    let answer = get(appliance.http, "localhost", "/");
    assert_eq!(answer.status, 503, "{}", answer.text());
    hazard.untell();
    wait_for_answer(&appliance, "localhost", "one");
    assert_eq!(appliance.site("hazard")["mode"], "embedded");
}

#[test]
fn workers_that_are_killed_all_at_once_are_all_waited_for_and_replaced() {
    const WORKERS: usize = 8;
    let appliance = TestBox::start();
    let site = SiteFolder::fixture("hello");
    site.write("onebox.toml", &format!("processes = {WORKERS}\n"));
    appliance.deploy(site.path()).ok();
    let workers = || -> BTreeSet<i32> {
        let status = appliance.site("hello");
        let pids = status["workers"].as_array().unwrap().iter().map(|it| it["pid"].as_i64());
        pids.map(|pid| i32::try_from(pid.unwrap()).unwrap()).collect()
    };
    for round in 0..2 {
        let before = workers();
        assert_eq!(before.len(), WORKERS);
        for pid in &before {
            kill_process(Pid::from_raw(*pid).unwrap(), Signal::KILL).unwrap();
        }
        let begun = Instant::now();
        loop {
            let now = workers();
            if now.len() == WORKERS && now.is_disjoint(&before) {
                break;
            }
            assert!(begun.elapsed() < DEADLINE, "round {round}: {before:?} became {now:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(zombies(appliance.pid()), []);
        wait_for_answer(&appliance, "localhost", "hello GET / 0");
    }
}

#[test]
fn requests_wait_for_a_worker_that_is_killed_while_it_loads_again() {
    let appliance = TestBox::start();
    let (begun, held) = (Fifo::new(), Fifo::new());
    let site = SiteFolder::fixture("hello");
    let told = site.path().with_file_name("told.txt");
    let app = std::fs::read_to_string(site.path().join("app.py")).unwrap();
    let wait = format!(
        "import os\nif os.path.exists({told:?}):\n    open({:?}, 'w').close()\n    open({:?}).close()\n",
        begun.path(),
        held.path()
    );
    site.write("app.py", &format!("{wait}{app}"));
    site.write("onebox.toml", "isolation = \"process\"\n");
    appliance.deploy(site.path()).ok();
    let worker = || {
        let workers = appliance.site("hello")["workers"].clone();
        Pid::from_raw(i32::try_from(workers[0]["pid"].as_i64().unwrap()).unwrap()).unwrap()
    };
    std::fs::write(&told, "").unwrap();
    kill_process(worker(), Signal::KILL).unwrap();
    begun.wait_for_writer();
    std::fs::remove_file(&told).unwrap();
    let visitors = Poller::start(appliance.http, "localhost", "/");
    kill_process(worker(), Signal::KILL).unwrap();
    let asked = Instant::now();
    while visitors.answered() < 10 {
        assert!(asked.elapsed() < DEADLINE, "it does not come back");
        std::thread::sleep(Duration::from_millis(10));
    }
    visitors.all_well();
}
