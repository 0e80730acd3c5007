//! The variables that were given to a site: listed, tried out, changed.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;

use super::audit::Detail;
use super::sites::run;
use super::{AdminError, AdminState};
use crate::api::{EnvVariable, VariableChanges, VariablesCheck};

/// The variables of a site, with their values
#[utoipa::path(get, path = "/api/v1/sites/{site}/env", operation_id = "variables",
    responses((status = OK, body = Vec<EnvVariable>)))]
pub(super) async fn variables(
    State(state): State<AdminState>,
    Path(site): Path<String>,
) -> Result<Json<Vec<EnvVariable>>, AdminError> {
    Ok(Json(state.appliance.variables(&site).await?))
}

/// What changes of variables would do; nothing is changed
#[utoipa::path(post, path = "/api/v1/sites/{site}/env/check", operation_id = "check-variables",
    request_body = VariableChanges, responses((status = OK, body = VariablesCheck)))]
pub(super) async fn check_variables(
    State(state): State<AdminState>,
    Path(site): Path<String>,
    body: Result<Json<VariableChanges>, JsonRejection>,
) -> Result<Json<VariablesCheck>, AdminError> {
    let Json(wanted) = body?;
    Ok(Json(state.appliance.check_variables(&site, &wanted).await?))
}

/// Set variables and take away those that are null, all or none, and restart the site
#[utoipa::path(patch, path = "/api/v1/sites/{site}/env", operation_id = "change-variables",
    request_body = VariableChanges, responses((status = NO_CONTENT)))]
pub(super) async fn change_variables(
    State(state): State<AdminState>,
    Path(site): Path<String>,
    body: Result<Json<VariableChanges>, JsonRejection>,
) -> Result<(Extension<Detail>, StatusCode), AdminError> {
    let Json(wanted) = body?;
    let detail = Extension(Detail(wanted.shown()));
    let done = run(async move { state.appliance.change_variables(&site, &wanted).await }).await?;
    Ok((detail, done))
}
