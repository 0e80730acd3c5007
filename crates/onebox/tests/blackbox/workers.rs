//! Processes that are replaced by their limits, that come and go with the load, and that sleep: no request is lost by any of it.

use std::process::Command;
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{Connection, DEADLINE, Fifo, Poller, SiteFolder, TestBox, get, run};

/// Ten times what nobody may wait longer than.
const STALL: Duration = Duration::from_secs(10);

fn start(settings: &str) -> TestBox {
    let appliance = TestBox::start();
    let site = SiteFolder::fixture("recycled");
    site.write("onebox.toml", settings);
    appliance.deploy(site.path()).ok();
    assert_eq!(appliance.site("recycled")["mode"], "isolated");
    appliance
}

fn visitors(appliance: &TestBox) -> Vec<Poller> {
    let visitor = |number: usize| match number % 2 {
        0 => Poller::keep_alive(appliance.http, "localhost", "/"),
        _ => Poller::start(appliance.http, "localhost", "/"),
    };
    (0..4).map(visitor).collect()
}

/// Everybody was answered well, and nobody waited for long.
fn are_well(visitors: Vec<Poller>) -> usize {
    let mut processes = std::collections::BTreeSet::new();
    for visitor in visitors {
        let tally = visitor.all_well();
        assert!(tally.longest < STALL, "somebody waited {:?}", tally.longest);
        processes.extend(tally.bodies.into_keys());
    }
    processes.len()
}

fn recycles(site: &Value) -> u64 {
    let workers = site["workers"].as_array().unwrap();
    let running = workers.iter().filter(|worker| worker["state"] == "running");
    running.map(|worker| worker["recycles"].as_u64().unwrap()).sum()
}

/// What happened to it, as the API tells.
fn events(appliance: &TestBox, kind: &str) -> Vec<String> {
    let mut curl = Command::new("curl");
    curl.args(["-sS", "--max-time", "60", "--unix-socket"]).arg(appliance.control_socket());
    curl.arg("http://localhost/api/v1/events/past?site=recycled");
    let events = run(curl).ok().json();
    let events = events.as_array().unwrap().iter().filter(|event| event["kind"] == kind);
    events.map(|event| event["text"].as_str().unwrap().to_owned()).collect()
}

/// Replaced again and again while everybody is served.
fn is_replaced(settings: &str, reason: &str) {
    let appliance = start(settings);
    let visitors = visitors(&appliance);
    let status = appliance.wait_for_site("recycled", |site| recycles(site) >= 4);
    let last = status["workers"][0]["last_recycle"].as_str().unwrap_or_default();
    assert!(last.contains(reason), "{status}");
    assert!(are_well(visitors) >= 4, "fresh processes served");
    let told = events(&appliance, "recycle");
    assert!(told.len() >= 4 && told.iter().all(|text| text.contains(reason)), "{told:?}");
    let shown = appliance.cli(&["status", "recycled"]).ok().stdout;
    assert!(shown.contains(reason), "{shown}");
}

#[test]
fn processes_that_served_enough_are_replaced_and_nobody_notices() {
    is_replaced("processes = 2\nmax-requests = 20", "`max-requests`");
}

#[test]
fn processes_that_are_old_are_replaced_and_nobody_notices() {
    is_replaced("processes = 2\nmax-lifetime = \"1s\"", "`max-lifetime`");
}

#[test]
fn a_process_that_grew_is_replaced_and_its_requests_are_finished() {
    let (begun, goes_on) = (Fifo::new(), Fifo::new());
    let environment = format!("BEGUN_FIFO = {:?}\nWAIT_FIFO = {:?}", begun.path(), goes_on.path());
    let appliance = start(&format!("reload-on-rss = \"150MB\"\n[env]\n{environment}\n"));
    let visitors = visitors(&appliance);
    let address = appliance.http;
    let waiting = std::thread::spawn(move || get(address, "localhost", "/wait").text());
    begun.wait_for_writer();
    let old = get(appliance.http, "localhost", "/grow/200").text();
    let status = appliance.wait_for_site("recycled", |site| recycles(site) == 1);
    let last = status["workers"][0]["last_recycle"].as_str().unwrap_or_default();
    assert!(last.contains("`reload-on-rss`"), "{status}");
    assert_ne!(get(appliance.http, "localhost", "/").text(), old);
    let finishing = &appliance.site("recycled")["workers"][1];
    assert_eq!(
        (&finishing["state"], finishing["pid"].to_string()),
        (&"finishing".into(), old.clone())
    );
    goes_on.release_reader();
    assert_eq!(waiting.join().unwrap(), old);
    let is_alone = |site: &Value| site["workers"].as_array().unwrap().len() == 1;
    appliance.wait_for_site("recycled", is_alone);
    assert_eq!(are_well(visitors), 2);
}

