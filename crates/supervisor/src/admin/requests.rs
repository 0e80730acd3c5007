//! Requests one by one: looking for them, what they failed with, and the errors of a site.

use std::ops::RangeInclusive;
use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};

use super::span::span;
use super::{AdminError, AdminState};
use crate::advice;
use crate::api::{Autopsy, ErrorGroup, LogLine, RequestRecord, RequestsQuery};
use crate::store::metrics::Search;

/// How many requests are told where nobody says it, and at most.
const FEW: u32 = 100;
const MOST: u32 = 1000;
/// Every status.
const ANY: RangeInclusive<u16> = 0..=999;

/// What requests of a site fail with, the last seen first
#[utoipa::path(get, path = "/api/v1/sites/{site}/errors", operation_id = "errors",
    responses((status = OK, body = Vec<ErrorGroup>)))]
pub(super) async fn errors(
    State(state): State<AdminState>,
    Path(site): Path<String>,
) -> Result<Json<Vec<ErrorGroup>>, AdminError> {
    state.appliance.site_status(&site).await?;
    Ok(Json(state.appliance.history.errors(&site).await?))
}

/// Requests, the last first
#[utoipa::path(get, path = "/api/v1/requests", operation_id = "requests",
    params(RequestsQuery), responses((status = OK, body = Vec<RequestRecord>)))]
pub(super) async fn requests(
    State(state): State<AdminState>,
    query: Result<Query<RequestsQuery>, QueryRejection>,
) -> Result<Json<Vec<RequestRecord>>, AdminError> {
    let Query(query) = query?;
    Ok(Json(state.appliance.history.search(&to_search(query)?).await?))
}

fn to_search(query: RequestsQuery) -> Result<Search, AdminError> {
    let RequestsQuery { id, site, path, status, slower_ms, from_ms, to_ms, limit } = query;
    let status = match &status {
        None => ANY,
        Some(text) => statuses(text).ok_or_else(|| {
            AdminError::Malformed(format!("{text} is no status: write 404, or 5xx for a class"))
        })?,
    };
    Ok(Search {
        request_id: id,
        site,
        path,
        status,
        total_us: slower_ms.unwrap_or(0).saturating_mul(1000),
        span: span(from_ms.unwrap_or(i64::MIN), to_ms.unwrap_or(i64::MAX))?,
        limit: limit.unwrap_or(FEW).min(MOST),
    })
}

/// The statuses that `404` or `5xx` means.
fn statuses(text: &str) -> Option<RangeInclusive<u16>> {
    if let Some(class) = text.strip_suffix("xx") {
        let first = class.parse::<u16>().ok().filter(|class| (1..=9).contains(class))? * 100;
        return Some(first..=first + 99);
    }
    let status = text.parse().ok().filter(|status| ANY.contains(status))?;
    Some(status..=status)
}

/// Everything that is known of one request
#[utoipa::path(get, path = "/api/v1/requests/{id}", operation_id = "autopsy",
    responses((status = OK, body = Autopsy)))]
pub(super) async fn autopsy(
    State(state): State<AdminState>,
    Path(request_id): Path<String>,
) -> Result<Json<Autopsy>, AdminError> {
    let failures = state.appliance.history.failures_of(&request_id).await?;
    let wanted = RequestsQuery { id: Some(request_id.clone()), ..RequestsQuery::default() };
    let request = state.appliance.history.search(&to_search(wanted)?).await?.pop();
    let site = failures.first().map(|failure| &failure.site);
    let Some(site) = site.or(request.as_ref().map(|request| &request.site)) else {
        return Err(AdminError::NoRequest(request_id));
    };
    let log = lines_that_name(&state, site.clone(), request_id.clone()).await?;
    let advice = failures.iter().find_map(|failure| advice::about(&failure.raised));
    Ok(Json(Autopsy { request_id, request, failures, advice, log }))
}

async fn lines_that_name(
    state: &AdminState,
    site: String,
    request_id: String,
) -> Result<Vec<LogLine>, AdminError> {
    let logs = Arc::clone(&state.appliance.logs);
    let read = tokio::task::spawn_blocking(move || logs.naming(&site, &request_id));
    read.await
        .map_err(|error| AdminError::internal(&error))?
        .map_err(|error| AdminError::internal(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_a_number_or_a_class() {
        assert_eq!(statuses("404"), Some(404..=404));
        assert_eq!(statuses("0"), Some(0..=0));
        assert_eq!(statuses("5xx"), Some(500..=599));
        for wrong in ["", "xx", "0xx", "10xx", "-1", "5x", "1000", "five"] {
            assert_eq!(statuses(wrong), None, "{wrong}");
        }
    }
}
