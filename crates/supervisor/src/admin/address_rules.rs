//! Rules for addresses: who is refused by which sites, what a rule would have done, who should be refused.

use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Extension, Path, Query, State};
use axum::http::StatusCode;

use super::audit::Detail;
use super::auth::Caller;
use super::{AdminError, AdminState};
use crate::api::{
    AddedAddressRule, AddressRule, ApiError, NewAddressRule, RuleSuggestions, RuleTrial,
    RuleTrialQuery,
};
use crate::appliance::Asking;

impl From<&Caller> for Asking {
    fn from(caller: &Caller) -> Self {
        Self { who: caller.user.clone(), address: caller.client.parse().ok() }
    }
}

/// The rules for addresses that hold, those of box.toml last
#[utoipa::path(get, path = "/api/v1/address-rules", operation_id = "address-rules",
    responses((status = OK, body = Vec<AddressRule>)))]
pub(super) async fn address_rules(State(state): State<AdminState>) -> Json<Vec<AddressRule>> {
    Json(state.appliance.address_rules())
}

/// Refuse an address, or let it in
///
/// The same rule again has another end and reason.
#[utoipa::path(post, path = "/api/v1/address-rules", operation_id = "add-address-rule",
    request_body = NewAddressRule, responses((status = CREATED, body = AddedAddressRule),
        (status = NOT_FOUND, description = "There is no such site.", body = ApiError)))]
pub(super) async fn add_address_rule(
    State(state): State<AdminState>,
    Extension(caller): Extension<Caller>,
    body: Result<Json<NewAddressRule>, JsonRejection>,
) -> Result<(StatusCode, Extension<Detail>, Json<AddedAddressRule>), AdminError> {
    let Json(new) = body?;
    let added = state.appliance.add_address_rule(new, &Asking::from(&caller)).await?;
    let mut detail = told(&added.rule);
    if let Some(reason) = &added.rule.reason {
        detail.push_str(&format!(": {reason}"));
    }
    Ok((StatusCode::CREATED, Extension(Detail(detail)), Json(added)))
}

/// Remove a rule for an address
#[utoipa::path(delete, path = "/api/v1/address-rules/{rule}", operation_id = "remove-address-rule",
    responses((status = NO_CONTENT)))]
pub(super) async fn remove_address_rule(
    State(state): State<AdminState>,
    Path(rule): Path<String>,
) -> Result<(Extension<Detail>, StatusCode), AdminError> {
    let id = rule.parse().map_err(|_| AdminError::NotFound)?;
    let removed = state.appliance.remove_address_rule(id).await?;
    let detail = removed.as_ref().map(told).unwrap_or_default();
    Ok((Extension(Detail(detail)), StatusCode::NO_CONTENT))
}

/// What a rule would have done within the last hour
///
/// From the access logs, which have every request. With a busy hour it takes seconds.
#[utoipa::path(get, path = "/api/v1/address-rules/trial", operation_id = "try-address-rule",
    params(RuleTrialQuery), responses((status = OK, body = RuleTrial),
        (status = NOT_FOUND, description = "There is no such site.", body = ApiError)))]
pub(super) async fn try_address_rule(
    State(state): State<AdminState>,
    Extension(caller): Extension<Caller>,
    query: Result<Query<RuleTrialQuery>, QueryRejection>,
) -> Result<Json<RuleTrial>, AdminError> {
    let Query(query) = query?;
    Ok(Json(state.appliance.try_address_rule(&query, &Asking::from(&caller)).await?))
}

/// Who looked for holes within the last hour
///
/// From the access logs. Nobody is refused by this.
#[utoipa::path(get, path = "/api/v1/address-rules/suggestions", operation_id = "suggest-address-rules",
    responses((status = OK, body = RuleSuggestions)))]
pub(super) async fn suggest_address_rules(
    State(state): State<AdminState>,
) -> Result<Json<RuleSuggestions>, AdminError> {
    Ok(Json(state.appliance.suggest_address_rules().await?))
}

/// `deny 203.0.113.0/24 on blog`.
fn told(rule: &AddressRule) -> String {
    let site = rule.site.as_ref().map(|site| format!(" on {site}")).unwrap_or_default();
    format!("{} {}{site}", rule.action.name(), rule.network)
}
