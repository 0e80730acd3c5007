//! What supervisor and engine say to each other: a JSON object on a line each, over a socket pair.
//!
//! Both ends are one binary, so that nothing here has versions; but after an upgrade the supervisor of another version says
//! [`ToEngine::Drain`] to the engines of before, and hears [`FromEngine::Draining`] and [`FromEngine::Sample`]. The descriptors it
//! names were inherited (see [`CONTROL_FD`]). When the socket closes, whoever is left acts: an engine ends at once, the supervisor starts another.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use onebox_app_server::{AppSpec, Interpreter, Notice};
use onebox_config::site::{Routing, SiteLog, Upstream};
use onebox_config::{AccessLists, Clients, Limits};
use onebox_metrics::Snapshot;
use onebox_proxy::{Heir, Purge, RequestRecord, ServerHealth};
use serde::{Deserialize, Serialize};

use super::tls::TlsData;

/// The engine's end of the socket pair.
pub(super) const CONTROL_FD: i32 = 3;
/// The private listener that health checks go to.
pub(super) const PROBE_FD: i32 = 4;
/// Where uwsgi sockets of sites come over.
pub(super) const SOCKETS_FD: i32 = 5;
/// The first of the listeners for sites; the others follow it, those with TLS last.
pub(super) const FIRST_LISTENER_FD: i32 = 6;

/// From the supervisor to an engine.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum ToEngine {
    /// Always first, and once.
    Start(EngineStart),
    /// From now on these are the sites; answered by [`FromEngine::Configured`] when requests go by them.
    Configure {
        /// Counts up from 1.
        sequence: u64,
        /// The sites.
        config: EngineConfig,
    },
    /// From now on these addresses are refused; answered by [`FromEngine::Configured`] when requests go by that. An engine that
    /// drains is told too.
    Access {
        /// Counts with those of [`ToEngine::Configure`].
        sequence: u64,
        /// Who is refused.
        access: AccessData,
    },
    /// From now on these are the certificates. In force before a [`ToEngine::Configure`] that follows it is.
    Tls(Arc<TlsData>),
    /// Take stored answers out of a site's cache; answered by [`FromEngine::Purged`].
    Purge {
        /// Counts up from 1.
        sequence: u64,
        /// The site.
        site: String,
        /// Which ones.
        what: Purge,
    },
    /// Open the access logs anew: somebody has put them aside.
    ReopenLogs,
    /// Accept connections on the listeners for sites.
    Accept,
    /// Stop accepting, finish what is open, and end. Said again, the end can only come sooner.
    Drain {
        /// How long that may take.
        limit: Duration,
        /// Who accepts from now on.
        heir: HeirData,
        /// Sockets that the successor does not have: nobody accepts there any more.
        #[serde(default)]
        given_up: Vec<SocketName>,
    },
}

/// A uwsgi socket of a site, as engines call it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct SocketName {
    pub(crate) site: String,
    /// As in [`SocketData::address`].
    pub(crate) address: String,
}

/// [`Heir`] as data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum HeirData {
    /// Another engine.
    Successor,
    /// Nobody: the appliance ends.
    Nobody,
}

impl From<HeirData> for Heir {
    fn from(data: HeirData) -> Self {
        match data {
            HeirData::Successor => Self::Successor,
            HeirData::Nobody => Self::Nobody,
        }
    }
}

/// From an engine to the supervisor.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum FromEngine {
    /// A [`ToEngine::Configure`] or [`ToEngine::Access`] is in force.
    Configured {
        /// Which one.
        sequence: u64,
    },
    /// A [`ToEngine::Purge`] was carried out.
    Purged {
        /// Which one.
        sequence: u64,
        /// How many answers there were.
        answers: u64,
    },
    /// The embedded application is imported and takes requests.
    SiteReady {
        /// The site.
        site: String,
        /// Its release.
        release: String,
    },
    /// The embedded application can't be imported.
    SiteFailed {
        /// The site.
        site: String,
        /// Its release.
        release: String,
        /// The exception, in one line.
        summary: String,
        /// With its traceback; may be empty.
        traceback: String,
    },
    /// What became of a request of the embedded application that passed its deadline.
    Notice {
        /// The site.
        site: String,
        /// Its release.
        release: String,
        /// What.
        notice: Notice,
    },
    /// Requests of a site wait, and there is no worker that will take them: it may be asleep.
    Wanted {
        /// The site.
        site: String,
    },
    /// Requests that are over, or some of them; each second in which there were any.
    Requests(Vec<RequestRecord>),
    /// How the servers of upstreams are, by live site; whenever that has changed, once a second at most.
    Upstreams(UpstreamHealth),
    /// Totals since the engine started; each second.
    Sample(Snapshot),
    /// It drains: no connection will be accepted any more.
    Draining,
}

