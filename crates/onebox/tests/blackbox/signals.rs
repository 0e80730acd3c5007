//! Signals, terminals that go away, and being the first process of a container.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::harness::{DEADLINE, Fifo, SiteFolder, TestBox, begin_stream, get, onebox, run};

/// A site with an answer that goes on until the FIFO is opened, in an appliance that would wait for it for a minute.
fn with_a_stream(appliance: &TestBox, fifo: &Fifo) -> SiteFolder {
    let site = SiteFolder::fixture("stream");
    let settings = format!("reload-mercy = \"60s\"\n[env]\nSTREAM_FIFO = {:?}\n", fifo.path());
    site.write("onebox.toml", &settings);
    appliance.deploy(site.path()).ok();
    site
}

#[test]
fn a_second_signal_ends_at_once() {
    for (first, second) in [(Signal::TERM, Signal::TERM), (Signal::INT, Signal::TERM)] {
        let mut appliance = TestBox::start();
        let fifo = Fifo::new();
        let _site = with_a_stream(&appliance, &fifo);
        let (mut open, mut answer) = begin_stream(appliance.http);
        let engine = appliance.engine_pid();
        appliance.signal(first);
        appliance.wait_for_line("shutting down");
        appliance.signal(second);
        assert_eq!(appliance.wait(), 1);
        open.piece(&mut answer).unwrap_err();
        wait_for_end(engine);
    }
}

#[test]
fn a_terminals_interrupt_reaches_the_whole_group_and_what_is_in_flight_is_finished() {
    let mut appliance = TestBox::start_with(|command| {
        command.process_group(0);
    });
    let fifo = Fifo::new();
    let _site = with_a_stream(&appliance, &fifo);
    let (mut open, mut answer) = begin_stream(appliance.http);
    kill_process_group(appliance.pid(), Signal::INT).unwrap();
    appliance.wait_for_line("shutting down");
    fifo.release_reader();
    assert_eq!(open.piece(&mut answer).unwrap().unwrap(), "second");
    assert!(open.piece(&mut answer).unwrap().is_none());
    assert_eq!(appliance.wait(), 0);
}

#[test]
fn nobody_who_reads_what_it_prints_and_no_standard_streams_are_no_reason_to_end() {
    let folder = tempfile::tempdir().unwrap();
    let site = SiteFolder::fixture("hello");
    let cases = [("closed", ">&- 2>&- <&-"), ("broken", "2>&1 | true")];
    for (name, streams) in cases {
        let state = folder.path().join(name);
        let command = |arguments: &[&str]| {
            let mut command = onebox();
            command.env("ONEBOX_STATE_DIR", &state).env("ONEBOX_CONFIG_DIR", folder.path());
            command.args(arguments);
            command
        };
        // As cron and a connection that breaks leave it: no terminal, and nobody at the other end.
        let mut shell = Command::new("sh");
        let binary = env!("CARGO_BIN_EXE_onebox");
        let line = format!("{binary} serve --http 127.0.0.1:0 --admin 127.0.0.1:0 {streams} &");
        shell.args(["-c", &line]).env("ONEBOX_STATE_DIR", &state);
        shell.env("ONEBOX_CONFIG_DIR", folder.path());
        run(shell).ok();
        let begun = Instant::now();
        while !run(command(&["status"])).status.success() {
            assert!(begun.elapsed() < DEADLINE, "{name}: it does not answer");
        }
        run(command(&["deploy", site.path().to_str().unwrap()])).ok();
        let status = run(command(&["status", "--json"])).ok().json();
        let pid = Pid::from_raw(i32::try_from(status["pid"].as_i64().unwrap()).unwrap()).unwrap();
        kill_process(pid, Signal::HUP).unwrap();
        let http = status["http"][0].as_str().unwrap().parse().unwrap();
        assert_eq!(get(http, "localhost", "/").text(), "hello GET / 0", "{name}");
        run(command(&["shutdown"])).ok();
    }
}

