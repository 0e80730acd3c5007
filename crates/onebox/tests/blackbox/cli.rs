//! The command line where no appliance runs: help, errors, exit codes, checks.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use crate::harness::{Finished, SiteFolder, onebox, run};

fn cli(folder: &Path, arguments: &[&str]) -> Finished {
    let mut command = onebox();
    command
        .current_dir(folder)
        .env("ONEBOX_STATE_DIR", folder.join("state"))
        .env("ONEBOX_CONFIG_DIR", folder);
    command.args(arguments);
    run(command)
}

/// The output with the names of temporary folders taken out.
fn shown(finished: &Finished, folder: &Path) -> String {
    let text = finished.all().replace(folder.to_str().unwrap(), "FOLDER");
    format!("exit {}\n{text}", finished.code())
}

#[test]
fn help_says_what_each_verb_does() {
    let folder = tempfile::tempdir().unwrap();
    let verbs: &[&[&str]] =
        &[&[], &["deploy"], &["run"], &["serve"], &["logs"], &["env"], &["env", "list"], &["rm"]];
    for verb in verbs {
        let mut arguments = verb.to_vec();
        arguments.push("--help");
        let name =
            format!("help-{}", if verb.is_empty() { "onebox".into() } else { verb.join("-") });
        insta::assert_snapshot!(name, shown(&cli(folder.path(), &arguments), folder.path()));
    }
}

#[test]
fn wrong_usage_ends_with_2_and_failure_with_1() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in [
        &["frobnicate"][..],
        &["deploy"],
        &["logs", "blog", "-n", "many"],
        &["env", "set", "blog", "KEY"],
    ] {
        assert_eq!(cli(folder.path(), arguments).code(), 2, "{arguments:?}");
    }
    for arguments in
        [&["status"][..], &["deploy", "nowhere"], &["check", "nowhere"], &["rm", "blog", "--yes"]]
    {
        assert_eq!(cli(folder.path(), arguments).code(), 1, "{arguments:?}");
    }
    for arguments in [&["version"][..], &["--version"], &["completions", "bash"], &["check"]] {
        assert_eq!(cli(folder.path(), arguments).code(), 0, "{arguments:?}");
    }
}

#[test]
fn errors_say_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    insta::assert_snapshot!("no-appliance", shown(&cli(folder.path(), &["status"]), folder.path()));
    insta::assert_snapshot!(
        "no-folder",
        shown(&cli(folder.path(), &["deploy", "nowhere"]), folder.path())
    );
    insta::assert_snapshot!(
        "unknown-verb",
        shown(&cli(folder.path(), &["frobnicate"]), folder.path())
    );
}

#[test]
fn all_problems_of_a_configuration_are_told_at_once_with_their_lines() {
    let folder = tempfile::tempdir().unwrap();
    let text =
        "name = \"My Site\"\nthread = 4\nharakiri = \"soon\"\n\n[health]\npath = \"healthz\"\n";
    fs::write(folder.path().join("onebox.toml"), text).unwrap();
    let checked = cli(folder.path(), &["check"]).failed();
    insta::assert_snapshot!("problems", shown(&checked, folder.path()));
    let deployed = cli(folder.path(), &["deploy", "."]).failed();
    assert!(deployed.stderr.contains("4 problems"), "{}", deployed.stderr);
    assert!(
        !folder.path().join("state").exists(),
        "nothing is started for a folder that cannot be deployed"
    );

    let verdict = cli(folder.path(), &["check", "--json"]).failed().json();
    assert_eq!(verdict["ok"], false);
    let keys: Vec<_> = verdict["problems"]
        .as_array()
        .unwrap()
        .iter()
        .map(|problem| problem["key"].clone())
        .collect();
    assert_eq!(keys, ["name", "thread", "harakiri", "health.path"]);
    let events = cli(folder.path(), &["deploy", ".", "--json"]).failed().json_lines();
    assert_eq!(events.len(), 1);
    assert_eq!((&events[0]["event"], &events[0]["step"]), (&"failed".into(), &"check".into()));
}

