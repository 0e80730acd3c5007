//! Runs one command of a deploy (an installer, a hook, a question to Python) with a limit, and hands its output on.
//!
//! Owns how such a command is started: its own process group, no new privileges, the site's user where the supervisor
//! is root, standard output and error in one pipe so that lines stay in order. Must not know what the commands mean.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use onebox_app_server::{spawn_error, unblock_signals};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::process::Child;
use tokio::time::timeout;

use super::error::DeployProblem;
use super::events::EventSink;
use crate::confinement::Confinement;
use crate::environment::{self, Environment};
use crate::users::RunAs;

/// Lines of output that a failure shows.
const LAST_LINES: usize = 30;
/// A longer line is cut here.
const LINE_BYTES: usize = 8 * 1024;
/// More output than this is not kept for [`capture`].
const CAPTURE_BYTES: usize = 4 * 1024 * 1024;
/// How long output may still come once the command has ended.
const AFTER_END: Duration = Duration::from_secs(2);

/// Variables that would lead an installer's Python astray.
const OF_ANOTHER_PYTHON: [&str; 4] = ["PYTHONHOME", "PYTHONPATH", "PYTHONSTARTUP", "VIRTUAL_ENV"];

/// One command.
#[derive(Debug)]
pub(crate) struct Job {
    /// What it is for, the subject of a sentence: `installing packages`.
    what: String,
    command: std::process::Command,
    confinement: Confinement,
    limit: Duration,
}

impl Job {
    /// `program` in `folder`, in the supervisor's environment less what belongs to another Python.
    pub(crate) fn new(
        what: impl Into<String>,
        program: impl AsRef<OsStr>,
        folder: &Path,
        limit: Duration,
    ) -> Self {
        let mut command = std::process::Command::new(program);
        command.current_dir(folder).process_group(0).stdin(Stdio::null());
        unblock_signals(&mut command);
        let mut inherited = environment::inherited();
        inherited.retain(|name, _| !OF_ANOTHER_PYTHON.iter().any(|other| name == *other));
        let confinement = Confinement::default();
        Self { what: what.into(), command, confinement, limit }.environment(inherited)
    }

    /// Runs it in this environment instead: the one that the application itself will have.
    pub(crate) fn environment(mut self, environment: Environment) -> Self {
        // What is written reaches the listener when it is written, not when the command ends.
        self.command.env_clear().envs(environment).env("PYTHONUNBUFFERED", "1");
        self
    }

    /// Adds arguments.
    pub(crate) fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.command.args(args);
        self
    }

    /// Sets a variable.
    pub(crate) fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Sets variables.
    pub(crate) fn envs(
        mut self,
        env: impl IntoIterator<Item = (impl AsRef<OsStr>, impl AsRef<OsStr>)>,
    ) -> Self {
        self.command.envs(env);
        self
    }

    /// Runs it as this user; `None`: as the supervisor's own.
    pub(crate) fn run_as(mut self, user: Option<&RunAs>) -> Self {
        self.confinement = Confinement::to_user(user.map(|user| user.account.clone()));
        self
    }

    /// Runs it, each line of output an event.
    ///
    /// # Errors
    /// When it cannot be started, fails, or does not end in time; the error carries the last lines.
    pub(crate) async fn stream(self, events: &EventSink) -> Result<(), DeployProblem> {
        let mut last = VecDeque::with_capacity(LAST_LINES);
        self.run(|line| {
            if last.len() == LAST_LINES {
                last.pop_front();
            }
            last.push_back(line.clone());
            events.output(line);
        })
        .await
        .map_err(|ended| ended.with_output(last.into()))
    }

    /// Runs it and returns what it wrote.
    ///
    /// # Errors
    /// As [`Job::stream`].
    pub(crate) async fn capture(self) -> Result<Vec<String>, DeployProblem> {
        let mut lines: Vec<String> = Vec::new();
        let mut bytes = 0_usize;
        let result = self
            .run(|line| {
                bytes = bytes.saturating_add(line.len());
                if bytes <= CAPTURE_BYTES {
                    lines.push(line);
                }
            })
            .await;
        match result {
            Ok(()) => Ok(lines),
            Err(ended) => {
                let last = lines.split_off(lines.len().saturating_sub(LAST_LINES));
                Err(ended.with_output(last))
            }
        }
    }

    async fn run(mut self, mut on_line: impl FnMut(String)) -> Result<(), Ended> {
        let what = self.what.clone();
        let cannot_start = |error: io::Error| Ended::Failed {
            what: what.clone(),
            status: format!("cannot be started: {error}"),
        };
        let (reader, writer) = io::pipe().map_err(cannot_start)?;
        let stderr = writer.try_clone().map_err(cannot_start)?;
        self.command.stdout(writer).stderr(stderr);
        let mut output =
            pipe::Receiver::from_owned_fd(OwnedFd::from(reader)).map_err(cannot_start)?;
        self.confinement.hold(&mut self.command).map_err(cannot_start)?;
        let mut child = spawn(self.command).await.map_err(cannot_start)?;
        let group = Group::of(&child);

        let mut lines = Lines::default();
        let work = async {
            let status = loop {
                tokio::select! {
                    biased;
                    read = output.read_buf(&mut lines.bytes) => match read {
                        Ok(0) | Err(_) => break child.wait().await,
                        Ok(_) => lines.hand_on(&mut on_line),
                    },
                    status = child.wait() => break status,
                }
            };
            drop(group);
            // A grandchild that left the group may hold the pipe: what it says is not waited for.
            let rest = async {
                while matches!(output.read_buf(&mut lines.bytes).await, Ok(count) if count > 0) {
                    lines.hand_on(&mut on_line);
                }
            };
            let _ = timeout(AFTER_END, rest).await;
            lines.finish(&mut on_line);
            status
        };
        match timeout(self.limit, work).await {
            Err(_) => Err(Ended::TooLong { what, limit: self.limit }),
            Ok(Err(error)) => Err(cannot_start(error)),
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => Err(Ended::Failed { what, status: describe(status) }),
        }
    }
}

