//! Who may do what, on an appliance that runs nothing: every route with every role, tokens, users, the audit log.

use axum::body::Body;
use axum::http::{Method, Request, StatusCode, header};
use serde_json::{Value, json};
use tower::ServiceExt;

use super::auth::token_hash;
use super::control_router;
use super::routes::{Needs, table};
use super::routes_test::{Api, body};
use crate::api::{Role, Scope};

/// A path of each route, with names that nobody has.
fn routes() -> Vec<(Needs, Method, String)> {
    let mut table = table();
    let routes = table.iter_mut().map(|route| {
        let path = route.path().replace("{site}", "nowhere").replace("{user}", "nobody");
        let path =
            path.replace("{token}", "none").replace("{variable}", "NAME").replace("{id}", "0");
        let path = path.replace("{rule}", "0");
        (route.needs, route.operation().unwrap().0, path)
    });
    let routes: Vec<_> = routes.collect();
    assert!(routes.len() > 40 && !routes.iter().any(|(_, _, path)| path.contains('{')));
    routes
}

/// Logs a user with this role in, without a password.
async fn session(api: &Api, role: Role) -> [(&'static str, String); 2] {
    let (store, name) = (&api.state.appliance.store, format!("a-{role}"));
    // A user who is there already has the same role.
    store.add_user(&name, role, "hash").await.ok();
    let cookie = super::login::random_token();
    let day = std::time::Duration::from_secs(86_400);
    store.add_session(&token_hash(&cookie), &name, "csrf", day).await.unwrap();
    [("cookie", format!("onebox_session={cookie}")), ("x-csrf-token", "csrf".to_owned())]
}

async fn token(api: &Api, scopes: &[Scope], user: &str) -> String {
    let name = format!("t-{}", &super::login::random_token()[..16]);
    let wanted = json!({"name": name, "scopes": scopes, "user": user});
    let created = local(api, "POST", "/api/v1/tokens", wanted).await;
    created.1["token"].as_str().unwrap_or_else(|| panic!("{created:?}")).to_owned()
}

/// Asks over the control socket.
async fn local(api: &Api, method: &str, path: &str, sent: Value) -> (StatusCode, Value) {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(sent.to_string()));
    let answer = control_router(api.state.clone()).oneshot(request.unwrap()).await.unwrap();
    let status = answer.status();
    let told = if status == StatusCode::NO_CONTENT { Value::Null } else { body(answer).await };
    (status, told)
}

async fn ask(api: &Api, method: &Method, path: &str, headers: &[(&str, String)]) -> StatusCode {
    let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    api.ask(method.as_str(), path, &headers).await
}

#[tokio::test]
async fn nothing_is_told_or_done_without_a_credential() {
    let api = Api::new().await;
    for (needs, method, path) in routes() {
        if needs == Needs::Nothing {
            continue;
        }
        let bearer = |token: &str| ("authorization", format!("Bearer {token}"));
        let cookie = |token: &str| ("cookie", format!("onebox_session={token}"));
        for shown in [cookie(""), cookie("0123"), bearer(""), bearer("onebox_0123")] {
            let status = ask(&api, &method, &path, std::slice::from_ref(&shown)).await;
            assert_eq!(status, StatusCode::UNAUTHORIZED, "{method} {path} with {shown:?}");
        }
    }
}

#[tokio::test]
async fn every_route_is_open_to_the_roles_that_have_what_it_needs_and_to_no_other() {
    let mut told = Vec::new();
    for role in Role::ALL {
        // Each has an appliance of its own: some of it ends with what is asked for.
        let api = Api::new().await;
        for (needs, method, path) in routes() {
            let may = match needs {
                Needs::Nothing | Needs::Login => true,
                Needs::Scope(scope) => role.scopes().contains(&scope),
                Needs::Socket => false,
            };
            let status = ask(&api, &method, &path, &session(&api, role).await).await;
            assert_ne!(status, StatusCode::UNAUTHORIZED, "{role} {method} {path}");
            assert_eq!(status != StatusCode::FORBIDDEN, may, "{role} {method} {path}: {status}");
            told.push(may);
        }
    }
    assert!(told.contains(&true) && told.contains(&false));
}

