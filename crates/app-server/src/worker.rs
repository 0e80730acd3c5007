//! The command of an isolated worker, and what the worker says when it has started.

use std::process::Command;

use onebox_uwsgi::abi;
use serde::{Deserialize, Serialize};

use crate::{AppSpec, Interpreter, RuntimeLibrary};

/// Loads the runtime library, whose path is the last argument, and runs it. The current folder is no place for modules
/// yet: a file of the application could stand in the way of the standard library.
const BOOTSTRAP: &str = "\
import sys
if sys.path and sys.path[0] == '': del sys.path[0]
from importlib.machinery import ExtensionFileLoader, ModuleSpec
loader = ExtensionFileLoader('onebox_runtime', sys.argv[1])
module = loader.create_module(ModuleSpec('onebox_runtime', loader, origin=sys.argv[1]))
loader.exec_module(module)
module.run()
";

/// The command of a worker that serves `spec` with `interpreter` until SIGTERM.
///
/// The caller adds the descriptors: 3, the listening Unix socket; 4, a pipe to which the worker writes one line
/// ([`WorkerReport::parse`]); 5, the read end of a pipe whose end of file ends the worker at once.
/// A specification too long to be encoded (a name of over 65,535 bytes) is left out; the worker reports that it lacks it.
pub fn worker_command(
    interpreter: &Interpreter,
    library: &RuntimeLibrary,
    spec: &AppSpec,
) -> Command {
    let mut command = Command::new(&interpreter.executable);
    command
        .args(["-c", BOOTSTRAP])
        .arg(&library.path)
        .current_dir(&spec.root)
        .env(abi::spec::VARIABLE, spec.encode_hexadecimal().unwrap_or_default())
        .envs(locale_environment());
    command
}

/// `LC_CTYPE=C.UTF-8` where the locale of this process is C or POSIX, else nothing: for processes that run or embed
/// Python, which would get ASCII file names from such a locale.
pub fn locale_environment() -> Option<(&'static str, &'static str)> {
    locale_for(|name| std::env::var(name).ok())
}

fn locale_for(variable: impl Fn(&str) -> Option<String>) -> Option<(&'static str, &'static str)> {
    // The first one that is set and not empty decides (POSIX, "Environment Variables").
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(|name| {
        variable(name).filter(|value| !value.is_empty()).map(|value| (name, value))
    });
    match locale {
        None => Some(("LC_CTYPE", "C.UTF-8")),
        Some((name, value)) if value == "C" || value == "POSIX" => {
            // LC_ALL stands above LC_CTYPE, so it has to be the one that changes.
            Some((if name == "LC_ALL" { "LC_ALL" } else { "LC_CTYPE" }, "C.UTF-8"))
        }
        Some(_) => None,
    }
}

/// What a worker writes to its status pipe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WorkerReport {
    /// The application is loaded and its threads wait for requests.
    Ready,
    /// The application can't be loaded.
    Failed {
        /// The exception in one line.
        summary: String,
        /// Python's traceback.
        traceback: String,
    },
}

#[derive(Serialize, Deserialize)]
struct Line {
    ready: bool,
    #[serde(default)]
    summary: String,
    #[serde(default)]
    traceback: String,
}

impl WorkerReport {
    /// Reads the line from the pipe; `None` where it is none, as from a worker that died before it could say anything.
    pub fn parse(line: &str) -> Option<Self> {
        let line: Line = serde_json::from_str(line.trim_end()).ok()?;
        Some(if line.ready {
            Self::Ready
        } else {
            Self::Failed { summary: line.summary, traceback: line.traceback }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn locale(variables: &[(&str, &str)]) -> Option<(&'static str, &'static str)> {
        locale_for(|name| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn only_a_c_locale_is_replaced() {
        assert_eq!(locale(&[]), Some(("LC_CTYPE", "C.UTF-8")));
        assert_eq!(locale(&[("LANG", "C")]), Some(("LC_CTYPE", "C.UTF-8")));
        assert_eq!(
            locale(&[("LC_CTYPE", "POSIX"), ("LANG", "de_DE.UTF-8")]),
            Some(("LC_CTYPE", "C.UTF-8"))
        );
        assert_eq!(locale(&[("LC_ALL", "C")]), Some(("LC_ALL", "C.UTF-8")));
        assert_eq!(locale(&[("LANG", "de_DE.UTF-8")]), None);
        assert_eq!(locale(&[("LC_ALL", ""), ("LC_CTYPE", "C.UTF-8"), ("LANG", "C")]), None);
    }

    #[test]
    fn a_report_is_ready_failed_or_nothing() {
        assert_eq!(WorkerReport::parse("{\"ready\":true}\n"), Some(WorkerReport::Ready));
        let failed =
            WorkerReport::Failed { summary: "ValueError: x".into(), traceback: "T\n".into() };
        let line = r#"{"ready":false,"summary":"ValueError: x","traceback":"T\n"}"#;
        assert_eq!(WorkerReport::parse(line), Some(failed));
        assert_eq!(WorkerReport::parse(""), None);
    }
}
