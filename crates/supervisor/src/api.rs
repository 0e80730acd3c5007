//! What the admin API says and takes, as data: shared by the server, the command line and (by shape) the web UI.
//!
//! All times are milliseconds since the Unix epoch (`_ms`), all sizes bytes.

mod access;
mod address_rules;
mod commands;
mod configuration;
mod events;
mod requests;
mod routes;
mod samples;
mod series;
mod variables;

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

pub use access::{
    AuditEntry, AuditQuery, CreatedToken, Login, NewPassword, NewToken, NewUser, OwnPassword,
    PasswordChange, Role, RoleChange, Scope, Session, Token, UnknownName, User,
};
pub use address_rules::{
    AddedAddressRule, AddressRule, NewAddressRule, RuleAction, RuleSource, RuleSuggestion,
    RuleSuggestions, RuleTrial, RuleTrialQuery, SiteRequests, TriedRequest,
};
pub use commands::{CommandPlace, CommandQuery, CommandUser};
pub use configuration::{
    ConfigurationCheck, ConfigurationProblem, NewConfiguration, SettingChange, SettingConcern,
    SiteConfiguration, SiteSetting,
};
pub use events::{EventKind, EventsQuery, PastEvent, WatchQuery};
pub use onebox_proxy::{Purge, ServerHealth, ServerState};
pub use requests::{
    After, Autopsy, ErrorGroup, FailureKind, FailureReport, Frame, Raised, RequestRecord,
    RequestsQuery,
};
pub use routes::{
    PhaseLatencies, PhaseLatency, PhaseMeans, ResponseCounts, RouteFigures, RouteReport,
    RoutesQuery, TrafficFigures,
};
pub use samples::{CurrentRequest, MachineSample, ProcessSample, Sample, SiteSample};
pub use series::{
    BoxSeries, CacheSeries, Curve, DropSeries, GaugeSeries, LatencySeries, PhaseSeries,
    ProcessSeries, ResponseSeries, SeriesQuery, SiteSeries,
};
pub use variables::{
    EnvVariable, VariableChange, VariableChanges, VariableFate, VariableProblem, VariablesCheck,
};

/// `GET /api/v1/status`: the whole appliance.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ApplianceStatus {
    /// The version of the running binary.
    pub version: String,
    /// The supervisor's process id.
    pub pid: u32,
    /// When the supervisor started.
    pub started_ms: i64,
    /// Where its state lies.
    pub state_dir: String,
    /// The addresses that sites are served on, ports as really bound.
    pub http: Vec<String>,
    /// The same with TLS.
    pub https: Vec<String>,
    /// The dashboard's addresses, ports as really bound.
    pub admin: Vec<String>,
    /// The process that serves the sites; `None` while none is ready.
    pub engine: Option<EngineStatus>,
    /// Every site, by name.
    pub sites: Vec<SiteStatus>,
    /// Who got to no site since the supervisor started.
    #[serde(default)]
    pub dropped: DroppedClients,
    /// What it did in the last second that was measured; `None` before the first one was.
    #[serde(default)]
    pub sample: Option<Sample>,
}

/// Clients that were sent away before they got to a site, by reason.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, ToSchema)]
pub struct DroppedClients {
    /// What they said was no request, or too large.
    pub malformed: u64,
    /// The head of their request did not come in time.
    pub slow: u64,
    /// They did not agree on keys, or not in time.
    pub handshake: u64,
    /// They flooded their connection.
    pub flood: u64,
    /// They had as many connections as one client may have.
    pub crowd: u64,
    /// They said nothing, and others needed their place.
    pub in_the_way: u64,
    /// There was no place for them.
    pub no_room: u64,
    /// There was no memory for them.
    pub no_memory: u64,
    /// Their address is refused by a rule; each request counts.
    pub refused: u64,
}

/// One generation of the engine.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct EngineStatus {
    /// Counts up from 1 with each replacement.
    pub generation: u64,
    /// Its process id.
    pub pid: u32,
    /// When it started.
    pub started_ms: i64,
    /// How often an engine had to be restarted because it died, since the supervisor started.
    pub crashes: u64,
}

/// What a site is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SiteState {
    /// Its workers are loading the application; requests wait.
    Starting,
    /// It answers.
    Running,
    /// Nobody asked for anything, so that it has no process; the next request starts one.
    Idle,
    /// An operator stopped it.
    Stopped,
    /// It does not start, or keeps ending; see `problem`.
    Failed,
}

/// How a site runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// In the engine's own interpreter, over the memory channel.
    Embedded,
    /// In worker processes of its own.
    Isolated,
    /// Files only, no Python.
    Static,
    /// Servers of others answer for it, no Python.
    Proxied,
}

/// An `[[upstream]]` of a site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UpstreamRoute {
    /// The beginning of its URLs; `None`: routes lead to it.
    pub path: Option<String>,
    /// What routes call it.
    pub name: Option<String>,
    /// Its servers, in the order of `to`, as the engine that accepts requests has them.
    pub servers: Vec<ServerHealth>,
}

