//! A real server of somebody else, for a test that stands before or behind it.

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Sender};

use rustix::process::{Pid, Signal, kill_process};

use super::command::DEADLINE;

/// A running server; it ends with the test.
pub(crate) struct Peer {
    child: Child,
}

impl Peer {
    /// Starts one, and waits until it says that it is ready.
    pub(crate) fn start(mut command: Command, ready: &str) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let (sender, lines) = mpsc::channel();
        listen(child.stdout.take().unwrap(), sender.clone());
        listen(child.stderr.take().unwrap(), sender);
        let started = Self { child };
        let mut said = String::new();
        loop {
            let line = lines
                .recv_timeout(DEADLINE)
                .unwrap_or_else(|_| panic!("{command:?} is never {ready:?}\n{said}"));
            if line.contains(ready) {
                return started;
            }
            said.push_str(&line);
            said.push('\n');
        }
    }

    /// Ends it at once, whatever it is doing.
    pub(crate) fn kill(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // Asked to end: those that have processes of their own take them along.
        if matches!(self.child.try_wait(), Ok(None)) {
            kill_process(Pid::from_child(&self.child), Signal::TERM).ok();
            self.child.wait().ok();
        }
    }
}

fn listen(pipe: impl Read + Send + 'static, lines: Sender<String>) {
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            lines.send(line).ok();
        }
    });
}

/// Whether a uWSGI can be built on this machine; says so where it can't.
pub(crate) fn uwsgi_can_be_built() -> bool {
    let look = "import os, sysconfig; os.stat(sysconfig.get_path('include') + '/Python.h')";
    let found = Command::new("python3").args(["-c", look]).stderr(Stdio::null()).status();
    let found = found.is_ok_and(|status| status.success());
    if !found {
        eprintln!("skipped: this machine has no Python.h; Debian's package is python3-dev");
    }
    found
}

/// Debian's php-fpm, where this machine has it; says so where it has not.
pub(crate) fn php_fpm() -> Option<PathBuf> {
    let binaries = std::fs::read_dir("/usr/sbin").ok()?.filter_map(Result::ok);
    let found = binaries.map(|entry| entry.path()).find(|path| {
        path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"php-fpm"))
    });
    if found.is_none() {
        eprintln!("skipped: this machine has no php-fpm; Debian's package is php-fpm");
    }
    found
}
