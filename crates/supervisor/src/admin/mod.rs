//! The admin API and the dashboard: the list of routes, and who may use them.
//!
//! Must not decide anything: every handler asks the [`Appliance`](crate::appliance::Appliance). The same routes are served on the
//! admin addresses, where a session is needed, and on the control socket, where the peer's uid is enough.

mod assets;
pub(crate) mod auth;
mod deploy;
mod error;
mod events;
mod headers;
mod login;
mod logs;
mod names;
mod password;
mod past_events;
mod prometheus;
mod rate_limit;
mod requests;
#[cfg(test)]
mod routes_test;
mod series;
mod sites;

use std::sync::Arc;

use axum::extract::DefaultBodyLimit;
use axum::routing::{delete, get, post, put};
use axum::{Router, middleware};

use crate::appliance::Appliance;

pub(crate) use auth::Operator;
pub(crate) use error::AdminError;
pub(crate) use password::first_password;
pub use password::hash_password;
use rate_limit::RateLimit;

/// Bodies of everything but a deploy are small.
const BODY_BYTES: usize = 256 * 1024;

/// What every handler can reach.
#[derive(Clone)]
pub(crate) struct AdminState {
    pub(crate) appliance: Arc<Appliance>,
    logins: Arc<RateLimit>,
    /// Password checks at the same time: each takes 19 MB.
    checks: Arc<tokio::sync::Semaphore>,
}

impl AdminState {
    /// The state of a fresh API.
    pub(crate) fn new(appliance: Arc<Appliance>) -> Self {
        let checks = Arc::new(tokio::sync::Semaphore::new(1));
        Self { appliance, logins: Arc::new(RateLimit::new()), checks }
    }
}

/// Everything that needs a credential.
fn routes() -> Router<AdminState> {
    Router::new()
        .route("/api/v1/status", get(sites::status))
        .route("/api/v1/events", get(events::events))
        .route("/api/v1/events/past", get(past_events::past_events))
        .route("/api/v1/series", get(series::the_box))
        .route("/metrics", get(prometheus::metrics))
        .route("/api/v1/shutdown", post(sites::shutdown))
        .route("/api/v1/session", get(login::session))
        .route("/api/v1/logout", post(login::logout))
        .route("/api/v1/password", post(login::new_password))
        .route("/api/v1/sites", get(sites::list))
        .route("/api/v1/sites/{site}", get(sites::site).delete(sites::remove))
        .route("/api/v1/sites/{site}/releases", get(sites::releases))
        .route("/api/v1/sites/{site}/series", get(series::site))
        .route("/api/v1/sites/{site}/errors", get(requests::errors))
        .route("/api/v1/requests", get(requests::search))
        .route("/api/v1/requests/{id}", get(requests::autopsy))
        .route("/api/v1/sites/{site}/explain", get(sites::explain))
        .route("/api/v1/sites/{site}/logs", get(logs::logs))
        .route("/api/v1/sites/{site}/restart", post(deploy::restart))
        .route("/api/v1/sites/{site}/rollback", post(deploy::rollback))
        .route("/api/v1/sites/{site}/stop", post(sites::stop))
        .route("/api/v1/sites/{site}/start", post(sites::start))
        .route("/api/v1/sites/{site}/maintenance", post(sites::begin_maintenance))
        .route("/api/v1/sites/{site}/maintenance", delete(sites::end_maintenance))
        .route("/api/v1/sites/{site}/purge", post(sites::purge))
        .route("/api/v1/sites/{site}/certificate/renew", post(sites::renew_certificate))
        .route("/api/v1/explain", get(sites::explain_url))
        .route("/api/v1/sites/{site}/env", get(sites::variables))
        .route("/api/v1/sites/{site}/env", put(sites::set_variables))
        .route("/api/v1/sites/{site}/env/{variable}", delete(sites::remove_variable))
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .route(
            "/api/v1/deploy",
            post(deploy::deploy).layer::<_, std::convert::Infallible>(DefaultBodyLimit::disable()),
        )
}

/// The routes for the admin addresses: a session is needed.
pub(crate) fn public_router(state: AdminState) -> Router {
    let by_session = middleware::from_fn_with_state(state.clone(), auth::by_session);
    let by_name = middleware::from_fn_with_state(state.clone(), names::check);
    routes()
        .route_layer(by_session)
        .route("/api/v1/login", post(login::login))
        .route_layer(by_name)
        .fallback(assets::serve)
        .layer(middleware::from_fn(headers::add))
        .with_state(state)
}

/// The same for the control socket: the peer's uid was checked already.
pub(crate) fn control_router(state: AdminState) -> Router {
    routes()
        .route_layer(middleware::from_fn(auth::by_socket))
        .fallback(error::not_found)
        .with_state(state)
}
