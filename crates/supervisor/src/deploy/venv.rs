//! The virtual environment of a release: made anew, or shared with an earlier release that wanted the same.
//!
//! Owns the choice of the installer (uv, else pip; pip from its wheel where Python has no ensurepip) and the words for
//! what goes wrong with it. Must not know what the site is. Source: DESIGN section 8.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use onebox_app_server::{Interpreter, search_path};

use super::clone::clone_environment;
use super::command::Job;
use super::error::DeployProblem;
use super::events::EventSink;
use super::packages::Requirements;
use super::plan::PLAN_FILE;
use super::release::folders;
use crate::users::{RunAs, closed_to};

/// How long packages may take to install; some are compiled.
const INSTALL_LIMIT: Duration = Duration::from_secs(30 * 60);
/// How long an environment without packages may take to be made.
const MAKE_LIMIT: Duration = Duration::from_secs(120);
/// The file beside an environment that says what is in it.
const KEY_FILE: &str = "venv.key";
/// Finds pip in the index and checks its hash.
const FETCH_PIP: &str = include_str!("scripts/fetch_pip.py");

/// What an environment is made for.
#[derive(Debug)]
pub(crate) struct Environment<'a> {
    /// The release's folder; the environment is `venv` in it.
    pub(crate) release: &'a Path,
    /// Where the site's files are, for requirements that are relative.
    pub(crate) app: &'a Path,
    /// The Python it is made with.
    pub(crate) python: &'a Interpreter,
    /// What is wanted in it; `None`: nothing.
    pub(crate) requirements: Option<&'a Requirements>,
    /// Who installs.
    pub(crate) user: Option<&'a RunAs>,
}

