//! What the source of a Flask site says about its static files and about the data it keeps.
//!
//! Owns Flask's defaults. Must not know how folders are served or linked.
//!
//! Source: Flask's documentation, "Application Object" (`static_folder`, `static_url_path`, `instance_path`) and
//! Flask-SQLAlchemy's, "Configuration" (relative SQLite paths are below the instance folder).

use std::path::{Path, PathBuf};

use super::wsgi::Module;

/// Endings that SQLite files have.
const DATABASE_ENDINGS: [&str; 4] = [".db", ".sqlite", ".sqlite3", ".db3"];

/// The static folder of a Flask application: URL prefix and folder, if that is there.
pub(super) fn static_folder(modules: &[Module]) -> Option<(String, PathBuf)> {
    let module = modules.iter().find(|module| module.source.mentions("Flask("))?;
    let folder = module.source.text_after("static_folder").unwrap_or("static");
    let url = match module.source.text_after("static_url_path") {
        Some(url) => url.to_owned(),
        // Flask's own default: the folder's last name.
        None => format!("/{}", folder.trim_matches('/').rsplit('/').next().unwrap_or("static")),
    };
    let folder = module.file.parent()?.join(folder);
    // A prefix of "" would shadow the whole site.
    let url = url.trim_end_matches('/').to_owned();
    (url.starts_with('/') && folder.is_dir()).then_some((url, folder))
}

/// Files and folders, relative to `root`, that hold the site's own data as far as its source and its files tell.
pub(super) fn persistent(modules: &[Module], root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let uses = |text: &str| modules.iter().any(|module| module.source.mentions(text));
    let sqlalchemy = uses("SQLALCHEMY_DATABASE_URI") || uses("flask_sqlalchemy");
    let base = modules.first().map_or(root, |module| module.base.as_path());
    let instance = base.join("instance");
    let keeps_instance = instance.is_dir()
        || sqlalchemy
        || uses("instance_path")
        || uses("instance_relative_config");
    if keeps_instance {
        found.extend(instance.strip_prefix(root).map(Path::to_path_buf));
    }
    found.extend(database_files(root));
    if !sqlalchemy && (uses("sqlite3.connect") || uses("sqlite:///")) {
        // A bare name may be joined to the instance folder, which is kept anyway; one that is opened as it stands is not.
        let names_it = |line: &str| {
            let opens = line.contains("sqlite3.connect(") || line.contains("sqlite:///");
            (opens || !keeps_instance) && !line.contains("instance_path")
        };
        let texts = modules.iter().flat_map(|module| module.source.texts());
        found.extend(
            texts.filter(|(line, _)| names_it(line)).filter_map(|(_, text)| database_name(text)),
        );
    }
    found.sort_unstable();
    found.dedup();
    found
}

/// Whether the site keeps data in SQLite, as far as its source tells.
pub(super) fn uses_sqlite(modules: &[Module]) -> bool {
    let tells =
        |module: &Module| module.source.imports("sqlite3") || module.source.mentions("sqlite:///");
    modules.iter().any(tells)
}

/// SQLite files that lie in the site's root.
fn database_files(root: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(root) else { return Vec::new() };
    let files =
        entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()));
    files.filter_map(|entry| database_name(entry.file_name().to_str()?)).collect()
}

/// `guestbook.db`, `sqlite:///guestbook.db` or `data/guestbook.db` as a path below the root.
fn database_name(text: &str) -> Option<PathBuf> {
    let text = text.strip_prefix("sqlite:///").unwrap_or(text);
    let stem = DATABASE_ENDINGS.iter().find_map(|ending| text.strip_suffix(ending))?;
    let is_plain = |character: char| character.is_alphanumeric() || "-_/.".contains(character);
    let is_inside = !stem.starts_with(['/', '.']) && !stem.contains("..");
    (!stem.is_empty() && is_inside && stem.chars().all(is_plain)).then(|| PathBuf::from(text))
}

#[cfg(test)]
mod tests {
    use super::super::tests::site;
    use super::super::wsgi::modules;
    use super::*;

    fn kept(files: &[(&str, &str)]) -> Vec<String> {
        let root = site(files);
        let kept = persistent(&modules(root.path()), root.path());
        kept.iter().map(|path| path.display().to_string()).collect()
    }

    #[test]
    fn the_static_folder_lies_beside_the_file_that_makes_the_application() {
        let app = "from flask import Flask\napp = Flask(__name__)\n";
        let root =
            site(&[("blog/__init__.py", app), ("blog/static/a.css", ""), ("static/b.css", "")]);
        let found = static_folder(&modules(root.path()));
        assert_eq!(found, Some(("/static".to_owned(), root.path().join("blog/static"))));
    }

    #[test]
    fn static_arguments_are_obeyed() {
        let app =
            "app = Flask(__name__, static_folder='public/assets', static_url_path='/files')\n";
        let root = site(&[("app.py", app), ("public/assets/a.css", "")]);
        let found = static_folder(&modules(root.path()));
        assert_eq!(found, Some(("/files".to_owned(), root.path().join("public/assets"))));
    }

    #[test]
    fn a_prefix_that_would_shadow_the_site_and_a_missing_folder_are_left_out() {
        let root = site(&[
            ("app.py", "app = Flask(__name__, static_url_path='')\n"),
            ("static/a.css", ""),
        ]);
        assert_eq!(static_folder(&modules(root.path())), None);
        let root = site(&[("app.py", "app = Flask(__name__)\n")]);
        assert_eq!(static_folder(&modules(root.path())), None);
    }

    #[test]
    fn databases_are_kept_by_file_by_name_and_by_library() {
        assert_eq!(kept(&[("app.py", "import os\n"), ("data.sqlite3", "")]), ["data.sqlite3"]);
        assert_eq!(kept(&[("app.py", "db = sqlite3.connect('book.db')\n")]), ["book.db"]);
        assert_eq!(kept(&[("app.py", "URI = 'sqlite:///data/book.db'\n")]), ["data/book.db"]);
        assert_eq!(kept(&[("app.py", "db = sqlite3.connect('/tmp/book.db')\n")]), [""; 0]);
        assert_eq!(
            kept(&[(
                "app.py",
                "from flask_sqlalchemy import SQLAlchemy\nURI = 'sqlite:///x.db'\n"
            )]),
            ["instance"]
        );
        assert_eq!(kept(&[("app.py", "import os\n"), ("instance/x.cfg", "")]), ["instance"]);
        assert_eq!(kept(&[("app.py", "ENDING = '.db'\n")]), [""; 0]);
        let joined = "import sqlite3\nD = os.path.join(app.instance_path, 'x.db')\nsqlite3.connect(D)\nN = 'y.db'\n";
        assert_eq!(kept(&[("app.py", joined)]), ["instance"]);
    }
}
