//! What a folder is: read from its files alone, before anything is installed or run.
//!
//! Owns the order of precedence: `onebox.toml`, then the `Procfile`, then Django, then any WSGI callable, then plain
//! files. Must not know about releases. Source: DESIGN section 8.

mod callable;
mod configured;
mod django;
mod flask;
mod source;
mod wsgi;

use std::path::{Path, PathBuf};

use onebox_app_server::Application;
use onebox_config::SiteConfig;

pub(crate) use self::django::DjangoProject;

use self::callable::Framework;
use self::wsgi::Search;
use super::error::DeployProblem;
use super::plan::Kind;

/// A site, recognised.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    /// What it is.
    pub(crate) kind: Kind,
    /// Where the callable is; `None` for a site without Python.
    pub(crate) application: Option<Application>,
    /// The working folder.
    pub(crate) root: PathBuf,
    /// More folders for Python's path.
    pub(crate) python_path: Vec<PathBuf>,
    /// The project, of a Django site.
    pub(crate) django: Option<DjangoProject>,
    /// A static folder that the source names: URL prefix and folder.
    pub(crate) static_folder: Option<(String, PathBuf)>,
    /// Paths below the site's folder that hold its data, as far as the source tells.
    pub(crate) persistent: Vec<PathBuf>,
    /// The module that wraps its application in Werkzeug's debugger.
    pub(crate) debugger: Option<String>,
    /// In words, without the Python: `Django project mysite (mysite.wsgi:application), SQLite`.
    pub(crate) text: String,
}

/// Recognises the site in `folder`; `web` is the `web:` line of its `Procfile`.
///
/// # Errors
/// When nothing is found (with what was looked for), when what is configured is not there, and when it is an ASGI
/// application.
pub(crate) fn detect(
    folder: &Path,
    config: &SiteConfig,
    web: Option<&str>,
) -> Result<Found, DeployProblem> {
    if config.upstreams.iter().any(|upstream| upstream.path.as_deref() == Some("/")) {
        return Ok(of_upstreams(folder, config));
    }
    let project = django::find(folder, &config.env);
    let root = project.as_ref().map_or(folder, |project| project.root.as_path());
    let modules = wsgi::modules(root);
    let site = Site { folder, root, modules, project: project.clone() };

    if let Some(application) = configured::application(root, config, web, &site.modules)? {
        return Ok(site.with_application(application));
    }
    if let Some(project) = &project {
        return match (&project.application, project.has_asgi) {
            (Some(application), _) => {
                Ok(site.with_application(Application::Module(application.clone())))
            }
            (None, true) => Err(DeployProblem::Asgi {
                framework: "Django with asgi.py and no wsgi.py".to_owned(),
                module: format!("{}.asgi:application", project.name()),
            }),
            (None, false) => Err(DeployProblem::ApplicationMissing {
                key: "manage.py",
                value: project.settings.clone(),
                missing: format!("{}/wsgi.py", project.name()),
            }),
        };
    }
    match wsgi::find(&site.modules) {
        Search::Asgi(candidate) => {
            let framework = match candidate.callable.framework {
                Framework::Asgi(name) => name.to_owned(),
                other => format!("{other:?}"),
            };
            Err(DeployProblem::Asgi { framework, module: candidate.path() })
        }
        Search::Found(candidate) => Ok(site.with_candidate(&candidate)),
        Search::Nothing => match wsgi::wsgi_files(root).as_slice() {
            [file, ..] => Ok(site.with_application(wsgi_file(root, file))),
            [] if site.is_static() => Ok(site.of_files()),
            [] if !config.upstreams.is_empty() => Ok(of_upstreams(folder, config)),
            [] => Err(nothing_found()),
        },
    }
}

/// What is known about a folder before it is decided what it is.
struct Site<'a> {
    folder: &'a Path,
    root: &'a Path,
    modules: Vec<wsgi::Module>,
    project: Option<DjangoProject>,
}

