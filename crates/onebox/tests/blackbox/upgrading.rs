//! SIGUSR2: the supervisor becomes the program that its file holds now, and no request is lost.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;

use crate::harness::{Fifo, Poller, SiteFolder, TestBox, begin_stream, get, onebox};

/// A copy of the binary that a test may replace.
struct Installed {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

impl Installed {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("onebox");
        let installed = Self { _folder: folder, path };
        installed.replace_with(Path::new(env!("CARGO_BIN_EXE_onebox")));
        installed
    }

    /// As a package manager does it: another file gets the name.
    fn replace_with(&self, program: &Path) {
        let fresh = self.path.with_extension("fresh");
        fs::copy(program, &fresh).unwrap();
        fs::set_permissions(&fresh, fs::Permissions::from_mode(0o755)).unwrap();
        fs::rename(&fresh, &self.path).unwrap();
    }

    fn serve(&self) -> TestBox {
        let mut command = Command::new(&self.path);
        for (name, value) in onebox().get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command.args(["serve", "--http", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
        command.stdin(std::process::Stdio::null());
        TestBox::start_as(command, None)
    }
}

/// Two upgrades under load; the site runs in this mode.
fn upgrades_under_load(mode: &str) {
    let installed = Installed::new();
    let mut appliance = installed.serve();
    let fifo = Fifo::new();
    let site = SiteFolder::fixture("stream");
    let settings = format!("isolation = \"{mode}\"\n[env]\nSTREAM_FIFO = {:?}\n", fifo.path());
    site.write("onebox.toml", &settings);
    appliance.deploy(site.path()).ok();
    let before = get(appliance.http, "localhost", "/").text();
    let clients = [
        Poller::start(appliance.http, "localhost", "/"),
        Poller::keep_alive(appliance.http, "localhost", "/"),
        Poller::keep_alive(appliance.http, "localhost", "/"),
    ];
    let (mut open, mut answer) = begin_stream(appliance.http);

    for upgrade in 1..=2 {
        installed.replace_with(Path::new(env!("CARGO_BIN_EXE_onebox")));
        appliance.signal(Signal::USR2);
        appliance.wait_for_lines(" upgraded", upgrade);
        let status = appliance.status();
        let pid = appliance.pid().as_raw_nonzero().get();
        assert_eq!(status["pid"], pid, "the same process");
        let program = fs::read_link(format!("/proc/{pid}/exe")).unwrap();
        assert_eq!(program, installed.path, "which runs the file of now");
        assert_eq!(status["http"][0], appliance.http.to_string());
    }
    let after = get(appliance.http, "localhost", "/").text();
    assert_ne!(after, before, "other processes, started by the new program, answer");
    fifo.release_reader();
    assert_eq!(open.piece(&mut answer).unwrap().unwrap(), "second");
    assert!(open.piece(&mut answer).unwrap().is_none());

    // It is an appliance like any other.
    appliance.deploy(site.path()).ok();
    assert_ne!(get(appliance.http, "localhost", "/").text(), after);
    for client in clients {
        client.all_well();
    }
    appliance.signal(Signal::TERM);
    assert_eq!(appliance.wait(), 0);
}

#[test]
fn an_upgrade_with_an_embedded_site_fails_no_request_and_keeps_streams() {
    upgrades_under_load("embedded");
}

#[test]
fn an_upgrade_with_workers_fails_no_request_and_keeps_streams() {
    upgrades_under_load("process");
}

#[test]
fn a_program_that_would_not_start_is_refused_and_the_one_before_goes_on() {
    let installed = Installed::new();
    let appliance = installed.serve();
    let site = SiteFolder::fixture("released");
    appliance.deploy(site.path()).ok();
    let visitors = Poller::keep_alive(appliance.http, "localhost", "/");
    let engine = appliance.engine_pid();

    let folder = tempfile::tempdir().unwrap();
    let broken = folder.path().join("broken");
    fs::write(&broken, "#!/bin/sh\necho 'this machine is too old' >&2\nexit 1\n").unwrap();
    installed.replace_with(&broken);
    appliance.signal(Signal::USR2);
    appliance.wait_for_line("this machine is too old");

    fs::remove_file(&installed.path).unwrap();
    appliance.signal(Signal::USR2);
    appliance.wait_for_lines("would not start", 2);

    // The new program reads the same configuration, which has become wrong.
    installed.replace_with(Path::new(env!("CARGO_BIN_EXE_onebox")));
    appliance.write_config("[relases]\nkeep = 1\n");
    appliance.signal(Signal::USR2);
    appliance.wait_for_line("did you mean `releases`?");

    appliance.write_config("");
    assert_eq!(appliance.engine_pid(), engine);
    site.write("release.txt", "two");
    appliance.deploy(site.path()).ok();
    assert_eq!(get(appliance.http, "localhost", "/").text(), "two");
    visitors.all_well();
}