/// By site: for each of its upstreams, in order, its servers.
pub(crate) type UpstreamHealth = BTreeMap<String, Vec<Vec<ServerHealth>>>;

/// What an engine needs to know from the start.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct EngineStart {
    /// How many listeners for sites it inherited that speak plain HTTP.
    pub(crate) http_listeners: u16,
    /// How many with TLS.
    pub(crate) https_listeners: u16,
    /// What clients may ask of them.
    pub(crate) limits: LimitsData,
    /// Which proxies in front of them are believed.
    pub(crate) clients: Clients,
    /// Under which names a site leads to the dashboard.
    pub(crate) admin_hosts: Vec<String>,
    /// Where access logs go, a folder for each site; `None`: nowhere.
    pub(crate) access_logs: Option<PathBuf>,
    /// Where large request bodies are spooled.
    pub(crate) temp_dir: PathBuf,
    /// Where stored answers go that are to be on the disk, a folder for each site.
    pub(crate) cache_dir: PathBuf,
    /// Whether nobody of the same user may look into its memory: sites run as that user, and none of them is in it.
    #[serde(default)]
    pub(crate) is_shielded: bool,
}

/// Every site an engine serves.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct EngineConfig {
    /// What everybody sees.
    pub(crate) sites: Vec<SiteData>,
    /// Releases that only health checks see, in place of the live ones.
    pub(crate) candidates: Vec<SiteData>,
    /// Who is refused.
    #[serde(default)]
    pub(crate) access: AccessData,
}

/// Rules for addresses.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct AccessData {
    /// On all sites.
    pub(crate) everywhere: AccessLists,
    /// On one alone.
    pub(crate) sites: BTreeMap<String, AccessLists>,
}

impl EngineConfig {
    /// Every uwsgi socket that a live site or a candidate has, with its site.
    pub(crate) fn sockets(&self) -> impl Iterator<Item = (&SiteData, &SocketData)> {
        let all = self.sites.iter().chain(&self.candidates);
        all.flat_map(|site| site.sockets.iter().map(move |socket| (site, socket)))
    }
}

/// A site as the engine needs it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct SiteData {
    /// Its name.
    pub(crate) name: String,
    /// Its release.
    pub(crate) release: String,
    /// Every host, lower case, without port.
    pub(crate) hosts: Vec<String>,
    /// The beginning of its URLs; empty: all of them.
    pub(crate) path: String,
    /// Whether it answers to hosts that no site names.
    pub(crate) catch_all: bool,
    /// URL prefix and folders.
    pub(crate) statics: Vec<(String, Vec<PathBuf>)>,
    /// The same for files that the application names.
    pub(crate) sendfile: Vec<(String, Vec<PathBuf>)>,
    /// Whether folders have an `index.html`: a static site.
    pub(crate) index: bool,
    /// What holds for its requests; all paths absolute.
    pub(crate) routing: Routing,
    /// What other servers answer; all paths absolute.
    pub(crate) upstreams: Vec<Upstream>,
    /// Who makes the other answers.
    pub(crate) backend: BackendData,
    /// Where it serves uwsgi.
    pub(crate) sockets: Vec<SocketData>,
    /// Whether clients without TLS are sent to it; `None`: where the world trusts the certificate.
    pub(crate) redirect: Option<bool>,
    /// `hsts`
    pub(crate) hsts: Option<Duration>,
    /// `harakiri`
    pub(crate) harakiri: Duration,
    /// `reload-mercy`
    pub(crate) reload_mercy: Duration,
    /// `queue-size`
    pub(crate) queue_size: u32,
    /// `buffer-size`
    pub(crate) buffer_size: u64,
    /// `post-buffering`
    pub(crate) post_buffering: u64,
    /// `max-body`
    pub(crate) max_body: u64,
    /// `response-buffering`
    pub(crate) response_buffering: u64,
    /// `max-temp-file`
    pub(crate) max_temp_file: u64,
    /// `[log]`
    #[serde(default)]
    pub(crate) log: SiteLog,
}

