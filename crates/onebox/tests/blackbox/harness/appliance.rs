//! An appliance of its own for a test.

use std::fs::Permissions;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::command::{DEADLINE, Finished, onebox, run};

/// Between two looks at what it printed.
const POLL: Duration = Duration::from_millis(10);

/// A running `onebox serve` (or `onebox run`), killed at the end of the test together with what it started.
pub(crate) struct TestBox {
    child: Option<Child>,
    folder: tempfile::TempDir,
    state: PathBuf,
    /// Where sites are served.
    pub(crate) http: SocketAddr,
    /// Where they are served with TLS, if anywhere.
    pub(crate) https: Option<SocketAddr>,
    /// Where the dashboard is served; `None` for `onebox run`.
    pub(crate) admin: Option<SocketAddr>,
    /// What it said before it was ready.
    pub(crate) greeting: String,
    said: Arc<Mutex<String>>,
}

impl TestBox {
    /// Starts an appliance and waits until it is ready.
    pub(crate) fn start() -> Self {
        Self::start_with(|_| ())
    }

    /// The same with a changed command.
    pub(crate) fn start_with(change: impl FnOnce(&mut Command)) -> Self {
        let folder = open_folder();
        let state = folder.path().join("state");
        let mut command = serve_command();
        change(&mut command);
        Self::launch(command, folder, state)
    }

    /// The same with an address for TLS.
    pub(crate) fn start_with_tls() -> Self {
        Self::start_with(|command| {
            command.args(["--https", "127.0.0.1:0"]);
        })
    }

    /// The same where `box.toml` says where to listen.
    pub(crate) fn start_with_config(text: &str) -> Self {
        let folder = open_folder();
        let state = folder.path().join("state");
        write_config(folder.path(), text);
        let mut command = onebox();
        command.arg("serve");
        Self::launch(command, folder, state)
    }

    /// The same with a command of the test's own; `state` outlives it.
    pub(crate) fn start_as(command: Command, state: Option<&Path>) -> Self {
        let folder = open_folder();
        let state = state.map_or_else(|| folder.path().join("state"), Path::to_owned);
        Self::launch(command, folder, state)
    }

    /// Starts one on a state directory that outlives it.
    pub(crate) fn start_at(state: &Path) -> Self {
        Self::launch(serve_command(), open_folder(), state.to_owned())
    }

    /// Serves a folder in place.
    pub(crate) fn run_in_place(path: &Path, arguments: &[&str]) -> Self {
        Self::run_in_place_with(path, arguments, |_| ())
    }

    /// The same with a changed command.
    pub(crate) fn run_in_place_with(
        path: &Path,
        arguments: &[&str],
        change: impl FnOnce(&mut Command),
    ) -> Self {
        Self::in_place("run", path, arguments, change)
    }

    /// The same with another verb.
    pub(crate) fn in_place(
        verb: &str,
        path: &Path,
        arguments: &[&str],
        change: impl FnOnce(&mut Command),
    ) -> Self {
        let mut command = onebox();
        command.arg(verb).arg(path).args(["--http", "127.0.0.1:0"]).args(arguments);
        change(&mut command);
        let folder = open_folder();
        let state = folder.path().join("state");
        Self::launch(command, folder, state)
    }

    fn launch(mut command: Command, folder: tempfile::TempDir, state: PathBuf) -> Self {
        command
            .env("ONEBOX_STATE_DIR", &state)
            .env("ONEBOX_CONFIG_DIR", folder.path().join("config"))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary starts");
        let said = Arc::new(Mutex::new(String::new()));
        let lines = watch(child.stdout.take().unwrap(), said.clone());
        drop(watch(child.stderr.take().unwrap(), said.clone()));
        let mut started = Self {
            child: Some(child),
            folder,
            state,
            http: ([0, 0, 0, 0], 0).into(),
            https: None,
            admin: None,
            greeting: String::new(),
            said,
        };
        started.await_ready(&lines);
        started
    }

    fn await_ready(&mut self, lines: &Receiver<String>) {
        loop {
            let line = lines.recv_timeout(DEADLINE).unwrap_or_else(|_| panic!("it is never ready"));
            if let Some(addresses) = line.strip_prefix("ready ") {
                let mut plain =
                    addresses.split_whitespace().filter_map(|word| address("http://", word));
                self.http = plain.next().expect("an address of sites");
                self.admin = plain.next();
                self.https =
                    addresses.split_whitespace().find_map(|word| address("https://", word));
                return;
            }
            self.greeting.push_str(&line);
            self.greeting.push('\n');
        }
    }

    /// Where its state lies.
    pub(crate) fn state(&self) -> &Path {
        &self.state
    }

    /// Its control socket.
    pub(crate) fn control_socket(&self) -> PathBuf {
        self.state.join("run/control.sock")
    }

    /// Writes its `box.toml`.
    pub(crate) fn write_config(&self, text: &str) {
        write_config(self.folder.path(), text);
    }