#[test]
fn a_process_above_its_memory_limit_is_killed_and_named() {
    let appliance = start("memory-limit = \"150MB\"");
    let visitors = visitors(&appliance);
    let before = get(appliance.http, "localhost", "/").text();
    let pid: i64 = before.parse().unwrap();
    let mut greedy = Connection::open(appliance.http, "localhost").unwrap();
    // It may be answered before it is looked at.
    if let Ok(answer) = greedy.get("/grow/400") {
        assert!([200, 502].contains(&answer.status.as_u16()), "{}", answer.text());
    }
    let is_another = |site: &Value| {
        let worker = &site["workers"][0];
        worker["state"] == "running" && worker["pid"] != pid
    };
    let status = appliance.wait_for_site("recycled", is_another);
    assert_eq!(status["workers"][0]["recycles"], 1, "{status}");
    let answered: Vec<_> = visitors.iter().map(Poller::answered).collect();
    let begun = Instant::now();
    while visitors.iter().zip(&answered).any(|(visitor, before)| visitor.answered() < before + 5) {
        assert!(begun.elapsed() < DEADLINE, "it does not serve");
        std::thread::yield_now();
    }
    for visitor in visitors {
        let tally = visitor.stop();
        assert!(tally.failures.len() <= 1, "only what was in the process: {:?}", tally.failures);
        assert!(tally.longest < STALL, "somebody waited {:?}", tally.longest);
    }
    let log = appliance.cli(&["logs", "recycled"]).ok().stdout;
    for said in ["worker recycled.1", &before, "is killed", "MB of memory", "`memory-limit`"] {
        assert!(log.contains(said), "{said} in {log}");
    }
    assert_eq!(events(&appliance, "recycle").len(), 1);
    // How it is kept depends on the machine; that it is told does not.
    let explained = appliance.cli(&["explain", "recycled"]).ok().stdout;
    let ways = ["`memory-limit` is kept by the kernel", "`memory-limit` is looked at ten times"];
    assert!(ways.iter().any(|way| explained.contains(way)), "{explained}");
}

#[test]
fn a_site_without_requests_sleeps_and_the_next_one_wakes_it() {
    let appliance = start("idle = \"1s\"\nprocesses = 2");
    for _ in 0..2 {
        let asleep = appliance.wait_for_site("recycled", |site| {
            site["state"] == "idle" && site["workers"].as_array().unwrap().is_empty()
        });
        assert_eq!(asleep["problem"], Value::Null);
        let address = appliance.http;
        let clients: Vec<_> = (0..6)
            .map(|_| std::thread::spawn(move || get(address, "localhost", "/").status.as_u16()))
            .collect();
        for client in clients {
            assert_eq!(client.join().unwrap(), 200);
        }
    }
    let log = appliance.cli(&["logs", "recycled"]).ok().stdout;
    assert!(log.matches("the site sleeps").count() >= 2, "{log}");
    assert_eq!(log.matches("a request wakes the site").count(), 2, "{log}");
    // Asleep or not, the next release is proven and served.
    let site = SiteFolder::fixture("recycled");
    site.write("onebox.toml", "idle = \"1h\"");
    appliance.wait_for_site("recycled", |site| site["state"] == "idle");
    appliance.deploy(site.path()).ok();
    assert_eq!(get(appliance.http, "localhost", "/").status, 200);
}

/// Processes come while many ask for `path`, and go again.
fn grows_by(path: &str) {
    if available_parallelism().unwrap().get() < 2 {
        eprintln!("SKIPPED: `processes = \"auto\"` stays at one on a machine with one core");
        return;
    }
    let appliance = start("processes = \"auto\"\nthreads = 8");
    let count = |site: &Value| {
        let workers = site["workers"].as_array().unwrap().iter();
        workers.filter(|worker| worker["state"] == "running").count()
    };
    let answer = get(appliance.http, "localhost", "/");
    assert_eq!(answer.header("x-multiprocess"), "True", "it may have neighbours at any time");
    assert_eq!(count(&appliance.site("recycled")), 1);
    let visitors = visitors(&appliance);
    let busy: Vec<_> =
        (0..6).map(|_| Poller::keep_alive(appliance.http, "localhost", path)).collect();
    appliance.wait_for_site("recycled", |site| count(site) >= 2);
    assert!(are_well(busy) >= 1);
    appliance.wait_for_site("recycled", |site| count(site) == 1);
    assert!(are_well(visitors) >= 2, "both processes served");
}

#[test]
fn processes_come_while_requests_wait_for_the_gil_and_go_again() {
    grows_by("/burn");
}

#[test]
fn processes_come_while_short_requests_wait_for_each_other_and_go_again() {
    grows_by("/short");
}