impl Site<'_> {
    fn with_candidate(self, candidate: &wsgi::Candidate) -> Found {
        let kind = match candidate.callable.framework {
            Framework::Flask => Kind::Flask,
            Framework::Django => Kind::Django,
            _ => Kind::Wsgi,
        };
        let base = candidate.module.base.clone();
        let python_path = if base == self.root { Vec::new() } else { vec![base] };
        let application = Application::Module(candidate.path());
        self.found(kind, application, python_path)
    }

    fn with_application(self, application: Application) -> Found {
        let kind = match (&self.project, wsgi::framework_of_site(&self.modules)) {
            (Some(_), _) => Kind::Django,
            (None, Framework::Flask) => Kind::Flask,
            (None, _) => Kind::Wsgi,
        };
        let source_folder = self.root.join("src");
        let is_below_source = match &application {
            Application::Module(path) => configured::module_file(&source_folder, path).is_some(),
            Application::File(..) => false,
        };
        let python_path = if is_below_source { vec![source_folder] } else { Vec::new() };
        self.found(kind, application, python_path)
    }

    fn found(self, kind: Kind, application: Application, python_path: Vec<PathBuf>) -> Found {
        let place = match &application {
            Application::Module(path) => path.clone(),
            Application::File(file, name) => format!("{}:{name}", file.display()),
        };
        let persistent = match kind {
            // Django says where its data lies, once it can be asked.
            Kind::Django | Kind::Static | Kind::Proxied => Vec::new(),
            Kind::Flask | Kind::Wsgi => flask::persistent(&self.modules, self.folder),
        };
        let sqlite = flask::uses_sqlite(&self.modules);
        let debugger =
            self.modules.iter().find(|module| module.source.mentions("DebuggedApplication("));
        let (name, database) = match &self.project {
            Some(project) => (format!("Django project {}", project.name()), project.database),
            None => (label(kind).to_owned(), sqlite.then_some("SQLite")),
        };
        let database = database.map(|database| format!(", {database}")).unwrap_or_default();
        Found {
            kind,
            application: Some(application),
            root: self.root.to_path_buf(),
            python_path,
            static_folder: (kind == Kind::Flask)
                .then(|| flask::static_folder(&self.modules))
                .flatten(),
            debugger: debugger.map(|module| module.name.clone()),
            django: self.project,
            persistent,
            text: format!("{name} ({place}){database}"),
        }
    }

    fn is_static(&self) -> bool {
        self.folder.join("index.html").is_file() && self.modules.is_empty()
    }

    fn of_files(self) -> Found {
        Found {
            kind: Kind::Static,
            application: None,
            root: self.folder.to_path_buf(),
            python_path: Vec::new(),
            django: None,
            static_folder: None,
            persistent: Vec::new(),
            debugger: None,
            text: "static site (index.html, no Python)".to_owned(),
        }
    }
}

fn label(kind: Kind) -> &'static str {
    match kind {
        Kind::Flask => "Flask application",
        Kind::Django => "Django application",
        Kind::Wsgi => "WSGI application",
        Kind::Static => "static site",
        Kind::Proxied => "proxied site",
    }
}

/// A site that has no Python, or whose Python would never be asked.
fn of_upstreams(folder: &Path, config: &SiteConfig) -> Found {
    let paths: Vec<&str> =
        config.upstreams.iter().filter_map(|upstream| upstream.path.as_deref()).collect();
    Found {
        kind: Kind::Proxied,
        application: None,
        root: folder.to_path_buf(),
        python_path: Vec::new(),
        django: None,
        static_folder: None,
        persistent: Vec::new(),
        debugger: None,
        text: format!("proxied site ([[upstream]] for {}, no Python)", paths.join(", ")),
    }
}

fn wsgi_file(root: &Path, file: &Path) -> Application {
    let below = file.strip_prefix(root).unwrap_or(file);
    Application::File(below.to_path_buf(), "application".to_owned())
}

