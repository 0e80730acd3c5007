//! The environment that Python starts in.
//!
//! What the supervisor was started with goes on to the sites, without its own variables and those of systemd; a site's
//! variables are laid over it. Values may be secrets and are never logged.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use onebox_app_server::search_path;

use crate::users::RunAs;

/// Variables that are the supervisor's business alone.
const PRIVATE: [&str; 6] = [
    "NOTIFY_SOCKET",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_FDNAMES",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
];

/// An environment for one child, complete.
pub(crate) type Environment = BTreeMap<OsString, OsString>;

/// The supervisor's own environment without what is private to it.
pub(crate) fn inherited() -> Environment {
    let mut environment = cleaned(std::env::vars_os());
    environment.entry("PATH".into()).or_insert_with(search_path);
    environment
}

fn cleaned(variables: impl Iterator<Item = (OsString, OsString)>) -> Environment {
    let mut environment: Environment =
        variables.filter(|(name, _)| !is_private(name.as_os_str())).collect();
    use_utf8(&mut environment);
    environment
}

/// Whether no site gets a variable of this name.
pub(crate) fn is_private(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    PRIVATE.contains(&&*name) || name.starts_with("ONEBOX_")
}

/// Where the locale is C or POSIX, Python takes UTF-8 all the same (PEP 538, PEP 540); so does with this what it loads and starts.
fn use_utf8(environment: &mut Environment) {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
        .iter()
        .find_map(|name| environment.get(OsStr::new(name)).filter(|value| !value.is_empty()));
    if locale.is_none_or(|value| value == "C" || value == "POSIX") {
        environment.remove(OsStr::new("LC_ALL"));
        environment.insert("LC_CTYPE".into(), "C.UTF-8".into());
    }
}

/// The environment of a site whose Python is `executable`: its folder comes first on `PATH`; who it runs as and then
/// `variables` are laid over all.
pub(crate) fn for_site(
    executable: &Path,
    user: Option<&RunAs>,
    variables: &[(String, String)],
) -> Environment {
    let mut environment = inherited();
    for (name, value) in user.into_iter().flat_map(RunAs::variables) {
        environment.insert(name.into(), value.into());
    }
    laid_over(environment, executable, variables)
}

fn laid_over(
    mut environment: Environment,
    executable: &Path,
    variables: &[(String, String)],
) -> Environment {
    if let Some(folder) = executable.parent() {
        let path = environment.remove(OsStr::new("PATH")).unwrap_or_default();
        let rest = std::env::split_paths(&path).filter(|entry| entry != folder);
        let folders: Vec<PathBuf> = std::iter::once(folder.to_owned()).chain(rest).collect();
        if let Ok(path) = std::env::join_paths(folders) {
            environment.insert("PATH".into(), path);
        }
        if let Some(venv) = folder.parent().filter(|venv| venv.join("pyvenv.cfg").exists()) {
            environment.insert("VIRTUAL_ENV".into(), venv.into());
        }
    }
    for (name, value) in variables {
        if !is_private(OsStr::new(name)) {
            environment.insert(name.into(), value.into());
        }
    }
    environment
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(variables: &[(&str, &str)]) -> Environment {
        cleaned(variables.iter().map(|(name, value)| (name.into(), value.into())))
    }

    fn get<'a>(environment: &'a Environment, name: &str) -> Option<&'a str> {
        environment.get(OsStr::new(name)).and_then(|value| value.to_str())
    }

    #[test]
    fn our_own_variables_do_not_reach_python() {
        let environment = given(&[
            ("ONEBOX_HTTP", "x"),
            ("NOTIFY_SOCKET", "x"),
            ("LISTEN_FDS", "1"),
            ("HOME", "/h"),
        ]);
        assert_eq!(get(&environment, "HOME"), Some("/h"));
        assert_eq!(environment.len(), 2, "and the locale: {environment:?}");
    }

    #[test]
    fn a_c_locale_becomes_utf_8_and_another_stays() {
        assert_eq!(get(&given(&[("LC_ALL", "C")]), "LC_CTYPE"), Some("C.UTF-8"));
        assert_eq!(get(&given(&[("LC_ALL", "C")]), "LC_ALL"), None);
        assert_eq!(get(&given(&[("LANG", "de_DE.UTF-8")]), "LC_CTYPE"), None);
        assert_eq!(get(&given(&[("LANG", "de_DE.UTF-8"), ("LC_ALL", "")]), "LC_CTYPE"), None);
    }

    #[test]
    fn the_sites_python_is_first_on_the_path_and_its_variables_win() {
        let base = given(&[("PATH", "/usr/bin:/venv/bin"), ("A", "old")]);
        let variables = [("A".into(), "new".into()), ("ONEBOX_X".into(), "never".into())];
        let environment = laid_over(base, Path::new("/venv/bin/python"), &variables);
        assert_eq!(get(&environment, "PATH"), Some("/venv/bin:/usr/bin"));
        assert_eq!(get(&environment, "A"), Some("new"));
        assert_eq!(get(&environment, "ONEBOX_X"), None);
    }
}
