//! Who may do what: users and tokens as the command line makes them, the audit log, and what keeps sites away from the dashboard.

use bytes::Bytes;
use http::Request;
use serde_json::{Value, json};

use crate::harness::{Answer, Connection, SiteFolder, TestBox, get};

/// Asks with a token.
fn ask(appliance: &TestBox, method: &str, path: &str, token: &str) -> Answer {
    let mut connection = Connection::open(appliance.admin.unwrap(), "localhost").unwrap();
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("authorization", format!("Bearer {token}"))
        .body(Bytes::new());
    connection.send(request.unwrap()).unwrap()
}

#[test]
fn a_token_does_what_its_scope_says_until_it_is_revoked() {
    let appliance = TestBox::start();
    appliance.deploy(SiteFolder::fixture("static-only").path()).ok();
    let created =
        appliance.cli(&["token", "create", "ci", "--scope", "operate", "--json"]).ok().json();
    let token = created["token"].as_str().unwrap();
    assert!(token.starts_with("onebox_") && created["expires_ms"].is_i64(), "{created}");
    let again = appliance.cli(&["token", "create", "ci", "--scope", "read"]).failed();
    assert!(again.stderr.contains("there is a token ci already"), "{}", again.stderr);

    assert_eq!(ask(&appliance, "POST", "/api/v1/sites/static-only/stop", token).status, 204);
    assert_eq!(appliance.site("static-only")["state"], "stopped");
    let refused = ask(&appliance, "GET", "/api/v1/status", token);
    assert_eq!(refused.status, 403);
    assert!(refused.text().contains("it needs read"), "{}", refused.text());
    let listed = appliance.cli(&["token", "list"]).ok().stdout;
    assert!(listed.contains("ci") && listed.contains("operate"), "{listed}");
    assert!(!listed.contains(token), "{listed}");

    appliance.cli(&["token", "revoke", "ci"]).ok();
    assert_eq!(ask(&appliance, "POST", "/api/v1/sites/static-only/start", token).status, 401);
    assert_eq!(appliance.cli(&["token", "list", "--json"]).ok().json(), json!([]));
}

#[test]
fn users_are_added_change_their_role_and_go() {
    let appliance = TestBox::start();
    let vera = appliance.cli(&["user", "add", "vera", "--role", "viewer", "--json"]).ok().json();
    let login = json!({"user": "vera", "password": vera["password"]}).to_string();
    let mut browser = Connection::open(appliance.admin.unwrap(), "localhost").unwrap();
    let answer = browser.post("/api/v1/login", "application/json", login.clone()).unwrap();
    let session: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(
        (&session["role"], &session["scopes"]),
        (&json!("viewer"), &json!(["metrics", "read"]))
    );

    appliance.cli(&["user", "role", "vera", "operator"]).ok();
    let listed = appliance.cli(&["user", "list"]).ok().stdout;
    assert!(listed.contains("vera   operator") && listed.contains("admin  admin"), "{listed}");
    let last = appliance.cli(&["user", "role", "admin", "viewer"]).failed();
    assert!(last.stderr.contains("admin is the last user with the role admin"), "{}", last.stderr);
    let unknown = appliance.cli(&["user", "add", "v", "--role", "root"]);
    assert_eq!(unknown.code(), 2, "{}", unknown.all());

    appliance.cli(&["user", "rm", "vera"]).ok();
    assert_eq!(browser.post("/api/v1/login", "application/json", login).unwrap().status, 401);
    let audit = appliance.cli(&["audit", "--json"]).ok().json_lines();
    let told: Vec<_> = audit
        .iter()
        .map(|entry| {
            [&entry["who"], &entry["action"], &entry["status"]].map(Value::to_string).join(" ")
        })
        .collect();
    assert_eq!(
        told,
        [
            r#""cli" "add-user" 201"#,
            r#""vera" "login" 200"#,
            r#""cli" "change-role" 204"#,
            r#""cli" "change-role" 409"#,
            r#""cli" "remove-user" 204"#,
            r#""vera" "login" 401"#,
        ]
    );
    let uid = format!("uid {}", rustix::process::getuid().as_raw());
    assert_eq!((&audit[0]["client"], &audit[1]["client"]), (&json!(uid), &json!("127.0.0.1")));
    let shown = appliance.cli(&["audit"]).ok().stdout;
    assert!(shown.contains("change-role vera operator"), "{shown}");
}

#[test]
fn the_dashboard_answers_to_no_name_of_a_site_and_its_cookie_reaches_none() {
    let appliance = TestBox::start();
    appliance.deploy(SiteFolder::fixture("cookies").path()).ok();
    let admin = appliance.admin.unwrap();
    for (host, status) in [
        ("cookies.localhost", 421),
        ("blog.example.com", 421),
        ("localhost", 200),
        ("127.0.0.1", 200),
    ] {
        assert_eq!(get(admin, host, "/").status, status, "{host}");
    }
    let mut browser = Connection::open(appliance.http, "localhost").unwrap();
    let request = Request::get("/").header("cookie", "a=1; onebox_session=secret; b=2");
    let told = browser.send(request.body(Bytes::new()).unwrap()).unwrap().text();
    assert!(told.contains("a=1; b=2") && !told.contains("secret"), "{told}");
}

#[test]
fn a_site_that_leads_to_the_dashboard_gets_its_cookie_by_the_name_that_the_box_says() {
    let appliance = TestBox::start_with_config(
        "[listen]\nhttp = '127.0.0.1:0'\nadmin = '127.0.0.1:0'\nadmin-hosts = ['panel.example.com']\n",
    );
    let site = SiteFolder::fixture_as("static-only", "panel");
    let admin = appliance.admin.unwrap();
    site.write(
        "onebox.toml",
        &format!(
            "domains = ['panel.example.com', 'shop.example.com']\n\
             [[upstream]]\nto = 'http://{admin}'\npath = '/api'\npass-host = false\n"
        ),
    );
    appliance.deploy(site.path()).ok();
    let vera = appliance.cli(&["user", "add", "vera", "--role", "viewer", "--json"]).ok().json();
    let login = json!({"user": "vera", "password": vera["password"]}).to_string();
    let mut panel = Connection::open(appliance.http, "panel.example.com").unwrap();
    let answer = panel.post("/api/v1/login", "application/json", login).unwrap();
    let cookie = answer.header("set-cookie").split(';').next().unwrap().to_owned();
    let status = |host: &str| {
        let mut browser = Connection::open(appliance.http, host).unwrap();
        let request = Request::get("/api/v1/session").header("cookie", &cookie);
        browser.send(request.body(Bytes::new()).unwrap()).unwrap().status.as_u16()
    };
    assert_eq!((status("panel.example.com"), status("shop.example.com")), (200, 401));
}
