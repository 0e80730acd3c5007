//! A site from its first deploy to its removal, with everything that is asked about it on the way.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{Fifo, Finished, SiteFolder, TestBox, get, run};

#[test]
fn a_site_lives_from_deploy_to_rm() {
    let appliance = TestBox::start();
    assert!(appliance.greeting.contains("password"), "{}", appliance.greeting);
    let site = SiteFolder::fixture("released");

    let deployed = appliance.deploy(site.path()).ok();
    for step in ["detect", "copy", "start", "health", "switch"] {
        assert!(deployed.stdout.contains(&format!("✓ {step}")), "{step} in {}", deployed.stdout);
    }
    assert!(deployed.stdout.contains(&appliance.http.port().to_string()), "{}", deployed.stdout);
    assert_eq!(get(appliance.http, "localhost", "/").text(), "one");

    let status = appliance.status();
    assert_eq!(status["sites"][0]["name"], "released");
    assert_eq!(status["sites"][0]["state"], "running");
    assert_eq!(status["sites"][0]["mode"], "embedded");
    assert_eq!(status["http"][0].as_str().unwrap(), appliance.http.to_string());
    let table = appliance.cli(&["status"]).ok().stdout;
    assert!(table.contains("released") && table.contains("embedded"), "{table}");
    let explained = appliance.cli(&["explain", "released", "--json"]).ok().json();
    assert_eq!(explained["mode"], "embedded");
    assert!(!explained["reasons"].as_array().unwrap().is_empty());

    environment_is_set_listed_and_unset(&appliance);
    releases_are_listed_and_rolled_back(&appliance, &site);
    a_stopped_site_answers_503_and_comes_back(&appliance);
    logs_are_shown_and_followed(&appliance);

    appliance.cli(&["rm", "released"]).failed();
    appliance.cli(&["rm", "released", "--yes"]).ok();
    assert_eq!(appliance.status()["sites"].as_array().unwrap().len(), 0);
    assert_eq!(get(appliance.http, "localhost", "/").status, 421);
    assert!(!appliance.state().join("sites/released").exists());
    let gone = appliance.cli(&["status", "released"]).failed();
    assert!(gone.stderr.contains("released"), "{}", gone.stderr);
}

fn environment_is_set_listed_and_unset(appliance: &TestBox) {
    assert_eq!(get(appliance.http, "localhost", "/greeting").text(), "none");
    appliance.cli(&["env", "set", "released", "GREETING=a=b"]).ok();
    assert_eq!(get(appliance.http, "localhost", "/greeting").text(), "a=b");
    let listed = appliance.cli(&["env", "list", "released"]).ok().stdout;
    assert!(listed.contains("GREETING") && !listed.contains("a=b"), "{listed}");
    let shown = appliance.cli(&["env", "list", "released", "--show", "--json"]).ok().json();
    assert_eq!(shown, serde_json::json!([{"name": "GREETING", "value": "a=b"}]));
    appliance.cli(&["env", "unset", "released", "GREETING"]).ok();
    assert_eq!(get(appliance.http, "localhost", "/greeting").text(), "none");
}

fn releases_are_listed_and_rolled_back(appliance: &TestBox, site: &SiteFolder) {
    site.write("release.txt", "two");
    let events =
        appliance.cli(&["deploy", site.path().to_str().unwrap(), "--json"]).ok().json_lines();
    assert_eq!(events.last().unwrap()["event"], "done");
    assert_eq!(events[0]["event"], "step");
    assert_eq!(get(appliance.http, "localhost", "/").text(), "two");

    let releases = appliance.cli(&["releases", "released", "--json"]).ok().json();
    let live: Vec<_> = releases
        .as_array()
        .unwrap()
        .iter()
        .map(|release| release["live"].as_bool().unwrap())
        .collect();
    assert_eq!(live, [true, false]);
    assert_eq!(releases[0]["id"], events.last().unwrap()["release"]);
    let first = releases[1]["id"].as_str().unwrap().to_owned();

    appliance.cli(&["rollback", "released"]).ok();
    assert_eq!(get(appliance.http, "localhost", "/").text(), "one");
    assert_eq!(appliance.site("released")["release"], first.as_str());
    let second = releases[0]["id"].as_str().unwrap();
    appliance.cli(&["rollback", "released", second]).ok();
    assert_eq!(get(appliance.http, "localhost", "/").text(), "two");
    appliance.cli(&["rollback", "released", "19700101-000000-0000"]).failed();
    assert_eq!(get(appliance.http, "localhost", "/").text(), "two");
}

fn a_stopped_site_answers_503_and_comes_back(appliance: &TestBox) {
    appliance.cli(&["stop", "released"]).ok();
    assert_eq!(get(appliance.http, "localhost", "/").status, 503);
    assert_eq!(appliance.site("released")["state"], "stopped");
    appliance.cli(&["start", "released"]).ok();
    assert_eq!(get(appliance.http, "localhost", "/").text(), "two");
    let before = appliance.engine_pid();
    appliance.cli(&["restart", "released"]).ok();
    assert_eq!(get(appliance.http, "localhost", "/").text(), "two");
    assert_ne!(appliance.engine_pid(), before, "an embedded site is loaded anew in a new engine");
}