impl Environment<'_> {
    /// Makes it and returns its Python.
    ///
    /// # Errors
    /// When there is no way to install, or the installer fails.
    pub(crate) async fn make(&self, events: &EventSink) -> Result<Interpreter, DeployProblem> {
        let venv = self.release.join("venv");
        let key = self.requirements.and_then(|requirements| requirements.key(self.python));
        if !self.share(&venv, key.as_deref(), events).await? {
            self.install(&venv, events).await?;
        }
        if let Some(key) = key {
            let file = self.release.join(KEY_FILE);
            fs::write(&file, key).map_err(DeployProblem::file("cannot write", &file))?;
        }
        // The same as what it was made with. It is not asked, because that would run what the site's packages put into it.
        Ok(Interpreter { executable: venv.join("bin/python"), prefix: venv, ..self.python.clone() })
    }

    /// Uses the environment of an earlier release with the same key, if there is one.
    async fn share(
        &self,
        venv: &Path,
        key: Option<&str>,
        events: &EventSink,
    ) -> Result<bool, DeployProblem> {
        let Some(key) = key else { return Ok(false) };
        let Some(earlier) = self.release.parent().and_then(|releases| with_key(releases, key))
        else {
            return Ok(false);
        };
        let (from, to) = (earlier.join("venv"), venv.to_path_buf());
        let copy = move || {
            let result = clone_environment(&from, &to);
            if result.is_err() {
                // An environment of its own is made instead, in an empty place.
                let _ = fs::remove_dir_all(&to);
            }
            result
        };
        match blocking(copy).await? {
            Ok(()) => {
                let id = earlier.file_name().unwrap_or_default().display().to_string();
                events.output(format!("packages unchanged: shared with release {id}"));
                Ok(true)
            }
            Err(error) => {
                tracing::info!(%error, "an environment could not be shared");
                Ok(false)
            }
        }
    }

    async fn install(&self, venv: &Path, events: &EventSink) -> Result<(), DeployProblem> {
        let uv = find_program("uv", self.user);
        let python = self.python.executable.as_os_str();
        // The folder is made here, so that its owner can be the one who installs.
        fs::create_dir(venv).map_err(DeployProblem::file("cannot make the folder", venv))?;
        super::owner::give(venv, self.user)?;
        let target = venv.as_os_str();
        let requirements = self.requirements.filter(|requirements| !requirements.is_empty());
        let Some(requirements) = requirements else {
            let make = self.job("making the environment", python, MAKE_LIMIT);
            let args = ["-m".as_ref(), "venv".as_ref(), "--without-pip".as_ref(), target];
            return self.told(make.args(args).stream(events).await);
        };
        let install = if let Some(uv) = uv {
            let make = self.job("making the environment", &uv, MAKE_LIMIT);
            let args = ["venv", "--quiet", "--no-project", "--allow-existing", "--python"];
            self.told(make.args(args).args([python, target]).stream(events).await)?;
            let job = self.job("installing packages with uv", &uv, INSTALL_LIMIT);
            job.args(["pip", "install", "--python"]).args([venv.join("bin/python").as_os_str()])
        } else {
            self.make_with_pip(venv, events).await?;
            let job =
                self.job("installing packages with pip", venv.join("bin/python"), INSTALL_LIMIT);
            job.args(["-m", "pip", "install", "--no-input", "--disable-pip-version-check"])
                .args(["--progress-bar", "off"])
        };
        install.args(requirements.arguments()).stream(events).await.map_err(with_hint)
    }

    /// Makes an environment that has pip.
    async fn make_with_pip(&self, venv: &Path, events: &EventSink) -> Result<(), DeployProblem> {
        let python = self.python.executable.as_os_str();
        let probe = self.job("looking for ensurepip", python, MAKE_LIMIT);
        let has_ensurepip = probe.args(["-c", "import ensurepip"]).capture().await.is_ok();
        let make = self.job("making the environment", python, MAKE_LIMIT).args(["-m", "venv"]);
        if has_ensurepip {
            return self.told(make.args([venv]).stream(events).await);
        }
        self.told(make.args(["--without-pip".as_ref(), venv.as_os_str()]).stream(events).await)?;
        let own = venv.join("bin/python");
        let fetch = self.job("fetching pip from the package index", &own, MAKE_LIMIT);
        let fetched =
            fetch.args(["-c".as_ref(), FETCH_PIP.as_ref(), venv.as_os_str()]).capture().await;
        let fetched = fetched.map_err(|problem| self.no_installer(&problem))?;
        let Some(wheel) = fetched.last().map(PathBuf::from) else {
            return Err(DeployProblem::Task("the search for pip said nothing".to_owned()));
        };
        events.output(format!("pip came from the package index: {}", wheel.display()));
        // A wheel is a zip archive, and Python runs a folder in one.
        let job = self.job("installing pip", &own, MAKE_LIMIT).args([wheel.join("pip")]);
        let args = ["install", "--quiet", "--no-index", "--disable-pip-version-check"];
        job.args(args).args([&wheel]).stream(events).await
    }

    fn job(&self, what: &str, program: impl AsRef<std::ffi::OsStr>, limit: Duration) -> Job {
        let job = Job::new(what, program, self.app, limit).run_as(self.user);
        job.envs(self.user.into_iter().flat_map(RunAs::variables))
    }

    /// A failure to make an environment, which mostly is a package that the system splits off.
    fn told(&self, result: Result<(), DeployProblem>) -> Result<(), DeployProblem> {
        result.map_err(|problem| {
            let detail = problem.detail();
            let is_split =
                ["No module named venv", "ensurepip is not available", "No module named ensurepip"]
                    .iter()
                    .any(|text| detail.contains(text));
            if is_split { self.no_installer(&problem) } else { problem }
        })
    }

    fn no_installer(&self, problem: &DeployProblem) -> DeployProblem {
        let (major, minor, _) = self.python.version;
        let detail = problem.detail();
        let last = detail.lines().last().unwrap_or_default();
        DeployProblem::NoInstaller {
            python: self.python.executable.clone(),
            reason: format!("{problem}: {last}"),
            version: (major, minor),
        }
    }
}

