//! Requests one by one: what they failed with, and the errors of a site.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};

use super::{AdminError, AdminState};
use crate::api::{Autopsy, ErrorGroup, LogLine};

/// `GET /api/v1/sites/{site}/errors`: the last seen first.
pub(super) async fn errors(
    State(state): State<AdminState>,
    Path(site): Path<String>,
) -> Result<Json<Vec<ErrorGroup>>, AdminError> {
    state.appliance.site_status(&site).await?;
    Ok(Json(state.appliance.history.errors(&site).await?))
}

/// `GET /api/v1/requests/{id}`
pub(super) async fn autopsy(
    State(state): State<AdminState>,
    Path(request_id): Path<String>,
) -> Result<Json<Autopsy>, AdminError> {
    let failures = state.appliance.history.failures_of(&request_id).await?;
    let Some(first) = failures.first() else { return Err(AdminError::NoRequest(request_id)) };
    let log = lines_that_name(&state, first.site.clone(), request_id.clone()).await?;
    Ok(Json(Autopsy { request_id, failures, log }))
}

async fn lines_that_name(
    state: &AdminState,
    site: String,
    request_id: String,
) -> Result<Vec<LogLine>, AdminError> {
    let logs = Arc::clone(&state.appliance.logs);
    let read = tokio::task::spawn_blocking(move || logs.naming(&site, &request_id));
    let internal = |error: &dyn std::error::Error| AdminError::Internal(error.to_string());
    read.await.map_err(|error| internal(&error))?.map_err(|error| internal(&error))
}
