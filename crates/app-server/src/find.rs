//! The search for a site's Python.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use onebox_config::Account;
use onebox_config::site::PythonChoice;

use crate::{Interpreter, PythonError};

pub(crate) fn find(
    choice: Option<&PythonChoice>,
    site_root: &Path,
    user: Option<&Account>,
) -> Result<Interpreter, PythonError> {
    match choice {
        Some(PythonChoice::Path(path)) => Interpreter::inspect(&site_root.join(path), user),
        Some(PythonChoice::Version(text)) => by_version(&Wanted::parse(text, "python")?, user),
        None => match version_file(site_root)? {
            Some(wanted) => by_version(&wanted, user),
            None => first_python3(user),
        },
    }
}

/// A version, or the beginning of one.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Wanted {
    /// `3.11` or `3.11.7`
    text: String,
    major: u8,
    minor: u8,
    micro: Option<u8>,
}

impl Wanted {
    fn parse(text: &str, origin: &str) -> Result<Self, PythonError> {
        let trimmed = text.trim();
        let numbers: Option<Vec<u8>> = trimmed
            .trim_start_matches("cpython-")
            .split('.')
            .map(|part| part.parse().ok())
            .collect();
        let (major, minor, micro) = match numbers.as_deref() {
            Some([major, minor]) => (*major, *minor, None),
            Some([major, minor, micro]) => (*major, *minor, Some(*micro)),
            _ => {
                return Err(PythonError::NoVersion {
                    origin: origin.to_owned(),
                    text: trimmed.to_owned(),
                });
            }
        };
        Ok(Self { text: trimmed.to_owned(), major, minor, micro })
    }

    fn is_met_by(&self, interpreter: &Interpreter) -> bool {
        let (major, minor, micro) = interpreter.version;
        (major, minor) == (self.major, self.minor)
            && self.micro.is_none_or(|wanted| wanted == micro)
    }
}

/// The first line of `.python-version` that is no comment, as pyenv and uv read it; else `runtime.txt`, where Heroku and Dokku wanted
/// `python-3.11.7`: a version that they had, of which the first two numbers count here.
fn version_file(site_root: &Path) -> Result<Option<Wanted>, PythonError> {
    let read = |name: &str| fs::read_to_string(site_root.join(name)).ok();
    if let Some(text) = read(".python-version") {
        let mut lines = text.lines().map(str::trim);
        let line = lines.find(|line| !line.is_empty() && !line.starts_with('#'));
        return line.map(|line| Wanted::parse(line, ".python-version")).transpose();
    }
    let Some(text) = read("runtime.txt") else { return Ok(None) };
    let text = text.trim();
    let wanted = Wanted::parse(text.strip_prefix("python-").unwrap_or(text), "runtime.txt")?;
    let Wanted { major, minor, .. } = wanted;
    Ok(Some(Wanted { text: format!("{major}.{minor}"), micro: None, ..wanted }))
}

fn by_version(wanted: &Wanted, user: Option<&Account>) -> Result<Interpreter, PythonError> {
    let mut found = Vec::new();
    let mut unfit = None;
    for candidate in candidates(wanted) {
        match Interpreter::inspect(&candidate, user) {
            Ok(interpreter) if wanted.is_met_by(&interpreter) => return Ok(interpreter),
            Ok(interpreter) => {
                let version = interpreter.version_text();
                if !found.contains(&version) {
                    found.push(version);
                }
            }
            Err(error @ (PythonError::TooOld { .. } | PythonError::Closed { .. })) => {
                unfit = Some(error);
            }
            Err(error) if error.is_shortage() => return Err(error),
            // A shim of a version that is not chosen, a broken installation: the next one may do.
            Err(_) => {}
        }
    }
    Err(unfit.unwrap_or(PythonError::VersionNotFound { wanted: wanted.text.clone(), found }))
}

/// Where a Python of that version may be, in the order of preference, those that exist.
fn candidates(wanted: &Wanted) -> Vec<PathBuf> {
    let name = format!("python{}.{}", wanted.major, wanted.minor);
    let mut candidates: Vec<PathBuf> = on_path(&name).collect();
    candidates.extend(pyenv_versions(wanted));
    candidates.extend(["/usr/local/bin", "/usr/bin"].map(|folder| Path::new(folder).join(&name)));
    candidates.extend(on_path("python3"));
    candidates.retain(|candidate| candidate.is_file());
    candidates
}

/// Where programs are looked for: `PATH`, and where an empty environment has none, the folders that a shell falls back on.
pub fn search_path() -> OsString {
    env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into())
}

