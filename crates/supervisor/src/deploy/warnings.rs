//! What the owner of a site should know although the deploy goes on.
//!
//! Owns the words. Must not stop a deploy.

use std::path::Path;

use onebox_config::procfile::Procfile;

use super::detect::Found;
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
    let real = std::fs::canonicalize(app).unwrap_or_else(|_| app.to_path_buf());
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