#[test]
fn the_configuration_of_the_box_is_checked_too() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("box.toml"), "[listen]\nhttp = \"nonsense\"\n").unwrap();
    let checked = cli(folder.path(), &["check", "box.toml"]).failed();
    assert!(checked.stderr.contains("box.toml:2"), "{}", checked.stderr);
    fs::write(folder.path().join("box.toml"), "[listen]\nhttp = \"127.0.0.1:8080\"\n").unwrap();
    cli(folder.path(), &["check", "box.toml"]).ok();
}

#[test]
fn a_wildcard_that_nobody_vouches_for_is_told_of_before_it_is_deployed() {
    let site = SiteFolder::fixture("hello");
    site.write("onebox.toml", "domains = ['a.onebox-test.net', '*.onebox-test.net']\n");
    let why = "is ordered for *.onebox-test.net: a wildcard is proven by DNS alone";
    let checked = cli(site.path(), &["check"]).ok().stdout;
    assert!(checked.contains("is fine") && checked.contains(why), "{checked}");
    let verdict = cli(site.path(), &["check", "--json"]).ok().json();
    assert!(verdict["warnings"][0].as_str().unwrap().contains(why), "{verdict}");
    let own = "domains = '*.onebox-test.net'\n[tls]\ncertificate = '/a.pem'\nkey = '/a.key'\n";
    site.write("onebox.toml", own);
    let checked = cli(site.path(), &["check"]).ok().stdout;
    assert!(checked.contains("is fine") && !checked.contains("wildcard"), "{checked}");
}

#[test]
fn init_writes_a_file_that_is_fine_and_never_writes_over_one() {
    let site = SiteFolder::fixture("hello");
    let written = cli(site.path(), &["init"]).ok();
    assert!(written.stdout.contains("app.py"), "{}", written.stdout);
    cli(site.path(), &["check"]).ok();
    let before = fs::read_to_string(site.path().join("onebox.toml")).unwrap();
    let again = cli(site.path(), &["init"]).failed();
    assert!(again.stderr.contains("exists already"), "{}", again.stderr);
    assert_eq!(fs::read_to_string(site.path().join("onebox.toml")).unwrap(), before);
}

#[test]
fn version_and_completions_need_no_appliance() {
    let folder = tempfile::tempdir().unwrap();
    let version = cli(folder.path(), &["version", "--json"]).ok().json();
    assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(
            cli(folder.path(), &["completions", shell]).ok().stdout.contains("rollback"),
            "{shell}"
        );
    }
}

#[test]
fn a_control_socket_that_nobody_answers_is_no_appliance() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("state/run");
    fs::create_dir_all(&run).unwrap();
    drop(UnixListener::bind(run.join("control.sock")).unwrap());
    let status = cli(folder.path(), &["status"]).failed();
    assert!(status.stderr.contains("no appliance is running"), "{}", status.stderr);
}

#[test]
fn another_users_appliance_is_named_as_that() {
    let folder = tempfile::tempdir().unwrap();
    let run_dir = folder.path().join("state/run");
    fs::create_dir_all(&run_dir).unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let _listener = UnixListener::bind(run_dir.join("control.sock")).unwrap();
    let mut command = onebox();
    if rustix::process::geteuid().is_root() {
        // Root passes every lock, so somebody else asks; with a copy of the binary that nobody may run where it was built.
        let binary = folder.path().join("onebox");
        fs::copy(command.get_program(), &binary).unwrap();
        command = Command::new(&binary);
        command.env_clear().uid(65534).gid(65534);
    }
    fs::set_permissions(&run_dir, fs::Permissions::from_mode(0o000)).unwrap();
    command
        .current_dir("/")
        .arg("status")
        .env("ONEBOX_STATE_DIR", folder.path().join("state"))
        .env("ONEBOX_CONFIG_DIR", "/etc/onebox");
    let status = run(command).failed();
    fs::set_permissions(&run_dir, fs::Permissions::from_mode(0o700)).unwrap();
    assert!(status.stderr.contains("belongs to another user"), "{}", status.stderr);
}
