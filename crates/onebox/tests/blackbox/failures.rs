//! A deploy that fails: the reason is said, the exit code is not 0, and the release before never stops answering.

use std::io::Write;
use std::os::unix::net::UnixStream;

use crate::harness::{Finished, Poller, SiteFolder, TestBox, get};

/// A way to spoil a folder, and what must be said about it.
struct Spoiled {
    name: &'static str,
    spoil: fn(&SiteFolder),
    said: &'static [&'static str],
}

const SPOILED: &[Spoiled] = &[
    Spoiled {
        name: "an import that fails",
        spoil: |site| {
            site.write(
                "app.py",
                "import a_module_that_is_not_there\n\ndef application(e, s): pass\n",
            )
        },
        said: &["Traceback", "app.py", "ModuleNotFoundError", "a_module_that_is_not_there"],
    },
    Spoiled {
        name: "code that is no Python",
        spoil: |site| site.write("app.py", "def application(environ, start_response:\n    pass\n"),
        said: &["app.py", "SyntaxError"],
    },
    Spoiled {
        name: "an application that raises",
        spoil: |site| {
            site.write(
                "app.py",
                "def application(environ, start_response):\n    raise RuntimeError('unhealthy')\n",
            )
        },
        said: &["500"],
    },
    Spoiled {
        name: "a requirement that is not there",
        spoil: |site| site.write("requirements.txt", "./no_such_wheel-1.0-py3-none-any.whl\n"),
        said: &["install", "no_such_wheel"],
    },
    Spoiled {
        name: "a migration that fails",
        spoil: |site| {
            site.write("migrate.py", "raise SystemExit('column note.author already exists')\n");
            site.write("onebox.toml", "[hooks]\nrelease = [\"python migrate.py\"]\n");
        },
        said: &["hooks", "column note.author already exists"],
    },
    Spoiled {
        name: "an import that hangs",
        spoil: |site| {
            site.write(
                "app.py",
                "import threading\nthreading.Event().wait()\n\ndef application(e, s): pass\n",
            );
            site.write("onebox.toml", "[health]\ntimeout = \"2s\"\n");
        },
        said: &["start"],
    },
];

#[test]
fn whatever_fails_is_said_and_the_release_before_goes_on() {
    let appliance = TestBox::start();
    let good = SiteFolder::fixture("released");
    appliance.deploy(good.path()).ok();
    let live = appliance.site("released")["release"].clone();
    let visitors = Poller::start(appliance.http, "localhost", "/");
    for spoiled in SPOILED {
        let site = SiteFolder::fixture("released");
        (spoiled.spoil)(&site);
        let deployed: Finished = appliance.deploy(site.path()).failed();
        for said in spoiled.said {
            assert!(
                deployed.all().contains(said),
                "{}: {said:?} in {}",
                spoiled.name,
                deployed.all()
            );
        }
        assert_eq!(appliance.site("released")["release"], live, "{}", spoiled.name);
    }
    let tally = visitors.all_well();
    assert_eq!(tally.bodies.keys().collect::<Vec<_>>(), ["one"]);

    // What failed is on record, and the next good release goes on line as if nothing had been.
    let releases = appliance.cli(&["releases", "released", "--json"]).ok().json();
    assert!(
        releases.as_array().unwrap().iter().any(|release| release["state"] == "failed"),
        "{releases}"
    );
    good.write("release.txt", "two");
    appliance.deploy(good.path()).ok();
    assert_eq!(get(appliance.http, "localhost", "/").text(), "two");
}

#[test]
fn a_first_deploy_that_fails_leaves_an_appliance_that_works() {
    let appliance = TestBox::start();
    let events = appliance
        .cli(&["deploy", SiteFolder::fixture("broken-import").path().to_str().unwrap(), "--json"])
        .failed()
        .json_lines();
    let last = events.last().unwrap();
    assert_eq!((&last["event"], &last["step"]), (&"failed".into(), &"start".into()));
    assert!(last["detail"].as_str().unwrap().contains("a_module_that_is_not_there"), "{last}");
    appliance.deploy(SiteFolder::fixture("hello").path()).ok();
    assert_eq!(get(appliance.http, "hello.localhost", "/").text(), "hello GET / 0");
}

#[test]
fn a_folder_that_is_no_site_is_refused_with_what_was_looked_for() {
    let appliance = TestBox::start();
    let folder = tempfile::tempdir().unwrap();
    let deploy =
        || appliance.cli(&["deploy", folder.path().to_str().unwrap(), "--name", "nothing"]);
    let refused = deploy().failed();
    assert!(refused.stdout.contains("nothing: no files"), "{}", refused.stdout);
    for said in ["index.html", "app.py"] {
        assert!(refused.stderr.contains(said), "{}", refused.stderr);
    }
    std::fs::write(folder.path().join("notes.txt"), "nothing to serve").unwrap();
    let refused = deploy().failed();
    assert!(refused.stdout.contains("1 file, 1 KB"), "{}", refused.stdout);
    assert!(refused.stdout.contains("✗ detect   no site was recognised"), "{}", refused.stdout);
    assert!(refused.stderr.contains("detect"), "{}", refused.stderr);
}

