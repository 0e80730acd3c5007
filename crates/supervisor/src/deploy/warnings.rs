//! What the owner of a site should know although the deploy goes on.
//!
//! Owns the words. Must not stop a deploy.

use std::path::Path;

use onebox_config::procfile::Procfile;

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
    fn background_processes_of_a_procfile_are_told() {
        let procfile = onebox_config::procfile::parse("web: gunicorn x\nworker: celery\nwhat\n");
        assert_eq!(of_procfile(&procfile).len(), 2);
    }
}
