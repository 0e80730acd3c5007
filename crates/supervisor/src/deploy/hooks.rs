//! The commands of a release, run before it may start: what its owner wrote, else what its framework wants.
//!
//! Owns which commands these are. They run while the old release still serves, so a migration changes the database under
//! it: the usual rule of migrations that both releases can live with holds here too.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::command::Job;
use super::detect::DjangoProject;
use super::error::DeployProblem;
use super::settings::DjangoSettings;

/// How long one hook may take: migrations of large tables are slow.
const LIMIT: Duration = Duration::from_secs(30 * 60);
/// The module that adds a `STATIC_ROOT` to settings that have none.
const WRAPPER: &str = "onebox_collectstatic_settings";

/// One command of a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hook {
    /// What it does, for people: the command, or `migrating the database`.
    pub(crate) text: String,
    command: Command,
    /// Variables of its own.
    env: Vec<(String, String)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Command {
    /// A line for the shell.
    Shell(String),
    /// Arguments for the site's Python.
    Python(Vec<String>),
}

/// A Django project and what it said.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Django<'a> {
    pub(crate) project: &'a DjangoProject,
    pub(crate) settings: &'a DjangoSettings,
    /// Where its static files are to be collected.
    pub(crate) collect: &'a Collect,
}

/// Where static files are collected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Collect {
    /// Into the project's own `STATIC_ROOT`, which is in the release.
    Own(PathBuf),
    /// Into a folder of ours, by settings that wrap the project's.
    Ours {
        /// The folder.
        root: PathBuf,
        /// Where the wrapping module lies.
        module_folder: PathBuf,
    },
    /// Not at all.
    Nowhere,
}

impl Collect {
    /// Decides for a release: its own `STATIC_ROOT` counts only inside the release, for two releases may not share one.
    pub(crate) fn choose(settings: &DjangoSettings, release: &Path) -> Self {
        if !settings.has_staticfiles || settings.static_url.is_none() {
            return Self::Nowhere;
        }
        let real = fs::canonicalize(release).unwrap_or_else(|_| release.to_path_buf());
        match &settings.static_root {
            Some(root) if root.starts_with(release) || root.starts_with(&real) => {
                Self::Own(root.clone())
            }
            _ => {
                Self::Ours { root: release.join("static"), module_folder: release.join("settings") }
            }
        }
    }

    /// The folder that is served; `None` when nothing is collected.
    pub(crate) fn root(&self) -> Option<&Path> {
        match self {
            Self::Own(root) | Self::Ours { root, .. } => Some(root),
            Self::Nowhere => None,
        }
    }

    /// Writes the wrapping module, where there is one.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn prepare(&self, settings_module: &str) -> Result<(), DeployProblem> {
        let Self::Ours { root, module_folder } = self else { return Ok(()) };
        for folder in [root, module_folder] {
            fs::create_dir_all(folder)
                .map_err(DeployProblem::file("cannot make the folder", folder))?;
        }
        let file = module_folder.join(format!("{WRAPPER}.py"));
        let root = serde_json::to_string(&root.display().to_string()).unwrap_or_default();
        let text = format!(
            "\"\"\"The settings of the project with a place for its static files; for collectstatic alone.\"\"\"\n\
             from {settings_module} import *\n\nSTATIC_ROOT = {root}\n"
        );
        fs::write(&file, text).map_err(DeployProblem::file("cannot write", &file))
    }
}

/// The hooks of a release, in their order: those of `onebox.toml`; else the `release:` line of the `Procfile` and what
/// Django wants. An empty list turns all of them off; another one leaves us only what it cannot do, which is to collect
/// static files without a `STATIC_ROOT`.
pub(crate) fn choose(
    configured: Option<&[String]>,
    procfile: Option<&str>,
    django: Option<Django<'_>>,
) -> Vec<Hook> {
    if let Some(lines) = configured {
        let ours = django
            .filter(|django| !lines.is_empty() && matches!(django.collect, Collect::Ours { .. }));
        return lines.iter().map(|line| shell(line)).chain(ours.and_then(collecting)).collect();
    }
    let mut hooks = Vec::new();
    let migrates = procfile.is_some_and(|line| line.contains("migrate"));
    if let Some(django) = django {
        if django.settings.has_database && !migrates {
            let args = ["manage.py", "migrate", "--noinput"];
            hooks.push(python("migrating the database", &args, django.project, &[]));
        }
        hooks.extend(collecting(django));
    }
    hooks.extend(procfile.map(shell));
    hooks
}

