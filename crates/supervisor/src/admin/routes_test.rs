//! The routes as a browser and the command line see them, on an appliance that runs nothing.

use std::net::SocketAddr;

use axum::body::{Body, to_bytes};
use axum::extract::ConnectInfo;
use axum::http::{Request, Response, StatusCode, header};
use onebox_config::{BoxConfig, Limits, MetricsSettings};
use onebox_metrics::SiteSnapshot;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::*;
use crate::api::EventKind;
use crate::appliance::{Purpose, Settings, Setup};
use crate::clock::now_ms;
use crate::history::figures::{BoxFigures, Gauge, ProcessFigures, SiteFigures, Tick};
use crate::listeners::ListenerSet;

pub(super) struct Api {
    _folder: tempfile::TempDir,
    pub(super) state: AdminState,
    pub(super) password: String,
}

/// What a browser has after a login.
pub(super) struct Login {
    pub(super) cookie: String,
    pub(super) csrf_token: String,
}

impl Api {
    pub(super) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = BoxConfig {
            clients: onebox_config::Clients::default(),
            state_dir: folder.path().to_owned(),
            config_dir: folder.path().to_owned(),
            http: Vec::new(),
            https: Vec::new(),
            admin: Vec::new(),
            admin_hosts: Vec::new(),
            acme: onebox_config::AcmeSettings::default(),
            limits: Limits::default(),
            user: None,
            tls_folders: Vec::new(),
            access: onebox_config::AccessLists::default(),
            log_budget: 1 << 30,
            keep_releases: 5,
            metrics: MetricsSettings::default(),
        };
        std::fs::create_dir(folder.path().join("run")).unwrap();
        let none = ListenerSet::default();
        let (http, https, admin) = (none.clone(), none.clone(), none);
        let settings = Settings { config: Arc::new(config), http, https, admin };
        let setup = Setup { settings, fleet: None, purpose: Purpose::Sites };
        let appliance = Appliance::open(setup).await.unwrap();
        let password = first_password(&appliance.store).await.unwrap().unwrap();
        Self { _folder: folder, state: AdminState::new(appliance), password }
    }

    pub(super) async fn send(&self, request: Request<Body>) -> Response<Body> {
        public_router(self.state.clone()).oneshot(request).await.unwrap()
    }

    /// Where its browser is.
    pub(super) fn peer(&self) -> ConnectInfo<SocketAddr> {
        ConnectInfo(SocketAddr::from(([192, 0, 2, 1], 1)))
    }

    pub(super) async fn log_in(&self, password: &str) -> Response<Body> {
        let body = json!({"user": "admin", "password": password}).to_string();
        let request = Request::post("/api/v1/login")
            .header(header::CONTENT_TYPE, "application/json")
            .extension(self.peer())
            .body(Body::from(body));
        self.send(request.unwrap()).await
    }

    pub(super) async fn login(&self) -> Login {
        let answer = self.log_in(&self.password).await;
        assert_eq!(answer.status(), StatusCode::OK);
        let cookie = answer.headers()[header::SET_COOKIE].to_str().unwrap();
        let cookie = cookie.split(';').next().unwrap().to_owned();
        let csrf_token = body(answer).await["csrf_token"].as_str().unwrap().to_owned();
        Login { cookie, csrf_token }
    }

    /// What the control socket answers, else its status.
    pub(super) async fn get(&self, path: &str) -> Result<Value, StatusCode> {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let answer = control_router(self.state.clone()).oneshot(request).await.unwrap();
        match answer.status() {
            StatusCode::OK => Ok(body(answer).await),
            status => Err(status),
        }
    }

    pub(super) async fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
    ) -> StatusCode {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(Body::empty()).unwrap()).await.status()
    }
}

pub(super) async fn body(answer: Response<Body>) -> Value {
    serde_json::from_slice(&to_bytes(answer.into_body(), 1 << 20).await.unwrap()).unwrap()
}

#[tokio::test]
async fn a_logout_ends_the_session() {
    let api = Api::new().await;
    let login = api.login().await;
    let headers = [("cookie", login.cookie.as_str()), ("x-csrf-token", login.csrf_token.as_str())];
    assert_eq!(api.ask("POST", "/api/v1/logout", &headers).await, StatusCode::NO_CONTENT);
    assert_eq!(api.ask("GET", "/api/v1/session", &headers).await, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn guessing_is_slowed_down_and_says_how_long() {
    let api = Api::new().await;
    for _ in 0..5 {
        assert_eq!(api.log_in("wrong").await.status(), StatusCode::UNAUTHORIZED);
    }
    let answer = api.log_in(&api.password).await;
    assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS);
    assert!(answer.headers().contains_key(header::RETRY_AFTER));
}

#[tokio::test]
async fn the_control_socket_needs_no_login_and_answers_errors_as_json() {
    let api = Api::new().await;
    let ask = |path: &'static str| {
        let router = control_router(api.state.clone());
        async move { router.oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap() }
    };
    let status = body(ask("/api/v1/status").await).await;
    assert_eq!(status["sites"], json!([]));
    assert_eq!(status["engine"], Value::Null);
    for path in ["/api/v1/sites/nowhere", "/api/v1/nothing", "/"] {
        let answer = ask(path).await;
        assert_eq!(answer.status(), StatusCode::NOT_FOUND);
        assert!(body(answer).await["error"].is_string());
    }
}

