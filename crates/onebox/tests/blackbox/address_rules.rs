//! Rules for addresses: in force at once, over by themselves, from the command line, the API and box.toml; tried out and suggested.

use std::time::Instant;

use bytes::Bytes;
use http::Request;
use serde_json::{Value, json};

use crate::harness::{Connection, DEADLINE, SiteFolder, TestBox};

const SITE: &str = "static-only";
const HERE: [u8; 4] = [127, 0, 0, 1];
const OTHER: [u8; 4] = [127, 0, 0, 2];

/// What somebody at an address of this machine is answered with.
fn status_for(appliance: &TestBox, from: [u8; 4], host: &str) -> u16 {
    let mut connection = Connection::open_from(from, appliance.http, host).unwrap();
    connection.get("/").unwrap().status.as_u16()
}

fn wait_for_status(appliance: &TestBox, from: [u8; 4], status: u16) {
    let begun = Instant::now();
    while status_for(appliance, from, "localhost") != status {
        assert!(begun.elapsed() < DEADLINE, "it never answers {status}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

/// An appliance with one site.
fn with_a_site() -> TestBox {
    let appliance = TestBox::start();
    appliance.deploy(SiteFolder::fixture(SITE).path()).ok();
    appliance
}

#[test]
fn who_is_denied_gets_403_at_once_unless_somebody_allows_it() {
    let appliance = with_a_site();
    appliance.deploy(SiteFolder::fixture("hello").path()).ok();
    let mut open = Connection::open_from(OTHER, appliance.http, "localhost").unwrap();
    assert_eq!(open.get("/").unwrap().status, 200);
    let deny = ["deny", "127.0.0.2", "--for", "1h", "--reason", "scans for .env"];
    let denied = appliance.cli(&deny).ok();
    assert!(denied.stdout.contains("127.0.0.2 is refused on all sites until"), "{}", denied.stdout);
    assert!(denied.stderr.contains("it names this machine"), "{}", denied.stderr);
    let refused = open.get("/").unwrap();
    assert_eq!(refused.status, 403, "an open connection is no way around");
    assert!(refused.text().contains("This page is not for you."), "{}", refused.text());
    let at = |host: &str| [OTHER, HERE].map(|from| status_for(&appliance, from, host));
    assert_eq!((at("localhost"), at("hello.localhost")), ([403, 200], [403, 200]));

    let listed = appliance.cli(&["deny", "list"]).ok().stdout;
    assert!(listed.contains("127.0.0.2") && listed.contains("scans for .env"), "{listed}");
    appliance.cli(&["allow", "127.0.0.0/30", "--site", SITE]).ok();
    assert_eq!((at("localhost"), at("hello.localhost")), ([200, 200], [403, 200]));
    appliance.cli(&["allow", "rm", "127.0.0.0/30", "--site", SITE]).ok();
    assert_eq!(at("localhost"), [403, 200]);
    appliance.cli(&["deny", "rm", "127.0.0.2"]).ok();
    assert_eq!((at("localhost"), at("hello.localhost")), ([200, 200], [200, 200]));
    let gone = appliance.cli(&["deny", "rm", "127.0.0.2"]).failed().stderr;
    assert!(gone.contains("no rule of all sites says deny 127.0.0.2"), "{gone}");

    let begun = Instant::now();
    while appliance.status()["dropped"]["refused"].as_u64() < Some(5) {
        assert!(begun.elapsed() < DEADLINE, "{}", appliance.status()["dropped"]);
    }
    let audit = appliance.cli(&["audit", "--json"]).ok().stdout;
    for part in ["add-address-rule", "deny 127.0.0.2: scans for .env", "remove-address-rule"] {
        assert!(audit.contains(part), "{part}: {audit}");
    }
}

#[test]
fn a_rule_outlives_the_appliance_and_ends_by_itself() {
    let state = tempfile::tempdir().unwrap();
    let killed = TestBox::start_at(state.path());
    killed.deploy(SiteFolder::fixture(SITE).path()).ok();
    killed.cli(&["deny", "127.0.0.2", "--for", "1h"]).ok();
    killed.cli(&["deny", "127.0.0.3", "--site", SITE]).ok();
    drop(killed);
    let appliance = TestBox::start_at(state.path());
    assert_eq!(status_for(&appliance, OTHER, "localhost"), 403);
    assert_eq!(status_for(&appliance, [127, 0, 0, 3], "localhost"), 403);
    appliance.cli(&["deny", "127.0.0.2", "--for", "1s"]).ok();
    wait_for_status(&appliance, OTHER, 200);
    let left = appliance.cli(&["deny", "list", "--json"]).ok().json();
    let left: Vec<_> = left.as_array().unwrap().iter().map(|rule| &rule["network"]).collect();
    assert_eq!(left, ["127.0.0.3"]);
    appliance.cli(&["rm", SITE, "--yes"]).ok();
    assert_eq!(appliance.cli(&["deny", "list", "--json"]).ok().json(), json!([]));
}

#[test]
fn what_box_toml_says_of_addresses_holds_without_a_signal() {
    let listen = "[listen]\nhttp = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n";
    let appliance = TestBox::start_with_config(listen);
    appliance.deploy(SiteFolder::fixture(SITE).path()).ok();
    appliance.write_config(&format!("{listen}[access]\ndeny = [\"127.0.0.2\"]\n"));
    wait_for_status(&appliance, OTHER, 403);
    assert_eq!(status_for(&appliance, HERE, "localhost"), 200);
    let told = appliance.cli(&["deny", "rm", "127.0.0.2"]).failed().stderr;
    assert!(told.contains("stands in box.toml"), "{told}");
    appliance.write_config(&format!("{listen}[access]\ndeny = [\"127.0.0\"]\n"));
    appliance.wait_for_line("the changed box.toml is wrong");
    assert_eq!(status_for(&appliance, OTHER, "localhost"), 403);
    let both = "[access]\ndeny = [\"127.0.0.0/30\"]\nallow = [\"127.0.0.2\"]\n";
    appliance.write_config(&format!("{listen}{both}"));
    wait_for_status(&appliance, HERE, 403);
    assert_eq!(status_for(&appliance, OTHER, "localhost"), 200);
    appliance.write_config(listen);
    wait_for_status(&appliance, HERE, 200);
}

/// Asks for a path on behalf of an address, as a proxy in front does.
fn ask_for(connection: &mut Connection, client: &str, path: &str) {
    let request = Request::get(path).header("x-forwarded-for", client).body(Bytes::new()).unwrap();
    connection.send(request).unwrap();
}

#[test]
fn a_rule_is_tried_out_and_scanners_are_suggested() {
    let listen = "[listen]\nhttp = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\ntrusted-proxies = [\"127.0.0.1\"]\n";
    let appliance = TestBox::start_with_config(listen);
    appliance.deploy(SiteFolder::fixture(SITE).path()).ok();
    let mut connection = Connection::open(appliance.http, "localhost").unwrap();
    // More than the sampled request log keeps of a second.
    for number in 0..40 {
        ask_for(&mut connection, "203.0.113.7", &format!("/.git/{number}"));
        ask_for(&mut connection, "203.0.113.8", &format!("/broken/{number}"));
    }
    ask_for(&mut connection, "198.51.100.1", "/index.html");
    let trial = |arguments: &[&str]| {
        let line = [&["deny"], arguments, &["--dry-run", "--json"]].concat();
        appliance.cli(&line).ok().json()
    };
    let begun = Instant::now();
    while trial(&["198.51.100.1"])["requests"] != 1 {
        assert!(begun.elapsed() < DEADLINE, "{}", trial(&["198.51.100.1"]));
    }
    let both = trial(&["203.0.113.0/24"]);
    assert_eq!((&both["requests"], &both["addresses"]), (&80.into(), &2.into()), "{both}");
    assert_eq!(both["sites"], json!([{"site": SITE, "requests": 80}]));
    assert_eq!(both["examples"].as_array().map(Vec::len), Some(10));
    assert_eq!(trial(&["203.0.113.7", "--site", SITE])["requests"], 40);
    assert_eq!(appliance.cli(&["deny", "list", "--json"]).ok().json(), json!([]), "none was made");
    let shown = appliance.cli(&["deny", "203.0.113.7", "--dry-run"]).ok().stdout;
    assert!(shown.contains("refused 40 requests of 1 address"), "{shown}");

    let suggested = || {
        let told = appliance.cli(&["deny", "suggest", "--json"]).ok().json();
        let found = told["found"].as_array().unwrap().clone();
        found.iter().map(|one| one["network"].clone()).collect::<Vec<Value>>()
    };
    assert_eq!(suggested(), ["203.0.113.7"]);
    let shown = appliance.cli(&["deny", "suggest"]).ok().all();
    assert!(shown.contains("/.git/0") && shown.contains("at least 10 different"), "{shown}");
    appliance.cli(&["deny", "203.0.113.7", "--for", "1d"]).ok();
    assert!(suggested().is_empty());
}

#[test]
fn who_may_only_look_makes_no_rule_and_nonsense_is_refused() {
    let appliance = with_a_site();
    let created = appliance.cli(&["token", "create", "see", "--scope", "read", "--json"]).ok();
    let token = created.json()["token"].as_str().unwrap().to_owned();
    let ask = |method: &str, path: &str, body: &str| {
        let mut connection = Connection::open(appliance.admin.unwrap(), "localhost").unwrap();
        let request = Request::builder()
            .method(method)
            .uri(format!("/api/v1/address-rules{path}"))
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/json");
        let body = Bytes::copy_from_slice(body.as_bytes());
        connection.send(request.body(body).unwrap()).unwrap().status.as_u16()
    };
    assert_eq!(ask("GET", "", ""), 200);
    assert_eq!(ask("GET", "/suggestions", ""), 200);
    assert_eq!(ask("GET", "/trial?action=deny&network=10.0.0.0/8", ""), 200);
    assert_eq!(ask("GET", "/trial?action=deny&network=ten", ""), 400);
    assert_eq!(ask("GET", "/trial?action=deny&network=10.0.0.1&site=none", ""), 404);
    assert_eq!(ask("POST", "", r#"{"action":"deny","network":"10.0.0.1"}"#), 403);
    assert_eq!(ask("DELETE", "/1", ""), 403);
    for (arguments, says) in [
        (vec!["deny", "10.0.0"], "is not a network"),
        (vec!["deny", "10.0.0.0/33"], "is not a network"),
        (vec!["deny", "10.0.0.1", "--site", "none"], "there is no site none"),
        (vec!["deny", "10.0.0.1", "--reason", "a\nb"], "a reason is one line"),
    ] {
        let told = appliance.cli(&arguments).failed().stderr;
        assert!(told.contains(says), "{arguments:?}: {told}");
    }
    assert_eq!(appliance.cli(&["deny", "list", "--json"]).ok().json(), json!([]));
}
