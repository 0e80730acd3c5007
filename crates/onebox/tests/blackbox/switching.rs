//! Changing what is live while clients are being served: nobody is refused, nothing is cut short.

use rustix::process::Signal;

use crate::harness::{Connection, Fifo, Poller, SiteFolder, TestBox, begin_stream};

#[test]
fn redeploys_under_load_fail_no_request() {
    let appliance = TestBox::start();
    let site = SiteFolder::fixture("released");
    appliance.deploy(site.path()).ok();
    let clients: Vec<_> = (0..4)
        .map(|number| match number % 2 {
            0 => Poller::keep_alive(appliance.http, "localhost", "/"),
            _ => Poller::start(appliance.http, "localhost", "/"),
        })
        .collect();
    for release in ["two", "three"] {
        site.write("release.txt", release);
        appliance.deploy(site.path()).ok();
    }
    appliance.cli(&["rollback", "released"]).ok();
    appliance.cli(&["restart", "released"]).ok();
    let before: Vec<_> = clients.iter().map(Poller::answered).collect();
    while clients.iter().zip(&before).any(|(client, before)| client.answered() <= *before) {
        std::thread::yield_now();
    }
    for client in clients {
        let tally = client.all_well();
        assert_eq!(tally.bodies.keys().collect::<Vec<_>>(), ["one", "three", "two"]);
    }
}

#[test]
fn a_request_in_flight_outlives_a_redeploy() {
    let appliance = TestBox::start();
    let fifo = Fifo::new();
    let site = streaming_site(&fifo);
    appliance.deploy(site.path()).ok();
    let (mut waiting, mut answer) = begin_stream(appliance.http);

    let old = crate::harness::get(appliance.http, "localhost", "/").text();
    appliance.deploy(site.path()).ok();
    let new = crate::harness::get(appliance.http, "localhost", "/").text();
    assert_ne!(old, new, "another process answers now");
    fifo.release_reader();
    assert_eq!(waiting.piece(&mut answer).unwrap().unwrap(), "second");
    assert!(waiting.piece(&mut answer).unwrap().is_none());
}

#[test]
fn sigterm_finishes_what_is_in_flight_and_exits_0() {
    let mut appliance = TestBox::start();
    let fifo = Fifo::new();
    appliance.deploy(streaming_site(&fifo).path()).ok();
    let (mut waiting, mut answer) = begin_stream(appliance.http);

    let mut idle = Connection::open(appliance.http, "localhost").unwrap();
    assert!(!idle.get("/").unwrap().closes());
    appliance.signal(Signal::TERM);
    // It has heard of it when an answer announces the end of its connection; none is refused before.
    while !idle.get("/").unwrap().closes() {
        std::thread::yield_now();
    }
    fifo.release_reader();
    assert_eq!(waiting.piece(&mut answer).unwrap().unwrap(), "second");
    assert!(waiting.piece(&mut answer).unwrap().is_none());
    assert_eq!(appliance.wait(), 0);
    assert!(!appliance.control_socket().exists(), "nothing is left that looks like an appliance");
}

fn streaming_site(fifo: &Fifo) -> SiteFolder {
    let site = SiteFolder::fixture("stream");
    site.write(
        "onebox.toml",
        &format!("reload-mercy = \"60s\"\n[env]\nSTREAM_FIFO = \"{}\"\n", fifo.path().display()),
    );
    site
}
