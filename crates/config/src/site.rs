//! The configuration of one site, checked: what its `onebox.toml` says, and the default of every key.
//!
//! Meaning, unit, default and range of each key stand in `config/onebox.toml`, which a test holds to this code.

mod cache;
mod check;
mod limit;
mod log;
mod password;
mod pattern;
mod process;
mod route;
mod rules;
mod settings;
mod template;
mod tls;
mod upstream;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;

use crate::{ConfigError, Origin, Problem, document};

pub use cache::{CacheDefaults, CacheRules};
pub use limit::{Limit, LimitKey, Rate};
pub use log::{LogFormat, SiteLog};
pub use pattern::{Matcher, Pattern};
pub use process::ProcessProperties;
pub use route::{OwnAnswer, Route, RouteFiles, Routing};
pub use rules::{Auth, ErrorPage, HeaderRules, Otherwise, Rules, TryFiles};
pub use settings::{Concern, Setting, SettingChange, site_changes, site_settings};
pub use template::{Caught, Filling, Target, Template, encode_path};
pub use tls::{OwnCertificate, SiteTls};
pub use upstream::{
    ActiveCheck, Balance, PassiveCheck, Protocol, ProxyProtocol, Script, Server, ServerAddress,
    Upstream,
};

/// The file in a site's root.
pub const SITE_FILE: &str = "onebox.toml";

/// Files in a site's root that are for onebox, may hold secrets, and are never served.
pub const PRIVATE_FILES: [&str; 2] = [SITE_FILE, "Procfile"];

/// One site's configuration; `None` and empty lists mean: found by detection, or not wanted.
#[derive(Debug, Clone, PartialEq)]
pub struct SiteConfig {
    /// `name`
    pub name: Option<String>,
    /// `domains`
    pub domains: Vec<String>,
    /// `path`: the beginning of its URLs, without a slash at the end; empty: all of them
    pub path: String,
    /// `module` or `wsgi-file`
    pub application: Option<Application>,
    /// `python`
    pub python: Option<PythonChoice>,
    /// `isolation`
    pub isolation: IsolationChoice,
    /// `processes`
    pub processes: Processes,
    /// `threads`
    pub threads: u16,
    /// `idle`: without a request for so long its processes end, until the next one comes
    pub idle: Option<Duration>,
    /// `max-requests`, `max-lifetime`, `reload-on-rss` and `memory-limit`
    pub process_limits: ProcessLimits,
    /// `harakiri`
    pub harakiri: Duration,
    /// `harakiri-grace`
    pub harakiri_grace: Duration,
    /// `deadlock-timeout`
    pub deadlock_timeout: Duration,
    /// `reload-mercy`
    pub reload_mercy: Duration,
    /// `queue-size`: requests that may wait for a thread
    pub queue_size: u32,
    /// `buffer-size`, bytes: the vars of one request; 65535 at most, which is what a uwsgi packet holds
    pub buffer_size: u64,
    /// `post-buffering`, bytes
    pub post_buffering: u64,
    /// `max-body`, bytes
    pub max_body: u64,
    /// `response-buffering`, bytes
    pub response_buffering: u64,
    /// `max-temp-file`, bytes
    pub max_temp_file: u64,
    /// `socket`, `chmod-socket`, `chown-socket` and `socket-allow`
    pub sockets: UwsgiSockets,
    /// `persist`: paths below the site's root
    pub persist: Vec<PathBuf>,
    /// `[static]`: URL prefix and folder below the site's root
    pub static_folders: Vec<(String, PathBuf)>,
    /// `[sendfile]`: the same for files that the application names in `X-Sendfile` or `X-Accel-Redirect`
    pub sendfile: Vec<(String, PathBuf)>,
    /// `uid`, `umask`, `limit-as` and the like
    pub process: ProcessProperties,
    /// `[env]`
    pub env: BTreeMap<String, String>,
    /// `[health]`
    pub health: HealthCheck,
    /// `[hooks] release`; `None`: by detection (Django: migrate and collectstatic)
    pub release_hooks: Option<Vec<String>>,
    /// `[[route]]`, and what the site says about every request
    pub routing: Routing,
    /// `[[upstream]]`: what answers beside, or instead of, an application of its own
    pub upstreams: Vec<Upstream>,
    /// `[tls]`
    pub tls: SiteTls,
    /// `[log]`
    pub log: SiteLog,
}