fn on_path(name: &str) -> impl Iterator<Item = PathBuf> {
    let folders: Vec<PathBuf> = env::split_paths(&search_path()).collect();
    folders.into_iter().filter(|folder| folder.is_absolute()).map(move |folder| folder.join(name))
}

/// pyenv's versions that begin with the wanted one, the newest first.
fn pyenv_versions(wanted: &Wanted) -> Vec<PathBuf> {
    let root = env::var_os("PYENV_ROOT").map(PathBuf::from);
    let root = root.or_else(|| env::home_dir().map(|home| home.join(".pyenv")));
    let Some(Ok(entries)) = root.map(|root| fs::read_dir(root.join("versions"))) else {
        return Vec::new();
    };
    let mut versions: Vec<(Option<u8>, PathBuf)> = entries
        .flatten()
        .filter_map(|entry| {
            let version = Wanted::parse(entry.file_name().to_str()?, "").ok()?;
            let matches = (version.major, version.minor) == (wanted.major, wanted.minor)
                && (wanted.micro.is_none() || wanted.micro == version.micro);
            matches.then(|| (version.micro, entry.path().join("bin/python")))
        })
        .collect();
    versions.sort_by(|one, other| other.cmp(one));
    versions.into_iter().map(|(_, path)| path).collect()
}

fn first_python3(user: Option<&Account>) -> Result<Interpreter, PythonError> {
    let mut first_error = None;
    for candidate in on_path("python3").filter(|candidate| candidate.is_file()) {
        match Interpreter::inspect(&candidate, user) {
            Ok(interpreter) => return Ok(interpreter),
            Err(error) if error.is_shortage() => return Err(error),
            Err(error) => first_error = first_error.or(Some(error)),
        }
    }
    Err(first_error.unwrap_or(PythonError::NotFound))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(version_file: &str) -> tempfile::TempDir {
        let site = tempfile::tempdir().unwrap();
        fs::write(site.path().join(".python-version"), version_file).unwrap();
        site
    }

    #[test]
    fn a_version_file_is_read_past_comments() {
        let site = site("# ours\n\n3.11.7\n");
        let wanted = version_file(site.path()).unwrap().unwrap();
        assert_eq!((wanted.major, wanted.minor, wanted.micro), (3, 11, Some(7)));
    }

    #[test]
    fn a_runtime_file_counts_where_there_is_no_version_file() {
        let site = tempfile::tempdir().unwrap();
        assert_eq!(version_file(site.path()).unwrap(), None);
        fs::write(site.path().join("runtime.txt"), "python-3.12.4\n").unwrap();
        let wanted = version_file(site.path()).unwrap().unwrap();
        assert_eq!((&*wanted.text, wanted.micro), ("3.12", None));
        fs::write(site.path().join("runtime.txt"), "nodejs\n").unwrap();
        let error = version_file(site.path()).unwrap_err();
        assert!(error.to_string().starts_with("runtime.txt says \"nodejs\""), "{error}");
        fs::write(site.path().join(".python-version"), "3.11\n").unwrap();
        assert_eq!(version_file(site.path()).unwrap().unwrap().minor, 11);
    }

    #[test]
    fn a_version_file_that_names_no_version_is_an_error() {
        let site = site("latest\n");
        let error = find(None, site.path(), None).unwrap_err();
        assert_eq!(
            error.to_string(),
            ".python-version says \"latest\", which is no Python version like 3.11 or 3.11.7"
        );
    }

    #[test]
    fn a_version_that_nobody_has_is_named() {
        let choice = PythonChoice::Version("3.99".into());
        let error = find(Some(&choice), Path::new("/"), None).unwrap_err();
        assert!(error.to_string().starts_with("no Python 3.99 was found on PATH"), "{error}");
    }

    #[test]
    fn an_absent_path_is_named() {
        let choice = PythonChoice::Path("venv/bin/python".into());
        let error = find(Some(&choice), Path::new("/nowhere"), None).unwrap_err();
        assert_eq!(error.to_string(), "there is no Python at /nowhere/venv/bin/python");
    }

    #[test]
    fn an_environment_whose_python_is_gone_names_its_version() {
        let site = tempfile::tempdir().unwrap();
        let venv = site.path().join("venv");
        fs::create_dir_all(venv.join("bin")).unwrap();
        std::os::unix::fs::symlink("/gone/bin/python3.8", venv.join("bin/python")).unwrap();
        fs::write(venv.join("pyvenv.cfg"), "home = /gone/bin\nversion = 3.8.20\n").unwrap();
        let error = find(Some(&PythonChoice::Path("venv".into())), site.path(), None).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("was made with Python 3.8.20, which is no longer at /gone/bin"),
            "{text}"
        );
    }
}
