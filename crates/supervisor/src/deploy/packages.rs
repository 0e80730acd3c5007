//! What a site wants installed: found, read, and told apart from what an earlier release has.
//!
//! Owns which files name requirements, and the key under which an environment may be used again. Must not install.
//!
//! Sources: pip's "Requirements File Format"; the "pyproject.toml specification", `[project] dependencies`.

use std::fs;
use std::path::Path;

use onebox_app_server::Interpreter;
use sha2::{Digest, Sha256};

use super::error::DeployProblem;

/// Where a requirements file may lie, the first wins.
const FILES: [&str; 4] = [
    "requirements.txt",
    "requirements/production.txt",
    "requirements/prod.txt",
    "requirements/requirements.txt",
];
/// Files that include files: deeper is a loop.
const MAX_INCLUDES: usize = 50;

/// What is to be installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Requirements {
    /// The file that says so, for people: `requirements.txt`.
    pub(crate) source: String,
    /// How the installer is told.
    pub(crate) list: List,
    /// Everything that was read, in order: what the key is made of.
    texts: Vec<String>,
    /// Whether something of the folder itself is installed, which is new in every release.
    is_local: bool,
}

/// How the installer is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum List {
    /// With `-r`: the file that is the source.
    File,
    /// One by one.
    Named(Vec<String>),
}

impl Requirements {
    /// The requirements of the site in `folder`; `root` is where its application lies, which may be below.
    ///
    /// # Errors
    /// When a file is there and cannot be understood.
    pub(crate) fn find(folder: &Path, root: &Path) -> Result<Option<Self>, DeployProblem> {
        for base in [root, folder] {
            for name in FILES {
                let file = base.join(name);
                if file.is_file() {
                    return Self::of_file(folder, &file).map(Some);
                }
            }
        }
        for base in [root, folder] {
            let file = base.join("pyproject.toml");
            if file.is_file() {
                return Self::of_pyproject(&file);
            }
        }
        Ok(None)
    }

