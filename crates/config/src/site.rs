//! The configuration of one site, checked: its `onebox.toml`, and what its `Procfile` says.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// One site's configuration; `None` and empty lists mean: found by detection, or not wanted.
#[derive(Debug, Clone, PartialEq)]
pub struct SiteConfig {
    /// `name`
    pub name: Option<String>,
    /// `domains`
    pub domains: Vec<String>,
    /// `module` or `wsgi-file`
    pub application: Option<Application>,
    /// `python`
    pub python: Option<PythonChoice>,
    /// `isolation`
    pub isolation: IsolationChoice,
    /// `processes`
    pub processes: u16,
    /// `threads`
    pub threads: u16,
    /// `harakiri`
    pub harakiri: Duration,
    /// `reload-mercy`
    pub reload_mercy: Duration,
    /// `queue-size`: requests that may wait for a thread
    pub queue_size: u32,
    /// `buffer-size`, bytes
    pub buffer_size: u64,
    /// `post-buffering`, bytes
    pub post_buffering: u64,
    /// `max-body`, bytes
    pub max_body: u64,
    /// `response-buffering`, bytes
    pub response_buffering: u64,
    /// `max-temp-file`, bytes
    pub max_temp_file: u64,
    /// `persist`: paths below the site's root
    pub persist: Vec<PathBuf>,
    /// `[static]`: URL prefix and folder below the site's root
    pub static_folders: Vec<(String, PathBuf)>,
    /// `[env]`
    pub env: BTreeMap<String, String>,
    /// `[health]`
    pub health: HealthCheck,
    /// `[hooks] release`; `None`: by detection (Django: migrate and collectstatic)
    pub release_hooks: Option<Vec<String>>,
}

/// Where the WSGI callable is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Application {
    /// `module = "package.module:attribute"`; the attribute may be dotted or a call, `application` where it is left out.
    Module(String),
    /// `wsgi-file = "site.wsgi"`, below the site's root, with the callable's name.
    File(PathBuf, String),
}

/// Which Python runs the site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PythonChoice {
    /// `"3.11"` or `"3.11.7"`.
    Version(String),
    /// A python, or a virtual environment, used as it is.
    Path(PathBuf),
}

/// `isolation`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IsolationChoice {
    /// Derived.
    #[default]
    Auto,
    /// In the engine, and an error where that can't be.
    Embedded,
    /// In processes of its own.
    Process,
}

/// `[health]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheck {
    /// `path`
    pub path: String,
    /// `status`: the statuses that are healthy; empty: any below 500 except 400
    pub status: Vec<u16>,
    /// `timeout`: how long the application may take to load and to answer
    pub timeout: Duration,
}
