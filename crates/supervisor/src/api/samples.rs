//! What a second came to, as the admin API says it.

use onebox_app_server::ToldRequest;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One `sample` event of `GET /api/v1/events` (server-sent events), each second; the last one is in `GET /api/v1/status`, too.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Sample {
    /// When it was taken.
    pub at_ms: i64,
    /// Every site's share, by name.
    pub sites: Vec<SiteSample>,
    /// Memory of supervisor, engine and workers (PSS, else RSS).
    pub memory_bytes: u64,
    /// CPU of the same, as a share of one core.
    pub cpu: f64,
    /// The same of each of them, by name.
    #[serde(default)]
    pub processes: Vec<ProcessSample>,
    /// The whole machine.
    #[serde(default)]
    pub machine: MachineSample,
}

/// One site's share of a [`Sample`], over the second before it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SiteSample {
    /// The site.
    pub site: String,
    /// Answers a second.
    pub requests_per_s: f64,
    /// Of these, served without Python.
    pub static_per_s: f64,
    /// Answers with a status of 500 or above, a second.
    pub errors_per_s: f64,
    /// The latency that half of the answers stayed under; 0 without any.
    pub p50_ms: f64,
    /// The same for 95 of 100.
    #[serde(default)]
    pub p95_ms: f64,
    /// The same for 99 of 100.
    pub p99_ms: f64,
    /// Requests being served now.
    pub in_flight: u64,
    /// How long the threads of an embedded application have been waiting for the GIL, in milliseconds; 0: they are not.
    pub gil_wait_ms: u64,
}

/// One process's share of a [`Sample`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ProcessSample {
    /// `supervisor`, `engine` (all that live together), `blog.1`.
    pub process: String,
    /// A share of one core.
    pub cpu: f64,
    /// Memory with what is shared divided among those who share it (PSS, else RSS).
    pub memory_bytes: u64,
    /// The part of the second, from 0 to 1, in which a thread wanted the GIL and had not got it for 100 ms or more.
    #[serde(default)]
    pub gil_stalled: f64,
}

/// The machine's share of a [`Sample`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MachineSample {
    /// Busy share of all cores together, 0 to 1.
    pub cpu: f64,
    /// Memory in use: all but what is available.
    pub memory_bytes: u64,
    /// Memory there is.
    pub memory_total_bytes: u64,
    /// Load average of a minute.
    pub load: f64,
}

/// A request that a worker serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CurrentRequest {
    /// `GET` and the like.
    pub method: String,
    /// Without the query, which may hold secrets.
    pub path: String,
    /// How long it had taken when the worker told it.
    pub age_ms: u64,
}

impl From<ToldRequest> for CurrentRequest {
    fn from(told: ToldRequest) -> Self {
        let ToldRequest { method, path, age_ms, .. } = told;
        Self { method, path, age_ms }
    }
}
