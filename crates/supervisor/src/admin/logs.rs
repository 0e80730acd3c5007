//! A site's log: its last lines, and with `follow` each new one.

use std::convert::Infallible;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Extension, Path, Query, State};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::BroadcastStream;

use super::auth::Caller;
use super::events::keep_alive;
use super::span::span;
use super::{AdminError, AdminState};
use crate::access_follower::AccessFollower;
use crate::api::{LogLine, LogsQuery};
use crate::logs::LineFilter;

/// More lines than this are not read back.
const MOST_LINES: usize = 10_000;

/// The log of a site: its last lines
///
/// What was put aside is read, too. With `status`, `path` or `address` the lines are those of the access log alone.
/// With `follow` the answer is server-sent events, a `line` for each of them and for each that comes.
#[utoipa::path(get, path = "/api/v1/sites/{site}/logs", operation_id = "logs",
    params(LogsQuery),
    responses((status = OK, content((Vec<LogLine> = "application/json"), (String = "text/event-stream")))))]
pub(super) async fn logs(
    State(state): State<AdminState>,
    Extension(caller): Extension<Caller>,
    Path(site): Path<String>,
    query: Result<Query<LogsQuery>, QueryRejection>,
) -> Result<Response, AdminError> {
    let Query(query) = query?;
    span(query.from_ms.unwrap_or(i64::MIN), query.to_ms.unwrap_or(i64::MAX))?;
    let filter = LineFilter::try_from(&query)?;
    let query = LogsQuery { access: query.access || filter.is_for_access(), ..query };
    state.appliance.site_status(&site).await?;
    // Subscribed first: a line may come twice, at the seam, but none is missing.
    let follower = query.follow.then(|| state.appliance.logs.follow(&site));
    let access = match query.follow && query.access {
        true => Some(follow_access(&state, &site).await?),
        false => None,
    };
    let lines = last_lines(&state, site, &query, filter.clone()).await?;
    let Some(follower) = follower else { return Ok(Json(lines).into_response()) };
    let until = state.appliance.shutdown.clone().cancelled_owned();
    let new = BroadcastStream::new(follower).filter_map(Result::ok);
    let access = access.map(|follower| Box::pin(follower.into_stream()));
    let access = futures_util::stream::iter(access);
    let new = new.merge(futures_util::StreamExt::flatten(access));
    let new = new.filter(move |line| filter.takes(line));
    let all = tokio_stream::iter(lines).chain(new).filter_map(|line| to_sse(&line));
    let events = futures_util::StreamExt::take_until(all.map(Ok::<_, Infallible>), until);
    let events = futures_util::StreamExt::take_until(events, caller.until_over(state));
    Ok(Sse::new(events).keep_alive(keep_alive()).into_response())
}

async fn follow_access(state: &AdminState, site: &str) -> Result<AccessFollower, AdminError> {
    let path = state.appliance.logs.access_log(site);
    let opened = tokio::task::spawn_blocking(move || AccessFollower::at_end(path));
    opened
        .await
        .map_err(|error| AdminError::internal(&error))?
        .map_err(|error| AdminError::internal(&error))
}

async fn last_lines(
    state: &AdminState,
    site: String,
    query: &LogsQuery,
    filter: LineFilter,
) -> Result<Vec<LogLine>, AdminError> {
    let (logs, access) = (std::sync::Arc::clone(&state.appliance.logs), query.access);
    let wanted = query.lines.min(MOST_LINES);
    let read = tokio::task::spawn_blocking(move || {
        let mut lines = match filter.is_for_access() {
            true => Vec::new(),
            false => logs.tail(&site, wanted, &filter)?,
        };
        if access {
            lines.extend(logs.tail_access(&site, wanted, &filter)?);
            // Stable: lines of one moment stay in their order.
            lines.sort_by_key(|line| line.at_ms);
            lines.drain(..lines.len().saturating_sub(wanted));
        }
        Ok::<_, std::io::Error>(lines)
    });
    read.await
        .map_err(|error| AdminError::internal(&error))?
        .map_err(|error| AdminError::internal(&error))
}

fn to_sse(line: &LogLine) -> Option<Event> {
    Event::default().event("line").json_data(line).ok()
}
