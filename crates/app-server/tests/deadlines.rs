//! Requests that take too long, through real Pythons, embedded and isolated: their threads come back, or are replaced, and
//! nobody else is harmed. What the client is told is the proxy's business.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use std::fs::OpenOptions;
use std::process::Command;
use std::time::Duration;

use harness::{Play, Scene, Way, get};
use onebox_app_server::{Deadlines, Interpreter, Notice, Usage};

const SCENES: [(&str, Play); 8] = [
    ("interrupted", threads_that_can_be_interrupted_come_back),
    ("abandoned", a_thread_that_waits_for_ever_is_replaced),
    ("stubborn", an_exception_that_is_swallowed_is_raised_again),
    ("stalled", a_stall_is_told_and_harms_no_neighbour),
    ("deadlocked", a_stall_that_lasts_wedges_the_process),
    ("streams", an_answer_without_end_is_ended),
    ("neighbours", short_requests_do_not_move_a_deadline),
    ("race", no_request_is_hit_by_the_exception_of_another),
];

/// Runs the errand of an embedded child process; nothing by itself.
#[test]
#[ignore = "the child process of the other tests"]
fn embedded_child() {
    harness::run_errand_or(&SCENES);
}

fn oldest_and_newest() -> Vec<Interpreter> {
    let mut pythons = harness::pythons();
    pythons.sort_by_key(|python| python.version);
    let newest = pythons.pop().into_iter();
    pythons.truncate(1);
    pythons.into_iter().chain(newest).collect()
}

/// Plays the scene both ways under the oldest and the newest Python.
fn play(name: &str, threads: u16, deadlines: Deadlines) {
    let scene = *SCENES.iter().find(|(known, _)| *known == name).unwrap();
    let pythons = oldest_and_newest();
    for python in &pythons {
        let spec = onebox_app_server::AppSpec { threads, deadlines, ..harness::spec("slow") };
        harness::play_both(python, &spec, scene);
    }
}

/// Long where nothing else is said.
fn deadlines() -> Deadlines {
    harness::spec("").deadlines
}

#[test]
fn interrupted() {
    play("interrupted", 2, deadlines());
}

fn threads_that_can_be_interrupted_come_back(mut scene: Scene) {
    for (path, function, line) in [
        ("/loop", "loop", "pass"),
        ("/sleep/1.5", "sleep", "time.sleep"),
        ("/receive", "receive", ".recv(1)"),
        ("/receive_with_timeout", "receive_with_timeout", ".recv(1)"),
    ] {
        let answer = scene.send(get(path).with("REQUEST_ID", path).within(300));
        let notice = scene.wait_for(|notice| matches!(notice, Notice::Overdue { .. }));
        let Notice::Overdue { request, place, stack, .. } = notice else { unreachable!() };
        assert_eq!((request.request_id.as_str(), request.path.as_str()), (path, path));
        assert_eq!(request.method, "GET");
        assert!((1..60_000).contains(&request.age_ms), "{request:?}");
        let place = place.unwrap();
        let (file, name) = place.split_once(" in ").unwrap();
        let number: usize = file.strip_prefix("slow.py:").expect(&place).parse().unwrap();
        assert_eq!(name, function, "{stack}");
        let source = include_str!("apps/slow.py").lines().nth(number - 1).unwrap();
        assert!(source.contains(line) || source.contains("while"), "{place}: {source}");
        assert!(stack.contains("in application\n"), "{stack}");
        let is_about_one =
            |notice: &Notice| !matches!(notice, Notice::Stalled { .. } | Notice::Usage(_));
        let notice = scene.wait_for(is_about_one);
        assert!(matches!(&notice, Notice::Freed(freed) if freed.request_id == path), "{notice:?}");
        let answer = answer.recv().unwrap();
        let reason = answer.aborted.unwrap_or_default();
        assert!(reason.contains("onebox_runtime.DeadlineExceeded"), "{path}: {reason}");
        assert_eq!(scene.ask(get("/nothing")).text(), "nothing");
    }
}

#[test]
fn abandoned() {
    play("abandoned", 2, Deadlines { grace: Duration::from_millis(300), ..deadlines() });
}

fn a_thread_that_waits_for_ever_is_replaced(mut scene: Scene) {
    for (count, path) in ["/lock", "/take"].into_iter().enumerate() {
        drop(scene.send(get(path).within(300)));
        let notice = scene.wait_for(|notice| matches!(notice, Notice::Abandoned(_)));
        assert!(
            matches!(&notice, Notice::Abandoned(request) if request.path == path),
            "{notice:?}"
        );
        if let Way::Socket(_) = scene.way {
            // Another process takes the place of this one, which serves on with what it has.
            scene.wait_for(|notice| matches!(notice, Notice::Wedged { .. }));
            assert_eq!(scene.ask(get("/nothing")).text(), "nothing");
            return;
        }
        // Two requests that wait for each other need both threads.
        let both = [scene.send(get("/meet")), scene.send(get("/meet"))];
        for answer in both {
            assert_eq!(answer.recv().unwrap().text(), "meet");
        }
        let is_wedged =
            |scene: &Scene| scene.seen.iter().any(|notice| matches!(notice, Notice::Wedged { .. }));
        assert!(!is_wedged(&scene));
        if count == 1 {
            scene.wait_for(|notice| matches!(notice, Notice::Wedged { .. }));
        }
    }
}

