//! What only Django itself knows about a project: asked by running its settings in the release's own environment.
//!
//! Owns the question and its answer. Must not decide what follows from it.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::command::Job;
use super::error::DeployProblem;

/// Imports the settings and prints an [`Answer`](DjangoSettings) behind [`MARKER`].
const SCRIPT: &str = include_str!("scripts/django_settings.py");
/// Stands in front of the answer; settings may print what they like before it.
const MARKER: &str = "onebox-django-settings:";
/// How long settings may take to be imported.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// A project's settings, as far as they matter to a server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct DjangoSettings {
    /// `DEBUG`
    pub(crate) debug: bool,
    /// `ALLOWED_HOSTS`
    pub(crate) allowed_hosts: Vec<String>,
    /// `STATIC_URL`, with a slash in front unless it is another server's.
    pub(crate) static_url: Option<String>,
    /// `STATIC_ROOT`, absolute.
    pub(crate) static_root: Option<PathBuf>,
    /// `MEDIA_URL`, as `static_url`.
    pub(crate) media_url: Option<String>,
    /// `MEDIA_ROOT`, absolute.
    pub(crate) media_root: Option<PathBuf>,
    /// The files of SQLite databases, absolute.
    pub(crate) sqlite: Vec<PathBuf>,
    /// Whether any database is configured.
    pub(crate) has_database: bool,
    /// Whether `collectstatic` is there.
    pub(crate) has_staticfiles: bool,
    /// Where static files lie before they are collected.
    pub(crate) static_sources: Vec<PathBuf>,
}

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Question {
    /// The settings alone.
    Settings,
    /// Where static files lie before they are collected, too; this imports the project's apps.
    WithStaticSources,
}

/// Asks: `job` is the project's Python in its folder with its environment.
///
/// # Errors
/// When the settings cannot be imported; the traceback is in the problem.
pub(crate) async fn ask(job: Job, question: Question) -> Result<DjangoSettings, DeployProblem> {
    let job = job.args(["-c", SCRIPT]);
    let job = match question {
        Question::Settings => job,
        Question::WithStaticSources => job.args(["--sources"]),
    };
    let lines = job.capture().await.map_err(with_hint)?;
    let answer = lines.iter().rev().find_map(|line| line.split_once(MARKER).map(|(_, json)| json));
    let answer = answer
        .ok_or_else(|| DeployProblem::Task("Django's settings ended the process".to_owned()))?;
    serde_json::from_str(answer).map_err(|error| DeployProblem::Task(error.to_string()))
}

fn with_hint(problem: DeployProblem) -> DeployProblem {
    let DeployProblem::Command { what, status, output, .. } = problem else { return problem };
    let last = output.last().map(String::as_str).unwrap_or_default();
    let hint = if let Some((_, module)) = last.split_once("No module named ") {
        format!(
            "{} is not installed: add its package to the requirements",
            module.trim_matches('\'')
        )
    } else if last.starts_with("KeyError") || last.contains("environment variable") {
        "give the site its variables under [env] in onebox.toml, or with `onebox env`".to_owned()
    } else {
        String::new()
    };
    DeployProblem::Command { what, status, output, hint }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    /// A package `django` that is just enough for the question, so that this needs no network.
    const CONF: &str = "import importlib, os\nsettings = importlib.import_module(os.environ['DJANGO_SETTINGS_MODULE'])\n";

    async fn ask_about(settings: &str) -> Result<DjangoSettings, DeployProblem> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("django/conf")).unwrap();
        std::fs::write(folder.path().join("django/__init__.py"), "").unwrap();
        std::fs::write(folder.path().join("django/conf/__init__.py"), CONF).unwrap();
        std::fs::write(folder.path().join("config.py"), settings).unwrap();
        let python = Path::new("/usr/bin/python3");
        let job = Job::new(
            "asking Django for its settings",
            python,
            folder.path(),
            Duration::from_secs(5),
        );
        ask(job.env("DJANGO_SETTINGS_MODULE", "config"), Question::Settings).await
    }

    #[tokio::test]
    async fn settings_are_answered_whatever_they_print() {
        let settings = "print('loading')\nDEBUG = True\nALLOWED_HOSTS = ['a.example.com']\nSTATIC_URL = '/static/'\n\
            MEDIA_ROOT = 'media'\nDATABASES = {'default': {'ENGINE': 'django.db.backends.sqlite3', 'NAME': 'db.sqlite3'}}\n\
            INSTALLED_APPS = ['django.contrib.staticfiles']\nimport atexit; atexit.register(print, 'bye')\n";
        let answer = ask_about(settings).await.unwrap();
        assert!(answer.debug && answer.has_database && answer.has_staticfiles);
        assert_eq!(answer.allowed_hosts, ["a.example.com"]);
        assert_eq!(answer.static_url.as_deref(), Some("/static/"));
        assert_eq!(answer.static_root, None);
        assert!(answer.media_root.unwrap().is_absolute());
        assert!(answer.sqlite[0].ends_with("db.sqlite3"));
    }

    #[tokio::test]
    async fn settings_that_fail_show_their_traceback_and_what_helps() {
        let problem = ask_about("import nothing_like_it\n").await.unwrap_err();
        assert!(problem.detail().contains("ModuleNotFoundError"), "{}", problem.detail());
        assert!(problem.hint().contains("add its package"), "{}", problem.hint());
        let problem = ask_about("import os; os.environ['SECRET_KEY']\n").await.unwrap_err();
        assert!(problem.hint().contains("onebox env"), "{}", problem.hint());
    }

    #[tokio::test]
    async fn settings_that_hang_are_stopped() {
        let problem = ask_about("import time; time.sleep(1000)\n").await.unwrap_err();
        assert!(problem.to_string().contains("did not end within 5s"), "{problem}");
    }
}
