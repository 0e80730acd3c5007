//! The engine may die at any moment: the supervisor starts the next one, and what was live is live again.

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{SiteFolder, TestBox, get};

#[test]
fn a_killed_engine_is_replaced_and_connections_wait_for_the_next() {
    let appliance = TestBox::start();
    let site = SiteFolder::fixture("stream");
    appliance.deploy(site.path()).ok();
    let before = appliance.engine_pid();
    assert_eq!(
        get(appliance.http, "localhost", "/").text(),
        before.to_string(),
        "embedded: the engine itself answers"
    );

    for _ in 0..2 {
        let dying = appliance.engine_pid();
        kill_process(Pid::from_raw(dying).unwrap(), Signal::KILL).unwrap();
        // Asked while nobody accepts: the kernel keeps the connection until the next engine takes it. A connection that the
        // dying engine had taken already may break; the next one must not.
        let mut answers = (0..2).map(|_| {
            crate::harness::Connection::open(appliance.http, "localhost")
                .and_then(|mut open| open.get("/"))
        });
        let answer = answers.find_map(Result::ok).expect("the next engine answers");
        assert_eq!(answer.status, 200);
        assert_ne!(answer.text(), dying.to_string());
    }
    assert_eq!(appliance.status()["engine"]["crashes"], 2);
    // It may be on its way to a process of its own.
    appliance.wait_for_site("stream", |site| site["state"] == "running");
}

#[test]
fn sites_are_back_after_the_appliance_was_killed() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let site = SiteFolder::fixture("released");
    for start in 0..2 {
        let appliance = TestBox::start_at(&state);
        if start == 0 {
            appliance.deploy(site.path()).ok();
        } else {
            assert!(!appliance.greeting.contains("password"), "it is told once");
        }
        assert_eq!(get(appliance.http, "localhost", "/").text(), "one");
        // Dropped: killed without a chance to say good-bye.
    }
}

#[test]
fn signals_that_scripts_send_end_nobody() {
    let appliance = TestBox::start();
    let site = SiteFolder::fixture("stream");
    appliance.deploy(site.path()).ok();
    let engine = appliance.engine_pid();
    for signal in [Signal::USR1, Signal::USR2, Signal::HUP] {
        // To the supervisor the second one means an upgrade.
        if signal != Signal::USR2 {
            appliance.signal(signal);
        }
        kill_process(Pid::from_raw(engine).unwrap(), signal).unwrap();
        assert_eq!(get(appliance.http, "localhost", "/").text(), engine.to_string(), "{signal:?}");
    }
    assert_eq!(appliance.status()["engine"]["crashes"], 0);
}