fn nothing_found() -> DeployProblem {
    let looked_for = [
        "`module` or `wsgi-file` in onebox.toml",
        "a `web:` line with gunicorn, uwsgi or waitress in a Procfile",
        "Django: manage.py here or in one folder below",
        "Flask: an `app`, `application` or `create_app()` in a .py file, a package or src/",
        "WSGI: `application(environ, start_response)` in wsgi.py, app.py or another .py file, or a *.wsgi file",
        "a static site: index.html and no Python files",
        "a proxied site: [[upstream]] in onebox.toml",
    ];
    DeployProblem::NothingFound { looked_for: looked_for.map(str::to_owned).to_vec() }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::tests::config;
    use super::*;

    /// A folder with these files.
    pub(crate) fn site(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = root.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        root
    }

    const FLASK: &str = "from flask import Flask\nimport sqlite3\napp = Flask(__name__)\nd = sqlite3.connect('b.db')\n";
    const MANAGE: &str = "setdefault('DJANGO_SETTINGS_MODULE', 'mysite.settings')\n";

    #[test]
    fn a_flask_site_says_what_it_is() {
        let root = site(&[("app.py", FLASK), ("static/a.css", "")]);
        let found = detect(root.path(), &config(), None).unwrap();
        assert_eq!(found.text, "Flask application (app:app), SQLite");
        assert_eq!(found.kind, Kind::Flask);
        assert_eq!(found.static_folder.unwrap().0, "/static");
        assert_eq!(found.persistent, [PathBuf::from("b.db")]);
    }

    #[test]
    fn a_django_site_says_what_it_is() {
        let settings = "DATABASES = {'default': {'ENGINE': 'django.db.backends.sqlite3'}}\n";
        let root = site(&[
            ("manage.py", MANAGE),
            ("mysite/wsgi.py", ""),
            ("mysite/settings.py", settings),
        ]);
        let found = detect(root.path(), &config(), None).unwrap();
        assert_eq!(found.text, "Django project mysite (mysite.wsgi:application), SQLite");
    }

    #[test]
    fn django_with_asgi_alone_is_refused() {
        let root =
            site(&[("manage.py", MANAGE), ("mysite/asgi.py", ""), ("mysite/settings.py", "")]);
        let problem = detect(root.path(), &config(), None).unwrap_err();
        assert!(
            problem.hint().contains("web: uvicorn mysite.asgi:application"),
            "{}",
            problem.hint()
        );
    }

    #[test]
    fn an_asgi_site_is_refused_with_the_line_that_would_run_it() {
        let root = site(&[("main.py", "from fastapi import FastAPI\napp = FastAPI()\n")]);
        let problem = detect(root.path(), &config(), None).unwrap_err();
        assert!(problem.to_string().contains("ASGI application (FastAPI)"), "{problem}");
        assert!(problem.hint().contains("`web: uvicorn main:app"), "{}", problem.hint());
    }

    #[test]
    fn a_wsgi_file_of_mod_wsgi_is_the_last_resort() {
        let root = site(&[("hello.wsgi", "application = 1\n")]);
        let found = detect(root.path(), &config(), None).unwrap();
        let expected = Application::File(PathBuf::from("hello.wsgi"), "application".to_owned());
        assert_eq!(found.application, Some(expected));
    }

    #[test]
    fn a_package_below_src_is_on_the_path() {
        let root = site(&[("src/shop/__init__.py", FLASK)]);
        let found = detect(root.path(), &config(), None).unwrap();
        assert_eq!(found.python_path, [root.path().join("src")]);
    }

    #[test]
    fn a_site_of_upstreams_needs_no_python_and_has_it_where_they_leave_room() {
        let upstreams = |path: &str| {
            let text = format!("[[upstream]]\npath = \"{path}\"\nto = \"http://a\"\n");
            onebox_config::parse_site(&text, Path::new("onebox.toml")).unwrap()
        };
        let kind = |files: &[(&str, &str)], path: &str| {
            let found = detect(site(files).path(), &upstreams(path), None).unwrap();
            (found.kind, found.application.is_some())
        };
        assert_eq!(kind(&[("README", "")], "/"), (Kind::Proxied, false));
        assert_eq!(kind(&[("README", "")], "/api"), (Kind::Proxied, false));
        assert_eq!(kind(&[("app.py", FLASK)], "/"), (Kind::Proxied, false));
        assert_eq!(kind(&[("app.py", FLASK)], "/api"), (Kind::Flask, true));
        assert_eq!(kind(&[("index.html", "")], "/api"), (Kind::Static, false));
    }

    #[test]
    fn files_with_an_index_are_a_static_site_and_anything_else_is_an_error() {
        let root = site(&[("index.html", "<p>hello")]);
        assert_eq!(detect(root.path(), &config(), None).unwrap().kind, Kind::Static);
        let root = site(&[("index.html", "<p>hello"), ("tool.py", "print()\n")]);
        let problem = detect(root.path(), &config(), None).unwrap_err();
        assert!(problem.detail().contains("looked for Django: manage.py"), "{}", problem.detail());
    }
}