#[test]
fn a_first_deploy_that_fails_before_its_start_can_be_read_and_removed() {
    let appliance = TestBox::start();
    let site = SiteFolder::fixture("failing-hook");
    let failed = appliance.deploy(site.path()).failed();
    assert!(failed.stdout.contains("✗ hooks"), "{}", failed.stdout);
    assert_eq!(appliance.site("failing-hook")["state"], "failed");
    let logs = appliance.cli(&["logs", "failing-hook"]).ok();
    assert!(logs.stdout.contains("failed"), "{}", logs.stdout);
    let releases = appliance.cli(&["releases", "failing-hook", "--json"]).ok().json();
    assert_eq!(releases[0]["state"], "failed", "{releases}");
    let folder = appliance.state().join("sites/failing-hook");
    assert!(folder.exists());
    appliance.cli(&["rm", "failing-hook", "--yes"]).ok();
    assert!(!folder.exists());
    appliance.cli(&["status", "failing-hook"]).failed();
}

#[test]
fn of_many_failed_deploys_only_the_last_are_on_record_and_no_file_stays() {
    let appliance = TestBox::start_with(|command| {
        command.env("ONEBOX_RELEASES__KEEP", "2");
    });
    let site = SiteFolder::fixture("static-only");
    appliance.deploy(site.path()).ok();
    site.write("onebox.toml", "[hooks]\nrelease = [\"false\"]\n");
    (0..4).for_each(|_| drop(appliance.deploy(site.path()).failed()));
    let releases = appliance.cli(&["releases", "static-only", "--json"]).ok().json();
    let states: Vec<_> =
        releases.as_array().unwrap().iter().map(|release| release["state"].clone()).collect();
    assert_eq!(states, ["failed", "failed", "ready"], "{releases}");
    let folders = std::fs::read_dir(appliance.state().join("sites/static-only/releases")).unwrap();
    assert_eq!(folders.count(), 1);
}

#[test]
fn a_hook_that_fails_is_heard_once() {
    let appliance = TestBox::start();
    let site = SiteFolder::fixture("hello");
    site.write("migrate.py", "raise KeyError('a-column-that-is-missing')\n");
    site.write("onebox.toml", "[hooks]\nrelease = [\"python migrate.py\"]\n");
    let failed = appliance.deploy(site.path()).failed();
    assert_eq!(failed.all().matches("Traceback").count(), 1, "{}", failed.all());
}

#[test]
fn a_host_of_another_site_is_told_on_the_line_of_its_step() {
    let appliance = TestBox::start();
    let deploy = |name: &str| {
        let site = SiteFolder::fixture("static-only");
        let path = site.path().to_str().unwrap().to_owned();
        appliance.cli(&["deploy", &path, "--name", name, "--domain", "a.example"])
    };
    deploy("one").ok();
    let refused = deploy("two").failed();
    let line = "✗ check    the host a.example belongs to the site one";
    assert!(refused.stdout.contains(line), "{}", refused.stdout);
    assert_eq!(appliance.site("two")["state"], "failed");
}

#[test]
fn an_upload_that_breaks_off_leaves_nothing_and_holds_up_no_other() {
    let appliance = TestBox::start();
    let site = SiteFolder::fixture("released");
    appliance.deploy(site.path()).ok();
    let visitors = Poller::start(appliance.http, "localhost", "/");
    for size in [0, 100, 100_000] {
        let mut upload = UnixStream::connect(appliance.control_socket()).unwrap();
        upload
            .write_all(b"POST /api/v1/deploy?name=released HTTP/1.1\r\nHost: onebox\r\nTransfer-Encoding: chunked\r\n\r\n")
            .unwrap();
        upload.write_all(format!("{:x}\r\n", 1_000_000).as_bytes()).unwrap();
        upload.write_all(&vec![0; size]).unwrap();
        drop(upload);
        site.write("release.txt", &size.to_string());
        appliance.deploy(site.path()).ok();
        assert_eq!(get(appliance.http, "localhost", "/").text(), size.to_string());
        let staging = std::fs::read_dir(appliance.state().join("staging"));
        assert_eq!(staging.map_or(0, Iterator::count), 0, "after {size} bytes");
    }
    let releases = appliance.cli(&["releases", "released", "--json"]).ok().json();
    let states: Vec<_> =
        releases.as_array().unwrap().iter().map(|release| release["state"].clone()).collect();
    assert_eq!(states, ["ready"; 4], "{releases}");
    visitors.all_well();
}
