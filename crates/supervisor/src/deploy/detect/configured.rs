//! The application that the site's owner names: in `onebox.toml`, or by the command of a `Procfile`.
//!
//! Owns how the commands of other servers name an application. Must not guess: what is named and missing is an error.

use std::path::{Path, PathBuf};

use onebox_app_server::Application;
use onebox_config::SiteConfig;
use onebox_config::site::Application as Named;

use super::super::error::DeployProblem;
use super::wsgi::{self, Module, Search};

/// Servers whose commands name a WSGI application as one of their words.
const WSGI_SERVERS: [&str; 6] =
    ["gunicorn", "uwsgi", "waitress-serve", "mod_wsgi-express", "granian", "bjoern"];
/// The same for ASGI.
const ASGI_SERVERS: [&str; 3] = ["uvicorn", "daphne", "hypercorn"];

/// The application that `onebox.toml` or the `web:` line names; `None` when neither does.
pub(super) fn application(
    root: &Path,
    config: &SiteConfig,
    web: Option<&str>,
    modules: &[Module],
) -> Result<Option<Application>, DeployProblem> {
    match (&config.application, web) {
        (Some(Named::Module(path)), _) => by_module(root, path).map(Some),
        (Some(Named::File(file, name)), _) => by_file(root, file, name).map(Some),
        (None, Some(web)) => by_command(root, web, modules),
        (None, None) => Ok(None),
    }
}

/// The file of `package.module:attribute` below `base`, if it is there.
pub(super) fn module_file(base: &Path, path: &str) -> Option<PathBuf> {
    let module = path.split(':').next().unwrap_or_default().trim();
    if module.is_empty() || module.split('.').any(str::is_empty) || module.contains('/') {
        return None;
    }
    let place = base.join(module.replace('.', "/"));
    let as_module = place.with_extension("py");
    let as_package = place.join("__init__.py");
    [as_module, as_package].into_iter().find(|file| file.is_file())
}

fn by_module(root: &Path, path: &str) -> Result<Application, DeployProblem> {
    let module = path.split(':').next().unwrap_or_default();
    let top = module.split('.').next().unwrap_or_default();
    let bases = [root.to_path_buf(), root.join("src")];
    let is_here = bases.iter().any(|base| module_file(base, path).is_some());
    let is_ours =
        bases.iter().any(|base| base.join(top).is_dir() || module_file(base, top).is_some());
    // A module of an installed package is not in the folder at all; one of a package that is has to be.
    if is_ours && !is_here {
        return Err(DeployProblem::ApplicationMissing {
            key: "module",
            value: path.to_owned(),
            missing: format!("{}.py", module.replace('.', "/")),
        });
    }
    Ok(Application::Module(path.to_owned()))
}

fn by_file(root: &Path, file: &Path, name: &str) -> Result<Application, DeployProblem> {
    if !root.join(file).is_file() {
        let file = file.display().to_string();
        return Err(DeployProblem::ApplicationMissing {
            key: "wsgi-file",
            value: file.clone(),
            missing: file,
        });
    }
    Ok(Application::File(file.to_path_buf(), name.to_owned()))
}

fn by_command(
    root: &Path,
    web: &str,
    modules: &[Module],
) -> Result<Option<Application>, DeployProblem> {
    let words: Vec<&str> =
        web.split_whitespace().map(|word| word.trim_matches(['"', '\''])).collect();
    let uses = |servers: &[&str]| {
        words.iter().any(|word| servers.contains(&word.rsplit('/').next().unwrap_or(word)))
    };
    let is_asgi = uses(&ASGI_SERVERS) || web.contains("UvicornWorker");
    if !is_asgi && !uses(&WSGI_SERVERS) {
        return Ok(None);
    }
    let bases = [root.to_path_buf(), root.join("src")];
    // The first word that names a file of the site: no list of every server's options is needed.
    let named = words
        .iter()
        .map(|word| word.rsplit('=').next().unwrap_or(word))
        .find(|word| bases.iter().any(|base| module_file(base, word).is_some()));
    match named {
        // An ASGI server before a site that has a WSGI callable too: that one is served.
        Some(_) if is_asgi && matches!(wsgi::find(modules), Search::Found(_)) => Ok(None),
        Some(path) if is_asgi => Err(DeployProblem::Asgi {
            framework: "by its Procfile".to_owned(),
            module: path.to_owned(),
        }),
        Some(path) => Ok(Some(Application::Module(path.to_owned()))),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::tests::config;
    use super::super::tests::site;
    use super::*;

    fn by_procfile(web: &str) -> Result<Option<Application>, DeployProblem> {
        let root = site(&[("shop/web.py", "app = make()\n"), ("shop/__init__.py", "")]);
        by_command(root.path(), web, &[])
    }

    #[test]
    fn the_commands_of_other_servers_name_the_application() {
        let cases = [
            ("gunicorn shop.web:app --workers 4 --bind 0.0.0.0:$PORT", "shop.web:app"),
            ("gunicorn -w 4 -b :8000 'shop.web:make()'", "shop.web:make()"),
            ("exec gunicorn --log-file - shop.web", "shop.web"),
            ("waitress-serve --port=$PORT --call shop.web:make", "shop.web:make"),
            ("uwsgi --http :8000 --module=shop.web:app", "shop.web:app"),
        ];
        for (web, expected) in cases {
            let found = by_procfile(web).unwrap();
            assert_eq!(found, Some(Application::Module(expected.to_owned())), "{web}");
        }
        assert_eq!(by_procfile("python shop/web.py").unwrap(), None);
    }

    #[test]
    fn an_asgi_server_in_the_procfile_is_refused() {
        for web in
            ["uvicorn shop.web:app", "gunicorn -k uvicorn.workers.UvicornWorker shop.web:app"]
        {
            assert!(matches!(by_procfile(web), Err(DeployProblem::Asgi { .. })), "{web}");
        }
    }

    #[test]
    fn a_configured_module_or_file_that_is_missing_is_an_error() {
        let root = site(&[("shop/__init__.py", "")]);
        let mut config = config();
        config.application = Some(Named::Module("shop.web:app".to_owned()));
        let problem = application(root.path(), &config, None, &[]).unwrap_err();
        assert_eq!(problem.to_string(), "module names shop.web:app, and there is no shop/web.py");
        config.application = Some(Named::File(PathBuf::from("x.wsgi"), "application".to_owned()));
        assert!(application(root.path(), &config, None, &[]).is_err());
    }

    #[test]
    fn a_module_of_an_installed_package_is_taken_as_it_is_named() {
        let root = site(&[("README", "")]);
        let mut config = config();
        config.application = Some(Named::Module("installed.web:app".to_owned()));
        assert!(application(root.path(), &config, None, &[]).unwrap().is_some());
    }
}
