//! `onebox events` as types.

use clap::Args;
use jiff::Timestamp;

use super::time::moment;

/// `onebox events`
#[derive(Debug, Args)]
pub(crate) struct EventsArgs {
    /// Only what concerns this site, or the whole box
    #[arg(value_name = "SITE")]
    pub(crate) site: Option<String>,
    /// From this moment on: 10m, 2d, 04:30, "2026-11-22 04:30", 2026-11-22T04:30:00Z [default: a day before the end]
    #[arg(long, value_name = "AGO|TIME", value_parser = moment)]
    pub(crate) since: Option<Timestamp>,
    /// Up to this moment [default: now]
    #[arg(long, value_name = "AGO|TIME", value_parser = moment)]
    pub(crate) until: Option<Timestamp>,
    /// One JSON object a line
    #[arg(long)]
    pub(crate) json: bool,
}