/// `GET /api/v1/sites/{name}`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SiteStatus {
    /// Its name.
    pub name: String,
    /// What it is doing.
    pub state: SiteState,
    /// Whether everybody gets its maintenance page.
    pub maintenance: bool,
    /// Why it is not running, or what runs in the place of its newest release and why, in one line; `None` while it is well.
    pub problem: Option<String>,
    /// How it runs.
    pub mode: Mode,
    /// The live release; `None` before the first deploy was finished.
    pub release: Option<String>,
    /// When that release became live.
    pub released_ms: Option<i64>,
    /// The hosts it answers to.
    pub domains: Vec<String>,
    /// Whether it also answers to hosts that no site names.
    pub catch_all: bool,
    /// Addresses to open in a browser, the best first.
    pub urls: Vec<String>,
    /// What was detected: `Flask`, `Django`, `WSGI`, `static`, `proxied`.
    pub kind: String,
    /// `3.11.7` and the like; `None` for a site without Python.
    pub python: Option<String>,
    /// What other servers answer.
    pub upstreams: Vec<UpstreamRoute>,
    /// What answers to its hosts over TLS; empty where there is no listener for that.
    pub certificates: Vec<CertificateStatus>,
    /// Its processes; for an embedded site the engine's.
    pub workers: Vec<WorkerStatus>,
    /// Its cache; `None` where nothing is stored.
    #[serde(default)]
    pub cache: Option<CacheStatus>,
}

/// What requests came to in a site's cache since the appliance started.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CacheStatus {
    /// Answered from what was stored.
    pub hits: u64,
    /// Answered from what was stored and stale.
    pub stale: u64,
    /// Answered from what was stored, after its source said that it is still right.
    pub revalidated: u64,
    /// Answered by the source.
    pub misses: u64,
    /// Answered by the source, because they go past the cache.
    pub bypassed: u64,
    /// The part that was answered from what was stored, from 0 to 1, without those that go past; `None`: there was none.
    pub hit_ratio: Option<f64>,
    /// Bytes of bodies that did not come from their source.
    pub saved_bytes: u64,
    /// What is stored in memory at this moment, in bytes.
    pub stored_bytes: u64,
    /// Stored answers that came from the disk, fresh or stale.
    #[serde(default)]
    pub from_disk: u64,
    /// What is stored on the disk at this moment, in bytes.
    #[serde(default)]
    pub disk_bytes: u64,
}

/// The answer to `POST /api/v1/sites/{name}/purge`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Purged {
    /// How many stored answers there were.
    pub answers: u64,
}

/// A certificate of a site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CertificateStatus {
    /// Where it comes from.
    pub source: CertificateSource,
    /// The hosts that it answers to.
    pub names: Vec<String>,
    /// Who vouches for it; `None`: there is none yet.
    pub issuer: Option<String>,
    /// When it begins.
    pub not_before_ms: Option<i64>,
    /// When it ends.
    pub not_after_ms: Option<i64>,
    /// When it is to be renewed, where an authority is asked for that.
    pub renews_ms: Option<i64>,
    /// Whether an order is under way at this moment.
    pub is_ordering: bool,
    /// What is wrong with it, or with the one that is to replace it; `None` while all is well.
    pub problem: Option<String>,
    /// When the next try is, where an order has failed.
    pub next_try_ms: Option<i64>,
}

/// An order that was asked for.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Renewal {
    /// For whom the certificate will be.
    pub hosts: Vec<String>,
}

/// Where a certificate comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CertificateSource {
    /// Files that the site names.
    Own,
    /// An authority of the world's, over ACME.
    Acme,
    /// The box's own authority.
    Internal,
}

/// One worker of a site.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct WorkerStatus {
    /// `blog.1` and the like.
    pub name: String,
    /// Its process id.
    pub pid: u32,
    /// The release it runs.
    pub release: String,
    /// When it started.
    pub started_ms: i64,
    /// Its threads for requests.
    pub threads: u16,
    /// What it is doing.
    pub state: WorkerState,
    /// Requests that it began, as it told within the last second.
    pub requests: u64,
    /// Those that it serves, as it told within the last second.
    #[serde(default)]
    pub running: u64,
    /// The one of these that was begun first.
    #[serde(default)]
    pub current: Option<CurrentRequest>,
    /// How often a fresh process took the place of one under this name, since the release runs.
    pub recycles: u64,
    /// Why that happened last.
    pub last_recycle: Option<String>,
}

/// What a worker is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WorkerState {
    /// It loads the application.
    Starting,
    /// It takes requests.
    Running,
    /// It finishes what it has, and ends.
    Finishing,
}

