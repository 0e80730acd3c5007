//! What happened in a span of time.

use std::ops::Range;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};

use super::span::span;
use super::{AdminError, AdminState};
use crate::api::{EventsQuery, PastEvent};
use crate::clock::now_ms;
use crate::store::EventSpan;

/// More events than this are not told at once.
const MOST_EVENTS: u32 = 1000;
/// What a span is where only its end is known.
const DAY_MS: i64 = 86_400_000;

/// What happened in a span
///
/// The oldest first; of more than a thousand the newest.
#[utoipa::path(get, path = "/api/v1/events/past", operation_id = "past-events",
    params(EventsQuery), responses((status = OK, body = Vec<PastEvent>)))]
pub(super) async fn past_events(
    State(state): State<AdminState>,
    query: Result<Query<EventsQuery>, QueryRejection>,
) -> Result<Json<Vec<PastEvent>>, AdminError> {
    let Query(query) = query?;
    let to_ms = query.to_ms.unwrap_or_else(|| now_ms().saturating_add(1));
    let from_ms = query.from_ms.unwrap_or_else(|| to_ms.saturating_sub(DAY_MS));
    let Range { start: from_ms, end: to_ms } = span(from_ms, to_ms)?;
    let span = EventSpan { from_ms, to_ms, site: query.site, limit: MOST_EVENTS };
    Ok(Json(state.appliance.store.events(&span).await?))
}