#[tokio::test]
async fn past_events_are_told_by_span_and_site() {
    let api = Api::new().await;
    let journal = &api.state.appliance.journal;
    journal.site(EventKind::Deploy, "blog", Some("r1"), "release r1 is live");
    journal.site(EventKind::Stop, "shop", None, "stopped");
    journal.close().await;
    let events = api.get("/api/v1/events/past?site=blog").await.unwrap();
    let at_ms = events[0]["at_ms"].as_i64().unwrap();
    let expected = json!({
        "at_ms": at_ms, "kind": "deploy", "site": "blog", "release": "r1", "text": "release r1 is live"
    });
    assert_eq!(events, json!([expected]));
    let before = format!("/api/v1/events/past?from_ms=0&to_ms={at_ms}");
    assert_eq!(api.get(&before).await.unwrap(), json!([]));
    for wrong in ["from_ms=2&to_ms=1", "from_ms=x", "since=1", "from_ms=99999999999999999999"] {
        let refused = api.get(&format!("/api/v1/events/past?{wrong}")).await.unwrap_err();
        assert_eq!(refused, StatusCode::BAD_REQUEST, "{wrong}");
    }
}

#[tokio::test]
async fn the_audit_log_has_what_an_operation_ended_with() {
    let api = Api::new().await;
    let request = Request::post("/api/v1/deploy?name=blog").body(Body::from("no archive")).unwrap();
    let answer = control_router(api.state.clone()).oneshot(request).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK, "its end is not known yet");
    to_bytes(answer.into_body(), 1 << 20).await.unwrap();
    let ended = async {
        loop {
            let entry = api.state.appliance.store.audit(i64::MAX, 1).await.unwrap().remove(0);
            if let Some(status) = entry.status {
                return (entry.action, entry.detail, status);
            }
            tokio::task::yield_now().await;
        }
    };
    let (action, detail, status) =
        tokio::time::timeout(std::time::Duration::from_secs(20), ended).await.unwrap();
    assert_eq!((&*action, detail.as_deref()), ("deploy", Some("blog")));
    assert!(status >= 400, "{status}");
}

#[tokio::test]
async fn a_span_of_requests_or_lines_that_is_none_is_refused() {
    let api = Api::new().await;
    for wrong in ["from_ms=2&to_ms=1", "from_ms=x", "before_ms=1"] {
        for path in ["/api/v1/requests", "/api/v1/sites/blog/logs"] {
            let refused = api.get(&format!("{path}?{wrong}")).await.unwrap_err();
            assert_eq!(refused, StatusCode::BAD_REQUEST, "{path}?{wrong}");
        }
    }
}

/// Three seconds of an appliance: a site that answered in the first, and an engine.
fn take_three_seconds(api: &Api, from_ms: i64) {
    let by_class = [0, 0, 8, 0, 0, 2];
    let counted = SiteSnapshot { by_class, bytes_out: 5000, ..SiteSnapshot::default() };
    let blog = SiteFigures::over(&counted, 1).unwrap();
    let pss = Gauge::over(20 << 20, 1);
    let engine = ProcessFigures { samples: 1, cpu_us: 250_000, pss, ..ProcessFigures::default() };
    let the_box = BoxFigures { samples: 1, memory_total: 1 << 30, ..BoxFigures::default() };
    for second in 0..3 {
        let blog = (second == 0).then(|| ("blog".to_owned(), blog.clone()));
        api.state.appliance.history.take(Tick {
            at_ms: from_ms + second * 1000,
            sites: blog.into_iter().collect(),
            processes: [("engine".to_owned(), engine)].into(),
            the_box,
        });
    }
}

