//! Commands with a deadline, and their output.

use std::io::Read;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// How long anything may take that is not measured: ten times and more what it does take, on a busy machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(100);

/// What a command left behind.
#[derive(Debug)]
pub(crate) struct Finished {
    /// How it ended.
    pub(crate) status: ExitStatus,
    /// What it printed.
    pub(crate) stdout: String,
    /// What it complained about.
    pub(crate) stderr: String,
}

impl Finished {
    /// The exit code.
    pub(crate) fn code(&self) -> i32 {
        self.status.code().unwrap_or(-1)
    }

    /// Itself, when it ended well.
    pub(crate) fn ok(self) -> Self {
        assert!(self.status.success(), "exit {}\n{}\n{}", self.code(), self.stdout, self.stderr);
        self
    }

    /// Itself, when it ended with exit code 1.
    pub(crate) fn failed(self) -> Self {
        assert_eq!(self.code(), 1, "{}\n{}", self.stdout, self.stderr);
        self
    }

    /// Both outputs together.
    pub(crate) fn all(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }

    /// Its standard output as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error} in {}", self.stdout))
    }

    /// Its standard output as JSON, a value a line.
    pub(crate) fn json_lines(&self) -> Vec<serde_json::Value> {
        self.stdout.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
    }
}

/// The binary under test, in an environment that names no appliance and no colours.
pub(crate) fn onebox() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_onebox"));
    for name in [
        "ONEBOX_STATE_DIR",
        "ONEBOX_CONFIG_DIR",
        "ONEBOX_HTTP",
        "ONEBOX_HTTPS",
        "ONEBOX_ADMIN",
        "PYTHONPATH",
        "VIRTUAL_ENV",
    ] {
        command.env_remove(name);
    }
    // Pythons, programs and temporary folders of who runs the tests often lie where nobody else gets in: here, and only here, root
    // runs sites as root. `properties` tests what holds otherwise.
    if rustix::process::geteuid().is_root() {
        command.env("ONEBOX_PROCESS__USER", "root");
    }
    // Packages are fetched from the index once for all tests of a machine.
    let cache = concat!(env!("CARGO_TARGET_TMPDIR"), "/package-cache");
    command
        .env("PIP_CACHE_DIR", cache)
        .env("UV_CACHE_DIR", cache)
        .env("NO_COLOR", "1")
        .stdin(Stdio::null());
    command
}

/// Runs a command to its end.
pub(crate) fn run(mut command: Command) -> Finished {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    finish(child, &format!("{command:?}"))
}

/// Waits for the end of a child; a child past the deadline is killed and the test fails.
fn finish(mut child: Child, what: &str) -> Finished {
    let pid = Pid::from_child(&child);
    let stdout = drain(child.stdout.take());
    let stderr = drain(child.stderr.take());
    let (sender, ended) = mpsc::channel();
    std::thread::spawn(move || sender.send(child.wait()).ok());
    let Ok(status) = ended.recv_timeout(DEADLINE) else {
        kill_process(pid, Signal::KILL).ok();
        panic!(
            "{what} did not end in time\n{}\n{}",
            stdout.recv().unwrap(),
            stderr.recv().unwrap()
        );
    };
    // A background appliance does not hold these pipes: its output goes to a file.
    let text = |pipe: mpsc::Receiver<String>| {
        pipe.recv_timeout(DEADLINE).expect("the output ends with the command")
    };
    Finished {
        status: status.expect("it can be waited for"),
        stdout: text(stdout),
        stderr: text(stderr),
    }
}

fn drain(pipe: Option<impl Read + Send + 'static>) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    let mut pipe = pipe.expect("the output is piped");
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes).ok();
        sender.send(String::from_utf8_lossy(&bytes).into_owned()).ok();
    });
    receiver
}