#[tokio::test]
async fn a_token_may_do_what_its_scopes_say_and_no_more_than_its_user() {
    let api = Api::new().await;
    local(&api, "POST", "/api/v1/users", json!({"name": "vera", "role": "viewer"})).await;
    for scope in Scope::ALL {
        let (mine, hers) =
            (token(&api, &[scope], "admin").await, token(&api, &[scope], "vera").await);
        for (needs, method, path) in routes() {
            let Needs::Scope(needed) = needs else { continue };
            if path == "/api/v1/shutdown" {
                continue;
            }
            for (token, may) in [
                (&mine, needed == scope),
                (&hers, needed == scope && Role::Viewer.scopes().contains(&scope)),
            ] {
                let bearer = ("authorization", format!("Bearer {token}"));
                let status = ask(&api, &method, &path, &[bearer]).await;
                assert_eq!(status != StatusCode::FORBIDDEN, may, "{scope} {method} {path}");
            }
        }
    }
}

#[tokio::test]
async fn what_changes_something_needs_the_csrf_token_of_a_session_and_none_of_a_token() {
    let api = Api::new().await;
    let [cookie, _] = session(&api, Role::Admin).await;
    let mut seen = 0;
    for (needs, method, path) in routes() {
        if needs == Needs::Nothing || method == Method::GET {
            continue;
        }
        seen += 1;
        for csrf in ["", "other"] {
            let headers = [cookie.clone(), ("x-csrf-token", csrf.to_owned())];
            assert_eq!(ask(&api, &method, &path, &headers).await, StatusCode::FORBIDDEN, "{path}");
        }
    }
    assert!(seen > 15, "{seen}");
    let bearer =
        ("authorization", format!("Bearer {}", token(&api, &[Scope::Operate], "admin").await));
    let restart = ask(&api, &Method::POST, "/api/v1/sites/nowhere/restart", &[bearer]).await;
    assert_eq!(restart, StatusCode::NOT_FOUND, "there is no such site");
}

