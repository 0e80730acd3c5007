//! What can be wrong with a Python, with the runtime library, or with an application at its start.

use std::io;
use std::path::PathBuf;

/// No Python, or none that can be used.
#[derive(Debug, thiserror::Error)]
pub enum PythonError {
    /// The file is not there.
    #[error("there is no Python at {}", .0.display())]
    Absent(PathBuf),
    /// A virtual environment whose interpreter was removed.
    #[error(
        "the virtual environment {} was made with Python {version}, which is no longer at {}; make the environment again",
        venv.display(), home.display()
    )]
    VenvBroken {
        /// The environment's folder.
        venv: PathBuf,
        /// The version it was made with.
        version: String,
        /// Where its interpreter was.
        home: PathBuf,
    },
    /// A virtual environment whose interpreter was replaced by one of another version.
    #[error(
        "the virtual environment {} was made with Python {made_with}, but its python is now {found}; make the environment again",
        venv.display()
    )]
    VenvOfOtherVersion {
        /// The environment's folder.
        venv: PathBuf,
        /// The version it was made with.
        made_with: String,
        /// The version that runs now.
        found: String,
    },
    /// The program can't be run.
    #[error("{} can't be run: {source}", executable.display())]
    NotRunnable {
        /// The program.
        executable: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The program is there, and closed to the user who would run it.
    #[error("{}, who runs the site, can't run {}: it lies where only others get in", user, executable.display())]
    Closed {
        /// The program.
        executable: PathBuf,
        /// The user.
        user: String,
    },
    /// The program does not answer the way a Python does.
    #[error("{} is no usable Python: {message}", executable.display())]
    NotAPython {
        /// The program.
        executable: PathBuf,
        /// What it said or did instead.
        message: String,
    },
    /// The program did not answer in time.
    #[error("{} did not say what it is within {seconds} seconds", executable.display())]
    TooSlow {
        /// The program.
        executable: PathBuf,
        /// The limit.
        seconds: u64,
    },
    /// A Python older than 3.9.
    #[error("{} is Python {version}; onebox needs Python 3.9 or newer", executable.display())]
    TooOld {
        /// The interpreter.
        executable: PathBuf,
        /// Its version.
        version: String,
    },
    /// Not CPython, or a build of it without the GIL.
    #[error("{} is {what}; onebox needs a CPython with the GIL", executable.display())]
    Unsupported {
        /// The interpreter.
        executable: PathBuf,
        /// What it is.
        what: String,
    },
    /// No Python of the wanted version.
    #[error("no Python {wanted} was found on PATH, among pyenv's versions, or in /usr/local/bin and /usr/bin{}", found_instead(.found))]
    VersionNotFound {
        /// The wanted version.
        wanted: String,
        /// The versions that were seen on the way.
        found: Vec<String>,
    },
    /// No Python at all.
    #[error("no python3 was found on PATH; install Python 3.9 or newer")]
    NotFound,
    /// A `.python-version` file or a choice that names no version.
    #[error("{origin} says {text:?}, which is no Python version like 3.11 or 3.11.7")]
    NoVersion {
        /// Where it stands.
        origin: String,
        /// What it says.
        text: String,
    },
}

impl PythonError {
    /// Whether nothing is wrong with any Python: this machine, or a limit of it, has no room for one more process.
    pub fn is_shortage(&self) -> bool {
        let kinds = [io::ErrorKind::WouldBlock, io::ErrorKind::OutOfMemory];
        matches!(self, Self::NotRunnable { source, .. } if kinds.contains(&source.kind()))
    }
}

fn found_instead(found: &[String]) -> String {
    if found.is_empty() { String::new() } else { format!("; found {}", found.join(", ")) }
}

/// The runtime library can't be put where interpreters can load it.
#[derive(Debug, thiserror::Error)]
#[error("the runtime library can't be written to {}: {source}", path.display())]
pub struct LibraryError {
    /// The file or folder.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub source: io::Error,
}

/// An application that could not be started in this process.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The interpreter has no shared library: it can only run as a process of its own.
    #[error("{} has no shared library (libpython), so it can't be loaded into a process", .0.display())]
    NoSharedLibrary(PathBuf),
    /// A shared library can't be loaded.
    #[error("{} can't be loaded: {message}", path.display())]
    Load {
        /// The file.
        path: PathBuf,
        /// What the loader says.
        message: String,
    },
    /// There is an interpreter in this process already.
    #[error("this process has an interpreter already")]
    AlreadyEmbedded,
    /// The specification is too large for its encoding.
    #[error("the application's specification is too large: {0}")]
    Specification(#[from] onebox_uwsgi::EncodeError),
    /// The thread can't be made.
    #[error("the interpreter's thread can't be made: {0}")]
    Thread(#[source] io::Error),
    /// The interpreter ended without a word.
    #[error("the interpreter ended before the application was loaded")]
    Lost,
    /// The application can't be loaded.
    #[error("{summary}")]
    Application {
        /// The exception in one line.
        summary: String,
        /// Python's traceback.
        traceback: String,
    },
}
