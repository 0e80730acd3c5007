//! What the owner of a site should know although the deploy goes on.
//!
//! Owns the words. Must not stop a deploy.

use std::fs;
use std::path::Path;
use std::str::FromStr;

use onebox_app_server::Interpreter;
use onebox_config::procfile::Procfile;
use pep440_rs::{Version, VersionSpecifiers};

use super::detect::Found;
use super::packages::{List, Requirements};
use super::plan::Kind;
use super::settings::DjangoSettings;

/// About the lines of a `Procfile` that are not obeyed.
pub(super) fn of_procfile(procfile: &Procfile) -> Vec<String> {
    let others = procfile.others.iter().map(|(name, _)| {
        format!("the Procfile's `{name}:` is not run: this version of onebox runs no background processes")
    });
    let unread = procfile
        .unread
        .iter()
        .map(|(line, text)| format!("line {line} of the Procfile is not `name: command`: {text}"));
    others.chain(unread).collect()
}

/// Lock files, and what writes their versions to a file that is read.
const LOCKS: [(&str, &str); 3] = [
    ("uv.lock", "uv export --frozen --no-dev --no-emit-project -o requirements.txt"),
    ("poetry.lock", "poetry export -o requirements.txt"),
    ("pdm.lock", "pdm export --prod -o requirements.txt"),
];

/// About a `pyproject.toml` in `folder` whose word does not count: versions that are locked, and the Python it wants.
///
/// Source: the "pyproject.toml specification", `requires-python`; PEP 440.
pub(super) fn of_project(
    folder: &Path,
    requirements: Option<&Requirements>,
    python: &Interpreter,
) -> Vec<String> {
    let is_unlocked = requirements.is_some_and(|known| matches!(known.list, List::Named(_)));
    let lock = LOCKS.iter().find(|(lock, _)| is_unlocked && folder.join(lock).is_file());
    let lock = lock.map(|(lock, export)| {
        format!(
            "{lock} is not read: the newest versions that pyproject.toml allows are installed. `{export}` writes down those \
             of the lock, and is read"
        )
    });
    lock.into_iter().chain(of_requires_python(folder, python)).collect()
}

fn of_requires_python(folder: &Path, python: &Interpreter) -> Option<String> {
    // One that can't be read has ended the deploy, where it counts.
    let text = fs::read_to_string(folder.join("pyproject.toml")).ok()?;
    let table: toml::Table = toml::from_str(&text).ok()?;
    let wanted = table.get("project")?.get("requires-python")?.as_str()?;
    let (major, minor, micro) = python.version;
    let version = Version::new([major, minor, micro].map(u64::from));
    match VersionSpecifiers::from_str(wanted) {
        Ok(specifiers) if specifiers.contains(&version) => None,
        Ok(_) => Some(format!(
            "pyproject.toml wants Python {wanted}, and this is {}: name another one with `python` in onebox.toml",
            python.version_text()
        )),
        Err(error) => Some(format!("requires-python in pyproject.toml is not understood: {error}")),
    }
}

/// About what is made for the machine of a developer, in a site that will run with `variables`.
///
/// Sources: Werkzeug's documentation, "Debugging Applications"; Flask's, "Debug Mode".
pub(super) fn of_debugging<'a>(
    found: &Found,
    variables: impl IntoIterator<Item = (&'a String, &'a String)>,
) -> Vec<String> {
    let debugger = found.debugger.iter().map(|module| {
        format!("{module} uses Werkzeug's debugger, which lets visitors run code here: take DebuggedApplication out")
    });
    let is_on = |value: &str| !["", "0", "false", "no"].contains(&&*value.to_ascii_lowercase());
    let modes = variables
        .into_iter()
        .filter(|(name, value)| found.kind == Kind::Flask && *name == "FLASK_DEBUG" && is_on(value))
        .map(|(_, value)| {
            format!(
                "FLASK_DEBUG = {value}: the site's own pages for errors are not shown; unset it"
            )
        });
    debugger.chain(modes).collect()
}

/// About Django's settings, for a site that answers to `domains`.
pub(super) fn of_django(settings: &DjangoSettings, domains: &[String], app: &Path) -> Vec<String> {
    let mut warnings = Vec::new();
    if settings.debug {
        warnings.push(
            "DEBUG = True: every error page shows the code and the settings to everybody; set DEBUG = False".to_owned(),
        );
    }
    for domain in domains {
        if !settings.allowed_hosts.iter().any(|pattern| allows(pattern, domain)) {
            warnings.push(format!(
                "ALLOWED_HOSTS lacks {domain}, so Django answers 400 there: add \"{domain}\""
            ));
        }
    }
    let real = fs::canonicalize(app).unwrap_or_else(|_| app.to_path_buf());
    if let Some(media) = &settings.media_root
        && !media.starts_with(app)
        && !media.starts_with(&real)
    {
        warnings.push(format!(
            "MEDIA_ROOT {} is outside the site's folder: it is neither kept nor served here",
            media.display()
        ));
    }
    warnings
}