/// How a command ended that did not end well.
enum Ended {
    Failed { what: String, status: String },
    TooLong { what: String, limit: Duration },
}

impl Ended {
    fn with_output(self, output: Vec<String>) -> DeployProblem {
        match self {
            Self::Failed { what, status } => {
                DeployProblem::Command { what, status, output, hint: String::new() }
            }
            Self::TooLong { what, limit } => DeployProblem::CommandTooLong { what, limit, output },
        }
    }
}

/// The command's process group, killed with whatever it left behind when this goes.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        Self(child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.0 {
            // Nobody is left in it, mostly.
            let _ = kill_process_group(leader, Signal::KILL);
        }
    }
}

/// Cuts output into lines.
#[derive(Default)]
struct Lines {
    bytes: bytes::BytesMut,
}

impl Lines {
    fn hand_on(&mut self, on_line: &mut impl FnMut(String)) {
        while let Some(end) = self.bytes.iter().position(|byte| *byte == b'\n') {
            let line = self.bytes.split_to(end.saturating_add(1));
            on_line(text(&line));
        }
        if self.bytes.len() > LINE_BYTES {
            let line = self.bytes.split();
            on_line(text(&line));
        }
    }

    fn finish(&mut self, on_line: &mut impl FnMut(String)) {
        if !self.bytes.is_empty() {
            let line = self.bytes.split();
            on_line(text(&line));
        }
    }
}

/// A line as people see it: what a carriage return overwrote is gone.
fn text(line: &[u8]) -> String {
    let line = String::from_utf8_lossy(line);
    let line = line.trim_end();
    line.rsplit('\r').next().unwrap_or(line).to_owned()
}

fn describe(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("killed by signal {signal}"),
        (None, None) => "ended strangely".to_owned(),
    }
}

/// Starts a command; the fork of a large process takes its time.
async fn spawn(command: std::process::Command) -> io::Result<Child> {
    let runtime = tokio::runtime::Handle::current();
    let start = move || {
        let _context = runtime.enter();
        let mut command = tokio::process::Command::from(command);
        command.kill_on_drop(true).spawn().map_err(spawn_error)
    };
    tokio::task::spawn_blocking(start).await.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::mpsc;

    fn shell(script: &str, limit: Duration) -> Job {
        Job::new("the script", "/bin/sh", Path::new("/"), limit).args(["-c", script])
    }

    const LONG: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn a_command_has_no_signal_blocked() {
        crate::signals::Blocked::new().unwrap();
        let lines = shell("grep SigBlk /proc/self/status", LONG).capture().await.unwrap();
        assert_eq!(lines, ["SigBlk:\t0000000000000000"]);
    }

    #[tokio::test]
    async fn both_outputs_arrive_in_order() {
        let job = shell("echo one; echo two >&2; printf three", LONG);
        assert_eq!(job.capture().await.unwrap(), ["one", "two", "three"]);
    }

    #[tokio::test]
    async fn a_failure_carries_the_last_lines() {
        let (sender, mut receiver) = mpsc::channel(100);
        let job = shell("seq 1 50; exit 3", LONG);
        let problem = job.stream(&EventSink::new(sender)).await.unwrap_err();
        assert_eq!(problem.to_string(), "the script failed (exit status 3)");
        let detail = problem.detail();
        assert!(detail.starts_with("21\n") && detail.ends_with("\n50"), "{detail}");
        let mut count = 0;
        while receiver.try_recv().is_ok() {
            count += 1;
        }
        assert_eq!(count, 50);
    }

    #[tokio::test]
    async fn a_command_that_hangs_is_stopped_with_its_children() {
        let job = shell("sleep 1000 & echo $!; wait", Duration::from_millis(300));
        let problem = job.capture().await.unwrap_err();
        let DeployProblem::CommandTooLong { output, .. } = problem else { panic!("{problem}") };
        let process = Path::new("/proc").join(&output[0]).join("cmdline");
        for _ in 0..200 {
            // A zombie's command line is empty; a reaped process has none.
            if std::fs::read(&process).unwrap_or_default().is_empty() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{} lives", process.display());
    }

    #[tokio::test]
    async fn a_background_process_does_not_hold_the_deploy() {
        let job = shell("sleep 1000 & echo started", LONG);
        assert_eq!(job.capture().await.unwrap(), ["started"]);
    }

    #[tokio::test]
    async fn a_program_that_is_missing_is_an_error() {
        let job = Job::new("the tool", "/nonexistent/tool", Path::new("/"), LONG);
        let problem = job.capture().await.unwrap_err();
        assert!(problem.to_string().contains("cannot be started"), "{problem}");
    }

    #[tokio::test]
    async fn commands_cannot_gain_privileges_and_do_not_see_our_variables() {
        let job = shell("grep NoNewPrivs /proc/self/status; env | grep -c ^ONEBOX_; true", LONG);
        let lines = job.capture().await.unwrap();
        assert_eq!(lines, ["NoNewPrivs:\t1", "0"]);
    }

    #[test]
    fn progress_bars_leave_their_last_state() {
        assert_eq!(text(b"10%\r50%\r100%\n"), "100%");
    }
}
