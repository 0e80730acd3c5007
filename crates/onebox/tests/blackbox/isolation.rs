//! Several Python sites: each in processes of its own, with packages of its own.

use serde_json::{Value, json};

use crate::harness::{Poller, SiteFolder, TestBox, environment_of, get};
use crate::pythons::pythons;

#[test]
fn two_sites_with_conflicting_flasks_stand_beside_each_other() {
    let appliance = TestBox::start();
    appliance.deploy(SiteFolder::fixture("flask-old").path()).ok();
    assert_eq!(get(appliance.http, "localhost", "/").text(), "2.3.3");
    assert_eq!(appliance.site("flask-old")["mode"], "embedded");

    let visitors = Poller::keep_alive(appliance.http, "flask-old.localhost", "/");
    appliance.deploy(SiteFolder::fixture("flask-new").path()).ok();
    assert_eq!(get(appliance.http, "flask-new.localhost", "/").text(), "3.1.0");
    assert_eq!(get(appliance.http, "flask-old.localhost", "/").text(), "2.3.3");
    for name in ["flask-old", "flask-new"] {
        assert_eq!(appliance.site(name)["mode"], "isolated", "{name}");
        let workers = appliance.site(name)["workers"].clone();
        assert_ne!(
            workers[0]["pid"].as_i64().unwrap(),
            i64::from(appliance.engine_pid()),
            "{workers}"
        );
    }
    let explained = appliance.cli(&["explain", "flask-new"]).ok().stdout;
    assert!(explained.contains("isolated"), "{explained}");

    // A redeploy of one is nothing to the other, and the engine stays.
    let engine = appliance.engine_pid();
    appliance.deploy(SiteFolder::fixture("flask-new").path()).ok();
    assert_eq!(appliance.engine_pid(), engine);
    let tally = visitors.all_well();
    assert_eq!(tally.bodies.keys().collect::<Vec<_>>(), ["2.3.3"]);
}

#[test]
fn a_site_that_asks_for_processes_gets_them_and_loses_no_request_at_a_redeploy() {
    let appliance = TestBox::start();
    let site = SiteFolder::fixture("released");
    site.write("onebox.toml", "processes = 2\n");
    appliance.deploy(site.path()).ok();
    let status = appliance.site("released");
    assert_eq!(status["mode"], "isolated");
    assert_eq!(status["workers"].as_array().unwrap().len(), 2);
    let visitors = Poller::keep_alive(appliance.http, "localhost", "/");
    site.write("release.txt", "two");
    appliance.deploy(site.path()).ok();
    assert_eq!(get(appliance.http, "localhost", "/").text(), "two");
    visitors.all_well();

    let worker =
        i32::try_from(appliance.site("released")["workers"][0]["pid"].as_i64().unwrap()).unwrap();
    let pid = rustix::process::Pid::from_raw(worker).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    // A request that the dying worker had taken already is answered 502; no other is.
    let answers: Vec<_> = (0..12).map(|_| get(appliance.http, "localhost", "/")).collect();
    let lost = answers.iter().filter(|answer| answer.status != 200).count();
    assert!(lost <= 1, "{lost} of {} were lost", answers.len());
    assert!(
        answers.iter().skip(2).all(|answer| answer.text() == "two"),
        "its neighbour and its successor answer"
    );
}

#[test]
fn two_sites_on_different_pythons_stand_beside_each_other() {
    let pythons = pythons();
    let (Some(oldest), Some(newest)) = (pythons.first_key_value(), pythons.last_key_value()) else {
        panic!("this test needs a CPython of 3.9 or newer");
    };
    if oldest == newest {
        eprintln!("SKIPPED: this machine has one minor version of Python only");
        return;
    }
    let appliance = TestBox::start();
    for (name, (_, python)) in [("oldest", oldest), ("newest", newest)] {
        let site = SiteFolder::fixture_as("where", name);
        site.write("onebox.toml", &format!("python = {python:?}\n"));
        appliance.deploy(site.path()).ok();
    }
    for (name, (minor, _)) in [("oldest", oldest), ("newest", newest)] {
        let said = get(appliance.http, &format!("{name}.localhost"), "/").text();
        let said: Value = serde_json::from_str(&said).unwrap();
        assert_eq!(said["version"], json!([3, minor]), "{name}: {said}");
        assert_eq!(appliance.site(name)["mode"], "isolated");
    }
}

#[test]
fn two_django_sites_have_settings_of_their_own() {
    let python = environment_of("frameworks");
    let appliance = TestBox::start();
    for name in ["north", "south"] {
        let site = SiteFolder::fixture_as("settings", name);
        let settings = format!("python = {python:?}\n[env]\nDJANGO_SETTINGS_MODULE = \"{name}\"\n");
        site.write("onebox.toml", &settings);
        appliance.deploy(site.path()).ok();
    }
    for name in ["north", "south", "north"] {
        assert_eq!(get(appliance.http, &format!("{name}.localhost"), "/").text(), name);
    }
}

fn in_mode(appliance: &TestBox, site: &str, mode: &str) {
    assert_eq!(appliance.site(site)["mode"], mode);
    let pid = get(appliance.http, &format!("{site}.localhost"), "/").text();
    assert_eq!(pid == appliance.engine_pid().to_string(), mode == "embedded", "{pid}");
}

#[test]
fn a_site_moves_under_load_when_its_configuration_asks_and_when_others_come_and_go() {
    let appliance = TestBox::start();
    let site = SiteFolder::fixture("recycled");
    appliance.deploy(site.path()).ok();
    in_mode(&appliance, "recycled", "embedded");
    let visitors = [
        Poller::keep_alive(appliance.http, "recycled.localhost", "/"),
        Poller::start(appliance.http, "recycled.localhost", "/"),
    ];
    for (settings, mode) in [
        ("isolation = \"process\"", "isolated"),
        ("", "embedded"),
        ("max-requests = 1000000", "isolated"),
        ("isolation = \"embedded\"", "embedded"),
        ("", "embedded"),
    ] {
        site.write("onebox.toml", settings);
        appliance.deploy(site.path()).ok();
        in_mode(&appliance, "recycled", mode);
    }
    appliance.deploy(SiteFolder::fixture("hello").path()).ok();
    in_mode(&appliance, "recycled", "isolated");
    appliance.cli(&["rm", "hello", "--yes"]).ok();
    in_mode(&appliance, "recycled", "embedded");
    for visitor in visitors {
        let tally = visitor.all_well();
        assert!(tally.bodies.len() >= 5, "{:?}", tally.bodies);
    }
    assert_eq!(appliance.status()["engine"]["crashes"], 0);
}
