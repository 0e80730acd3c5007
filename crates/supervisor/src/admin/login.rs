//! Logging in and out, and one's own password.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{ConnectInfo, Extension, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use onebox_config::SESSION_COOKIE;
use rand::RngExt;

use super::auth::{Caller, Credential, cookie, token_hash};
use super::password::FIRST_USER;
use super::{AdminError, AdminState, audit};
use crate::api::{Login, NewPassword, OwnPassword, Role, Session};

/// How long a login lasts at most.
const SESSION: Duration = Duration::from_secs(14 * 24 * 3600);

/// Log in
///
/// The answer sets the session's cookie, which is new with each login.
#[utoipa::path(post, path = "/api/v1/login", operation_id = "login", request_body = Login,
    responses((status = OK, body = Session)))]
pub(super) async fn login(
    State(state): State<AdminState>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    body: Result<Json<Login>, JsonRejection>,
) -> Result<Response, AdminError> {
    let Json(Login { user, password }) = body?;
    let from = peer.ip().to_canonical();
    state.logins.attempt(from, &user, Instant::now()).map_err(AdminError::TooManyAttempts)?;
    let entry = audit::begin_login(&state, user.clone(), from.to_string()).await;
    let done = check(&state, from, user, password, &headers).await;
    let mut response = done.unwrap_or_else(IntoResponse::into_response);
    entry.finish(&state, &mut response).await;
    Ok(response)
}

async fn check(
    state: &AdminState,
    from: IpAddr,
    user: String,
    password: String,
    headers: &HeaderMap,
) -> Result<Response, AdminError> {
    let role = right_password(state, &user, password).await?;
    state.logins.succeeded(from, &user);
    if let Some(before) = cookie(headers) {
        state.appliance.store.remove_session(&token_hash(before)).await?;
    }
    let (token, csrf_token) = (random_token(), random_token());
    state.appliance.store.add_session(&token_hash(&token), &user, &csrf_token, SESSION).await?;
    let cookie = set_cookie(&token, SESSION, is_over_tls(headers));
    let session = Session { user, role, scopes: role.scopes().to_vec(), csrf_token };
    Ok(([(header::SET_COOKIE, cookie)], Json(session)).into_response())
}

/// The role of a user who knows the password.
async fn right_password(
    state: &AdminState,
    user: &str,
    password: String,
) -> Result<Role, AdminError> {
    let known = state.appliance.store.login_of(user).await?;
    let (hash, role) = known.map(|known| (known.password_hash, known.role)).unzip();
    let is_right = state.hashing.is_right(password, hash).await?;
    role.filter(|_| is_right).ok_or(AdminError::WrongPassword)
}

/// Log out
///
/// Ends the session of the cookie.
#[utoipa::path(post, path = "/api/v1/logout", operation_id = "logout",
    responses((status = NO_CONTENT)))]
pub(super) async fn logout(
    State(state): State<AdminState>,
    headers: HeaderMap,
) -> Result<Response, AdminError> {
    if let Some(token) = cookie(&headers) {
        state.appliance.store.remove_session(&token_hash(token)).await?;
    }
    let forget = set_cookie("", Duration::ZERO, is_over_tls(&headers));
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, forget)]).into_response())
}

/// Who asks, and what the credential is good for
#[utoipa::path(get, path = "/api/v1/session", operation_id = "session",
    responses((status = OK, body = Session)))]
pub(super) async fn session(Extension(caller): Extension<Caller>) -> Json<Session> {
    Json(caller.to_session())
}

/// Set one's own password
///
/// Every other session of the user ends.
#[utoipa::path(post, path = "/api/v1/session/password", operation_id = "change-own-password",
    request_body = OwnPassword, responses((status = NO_CONTENT)))]
pub(super) async fn change_own_password(
    State(state): State<AdminState>,
    Extension(caller): Extension<Caller>,
    body: Result<Json<OwnPassword>, JsonRejection>,
) -> Result<StatusCode, AdminError> {
    let Json(OwnPassword { current, new }) = body?;
    let Credential::Session { token_hash, .. } = &caller.credential else {
        return Err(AdminError::SessionOnly);
    };
    // A session that somebody else found must not tell the password by guesses.
    if let Ok(from) = caller.client.parse() {
        let limited = state.logins.attempt(from, &caller.user, Instant::now());
        limited.map_err(AdminError::TooManyAttempts)?;
    }
    match right_password(&state, &caller.user, current).await {
        Ok(_) => {}
        // The session is still good.
        Err(AdminError::WrongPassword) => {
            return Err(AdminError::Malformed("the current password is wrong".to_owned()));
        }
        Err(error) => return Err(error),
    }
    let (hash, _) = state.hashing.hash(Some(new)).await?;
    state.appliance.store.set_password(&caller.user, &hash, Some(token_hash)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Give the user `admin` a new password
///
/// For whoever runs the appliance and lost the password, not for whoever found a session: over the control socket only. Every
/// session ends.
#[utoipa::path(post, path = "/api/v1/password", operation_id = "reset-admin-password",
    responses((status = OK, body = NewPassword)))]
pub(super) async fn reset_admin_password(
    State(state): State<AdminState>,
) -> Result<Json<NewPassword>, AdminError> {
    state.check_accounts()?;
    let (hash, password) = state.hashing.hash(None).await?;
    state.appliance.store.reset_admin(FIRST_USER, &hash).await?;
    Ok(Json(NewPassword { user: FIRST_USER.to_owned(), password }))
}

/// Whether the page that asks came over TLS: its server in front has ended that.
fn is_over_tls(headers: &HeaderMap) -> bool {
    headers.get(header::ORIGIN).is_some_and(|origin| origin.as_bytes().starts_with(b"https://"))
}

fn set_cookie(token: &str, age: Duration, is_over_tls: bool) -> String {
    let secure = if is_over_tls { "; Secure" } else { "" };
    let age = age.as_secs();
    format!("{SESSION_COOKIE}={token}; Path=/; HttpOnly; SameSite=Strict; Max-Age={age}{secure}")
}

/// 256 bits in hexadecimal digits.
pub(super) fn random_token() -> String {
    let bytes: [u8; 32] = rand::rng().random();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cookie_is_out_of_reach_of_scripts_and_other_sites() {
        let cookie = |tls| set_cookie("t", Duration::from_secs(60), tls);
        let plain = "onebox_session=t; Path=/; HttpOnly; SameSite=Strict; Max-Age=60";
        assert_eq!(cookie(false), plain);
        assert_eq!(cookie(true), format!("{plain}; Secure"));
    }

    #[test]
    fn tokens_do_not_repeat() {
        assert_ne!(random_token(), random_token());
        assert_eq!(random_token().len(), 64);
    }
}
