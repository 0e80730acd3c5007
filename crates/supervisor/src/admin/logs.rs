//! A site's log: its last lines, and with `follow` each new one.

use std::convert::Infallible;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::BroadcastStream;

use super::events::keep_alive;
use super::{AdminError, AdminState};
use crate::access_follower::AccessFollower;
use crate::api::LogLine;

/// More lines than this are not read back.
const MOST_LINES: usize = 10_000;

/// The query of `GET /api/v1/sites/{site}/logs`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LogsQuery {
    /// How many of the last lines.
    #[serde(default = "default_lines")]
    lines: usize,
    /// Whether to stay and send what comes, as server-sent events.
    #[serde(default)]
    follow: bool,
    /// Whether the access log is wanted too.
    #[serde(default)]
    access: bool,
}

fn default_lines() -> usize {
    100
}

/// `GET /api/v1/sites/{site}/logs`
pub(super) async fn logs(
    State(state): State<AdminState>,
    Path(site): Path<String>,
    query: Result<Query<LogsQuery>, QueryRejection>,
) -> Result<Response, AdminError> {
    let Query(query) = query?;
    state.appliance.site_status(&site).await?;
    // Subscribed first: a line may come twice, at the seam, but none is missing.
    let follower = query.follow.then(|| state.appliance.logs.follow(&site));
    let access = match query.follow && query.access {
        true => Some(follow_access(&state, &site).await?),
        false => None,
    };
    let lines = last_lines(&state, site, &query).await?;
    let Some(follower) = follower else { return Ok(Json(lines).into_response()) };
    let until = state.appliance.shutdown.clone().cancelled_owned();
    let new = BroadcastStream::new(follower).filter_map(Result::ok);
    let access = access.map(|follower| Box::pin(follower.into_stream()));
    let access = futures_util::stream::iter(access);
    let new = new.merge(futures_util::StreamExt::flatten(access));
    let all = tokio_stream::iter(lines).chain(new).filter_map(|line| to_sse(&line));
    let events = futures_util::StreamExt::take_until(all.map(Ok::<_, Infallible>), until);
    Ok(Sse::new(events).keep_alive(keep_alive()).into_response())
}

async fn follow_access(state: &AdminState, site: &str) -> Result<AccessFollower, AdminError> {
    let path = state.appliance.logs.access_log(site);
    let opened = tokio::task::spawn_blocking(move || AccessFollower::at_end(path));
    let internal = |error: &dyn std::error::Error| AdminError::Internal(error.to_string());
    opened.await.map_err(|error| internal(&error))?.map_err(|error| internal(&error))
}

async fn last_lines(
    state: &AdminState,
    site: String,
    query: &LogsQuery,
) -> Result<Vec<LogLine>, AdminError> {
    let (logs, access) = (std::sync::Arc::clone(&state.appliance.logs), query.access);
    let wanted = query.lines.min(MOST_LINES);
    let read = tokio::task::spawn_blocking(move || {
        let mut lines = logs.tail(&site, wanted)?;
        if access {
            lines.extend(logs.tail_access(&site, wanted)?);
            // Stable: lines of one moment stay in their order.
            lines.sort_by_key(|line| line.at_ms);
            lines.drain(..lines.len().saturating_sub(wanted));
        }
        Ok::<_, std::io::Error>(lines)
    });
    let internal = |error: &dyn std::error::Error| AdminError::Internal(error.to_string());
    read.await.map_err(|error| internal(&error))?.map_err(|error| internal(&error))
}

fn to_sse(line: &LogLine) -> Option<Event> {
    Event::default().event("line").json_data(line).ok()
}
