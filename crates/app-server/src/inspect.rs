//! Asking a program whether it is a Python, and which.

use std::fs;
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use onebox_config::Account;
use serde::Deserialize;

use crate::{Interpreter, PythonError, libpython, spawn_error, unblock_signals};

/// The question. It runs isolated (`-I`): neither the environment nor the current folder may change the answer.
const QUESTION: &str = include_str!("inspect.py");
/// How long a Python may take for the answer.
const TIMEOUT: Duration = Duration::from_secs(20);
/// The oldest minor version of Python 3 that the runtime library runs under.
const OLDEST_MINOR: u8 = 9;

/// What the program says.
#[derive(Debug, Deserialize)]
pub(crate) struct Answer {
    executable: PathBuf,
    implementation: String,
    version: (u8, u8, u8),
    prefix: PathBuf,
    pub(crate) base_prefix: PathBuf,
    free_threaded: bool,
    pub(crate) library_dir: Option<PathBuf>,
    pub(crate) library_names: Vec<String>,
    pub(crate) multiarch: Option<String>,
}

impl Answer {
    /// `3.11`
    pub(crate) fn minor_text(&self) -> String {
        format!("{}.{}", self.version.0, self.version.1)
    }
}

pub(crate) fn inspect(path: &Path, user: Option<&Account>) -> Result<Interpreter, PythonError> {
    let executable = if path.is_dir() { path.join("bin/python") } else { path.to_path_buf() };
    let venv = VenvConfig::of(&executable);
    if !executable.exists() {
        return Err(match venv {
            Some(venv) => PythonError::VenvBroken {
                venv: venv.folder,
                version: venv.version,
                home: venv.home,
            },
            None => PythonError::Absent(executable),
        });
    }
    let answer = ask(&executable, user)?;
    check(&executable, &answer)?;
    if let Some(venv) = venv
        && !venv.is_of(&answer)
    {
        return Err(PythonError::VenvOfOtherVersion {
            venv: venv.folder,
            made_with: venv.version,
            found: answer.minor_text(),
        });
    }
    Ok(Interpreter {
        libpython: libpython::find(&answer),
        executable: answer.executable,
        version: answer.version,
        prefix: answer.prefix,
        base_prefix: answer.base_prefix,
    })
}

fn check(executable: &Path, answer: &Answer) -> Result<(), PythonError> {
    let (major, minor, micro) = answer.version;
    let unsupported = |what: &str| PythonError::Unsupported {
        executable: executable.to_path_buf(),
        what: what.to_owned(),
    };
    if answer.implementation != "CPython" {
        return Err(unsupported(&answer.implementation));
    }
    if (major, minor) < (3, OLDEST_MINOR) {
        let version = format!("{major}.{minor}.{micro}");
        return Err(PythonError::TooOld { executable: executable.to_path_buf(), version });
    }
    if answer.free_threaded {
        return Err(unsupported("a free-threaded CPython"));
    }
    Ok(())
}

fn ask(executable: &Path, user: Option<&Account>) -> Result<Answer, PythonError> {
    let not_runnable = |source: io::Error| match user {
        Some(user) if source.kind() == io::ErrorKind::PermissionDenied => {
            PythonError::Closed { executable: executable.to_path_buf(), user: user.shown() }
        }
        _ => PythonError::NotRunnable { executable: executable.to_path_buf(), source },
    };
    let mut command = Command::new(executable);
    command.args(["-I", "-c", QUESTION]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    if let Some(user) = user {
        command.uid(user.uid).gid(user.gid);
    }
    unblock_signals(&mut command);
    let mut child = command.spawn().map_err(spawn_error).map_err(not_runnable)?;
    let output = read_within(&mut child, TIMEOUT);
    // Either it has ended, or it has to.
    let _ = child.kill();
    let status = child.wait().map_err(not_runnable)?;
    let Some((stdout, stderr)) = output else {
        let executable = executable.to_path_buf();
        return Err(PythonError::TooSlow { executable, seconds: TIMEOUT.as_secs() });
    };
    serde_json::from_str(stdout.trim()).map_err(|_| {
        let said =
            stderr.lines().chain(stdout.lines()).map(str::trim).rfind(|line| !line.is_empty());
        PythonError::NotAPython {
            executable: executable.to_path_buf(),
            message: said.map_or_else(|| format!("it ended with {status}"), str::to_owned),
        }
    })
}

/// Standard output and error up to their ends, which a program that hangs, or its child, may never reach.
fn read_within(child: &mut Child, limit: Duration) -> Option<(String, String)> {
    let (mut stdout, mut stderr) = (child.stdout.take()?, child.stderr.take()?);
    let (sender, receiver) = mpsc::channel();
    let said = sender.clone();
    std::thread::spawn(move || {
        let mut text = Vec::new();
        // What could be read is judged below.
        let _ = stdout.read_to_end(&mut text);
        let _ = said.send((true, text));
    });
    std::thread::spawn(move || {
        let mut text = Vec::new();
        let _ = stderr.read_to_end(&mut text);
        let _ = sender.send((false, text));
    });
    let deadline = std::time::Instant::now() + limit;
    let (mut out, mut err) = (String::new(), String::new());
    for _ in 0..2 {
        let left = deadline.saturating_duration_since(std::time::Instant::now());
        let (is_stdout, text) = receiver.recv_timeout(left).ok()?;
        *(if is_stdout { &mut out } else { &mut err }) =
            String::from_utf8_lossy(&text).into_owned();
    }
    Some((out, err))
}

/// What `pyvenv.cfg` says of a virtual environment.
struct VenvConfig {
    folder: PathBuf,
    version: String,
    home: PathBuf,
}

impl VenvConfig {
    /// The configuration of the environment that `executable` belongs to (PEP 405: one or two folders above it).
    fn of(executable: &Path) -> Option<Self> {
        let folder = executable.parent()?.parent()?;
        let text = fs::read_to_string(folder.join("pyvenv.cfg")).ok()?;
        let value = |keys: &[&str]| {
            text.lines().filter_map(|line| line.split_once('=')).find_map(|(key, value)| {
                keys.contains(&key.trim()).then(|| value.trim().to_owned())
            })
        };
        Some(Self {
            folder: folder.to_path_buf(),
            // venv writes `version`, uv and virtualenv `version_info`.
            version: value(&["version", "version_info"])
                .unwrap_or_else(|| "of an unknown version".into()),
            home: PathBuf::from(value(&["home"]).unwrap_or_default()),
        })
    }

    /// Whether `answer` is of the minor version that the environment's packages were installed for.
    fn is_of(&self, answer: &Answer) -> bool {
        let mut parts = self.version.split('.');
        let (major, minor) = (parts.next(), parts.next());
        match (major.and_then(|n| n.parse::<u8>().ok()), minor.and_then(|n| n.parse::<u8>().ok())) {
            (Some(major), Some(minor)) => (major, minor) == (answer.version.0, answer.version.1),
            _ => true,
        }
    }
}
