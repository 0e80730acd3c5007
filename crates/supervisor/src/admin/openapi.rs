//! What the API is, for programs: an OpenAPI document, made of the handlers themselves and of what the table of routes says they need.
//!
//! Source: OpenAPI 3.1.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use axum::http::{Method, header};
use axum::response::IntoResponse;
use onebox_config::SESSION_COOKIE;
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::{
    ComponentsBuilder, ContentBuilder, InfoBuilder, OpenApi, OpenApiBuilder, Ref, RefOr, Required,
    ResponseBuilder, Schema, schema,
};
use utoipa::{PartialSchema, ToSchema};
use utoipa_axum::router::OpenApiRouter;

use super::routes::{self, Needs, Route};
use crate::api::ApiError;

/// The names of the two credentials.
const SESSION: &str = "session";
const TOKEN: &str = "token";

/// The document, as JSON.
static DOCUMENT: LazyLock<Result<String, serde_json::Error>> =
    LazyLock::new(|| build().to_pretty_json());

/// This document
#[utoipa::path(get, path = "/api/v1/openapi.json", operation_id = "openapi",
    responses((status = OK, body = serde_json::Value)))]
pub(super) async fn document() -> Result<impl IntoResponse, super::AdminError> {
    match &*DOCUMENT {
        Ok(document) => Ok(([(header::CONTENT_TYPE, "application/json")], document.as_str())),
        Err(error) => Err(super::AdminError::internal(error)),
    }
}

pub(super) fn build() -> OpenApi {
    let document = OpenApiRouter::with_openapi(OpenApiBuilder::new().info(info()).build());
    let routes = routes::table().into_iter().map(|mut route| {
        complete(&mut route);
        route
    });
    let mut document = routes.fold(document, |all, route| route.describe(all)).into_openapi();
    let taken = bodies(&document);
    let components = document.components.get_or_insert_with(|| ComponentsBuilder::new().build());
    for (name, schema) in &mut components.schemas {
        if !taken.contains(name) {
            require_all(schema);
        }
    }
    components.schemas.insert(ApiError::name().into_owned(), ApiError::schema());
    let cookie = ApiKeyValue::with_description(SESSION_COOKIE, "Set by a login.");
    components.add_security_scheme(SESSION, SecurityScheme::ApiKey(ApiKey::Cookie(cookie)));
    components.add_security_scheme(TOKEN, SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
    document
}

/// The names of the types that requests have.
fn bodies(document: &OpenApi) -> BTreeSet<String> {
    let paths = document.paths.paths.values();
    let operations = paths.flat_map(|item| [&item.post, &item.put, &item.patch, &item.delete]);
    let bodies = operations.flatten().filter_map(|operation| operation.request_body.as_ref());
    let text = bodies.filter_map(|body| serde_json::to_string(body).ok());
    text.flat_map(|text| {
        let named = text.split("#/components/schemas/").skip(1);
        named.filter_map(|rest| Some(rest.split('"').next()?.to_owned())).collect::<Vec<_>>()
    })
    .collect()
}

/// What answers may say is always said: `null` where there is nothing.
fn require_all(schema: &mut RefOr<Schema>) {
    match schema {
        RefOr::T(Schema::Object(object)) => {
            object.required = object.properties.keys().cloned().collect();
        }
        RefOr::T(Schema::AllOf(all)) => all.items.iter_mut().for_each(require_all),
        RefOr::T(Schema::OneOf(one)) => one.items.iter_mut().for_each(require_all),
        _ => {}
    }
}

fn info() -> utoipa::openapi::Info {
    InfoBuilder::new()
        .title("onebox")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(
            "The admin API of an appliance. On the admin addresses a request carries the cookie of a login, and with it \
             `X-CSRF-Token` where it changes something, or a token as `Authorization: Bearer …`. On the control socket the \
             user of the process is the credential. Times are milliseconds since the Unix epoch (`_ms`), sizes bytes.",
        ))
        .build()
}