fn collecting(django: Django<'_>) -> Option<Hook> {
    let text = "collecting static files";
    match django.collect {
        Collect::Nowhere => None,
        Collect::Own(_) => {
            let args = ["manage.py", "collectstatic", "--noinput"];
            Some(python(text, &args, django.project, &[]))
        }
        Collect::Ours { module_folder, .. } => {
            // Not by manage.py, which may insist on its own settings.
            let args = ["-m", "django", "collectstatic", "--noinput", "--settings", WRAPPER];
            let path = [module_folder.as_path(), django.project.root.as_path()];
            Some(python(text, &args, django.project, &path))
        }
    }
}

fn shell(line: &str) -> Hook {
    Hook { text: line.to_owned(), command: Command::Shell(line.to_owned()), env: Vec::new() }
}

fn python(text: &str, args: &[&str], project: &DjangoProject, path: &[&Path]) -> Hook {
    let mut env = vec![("DJANGO_SETTINGS_MODULE".to_owned(), project.settings.clone())];
    if !path.is_empty() {
        let path: Vec<String> = path.iter().map(|folder| folder.display().to_string()).collect();
        env.push(("PYTHONPATH".to_owned(), path.join(":")));
    }
    let args = args.iter().map(|&arg| arg.to_owned()).collect();
    Hook { text: text.to_owned(), command: Command::Python(args), env }
}

impl Hook {
    /// The command to run; `job` makes one for a program in the site's folder with the site's environment.
    pub(crate) fn job(&self, python: &Path, job: impl FnOnce(&str, &Path, Duration) -> Job) -> Job {
        let job = match &self.command {
            Command::Shell(line) => job(&self.text, Path::new("/bin/sh"), LIMIT).args(["-c", line]),
            Command::Python(args) => job(&self.text, python, LIMIT).args(args),
        };
        job.envs(self.env.iter().map(|(name, value)| (name, value)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn project() -> DjangoProject {
        DjangoProject {
            root: PathBuf::from("/r/1/app"),
            settings: "mysite.settings".to_owned(),
            application: None,
            has_asgi: false,
            database: None,
        }
    }

    fn settings(static_root: Option<&str>) -> DjangoSettings {
        DjangoSettings {
            static_url: Some("/static/".to_owned()),
            static_root: static_root.map(PathBuf::from),
            has_database: true,
            has_staticfiles: true,
            ..DjangoSettings::default()
        }
    }

    fn texts(
        configured: Option<&[String]>,
        procfile: Option<&str>,
        settings: &DjangoSettings,
    ) -> Vec<String> {
        let project = project();
        let collect = Collect::choose(settings, Path::new("/r/1"));
        let django = Django { project: &project, settings, collect: &collect };
        choose(configured, procfile, Some(django)).into_iter().map(|hook| hook.text).collect()
    }

    #[test]
    fn django_migrates_and_collects_unless_something_else_says_what_to_do() {
        let usual = settings(None);
        assert_eq!(
            texts(None, None, &usual),
            ["migrating the database", "collecting static files"]
        );
        assert_eq!(
            texts(None, Some("python manage.py migrate && ./seed"), &usual),
            ["collecting static files", "python manage.py migrate && ./seed"]
        );
        let own = ["make it".to_owned()];
        assert_eq!(texts(Some(&own), Some("x"), &usual), ["make it", "collecting static files"]);
        assert_eq!(texts(Some(&own), None, &settings(Some("/r/1/app/collected"))), ["make it"]);
        assert!(texts(Some(&[]), None, &usual).is_empty(), "an empty list turns them off");
        let bare = DjangoSettings::default();
        assert!(texts(None, None, &bare).is_empty());
    }

    #[test]
    fn a_static_root_outside_the_release_is_replaced_by_ours() {
        let release = Path::new("/r/1");
        let inside = Collect::choose(&settings(Some("/r/1/app/staticfiles")), release);
        assert_eq!(inside.root(), Some(Path::new("/r/1/app/staticfiles")));
        for root in [None, Some("/var/www/static"), Some("/r/12/app/static")] {
            assert_eq!(
                Collect::choose(&settings(root), release).root(),
                Some(Path::new("/r/1/static"))
            );
        }
    }

    #[test]
    fn the_wrapper_is_python_whatever_the_path() {
        let folder = tempfile::tempdir().unwrap();
        let release = folder.path().join("a \"quoted\" place");
        let collect = Collect::choose(&settings(None), &release);
        collect.prepare("json").unwrap();
        let output = std::process::Command::new("/usr/bin/python3")
            .args(["-c", "import onebox_collectstatic_settings as s; print(s.STATIC_ROOT)"])
            .env("PYTHONPATH", release.join("settings"))
            .output()
            .unwrap();
        assert_eq!(
            String::from_utf8_lossy(&output.stdout).trim(),
            release.join("static").display().to_string()
        );
    }
}
