//! What can go wrong between an archive and a release that is ready to start, told so that a person can mend it.
//!
//! Owns the words. Must not know who reads them: the terminal, the dashboard and the log show the same three parts.

use std::path::PathBuf;
use std::time::Duration;

use onebox_app_server::PythonError;

/// The ways out for a box where everything is root's, as in many containers.
const AS_ROOT: &str = "or let it run as root: this site with `uid = \"root\"` and `allow-root = true` in onebox.toml, all with \
                       `user = \"root\"` under [process] in box.toml (ONEBOX_PROCESS__USER=root)";

/// A step of a deploy; its name is what the events of a deploy carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// What the site is.
    Detect,
    /// The archive becomes a release.
    Copy,
    /// The virtual environment and its packages.
    Install,
    /// What outlives releases.
    Persist,
    /// What the framework itself says about the site.
    Settings,
    /// Commands of the release: migrations, static files.
    Hooks,
    /// The plan is written; the release is complete.
    Record,
}

impl Step {
    /// The name in events.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Detect => "detect",
            Self::Copy => "copy",
            Self::Install => "install",
            Self::Persist => "persist",
            Self::Settings => "settings",
            Self::Hooks => "hooks",
            Self::Record => "record",
        }
    }
}

/// Why a deploy ended before there was anything to start; the live release was not touched.
#[derive(Debug, thiserror::Error)]
#[error("{step}: {problem}", step = step.name())]
pub(crate) struct DeployFailure {
    /// Where it stopped.
    pub(crate) step: Step,
    /// What was wrong.
    #[source]
    pub(crate) problem: DeployProblem,
}

/// What was wrong.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DeployProblem {
    /// The archive stopped coming.
    #[error("the archive did not arrive: {0}")]
    ArchiveLost(String),
    /// The archive is not one that is unpacked here.
    #[error("the archive was refused: {0}")]
    ArchiveRefused(String),
    /// `onebox.toml` or the `Procfile` has mistakes.
    #[error("the site's configuration has mistakes")]
    Configuration(#[source] onebox_config::ConfigError),
    /// Nothing gives the site a name.
    #[error("the site has no usable name: {0}")]
    Name(String),
    /// A folder that is served in place, and whose path cannot be told to the engine.
    #[error("the path of the folder {} is not UTF-8", .0.display())]
    FolderName(PathBuf),
    /// Nothing was recognised.
    #[error("no site was recognised in this folder")]
    NothingFound {
        /// What was looked for, a line each.
        looked_for: Vec<String>,
    },
    /// An application of the other protocol.
    #[error(
        "this is an ASGI application ({framework}), and this version of onebox serves WSGI applications"
    )]
    Asgi {
        /// `FastAPI` and the like.
        framework: String,
        /// `main:app` and the like.
        module: String,
    },
    /// The configured application is not in the archive.
    #[error("{key} names {value}, and there is no {missing}")]
    ApplicationMissing {
        /// `module`, `wsgi-file`, `Procfile`.
        key: &'static str,
        /// As configured.
        value: String,
        /// The file that was looked for.
        missing: String,
    },
    /// A host of `--domain` is none.
    #[error("{0}")]
    Domain(String),
    /// No usable Python.
    #[error(transparent)]
    Python(PythonError),
    /// A framework is imported and nothing installs it.
    #[error("the site imports {package}, and no requirements file says so")]
    NoRequirements {
        /// As one would write it in requirements.txt.
        package: &'static str,
    },
    /// `pyproject.toml` cannot be read.
    #[error("pyproject.toml cannot be read: {0}")]
    Pyproject(String),
    /// There is no way to make a virtual environment with packages.
    #[error("packages cannot be installed with {python}: {reason}")]
    NoInstaller {
        /// The interpreter.
        python: PathBuf,
        /// What was tried.
        reason: String,
        /// The version, for the package's name in Debian.
        version: (u8, u8),
    },
    /// A command failed.
    #[error("{what} failed ({status}){exception}", exception = exception(output))]
    Command {
        /// What it was for.
        what: String,
        /// `exit status 1` and the like.
        status: String,
        /// The last lines of its output.
        output: Vec<String>,
        /// What may help; may be empty.
        hint: String,
    },
    /// A command did not end.
    #[error("{what} did not end within {limit:?} and was stopped")]
    CommandTooLong {
        /// What it was for.
        what: String,
        /// How long it had.
        limit: Duration,
        /// The last lines of its output.
        output: Vec<String>,
    },
    /// A path under `persist` leaves the site.
    #[error("persist names {0}, which is not a path below the site's folder")]
    PersistOutside(PathBuf),
    /// The site asks for what this supervisor can't give.
    #[error("{0}")]
    NotAllowed(String),
    /// The working folder.
    #[error("`chdir`: there is no folder {}", .0.display())]
    NoWorkingFolder(PathBuf),
    /// The site's user can't get to what it is to run.
    #[error("{user}, who runs the site, can't get to {}: {} is closed", place.display(), closed.display())]
    Closed {
        /// The user.
        user: String,
        /// What it is to run, or enter.
        place: PathBuf,
        /// The first on the way that it may not enter.
        closed: PathBuf,
    },
    /// A file could not be read, written or moved.
    #[error("{doing} {path}: {source}", path = path.display())]
    File {
        /// `cannot read` and the like.
        doing: &'static str,
        /// Which.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// A task of the deploy itself broke.
    #[error("an internal task of the deploy ended early: {0}")]
    Task(String),
}

impl DeployProblem {
    /// Names the failing step.
    pub(crate) fn at(self, step: Step) -> DeployFailure {
        DeployFailure { step, problem: self }
    }

