//! Recognises a Django project by its `manage.py`, and reads from its source what can be read.
//!
//! Owns where Django projects keep things. Must not run Python: what only Django itself knows is asked in `settings`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::source::Source;
use super::wsgi::subfolders;

/// The variable that names the settings.
const SETTINGS: &str = "DJANGO_SETTINGS_MODULE";

/// A Django project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DjangoProject {
    /// The folder with `manage.py`.
    pub(crate) root: PathBuf,
    /// The settings module, `mysite.settings`.
    pub(crate) settings: String,
    /// The callable as `module:attribute`; `None` when there is none to be found.
    pub(crate) application: Option<String>,
    /// Whether there is an `asgi.py` beside the place where `wsgi.py` would be.
    pub(crate) has_asgi: bool,
    /// `SQLite` and the like, when the settings name it in so many words.
    pub(crate) database: Option<&'static str>,
}

impl DjangoProject {
    /// `mysite`: the package of the settings.
    pub(crate) fn name(&self) -> &str {
        self.settings.split('.').next().unwrap_or(&self.settings)
    }
}

/// The project in `folder` or, when only one of its folders has a `manage.py`, there.
pub(super) fn find(folder: &Path, env: &BTreeMap<String, String>) -> Option<DjangoProject> {
    let root = root_of(folder)?;
    let manage = Source::read(&root.join("manage.py"))?;
    let by_manage = manage.text_after(SETTINGS).map(str::to_owned);
    let by_env = env.get(SETTINGS).cloned();
    // Before the settings are known, the package with a wsgi.py tells both.
    let package = by_env.as_ref().or(by_manage.as_ref());
    let package = package.and_then(|settings| settings.split('.').next()).map(str::to_owned);
    let package =
        package.filter(|name| root.join(name).is_dir()).or_else(|| package_with_wsgi(&root));
    let wsgi = package.as_ref().and_then(|name| Source::read(&root.join(name).join("wsgi.py")));
    // The server's settings are those of wsgi.py; manage.py may name others for development.
    let by_wsgi = wsgi.as_ref().and_then(|source| source.text_after(SETTINGS)).map(str::to_owned);
    let settings = by_env.or(by_wsgi).or(by_manage)?;

    let source = settings_source(&root, &settings);
    let named = source.as_ref().and_then(|source| source.text_after("WSGI_APPLICATION"));
    let named = named
        .and_then(|path| path.rsplit_once('.'))
        .map(|(module, name)| format!("{module}:{name}"));
    let by_file = wsgi.and(package.as_ref()).map(|package| format!("{package}.wsgi:application"));
    let has_asgi = package.is_some_and(|package| root.join(package).join("asgi.py").exists());
    let exists = |application: &String| {
        let module = application.split(':').next().unwrap_or_default().replace('.', "/");
        root.join(format!("{module}.py")).exists()
    };
    Some(DjangoProject {
        application: named.filter(exists).or(by_file),
        database: source.as_ref().and_then(database),
        root,
        settings,
        has_asgi,
    })
}

fn root_of(folder: &Path) -> Option<PathBuf> {
    if folder.join("manage.py").is_file() {
        return Some(folder.to_path_buf());
    }
    let mut below = subfolders(folder);
    below.retain(|path| path.join("manage.py").is_file());
    match below.as_slice() {
        [only] => Some(only.clone()),
        _ => None,
    }
}

fn package_with_wsgi(root: &Path) -> Option<String> {
    let found = subfolders(root).into_iter().find(|path| path.join("wsgi.py").is_file())?;
    found.file_name().and_then(|name| name.to_str()).map(str::to_owned)
}

/// The settings' source: a file, or a package's `__init__` and `base` together would be guessing, so the first of these.
fn settings_source(root: &Path, settings: &str) -> Option<Source> {
    let path = root.join(settings.replace('.', "/"));
    let candidates = [path.with_extension("py"), path.join("__init__.py")];
    let base = path.parent().map(|parent| parent.join("base.py"));
    let first = candidates.iter().find_map(|file| Source::read(file));
    first
        .filter(|source| source.mentions("DATABASES"))
        .or_else(|| base.and_then(|file| Source::read(&file)))
}

fn database(settings: &Source) -> Option<&'static str> {
    let known = [
        ("django.db.backends.sqlite3", "SQLite"),
        ("django.db.backends.postgresql", "PostgreSQL"),
        ("django.db.backends.mysql", "MySQL"),
        ("django.db.backends.oracle", "Oracle"),
    ];
    known.into_iter().find(|(engine, _)| settings.mentions(engine)).map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::super::tests::site;
    use super::*;

    const MANAGE: &str = "import os\ndef main():\n    os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'mysite.settings')\n";
    const WSGI: &str = "import os\nfrom django.core.wsgi import get_wsgi_application\n\
        os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'mysite.settings')\napplication = get_wsgi_application()\n";
    const SQLITE: &str = "WSGI_APPLICATION = 'mysite.wsgi.application'\nDATABASES = {'default': {'ENGINE': 'django.db.backends.sqlite3'}}\n";

    fn find_in(files: &[(&str, &str)]) -> (tempfile::TempDir, Option<DjangoProject>) {
        let root = site(files);
        let project = find(root.path(), &BTreeMap::new());
        (root, project)
    }

    #[test]
    fn a_project_as_startproject_makes_it_is_found() {
        let files =
            [("manage.py", MANAGE), ("mysite/settings.py", SQLITE), ("mysite/wsgi.py", WSGI)];
        let (root, project) = find_in(&files);
        let project = project.unwrap();
        assert_eq!(project.root, root.path());
        assert_eq!((project.name(), project.settings.as_str()), ("mysite", "mysite.settings"));
        assert_eq!(project.application.as_deref(), Some("mysite.wsgi:application"));
        assert_eq!(project.database, Some("SQLite"));
    }

    #[test]
    fn a_project_in_the_only_folder_with_a_manage_py_is_found() {
        let files = [
            ("README", ""),
            ("web/manage.py", MANAGE),
            ("web/mysite/wsgi.py", WSGI),
            ("web/mysite/settings.py", ""),
        ];
        let (root, project) = find_in(&files);
        assert_eq!(project.unwrap().root, root.path().join("web"));
    }

    #[test]
    fn the_settings_of_wsgi_py_win_over_those_of_manage_py_and_the_environment_over_both() {
        let wsgi = WSGI.replace("mysite.settings", "mysite.settings.production");
        let files = [
            ("manage.py", MANAGE),
            ("mysite/wsgi.py", wsgi.as_str()),
            ("mysite/settings/__init__.py", ""),
        ];
        let (root, project) = find_in(&files);
        assert_eq!(project.unwrap().settings, "mysite.settings.production");
        let env = BTreeMap::from([(SETTINGS.to_owned(), "mysite.settings.live".to_owned())]);
        assert_eq!(find(root.path(), &env).unwrap().settings, "mysite.settings.live");
    }

    #[test]
    fn a_project_with_asgi_alone_has_no_application() {
        let (_root, project) =
            find_in(&[("manage.py", MANAGE), ("mysite/asgi.py", ""), ("mysite/settings.py", "")]);
        let project = project.unwrap();
        assert_eq!(project.application, None);
        assert!(project.has_asgi);
    }

    #[test]
    fn a_manage_py_of_something_else_is_not_django() {
        assert_eq!(find_in(&[("manage.py", "print('hello')\n")]).1, None);
    }
}
