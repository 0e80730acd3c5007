//! Looks through the Python files of a site for its application.
//!
//! Owns the order in which files are tried. Must not know what frameworks write: that is `callable`.

use std::fs;
use std::path::{Path, PathBuf};

use super::callable::{self, Callable, Framework};
use super::source::Source;

/// Tried before others, in this order.
const FIRST: [&str; 6] = ["wsgi", "app", "application", "main", "run", "server"];
/// Folders that hold no application.
const NOT_PACKAGES: [&str; 9] = [
    "docs",
    "env",
    "migrations",
    "node_modules",
    "scripts",
    "static",
    "templates",
    "test",
    "tests",
];
/// More files are not opened.
const MAX_FILES: usize = 500;

/// A Python file of the site.
#[derive(Debug, Clone)]
pub(super) struct Module {
    /// Its dotted name, `shop.web`.
    pub(super) name: String,
    /// The file.
    pub(super) file: PathBuf,
    /// The folder that is on Python's path for it.
    pub(super) base: PathBuf,
    /// What it says.
    pub(super) source: Source,
}

/// An application and the file that has it.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    pub(super) module: Module,
    pub(super) callable: Callable,
}

impl Candidate {
    /// `shop.web:app`
    pub(super) fn path(&self) -> String {
        format!("{}:{}", self.module.name, self.callable.attribute)
    }
}

/// The Python files that may hold an application: the root's own, those of packages in it, and the same below `src/`.
pub(super) fn modules(root: &Path) -> Vec<Module> {
    let mut modules = Vec::new();
    for base in [root.to_path_buf(), root.join("src")] {
        add_files(&base, &base, "", &mut modules);
        for package in subfolders(&base) {
            let Some(name) = package.file_name().and_then(|name| name.to_str()) else { continue };
            if package.join("__init__.py").exists() && !NOT_PACKAGES.contains(&name) {
                add_files(&base, &package, name, &mut modules);
            }
        }
    }
    modules
}

/// What a search through a site's files comes to.
#[derive(Debug, Clone)]
pub(super) enum Search {
    /// An application that can be served.
    Found(Box<Candidate>),
    /// An ASGI application, and no other.
    Asgi(Box<Candidate>),
    /// None.
    Nothing,
}

/// The site's application: the first file that has one of a kind that can be served.
pub(super) fn find(modules: &[Module]) -> Search {
    let mut refused = Search::Nothing;
    for module in modules {
        let Some(mut callable) = callable::find(&module.source) else { continue };
        if callable.framework == Framework::Unknown {
            callable.framework = framework_of_site(modules);
        }
        let is_asgi = matches!(callable.framework, Framework::Asgi(_));
        let candidate = Box::new(Candidate { module: module.clone(), callable });
        match refused {
            _ if !is_asgi => return Search::Found(candidate),
            Search::Nothing => refused = Search::Asgi(candidate),
            _ => {}
        }
    }
    refused
}

/// What the site as a whole is written with.
pub(super) fn framework_of_site(modules: &[Module]) -> Framework {
    let mut found =
        modules.iter().filter_map(|module| callable::framework_by_imports(&module.source));
    found.next().unwrap_or(Framework::Wsgi)
}

/// Files `*.wsgi` in the root, as mod_wsgi has them.
pub(super) fn wsgi_files(root: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = entries(root);
    files.retain(|file| file.is_file() && file.extension().is_some_and(|end| end == "wsgi"));
    files
}

fn add_files(base: &Path, folder: &Path, package: &str, modules: &mut Vec<Module>) {
    let mut files = entries(folder);
    files.retain(|file| file.extension().is_some_and(|end| end == "py") && file.is_file());
    files.sort_by_key(|file| rank(file));
    for file in files {
        let Some(stem) = file.file_stem().and_then(|stem| stem.to_str()) else { continue };
        let name = match (package, stem) {
            ("", "__init__" | "setup" | "conftest" | "manage") => continue,
            ("", stem) => stem.to_owned(),
            (package, "__init__") => package.to_owned(),
            (package, stem) => format!("{package}.{stem}"),
        };
        if stem.starts_with("test_") || modules.len() >= MAX_FILES {
            continue;
        }
        if let Some(source) = Source::read(&file) {
            modules.push(Module { name, file: file.clone(), base: base.to_path_buf(), source });
        }
    }
}

fn rank(file: &Path) -> (usize, PathBuf) {
    let stem = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    // A package's `__init__.py` is where most put it, after an entry point that says so by its name.
    let place = match stem {
        "__init__" => Some(1),
        stem => FIRST.iter().position(|first| *first == stem).map(|place| place.saturating_mul(2)),
    };
    (place.unwrap_or(usize::MAX), file.to_path_buf())
}

/// The folders in `folder` that have no dot in front.
pub(super) fn subfolders(folder: &Path) -> Vec<PathBuf> {
    let mut folders = entries(folder);
    folders.retain(|path| path.is_dir());
    folders
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries
        .flatten()
        .filter(|entry| !entry.file_name().as_encoded_bytes().starts_with(b"."))
        .map(|entry| entry.path())
        .collect();
    paths.sort_unstable();
    paths
}

#[cfg(test)]
mod tests {
    use super::super::tests::site;
    use super::*;

    const FLASK: &str = "from flask import Flask\napp = Flask(__name__)\n";

    fn found(files: &[(&str, &str)]) -> String {
        let root = site(files);
        match find(&modules(root.path())) {
            Search::Found(found) => format!("{} {:?}", found.path(), found.callable.framework),
            Search::Asgi(candidate) => format!("refused {}", candidate.path()),
            Search::Nothing => "nothing".to_owned(),
        }
    }

    #[test]
    fn the_entry_point_is_found_by_name_then_by_content() {
        assert_eq!(found(&[("app.py", FLASK), ("zzz.py", FLASK)]), "app:app Flask");
        assert_eq!(found(&[("blog.py", FLASK)]), "blog:app Flask");
        assert_eq!(
            found(&[
                ("wsgi.py", "from blog import create_app\napp = create_app()\n"),
                ("blog/__init__.py", FLASK)
            ]),
            "wsgi:app Flask"
        );
        assert_eq!(
            found(&[("blog/__init__.py", FLASK), ("blog/main.py", FLASK)]),
            "blog:app Flask"
        );
        assert_eq!(found(&[("src/blog/__init__.py", FLASK)]), "blog:app Flask");
        assert_eq!(found(&[("tests/__init__.py", FLASK), ("setup.py", FLASK)]), "nothing");
    }

    #[test]
    fn an_asgi_application_is_refused_unless_a_wsgi_one_stands_beside_it() {
        let asgi = "from fastapi import FastAPI\napp = FastAPI()\n";
        assert_eq!(found(&[("main.py", asgi)]), "refused main:app");
        assert_eq!(found(&[("app.py", asgi), ("main.py", FLASK)]), "main:app Flask");
        assert_eq!(
            found(&[("wsgi.py", "from main import app\n"), ("main.py", asgi)]),
            "refused wsgi:app"
        );
    }
}
