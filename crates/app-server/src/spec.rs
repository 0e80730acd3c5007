//! What to run, and its encoding for the runtime library.

use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use onebox_uwsgi::{EncodeError, Vars, VarsBuilder, abi};
use serde::{Deserialize, Serialize};

/// Where the WSGI callable is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Application {
    /// `package.module:attribute`; the attribute may be dotted or a call, and left out.
    Module(String),
    /// A WSGI file, below the application's root where it is not absolute, and the callable's name.
    File(PathBuf, String),
}

impl From<&onebox_config::site::Application> for Application {
    fn from(application: &onebox_config::site::Application) -> Self {
        match application {
            onebox_config::site::Application::Module(module) => Self::Module(module.clone()),
            onebox_config::site::Application::File(path, callable) => {
                Self::File(path.clone(), callable.clone())
            }
        }
    }
}

/// One application and how to serve it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppSpec {
    /// The name of the site, for messages.
    pub site: String,
    /// Where the callable is.
    pub application: Application,
    /// The application's folder: first entry of `sys.path`.
    pub root: PathBuf,
    /// The working folder (`chdir`); `None`: the application's.
    pub chdir: Option<PathBuf>,
    /// Further entries of `sys.path`, behind the root.
    pub python_path: Vec<PathBuf>,
    /// The number of threads that serve requests; at least 1.
    pub threads: u16,
    /// Whether other processes serve the same application (`wsgi.multiprocess`).
    pub multiprocess: bool,
    /// Whether exceptions are shown to clients, and an application that can't be imported is served as one: `onebox dev`.
    #[serde(default)]
    pub development: bool,
    /// How long its requests may take.
    pub deadlines: Deadlines,
}

/// How long requests may take, and what holds them up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deadlines {
    /// A request that does not say it itself (`harakiri`).
    pub harakiri: Duration,
    /// Its thread to come back after its deadline (`harakiri-grace`).
    pub grace: Duration,
    /// One call that keeps the GIL (`deadlock-timeout`).
    pub deadlock: Duration,
}

impl AppSpec {
    /// The specification as the runtime library reads it.
    pub(crate) fn encode(&self) -> Result<Vars, EncodeError> {
        let mut vars = VarsBuilder::new(VarsBuilder::MAX_BLOCK_BYTES);
        vars.push(abi::spec::SITE, self.site.as_bytes())?;
        match &self.application {
            Application::Module(module) => vars.push(abi::spec::MODULE, module.as_bytes())?,
            Application::File(path, callable) => {
                vars.push(abi::spec::FILE, self.root.join(path).as_os_str().as_bytes())?;
                vars.push(abi::spec::CALLABLE, callable.as_bytes())?;
            }
        }
        vars.push(abi::spec::ROOT, self.root.as_os_str().as_bytes())?;
        let folder = self.chdir.as_ref().unwrap_or(&self.root);
        vars.push(abi::spec::CHDIR, folder.as_os_str().as_bytes())?;
        for path in &self.python_path {
            vars.push(abi::spec::PYTHON_PATH, path.as_os_str().as_bytes())?;
        }
        vars.push(abi::spec::THREADS, self.threads.max(1).to_string().as_bytes())?;
        vars.push(abi::spec::MULTIPROCESS, if self.multiprocess { b"1" } else { b"0" })?;
        vars.push(abi::spec::DEVELOPMENT, if self.development { b"1" } else { b"0" })?;
        for (key, duration) in [
            (abi::spec::HARAKIRI_MS, self.deadlines.harakiri),
            (abi::spec::HARAKIRI_GRACE_MS, self.deadlines.grace),
            (abi::spec::DEADLOCK_TIMEOUT_MS, self.deadlines.deadlock),
        ] {
            vars.push(key, duration.as_millis().to_string().as_bytes())?;
        }
        Ok(vars.finish())
    }

    /// The same in hexadecimal digits, for an environment variable.
    pub(crate) fn encode_hexadecimal(&self) -> Result<String, EncodeError> {
        Ok(self.encode()?.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect())
    }
}
