//! `onebox logs` as types.

use clap::Args;
use jiff::Timestamp;

use super::time::moment;

/// `onebox logs`
#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    /// The site's name
    #[arg(value_name = "SITE")]
    pub(crate) site: String,
    /// Keep printing what comes
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// The access log too
    #[arg(short, long)]
    pub(crate) access: bool,
    /// How many lines from the end
    #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 100)]
    pub(crate) lines: u32,
    /// Only requests with this status: 404, 5xx, 400-499
    #[arg(long, value_name = "STATUS")]
    pub(crate) status: Option<String>,
    /// Only requests for this path, in which `*` is anything
    #[arg(long, value_name = "PATH")]
    pub(crate) path: Option<String>,
    /// Only requests from this address or network
    #[arg(long, value_name = "ADDR|CIDR")]
    pub(crate) address: Option<String>,
    /// Only lines of this request, from its answer's X-Request-Id
    #[arg(long, value_name = "ID")]
    pub(crate) request_id: Option<String>,
    /// Only lines from this moment on: 10m, 2d, 04:30, "2026-11-22 04:30", 2026-11-22T04:30:00Z
    #[arg(long, value_name = "AGO|TIME", value_parser = moment)]
    pub(crate) since: Option<Timestamp>,
    /// Only lines up to this moment
    #[arg(long, value_name = "AGO|TIME", value_parser = moment, conflicts_with = "follow")]
    pub(crate) until: Option<Timestamp>,
    /// One JSON object a line
    #[arg(long)]
    pub(crate) json: bool,
}
