//! The configuration of a site: read, tried out, changed.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Extension, Path, State};
use axum::response::{IntoResponse, Response};

use super::audit::Detail;
use super::auth::Caller;
use super::deploy::stream;
use super::{AdminError, AdminState};
use crate::api::{ConfigurationCheck, DeployEvent, NewConfiguration, Scope, SiteConfiguration};
use crate::appliance::Reader;

/// The configuration of a site's live release
///
/// Who may not deploy gets its settings without what may be a secret.
#[utoipa::path(get, path = "/api/v1/sites/{site}/configuration", operation_id = "configuration",
    responses((status = OK, body = SiteConfiguration)))]
pub(super) async fn configuration(
    State(state): State<AdminState>,
    Extension(caller): Extension<Caller>,
    Path(site): Path<String>,
) -> Result<Json<SiteConfiguration>, AdminError> {
    let reader = match caller.scopes.contains(&Scope::Deploy) {
        true => Reader::Trusted,
        false => Reader::Public,
    };
    Ok(Json(state.appliance.configuration(&site, reader).await?))
}

/// What would become of another configuration; nothing is changed
#[utoipa::path(post, path = "/api/v1/sites/{site}/configuration/check", operation_id = "check-configuration",
    request_body = NewConfiguration, responses((status = OK, body = ConfigurationCheck)))]
pub(super) async fn check_configuration(
    State(state): State<AdminState>,
    Path(site): Path<String>,
    body: Result<Json<NewConfiguration>, JsonRejection>,
) -> Result<Json<ConfigurationCheck>, AdminError> {
    let Json(wanted) = body?;
    Ok(Json(state.appliance.check_configuration(&site, &wanted).await?))
}

/// Put a release of the same files with another configuration on line
#[utoipa::path(post, path = "/api/v1/sites/{site}/configuration", operation_id = "apply-configuration",
    request_body = NewConfiguration,
    responses((status = OK, body = DeployEvent, content_type = "application/x-ndjson")))]
pub(super) async fn apply_configuration(
    State(state): State<AdminState>,
    Path(site): Path<String>,
    body: Result<Json<NewConfiguration>, JsonRejection>,
) -> Result<Response, AdminError> {
    let Json(wanted) = body?;
    state.appliance.site_status(&site).await?;
    let appliance = state.appliance;
    let detail = Extension(Detail(format!("in place of {}", wanted.release)));
    let answer = stream(move |events| async move {
        appliance.apply_configuration(&site, wanted, &events).await
    });
    Ok((detail, answer).into_response())
}