    /// A closure for `map_err`: what was being done with which path.
    pub(crate) fn file(
        doing: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { doing, path, source }
    }

    /// Adds a hint to a failed command that has none.
    pub(crate) fn or_hint(self, advice: &str) -> Self {
        match self {
            Self::Command { what, status, output, hint } if hint.is_empty() => {
                Self::Command { what, status, output, hint: advice.to_owned() }
            }
            other => other,
        }
    }

    /// Output, a traceback, or a list; empty where the reason says all.
    pub(crate) fn detail(&self) -> String {
        match self {
            Self::Command { output, .. } | Self::CommandTooLong { output, .. } => output.join("\n"),
            Self::NothingFound { looked_for } => {
                let lines: Vec<String> =
                    looked_for.iter().map(|what| format!("looked for {what}")).collect();
                lines.join("\n")
            }
            Self::Configuration(error) => error.to_string(),
            _ => String::new(),
        }
    }

    /// What to do about it; empty where nothing general can be said.
    pub(crate) fn hint(&self) -> String {
        match self {
            Self::ArchiveLost(_) => "deploy again".to_owned(),
            Self::Name(_) => {
                "give it one with `--name NAME` or `name = \"…\"` in onebox.toml: lower-case letters, digits and hyphens"
                    .to_owned()
            }
            Self::FolderName(_) => {
                "rename it, or `onebox deploy` it: a release has a folder of its own".to_owned()
            }
            Self::NothingFound { .. } => {
                "a static site has an index.html, a Python site an app.py with its WSGI callable; another place is named in \
                 onebox.toml: `module = \"package.module:callable\"`"
                    .to_owned()
            }
            Self::Asgi { module, .. } => format!(
                "let it run beside onebox, by the Procfile line `web: uvicorn {module} --port 8000`, and have requests passed \
                 on to it, by the lines `[[upstream]]` and `to = \"http://127.0.0.1:8000\"` in onebox.toml; or offer a WSGI \
                 callable and name it with `module`"
            ),
            Self::NoRequirements { package } => {
                format!("add a requirements.txt with the line `{package}` to the site's folder")
            }
            Self::NoInstaller { version: (major, minor), .. } => {
                format!("on Debian and Ubuntu: apt install python{major}.{minor}-venv")
            }
            Self::NotAllowed(_) => {
                "leave it out, or let root run the appliance".to_owned()
            }
            Self::Closed { user, closed, .. } => {
                format!("open it (chmod o+x {}), or let {user} in; {AS_ROOT}", closed.display())
            }
            Self::Python(PythonError::Closed { .. }) => format!(
                "install one for everybody (on Debian and Ubuntu: apt install python3 python3-venv), or name one that is \
                 open to it with `python = \"/path/to/python\"` in onebox.toml; {AS_ROOT}"
            ),
            Self::Command { hint, .. } => hint.clone(),
            Self::CommandTooLong { .. } => {
                "something waits: a connection, a lock, or input that never comes".to_owned()
            }
            Self::Python(error) if error.is_shortage() => {
                "end something, or raise that limit, then deploy again; the Python is there".to_owned()
            }
            Self::Python(_) => {
                "install python3 (3.9 or newer), or name one with `python = \"/path/to/python\"` in onebox.toml".to_owned()
            }
            _ => String::new(),
        }
    }
}

/// `: KeyError: 'SECRET_KEY'` where output ends like a traceback, else nothing.
fn exception(output: &[String]) -> String {
    let last = output.last().map(String::as_str).unwrap_or_default();
    let name = last.split(':').next().unwrap_or_default();
    let is_name =
        name.chars().all(|character| character.is_alphanumeric() || "._".contains(character));
    let is_exception = is_name && (name.ends_with("Error") || name.ends_with("Exception"));
    // Longer ones are read in the output itself.
    if is_exception && last.len() <= 200 { format!(": {last}") } else { String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(last: &str) -> String {
        let output = vec!["Traceback (most recent call last):".to_owned(), last.to_owned()];
        let (what, status) = ("migrating".to_owned(), "exit status 1".to_owned());
        DeployProblem::Command { what, status, output, hint: String::new() }.to_string()
    }

    #[test]
    fn the_exception_of_a_traceback_is_part_of_the_reason() {
        assert_eq!(failed("KeyError: 'KEY'"), "migrating failed (exit status 1): KeyError: 'KEY'");
        assert_eq!(
            failed("django.db.utils.OperationalError: no"),
            "migrating failed (exit status 1): django.db.utils.OperationalError: no"
        );
        assert_eq!(failed("ERROR: no distribution"), "migrating failed (exit status 1)");
        assert_eq!(failed("some Error: here"), "migrating failed (exit status 1)");
    }

    #[test]
    fn where_a_process_is_lacking_no_python_is_to_be_installed() {
        let failed = |error: i32| {
            let source = std::io::Error::from_raw_os_error(error);
            let executable = PathBuf::from("/usr/bin/python3");
            DeployProblem::Python(PythonError::NotRunnable { executable, source }).hint()
        };
        assert!(failed(libc::EAGAIN).contains("raise that limit"));
        assert!(failed(libc::ENOMEM).contains("raise that limit"));
        assert!(failed(libc::ENOEXEC).contains("install python3"));
    }

    #[test]
    fn a_hint_is_only_added_where_there_is_none() {
        let problem = |hint: &str| DeployProblem::Command {
            what: String::new(),
            status: String::new(),
            output: Vec::new(),
            hint: hint.to_owned(),
        };
        assert_eq!(problem("").or_hint("do this").hint(), "do this");
        assert_eq!(problem("do that").or_hint("do this").hint(), "do that");
    }
}
