//! One site does all the harm that a site can do; the other one never notices.

use std::time::{Duration, Instant};

use http::Request;
use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{Connection, DEADLINE, Poller, SiteFolder, TestBox, wait_until_gone};

/// Asks for harm; whether and how it is answered is its own matter.
fn harm(appliance: &TestBox, way: &str) -> Option<u16> {
    let asked = Connection::open(appliance.http, "nasty.localhost")
        .and_then(|mut open| open.get(&format!("/{way}")));
    asked.ok().map(|answer| answer.status.as_u16())
}

fn wait_until_it_answers(appliance: &TestBox, host: &str) {
    let begun = Instant::now();
    loop {
        let asked = Connection::open(appliance.http, host).and_then(|mut open| open.get("/"));
        match asked {
            Ok(answer) if answer.status == 200 => return,
            other => assert!(begun.elapsed() < DEADLINE, "{host}: {other:?}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn worker(appliance: &TestBox) -> Pid {
    let pid = appliance.site("nasty")["workers"][0]["pid"].as_i64().unwrap();
    Pid::from_raw(i32::try_from(pid).unwrap()).unwrap()
}

#[test]
fn whatever_an_isolated_site_does_the_other_one_answers() {
    let appliance = TestBox::start();
    appliance.deploy(SiteFolder::fixture("released").path()).ok();
    let nasty = SiteFolder::fixture("nasty");
    nasty.write("onebox.toml", "queue-size = 4\n[log]\nbudget = \"20MB\"\n");
    appliance.deploy(nasty.path()).ok();
    let engine = appliance.engine_pid();
    let visitors = [
        Poller::start(appliance.http, "released.localhost", "/"),
        Poller::keep_alive(appliance.http, "released.localhost", "/"),
    ];
    let mut seen = visitors.each_ref().map(Poller::answered);
    let mut the_other_one_answers = |after: &str| {
        let begun = Instant::now();
        while visitors.iter().zip(&seen).any(|(visitor, seen)| visitor.answered() < *seen + 3) {
            assert!(begun.elapsed() < DEADLINE, "nobody is served after {after}");
            std::thread::yield_now();
        }
        seen = visitors.each_ref().map(Poller::answered);
    };

    for way in ["large", "many", "split", "talk", "close", "group"] {
        harm(&appliance, way);
        the_other_one_answers(way);
        wait_until_it_answers(&appliance, "nasty.localhost");
    }
    // What it wrote has a bound: the budget, beside the file that is written.
    let logs = std::fs::read_dir(appliance.state().join("logs/nasty")).unwrap();
    let bytes: u64 = logs.map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
    assert!((10_000..40_000_000).contains(&bytes), "{bytes}");

    // Answers without an end, to readers who come and go.
    let mut readers: Vec<_> = (0..3)
        .map(|_| {
            let mut reader = Connection::open(appliance.http, "nasty.localhost").unwrap();
            let request = Request::get("/endless").body(bytes::Bytes::new()).unwrap();
            let mut answer = reader.begin(request).unwrap();
            assert!(reader.piece(&mut answer).unwrap().is_some());
            (reader, answer)
        })
        .collect();
    readers.truncate(1);
    the_other_one_answers("endless answers");
    drop(readers);
    wait_until_it_answers(&appliance, "nasty.localhost");

    // Every thread is held and its queue is full: it is busy, alone.
    let refused = std::thread::scope(|scope| {
        let clients: Vec<_> =
            (0..16).map(|_| scope.spawn(|| harm(&appliance, "swallow"))).collect();
        the_other_one_answers("a full queue");
        let answers = clients.into_iter().map(|client| client.join().unwrap());
        answers.filter(|status| *status == Some(503)).count()
    });
    assert!(refused > 0, "its queue was never full");
    wait_until_it_answers(&appliance, "nasty.localhost");

    harm(&appliance, "delete");
    let without_files = worker(&appliance);
    kill_process(without_files, Signal::KILL).unwrap();
    wait_until_gone(&[without_files]);
    let begun = Instant::now();
    while appliance.site("nasty")["state"] != "failed" {
        assert!(begun.elapsed() < DEADLINE, "{}", appliance.site("nasty"));
    }
    the_other_one_answers("its files are gone");
    appliance.deploy(nasty.path()).ok();
    wait_until_it_answers(&appliance, "nasty.localhost");
    for visitor in visitors {
        visitor.all_well();
    }
    assert_eq!(appliance.engine_pid(), engine);
}

#[test]
fn an_embedded_site_that_ruins_the_engine_costs_the_others_a_moment() {
    let appliance = TestBox::start();
    appliance.deploy(SiteFolder::fixture("static-only").path()).ok();
    for way in ["close", "group", "large", "many"] {
        // A new release has a clean record, and is embedded.
        appliance.deploy(SiteFolder::fixture("nasty").path()).ok();
        assert_eq!(appliance.site("nasty")["mode"], "embedded");
        harm(&appliance, way);
        for site in ["static-only", "nasty"] {
            wait_until_it_answers(&appliance, &format!("{site}.localhost"));
        }
    }
}

#[test]
fn a_site_that_kills_the_supervisor_loses_nothing_for_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let mut appliance = TestBox::start_at(&state);
    appliance.deploy(SiteFolder::fixture("released").path()).ok();
    appliance.deploy(SiteFolder::fixture("nasty").path()).ok();
    // It runs as the supervisor's own user here, and that one may do this.
    harm(&appliance, "parent");
    assert_eq!(appliance.wait(), -1, "a signal ended it");
    let appliance = TestBox::start_at(&state);
    for site in ["released", "nasty"] {
        wait_until_it_answers(&appliance, &format!("{site}.localhost"));
    }
}