#[tokio::test]
async fn a_role_that_is_taken_away_is_gone_at_once() {
    let api = Api::new().await;
    let viewer = session(&api, Role::Viewer).await;
    let restart = "/api/v1/sites/nowhere/restart";
    assert_eq!(ask(&api, &Method::POST, restart, &viewer).await, StatusCode::FORBIDDEN);
    let role = |role: &str| json!({ "role": role });
    let path = "/api/v1/users/a-viewer";
    assert_eq!(local(&api, "PATCH", path, role("operator")).await.0, StatusCode::NO_CONTENT);
    assert_eq!(ask(&api, &Method::POST, restart, &viewer).await, StatusCode::NOT_FOUND);
    assert_eq!(local(&api, "DELETE", path, json!({})).await.0, StatusCode::NO_CONTENT);
    assert_eq!(ask(&api, &Method::GET, "/api/v1/status", &viewer).await, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn users_and_tokens_that_cannot_be_are_refused() {
    let api = Api::new().await;
    let post = |path: &'static str, sent: Value| local(&api, "POST", path, sent);
    let (users, tokens) = ("/api/v1/users", "/api/v1/tokens");
    assert_eq!(post(users, json!({"name": "vera", "role": "viewer"})).await.0, StatusCode::CREATED);
    for (path, sent, status) in [
        (users, json!({"name": "vera", "role": "admin"}), 409),
        (users, json!({"name": "Vera", "role": "admin"}), 400),
        (users, json!({"name": "cli", "role": "admin"}), 400),
        (users, json!({"name": "v", "role": "root"}), 400),
        (users, json!({"name": "v", "role": "viewer", "password": "short"}), 400),
        (users, json!({"name": "v", "role": "viewer", "colour": "red"}), 400),
        ("/api/v1/users/nobody/password", json!({}), 404),
        ("/api/v1/users/vera/password", json!({"password": "short"}), 400),
        (tokens, json!({"name": "t", "scopes": []}), 400),
        (tokens, json!({"name": "t", "scopes": ["all"]}), 400),
        (tokens, json!({"name": "T", "scopes": ["read"]}), 400),
        (tokens, json!({"name": "t", "scopes": ["read"], "user": "nobody"}), 404),
        (tokens, json!({"name": "t", "scopes": ["read"], "lasts_s": -1}), 400),
    ] {
        let (got, told) = post(path, sent.clone()).await;
        assert_eq!(got.as_u16(), status, "{path} {sent}: {told}");
        assert!(told["error"].is_string(), "{told}");
    }
    let last = local(&api, "DELETE", "/api/v1/users/admin", json!({})).await;
    assert_eq!(
        (last.0, last.1["hint"].as_str()),
        (StatusCode::CONFLICT, Some("make somebody else an admin first"))
    );
    assert_eq!(local(&api, "DELETE", "/api/v1/tokens/t", json!({})).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn every_change_is_written_down_with_who_and_from_where() {
    let api = Api::new().await;
    let login = api.login().await;
    assert_eq!(api.log_in("wrong").await.status(), StatusCode::UNAUTHORIZED);
    local(
        &api,
        "POST",
        "/api/v1/users",
        json!({"name": "vera", "role": "viewer", "password": "a long password"}),
    )
    .await;
    local(&api, "PATCH", "/api/v1/sites/blog/env", json!({"SECRET": "hush"})).await;
    let headers = [("cookie", login.cookie), ("x-csrf-token", login.csrf_token)];
    ask(&api, &Method::POST, "/api/v1/sites/blog/restart", &headers).await;
    let viewer = session(&api, Role::Viewer).await;
    ask(&api, &Method::DELETE, "/api/v1/sites/blog", &viewer).await;
    ask(&api, &Method::GET, "/api/v1/status", &viewer).await;
    let bearer =
        ("authorization", format!("Bearer {}", token(&api, &[Scope::Operate], "admin").await));
    ask(&api, &Method::POST, "/api/v1/sites/blog/stop", &[bearer]).await;
    let (_, told) = local(&api, "GET", "/api/v1/audit", json!({})).await;
    let told: Vec<_> = told.as_array().unwrap().iter().rev().collect();
    let seen: Vec<_> = told
        .iter()
        .map(|entry| {
            let text = |key: &str| entry[key].as_str().unwrap_or("-").to_owned();
            let token = if entry["token"].is_null() { "" } else { " by token" };
            let (who, action, target) = (text("who"), text("action"), text("target"));
            format!("{who}{token} {action} {target} {}", entry["status"])
        })
        .collect();
    assert_eq!(
        seen,
        [
            "admin login - 200",
            "admin login - 401",
            "cli add-user - 201",
            "cli change-variables blog 404",
            "admin restart blog 404",
            "a-viewer remove-site blog 403",
            "cli create-token - 201",
            "admin by token stop blog 404",
        ]
    );
    assert_eq!(
        (&told[0]["client"], &told[2]["detail"]),
        (&json!("192.0.2.1"), &json!("vera, viewer"))
    );
    let all = serde_json::to_string(&told).unwrap();
    assert!(!all.contains("hush") && !all.contains("a long password"), "{all}");
}

#[tokio::test]
async fn a_login_takes_the_place_of_the_one_before_it() {
    let api = Api::new().await;
    let first = api.login().await;
    let again = json!({"user": "admin", "password": api.password}).to_string();
    let request = Request::post("/api/v1/login")
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::COOKIE, &first.cookie)
        .extension(api.peer());
    let answer = api.send(request.body(Body::from(again)).unwrap()).await;
    assert_eq!(answer.status(), StatusCode::OK);
    let cookie = [("cookie", first.cookie)];
    assert_eq!(ask(&api, &Method::GET, "/api/v1/session", &cookie).await, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn ones_own_password_is_changed_with_the_old_one_and_ends_other_sessions() {
    let api = Api::new().await;
    let (mine, other) = (api.login().await, api.login().await);
    let change = |current: &str| {
        let sent = json!({"current": current, "new": "a new password"}).to_string();
        Request::post("/api/v1/session/password")
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::COOKIE, &mine.cookie)
            .header("x-csrf-token", &mine.csrf_token)
            .body(Body::from(sent))
            .unwrap()
    };
    assert_eq!(api.send(change("wrong")).await.status(), StatusCode::BAD_REQUEST);
    assert_eq!(api.send(change(&api.password)).await.status(), StatusCode::NO_CONTENT);
    for (cookie, status) in
        [(&mine.cookie, StatusCode::OK), (&other.cookie, StatusCode::UNAUTHORIZED)]
    {
        let cookie = [("cookie", cookie.clone())];
        assert_eq!(ask(&api, &Method::GET, "/api/v1/session", &cookie).await, status);
    }
    assert_eq!(api.log_in("a new password").await.status(), StatusCode::OK);
    let bearer = ("authorization", format!("Bearer {}", token(&api, &Scope::ALL, "admin").await));
    let by_token = ask(&api, &Method::POST, "/api/v1/session/password", &[bearer]).await;
    assert_eq!(by_token, StatusCode::BAD_REQUEST, "it says nothing");
}
