//! `onebox deploy` where no appliance runs: it starts one that stays.

use std::net::SocketAddr;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::harness::{DEADLINE, Fifo, Finished, SiteFolder, get, onebox, run};

/// An appliance that a deploy started; shut down at the end, or killed when the test failed before.
struct Background {
    folder: tempfile::TempDir,
    pid: Option<i32>,
}

impl Background {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = onebox();
        command
            .env("ONEBOX_STATE_DIR", self.folder.path().join("state"))
            .env("ONEBOX_CONFIG_DIR", self.folder.path())
            .env("ONEBOX_HTTP", "127.0.0.1:0")
            .env("ONEBOX_ADMIN", "127.0.0.1:0")
            .args(arguments);
        command
    }

    fn cli(&self, arguments: &[&str]) -> Finished {
        run(self.command(arguments))
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if let Some(pid) = self.pid.and_then(Pid::from_raw) {
            kill_process(pid, Signal::KILL).ok();
        }
    }
}

#[test]
fn a_deploy_starts_an_appliance_that_outlives_it() {
    let mut background = Background { folder: tempfile::tempdir().unwrap(), pid: None };
    let site = SiteFolder::fixture("released");
    let deployed = background.cli(&["deploy", site.path().to_str().unwrap()]).ok();
    let status = background.cli(&["status", "--json"]).ok().json();
    background.pid = status["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok());

    let http: SocketAddr = status["http"][0].as_str().unwrap().parse().unwrap();
    assert_eq!(get(http, "localhost", "/").text(), "one");
    for said in [
        "password",
        status["admin"][0].as_str().unwrap(),
        &format!("http://localhost:{}", http.port()),
    ] {
        assert!(deployed.stdout.contains(said), "{said:?} in {}", deployed.stdout);
    }
    // The password is shown to the user alone: no file has it.
    let password =
        deployed.stdout.split("password ").nth(1).unwrap().split_whitespace().next().unwrap();
    let mut grep = Command::new("grep");
    grep.args(["-rlF", "--", password]).arg(background.folder.path());
    assert_eq!(run(grep).stdout, "", "files that hold the password");

    let again = background.cli(&["deploy", site.path().to_str().unwrap()]).ok();
    assert!(!again.stdout.contains("password"), "{}", again.stdout);
    let pid = background.cli(&["status", "--json"]).ok().json()["pid"].clone();
    assert_eq!(pid, status["pid"], "the same appliance");

    background.cli(&["shutdown"]).ok();
    background.pid = None;
    // Whoever inherits it may be slow to collect its exit status.
    let left = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    assert!(
        left.is_empty() || left.contains("State:\tZ"),
        "it has ended when the command has: {left}"
    );
    background.cli(&["status"]).failed();
}

/// As ssh leaves it whose connection is lost: everybody in its terminal gets a SIGHUP.
#[test]
fn a_deploy_whose_terminal_goes_away_is_carried_out_by_the_appliance_that_it_started() {
    let mut background = Background { folder: tempfile::tempdir().unwrap(), pid: None };
    let site = SiteFolder::fixture("released");
    let (begun, goes_on) = (Fifo::new(), Fifo::new());
    let (first, second) = (begun.path(), goes_on.path());
    site.write("meet.py", &format!("open({first:?}, 'w').close()\nopen({second:?}).close()\n"));
    site.write("onebox.toml", "[hooks]\nrelease = [\"python meet.py\"]\n");
    let mut deploy = background.command(&["deploy", site.path().to_str().unwrap()]);
    deploy.process_group(0).stdout(Stdio::null()).stderr(Stdio::null());
    let mut deploy = deploy.spawn().unwrap();
    begun.wait_for_writer();
    let status = background.cli(&["status", "--json"]).ok().json();
    background.pid = status["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok());
    kill_process_group(Pid::from_child(&deploy), Signal::HUP).unwrap();
    assert_eq!(deploy.wait().unwrap().signal(), Some(Signal::HUP.as_raw()));

    goes_on.release_reader();
    let http: SocketAddr = status["http"][0].as_str().unwrap().parse().unwrap();
    let waited = Instant::now();
    while get(http, "localhost", "/").text() != "one" {
        assert!(waited.elapsed() < DEADLINE, "the deploy was not carried out");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(background.cli(&["status", "--json"]).ok().json()["pid"], status["pid"]);
    background.cli(&["shutdown"]).ok();
    background.pid = None;
}

#[test]
fn an_appliance_that_cannot_start_says_why() {
    let background = Background { folder: tempfile::tempdir().unwrap(), pid: None };
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let site = SiteFolder::fixture("released");
    let mut command = background.command(&["deploy", site.path().to_str().unwrap()]);
    command.env("ONEBOX_HTTP", &address);
    let failed = run(command).failed();
    assert!(failed.stderr.contains(&address), "{}", failed.stderr);
}
