//! As root only the supervisor is root: the engine, sites without a `uid`, their packages and hooks are not.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use bytes::Bytes;
use onebox_config::Account;
use rustix::process::Signal;
use serde_json::json;

use crate::harness::{Connection, DEADLINE, Pem, SiteFolder, TestBox, get, onebox, run};
use crate::properties::{asked, find_everybodys_python, is_root, owner};

/// Whom sites run as where nobody says anything.
fn user() -> Account {
    Account::find("onebox").unwrap_or(Account::of_numbers(65_530, 65_530))
}

/// As somebody starts it who has configured nothing.
fn as_it_comes(command: &mut Command) {
    find_everybodys_python(command);
    command.env_remove("ONEBOX_PROCESS__USER");
}

/// Whether it can be tested; said where not.
fn can_be_tested() -> bool {
    if !is_root() {
        eprintln!("SKIPPED: only root's appliance runs anything as another user");
    }
    is_root()
}

fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < DEADLINE, "{what}");
        std::thread::yield_now();
    }
}

#[test]
fn nothing_of_a_site_runs_as_root() {
    if !can_be_tested() {
        return;
    }
    let (appliance, user) = (TestBox::start_with(as_it_comes), user());
    let site = SiteFolder::fixture("properties");
    site.write("requirements.txt", "itsdangerous==2.2.0\n");
    site.write("static/a.txt", "a file");
    site.write(
        "onebox.toml",
        "persist = ['kept']\n[static]\n'/static' = 'static'\n[hooks]\n\
         release = ['id -u > who.txt', 'umask 077; id -u > static/private.txt']\n",
    );
    appliance.deploy(site.path()).ok();
    let engine = format!("/proc/{}", appliance.engine_pid());
    assert_eq!(
        fs::read_to_string(format!("{engine}/status")).unwrap().matches("Uid:\t0").count(),
        0
    );

    let held = asked(&appliance, "at=kept&at=.&at=~&at=/");
    assert_eq!(held["user"], json!([user.uid, user.gid]), "{held}");
    assert_eq!(held["groups"], json!([user.gid]), "{held}");
    assert_eq!(held["no_new_privs"], true, "{held}");
    let refused = "PermissionError";
    assert_eq!(held["written"], json!(["written", refused, "written", refused]), "{held}");
    let release = appliance.site("properties")["release"].as_str().unwrap().to_owned();
    let app = appliance.state().join("sites/properties/releases").join(release).join("app");
    assert_eq!(fs::read_to_string(app.join("who.txt")).unwrap(), format!("{}\n", user.uid));
    assert_eq!(owner(&app.join("app.py")), 0, "a release is root's");

    // What the engine reads, spools and writes down.
    for (path, text) in [("a.txt", "a file"), ("private.txt", &format!("{}\n", user.uid))] {
        assert_eq!(get(appliance.http, "localhost", &format!("/static/{path}")).text(), text);
    }
    let body = Bytes::from(vec![b'x'; 300_000]);
    let mut open = Connection::open(appliance.http, "localhost").unwrap();
    assert_eq!(open.post("/spooled", "text/plain", body).unwrap().status, 200);
    let log = appliance.state().join("logs/properties/access.log");
    eventually("the request is in the access log", || {
        fs::read_to_string(&log).is_ok_and(|text| text.contains("/spooled"))
    });
    assert_eq!(owner(log.parent().unwrap()), 0);

    // Sites run as the user that the engine runs as, and don't get at what it knows.
    appliance.deploy(SiteFolder::fixture_as("properties", "second").path()).ok();
    let engine = appliance.engine_pid();
    let state = appliance.state().display();
    let query = format!("open=/proc/{engine}/mem&open={state}/state.db&open={state}/run/lock");
    let held = get(appliance.http, "second.localhost", &format!("/?{query}")).text();
    let held: serde_json::Value = serde_json::from_str(&held).unwrap();
    assert_eq!(held["user"], json!([user.uid, user.gid]), "{held}");
    assert_eq!(held["opened"], json!([refused, refused, refused]), "{held}");
    assert_eq!(appliance.site("second")["mode"], "isolated");
}

