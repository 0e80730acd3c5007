//! What was measured over time, as the admin API says it.
//!
//! Point `i` of every curve stands for the time from `from_ms + i * step_ms` on, for `step_ms`.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// A value for each point; `null` where nothing was measured, or there is nothing to tell.
pub type Curve = Vec<Option<f64>>;

/// Query of every `…/series`: `GET /api/v1/series?span_ms=300000` or `?from_ms=…&to_ms=…`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct SeriesQuery {
    /// From this moment on; else `span_ms` before the end.
    pub from_ms: Option<i64>,
    /// Until before this one; else now.
    pub to_ms: Option<i64>,
    /// How long; else an hour. Not together with `from_ms`.
    pub span_ms: Option<i64>,
    /// From one point to the next; else as fits the span. Made larger where only coarser figures are left.
    pub step_ms: Option<i64>,
}

/// `GET /api/v1/sites/{name}/series`: what a site did.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SiteSeries {
    /// The beginning of the first point.
    pub from_ms: i64,
    /// From one point to the next.
    pub step_ms: i64,
    /// Answers a second, by the first digit of their status.
    pub responses_per_s: ResponseSeries,
    /// Of these, served without Python.
    pub static_per_s: Curve,
    /// Answers in the busiest second.
    pub busiest_per_s: Curve,
    /// Bytes received a second, heads and bodies.
    pub bytes_in_per_s: Curve,
    /// Bytes sent a second.
    pub bytes_out_per_s: Curve,
    /// Requests being served at a time, on average.
    pub in_flight: Curve,
    /// Requests a second that a limit of the site refused.
    pub limited_per_s: Curve,
    /// How long requests took from the first byte to the last, milliseconds; `null` where there was none.
    pub latency_ms: LatencySeries,
    /// What requests came to in its cache, a second.
    pub cache_per_s: CacheSeries,
    /// The part of those that could be answered from the cache that was, from 0 to 1; `null` where there was none.
    pub hit_ratio: Curve,
    /// Of the mean of the latency, the share of each phase, milliseconds; and before it that of handshakes.
    pub phases_ms: PhaseSeries,
    /// The processes that run the site; for an embedded or static one the engine.
    pub processes: Vec<ProcessSeries>,
}

/// Answers a second by class of status.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ResponseSeries {
    /// Without a proper status, or never sent.
    pub none: Curve,
    /// 100 to 199
    #[serde(rename = "1xx")]
    pub c1xx: Curve,
    /// 200 to 299
    #[serde(rename = "2xx")]
    pub c2xx: Curve,
    /// 300 to 399
    #[serde(rename = "3xx")]
    pub c3xx: Curve,
    /// 400 to 499
    #[serde(rename = "4xx")]
    pub c4xx: Curve,
    /// 500 to 599
    #[serde(rename = "5xx")]
    pub c5xx: Curve,
}

/// Requests a second by what they came to in the cache.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CacheSeries {
    /// Answered from what was stored.
    pub hit: Curve,
    /// Answered from what was stored and stale.
    pub stale: Curve,
    /// Answered from what was stored, after its source said that it is still right.
    pub revalidated: Curve,
    /// Answered by the source.
    pub miss: Curve,
    /// Answered by the source, because they go past the cache.
    pub bypass: Curve,
}

/// What shares of the requests stayed under, right to 5 %.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LatencySeries {
    /// Half of them.
    pub p50: Curve,
    /// 95 of 100.
    pub p95: Curve,
    /// 99 of 100.
    pub p99: Curve,
}

/// Where the time of a request went, on average.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PhaseSeries {
    /// The handshakes of new connections, before the first byte of a request: not in the latency.
    pub tls: Curve,
    /// Until it was understood and routed, its body read.
    pub accept: Curve,
    /// Until a Python thread took it.
    pub queue: Curve,
    /// Until the application gave its head, or the file was opened.
    pub app: Curve,
    /// Until the last byte of the answer was made.
    pub body: Curve,
    /// Until the last byte was handed to the kernel.
    pub send: Curve,
}

/// `GET /api/v1/series`: what the machine did.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct BoxSeries {
    /// The beginning of the first point.
    pub from_ms: i64,
    /// From one point to the next.
    pub step_ms: i64,
    /// Busy share of all cores together, 0 to 1.
    pub cpu: GaugeSeries,
    /// Memory in use: all but what is available.
    pub memory_bytes: GaugeSeries,
    /// Memory there is.
    pub memory_total_bytes: Curve,
    /// In use of the file system with the state directory.
    pub disk_bytes: GaugeSeries,
    /// What that file system holds.
    pub disk_total_bytes: Curve,
    /// Load average of a minute.
    pub load: GaugeSeries,
    /// From the network, but not the loopback.
    pub received_bytes_per_s: Curve,
    /// To the network.
    pub sent_bytes_per_s: Curve,
    /// Clients a second that were sent away before they got to a site.
    pub dropped_per_s: DropSeries,
    /// Supervisor, engine and workers, by name.
    pub processes: Vec<ProcessSeries>,
}

/// Clients a second that got to no site, by reason.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DropSeries {
    /// What they said was no request, or too large.
    pub malformed: Curve,
    /// The head of their request did not come in time.
    pub slow: Curve,
    /// They did not agree on keys, or not in time.
    pub handshake: Curve,
    /// They flooded their connection.
    pub flood: Curve,
    /// They had as many connections as one client may have.
    pub crowd: Curve,
    /// They said nothing, and others needed their place.
    pub in_the_way: Curve,
    /// There was no place for them.
    pub no_room: Curve,
    /// There was no memory for them.
    pub no_memory: Curve,
    /// Their address is refused by a rule; each request counts.
    pub refused: Curve,
}

/// What a process of onebox took.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ProcessSeries {
    /// `supervisor`, `engine` (all that live together), `blog.1`.
    pub process: String,
    /// A share of one core.
    pub cpu: Curve,
    /// Memory with what is shared divided among those who share it (PSS, else RSS).
    pub memory_bytes: GaugeSeries,
    /// Memory with all that is shared (RSS).
    pub resident_bytes: GaugeSeries,
    /// Threads.
    pub threads: GaugeSeries,
    /// Open file descriptors.
    pub descriptors: GaugeSeries,
    /// The part of the time, from 0 to 1, in which a thread wanted the GIL and had not got it for 100 ms or more.
    pub gil_stalled: Curve,
    /// The longest such wait.
    pub gil_longest_ms: Curve,
}

/// Something that is read off each second.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct GaugeSeries {
    /// The mean of the readings.
    pub mean: Curve,
    /// The smallest reading.
    pub min: Curve,
    /// The largest reading.
    pub max: Curve,
}
