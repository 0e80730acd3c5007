//! What the dashboard sees as it happens: server-sent events.
//!
//! Source: HTML Living Standard, section 9.2.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::{Extension, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::Stream;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::BroadcastStream;

use super::AdminState;
use super::auth::Caller;
use crate::appliance;

/// How often a silent stream says that it lives.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// What happens, as it happens
///
/// Server-sent events: `sample` each second, `changed` when a site or the engine did.
#[utoipa::path(get, path = "/api/v1/events", operation_id = "events",
    responses((status = OK, body = String, content_type = "text/event-stream")))]
pub(super) async fn events(
    State(state): State<AdminState>,
    Extension(caller): Extension<Caller>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let events = BroadcastStream::new(state.appliance.events.subscribe());
    let until = state.appliance.shutdown.clone().cancelled_owned();
    // A browser that is too slow has lost some, which is an error of the stream and none here.
    let events = events.filter_map(|event| to_sse(&event.ok()?)).map(Ok);
    let events = futures_util::StreamExt::take_until(events, until);
    let events = futures_util::StreamExt::take_until(events, caller.until_over(state));
    Sse::new(events).keep_alive(keep_alive())
}

/// A comment now and then, so that a dead connection is noticed.
pub(super) fn keep_alive() -> KeepAlive {
    KeepAlive::new().interval(HEARTBEAT)
}

fn to_sse(event: &appliance::Event) -> Option<Event> {
    match event {
        appliance::Event::Sample(sample) => {
            Event::default().event("sample").json_data(&**sample).ok()
        }
        appliance::Event::Changed => Some(Event::default().event("changed").data("{}")),
    }
}
