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
/// The caller adds the descriptors: 3, the listening Unix socket; 4, a pipe to which the worker writes lines: first its
/// report ([`WorkerReport::parse`]), then notices ([`crate::Notice::parse`]); 5, the read end of a pipe whose end of file ends the worker at once.
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
        .env(abi::spec::VARIABLE, spec.encode_hexadecimal().unwrap_or_default());
    command
}

/// What a worker writes to its status pipe first.
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
