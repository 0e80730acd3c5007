//! Starting an appliance in the background and waiting until it answers: this very binary, as `onebox serve`, in a session of its own.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, PipeWriter};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use onebox_config::{BoxConfig, Paths};
use onebox_supervisor::ready::{READY_FD, Readiness, Ready};

use crate::report::Failure;

/// How long it may take until it answers: opening databases and sockets, not loading sites.
const PATIENCE: Duration = Duration::from_secs(60);

/// Starts it and returns what it says of itself once it answers.
///
/// # Errors
/// When it cannot be started, ends at once or says nothing within a minute.
pub(crate) async fn start(config: &BoxConfig) -> Result<Ready, Failure> {
    let log = Paths::new(&config.state_dir).box_logs().join("onebox.log");
    let (reader, writer) = io::pipe().map_err(Failure::Spawn)?;
    spawn(config, &log, &writer).map_err(Failure::Spawn)?;
    // Ours must be closed: the pipe ends when the appliance does.
    drop(writer);
    let line = tokio::task::spawn_blocking(move || {
        let mut line = String::new();
        BufReader::new(reader).read_line(&mut line).map(|_| line)
    });
    let line = match tokio::time::timeout(PATIENCE, line).await {
        Ok(Ok(line)) => line.map_err(Failure::Spawn)?,
        Ok(Err(error)) => return Err(Failure::Spawn(io::Error::other(error))),
        Err(_) => return Err(Failure::Silent { seconds: PATIENCE.as_secs(), log }),
    };
    match serde_json::from_str(&line) {
        Ok(Readiness::Ready(ready)) => Ok(ready),
        Ok(Readiness::Failed { error }) => Err(Failure::Start { error, log }),
        Err(_) => Err(Failure::Start { error: last_line(&log), log }),
    }
}

fn spawn(config: &BoxConfig, log: &Path, writer: &PipeWriter) -> io::Result<()> {
    let output = open_log(log)?;
    // The one descriptor that outlives `exec`; the appliance closes it to its own children.
    rustix::io::fcntl_setfd(writer, rustix::io::FdFlags::empty())?;
    Command::new(own_binary()?)
        .arg("serve")
        .arg("--state-dir")
        .arg(&config.state_dir)
        .arg("--config-dir")
        .arg(&config.config_dir)
        .env(READY_FD, writer.as_raw_fd().to_string())
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        .spawn()
        .map(drop)
}

/// The running binary, also after an update has replaced the file it was started from.
fn own_binary() -> io::Result<PathBuf> {
    let path = std::env::current_exe()?;
    Ok(if path.exists() { path } else { PathBuf::from("/proc/self/exe") })
}

fn open_log(log: &Path) -> io::Result<File> {
    if let Some(folder) = log.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o711).create(folder)?;
    }
    OpenOptions::new().create(true).append(true).mode(0o600).open(log)
}

fn last_line(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    match text.lines().rev().find(|line| !line.trim().is_empty()) {
        Some(line) => line.to_owned(),
        None => "it ended at once".to_owned(),
    }
}