/// Adds what follows from the path and from what the route needs.
fn complete(route: &mut Route) {
    let (needs, path) = (route.needs, route.path().to_owned());
    let Some((method, operation)) = route.operation() else { return };
    let named: Vec<&str> =
        path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')).collect();
    let has_input = operation.request_body.is_some() || operation.parameters.is_some();
    let parameters = operation.parameters.get_or_insert_default();
    parameters.extend(named.iter().map(|name| RefOr::T(path_parameter(name))));
    operation.security = Some(security(needs));
    refusal(operation, "421", "The request was sent to a name that is not the dashboard's.");
    refusal(operation, "500", "Something of the appliance failed.");
    refusal(operation, "503", "The appliance is too busy, or its history can't be read.");
    if has_input || !named.is_empty() {
        refusal(operation, "400", "The request is not understood.");
    }
    match needs {
        Needs::Nothing => {
            refusal(operation, "401", "The user or the password is wrong.");
            refusal(operation, "429", "Too many attempts: `Retry-After` says how long to wait.");
        }
        _ => refusal(operation, "401", "There is no credential, or it is worth nothing any more."),
    }
    if needs != Needs::Nothing && (needs != Needs::Login || method != Method::GET) {
        refusal(
            operation,
            "403",
            "The credential is not good for this, or the CSRF token is missing.",
        );
    }
    if !named.is_empty() {
        refusal(operation, "404", "There is no such thing.");
    }
    if method != Method::GET {
        refusal(operation, "409", "It can't be done as things are.");
    }
}

fn path_parameter(name: &str) -> Parameter {
    let description = match name {
        "site" => "The site's name.",
        "user" => "The user's name.",
        "token" => "The token's name.",
        "variable" => "The variable's name.",
        "rule" => "The rule's id.",
        _ => "Its identity in logs and error pages.",
    };
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Path)
        .required(Required::True)
        .description(Some(description))
        .schema(Some(schema::Object::with_type(schema::Type::String)))
        .build()
}

/// Either credential is enough.
fn security(needs: Needs) -> Vec<SecurityRequirement> {
    let none: [&str; 0] = [];
    match needs {
        Needs::Nothing | Needs::Socket => Vec::new(),
        Needs::Login => {
            vec![SecurityRequirement::new(SESSION, none), SecurityRequirement::new(TOKEN, none)]
        }
        Needs::Scope(scope) => vec![
            SecurityRequirement::new(SESSION, [scope.name()]),
            SecurityRequirement::new(TOKEN, [scope.name()]),
        ],
    }
}

fn refusal(operation: &mut Operation, status: &str, description: &str) {
    let error = Ref::from_schema_name(ApiError::name());
    let response = ResponseBuilder::new()
        .description(description)
        .content("application/json", ContentBuilder::new().schema(Some(error)).build())
        .build();
    operation.responses.responses.entry(status.to_owned()).or_insert(RefOr::T(response));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_has_a_name_of_its_own_a_summary_and_answers() {
        let mut names = BTreeSet::new();
        let mut table = routes::table();
        for route in &mut table {
            let path = route.path().to_owned();
            let (_, operation) = route.operation().unwrap();
            let name = operation.operation_id.clone().unwrap();
            assert!(
                operation.summary.is_some() && !operation.responses.responses.is_empty(),
                "{path}"
            );
            assert!(names.insert(name), "{path}");
        }
        assert_eq!(names.len(), table.len());
    }

    /// `INSTA_UPDATE=always` writes it anew; then `npm run check` in web-ui says what the dashboard has to know.
    #[test]
    fn the_dashboard_knows_every_type_as_it_is() {
        let document = serde_json::to_value(build()).unwrap();
        let types = serde_json::json!({
            "openapi": document["openapi"],
            "info": { "title": "The types of the admin API", "version": "1" },
            "paths": {},
            "components": { "schemas": document["components"]["schemas"] },
        });
        let told = serde_json::to_string_pretty(&types).unwrap() + "\n";
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../web-ui/openapi.json");
        if std::env::var_os("INSTA_UPDATE").is_some_and(|how| how == "always") {
            std::fs::write(path, &told).unwrap();
        }
        let known = std::fs::read_to_string(path).unwrap();
        assert!(known == told, "{path} is of before: INSTA_UPDATE=always cargo test, and look");
    }

    #[test]
    fn every_type_that_is_named_is_described() {
        let document = serde_json::to_value(build()).unwrap();
        let text = document.to_string();
        let mut seen = 0;
        for rest in text.split("#/components/schemas/").skip(1) {
            let name = rest.split('"').next().unwrap();
            assert!(document["components"]["schemas"][name].is_object(), "{name}");
            seen += 1;
        }
        assert!(seen > 100, "{seen}");
    }
}