#[test]
fn the_state_of_an_appliance_whose_sites_were_roots_is_taken_over() {
    if !can_be_tested() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    let (state, outside) = (folder.path().join("state"), folder.path().join("outside"));
    fs::write(&outside, "root's").unwrap();
    let start = |change: fn(&mut Command)| {
        let mut command = onebox();
        command.args(["serve", "--http", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
        change(&mut command);
        TestBox::start_as(command, Some(&state))
    };
    let site = SiteFolder::fixture("properties");
    let hooks = "persist = ['kept']\n[hooks]\nrelease = ['umask 077; echo secret > key.txt']\n";
    site.write("onebox.toml", hooks);

    let mut before = start(find_everybodys_python);
    before.deploy(site.path()).ok();
    let held = asked(&before, "at=kept");
    assert_eq!((&held["user"], &held["written"]), (&json!([0, 0]), &json!(["written"])), "{held}");
    let kept = state.join("sites/properties/shared/kept");
    fs::write(kept.join("upload.txt"), "kept").unwrap();
    symlink(&outside, kept.join("link")).unwrap();
    before.signal(Signal::TERM);
    assert_eq!(before.wait(), 0);

    let (after, user) = (start(as_it_comes), user());
    after.wait_for_site("properties", |site| site["state"] == "running");
    let held = asked(&after, "at=kept&open=key.txt&open=kept/upload.txt");
    assert_eq!(held["user"], json!([user.uid, user.gid]), "{held}");
    assert_eq!(held["written"], json!(["written"]), "{held}");
    assert_eq!(held["opened"], json!(["opened", "opened"]), "{held}");
    assert_eq!((owner(&kept.join("upload.txt")), owner(&outside)), (user.uid, 0));
}

/// A folder that only root enters.
fn closed_folder() -> tempfile::TempDir {
    tempfile::Builder::new().permissions(Permissions::from_mode(0o700)).tempdir().unwrap()
}

/// A Python in one, as `onebox.toml` names it.
fn closed_python() -> (tempfile::TempDir, String) {
    let folder = closed_folder();
    let python = folder.path().join("python3");
    symlink("/usr/bin/python3", &python).unwrap();
    let text = format!("python = {python:?}\n");
    (folder, text)
}

fn words(text: &str) -> String {
    text.replace('│', " ").split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn a_python_that_only_root_can_run_is_refused_with_the_ways_out() {
    if !can_be_tested() {
        return;
    }
    let appliance = TestBox::start_with(as_it_comes);
    let (_folder, python) = closed_python();
    let site = SiteFolder::fixture("properties");
    site.write("onebox.toml", &python);
    let said = words(&appliance.deploy(site.path()).failed().all());
    let ways = ["allow-root = true", "[process]", "box.toml", "apt install python3"];
    for told in ["can't run"].iter().chain(&ways) {
        assert!(said.contains(told), "{told}: {said}");
    }
    site.write("onebox.toml", &format!("uid = 'root'\nallow-root = true\n{python}"));
    appliance.deploy(site.path()).ok();
    assert_eq!(asked(&appliance, "")["user"], json!([0, 0]));
    assert_eq!(appliance.site("properties")["mode"], "isolated", "the engine is not root");
}

#[test]
fn a_state_directory_that_the_user_can_not_get_to_is_refused_at_the_start() {
    if !can_be_tested() {
        return;
    }
    let folder = closed_folder();
    let serve = |change: &dyn Fn(&mut Command)| {
        let mut command = onebox();
        command.args(["serve", "--http", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--state-dir"]);
        command.arg(folder.path().join("state"));
        change(&mut command);
        words(&run(command).failed().all())
    };
    let said = serve(&as_it_comes);
    let closed = format!("{} is closed", folder.path().display());
    assert!(said.contains(&closed) && said.contains("user = \"root\""), "{said}");
    assert!(!folder.path().join("state").exists(), "nothing was made");
}

#[test]
fn a_site_does_not_make_root_read_a_key_for_it() {
    if !can_be_tested() {
        return;
    }
    let appliance = TestBox::start_with(|command| {
        as_it_comes(command);
        command.args(["--https", "127.0.0.1:0"]);
    });
    let folder = tempfile::tempdir().unwrap();
    let site = SiteFolder::fixture("static-only");
    site.write("onebox.toml", &Pem::new(folder.path(), "a.example").section());
    let said = words(&appliance.deploy(site.path()).failed().all());
    assert!(said.contains("can't be read by") && said.contains("[tls]"), "{said}");

    allow(&appliance, folder.path());
    appliance.deploy(site.path()).ok();
    assert_eq!(appliance.site("static-only")["certificates"][0]["source"], "own");
}

fn allow(appliance: &TestBox, folder: &Path) {
    appliance.write_config(&format!("[tls]\nfolders = {folder:?}\n"));
    appliance.signal(Signal::HUP);
    appliance.wait_for_line("the configuration was reloaded");
}

#[test]
fn a_folder_in_place_is_served_by_its_owner_or_else_by_the_user_that_is_named() {
    if !can_be_tested() {
        return;
    }
    let nobody = Account::find("nobody").unwrap();
    let site = SiteFolder::fixture("properties");
    let open_to_nobody = |command: &mut Command| {
        as_it_comes(command);
        command.env("ONEBOX_PROCESS__USER", "nobody");
    };
    let named = TestBox::run_in_place_with(site.path(), &[], open_to_nobody);
    let held = asked(&named, "at=/");
    assert_eq!(held["user"], json!([nobody.uid, nobody.gid]), "{held}");
    assert_eq!(held["written"], json!(["PermissionError"]), "{held}");
    drop(named);

    std::os::unix::fs::chown(site.path(), Some(12_345), Some(23_456)).unwrap();
    let owned = TestBox::run_in_place_with(site.path(), &[], open_to_nobody);
    assert_eq!(asked(&owned, "")["user"], json!([12_345, 23_456]));
}

#[test]
fn a_strict_mask_closes_no_release_and_stays_the_sites_own() {
    if !can_be_tested() {
        return;
    }
    let binary = onebox();
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "umask 077; exec \"$0\" \"$@\""]).arg(binary.get_program());
    for (name, value) in binary.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.args(["serve", "--http", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
    as_it_comes(&mut command);
    let appliance = TestBox::start_as(command, None);
    let ours = json!([user().uid, user().gid]);
    let site = SiteFolder::fixture("properties");
    site.write("static/a.txt", "a file");
    site.write("onebox.toml", "persist = ['kept']\n[static]\n'/static' = 'static'\n");
    appliance.deploy(site.path()).ok();
    let is_well = || {
        let held = asked(&appliance, "at=kept");
        assert_eq!(held["written"], json!(["written"]), "{held}");
        assert_eq!((&held["umask"], &held["user"]), (&json!("077"), &ours), "{held}");
        assert_eq!(get(appliance.http, "localhost", "/static/a.txt").text(), "a file");
    };
    is_well();
    // The program that it becomes has the mask as it was given too: what lives on, and what is made from then on.
    appliance.signal(Signal::USR2);
    appliance.wait_for_line(" upgraded");
    is_well();
    appliance.deploy(site.path()).ok();
    is_well();
    let umask = fs::read_to_string(format!("/proc/{}/status", appliance.engine_pid())).unwrap();
    assert!(umask.contains("\nUmask:\t0077\n"), "{umask}");
}

#[test]
fn a_static_file_that_the_engine_can_not_read_is_told() {
    if !can_be_tested() {
        return;
    }
    let appliance = TestBox::start_with(as_it_comes);
    let site = SiteFolder::fixture("properties");
    site.write("static/a.txt", "a file");
    site.write(
        "onebox.toml",
        "uid = '12345'\n[static]\n'/static' = 'static'\n[hooks]\n\
         release = ['umask 077; echo secret > static/private.txt']\n",
    );
    let said = words(&appliance.deploy(site.path()).ok().all());
    let told = format!("static/private.txt can't be read by {}", user().shown());
    assert!(said.contains(&told) && said.contains("chmod o+r"), "{said}");
    assert!(!said.contains("a.txt can't"), "{said}");
    assert_eq!(get(appliance.http, "localhost", "/static/a.txt").text(), "a file");
    assert_ne!(get(appliance.http, "localhost", "/static/private.txt").text(), "secret\n");
    let explained = words(&appliance.cli(&["explain", "properties"]).ok().stdout);
    assert!(explained.contains("can't be read by"), "{explained}");
}
