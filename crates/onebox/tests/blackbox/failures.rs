//! A deploy that fails: the reason is said, the exit code is not 0, and the release before never stops answering.

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
    std::fs::write(folder.path().join("notes.txt"), "nothing to serve").unwrap();
    let refused =
        appliance.cli(&["deploy", folder.path().to_str().unwrap(), "--name", "nothing"]).failed();
    assert!(refused.stderr.contains("detect"), "{}", refused.stderr);
}
