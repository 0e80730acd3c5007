//! Where a site's time went, as the admin API says it.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// Query of `GET /api/v1/sites/{name}/routes`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct RoutesQuery {
    /// From this moment on; else `span_ms` before the end.
    pub from_ms: Option<i64>,
    /// Until before this one; else now.
    pub to_ms: Option<i64>,
    /// How long; else an hour. Not together with `from_ms`.
    pub span_ms: Option<i64>,
}

/// `GET /api/v1/sites/{name}/routes`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RouteReport {
    /// The beginning of what is told: of the minute, hour or day that was asked for.
    pub from_ms: i64,
    /// The end of the last minute, hour or day.
    pub to_ms: i64,
    /// What took most time first.
    pub routes: Vec<RouteFigures>,
}

/// The requests whose paths have a pattern in common.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RouteFigures {
    /// `/posts/*`, where `*` stands for what looks like a number or an identity; `other`: what is not told apart.
    pub route: String,
    /// Of the time of all requests of the site the part that was spent here, from 0 to 1.
    pub time_share: f64,
    /// What they came to.
    #[serde(flatten)]
    pub traffic: TrafficFigures,
}

/// What some of a site's requests came to.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TrafficFigures {
    /// Answers.
    pub requests: u64,
    /// Of these with a status from 500 to 599.
    pub errors: u64,
    /// All of them by the first digit of their status.
    pub responses: ResponseCounts,
    /// Bytes received.
    pub bytes_in: u64,
    /// Bytes sent.
    pub bytes_out: u64,
    /// Half of the requests took so long at most, milliseconds, right to 5 %.
    pub p50_ms: f64,
    /// 95 of 100.
    pub p95_ms: f64,
    /// 99 of 100.
    pub p99_ms: f64,
    /// Where the time of a request went, on average.
    pub phases_ms: PhaseMeans,
    /// How long each phase took of those that had it.
    pub phase_latency_ms: PhaseLatencies,
}

/// Answers by class of status.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ResponseCounts {
    /// Without a proper status, or never sent.
    pub none: u64,
    /// 100 to 199
    #[serde(rename = "1xx")]
    pub c1xx: u64,
    /// 200 to 299
    #[serde(rename = "2xx")]
    pub c2xx: u64,
    /// 300 to 399
    #[serde(rename = "3xx")]
    pub c3xx: u64,
    /// 400 to 499
    #[serde(rename = "4xx")]
    pub c4xx: u64,
    /// 500 to 599
    #[serde(rename = "5xx")]
    pub c5xx: u64,
}

/// What each phase took on average, milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PhaseMeans {
    /// The handshakes of new connections, before the first byte of a request.
    pub tls: f64,
    /// Until it was understood and routed, its body read.
    pub accept: f64,
    /// Until a Python thread took it.
    pub queue: f64,
    /// Until the application gave its head, or the file was opened.
    pub app: f64,
    /// Until the last byte of the answer was made.
    pub body: f64,
    /// Until the last byte was handed to the kernel.
    pub send: f64,
}

/// How long each phase took, milliseconds; `null` where no request had it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PhaseLatencies {
    /// As in [`PhaseMeans`].
    pub tls: Option<PhaseLatency>,
    /// As in [`PhaseMeans`].
    pub accept: Option<PhaseLatency>,
    /// As in [`PhaseMeans`].
    pub queue: Option<PhaseLatency>,
    /// As in [`PhaseMeans`].
    pub app: Option<PhaseLatency>,
    /// As in [`PhaseMeans`].
    pub body: Option<PhaseLatency>,
    /// As in [`PhaseMeans`].
    pub send: Option<PhaseLatency>,
}

/// What shares of the requests stayed under, milliseconds, right to 5 %.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PhaseLatency {
    /// Half of them.
    pub p50: f64,
    /// 95 of 100.
    pub p95: f64,
    /// 99 of 100.
    pub p99: f64,
}