    /// Names the environment that these make with `python`; `None` when it can never be used again.
    pub(crate) fn key(&self, python: &Interpreter) -> Option<String> {
        if self.is_local {
            return None;
        }
        let mut hash = Sha256::new();
        let (major, minor, patch) = python.version;
        hash.update(format!("{}\n{major}.{minor}.{patch}\n", python.executable.display()));
        for text in &self.texts {
            hash.update((text.len() as u64).to_le_bytes());
            hash.update(text);
        }
        Some(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
    }

    fn of_file(folder: &Path, file: &Path) -> Result<Self, DeployProblem> {
        let mut texts = Vec::new();
        let mut waiting = vec![file.to_path_buf()];
        while let Some(next) = waiting.pop() {
            if texts.len() >= MAX_INCLUDES {
                break;
            }
            let text = fs::read(&next).map_err(DeployProblem::file("cannot read", &next))?;
            let text = String::from_utf8_lossy(&text).into_owned();
            let base = next.parent().unwrap_or(folder);
            waiting.extend(text.lines().filter_map(included).map(|name| base.join(name)));
            texts.push(text);
        }
        let source = file.strip_prefix(folder).unwrap_or(file).display().to_string();
        let is_local = texts.iter().flat_map(|text| text.lines()).any(is_local);
        Ok(Self { source, list: List::File, texts, is_local })
    }

    fn of_pyproject(file: &Path) -> Result<Option<Self>, DeployProblem> {
        let text = fs::read_to_string(file).map_err(DeployProblem::file("cannot read", file))?;
        let bad = |why: String| DeployProblem::Pyproject(why);
        let table: toml::Table = toml::from_str(&text).map_err(|error| bad(error.to_string()))?;
        let Some(project) = table.get("project") else {
            let is_poetry = table.get("tool").is_some_and(|tool| tool.get("poetry").is_some());
            return if is_poetry {
                Err(bad(
                    "it lists its dependencies for Poetry alone; write a requirements.txt with \
                         `poetry export -o requirements.txt`"
                        .to_owned(),
                ))
            } else {
                Ok(None)
            };
        };
        let Some(dependencies) = project.get("dependencies") else { return Ok(None) };
        let named: Option<Vec<String>> = dependencies
            .as_array()
            .and_then(|list| list.iter().map(|item| item.as_str().map(str::to_owned)).collect());
        let named =
            named.ok_or_else(|| bad("[project] dependencies is not a list of texts".to_owned()))?;
        // A text that begins with a hyphen would be read as an option of the installer.
        if let Some(option) = named.iter().find(|text| text.trim_start().starts_with('-')) {
            return Err(bad(format!("{option:?} is no dependency")));
        }
        let is_local = named.iter().any(|line| is_local(line));
        Ok(Some(Self {
            source: "pyproject.toml".to_owned(),
            texts: named.clone(),
            list: List::Named(named),
            is_local,
        }))
    }

    /// Arguments of `pip install` and `uv pip install`, run in the site's folder.
    pub(crate) fn arguments(&self) -> Vec<std::ffi::OsString> {
        match &self.list {
            List::File => vec!["-r".into(), self.source.clone().into()],
            List::Named(named) => named.iter().map(Into::into).collect(),
        }
    }

    /// Whether there is nothing to install.
    pub(crate) fn is_empty(&self) -> bool {
        let lines = self.texts.iter().flat_map(|text| text.lines());
        lines.map(str::trim).all(|line| line.is_empty() || line.starts_with('#'))
    }
}

/// The file of a line `-r FILE` or `-c FILE`.
fn included(line: &str) -> Option<&str> {
    let line = line.split(" #").next().unwrap_or(line).trim();
    let options = ["--requirement", "--constraint", "-r", "-c"];
    let rest = options.into_iter().find_map(|option| line.strip_prefix(option))?;
    let name = rest.trim_start_matches([' ', '=', '\t']);
    (!name.is_empty() && !name.contains("://")).then_some(name)
}

/// Whether a line installs from a folder or file rather than from an index.
fn is_local(line: &str) -> bool {
    let line = line.trim();
    line.starts_with(['.', '/'])
        || line.starts_with("-e")
        || line.starts_with("--editable")
        || line.contains("file:")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn python() -> Interpreter {
        Interpreter::inspect(Path::new("/usr/bin/python3"), None).unwrap()
    }

    fn find_in(files: &[(&str, &str)]) -> Result<Option<Requirements>, DeployProblem> {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let file = folder.path().join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        Requirements::find(folder.path(), folder.path())
    }

    #[test]
    fn requirement_files_are_found_in_their_order() {
        let found =
            find_in(&[("requirements.txt", "flask"), ("pyproject.toml", "")]).unwrap().unwrap();
        assert_eq!(found.source, "requirements.txt");
        let found = find_in(&[("requirements/production.txt", "flask")]).unwrap().unwrap();
        assert_eq!(found.source, "requirements/production.txt");
        assert_eq!(find_in(&[("README", "")]).unwrap(), None);
        assert_eq!(find_in(&[("pyproject.toml", "[tool.black]\n")]).unwrap(), None);
    }

    #[test]
    fn the_dependencies_of_pyproject_are_named_one_by_one() {
        let text = "[project]\nname = 'x'\ndependencies = ['flask>=3', 'pillow']\n";
        let found = find_in(&[("pyproject.toml", text)]).unwrap().unwrap();
        assert_eq!(found.arguments(), ["flask>=3", "pillow"]);
    }

    #[test]
    fn a_pyproject_that_cannot_be_used_is_an_error() {
        for text in [
            "[project\n",
            "[project]\ndependencies = 3\n",
            "[project]\ndependencies = ['--index-url=http://evil']\n",
            "[tool.poetry.dependencies]\nflask = '3'\n",
        ] {
            assert!(find_in(&[("pyproject.toml", text)]).is_err(), "{text}");
        }
    }

    #[test]
    fn the_key_changes_with_any_file_that_is_included() {
        let key = |base: &str| {
            let files = [("requirements.txt", "-r more/base.txt\nflask"), ("more/base.txt", base)];
            find_in(&files).unwrap().unwrap().key(&python()).unwrap()
        };
        assert_eq!(key("pillow"), key("pillow"));
        assert_ne!(key("pillow"), key("pillow==1"));
        let mut other = python();
        other.version.2 += 1;
        let requirements = find_in(&[("requirements.txt", "flask")]).unwrap().unwrap();
        assert_ne!(requirements.key(&python()), requirements.key(&other));
    }

    #[test]
    fn what_comes_from_the_folder_itself_is_never_used_again() {
        for line in ["-e .", "./vendor/thing", "thing @ file:///srv/thing"] {
            let requirements = find_in(&[("requirements.txt", line)]).unwrap().unwrap();
            assert_eq!(requirements.key(&python()), None, "{line}");
        }
    }

    #[test]
    fn a_missing_included_file_is_an_error() {
        assert!(find_in(&[("requirements.txt", "-r nowhere.txt")]).is_err());
    }
}
