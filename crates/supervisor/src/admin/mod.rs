//! The admin API and the dashboard: the routers, and what every handler can reach.
//!
//! Must not decide anything: every handler asks the [`Appliance`](crate::appliance::Appliance). The same routes are served on the
//! admin addresses, where a session or a token is needed, and on the control socket, where the peer's uid is enough.

#[cfg(test)]
mod access_test;
mod address_rules;
mod assets;
mod audit;
mod auth;
mod commands;
mod configuration;
mod deploy;
mod error;
mod events;
mod headers;
mod login;
mod logs;
mod names;
mod openapi;
mod password;
mod past_events;
mod prometheus;
mod rate_limit;
mod requests;
mod routes;
#[cfg(test)]
mod routes_test;
mod series;
mod sites;
mod span;
mod tokens;
mod users;
mod variables;

use std::sync::Arc;

use axum::{Router, middleware};

use crate::appliance::{Appliance, OperationError};

use auth::Door;
pub(crate) use error::AdminError;
use password::Hashing;
pub(crate) use password::first_password;
pub use password::hash_password;
use rate_limit::RateLimit;

/// What every handler can reach.
#[derive(Clone)]
pub(crate) struct AdminState {
    pub(crate) appliance: Arc<Appliance>,
    logins: Arc<RateLimit>,
    hashing: Arc<Hashing>,
}

impl AdminState {
    /// The state of a fresh API.
    pub(crate) fn new(appliance: Arc<Appliance>) -> Self {
        Self { appliance, logins: Arc::new(RateLimit::new()), hashing: Arc::new(Hashing::new()) }
    }

    /// # Errors
    /// Where nobody logs in: a folder is served in place.
    fn check_accounts(&self) -> Result<(), AdminError> {
        match self.appliance.in_place {
            true => Err(OperationError::InPlace.into()),
            false => Ok(()),
        }
    }
}

/// The routes for the admin addresses: a credential is needed.
pub(crate) fn public_router(state: AdminState) -> Router {
    let by_name = middleware::from_fn_with_state(state.clone(), names::check);
    routes::guarded(&state, Door::Address)
        .fallback(assets::serve)
        .layer(by_name)
        .layer(middleware::from_fn(headers::add))
        .with_state(state)
}

/// The same for the control socket: the peer's uid was checked already.
pub(crate) fn control_router(state: AdminState) -> Router {
    routes::guarded(&state, Door::Socket).fallback(error::not_found).with_state(state)
}