/// Runs what blocks beside the runtime's own threads.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, DeployProblem> {
    tokio::task::spawn_blocking(work).await.map_err(|error| DeployProblem::Task(error.to_string()))
}

/// The newest complete release in `releases` whose environment has this key.
fn with_key(releases: &Path, key: &str) -> Option<PathBuf> {
    let found = folders(releases).unwrap_or_default();
    found.into_iter().rev().find(|release| {
        release.join(PLAN_FILE).exists()
            && release.join("venv/bin/python").exists()
            && fs::read_to_string(release.join(KEY_FILE)).is_ok_and(|text| text == key)
    })
}

/// A program on the supervisor's own `PATH` that the site's user can run.
fn find_program(name: &str, user: Option<&RunAs>) -> Option<PathBuf> {
    std::env::split_paths(&search_path()).map(|folder| folder.join(name)).find(|file| {
        use std::os::unix::fs::PermissionsExt;
        let is_program = fs::metadata(file)
            .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0);
        let is_open =
            |user: &RunAs| closed_to(&user.account, file).is_ok_and(|closed| closed.is_none());
        is_program && user.is_none_or(is_open)
    })
}

/// Adds what usually helps against what an installer complains of.
fn with_hint(problem: DeployProblem) -> DeployProblem {
    let DeployProblem::Command { what, status, output, .. } = problem else { return problem };
    let text = output.join("\n");
    let known = [
        (
            "pg_config",
            "psycopg2 needs PostgreSQL's headers: apt install libpq-dev, or require psycopg2-binary",
        ),
        (
            "mysql_config",
            "mysqlclient needs MySQL's headers: apt install default-libmysqlclient-dev",
        ),
        (
            "Python.h",
            "a package is compiled and Python's headers are missing: apt install python3-dev",
        ),
        (
            "gcc",
            "a package is compiled and there is no compiler: apt install build-essential python3-dev",
        ),
        ("No matching distribution", "check the name and the version in the requirements file"),
        ("No solution found", "check the names and versions in the requirements file"),
        (
            "conflicting dependencies",
            "two requirements want versions of a package that exclude each other",
        ),
        ("Invalid requirement", "check the spelling in the requirements file"),
        (
            "name resolution",
            "the package index cannot be reached: check the network, or set PIP_INDEX_URL",
        ),
        (
            "new connection",
            "the package index cannot be reached: check the network, or set PIP_INDEX_URL",
        ),
        ("No space left", "the disk is full"),
    ];
    let hint = known.into_iter().find(|(sign, _)| text.contains(sign)).map_or("", |(_, hint)| hint);
    DeployProblem::Command { what, status, output, hint: hint.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_install_says_what_usually_helps() {
        let failed = |line: &str| {
            with_hint(DeployProblem::Command {
                what: String::new(),
                status: String::new(),
                output: vec![line.to_owned()],
                hint: String::new(),
            })
            .hint()
        };
        assert!(
            failed("ERROR: No matching distribution found for flaskk").contains("check the name")
        );
        assert!(failed("Error: pg_config executable not found.").contains("libpq-dev"));
        assert_eq!(failed("something new"), "");
    }

    #[test]
    fn only_complete_releases_with_the_same_key_are_shared() {
        let folder = tempfile::tempdir().unwrap();
        for (id, key, complete) in
            [("1", "k", true), ("2", "k", true), ("3", "other", true), ("4", "k", false)]
        {
            let release = folder.path().join(id);
            fs::create_dir_all(release.join("venv/bin")).unwrap();
            fs::write(release.join("venv/bin/python"), "").unwrap();
            fs::write(release.join(KEY_FILE), key).unwrap();
            if complete {
                fs::write(release.join(PLAN_FILE), "{}").unwrap();
            }
        }
        assert_eq!(with_key(folder.path(), "k"), Some(folder.path().join("2")));
        assert_eq!(with_key(folder.path(), "unknown"), None);
    }
}
