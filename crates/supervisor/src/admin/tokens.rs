//! Credentials of programs.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;

use super::audit::Detail;
use super::auth::{Caller, Credential, token_hash};
use super::login::random_token;
use super::password::FIRST_USER;
use super::users::check_name;
use super::{AdminError, AdminState};
use crate::api::{CreatedToken, NewToken, Token};
use crate::clock::now_ms;

/// What a token begins with, so that programs that look for lost secrets know one.
const PREFIX: &str = "onebox_";

/// Every token, by name
#[utoipa::path(get, path = "/api/v1/tokens", operation_id = "tokens",
    responses((status = OK, body = Vec<Token>)))]
pub(super) async fn tokens(
    State(state): State<AdminState>,
) -> Result<Json<Vec<Token>>, AdminError> {
    Ok(Json(state.appliance.store.tokens().await?))
}

/// Make a token
///
/// It is in the answer and nowhere else.
#[utoipa::path(post, path = "/api/v1/tokens", operation_id = "create-token",
    request_body = NewToken, responses((status = CREATED, body = CreatedToken)))]
pub(super) async fn create_token(
    State(state): State<AdminState>,
    Extension(caller): Extension<Caller>,
    body: Result<Json<NewToken>, JsonRejection>,
) -> Result<(StatusCode, Extension<Detail>, Json<CreatedToken>), AdminError> {
    let Json(NewToken { name, mut scopes, lasts_s, user }) = body?;
    state.check_accounts()?;
    check_name(&name)?;
    scopes.sort_unstable();
    scopes.dedup();
    if scopes.is_empty() {
        return Err(AdminError::Malformed(
            "a token without a scope is good for nothing".to_owned(),
        ));
    }
    let user = user.unwrap_or(match caller.credential {
        Credential::Socket => FIRST_USER.to_owned(),
        Credential::Session { .. } | Credential::Token { .. } => caller.user,
    });
    let created_ms = now_ms();
    let expires_ms = lasts_s.map(|seconds| created_ms.saturating_add(i64::from(seconds) * 1000));
    let words: Vec<_> = scopes.iter().map(|scope| scope.name()).collect();
    let detail = Extension(Detail(format!("{name} for {user}: {}", words.join(", "))));
    let token = format!("{PREFIX}{}", random_token());
    let row = Token { name, user, scopes, created_ms, expires_ms, used_ms: None };
    state.appliance.store.add_token(&row, &token_hash(&token)).await?;
    Ok((StatusCode::CREATED, detail, Json(CreatedToken { name: row.name, token, expires_ms })))
}

/// Revoke a token
#[utoipa::path(delete, path = "/api/v1/tokens/{token}", operation_id = "revoke-token",
    responses((status = NO_CONTENT)))]
pub(super) async fn revoke_token(
    State(state): State<AdminState>,
    Path(token): Path<String>,
) -> Result<StatusCode, AdminError> {
    state.appliance.store.remove_token(&token).await?;
    Ok(StatusCode::NO_CONTENT)
}