#[test]
fn stubborn() {
    play("stubborn", 1, Deadlines { grace: Duration::from_secs(2), ..deadlines() });
}

fn an_exception_that_is_swallowed_is_raised_again(mut scene: Scene) {
    drop(scene.send(get("/stubborn").within(300)));
    scene.wait_for(|notice| matches!(notice, Notice::Abandoned(_)));
    if let Way::Memory(_) = scene.way {
        assert_eq!(scene.ask(get("/nothing")).text(), "nothing");
    }
}

#[test]
fn stalled() {
    play("stalled", 2, Deadlines { grace: Duration::from_millis(500), ..deadlines() });
}

fn a_stall_is_told_and_harms_no_neighbour(mut scene: Scene) {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let neighbour = scene.send(get("/sleep/0.2"));
    let holder = scene.send(get(&format!("/hold_gil{}", fifo.display())).within(300));
    let notice = scene.wait_for(|notice| matches!(notice, Notice::Overdue { .. }));
    let Notice::Overdue { place, .. } = notice else { unreachable!() };
    assert!(place.as_deref().unwrap().ends_with("in hold_gil"), "{place:?}");
    // Longer than the grace: nobody is given up while nothing can reach a thread.
    scene.wait_for(|notice| matches!(notice, Notice::Stalled { waited_ms: 1500.. }));
    assert!(neighbour.try_recv().is_err(), "the neighbour waits for the GIL");
    let longest = |usage: &Usage| usage.gil_stalls.longest_us;
    scene.wait_for(|notice| matches!(notice, Notice::Usage(usage) if longest(usage) >= 1_500_000));
    OpenOptions::new().write(true).open(&fifo).unwrap();
    scene.wait_for(|notice| matches!(notice, Notice::Unstalled { .. }));
    assert_eq!(neighbour.recv().unwrap().text(), "sleep");
    holder.recv().unwrap();
    assert!(
        !scene.seen.iter().any(|notice| matches!(notice, Notice::Abandoned(_))),
        "{:?}",
        scene.seen
    );
    assert_eq!(scene.ask(get("/nothing")).text(), "nothing");
}

#[test]
fn deadlocked() {
    play("deadlocked", 2, Deadlines { deadlock: Duration::from_secs(1), ..deadlines() });
}

fn a_stall_that_lasts_wedges_the_process(mut scene: Scene) {
    drop(scene.send(get("/regex")));
    let notice = scene.wait_for(|notice| matches!(notice, Notice::Wedged { .. }));
    let Notice::Wedged { reason } = notice else { unreachable!() };
    assert!(reason.starts_with("the GIL was not given back within "), "{reason}");
    assert!(reason.ends_with(" in regex"), "{reason}");
}

#[test]
fn streams() {
    play("streams", 1, deadlines());
}

fn an_answer_without_end_is_ended(mut scene: Scene) {
    // Nobody reads on, as after a deadline.
    assert_eq!(scene.ask(get("/endless").and_leave()).status, 200);
    assert_eq!(scene.ask(get("/nothing")).text(), "nothing");
    let answer = scene.ask(get("/silent").within(300));
    assert_eq!((answer.status, answer.text().as_str()), (200, "one"));
    assert!(answer.aborted.unwrap().contains("DeadlineExceeded"));
    let notice = scene.wait_for(|notice| matches!(notice, Notice::Overdue { .. }));
    let Notice::Overdue { place, .. } = notice else { unreachable!() };
    assert!(place.unwrap().ends_with("in loop"));
    assert_eq!(scene.ask(get("/nothing")).text(), "nothing");
}

#[test]
fn neighbours() {
    play("neighbours", 2, deadlines());
}

fn short_requests_do_not_move_a_deadline(mut scene: Scene) {
    let stuck = scene.send(get("/loop").with("REQUEST_ID", "stuck").within(500));
    let mut answered = 0;
    while stuck.try_recv().is_err() {
        assert_eq!(scene.ask(get("/nothing").within(50_000)).text(), "nothing");
        answered += 1;
    }
    assert!(answered > 3, "{answered} beside it");
    let notice = scene.wait_for(|notice| matches!(notice, Notice::Freed(_)));
    assert!(
        matches!(&notice, Notice::Freed(request) if request.request_id == "stuck"),
        "{notice:?}"
    );
    // What it uses it says each second.
    let told = scene.seen.iter().filter(|notice| !matches!(notice, Notice::Usage(_))).count();
    assert_eq!(told, 2, "nobody else was overdue: {:?}", scene.seen);
}

#[test]
fn race() {
    play("race", 1, deadlines());
}

/// Requests that end around their deadline, on one thread, each followed by one that has time.
fn no_request_is_hit_by_the_exception_of_another(scene: Scene) {
    const PAIRS: u64 = 600;
    let mut interrupted = 0;
    for number in 0..PAIRS {
        // The same deadline, and ends that are spread over the milliseconds around it.
        let question = get(&format!("/spin/{}", 1500 + number * 7 % 4000)).within(2);
        let answer = scene.ask(question);
        if answer.aborted.is_some() {
            interrupted += 1;
        }
        let next = scene.ask(get("/spin/100"));
        assert_eq!((next.text().as_str(), next.aborted), ("spin", None), "after pair {number}");
    }
    assert!((1..PAIRS).contains(&interrupted), "{interrupted} of {PAIRS} were interrupted");
}