fn logs_are_shown_and_followed(appliance: &TestBox) {
    let mut follow = appliance.command(&["logs", "released", "-f", "-n", "0", "--json"]);
    let mut following = follow.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(following.stdout.take().unwrap()).lines();
    // Asked again and again until the follower is there; it only sees what comes after it.
    let found = std::thread::scope(|scope| {
        let reader = scope.spawn(move || lines.next().unwrap().unwrap());
        while !reader.is_finished() {
            get(appliance.http, "localhost", "/logged-path");
            std::thread::yield_now();
        }
        reader.join().unwrap()
    });
    kill_process(Pid::from_child(&following), Signal::KILL).unwrap();
    following.wait().unwrap();
    let line: serde_json::Value = serde_json::from_str(&found).unwrap();
    assert_eq!((&line["source"], &line["text"]), (&"app".into(), &"asked for /logged-path".into()));

    let shown = appliance.cli(&["logs", "released", "-n", "5"]).ok().stdout;
    assert!(shown.lines().count() <= 5 && shown.contains("asked for /logged-path"), "{shown}");
    let lines = appliance.cli(&["logs", "released", "--access", "--json"]).ok().json_lines();
    assert!(lines.iter().any(|line| line["source"] == "access"), "{lines:?}");
}

#[test]
fn the_access_log_is_followed_too() {
    let appliance = TestBox::start();
    appliance.deploy(SiteFolder::fixture("static-only").path()).ok();
    let mut follow = appliance.command(&["logs", "static-only", "-f", "--access", "-n", "0"]);
    let mut following = follow.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(following.stdout.take().unwrap()).lines();
    let found = std::thread::scope(|scope| {
        let reader = scope.spawn(move || lines.next().unwrap().unwrap());
        while !reader.is_finished() {
            get(appliance.http, "localhost", "/about/");
            std::thread::yield_now();
        }
        reader.join().unwrap()
    });
    kill_process(Pid::from_child(&following), Signal::KILL).unwrap();
    following.wait().unwrap();
    assert!(found.contains("GET /about/ 200 ") && found.contains(" ms 127.0.0.1"), "{found}");
}

#[test]
fn hosts_choose_the_site_and_an_unknown_one_gets_421() {
    let appliance = TestBox::start();
    let site = SiteFolder::fixture("hello");
    let path = site.path().to_str().unwrap();
    appliance
        .cli(&[
            "deploy",
            path,
            "--name",
            "greeter",
            "--domain",
            "hello.example",
            "--domain",
            "www.hello.example",
        ])
        .ok();
    for host in ["hello.example", "www.hello.example", "HELLO.example:8080", "greeter.localhost"] {
        assert_eq!(get(appliance.http, host, "/").text(), "hello GET / 0", "{host}");
    }
    assert_eq!(get(appliance.http, "other.example", "/").status, 421);

    // Somebody else's client, not ours.
    let url = format!("http://{}/by-curl?x=1", appliance.http);
    let mut curl = Command::new("curl");
    curl.args([
        "-sS",
        "-i",
        "--max-time",
        "60",
        "-H",
        "Host: hello.example",
        "--data",
        "abc",
        &url,
    ]);
    let answer: Finished = run(curl).ok();
    assert!(answer.stdout.starts_with("HTTP/1.1 200 OK\r\n"), "{}", answer.stdout);
    assert!(answer.stdout.ends_with("hello POST /by-curl 3"), "{}", answer.stdout);
}

#[test]
fn a_second_site_without_domains_is_told_that_only_this_machine_finds_it() {
    let appliance = TestBox::start();
    let site = SiteFolder::fixture("static-only");
    let path = site.path().to_str().unwrap();
    let first = appliance.cli(&["deploy", path, "--name", "first"]).ok();
    assert!(!first.stdout.contains("warning"), "{}", first.stdout);
    let second = appliance.cli(&["deploy", path, "--name", "second"]).ok();
    assert!(second.stdout.contains("--domain HOST"), "{}", second.stdout);
    let named = appliance.cli(&["deploy", path, "--name", "second", "--domain", "b.example"]).ok();
    assert!(!named.stdout.contains("warning"), "{}", named.stdout);
}

#[test]
fn what_is_not_there_is_told_with_what_to_do() {
    let appliance = TestBox::start();
    appliance.deploy(SiteFolder::fixture("static-only").path()).ok();
    let back = appliance.cli(&["rollback", "static-only", "99"]).failed();
    assert!(back.stderr.contains("`onebox releases static-only` lists them"), "{}", back.stderr);
    let listed = appliance.cli(&["env", "list", "static-only"]).ok();
    assert!(listed.stderr.contains("has no variables"), "{}", listed.stderr);
    assert_eq!(listed.stdout, "");
}

#[test]
fn a_site_whose_first_deploy_goes_on_is_starting() {
    let appliance = TestBox::start();
    let (begun, held) = (Fifo::new(), Fifo::new());
    let site = SiteFolder::fixture("hello");
    let app = std::fs::read_to_string(site.path().join("app.py")).unwrap();
    let wait = format!("open({:?}, 'w').close()\nopen({:?}).close()\n", begun.path(), held.path());
    site.write("app.py", &format!("{wait}{app}"));
    std::thread::scope(|scope| {
        let deploy = scope.spawn(|| appliance.deploy(site.path()));
        begun.wait_for_writer();
        let status = appliance.site("hello");
        assert_eq!((&status["state"], status["problem"].is_null()), (&"starting".into(), true));
        held.release_reader();
        deploy.join().unwrap().ok();
    });
    assert_eq!(appliance.site("hello")["state"], "running");
}
