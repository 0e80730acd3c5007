//! SIGUSR2: the supervisor becomes the program that its file holds now, and no request is lost.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::process::Signal;

use crate::harness::{DEADLINE, Fifo, Poller, SiteFolder, TestBox, begin_stream, get, onebox};

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
        self.serve_at(None)
    }

    /// The same on a state directory that outlives it.
    fn serve_at(&self, state: Option<&Path>) -> TestBox {
        let mut command = Command::new(&self.path);
        for (name, value) in onebox().get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command.args(["serve", "--http", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
        command.stdin(std::process::Stdio::null());
        TestBox::start_as(command, state)
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

/// When a signal comes: so long after the one that asks for the upgrade, or after the process has become the other program.
#[derive(Debug, Clone, Copy)]
enum Moment {
    Asked(u64),
    Become(u64),
}

const MOMENTS: [Moment; 6] = [
    Moment::Asked(0),
    Moment::Asked(3),
    Moment::Become(0),
    Moment::Become(3),
    Moment::Become(30),
    Moment::Become(100),
];

impl Moment {
    /// Asks for an upgrade, and sends `signal` at this moment of it.
    fn send(self, appliance: &TestBox, signal: Signal) {
        // The kernel gives every program other addresses.
        let program = || fs::read(format!("/proc/{}/auxv", appliance.pid().as_raw_nonzero()));
        let before = program().unwrap();
        appliance.signal(Signal::USR2);
        let later = match self {
            Self::Asked(later) => later,
            Self::Become(later) => {
                let begun = Instant::now();
                while program().unwrap() == before {
                    assert!(begun.elapsed() < DEADLINE, "it does not become the other program");
                }
                later
            }
        };
        std::thread::sleep(Duration::from_millis(later));
        appliance.signal(signal);
    }
}

#[test]
fn a_signal_to_end_is_obeyed_at_any_moment_of_an_upgrade_and_what_is_in_flight_is_finished() {
    let (installed, state) = (Installed::new(), tempfile::tempdir().unwrap());
    let fifo = Fifo::new();
    let site = SiteFolder::fixture("stream");
    let settings = format!("reload-mercy = \"60s\"\n[env]\nSTREAM_FIFO = {:?}\n", fifo.path());
    site.write("onebox.toml", &settings);
    let first = installed.serve_at(Some(state.path()));
    first.deploy(site.path()).ok();
    drop(first);
    for (moment, signal) in MOMENTS.into_iter().zip([Signal::TERM, Signal::INT].into_iter().cycle())
    {
        let mut appliance = installed.serve_at(Some(state.path()));
        let (mut open, mut answer) = begin_stream(appliance.http);
        moment.send(&appliance, signal);
        appliance.wait_for_line("shutting down");
        fifo.release_reader();
        assert_eq!(open.piece(&mut answer).unwrap().unwrap(), "second", "{moment:?}");
        assert!(open.piece(&mut answer).unwrap().is_none(), "{moment:?}");
        assert_eq!(appliance.wait(), 0, "{moment:?}");
    }
}

#[test]
fn a_signal_to_reload_is_obeyed_at_any_moment_of_an_upgrade() {
    let installed = Installed::new();
    let appliance = installed.serve();
    appliance.deploy(SiteFolder::fixture("hello").path()).ok();
    let visitors = Poller::keep_alive(appliance.http, "localhost", "/");
    for (round, moment) in MOMENTS.into_iter().enumerate() {
        moment.send(&appliance, Signal::HUP);
        appliance.signal(Signal::USR1);
        appliance.wait_for_lines("the configuration has not changed", round + 1);
        appliance.wait_for_lines(" upgraded", round + 1);
    }
    visitors.all_well();
}

#[test]
fn what_was_measured_before_an_upgrade_is_there_after_it() {
    let installed = Installed::new();
    let appliance = installed.serve();
    appliance.deploy(SiteFolder::fixture("static-only").path()).ok();
    let from_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() - 600_000;
    // Answers a second, over all of its seconds.
    let measured = || {
        let path = format!("/api/v1/sites/static-only/series?from_ms={from_ms}");
        let series = appliance.api(&path).json();
        let rates = series["responses_per_s"]["2xx"].as_array().unwrap().clone();
        rates.iter().filter_map(serde_json::Value::as_f64).sum::<f64>()
    };
    get(appliance.http, "localhost", "/");
    let begun = Instant::now();
    while measured() == 0.0 {
        assert!(begun.elapsed() < DEADLINE, "nothing is measured");
        std::thread::sleep(Duration::from_millis(50));
    }
    appliance.signal(Signal::USR2);
    appliance.wait_for_line(" upgraded");
    assert!(measured() > 0.0, "it was only in memory");
}

#[test]
fn a_request_of_before_an_upgrade_that_passes_its_deadline_after_it_is_told() {
    let installed = Installed::new();
    let appliance = installed.serve();
    let (held, hold) = (Fifo::new(), Fifo::new());
    let site = SiteFolder::fixture("stream");
    let settings = format!(
        "isolation = \"process\"\nharakiri = \"3s\"\nreload-mercy = \"60s\"\n[env]\nHELD_FIFO = {:?}\nHOLD_FIFO = {:?}\n",
        held.path(),
        hold.path()
    );
    site.write("onebox.toml", &settings);
    appliance.deploy(site.path()).ok();
    let address = appliance.http;
    let late = std::thread::spawn(move || get(address, "localhost", "/hold").status);
    held.wait_for_writer();
    appliance.signal(Signal::USR2);
    appliance.wait_for_line(" upgraded");
    appliance.wait_for_line("request past its deadline");
    assert_eq!(late.join().unwrap(), 504);
}