/// A uwsgi socket of a site; the descriptor itself comes over [`SOCKETS_FD`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SocketData {
    /// As its site's configuration names it.
    pub(crate) address: String,
    /// Whether it is an address, not a Unix socket.
    pub(crate) is_tcp: bool,
    /// `socket-allow`
    pub(crate) allow: Vec<IpNet>,
}

/// Who makes the answers of a site that are not files.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum BackendData {
    /// Nobody.
    None,
    /// The engine's own interpreter; at most one site has this, and the engine was started for it.
    Embedded(Box<EmbeddedData>),
    /// Worker processes; none yet: requests wait.
    Workers(Vec<WorkerData>),
    /// Nobody, an operator stopped it.
    Stopped,
    /// Nobody, it does not start.
    Failed {
        /// Why.
        reason: String,
    },
}

/// What the interpreter is to load.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct EmbeddedData {
    /// Which Python.
    pub(crate) interpreter: Interpreter,
    /// Where the runtime library is.
    pub(crate) library: PathBuf,
    /// Which application.
    pub(crate) spec: AppSpec,
}

/// A worker that takes requests.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct WorkerData {
    /// As logs name it.
    pub(crate) name: String,
    /// Its Unix socket.
    pub(crate) socket: PathBuf,
    /// How many requests at once.
    pub(crate) threads: u16,
}

/// [`Limits`] as data.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct LimitsData {
    max_connections: usize,
    max_connections_per_client: Option<usize>,
    max_memory_bytes: Option<u64>,
    header_timeout: Duration,
    body_timeout: Duration,
    idle_timeout: Duration,
    send_timeout: Duration,
    drain_timeout: Duration,
    max_head_bytes: usize,
    max_target_bytes: usize,
    http2: bool,
    max_streams: u32,
}

impl From<&Limits> for LimitsData {
    fn from(limits: &Limits) -> Self {
        Self {
            max_connections: limits.max_connections,
            max_connections_per_client: limits.max_connections_per_client,
            max_memory_bytes: limits.max_memory_bytes,
            header_timeout: limits.header_timeout,
            body_timeout: limits.body_timeout,
            idle_timeout: limits.idle_timeout,
            send_timeout: limits.send_timeout,
            drain_timeout: limits.drain_timeout,
            max_head_bytes: limits.max_head_bytes,
            max_target_bytes: limits.max_target_bytes,
            http2: limits.http2,
            max_streams: limits.max_streams,
        }
    }
}

impl From<LimitsData> for Limits {
    fn from(data: LimitsData) -> Self {
        Self {
            max_connections: data.max_connections,
            max_connections_per_client: data.max_connections_per_client,
            max_memory_bytes: data.max_memory_bytes,
            header_timeout: data.header_timeout,
            body_timeout: data.body_timeout,
            idle_timeout: data.idle_timeout,
            send_timeout: data.send_timeout,
            drain_timeout: data.drain_timeout,
            max_head_bytes: data.max_head_bytes,
            max_target_bytes: data.max_target_bytes,
            http2: data.http2,
            max_streams: data.max_streams,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_survive_the_way_to_the_engine() {
        let limits = Limits { max_connections: 7, max_memory_bytes: Some(8), ..Limits::default() };
        let text = serde_json::to_string(&LimitsData::from(&limits)).unwrap();
        let data: LimitsData = serde_json::from_str(&text).unwrap();
        assert_eq!(Limits::from(data), limits);
    }
}
