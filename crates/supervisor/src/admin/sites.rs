//! Sites and the appliance: what they are doing, and the short operations.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;

use super::{AdminError, AdminState};
use crate::api::{
    ApplianceStatus, EnvVariable, Explanation, Purge, Purged, Release, Renewal, SiteStatus,
    UrlExplanation, UrlQuery,
};

type Answer<T> = Result<Json<T>, AdminError>;
type Done = Result<StatusCode, AdminError>;

/// `GET /api/v1/status`
pub(super) async fn status(State(state): State<AdminState>) -> Answer<ApplianceStatus> {
    Ok(Json(state.appliance.status().await?))
}

/// `POST /api/v1/shutdown`
pub(super) async fn shutdown(State(state): State<AdminState>) -> StatusCode {
    tracing::info!("shutdown was asked for");
    state.appliance.shutdown.cancel();
    StatusCode::ACCEPTED
}

/// `GET /api/v1/sites`
pub(super) async fn list(State(state): State<AdminState>) -> Answer<Vec<SiteStatus>> {
    Ok(Json(state.appliance.status().await?.sites))
}

/// `GET /api/v1/sites/{site}`
pub(super) async fn site(
    State(state): State<AdminState>,
    Path(site): Path<String>,
) -> Answer<SiteStatus> {
    Ok(Json(state.appliance.site_status(&site).await?))
}

/// `DELETE /api/v1/sites/{site}`
pub(super) async fn remove(State(state): State<AdminState>, Path(site): Path<String>) -> Done {
    run(async move { state.appliance.remove(&site).await }).await
}

/// `GET /api/v1/sites/{site}/releases`
pub(super) async fn releases(
    State(state): State<AdminState>,
    Path(site): Path<String>,
) -> Answer<Vec<Release>> {
    Ok(Json(state.appliance.releases(&site).await?))
}

/// `GET /api/v1/sites/{site}/explain`
pub(super) async fn explain(
    State(state): State<AdminState>,
    Path(site): Path<String>,
) -> Answer<Explanation> {
    Ok(Json(state.appliance.explain(&site).await?))
}

/// `GET /api/v1/explain?url=…`
pub(super) async fn explain_url(
    State(state): State<AdminState>,
    Query(query): Query<UrlQuery>,
) -> Answer<UrlExplanation> {
    Ok(Json(state.appliance.explain_url(&query.url)?))
}

/// `POST /api/v1/sites/{site}/stop`
pub(super) async fn stop(State(state): State<AdminState>, Path(site): Path<String>) -> Done {
    run(async move { state.appliance.stop(&site).await }).await
}

/// `POST /api/v1/sites/{site}/start`
pub(super) async fn start(State(state): State<AdminState>, Path(site): Path<String>) -> Done {
    run(async move { state.appliance.start_site(&site).await }).await
}

/// `POST /api/v1/sites/{site}/maintenance`
pub(super) async fn begin_maintenance(
    State(state): State<AdminState>,
    Path(site): Path<String>,
) -> Done {
    run(async move { state.appliance.set_maintenance(&site, true).await }).await
}

/// `DELETE /api/v1/sites/{site}/maintenance`
pub(super) async fn end_maintenance(
    State(state): State<AdminState>,
    Path(site): Path<String>,
) -> Done {
    run(async move { state.appliance.set_maintenance(&site, false).await }).await
}

/// `POST /api/v1/sites/{site}/purge`
pub(super) async fn purge(
    State(state): State<AdminState>,
    Path(site): Path<String>,
    body: Result<Json<Purge>, JsonRejection>,
) -> Answer<Purged> {
    let Json(what) = body?;
    Ok(Json(Purged { answers: state.appliance.purge(&site, &what).await? }))
}

/// `POST /api/v1/sites/{site}/certificate/renew`
pub(super) async fn renew_certificate(
    State(state): State<AdminState>,
    Path(site): Path<String>,
) -> Answer<Renewal> {
    Ok(Json(state.appliance.renew_certificate(&site).await?))
}

/// `GET /api/v1/sites/{site}/env`
pub(super) async fn variables(
    State(state): State<AdminState>,
    Path(site): Path<String>,
) -> Answer<Vec<EnvVariable>> {
    Ok(Json(state.appliance.variables(&site).await?))
}

/// `PUT /api/v1/sites/{site}/env`
pub(super) async fn set_variables(
    State(state): State<AdminState>,
    Path(site): Path<String>,
    body: Result<Json<BTreeMap<String, String>>, JsonRejection>,
) -> Done {
    let Json(variables) = body?;
    run(async move { state.appliance.set_variables(&site, &variables).await }).await
}

/// `DELETE /api/v1/sites/{site}/env/{variable}`
pub(super) async fn remove_variable(
    State(state): State<AdminState>,
    Path((site, variable)): Path<(String, String)>,
) -> Done {
    run(async move { state.appliance.remove_variable(&site, &variable).await }).await
}

/// Runs an operation to its end also where the client leaves meanwhile: half an operation would be worse.
async fn run(
    operation: impl Future<Output = Result<(), crate::appliance::OperationError>> + Send + 'static,
) -> Done {
    match tokio::spawn(operation).await {
        Ok(result) => Ok(result.map(|()| StatusCode::NO_CONTENT)?),
        Err(error) => Err(AdminError::Internal(error.to_string())),
    }
}