impl Default for SiteConfig {
    fn default() -> Self {
        Self {
            name: None,
            domains: Vec::new(),
            path: String::new(),
            application: None,
            python: None,
            isolation: IsolationChoice::default(),
            processes: Processes::default(),
            threads: 4,
            idle: None,
            process_limits: ProcessLimits::default(),
            harakiri: Duration::from_secs(60),
            harakiri_grace: Duration::from_secs(5),
            deadlock_timeout: Duration::from_secs(30),
            reload_mercy: Duration::from_secs(10),
            queue_size: 100,
            buffer_size: check::LARGEST_PACKET_BYTES,
            post_buffering: 64 << 10,
            max_body: 100 << 20,
            response_buffering: 256 << 10,
            max_temp_file: 1 << 30,
            sockets: UwsgiSockets::default(),
            persist: Vec::new(),
            static_folders: Vec::new(),
            sendfile: Vec::new(),
            process: ProcessProperties::default(),
            env: BTreeMap::new(),
            health: HealthCheck::default(),
            release_hooks: None,
            routing: Routing::default(),
            upstreams: Vec::new(),
            tls: SiteTls::default(),
            log: SiteLog::default(),
        }
    }
}

impl SiteConfig {
    /// The settings, as they stand in the file, that only processes of the site's own can have.
    pub fn own_processes(&self) -> Vec<String> {
        let ProcessLimits { max_requests, max_lifetime, reload_on_rss, memory_limit } =
            self.process_limits;
        let processes = format!("`processes = {}`", self.processes);
        let settings = [
            (self.processes.may_be_several(), processes.as_str()),
            (self.idle.is_some(), "`idle`"),
            (max_requests.is_some(), "`max-requests`"),
            (max_lifetime.is_some(), "`max-lifetime`"),
            (reload_on_rss.is_some(), "`reload-on-rss`"),
            (memory_limit.is_some(), "`memory-limit`"),
        ];
        let settings = settings.into_iter().chain(self.process.of_own_processes());
        settings.filter(|(is_set, _)| *is_set).map(|(_, name)| name.to_owned()).collect()
    }
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

/// `processes`: interpreters of a site.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Processes {
    /// So many.
    Fixed(u16),
    /// One, and up to one for each core while the interpreters have no more to give.
    Auto,
}

impl Processes {
    /// Whether there may be more than one.
    pub fn may_be_several(self) -> bool {
        self != Self::Fixed(1)
    }
}

impl Default for Processes {
    fn default() -> Self {
        Self::Fixed(1)
    }
}

impl fmt::Display for Processes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(number) => number.fmt(f),
            Self::Auto => f.write_str("\"auto\""),
        }
    }
}

/// When a process is replaced by a fresh one, or killed. Nothing of it is on by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ProcessLimits {
    /// `max-requests`: replaced after about so many
    pub max_requests: Option<u64>,
    /// `max-lifetime`: replaced after about so long
    pub max_lifetime: Option<Duration>,
    /// `reload-on-rss`, bytes: replaced above it
    pub reload_on_rss: Option<u64>,
    /// `memory-limit`, bytes: killed above it
    pub memory_limit: Option<u64>,
}

/// Where a site serves uwsgi beside HTTP, for a web server in front.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UwsgiSockets {
    /// `socket`
    pub addresses: Vec<SocketAddress>,
    /// `chmod-socket`: the mode of Unix sockets
    pub mode: u32,
    /// `chown-socket`: the owner of Unix sockets; `None`: who runs the appliance
    pub owner: Option<SocketOwner>,
    /// `socket-allow`: who may connect to addresses, beside this machine
    pub allow: Vec<IpNet>,
}

impl Default for UwsgiSockets {
    fn default() -> Self {
        Self { addresses: Vec::new(), mode: 0o660, owner: None, allow: Vec::new() }
    }
}

/// One entry of `socket`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SocketAddress {
    /// A Unix socket; a relative path counts from the site's shared folder.
    Unix(PathBuf),
    /// An address and its port.
    Tcp(SocketAddr),
}

/// `chown-socket`: names or numbers; one of the two at least.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketOwner {
    /// The user; `None`: stays.
    pub user: Option<String>,
    /// The group; `None`: stays.
    pub group: Option<String>,
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

impl Default for HealthCheck {
    fn default() -> Self {
        Self { path: "/".to_owned(), status: Vec::new(), timeout: Duration::from_secs(30) }
    }
}

/// Reads a site's configuration: `override_file`, else `onebox.toml` in the site's root, else the defaults.
///
/// # Errors
/// Every problem of the file at once.
pub fn load_site(root: &Path, override_file: Option<&Path>) -> Result<SiteConfig, ConfigError> {
    let path = override_file.map_or_else(|| root.join(SITE_FILE), Path::to_owned);
    match document::read(&path)? {
        Some(text) => parse_site(&text, &path),
        None if override_file.is_none() => Ok(SiteConfig::default()),
        None => Err(ConfigError::from(Problem {
            key: String::new(),
            origin: Origin::File { path, line: None },
            message: "there is no such file".to_owned(),
            hint: None,
        })),
    }
}

