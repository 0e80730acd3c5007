//! What to do about failures that have one cause on most boxes, in a sentence.
//!
//! Owns the words. Must not guess: what it does not know for certain it is silent about.

use std::path::{Component, Path};

use onebox_app_server::Raised;

/// How Python names what SQLite says, in itself and in the libraries that pass it on.
const OPERATIONAL: &str = "OperationalError";
/// What SQLite says where it may not write. Source: its documentation, SQLITE_CANTOPEN and SQLITE_READONLY.
const UNWRITABLE: [&str; 2] =
    ["unable to open database file", "attempt to write a readonly database"];
/// A file system that takes no writes, as Python numbers it (EROFS).
const READ_ONLY: &str = "[Errno 30]";

/// About a chain of exceptions, the last one first; `None`: nothing is known.
pub(crate) fn about(raised: &[Raised]) -> Option<String> {
    raised.iter().rev().find_map(|raised| {
        let Raised { kind, message, .. } = raised;
        match kind.as_str() {
            "PermissionError" => unwritable(message),
            "OSError" if message.starts_with(READ_ONLY) => unwritable(message),
            "ModuleNotFoundError" => missing(message),
            _ if kind.ends_with(OPERATIONAL) => {
                UNWRITABLE.iter().any(|said| message.contains(said)).then(|| {
                    "SQLite needs a folder it may write to, and a release's can't be written: keep the database in one that \
                     `persist` in onebox.toml names, as `persist = [\"data\"]`, and deploy again."
                        .to_owned()
                })
            }
            _ => None,
        }
    })
}

/// `[Errno 13] Permission denied: '/…/releases/ID/app/uploads/a.png'`
fn unwritable(message: &str) -> Option<String> {
    let path = Path::new(quoted(message)?);
    let mut parts = path.components();
    if path.is_absolute() {
        parts.find(|part| part.as_os_str() == "releases")?;
        parts.nth(1).filter(|part| part.as_os_str() == "app")?;
    }
    let Component::Normal(first) = parts.find(|part| *part != Component::CurDir)? else {
        return None;
    };
    let kept = first.to_str()?;
    Some(format!(
        "A release's files can't be written. Name what the site writes in onebox.toml, as `persist = [\"{kept}\"]`, and deploy \
         again: it is then kept from release to release."
    ))
}

/// `No module named 'yaml.nodes'`
fn missing(message: &str) -> Option<String> {
    let module = quoted(message.strip_prefix("No module named")?)?.split('.').next()?;
    Some(format!(
        "`{module}` is neither in the site's folder nor among its packages: name the package that has it in requirements.txt or \
         pyproject.toml, and deploy again."
    ))
}

/// What stands between the first two single quotes.
fn quoted(message: &str) -> Option<&str> {
    message.split('\'').nth(1).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(kind: &str, message: &str) -> String {
        let (kind, message) = (kind.to_owned(), message.to_owned());
        let inner = Raised { kind, message, after: None, frames: Vec::new() };
        let outer = Raised {
            kind: "app.Broken".to_owned(),
            message: "it broke".to_owned(),
            ..inner.clone()
        };
        about(&[inner, outer]).unwrap_or_default()
    }

    #[test]
    fn what_a_site_writes_is_to_be_kept() {
        let app = "/var/lib/onebox/sites/blog/releases/20261122-153106-e67f/app";
        for (path, kept) in [
            (format!("{app}/uploads/2026/a.png"), "uploads"),
            (format!("{app}/visits.txt"), "visits.txt"),
            ("./data/visits.txt".to_owned(), "data"),
        ] {
            let message = format!("[Errno 13] Permission denied: '{path}'");
            let told = told("PermissionError", &message);
            assert!(told.contains(&format!("`persist = [\"{kept}\"]`")), "{path}: {told}");
        }
        assert!(told("OSError", "[Errno 30] Read-only file system: 'a/b'").contains("\"a\""));
        for database in ["sqlite3.OperationalError", "django.db.utils.OperationalError"] {
            assert!(told(database, "unable to open database file").contains("persist"));
        }
    }

    #[test]
    fn what_is_missing_is_to_be_named() {
        let told = told("ModuleNotFoundError", "No module named 'yaml.nodes'");
        assert!(told.starts_with("`yaml` is neither"), "{told}");
    }

    #[test]
    fn what_is_not_known_is_not_guessed_at() {
        for (kind, message) in [
            ("PermissionError", "[Errno 13] Permission denied: '/etc/shadow'"),
            ("PermissionError", "[Errno 13] Permission denied: '../beside'"),
            ("PermissionError", "[Errno 13] Permission denied: '/srv/releases/r1/venv/bin'"),
            ("PermissionError", "not yours"),
            ("OSError", "[Errno 28] No space left on device: 'a'"),
            ("sqlite3.OperationalError", "no such table: posts"),
            ("ModuleNotFoundError", "gone"),
            ("ValueError", "No module named 'a'"),
        ] {
            assert_eq!(told(kind, message), "", "{kind}: {message}");
        }
    }
}