    /// A command that talks to this appliance.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = onebox();
        command
            .env("ONEBOX_STATE_DIR", &self.state)
            .env("ONEBOX_CONFIG_DIR", self.folder.path().join("config"));
        command.args(arguments);
        command
    }

    /// Runs a verb to its end.
    pub(crate) fn cli(&self, arguments: &[&str]) -> Finished {
        run(self.command(arguments))
    }

    /// Deploys a folder.
    pub(crate) fn deploy(&self, path: &Path) -> Finished {
        self.cli(&["deploy", path.to_str().unwrap()])
    }

    /// `onebox status --json`.
    pub(crate) fn status(&self) -> Value {
        self.cli(&["status", "--json"]).ok().json()
    }

    /// `onebox status SITE --json`.
    pub(crate) fn site(&self, name: &str) -> Value {
        self.cli(&["status", name, "--json"]).ok().json()
    }

    /// Asks for the status of a site until it is that.
    pub(crate) fn wait_for_site(&self, name: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        let begun = Instant::now();
        loop {
            let status = self.site(name);
            if is_it(&status) {
                return status;
            }
            assert!(begun.elapsed() < DEADLINE, "{status}");
            std::thread::sleep(POLL);
        }
    }

    /// Reads the log of a site until it has that.
    pub(crate) fn wait_for_log(&self, name: &str, text: &str) {
        let begun = Instant::now();
        loop {
            let log = self.cli(&["logs", name]).ok().stdout;
            if log.contains(text) {
                return;
            }
            assert!(begun.elapsed() < DEADLINE, "{text:?} is not in {log}");
            std::thread::sleep(POLL);
        }
    }

    /// What its API says over the control socket.
    pub(crate) fn api(&self, path: &str) -> Finished {
        let mut curl = Command::new("curl");
        curl.args(["-sSf", "--max-time", "60", "--unix-socket"]).arg(self.control_socket());
        curl.arg(format!("http://onebox{path}"));
        run(curl).ok()
    }

    /// The process id of the engine.
    pub(crate) fn engine_pid(&self) -> i32 {
        i32::try_from(self.status()["engine"]["pid"].as_i64().expect("an engine runs")).unwrap()
    }

    /// Types something at its terminal; its standard input is a pipe.
    pub(crate) fn type_in(&mut self, text: &str) {
        let child = self.child.as_mut().expect("it runs");
        let stdin = child.stdin.as_mut().expect("its input is a pipe");
        stdin.write_all(text.as_bytes()).unwrap();
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(self.child.as_ref().expect("it runs"))
    }

    /// Sends a signal to the appliance.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> i32 {
        let mut child = self.child.take().expect("it runs");
        let pid = Pid::from_child(&child);
        let (sender, ended) = mpsc::channel();
        std::thread::spawn(move || sender.send(child.wait()).ok());
        let Ok(status) = ended.recv_timeout(DEADLINE) else {
            kill_process(pid, Signal::KILL).ok();
            panic!("the appliance does not end");
        };
        status.unwrap().code().unwrap_or(-1)
    }

    /// Waits until it has printed a line with this in it.
    pub(crate) fn wait_for_line(&self, text: &str) {
        self.wait_for_lines(text, 1);
    }

    /// Waits until it has printed so many.
    pub(crate) fn wait_for_lines(&self, text: &str, count: usize) {
        let begun = Instant::now();
        while self.said.lock().unwrap().matches(text).count() < count {
            assert!(begun.elapsed() < DEADLINE, "it never says {text:?}");
            std::thread::sleep(POLL);
        }
    }

    /// What it printed so far.
    pub(crate) fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }
}

impl Drop for TestBox {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Its children hold the other end of its life pipe and end with it.
            child.kill().ok();
            child.wait().ok();
        }
        if std::thread::panicking() {
            let text = self.said.lock().map(|said| said.clone()).unwrap_or_default();
            eprintln!("--- the appliance said ---\n{text}--------------------------");
        }
    }
}

/// A folder of its own that the users of sites can enter too.
fn open_folder() -> tempfile::TempDir {
    tempfile::Builder::new().permissions(Permissions::from_mode(0o755)).tempdir().unwrap()
}

fn write_config(folder: &Path, text: &str) {
    let config = folder.join("config");
    std::fs::create_dir_all(&config).unwrap();
    std::fs::write(config.join("box.toml"), text).unwrap();
}

fn serve_command() -> Command {
    let mut command = onebox();
    command.args(["serve", "--http", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
    command
}

/// `http://127.0.0.1:4711/` as an address.
fn address(scheme: &str, text: &str) -> Option<SocketAddr> {
    text.strip_prefix(scheme)?.trim_end_matches(['/', ',']).parse().ok()
}

/// Remembers everything that comes, and hands the lines on.
fn watch(pipe: impl Read + Send + 'static, said: Arc<Mutex<String>>) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            let mut said = said.lock().unwrap();
            said.push_str(&line);
            said.push('\n');
            drop(said);
            sender.send(line).ok();
        }
    });
    receiver
}
