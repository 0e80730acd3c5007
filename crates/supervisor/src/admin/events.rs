//! What the dashboard sees as it happens: server-sent events.
//!
//! Source: HTML Living Standard, section 9.2.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Extension, Query, State};
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::Stream;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::BroadcastStream;

use super::auth::Caller;
use super::{AdminError, AdminState};
use crate::api::WatchQuery;
use crate::feed::{self, Missed, Numbered};

/// How often a silent stream says that it lives.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// What happens, as it happens
///
/// Server-sent events: `sample` each second, `changed` when a site or the engine did, each with an id. Who names the id of the last
/// one that it heard, in the header `Last-Event-ID` or in the query, gets what came since, up to a minute of it. Where that is too
/// long ago, or the stream too slow, a `reset` says that some are missing.
#[utoipa::path(get, path = "/api/v1/events", operation_id = "events",
    params(WatchQuery, ("Last-Event-ID" = Option<String>, Header, description = "The same as `last_event_id`")),
    responses((status = OK, body = String, content_type = "text/event-stream")))]
pub(super) async fn events(
    State(state): State<AdminState>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    query: Result<Query<WatchQuery>, QueryRejection>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, AdminError> {
    let Query(query) = query?;
    let header = headers.get("last-event-id").map(|value| value.to_str().unwrap_or_default());
    // An id that is none is of nobody: what came since is not known.
    let heard = header.or(query.last_event_id.as_deref());
    let (missed, live) = match heard.map(str::parse) {
        Some(Err(())) => (Missed::TooMuch, state.appliance.feed.watch(None).1),
        heard => state.appliance.feed.watch(heard.and_then(Result::ok)),
    };
    let missed = match missed {
        Missed::Events(events) => events.iter().filter_map(to_sse).collect(),
        Missed::TooMuch => vec![reset()],
    };
    // Who is too slow has lost some.
    let live = BroadcastStream::new(live);
    let live = live.filter_map(|told| told.map_or_else(|_| Some(reset()), |told| to_sse(&told)));
    let events = tokio_stream::iter(missed).chain(live).map(Ok);
    let until = state.appliance.shutdown.clone().cancelled_owned();
    let events = futures_util::StreamExt::take_until(events, until);
    let events = futures_util::StreamExt::take_until(events, caller.until_over(state));
    Ok(Sse::new(events).keep_alive(keep_alive()))
}

fn reset() -> Event {
    Event::default().event("reset").data("{}")
}

/// A comment now and then, so that a dead connection is noticed.
pub(super) fn keep_alive() -> KeepAlive {
    KeepAlive::new().interval(HEARTBEAT)
}

fn to_sse(told: &Numbered) -> Option<Event> {
    let event = Event::default().id(told.id.to_string());
    match &told.event {
        feed::Event::Sample(sample) => event.event("sample").json_data(&**sample).ok(),
        feed::Event::Changed => Some(event.event("changed").data("{}")),
    }
}
