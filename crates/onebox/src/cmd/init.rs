//! `onebox init`: an annotated `onebox.toml` to start from. Every key in it is commented out, so that it changes nothing by itself.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;

use crate::cli::InitArgs;
use crate::print::done;
use crate::report::Failure;

/// Writes the file, unless there is one.
pub(crate) fn init(arguments: InitArgs) -> Result<(), Failure> {
    let root = &arguments.path;
    if !root.is_dir() {
        return Err(Failure::NotAFolder(root.clone()));
    }
    let found = found(root);
    for line in &found {
        anstream::println!("  found {line}");
    }
    let path = root.join("onebox.toml");
    let file = OpenOptions::new().write(true).create_new(true).open(&path);
    let mut file = file.map_err(|source| match source.kind() {
        std::io::ErrorKind::AlreadyExists => Failure::Exists(path.clone()),
        _ => Failure::File { path: path.clone(), source },
    })?;
    file.write_all(text(&found).as_bytes())
        .map_err(|source| Failure::File { path: path.clone(), source })?;
    done(&format!("wrote {}", path.display()));
    Ok(())
}

/// What of the folder says something about how it will be served.
fn found(root: &Path) -> Vec<String> {
    let known = [
        (
            "manage.py",
            "manage.py: a Django project; migrate and collectstatic run with each release",
        ),
        ("app.py", "app.py: looked through for a WSGI application"),
        ("wsgi.py", "wsgi.py: looked through for a WSGI application"),
        ("Procfile", "Procfile: its `web:` line is read"),
        ("requirements.txt", "requirements.txt: installed into the release's own environment"),
        (
            "pyproject.toml",
            "pyproject.toml: its dependencies are installed into the release's own environment",
        ),
        (".python-version", ".python-version: chooses the Python"),
        ("runtime.txt", "runtime.txt: chooses the Python where .python-version does not"),
        ("static", "static/: served without Python where the application says so"),
        ("index.html", "index.html: served as it is where there is no Python"),
    ];
    known
        .iter()
        .filter(|(name, _)| root.join(name).exists())
        .map(|(_, meaning)| (*meaning).to_owned())
        .collect()
}

fn text(found: &[String]) -> String {
    let mut text = String::from(
        "# How onebox serves this folder. Every key is optional; what is commented out shows an example.\n",
    );
    for line in found {
        let _ = writeln!(text, "# found {line}");
    }
    text.push('\n');
    text.push_str(TEMPLATE);
    text
}

/// The keys that a first deploy may want.
const TEMPLATE: &str = r#"# The site's name; else the folder's.
#name = "mysite"

# The hosts it answers to; the first site without any answers to every host that no other site names.
#domains = ["mysite.example.com"]

# Where the WSGI callable is; found by itself for Django and Flask.
#module = "mysite.wsgi:application"

# A version, or the path of a python or virtual environment that is used as it is; else .python-version or runtime.txt, else python3.
#python = "3.11"

# Threads for requests, and the longest time that one request may take.
#threads = 4
#harakiri = "60s"

# What lives across releases; SQLite files and Django's media are found by themselves.
#persist = ["db.sqlite3", "media"]

# Folders served without Python, by URL prefix.
#[static]
#"/static" = "static"

# Environment variables; secrets are better kept by `onebox env set`.
#[env]
#DJANGO_SETTINGS_MODULE = "mysite.settings"

# A release goes on line only after this path has answered with a status below 500 (and not 400).
#[health]
#path = "/"

# Commands that run in each new release before it starts.
#[hooks]
#release = ["python manage.py migrate --noinput"]
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_changes_nothing_and_has_no_problem() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("manage.py"), "").unwrap();
        let default = onebox_config::load_site(folder.path(), None).unwrap();
        init(InitArgs { path: folder.path().to_owned() }).unwrap();
        assert_eq!(onebox_config::load_site(folder.path(), None).unwrap(), default);
    }

    #[test]
    fn every_example_in_the_file_is_valid() {
        let folder = tempfile::tempdir().unwrap();
        let lines = TEMPLATE.lines().map(|line| match line.strip_prefix('#') {
            Some(key) if !key.starts_with(' ') => key,
            _ => line,
        });
        let text = lines.collect::<Vec<_>>().join("\n");
        std::fs::write(folder.path().join("onebox.toml"), &text).unwrap();
        let site = onebox_config::load_site(folder.path(), None).unwrap();
        assert_eq!(site.name.as_deref(), Some("mysite"));
    }

    #[test]
    fn a_file_that_is_there_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("onebox.toml");
        std::fs::write(&path, "name = \"kept\"").unwrap();
        assert!(matches!(
            init(InitArgs { path: folder.path().to_owned() }),
            Err(Failure::Exists(_))
        ));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "name = \"kept\"");
    }
}