/// Reads the text of an `onebox.toml`; `shown_as` names the file in problems.
///
/// # Errors
/// Every problem of the text at once.
pub fn parse_site(text: &str, shown_as: &Path) -> Result<SiteConfig, ConfigError> {
    let table = document::parse(text, shown_as).map_err(|problems| ConfigError { problems })?;
    check::check(table)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parsed(text: &str) -> SiteConfig {
        parse_site(text, Path::new(SITE_FILE)).unwrap()
    }

    #[test]
    fn a_folder_without_a_file_has_the_defaults() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(load_site(folder.path(), None), Ok(SiteConfig::default()));
        assert_eq!(parsed(""), SiteConfig::default());
    }

    #[test]
    fn a_file_that_was_named_must_be_there() {
        let folder = tempfile::tempdir().unwrap();
        let error = load_site(folder.path(), Some(&folder.path().join("other.toml"))).unwrap_err();
        assert!(error.to_string().ends_with("other.toml: there is no such file"), "{error}");
    }

    #[test]
    fn a_buffer_of_64_kb_ends_where_a_packet_does() {
        assert_eq!(parsed("buffer-size = '64KB'").buffer_size, 65_535);
        assert_eq!(parsed("buffer-size = '32KB'").buffer_size, 32_768);
    }

    #[test]
    fn processes_are_a_number_or_adapt() {
        assert_eq!(parsed("processes = 8").processes, Processes::Fixed(8));
        assert_eq!(parsed("processes = 'auto'").processes, Processes::Auto);
        for wrong in ["0", "257", "'many'", "-1", "1.5"] {
            parse_site(&format!("processes = {wrong}"), Path::new(SITE_FILE)).unwrap_err();
        }
    }

    #[test]
    fn a_process_that_is_killed_first_is_never_replaced_for_its_memory() {
        let text = "memory-limit = '256MB'\nreload-on-rss = '256MB'";
        let error = parse_site(text, Path::new(SITE_FILE)).unwrap_err().to_string();
        assert!(error.contains("reload-on-rss") && error.contains("256MB"), "{error}");
        let limits = parsed("memory-limit = '256MB'\nreload-on-rss = '200MB'").process_limits;
        assert_eq!(limits.reload_on_rss, Some(200 << 20));
    }

    #[test]
    fn one_domain_needs_no_list_and_the_same_one_twice_counts_once() {
        assert_eq!(parsed("domains = 'A.example.com'").domains, ["a.example.com"]);
        assert_eq!(parsed("domains = ['a.b', 'A.b.']").domains, ["a.b"]);
    }

    #[test]
    fn a_path_has_no_slash_at_its_end() {
        assert_eq!(parsed("path = '/blog/'").path, "/blog");
        assert_eq!(parsed("path = '/'").path, "");
        for wrong in ["blog", "", "/a//b", "/a/../b", "/a?b", "/%61"] {
            parse_site(&format!("path = '{wrong}'"), Path::new(SITE_FILE)).unwrap_err();
        }
    }

    #[test]
    fn a_file_is_an_application_too() {
        let file = Application::File("conf/site.wsgi".into(), "app".to_owned());
        assert_eq!(parsed("wsgi-file = './conf/site.wsgi:app'").application, Some(file));
    }

    #[test]
    fn a_socket_that_other_machines_reach_needs_an_allow_list() {
        let refused = parse_site("socket = ['run/a.sock', ':8000']", Path::new(SITE_FILE));
        let text = refused.unwrap_err().to_string();
        assert!(text.contains("socket") && text.contains("reachable"), "{text}");
        let sockets =
            parsed("socket = [':8000']\nsocket-allow = ['10.0.0.0/8', '10.0.0.0/8']").sockets;
        assert_eq!((sockets.addresses.len(), sockets.allow.len()), (1, 1));
        assert_eq!(parsed("socket = '127.0.0.1:8000'").sockets.addresses.len(), 1);
    }

    #[test]
    fn settings_of_sockets_without_a_socket_are_refused() {
        for line in ["chmod-socket = '660'", "chown-socket = 'a'", "socket-allow = ['10.0.0.1']"] {
            let error = parse_site(line, Path::new(SITE_FILE)).unwrap_err();
            assert!(error.to_string().contains("without"), "{error}");
        }
    }

    #[test]
    fn no_hooks_is_something_else_than_hooks_by_detection() {
        assert_eq!(parsed("[hooks]\nrelease = []").release_hooks, Some(Vec::new()));
        assert_eq!(parsed("[hooks]").release_hooks, None);
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in ".{0,200}") {
            let _ = parse_site(&text, Path::new(SITE_FILE));
        }

        #[test]
        fn no_value_of_any_key_makes_the_reader_panic(
            key in "name|domains|module|wsgi-file|python|processes|threads|idle|max-requests|memory-limit|harakiri|max-body|persist|static|env|health|hooks",
            value in "-?[0-9]{1,19}|\"[^\"\\\\\n]{0,12}\"|true|[0-9]\\.[0-9]{1,3}|\\[(1|\"a\"|\\[\\])\\]|\\{ a = 1 \\}",
        ) {
            let _ = parse_site(&format!("{key} = {value}\n"), Path::new(SITE_FILE));
        }
    }
}
