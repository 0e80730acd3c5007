//! What is needed to start a release, written beside it once: restarts and rollbacks read it and detect nothing.
//!
//! Owns the shape of `plan.json` and its reading and writing. Must not know how its values were found.

use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use onebox_app_server::{Application, Interpreter};
use serde::{Deserialize, Serialize};

/// The file's name in a release's folder; a release without it is half-made.
pub(crate) const PLAN_FILE: &str = "plan.json";

/// What a site was recognised as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// A Flask application.
    Flask,
    /// A Django project.
    Django,
    /// Any other WSGI callable.
    Wsgi,
    /// Files only.
    Static,
    /// Servers of others answer for it.
    Proxied,
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Flask => "Flask",
            Self::Django => "Django",
            Self::Wsgi => "WSGI",
            Self::Static => "static",
            Self::Proxied => "proxied",
        })
    }
}

/// How to run one release, all paths absolute.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct RunPlan {
    /// What it is.
    pub(crate) kind: Kind,
    /// One line for people: what was found and where.
    pub(crate) found: String,
    /// The Python that runs it (the virtual environment's own); `None` for a site without Python.
    pub(crate) interpreter: Option<Interpreter>,
    /// Where its callable is; `None` for a site without Python.
    pub(crate) application: Option<Application>,
    /// The working folder, and first on Python's path.
    pub(crate) root: PathBuf,
    /// More folders for Python's path, in order (`src/`).
    pub(crate) python_path: Vec<PathBuf>,
    /// The release's own variables; those of `onebox env` are laid over them at each start.
    pub(crate) env: Vec<(String, String)>,
    /// URL prefix and the folders that are searched for it.
    pub(crate) statics: Vec<(String, Vec<PathBuf>)>,
    /// What outlives the release, in `shared/`.
    pub(crate) persistent: Vec<PathBuf>,
    /// What its owner should know; told at the deploy, kept for `onebox explain`.
    pub(crate) warnings: Vec<String>,
}

impl RunPlan {
    /// Reads the plan of the release in `dir`.
    ///
    /// # Errors
    /// When there is none (the release is half-made) or it cannot be read.
    pub(crate) fn read(dir: &Path) -> io::Result<Self> {
        let text = fs::read(dir.join(PLAN_FILE))?;
        serde_json::from_slice(&text).map_err(io::Error::from)
    }

    /// Writes the plan into `dir`, whole or not at all; this is what makes a release complete.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn write(&self, dir: &Path) -> io::Result<()> {
        let mut file = tempfile::Builder::new().prefix(".plan").tempfile_in(dir)?;
        serde_json::to_writer_pretty(&mut file, self)?;
        file.write_all(b"\n")?;
        file.as_file().sync_all()?;
        file.persist(dir.join(PLAN_FILE)).map_err(|error| error.error)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> RunPlan {
        RunPlan {
            kind: Kind::Wsgi,
            found: "WSGI callable hello:application".to_owned(),
            interpreter: None,
            application: Some(Application::Module("hello:application".to_owned())),
            root: PathBuf::from("/srv/hello"),
            python_path: Vec::new(),
            env: vec![("A".to_owned(), "b".to_owned())],
            statics: vec![("/static".to_owned(), vec![PathBuf::from("/srv/hello/static")])],
            persistent: Vec::new(),
            warnings: Vec::new(),
        }
    }

    #[test]
    fn a_plan_reads_back_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        plan().write(folder.path()).unwrap();
        assert_eq!(RunPlan::read(folder.path()).unwrap(), plan());
    }

    #[test]
    fn a_release_without_a_plan_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(RunPlan::read(folder.path()).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
