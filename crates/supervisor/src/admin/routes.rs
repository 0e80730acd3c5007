//! Every route of the API, and what it needs: one table, of which the routers and the OpenAPI document are made.

use axum::extract::DefaultBodyLimit;
use axum::http::Method;
use axum::{Router, middleware};
use utoipa::openapi::path::Operation;
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter};
use utoipa_axum::routes;

use super::auth::{self, Door, Guard};
use super::{
    AdminState, address_rules, audit, commands, configuration, deploy, events, login, logs,
    openapi, past_events, prometheus, requests, series, sites, tokens, users, variables,
};
use crate::api::Scope;

/// Bodies of everything but a deploy are small.
const BODY_BYTES: usize = 256 * 1024;

/// What a request has to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Needs {
    /// Nothing: this is where one logs in.
    Nothing,
    /// Any credential.
    Login,
    /// One that is good for this.
    Scope(Scope),
    /// The control socket.
    Socket,
}

/// How large the body of a request may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sends {
    /// [`BODY_BYTES`] at most.
    Little,
    /// A folder, which is as large as it is.
    Folder,
}

/// A route.
pub(super) struct Route {
    pub(super) needs: Needs,
    sends: Sends,
    router: UtoipaMethodRouter<AdminState>,
}

/// All of them.
pub(super) fn table() -> Vec<Route> {
    use Needs::{Login, Nothing, Socket};
    use Scope::{Admin, Deploy, Metrics, Operate, Read};
    let route = |needs, router| Route { needs, sends: Sends::Little, router };
    let scope = |scope, router| route(Needs::Scope(scope), router);
    vec![
        route(Nothing, routes!(login::login)),
        route(Login, routes!(login::logout)),
        route(Login, routes!(login::session)),
        route(Login, routes!(login::change_own_password)),
        route(Login, routes!(openapi::document)),
        scope(Metrics, routes!(prometheus::metrics)),
        scope(Read, routes!(sites::status)),
        scope(Read, routes!(sites::sites)),
        scope(Read, routes!(sites::site)),
        scope(Read, routes!(sites::releases)),
        scope(Read, routes!(sites::explain)),
        scope(Read, routes!(sites::explain_url)),
        scope(Read, routes!(configuration::configuration)),
        scope(Read, routes!(series::site_series)),
        scope(Read, routes!(series::site_routes)),
        scope(Read, routes!(series::box_series)),
        scope(Read, routes!(events::events)),
        scope(Read, routes!(past_events::past_events)),
        scope(Read, routes!(requests::errors)),
        scope(Read, routes!(requests::requests)),
        scope(Read, routes!(requests::autopsy)),
        scope(Read, routes!(logs::logs)),
        scope(Read, routes!(address_rules::address_rules)),
        scope(Read, routes!(address_rules::try_address_rule)),
        scope(Read, routes!(address_rules::suggest_address_rules)),
        Route { sends: Sends::Folder, ..scope(Deploy, routes!(deploy::deploy)) },
        scope(Deploy, routes!(configuration::check_configuration)),
        scope(Deploy, routes!(configuration::apply_configuration)),
        scope(Operate, routes!(deploy::restart)),
        scope(Operate, routes!(deploy::rollback)),
        scope(Operate, routes!(sites::stop)),
        scope(Operate, routes!(sites::start)),
        scope(Operate, routes!(sites::begin_maintenance)),
        scope(Operate, routes!(sites::end_maintenance)),
        scope(Operate, routes!(sites::purge)),
        scope(Operate, routes!(sites::renew_certificate)),
        scope(Operate, routes!(address_rules::add_address_rule)),
        scope(Operate, routes!(address_rules::remove_address_rule)),
        scope(Admin, routes!(sites::remove_site)),
        scope(Admin, routes!(variables::variables)),
        scope(Admin, routes!(variables::check_variables)),
        scope(Admin, routes!(variables::change_variables)),
        scope(Admin, routes!(sites::shutdown)),
        scope(Admin, routes!(users::users)),
        scope(Admin, routes!(users::add_user)),
        scope(Admin, routes!(users::change_role)),
        scope(Admin, routes!(users::change_password)),
        scope(Admin, routes!(users::remove_user)),
        scope(Admin, routes!(tokens::tokens)),
        scope(Admin, routes!(tokens::create_token)),
        scope(Admin, routes!(tokens::revoke_token)),
        scope(Admin, routes!(audit::audit)),
        route(Socket, routes!(login::reset_admin_password)),
        route(Socket, routes!(commands::command)),
    ]
}

impl Route {
    /// Its path.
    pub(super) fn path(&self) -> &str {
        self.router.1.paths.keys().next().map_or("", String::as_str)
    }

    /// What is asked for there, and what the document says of it.
    pub(super) fn operation(&mut self) -> Option<(Method, &mut Operation)> {
        let item = self.router.1.paths.values_mut().next()?;
        [
            (Method::GET, &mut item.get),
            (Method::POST, &mut item.post),
            (Method::PUT, &mut item.put),
            (Method::PATCH, &mut item.patch),
            (Method::DELETE, &mut item.delete),
        ]
        .into_iter()
        .find_map(|(method, operation)| Some((method, operation.as_mut()?)))
    }

    /// Adds what the document says of it.
    pub(super) fn describe(self, document: OpenApiRouter<AdminState>) -> OpenApiRouter<AdminState> {
        document.routes(self.router)
    }
}

/// The routes with their guards, for one of the two ways in.
pub(super) fn guarded(state: &AdminState, door: Door) -> Router<AdminState> {
    // Who has the control socket need not log in.
    let routes =
        table().into_iter().filter(|route| door == Door::Address || route.needs != Needs::Nothing);
    routes.fold(Router::new(), |all, mut route| {
        let operation = route.operation();
        let action = operation.and_then(|(_, operation)| operation.operation_id.clone());
        let action = action.unwrap_or_default();
        let guard = Guard { state: state.clone(), door, needs: route.needs, action };
        let guard = middleware::from_fn_with_state(guard, auth::check);
        let limit = match route.sends {
            Sends::Folder => DefaultBodyLimit::disable(),
            Sends::Little => DefaultBodyLimit::max(BODY_BYTES),
        };
        let path = route.path().to_owned();
        all.route(&path, route.router.2.route_layer(limit).route_layer(guard))
    })
}