/// `GET /api/v1/sites/{name}/releases`: newest first.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Release {
    /// Sorts by time: `20261120-114213-3f2a`.
    pub id: String,
    /// When it was made.
    pub created_ms: i64,
    /// Whether it is the live one.
    pub live: bool,
    /// `ready` (was live or could be), `failed`.
    pub state: ReleaseState,
    /// Why it failed, in one line.
    pub problem: Option<String>,
    /// What it answered, as far back as history goes; `None`: nothing.
    #[serde(default)]
    pub traffic: Option<TrafficFigures>,
}

/// Whether a release can be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ReleaseState {
    /// Being made.
    Staging,
    /// Complete and once healthy.
    Ready,
    /// Never became live.
    Failed,
}

/// Query of `POST /api/v1/deploy`; the body is a tar archive of the site's folder.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct DeployQuery {
    /// The site's name; else `name` of `onebox.toml`, else `default_name`.
    pub name: Option<String>,
    /// The name where nothing else gives one: the folder's own.
    pub default_name: Option<String>,
    /// Hosts, separated by commas; else `domains` of `onebox.toml`.
    pub domains: Option<String>,
}

/// One line of the answer to `POST /api/v1/deploy` (`application/x-ndjson`), and of other long operations.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum DeployEvent {
    /// A step begins: `copy`, `detect`, `install`, `settings`, `persist`, `hooks`, `start`, `health`, `switch`, `prune`.
    Step {
        /// Its short name.
        step: String,
        /// What is being done, for people.
        text: String,
    },
    /// A line of output of a hook or of the package installer.
    Output {
        /// The line, without its end.
        line: String,
    },
    /// Something the user should know; the deploy goes on.
    Warning {
        /// In one or two sentences.
        text: String,
    },
    /// The last line when all went well.
    Done {
        /// The site.
        site: String,
        /// Its new live release.
        release: String,
        /// Addresses of the site, the best first.
        urls: Vec<String>,
        /// How long the whole took.
        total_ms: u64,
    },
    /// The last line when something failed; what was live before still is.
    Failed {
        /// The step that failed.
        step: String,
        /// The reason, in a sentence or two.
        reason: String,
        /// A traceback or the last lines of output; may be empty.
        detail: String,
        /// What to do about it; may be empty.
        hint: String,
    },
}

/// The body of every answer with a status of 400 or above.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ApiError {
    /// What is wrong, in one sentence.
    pub error: String,
    /// What to do about it; may be empty.
    #[serde(default)]
    pub hint: String,
}

/// `GET /api/v1/sites/{name}/explain`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Explanation {
    /// How the site runs.
    pub mode: Mode,
    /// Every reason, a sentence each.
    pub reasons: Vec<String>,
    /// Every static folder: URL prefix and folder.
    pub static_folders: Vec<(String, String)>,
    /// What other servers answer.
    pub upstreams: Vec<UpstreamRoute>,
    /// Every path that lives in `shared/`.
    pub persistent: Vec<String>,
}

/// Query of `GET /api/v1/explain`.
#[derive(Debug, Clone, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct UrlQuery {
    /// `http://host/path?query`, or without the scheme.
    pub url: String,
}

/// `GET /api/v1/explain`: what happens to a request.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct UrlExplanation {
    /// The site that has the host; `None`: nobody has it.
    pub site: Option<String>,
    /// The route that has the path, as `path /a`, `exact /a` or `regex ^/a`.
    pub route: Option<String>,
    /// Routes whose pattern matches too, and that come after it.
    pub other_routes: Vec<String>,
    /// What is done, a step each, in order.
    pub steps: Vec<String>,
}

/// `GET /api/v1/sites/{name}/logs`: one line; with `follow`, each is a `line` event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LogLine {
    /// When it was written.
    pub at_ms: i64,
    /// `app`, `error`, `access`, `onebox`.
    pub source: String,
    /// The line, without its end.
    pub text: String,
}

/// The query of `GET /api/v1/sites/{site}/logs`.
#[derive(Debug, Clone, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct LogsQuery {
    /// How many of the last lines.
    #[serde(default = "default_lines")]
    pub lines: usize,
    /// Whether to stay and send what comes, as server-sent events.
    #[serde(default)]
    pub follow: bool,
    /// Whether the access log is wanted too.
    #[serde(default)]
    pub access: bool,
    /// Only requests with this status: `404`, `5xx`, `400-499`.
    pub status: Option<String>,
    /// Only requests for this path, in which `*` is anything.
    pub path: Option<String>,
    /// Only requests from this address or network.
    pub address: Option<String>,
    /// Only lines of this request.
    pub request_id: Option<String>,
    /// Only lines from this moment on.
    pub from_ms: Option<i64>,
    /// Only lines before this one.
    pub to_ms: Option<i64>,
}

fn default_lines() -> usize {
    100
}

/// Body of `POST /api/v1/sites/{name}/rollback`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub struct Rollback {
    /// The release to go back to; else the one before the live one.
    pub release: Option<String>,
}