#[test]
fn started_as_by_cron_with_an_empty_environment_it_serves() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_onebox"));
    // What `env -i` leaves; cron sets a little more. TestBox says where state and configuration lie.
    command.env_clear().current_dir("/").stdin(Stdio::null());
    command.args(["serve", "--http", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
    let mut appliance = TestBox::start_as(command, Some(&folder.path().join("state")));
    let site = SiteFolder::fixture("hello");
    for mode in ["embedded", "process"] {
        site.write("onebox.toml", &format!("isolation = \"{mode}\"\n"));
        appliance.deploy(site.path()).ok();
        assert_eq!(get(appliance.http, "localhost", "/").text(), "hello GET / 0", "{mode}");
    }
    appliance.signal(Signal::TERM);
    assert_eq!(appliance.wait(), 0);

    // Without any word on where its state lies it says what to set.
    let mut command = Command::new(env!("CARGO_BIN_EXE_onebox"));
    command.env_clear().current_dir("/").stdin(Stdio::null()).args(["serve"]);
    if !rustix::process::geteuid().is_root() {
        let refused = run(command).failed();
        assert!(refused.stderr.contains("ONEBOX_STATE_DIR"), "{}", refused.stderr);
    }
}

#[test]
fn of_two_appliances_that_start_at_once_on_the_same_state_one_serves() {
    let folder = tempfile::tempdir().unwrap();
    let start = || {
        let mut command = onebox();
        command.args(["serve", "--http", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
        command.env("ONEBOX_STATE_DIR", folder.path().join("state"));
        command.env("ONEBOX_CONFIG_DIR", folder.path());
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    for round in 0..3 {
        let mut both = [start(), start()];
        let begun = Instant::now();
        let refused = loop {
            let ended = both.iter_mut().position(|one| one.try_wait().unwrap().is_some());
            if let Some(ended) = ended {
                break ended;
            }
            assert!(begun.elapsed() < DEADLINE, "both go on");
            std::thread::sleep(std::time::Duration::from_millis(5));
        };
        let [first, second] = both;
        let (refused, serving) = if refused == 0 { (first, second) } else { (second, first) };
        let refused = refused.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(1), "{said}");
        assert!(said.contains("an appliance is running already"), "round {round}: {said}");
        // It serves, or is about to.
        let begun = Instant::now();
        loop {
            let mut again = onebox();
            again.args(["shutdown"]).env("ONEBOX_STATE_DIR", folder.path().join("state"));
            if run(again).status.success() {
                break;
            }
            assert!(begun.elapsed() < DEADLINE, "the other one does not answer");
        }
        let ended = serving.wait_with_output().unwrap();
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    }
}

#[test]
fn a_second_appliance_on_the_same_state_is_refused_with_the_reason() {
    let appliance = TestBox::start();
    appliance.deploy(SiteFolder::fixture("hello").path()).ok();
    let second =
        appliance.cli(&["serve", "--http", "127.0.0.1:0", "--admin", "127.0.0.1:0"]).failed();
    assert!(second.stderr.contains("an appliance is running already"), "{}", second.stderr);
    assert!(second.stderr.contains("onebox shutdown"), "{}", second.stderr);
    assert_eq!(get(appliance.http, "localhost", "/").text(), "hello GET / 0");
}

#[test]
fn the_first_process_of_a_container_collects_orphans_and_passes_signals_on() {
    let mut probe = Command::new("unshare");
    if !run_quietly(probe.args(["--pid", "--fork", "true"])) {
        eprintln!("SKIPPED: this machine lets nobody have a PID namespace (`unshare --pid`)");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let site = SiteFolder::fixture("hello");
    let orphan = "import subprocess\nsubprocess.Popen(['sh', '-c', 'sleep 0.1 & :']).wait()\n";
    let app = std::fs::read_to_string(site.path().join("app.py")).unwrap();
    site.write("app.py", &format!("{orphan}{app}"));
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--kill-child", env!("CARGO_BIN_EXE_onebox"), "run"]);
    command.arg(site.path()).args(["--http", "127.0.0.1:0"]);
    command.env("ONEBOX_CONFIG_DIR", folder.path()).stdin(Stdio::null());
    let mut unshare = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdout = BufReader::new(unshare.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    let address = line.split_whitespace().find_map(|word| word.strip_prefix("http://"));
    let http = address.unwrap_or_else(|| panic!("{line}")).trim_end_matches('/').parse().unwrap();
    assert_eq!(get(http, "localhost", "/").text(), "hello GET / 0");

    let first = children(unshare.id().cast_signed());
    assert_eq!(first.len(), 1, "{first:?}");
    let begun = Instant::now();
    // The supervisor stays, the orphan goes.
    while children(first[0]).len() != 1 {
        assert!(begun.elapsed() < DEADLINE, "{:?}", children(first[0]));
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    kill_process(Pid::from_raw(first[0]).unwrap(), Signal::TERM).unwrap();
    let mut said = String::new();
    unshare.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(unshare.wait().unwrap().code(), Some(0), "{said}");
    assert!(said.contains("shutting down"), "{said}");
}

fn run_quietly(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|it| it.success())
}

/// The children of a process, zombies among them.
fn children(pid: i32) -> Vec<i32> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    text.unwrap_or_default().split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

/// Waits until a process that is nobody's child here is gone.
fn wait_for_end(pid: i32) {
    let begun = Instant::now();
    let is_there = || {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        !status.is_empty() && !status.contains("State:\tZ")
    };
    while is_there() {
        assert!(begun.elapsed() < DEADLINE, "process {pid} does not end");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}
