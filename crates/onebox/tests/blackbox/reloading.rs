//! SIGHUP: a changed configuration is in force without a lost request, or refused whole.

use std::net::TcpListener;

use rustix::process::Signal;

use crate::harness::{Poller, SiteFolder, TestBox, get};

/// Bytes of a request line that only the larger limit takes.
const LONG: usize = 2000;
/// Where it listens: in the file, since a flag would win over it.
const LISTEN: &str = "[listen]\nhttp = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n";

#[test]
fn limits_and_addresses_change_under_load_and_a_wrong_configuration_is_refused_whole() {
    let appliance = TestBox::start_with_config(LISTEN);
    let site = SiteFolder::fixture("released");
    appliance.deploy(site.path()).ok();
    let clients = [
        Poller::start(appliance.http, "localhost", "/"),
        Poller::keep_alive(appliance.http, "localhost", "/"),
    ];
    let long = format!("/?{}", "x".repeat(LONG));
    assert_eq!(get(appliance.http, "localhost", &long).status, 200);
    let engine = appliance.engine_pid();

    let small = format!("{LISTEN}[limits]\nmax-target = \"1KB\"\n");
    appliance.write_config(&small);
    appliance.signal(Signal::HUP);
    appliance.wait_for_line("the configuration was reloaded");
    assert_eq!(get(appliance.http, "localhost", &long).status, 414);
    assert_ne!(appliance.engine_pid(), engine, "another engine serves");

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken =
        format!("[listen]\nhttp = \"127.0.0.1:0\"\nadmin = \"{}\"\n", taken.local_addr().unwrap());
    let wrong = [
        (format!("{LISTEN}[limits]\nmax-target = 3\n\n[relases]\n"), "did you mean `releases`?"),
        (taken, "has this address: stop it"),
    ];
    let engine = appliance.engine_pid();
    for (text, said) in wrong {
        appliance.write_config(&text);
        appliance.signal(Signal::HUP);
        appliance.wait_for_line(said);
        assert_eq!(get(appliance.http, "localhost", &long).status, 414);
    }
    appliance.wait_for_line("box.toml:5");
    assert_eq!(appliance.engine_pid(), engine, "the old configuration goes on");

    appliance.write_config(&format!("{small}[releases]\nkeep = 2\n"));
    appliance.signal(Signal::HUP);
    appliance.wait_for_lines("the configuration was reloaded", 2);
    assert_eq!(appliance.engine_pid(), engine, "engines have nothing to do with it");
    appliance.signal(Signal::HUP);
    appliance.wait_for_line("the configuration has not changed");
    for client in clients {
        client.all_well();
    }
}

#[test]
fn addresses_are_added_and_given_up() {
    let appliance =
        TestBox::start_with_config("[listen]\nhttp = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n");
    let site = SiteFolder::fixture("released");
    appliance.deploy(site.path()).ok();
    let clients = Poller::start(appliance.http, "localhost", "/");
    let dashboard = appliance.admin.unwrap();
    appliance.write_config(
        "[listen]\nhttp = [\"127.0.0.1:0\", \"127.0.0.2:0\"]\nadmin = \"127.0.0.2:0\"\n",
    );
    appliance.signal(Signal::HUP);
    appliance.wait_for_line("the configuration was reloaded");
    let status = appliance.status();
    assert_eq!(status["http"][0], appliance.http.to_string(), "what stays keeps its port");
    let added = status["http"][1].as_str().unwrap().parse().unwrap();
    assert_eq!(get(added, "localhost", "/").text(), "one");
    let moved = status["admin"][0].as_str().unwrap().parse().unwrap();
    assert_eq!(get(moved, "localhost", "/").status, 200);
    while std::net::TcpStream::connect(dashboard).is_ok() {
        std::thread::yield_now();
    }

    let visitor = Poller::start(added, "localhost", "/");
    while visitor.answered() == 0 {
        std::thread::yield_now();
    }
    visitor.all_well();
    appliance.write_config("[listen]\nhttp = \"127.0.0.1:0\"\nadmin = \"127.0.0.2:0\"\n");
    appliance.signal(Signal::HUP);
    appliance.wait_for_lines("the configuration was reloaded", 2);
    assert_eq!(appliance.status()["http"].as_array().unwrap().len(), 1);
    clients.all_well();
}
