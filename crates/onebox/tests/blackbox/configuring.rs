//! The configuration and the variables of a site that is on line: tried out without a trace, put on line as a release.

use serde_json::{Value, json};

use crate::harness::{Connection, Finished, SiteFolder, TestBox, get};

/// `onebox config SITE … FILE`, with the text in a file.
fn config(appliance: &TestBox, site: &str, what: &[&str], text: &str) -> Finished {
    let file = appliance.state().join("new.toml");
    std::fs::write(&file, text).unwrap();
    let mut arguments = vec!["config", site];
    arguments.extend(what);
    arguments.push(file.to_str().unwrap());
    appliance.cli(&arguments)
}

fn releases(appliance: &TestBox, site: &str) -> Vec<String> {
    let releases = appliance.cli(&["releases", site, "--json"]).ok().json();
    let ids = releases.as_array().unwrap().iter().map(|release| release["id"].as_str().unwrap());
    ids.map(str::to_owned).collect()
}

#[test]
fn a_configuration_is_tried_out_without_a_trace_and_put_on_line_as_a_release() {
    let appliance = TestBox::start();
    let site = SiteFolder::fixture("notes");
    appliance.deploy(site.path()).ok();
    let ask = |path: &str| get(appliance.http, "localhost", path);
    let post = |path: &str, text: &'static str| {
        let mut connection = Connection::open(appliance.http, "localhost").unwrap();
        assert_eq!(connection.post(path, "text/plain", text).unwrap().status, 200);
    };
    post("/notes", "kept");
    post("/uploads/a.txt", "uploaded");
    let old = appliance.cli(&["config", "notes"]).ok().stdout;
    assert_eq!(old, "persist = [\"notes.sqlite3\", \"uploads\"]\n");
    let first = releases(&appliance, "notes");
    let engine = appliance.engine_pid();

    let wrong = format!("{old}threads = 0\nthread = 2\n");
    let told = config(&appliance, "notes", &["--check"], &wrong).failed().stderr;
    for said in ["2 problems", "threads = 0", ":2:", "1 to 1000", ":3:", "`threads`?"] {
        assert!(told.contains(said), "{said:?} in {told}");
    }
    config(&appliance, "notes", &["--apply"], &wrong).failed();
    let nowhere = format!("{old}chdir = \"nowhere\"\n");
    let check = config(&appliance, "notes", &["--json", "--check"], &nowhere).failed().json();
    assert_eq!(
        (&check["problems"][0]["line"], &check["problems"][0]["key"]),
        (&json!(2), &json!("chdir"))
    );

    let new = format!(
        "# changed here\n{old}harakiri = \"20s\"\n[headers]\nset = {{ X-New = \"yes\" }}\n"
    );
    let check = config(&appliance, "notes", &["--json", "--check"], &new).ok().json();
    let changes = check["changes"].as_array().unwrap().iter();
    let changes: Vec<_> = changes
        .map(|change| {
            (change["name"].as_str().unwrap(), &change["old"], change["concern"].as_str().unwrap())
        })
        .collect();
    let expected =
        [("harakiri", &Value::Null, "processes"), ("headers.set.X-New", &Value::Null, "requests")];
    assert_eq!(changes, expected);
    assert_eq!((releases(&appliance, "notes"), appliance.engine_pid()), (first.clone(), engine));
    assert_eq!(ask("/notes").header("x-new"), "");

    let applied = config(&appliance, "notes", &["--apply"], &new).ok().stdout;
    assert!(applied.contains("✓ health"), "{applied}");
    let after = releases(&appliance, "notes");
    assert_eq!((after.len(), &after[1]), (2, &first[0]));
    let answer = ask("/notes");
    assert_eq!((answer.header("x-new"), answer.text().as_str()), ("yes", "kept"));
    assert_eq!(ask("/uploads/a.txt").text(), "uploaded");
    assert_eq!(appliance.cli(&["config", "notes"]).ok().stdout, new);

    // Whoever began with the release before must look again.
    let late = config(&appliance, "notes", &["--release", &first[0], "--apply"], &old).failed();
    assert!(late.stderr.contains("by now") && late.stderr.contains(&after[0]), "{}", late.stderr);
    let events = appliance.api("/api/v1/events/past?site=notes").json();
    let told = events.as_array().unwrap().iter().any(|event| {
        event["kind"] == "configuration"
            && event["text"] == "onebox.toml changed: harakiri, headers.set.X-New"
    });
    assert!(told, "{events}");
    let listed = appliance.cli(&["events", "notes", "--json"]).ok().json_lines();
    let known = events.as_array().unwrap();
    assert_eq!(listed.get(..known.len()), Some(known.as_slice()), "{listed:?}");
    let listed = appliance.cli(&["events", "notes", "--since", "1h"]).ok().stdout;
    assert!(listed.contains("onebox.toml changed: harakiri"), "{listed}");
    let before = appliance.cli(&["events", "--until", "1d"]).ok();
    assert!(before.stdout.is_empty() && before.stderr.contains("nothing happened"), "{before:?}");
    let audit = appliance.cli(&["audit", "--json"]).ok().stdout;
    assert!(
        audit.contains("apply-configuration") && audit.contains("check-configuration"),
        "{audit}"
    );

    appliance.cli(&["rollback", "notes"]).ok();
    assert_eq!(appliance.cli(&["config", "notes"]).ok().stdout, old);
    assert_eq!(ask("/notes").header("x-new"), "");
}