/// Source: Django's documentation, `ALLOWED_HOSTS`.
fn allows(pattern: &str, host: &str) -> bool {
    let pattern = pattern.to_ascii_lowercase();
    match pattern.strip_prefix('.') {
        Some(domain) => host == domain || host.ends_with(&pattern),
        None => pattern == "*" || pattern == host,
    }
}

#[cfg(test)]
mod tests {
    use super::super::detect::detect;
    use super::super::detect::tests::site;
    use super::super::tests::config;
    use super::*;

    #[test]
    fn hosts_are_allowed_as_django_does() {
        assert!(allows("*", "a.example.com") && allows("a.Example.com", "a.example.com"));
        assert!(allows(".example.com", "example.com") && allows(".example.com", "a.example.com"));
        assert!(
            !allows(".example.com", "notexample.com") && !allows("example.com", "a.example.com")
        );
    }

    #[test]
    fn debug_and_missing_hosts_are_told() {
        let settings = DjangoSettings { debug: true, ..DjangoSettings::default() };
        let told = of_django(&settings, &["blog.example.com".to_owned()], Path::new("/app"));
        assert_eq!(told.len(), 2);
        assert!(
            told[0].starts_with("DEBUG = True") && told[1].contains("add \"blog.example.com\"")
        );
        assert!(of_django(&DjangoSettings::default(), &[], Path::new("/app")).is_empty());
    }

    #[test]
    fn locked_versions_and_the_wanted_python_are_told_of() {
        let python = Interpreter::inspect(Path::new("/usr/bin/python3"), None).unwrap();
        let told = |project: &str, others: &[(&str, &str)]| {
            let folder = site(&[&[("pyproject.toml", project)], others].concat());
            let requirements = Requirements::find(folder.path(), folder.path()).unwrap();
            of_project(folder.path(), requirements.as_ref(), &python)
        };
        let project = "[project]\nname = 'a'\ndependencies = ['flask']\n";
        assert_eq!(told(project, &[]), [""; 0]);
        let locked = told(project, &[("uv.lock", "")]);
        assert!(locked[0].starts_with("uv.lock is not read"), "{locked:?}");
        assert_eq!(told(project, &[("uv.lock", ""), ("requirements.txt", "flask")]), [""; 0]);
        let wants =
            |specifiers: &str| told(&format!("{project}requires-python = '{specifiers}'\n"), &[]);
        assert_eq!(wants(">=3.8,!=3.8.1"), [""; 0]);
        let newer = wants(">=3.99");
        assert!(
            newer[0].starts_with("pyproject.toml wants Python >=3.99, and this is 3."),
            "{newer:?}"
        );
        let nonsense = wants("new");
        assert!(nonsense[0].starts_with("requires-python in pyproject.toml is not understood"));
    }

    #[test]
    fn what_is_for_developers_is_told() {
        let app = "from flask import Flask\nfrom werkzeug.debug import DebuggedApplication\n\
                   app = Flask(__name__)\napp.wsgi_app = DebuggedApplication(app.wsgi_app, evalex=True)\n";
        let told = |source: &str, value: &str| {
            let folder = site(&[("app.py", source)]);
            let found = detect(folder.path(), &config(), None).unwrap();
            of_debugging(&found, [(&"FLASK_DEBUG".to_owned(), &value.to_owned())])
        };
        let both = told(app, "1");
        assert_eq!(both.len(), 2, "{both:?}");
        assert!(both[0].starts_with("app uses Werkzeug's debugger"), "{both:?}");
        assert!(both[1].starts_with("FLASK_DEBUG = 1"), "{both:?}");
        let none: [&str; 0] = [];
        assert_eq!(told("from flask import Flask\napp = Flask(__name__)\n", "False"), none);
        let plain = "def application(environ, start_response): ...\n# DebuggedApplication(\n";
        assert_eq!(told(plain, "1"), none);
    }

    #[test]
    fn background_processes_of_a_procfile_are_told() {
        let procfile = onebox_config::procfile::parse("web: gunicorn x\nworker: celery\nwhat\n");
        assert_eq!(of_procfile(&procfile).len(), 2);
    }
}
