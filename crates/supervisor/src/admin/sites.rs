//! Sites and the appliance: what they are doing, and the short operations.

use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;

use super::{AdminError, AdminState};
use crate::api::{
    ApplianceStatus, Explanation, Purge, Purged, Release, Renewal, SiteStatus, UrlExplanation,
    UrlQuery,
};

type Answer<T> = Result<Json<T>, AdminError>;
type Done = Result<StatusCode, AdminError>;

/// The whole appliance
#[utoipa::path(get, path = "/api/v1/status", operation_id = "status",
    responses((status = OK, body = ApplianceStatus)))]
pub(super) async fn status(State(state): State<AdminState>) -> Answer<ApplianceStatus> {
    Ok(Json(state.appliance.status().await?))
}

/// Stop the appliance and all its sites
#[utoipa::path(post, path = "/api/v1/shutdown", operation_id = "shutdown",
    responses((status = ACCEPTED)))]
pub(super) async fn shutdown(State(state): State<AdminState>) -> StatusCode {
    tracing::info!("shutdown was asked for");
    state.appliance.shutdown.cancel();
    StatusCode::ACCEPTED
}

/// Every site, by name
#[utoipa::path(get, path = "/api/v1/sites", operation_id = "sites",
    responses((status = OK, body = Vec<SiteStatus>)))]
pub(super) async fn sites(State(state): State<AdminState>) -> Answer<Vec<SiteStatus>> {
    Ok(Json(state.appliance.status().await?.sites))
}

/// One site
#[utoipa::path(get, path = "/api/v1/sites/{site}", operation_id = "site",
    responses((status = OK, body = SiteStatus)))]
pub(super) async fn site(
    State(state): State<AdminState>,
    Path(site): Path<String>,
) -> Answer<SiteStatus> {
    Ok(Json(state.appliance.site_status(&site).await?))
}

/// Remove a site with its releases and its data
#[utoipa::path(delete, path = "/api/v1/sites/{site}", operation_id = "remove-site",
    responses((status = NO_CONTENT)))]
pub(super) async fn remove_site(State(state): State<AdminState>, Path(site): Path<String>) -> Done {
    run(async move { state.appliance.remove(&site).await }).await
}

/// The releases of a site, the newest first
#[utoipa::path(get, path = "/api/v1/sites/{site}/releases", operation_id = "releases",
    responses((status = OK, body = Vec<Release>)))]
pub(super) async fn releases(
    State(state): State<AdminState>,
    Path(site): Path<String>,
) -> Answer<Vec<Release>> {
    Ok(Json(state.appliance.releases(&site).await?))
}

/// How a site runs, and why
#[utoipa::path(get, path = "/api/v1/sites/{site}/explain", operation_id = "explain",
    responses((status = OK, body = Explanation)))]
pub(super) async fn explain(
    State(state): State<AdminState>,
    Path(site): Path<String>,
) -> Answer<Explanation> {
    Ok(Json(state.appliance.explain(&site).await?))
}

/// What happens to a request
#[utoipa::path(get, path = "/api/v1/explain", operation_id = "explain-url",
    params(UrlQuery), responses((status = OK, body = UrlExplanation)))]
pub(super) async fn explain_url(
    State(state): State<AdminState>,
    query: Result<Query<UrlQuery>, QueryRejection>,
) -> Answer<UrlExplanation> {
    let Query(query) = query?;
    Ok(Json(state.appliance.explain_url(&query.url)?))
}

/// Take a site off line; it stays deployed
#[utoipa::path(post, path = "/api/v1/sites/{site}/stop", operation_id = "stop",
    responses((status = NO_CONTENT)))]
pub(super) async fn stop(State(state): State<AdminState>, Path(site): Path<String>) -> Done {
    run(async move { state.appliance.stop(&site).await }).await
}

/// Put a stopped site back on line
#[utoipa::path(post, path = "/api/v1/sites/{site}/start", operation_id = "start",
    responses((status = NO_CONTENT)))]
pub(super) async fn start(State(state): State<AdminState>, Path(site): Path<String>) -> Done {
    run(async move { state.appliance.start_site(&site).await }).await
}

/// Give everybody the maintenance page of a site
#[utoipa::path(post, path = "/api/v1/sites/{site}/maintenance", operation_id = "begin-maintenance",
    responses((status = NO_CONTENT)))]
pub(super) async fn begin_maintenance(
    State(state): State<AdminState>,
    Path(site): Path<String>,
) -> Done {
    run(async move { state.appliance.set_maintenance(&site, true).await }).await
}

/// Give everybody the site again
#[utoipa::path(delete, path = "/api/v1/sites/{site}/maintenance", operation_id = "end-maintenance",
    responses((status = NO_CONTENT)))]
pub(super) async fn end_maintenance(
    State(state): State<AdminState>,
    Path(site): Path<String>,
) -> Done {
    run(async move { state.appliance.set_maintenance(&site, false).await }).await
}

/// Forget stored answers of a site
#[utoipa::path(post, path = "/api/v1/sites/{site}/purge", operation_id = "purge", request_body = Purge,
    responses((status = OK, body = Purged)))]
pub(super) async fn purge(
    State(state): State<AdminState>,
    Path(site): Path<String>,
    body: Result<Json<Purge>, JsonRejection>,
) -> Answer<Purged> {
    let Json(what) = body?;
    Ok(Json(Purged { answers: state.appliance.purge(&site, &what).await? }))
}

/// Order a site's certificate now
#[utoipa::path(post, path = "/api/v1/sites/{site}/certificate/renew", operation_id = "renew-certificate",
    responses((status = OK, body = Renewal)))]
pub(super) async fn renew_certificate(
    State(state): State<AdminState>,
    Path(site): Path<String>,
) -> Answer<Renewal> {
    Ok(Json(state.appliance.renew_certificate(&site).await?))
}

/// Runs an operation to its end also where the client leaves meanwhile: half an operation would be worse.
pub(super) async fn run(
    operation: impl Future<Output = Result<(), crate::appliance::OperationError>> + Send + 'static,
) -> Done {
    match tokio::spawn(operation).await {
        Ok(result) => Ok(result.map(|()| StatusCode::NO_CONTENT)?),
        Err(error) => Err(AdminError::Internal(error.to_string())),
    }
}
