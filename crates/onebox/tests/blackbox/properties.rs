//! What a site's processes are like: user, limits, working folder, a system that is read-only.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::{SiteFolder, TestBox, get};

pub(crate) fn asked(appliance: &TestBox, query: &str) -> Value {
    serde_json::from_str(&get(appliance.http, "localhost", &format!("/?{query}")).text()).unwrap()
}

/// An appliance that finds only Pythons which every user can run.
fn with_everybodys_python() -> TestBox {
    TestBox::start_with(find_everybodys_python)
}

pub(crate) fn find_everybodys_python(command: &mut Command) {
    command.env("PATH", "/usr/bin:/bin").env_remove("PYENV_ROOT");
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[test]
fn a_site_has_the_limits_the_mask_and_the_folder_it_asks_for() {
    let appliance = TestBox::start();
    let site = SiteFolder::fixture("properties");
    appliance.deploy(site.path()).ok();
    let plain = asked(&appliance, "");
    assert_eq!(plain["no_new_privs"], true, "{plain}");
    assert_eq!(appliance.site("properties")["mode"], "embedded");

    let asks = "umask = '027'\nnice = 7\nchdir = 'data'\nlimit-nofile = 300\nlimit-as = '8GB'\n\
                limit-nproc = 4000\n";
    site.write("onebox.toml", asks);
    appliance.deploy(site.path()).ok();
    let held = asked(&appliance, "");
    assert_eq!((&held["umask"], &held["nice"]), (&json!("027"), &json!(7)), "{held}");
    let eight_gb = 8_u64 << 30;
    let limits = json!([[300, 300], [eight_gb, eight_gb], [4000, 4000]]);
    assert_eq!(held["limits"], limits, "{held}");
    assert_eq!(held["no_new_privs"], true, "{held}");
    assert!(held["folder"].as_str().unwrap().ends_with("/app/data"), "{held}");
    let explained = appliance.cli(&["explain", "properties"]).ok().stdout;
    for reason in ["`umask`", "`nice`", "`limit-nofile`", "`limit-as`", "`limit-nproc`"] {
        assert!(explained.contains(reason), "{reason}: {explained}");
    }
    assert!(explained.contains("isolated"), "{explained}");

    // The folder alone is no reason for a process.
    site.write("onebox.toml", "chdir = '/tmp'\n");
    appliance.deploy(site.path()).ok();
    assert_eq!(appliance.site("properties")["mode"], "embedded");
    assert_eq!(asked(&appliance, "")["folder"], "/tmp");
}

#[test]
fn a_site_runs_as_its_user_and_so_do_its_hooks() {
    let appliance = with_everybodys_python();
    let site = SiteFolder::fixture("properties");
    let asks = "uid = 'www-data'\nadd-gid = 'adm'\npersist = ['kept']\n[hooks]\n\
                release = ['id -un > who.txt', 'umask 077; echo secret > key.txt', 'touch \"$HOME/.mark\"']\n";
    site.write("onebox.toml", asks);
    if !is_root() {
        let told = appliance.deploy(site.path()).failed().all();
        return assert!(
            told.contains("only root can run a site as another user, www-data"),
            "{told}"
        );
    }
    appliance.deploy(site.path()).ok();
    let www = onebox_config::Account::find("www-data").unwrap();
    let adm = onebox_config::group_number("adm").unwrap();

    let held = asked(&appliance, "at=kept&at=.&at=~&at=/");
    assert_eq!(held["user"], json!([www.uid, www.gid]), "{held}");
    assert!(held["groups"].as_array().unwrap().contains(&json!(adm)), "{held}");
    assert_eq!(held["names"][1], "www-data");
    let refused = "PermissionError";
    assert_eq!(held["written"], json!(["written", refused, "written", refused]), "{held}");
    let explained = appliance.cli(&["explain", "properties"]).ok().stdout;
    assert!(explained.contains("runs as www-data, and the engine does not"), "{explained}");

    let place = appliance.state().join("sites/properties");
    let release = appliance.site("properties")["release"].as_str().unwrap().to_owned();
    let app = place.join("releases").join(release).join("app");
    assert_eq!(std::fs::read_to_string(app.join("who.txt")).unwrap(), "www-data\n");
    let key = std::fs::metadata(app.join("key.txt")).unwrap();
    assert_eq!((key.uid(), key.gid(), key.mode() & 0o777), (0, www.gid, 0o640));
    assert_eq!(owner(&place.join("shared/kept")), www.uid);

    // So does what an operator runs beside it.
    appliance.cli(&["env", "set", "properties", "KEY=of the box"]).ok();
    let script = "import os, sys; print(os.getuid(), os.getgroups(), os.environ['KEY'], os.getcwd(), sys.argv)";
    let run = ["exec", "properties", "python3", "-c", script, "--", "-x"];
    let told = appliance.cli(&run).ok().stdout;
    let groups: BTreeSet<u32> = www.groups.iter().copied().chain([adm]).collect();
    let groups: Vec<_> = groups.into_iter().collect();
    let app = app.display();
    assert_eq!(told, format!("{} {groups:?} of the box {app} ['-c', '--', '-x']\n", www.uid));
    assert_eq!(appliance.cli(&["exec", "properties", "sh", "-c", "exit 7"]).code(), 7);
    let told = appliance.cli(&["exec", "properties", "no-such-program"]).failed().all();
    assert!(told.contains("no-such-program could not be run"), "{told}");
    let told = appliance.cli(&["exec", "nobody", "true"]).failed().all();
    assert!(told.contains("nobody"), "{told}");
    let audit = appliance.cli(&["audit"]).ok().stdout;
    assert!(audit.contains("run-command") && !audit.contains("os.getuid"), "{audit}");

    // Nobody else gets to its files.
    let sees = |user: &str| {
        let mut ls = Command::new("ls");
        ls.arg(place.join("shared/kept")).uid(owner_of(user)).gid(65534);
        ls.output().unwrap().status.success()
    };
    assert!(sees("www-data") && !sees("nobody"));

    // Another user gets what persists.
    site.write("onebox.toml", "uid = 'daemon'\npersist = ['kept']\n");
    appliance.deploy(site.path()).ok();
    assert_eq!(asked(&appliance, "at=kept")["written"], json!(["written"]));
    assert_eq!(owner(&place.join("shared/kept")), owner_of("daemon"));
    appliance.cli(&["rollback", "properties"]).ok();
    assert_eq!(asked(&appliance, "at=kept")["written"], json!(["written"]));
    assert_eq!(owner(&place.join("shared/kept")), www.uid);
}

#[test]
fn a_read_only_system_is_writable_only_where_it_must_be() {
    let appliance = TestBox::start();
    let site = SiteFolder::fixture("properties");
    site.write("onebox.toml", "persist = ['kept']\nread-only-system = true\n");
    // Where root alone may write, and nobody with such a system: the checkout may be in /tmp or at home.
    let elsewhere = tempfile::tempdir_in("/var/lib");
    let deployed = appliance.deploy(site.path());
    if deployed.code() == 1 && deployed.all().contains("this kernel has no landlock") {
        return eprintln!("NOT TESTED, this kernel has no landlock: a read-only system");
    }
    deployed.ok();
    let elsewhere = elsewhere.as_ref().map_or(Path::new("/var/lib"), |folder| folder.path());
    let elsewhere = elsewhere.display();
    let query = format!("at=kept&at=/tmp&at=/var/tmp&at=/dev/shm&at=~&at={elsewhere}");
    let held = asked(&appliance, &query);
    let mut expected = vec!["written"; 5];
    expected.push("PermissionError");
    assert_eq!(held["written"], json!(expected), "{held}");
    let explained = appliance.cli(&["explain", "properties"]).ok().stdout;
    assert!(explained.contains("read-only-system"), "{explained}");
}

#[test]
fn what_a_site_can_not_have_is_refused_with_its_line() {
    let appliance = TestBox::start();
    let site = SiteFolder::fixture("properties");
    let refused = [
        ("threads = 1\nuid = 'nobody-has-this-name'\n", "onebox.toml:2"),
        ("threads = 1\nuid = 'root'\n", "onebox.toml:2"),
        ("threads = 1\nuid = '4294967295'\n", "onebox.toml:2"),
        ("uid = 33\ngid = -1\n", "onebox.toml:2"),
        ("umask = '999'\n", "onebox.toml:1"),
        ("chdir = 'not-there'\n", "there is no folder"),
    ];
    for (text, told) in refused {
        site.write("onebox.toml", text);
        let said = appliance.deploy(site.path()).failed().all();
        assert!(said.contains(told), "{told}: {said}");
    }
    site.write("onebox.toml", "isolation = 'embedded'\nnice = 3\n");
    let said = appliance.deploy(site.path()).failed().all();
    assert!(said.contains("onebox.toml:1") && said.contains("`nice`"), "{said}");
}

pub(crate) fn owner(place: &Path) -> u32 {
    std::fs::metadata(place).unwrap().uid()
}

fn owner_of(user: &str) -> u32 {
    onebox_config::user_number(user).unwrap()
}