#[tokio::test]
async fn series_have_a_value_for_each_step_in_their_units() {
    let api = Api::new().await;
    api.state.appliance.store.add_site("blog").await.unwrap();
    let from_ms = now_ms() / 1000 * 1000 - 60_000;
    take_three_seconds(&api, from_ms);
    let span = format!("from_ms={from_ms}&to_ms={}&step_ms=1000", from_ms + 4000);
    let blog = api.get(&format!("/api/v1/sites/blog/series?{span}")).await.unwrap();
    assert_eq!((&blog["from_ms"], &blog["step_ms"]), (&json!(from_ms), &json!(1000)));
    assert_eq!(blog["responses_per_s"]["2xx"], json!([8.0, 0.0, 0.0, null]));
    assert_eq!(blog["responses_per_s"]["5xx"], json!([2.0, 0.0, 0.0, null]));
    assert_eq!(blog["bytes_out_per_s"], json!([5000.0, 0.0, 0.0, null]));
    assert_eq!(blog["latency_ms"]["p99"], json!([null, null, null, null]));
    assert_eq!(blog["processes"][0]["process"], "engine");
    let the_box = api.get(&format!("/api/v1/series?{span}")).await.unwrap();
    let total = f64::from(1 << 30);
    assert_eq!(the_box["memory_total_bytes"], json!([total, total, total, null]));
    assert_eq!(the_box["processes"][0]["cpu"], json!([0.25, 0.25, 0.25, null]));
    let engine = f64::from(20 << 20);
    let pss = &the_box["processes"][0]["memory_bytes"];
    assert_eq!(pss["max"], json!([engine, engine, engine, null]));
}

#[tokio::test]
async fn series_of_what_is_no_span_or_no_site_are_refused() {
    let api = Api::new().await;
    for wrong in [
        "from_ms=2&to_ms=1",
        "span_ms=0",
        "span_ms=-1",
        "span_ms=1000&from_ms=0",
        "span_ms=172000000&step_ms=60000",
        "step_ms=0",
        "step_ms=x",
        "span=1",
    ] {
        let refused = api.get(&format!("/api/v1/series?{wrong}")).await.err();
        assert_eq!(refused, Some(StatusCode::BAD_REQUEST), "{wrong}");
    }
    let missing = api.get("/api/v1/sites/nowhere/series").await.unwrap_err();
    assert_eq!(missing, StatusCode::NOT_FOUND);
    for span in ["", "?span_ms=300000", "?span_ms=2592000000", "?to_ms=0"] {
        api.get(&format!("/api/v1/series{span}")).await.unwrap();
    }
}

#[tokio::test]
async fn only_the_control_socket_sets_a_new_password_and_it_ends_all_sessions() {
    let mut api = Api::new().await;
    let login = api.login().await;
    let headers = [("cookie", login.cookie.as_str()), ("x-csrf-token", login.csrf_token.as_str())];
    let by_session = api.ask("POST", "/api/v1/password", &headers).await;
    assert_eq!(by_session, StatusCode::FORBIDDEN);
    assert_eq!(api.ask("GET", "/api/v1/session", &headers).await, StatusCode::OK);
    let request = Request::post("/api/v1/password").body(Body::empty()).unwrap();
    let answer = control_router(api.state.clone()).oneshot(request).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(api.ask("GET", "/api/v1/session", &headers).await, StatusCode::UNAUTHORIZED);
    assert_eq!(api.log_in(&api.password).await.status(), StatusCode::UNAUTHORIZED);
    api.password = body(answer).await["password"].as_str().unwrap().to_owned();
    api.login().await;
}

#[tokio::test]
async fn every_answer_tells_the_browser_to_be_careful() {
    let api = Api::new().await;
    for path in ["/", "/api/v1/status"] {
        let answer = api.send(Request::get(path).body(Body::empty()).unwrap()).await;
        let policy = answer.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(policy.contains("default-src 'self'") && policy.contains("frame-ancestors 'none'"));
        assert_eq!(answer.headers()[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
    }
}

#[tokio::test]
async fn a_change_that_a_rebound_name_or_another_page_sends_is_refused_with_a_session_and_without()
{
    let api = Api::new().await;
    let login = api.login().await;
    let with = |more: &[(&'static str, &'static str)]| {
        let mine = [("cookie", login.cookie.clone()), ("x-csrf-token", login.csrf_token.clone())];
        let more = more.iter().map(|(name, value)| (*name, (*value).to_owned()));
        mine.into_iter().chain(more).collect::<Vec<_>>()
    };
    let foreign = [("host", "evil.example:8081")];
    let page = [("host", "localhost:8081"), ("origin", "http://evil.example")];
    let own = [("host", "localhost:8081"), ("origin", "http://localhost:8081")];
    let expected = [
        (&foreign[..], StatusCode::MISDIRECTED_REQUEST),
        (&page[..], StatusCode::MISDIRECTED_REQUEST),
        (&own[..], StatusCode::NO_CONTENT),
    ];
    for (headers, status) in expected {
        let headers = with(headers);
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        assert_eq!(api.ask("POST", "/api/v1/logout", &headers).await, status, "{headers:?}");
    }
    for (method, path) in [("POST", "/api/v1/login"), ("GET", "/"), ("GET", "/api/v1/status")] {
        assert_eq!(
            api.ask(method, path, &foreign).await,
            StatusCode::MISDIRECTED_REQUEST,
            "{path}"
        );
    }
}
