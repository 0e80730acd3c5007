//! The admin address: nothing without a login, nothing changed without its token; the first password works.

use bytes::Bytes;
use http::Request;
use serde_json::{Value, json};

use crate::harness::{Connection, SiteFolder, TestBox};

#[test]
fn the_admin_address_trusts_nobody_who_did_not_log_in() {
    let appliance = TestBox::start();
    appliance.deploy(SiteFolder::fixture("static-only").path()).ok();
    let mut browser = Connection::open(appliance.admin.unwrap(), "localhost").unwrap();

    let page = browser.get("/").unwrap();
    assert_eq!((page.status.as_u16(), page.header("x-frame-options").is_empty()), (200, false));
    for path in [
        "/api/v1/status",
        "/api/v1/sites/static-only",
        "/api/v1/sites/static-only/env",
        "/api/v1/events",
    ] {
        assert_eq!(browser.get(path).unwrap().status, 401, "{path}");
    }
    let login = |password: &str| json!({"user": "admin", "password": password}).to_string();
    assert_eq!(
        browser.post("/api/v1/login", "application/json", login("guess")).unwrap().status,
        401
    );

    let password =
        appliance.greeting.split("password ").nth(1).unwrap().split_whitespace().next().unwrap();
    let session = browser.post("/api/v1/login", "application/json", login(password)).unwrap();
    assert_eq!(session.status, 200, "{}", session.text());
    let cookie = session.header("set-cookie").split(';').next().unwrap().to_owned();
    let token = serde_json::from_slice::<Value>(&session.body).unwrap()["csrf_token"]
        .as_str()
        .unwrap()
        .to_owned();

    let ask = |method: &str, path: &str, token: &str| {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("cookie", &cookie)
            .header("x-csrf-token", token);
        request.body(Bytes::new()).unwrap()
    };
    let status = browser.send(ask("GET", "/api/v1/status", "")).unwrap();
    assert_eq!(
        serde_json::from_slice::<Value>(&status.body).unwrap()["sites"][0]["name"],
        "static-only"
    );
    let stop = "/api/v1/sites/static-only/stop";
    assert_eq!(
        browser.send(ask("POST", stop, "")).unwrap().status,
        403,
        "another origin cannot know the token"
    );
    assert_eq!(appliance.site("static-only")["state"], "running");
    assert_eq!(browser.send(ask("POST", stop, &token)).unwrap().status, 204);
    assert_eq!(appliance.site("static-only")["state"], "stopped");

    assert_eq!(browser.send(ask("POST", "/api/v1/logout", &token)).unwrap().status, 204);
    assert_eq!(browser.send(ask("GET", "/api/v1/status", "")).unwrap().status, 401);
}