#[test]
fn what_would_not_come_on_line_is_told_or_leaves_everything_as_it_is() {
    let appliance = TestBox::start();
    let one = SiteFolder::fixture_as("static-only", "one");
    let two = SiteFolder::fixture_as("static-only", "two");
    one.write("onebox.toml", "domains = [\"one.example\"]\n");
    appliance.deploy(one.path()).ok();
    appliance.deploy(two.path()).ok();
    assert_eq!(appliance.cli(&["config", "two"]).ok().stdout, "");

    let taken = "\ndomains = [\"two.example\", \"one.example\"]\n";
    let check = config(&appliance, "two", &["--json", "--check"], taken).failed().json();
    let problem = &check["problems"][0];
    assert_eq!((&problem["key"], &problem["line"]), (&json!("domains"), &json!(2)), "{check}");
    assert!(problem["message"].as_str().unwrap().contains("one"), "{check}");

    let live = releases(&appliance, "two")[0].clone();
    // A health check that fails is known only when it is asked.
    let sick = "domains = [\"two.example\"]\n[health]\npath = \"/nothing\"\nstatus = 200\n";
    config(&appliance, "two", &["--check"], sick).ok();
    let failed = config(&appliance, "two", &["--apply"], sick).failed();
    assert!(failed.stderr.contains("health"), "{}", failed.stderr);
    assert_eq!(appliance.site("two")["release"], live);
    assert_eq!(appliance.cli(&["config", "two"]).ok().stdout, "");
    assert_eq!(appliance.site("two")["domains"], json!([]));
    assert_eq!(get(appliance.http, "two.localhost", "/").status, 200);

    config(&appliance, "two", &["--apply"], "domains = [\"two.example\"]\n").ok();
    assert_eq!(appliance.site("two")["domains"], json!(["two.example"]));
    assert_eq!(get(appliance.http, "two.example", "/").status, 200);
    appliance.cli(&["config", "nowhere"]).failed();
}

#[test]
fn several_variables_are_tried_out_and_changed_as_one() {
    let appliance = TestBox::start();
    appliance.deploy(SiteFolder::fixture("released").path()).ok();
    let greeting = || get(appliance.http, "localhost", "/greeting").text();
    let env = |arguments: &[&str]| {
        let mut all = vec!["env"];
        all.extend(arguments);
        appliance.cli(&all)
    };
    env(&["set", "released", "OLD=1", "GREETING=first"]).ok();
    assert_eq!(greeting(), "first");
    let generation = appliance.status()["engine"]["generation"].clone();

    let wrong = env(&["set", "released", "GREETING=x", "ONEBOX_X=1", "1A=2", "--unset", "NONE"]);
    let told = wrong.failed().stderr;
    for said in ["ONEBOX_X: is kept", "1A: can't be", "NONE: is not set"] {
        assert!(told.contains(said), "{said:?} in {told}");
    }
    let change = ["set", "released", "GREETING=second", "NEW=1", "--unset", "OLD"];
    let tried = env(&[&change[..], &["--dry-run", "--json"]].concat()).ok().json();
    let becomes = [("GREETING", "changed"), ("NEW", "added"), ("OLD", "removed")];
    let expected: Vec<_> =
        becomes.iter().map(|(name, becomes)| json!({"name": name, "becomes": becomes})).collect();
    assert_eq!((&tried["changes"], &tried["restarts"]), (&json!(expected), &json!(true)));
    assert_eq!(
        (greeting().as_str(), &appliance.status()["engine"]["generation"]),
        ("first", &generation)
    );

    env(&change).ok();
    assert_eq!(greeting(), "second");
    let fresh = appliance.status()["engine"]["generation"].as_u64().unwrap();
    assert_eq!(Some(fresh - 1), generation.as_u64(), "one restart for all");
    let shown = env(&["list", "released", "--show", "--json"]).ok().json();
    let expected = json!([{"name": "GREETING", "value": "second"}, {"name": "NEW", "value": "1"}]);
    assert_eq!(shown, expected);
    env(&["set", "released", "NEW=1"]).ok();
    assert_eq!(appliance.status()["engine"]["generation"], fresh, "nothing changed");
}
