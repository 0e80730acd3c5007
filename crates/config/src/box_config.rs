//! The configuration of the box: what `box.toml`, `ONEBOX_*` and the flags say, checked.
//!
//! Meaning, unit, default and range of each key stand in `config/box.toml`, which a test holds to this code.

mod load;
mod merge;
mod sources;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use self::sources::Surroundings;
use crate::{Account, ConfigError};

/// The file in the configuration folder.
pub const BOX_FILE: &str = "box.toml";

/// The configuration of the whole appliance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BoxConfig {
    /// Where everything that onebox keeps lies: `--state-dir`, `ONEBOX_STATE_DIR`.
    pub state_dir: PathBuf,
    /// Where `box.toml` lies: `ONEBOX_CONFIG_DIR`.
    pub config_dir: PathBuf,
    /// `listen.http`: where sites are served; port 0 means any free one.
    pub http: Vec<SocketAddr>,
    /// `listen.https`: the same with TLS; none where only `listen.http` was set.
    pub https: Vec<SocketAddr>,
    /// `listen.admin`: where the dashboard and its API are served.
    pub admin: Vec<SocketAddr>,
    /// `listen.admin-hosts`: names of the dashboard, beside addresses, `localhost` and the machine's own.
    pub admin_hosts: Vec<String>,
    /// `listen.trusted-proxies` and its companions.
    pub clients: Clients,
    /// `[access]`
    pub access: AccessLists,
    /// `[acme]`
    pub acme: AcmeSettings,
    /// `[limits]`
    pub limits: Limits,
    /// `[metrics]`
    pub metrics: MetricsSettings,
    /// `process.user`: whom the engine and sites without a `uid` run as; `None`: who runs the appliance.
    pub user: Option<Account>,
    /// `tls.folders`: where sites may name files that only root can read.
    pub tls_folders: Vec<PathBuf>,
    /// `log.budget`: bytes that the log files of all sites may take.
    pub log_budget: u64,
    /// `releases.keep`: how many releases of a site stay, the live one among them.
    pub keep_releases: usize,
}

/// Which proxies in front are believed about who the client is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clients {
    /// `trusted-proxies`; none: nobody.
    pub trusted_proxies: Vec<IpNet>,
    /// `client-header`: where they say it.
    pub header: ClientHeader,
    /// `proxy-protocol`: whether their connections begin with it.
    pub proxy_protocol: bool,
}

/// Addresses that are refused, and those that are let in all the same: `[access]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessLists {
    /// `allow`: they are never refused by a `deny` of the box
    pub allow: Vec<IpNet>,
    /// `deny`: they get 403
    pub deny: Vec<IpNet>,
}

/// `client-header`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClientHeader {
    /// `X-Forwarded-For`, `-Proto`, `-Host` and `-Port`.
    #[default]
    XForwarded,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

/// Who vouches for the hosts of sites: `[acme]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcmeSettings {
    /// `directory`: the authority's address; `None`: none is asked.
    pub directory: Option<String>,
    /// `email`: whom it may write to.
    pub email: Option<String>,
    /// `ca-file`: what is trusted as the authority itself, beside what the machine trusts.
    pub ca_file: Option<PathBuf>,
    /// `retry`: the pause after an order that failed; it doubles each time.
    pub retry: Duration,
}

impl Default for AcmeSettings {
    fn default() -> Self {
        Self {
            directory: Some("https://acme-v02.api.letsencrypt.org/directory".to_owned()),
            email: None,
            ca_file: None,
            retry: Duration::from_secs(300),
        }
    }
}

/// What a client may ask of a listener: `[limits]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// `max-connections`: open connections on all listeners for sites together.
    pub max_connections: usize,
    /// `max-connections-per-client`: those of one address, of one /64 of IPv6.
    pub max_connections_per_client: Option<usize>,
    /// `max-memory`: what the process that serves the sites may take before it lets nobody in; `None`: as much as is sensible here.
    pub max_memory_bytes: Option<u64>,
    /// `header-timeout`: from the first byte of a request until its head is complete.
    pub header_timeout: Duration,
    /// `body-timeout`: between two reads of a request's body.
    pub body_timeout: Duration,
    /// `idle-timeout`: how long a connection stays open without a request.
    pub idle_timeout: Duration,
    /// `send-timeout`: between two writes that the client takes in.
    pub send_timeout: Duration,
    /// `drain-timeout`: how long answers that have begun go on in a process that was replaced.
    pub drain_timeout: Duration,
    /// `max-head`: request line and fields together.
    pub max_head_bytes: usize,
    /// `max-target`: the request target, path and query.
    pub max_target_bytes: usize,
    /// `listen.http2`: whether HTTP/2 is spoken with clients that want it.
    pub http2: bool,
    /// `max-streams`: requests at a time on one connection of HTTP/2.
    pub max_streams: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 8192,
            max_connections_per_client: None,
            max_memory_bytes: None,
            header_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(75),
            send_timeout: Duration::from_secs(60),
            drain_timeout: Duration::from_secs(3600),
            max_head_bytes: 64 * 1024,
            max_target_bytes: 16 * 1024,
            http2: true,
            max_streams: 128,
        }
    }
}

impl Limits {
    /// How many connections one client may have.
    pub fn connections_of_one_client(&self) -> usize {
        self.max_connections_per_client.unwrap_or((self.max_connections / 4).max(32))
    }
}

/// What of the past is kept: `[metrics]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetricsSettings {
    /// `keep`: how long.
    pub keep: Duration,
    /// `max-size`: bytes of `metrics.db`.
    pub max_bytes: u64,
}

impl Default for MetricsSettings {
    fn default() -> Self {
        Self { keep: Duration::from_secs(30 * 86_400), max_bytes: 100 * 1024 * 1024 }
    }
}

/// What the command line says about the box; `None` where a flag was not given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BoxFlags {
    /// `--state-dir`
    pub state_dir: Option<PathBuf>,
    /// The folder of `box.toml`.
    pub config_dir: Option<PathBuf>,
    /// `--http`: addresses separated by commas.
    pub http: Option<String>,
    /// `--https`: addresses separated by commas.
    pub https: Option<String>,
    /// `--admin`: addresses separated by commas.
    pub admin: Option<String>,
}

/// Reads the configuration of the box: the flags, else `ONEBOX_*`, else `box.toml` in the configuration folder, else
/// the defaults, which differ for root and for anyone else.
///
/// # Errors
/// Every problem of every source at once.
pub fn load_box(flags: BoxFlags) -> Result<BoxConfig, ConfigError> {
    load::load(flags, &Surroundings::of_this_process())
}
