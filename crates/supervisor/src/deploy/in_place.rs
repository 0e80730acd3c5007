//! How to run a folder as it lies, for `onebox run`: nothing is copied, installed, linked or migrated.
//!
//! Owns the choice of the Python for that. Detection and static folders are those of a deploy.

use std::fs;
use std::path::{Path, PathBuf};

use onebox_app_server::Interpreter;
use onebox_config::SiteConfig;

use super::command::Job;
use super::detect::{self, Found};
use super::error::DeployProblem;
use super::hooks::Collect;
use super::plan::{Kind, RunPlan};
use super::prepare::read_procfile;
use super::settings::{self, DjangoSettings, Question};
use super::stage::{check_way, check_working_folder};
use super::venv::blocking;
use super::{owner, statics, warnings};
use crate::environment;
use crate::users::{self, RunAs};

/// Environments that lie in a site's folder, in their order.
const ENVIRONMENTS: [&str; 2] = [".venv", "venv"];

/// How to run the site in `folder` where it is.
///
/// # Errors
/// When nothing is recognised, there is no Python, or Django's settings cannot be imported.
pub(crate) async fn plan_in_place(
    folder: &Path,
    config: &SiteConfig,
    user: Option<&RunAs>,
) -> Result<RunPlan, DeployProblem> {
    let folder = fs::canonicalize(folder).map_err(DeployProblem::file("cannot open", folder))?;
    if folder.to_str().is_none() {
        return Err(DeployProblem::FolderName(folder));
    }
    users::check_rights(&config.process).map_err(DeployProblem::NotAllowed)?;
    check_working_folder(&folder, &config.process)?;
    if let Some(user) = user {
        owner::settle(user)?;
        check_way(user, &folder)?;
    }
    let procfile = read_procfile(&folder);
    let found = detect::detect(&folder, config, procfile.web.as_deref())?;
    let python = match found.application {
        None => None,
        Some(_) => Some(find_python(&folder, config, user).await?),
    };
    let settings = ask_django(&found, config, python.as_ref(), user).await?;
    let mut told = warnings::of_procfile(&procfile);
    told.extend(warnings::of_debugging(&found, &config.env));
    if let Some(settings) = &settings {
        told.extend(warnings::of_django(settings, &config.domains, &folder));
    }
    let detected = match (&settings, &found.static_folder) {
        _ if found.kind == Kind::Static => vec![("/".to_owned(), vec![folder.clone()])],
        (Some(settings), _) => of_uncollected(settings, &folder),
        (None, Some((url, place))) => vec![(url.clone(), vec![place.clone()])],
        (None, None) => Vec::new(),
    };
    let version = python.as_ref().map(|python| format!(", Python {}", python.version_text()));
    Ok(RunPlan {
        kind: found.kind,
        found: format!("{}{}", found.text, version.unwrap_or_default()),
        interpreter: python,
        application: found.application,
        root: found.root,
        python_path: found.python_path,
        env: config.env.clone().into_iter().collect(),
        statics: statics::merge(detected, &config.static_folders, &folder, &[]),
        persistent: Vec::new(),
        warnings: told,
    })
}

/// The configured Python, else an activated environment, one in the folder, or what a deploy would start from.
async fn find_python(
    folder: &Path,
    config: &SiteConfig,
    user: Option<&RunAs>,
) -> Result<Interpreter, DeployProblem> {
    let account = user.map(|user| user.account.clone());
    let choice = config.python.clone();
    let activated = std::env::var_os("VIRTUAL_ENV").map(PathBuf::from);
    let here = ENVIRONMENTS.iter().map(|name| folder.join(name));
    let mut environments = activated.into_iter().chain(here);
    let environment = environments.find(|place| place.join("pyvenv.cfg").is_file());
    let folder = folder.to_path_buf();
    let find = move || match (&choice, environment) {
        (None, Some(environment)) => {
            Interpreter::inspect(&environment.join("bin/python"), account.as_ref())
        }
        (choice, _) => Interpreter::find(choice.as_ref(), &folder, account.as_ref()),
    };
    blocking(find).await?.map_err(DeployProblem::Python)
}

async fn ask_django(
    found: &Found,
    config: &SiteConfig,
    python: Option<&Interpreter>,
    user: Option<&RunAs>,
) -> Result<Option<DjangoSettings>, DeployProblem> {
    let (Some(project), Some(python)) = (&found.django, python) else { return Ok(None) };
    let what = format!("importing {}", project.settings);
    let env: Vec<(String, String)> = config.env.clone().into_iter().collect();
    let job = Job::new(what, &python.executable, &found.root, settings::LIMIT)
        .environment(environment::for_site(&python.executable, user, &env))
        .run_as(user)
        .env("DJANGO_SETTINGS_MODULE", &project.settings);
    settings::ask(job, Question::WithStaticSources).await.map(Some)
}

/// The static folders of a Django project that may not have been collected: the collected ones first, then their
/// sources.
fn of_uncollected(settings: &DjangoSettings, folder: &Path) -> Vec<statics::Mount> {
    let mut mounts = statics::of_django(settings, &Collect::Nowhere, folder);
    if let Some(url) = settings.static_url.as_deref().and_then(statics::prefix) {
        let collected = settings.static_root.iter().filter(|root| root.is_dir());
        let places: Vec<PathBuf> = collected.chain(&settings.static_sources).cloned().collect();
        if !places.is_empty() {
            mounts.push((url, places));
        }
    }
    mounts
}

#[cfg(test)]
mod tests {
    use super::super::detect::tests::site;
    use super::super::tests::config;
    use super::*;

    #[tokio::test]
    async fn an_environment_in_the_folder_is_used() {
        let folder = site(&[
            ("app.py", "from flask import Flask\napp = Flask(__name__)\n"),
            ("static/a.css", ""),
        ]);
        let root = fs::canonicalize(folder.path()).unwrap();
        let made = std::process::Command::new("/usr/bin/python3")
            .args(["-m", "venv", "--without-pip"])
            .arg(root.join(".venv"))
            .status();
        assert!(made.unwrap().success());
        let plan = plan_in_place(folder.path(), &config(), None).await.unwrap();
        assert_eq!(plan.kind, Kind::Flask);
        assert_eq!(plan.interpreter.unwrap().prefix, root.join(".venv"));
        assert_eq!(plan.statics, [("/static".to_owned(), vec![root.join("static")])]);
        assert_eq!(plan.root, root);
    }

    #[tokio::test]
    async fn nothing_is_written_into_the_folder() {
        let folder = site(&[("wsgi.py", "def application(environ, start_response): ...\n")]);
        plan_in_place(folder.path(), &config(), None).await.unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn static_files_are_found_before_they_are_collected() {
        let settings = DjangoSettings {
            static_url: Some("/static/".to_owned()),
            static_root: Some(PathBuf::from("/nonexistent")),
            static_sources: vec![PathBuf::from("/app/notes/static")],
            ..DjangoSettings::default()
        };
        let mounts = of_uncollected(&settings, Path::new("/app"));
        assert_eq!(mounts, [("/static".to_owned(), vec![PathBuf::from("/app/notes/static")])]);
    }
}
