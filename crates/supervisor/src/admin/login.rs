//! Logging in and out.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{ConnectInfo, Extension, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use rand::RngExt;

use super::auth::{COOKIE, cookie, token_hash};
use super::password::{self, is_right};
use super::{AdminError, AdminState, Operator};
use crate::api::{Login, NewPassword, Session};
use crate::appliance::OperationError;
use crate::store::SessionRow;

/// How long a login lasts.
const SESSION: Duration = Duration::from_secs(14 * 24 * 3600);
/// Longer passwords are not looked at.
const LONGEST_PASSWORD: usize = 1024;

/// `POST /api/v1/login`
pub(super) async fn login(
    State(state): State<AdminState>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    body: Result<Json<Login>, JsonRejection>,
) -> Result<Response, AdminError> {
    let Json(login) = body?;
    state.logins.attempt(peer.ip(), Instant::now()).map_err(AdminError::TooManyAttempts)?;
    let hash = state.appliance.store.password_hash(&login.user).await?;
    if !check(&state, login.password, hash).await? {
        tracing::warn!(client = %peer.ip(), "a login to the dashboard failed");
        return Err(AdminError::WrongPassword);
    }
    state.logins.succeeded(peer.ip());
    let (token, csrf_token) = (random_token(), random_token());
    let session = SessionRow { user: login.user, csrf_token };
    state.appliance.store.add_session(&token_hash(&token), &session, SESSION).await?;
    let body = Session { user: session.user, csrf_token: session.csrf_token };
    Ok(([(header::SET_COOKIE, set_cookie(&token, SESSION))], Json(body)).into_response())
}

async fn check(
    state: &AdminState,
    password: String,
    hash: Option<String>,
) -> Result<bool, AdminError> {
    if password.len() > LONGEST_PASSWORD {
        return Ok(false);
    }
    let internal = |error: &dyn std::error::Error| AdminError::Internal(error.to_string());
    let _permit = state.checks.acquire().await.map_err(|error| internal(&error))?;
    tokio::task::spawn_blocking(move || is_right(&password, hash.as_deref()))
        .await
        .map_err(|error| internal(&error))
}

/// `POST /api/v1/logout`
pub(super) async fn logout(
    State(state): State<AdminState>,
    headers: HeaderMap,
) -> Result<Response, AdminError> {
    if let Some(token) = cookie(&headers) {
        state.appliance.store.remove_session(&token_hash(token)).await?;
    }
    let forget = set_cookie("", Duration::ZERO);
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, forget)]).into_response())
}

/// `GET /api/v1/session`
pub(super) async fn session(Extension(operator): Extension<Operator>) -> Json<Session> {
    Json(match operator {
        Operator::User(session) => Session { user: session.user, csrf_token: session.csrf_token },
        Operator::Local => Session { user: "local".to_owned(), csrf_token: String::new() },
    })
}

/// `POST /api/v1/password`: for whoever runs the appliance and lost the password, not for whoever found a session.
pub(super) async fn new_password(
    State(state): State<AdminState>,
    Extension(operator): Extension<Operator>,
) -> Result<Json<NewPassword>, AdminError> {
    if operator != Operator::Local {
        return Err(AdminError::ControlSocketOnly);
    }
    if state.appliance.in_place {
        return Err(OperationError::InPlace.into());
    }
    let password = password::reset(&state.appliance.store).await?;
    tracing::info!("the dashboard's password was set anew");
    Ok(Json(NewPassword { user: password::FIRST_USER.to_owned(), password }))
}

fn set_cookie(token: &str, age: Duration) -> String {
    format!("{COOKIE}={token}; Path=/; HttpOnly; SameSite=Strict; Max-Age={}", age.as_secs())
}

/// 256 bits in hexadecimal digits.
fn random_token() -> String {
    let bytes: [u8; 32] = rand::rng().random();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cookie_is_out_of_reach_of_scripts_and_other_sites() {
        let cookie = set_cookie("t", Duration::from_secs(60));
        assert_eq!(cookie, "onebox_session=t; Path=/; HttpOnly; SameSite=Strict; Max-Age=60");
    }

    #[test]
    fn tokens_do_not_repeat() {
        assert_ne!(random_token(), random_token());
        assert_eq!(random_token().len(), 64);
    }
}
