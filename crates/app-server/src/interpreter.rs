//! One Python interpreter: what it is, and whether it can be used.

use std::path::{Path, PathBuf};

use onebox_config::Account;
use onebox_config::site::PythonChoice;
use serde::{Deserialize, Serialize};

use crate::{PythonError, find, inspect};

/// A Python that onebox can use: CPython 3.9 or newer, with the GIL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interpreter {
    /// The program, in its virtual environment where it has one; never a shim.
    pub executable: PathBuf,
    /// Major, minor, micro.
    pub version: (u8, u8, u8),
    /// `sys.prefix`: the virtual environment, or the installation.
    pub prefix: PathBuf,
    /// `sys.base_prefix`: the installation.
    pub base_prefix: PathBuf,
    /// Its shared library; without one it can't be embedded.
    pub libpython: Option<PathBuf>,
}

impl Interpreter {
    /// Asks `executable`, a python or a virtual environment's folder, what it is. It runs as `user`, else as this process
    /// does. Blocks, 20 seconds at most.
    ///
    /// # Errors
    /// [`PythonError`] where it does not run, does not answer, or can't be used.
    pub fn inspect(executable: &Path, user: Option<&Account>) -> Result<Self, PythonError> {
        inspect::inspect(executable, user)
    }

    /// Finds the Python of a site: its choice, else `.python-version` in `site_root`, else the first `python3` on PATH;
    /// one that `user` can run. Blocks.
    ///
    /// # Errors
    /// [`PythonError`] where there is none, or none that can be used.
    pub fn find(
        choice: Option<&PythonChoice>,
        site_root: &Path,
        user: Option<&Account>,
    ) -> Result<Self, PythonError> {
        find::find(choice, site_root, user)
    }

    /// Whether it can be loaded into a process.
    pub fn can_embed(&self) -> bool {
        self.libpython.is_some()
    }

    /// `3.11.7`
    pub fn version_text(&self) -> String {
        let (major, minor, micro) = self.version;
        format!("{major}.{minor}.{micro}")
    }
}
