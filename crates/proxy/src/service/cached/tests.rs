//! Requests through the cache to an application on a thread.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use onebox_config::parse_site;
use onebox_metrics::{CacheSnapshot, Registry};
use onebox_uwsgi::{AbortReason, Request, ResponseSink, channel, key};
use parking_lot::{Condvar, Mutex};

use super::super::tests::head_with;
use super::*;
use crate::ProxySettings;
use crate::access_log::AccessLog;
use crate::cache::{Cache, Purge};
use crate::http1::Sent;
use crate::message::ResponseBody;
use crate::route::{Backend, RouteTable, Site};
use crate::testing;

/// An answer of the application.
struct Said {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: String,
}

fn said(status: u16, cache_control: &str, body: &str) -> Said {
    let headers = vec![("Cache-Control", cache_control.to_owned())];
    Said { status, headers, body: body.to_owned() }
}

impl Said {
    fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }
}

struct Fixture {
    service: Arc<Service>,
    cache: Arc<Cache>,
    site: Site,
    asked: Arc<AtomicUsize>,
    _folder: tempfile::TempDir,
}

/// A site with a cache whose application says what `respond` makes of the count of requests, from 1, and the request.
fn fixture(toml: &str, respond: impl Fn(usize, &Request) -> Said + Send + 'static) -> Fixture {
    raw_fixture(toml, move |count, request, mut sink| {
        let said = respond(count, &request);
        let length = said.body.len().to_string();
        let mut headers: Vec<_> =
            said.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        headers.push(("Content-Length", &length));
        headers.push(("Content-Type", "application/octet-stream"));
        // The client may have left.
        sink.head(head_with(said.status, &headers)).ok();
        sink.data(Bytes::from(said.body)).ok();
        sink.finish();
    })
}

fn raw_fixture(
    toml: &str,
    respond: impl Fn(usize, Request, ResponseSink) + Send + 'static,
) -> Fixture {
    let routing = parse_site(toml, Path::new("test")).unwrap().routing;
    let (connector, backlog) = channel(2000);
    let asked = Arc::<AtomicUsize>::default();
    let counter = Arc::clone(&asked);
    std::thread::spawn(move || {
        while let Some(job) = backlog.receive() {
            let count = counter.fetch_add(1, Ordering::SeqCst) + 1;
            respond(count, job.request, job.sink);
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::new(&routing, || folder.path().join("app/r1")).unwrap();
    let site = Site {
        catch_all: true,
        backend: Backend::Memory(connector),
        cache: Some(Arc::clone(&cache)),
        routing: Arc::new(routing),
        ..testing::site("app")
    };
    let settings = ProxySettings {
        limits: onebox_config::Limits::default(),
        temp_dir: None,
        clients: Default::default(),
        admin_hosts: Vec::new(),
    };
    let log = AccessLog::disabled();
    let service = Service::shared(settings, Arc::new(Registry::new()), log, testing::shared());
    service.set_routes(RouteTable::new(vec![site.clone()]));
    Fixture { service, cache, site, asked, _folder: folder }
}

const ON: &str = "cache = true";

impl Fixture {
    async fn ask(&self, head: &RequestHead) -> Response {
        let mut body = RequestBody::nothing();
        let (response, exchange) =
            self.service.handle(head, &mut body, &testing::connection()).await;
        exchange.sent(Sent { bytes: 1, head_bytes: 0, complete: true });
        response
    }

    async fn get(&self, target: &str, headers: &[(&str, &str)]) -> (u16, String, String) {
        let headers = [&[("host", "a.example")], headers].concat();
        let response = self.ask(&testing::get(target, &headers)).await;
        let (status, told) = (response.status, testing::header(&response, "cache-status"));
        let body = testing::body(response).await.unwrap();
        (status, String::from_utf8(body).unwrap(), told.unwrap_or_default())
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    fn counted(&self) -> CacheSnapshot {
        self.site.metrics.snapshot().cache
    }

    /// Waits until so many requests wait for another one.
    async fn until_waiting(&self, count: usize) {
        while self.cache.flights.waiting() < count {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// Holds the application's thread until it is opened.
#[derive(Clone, Default)]
struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    fn open(&self) {
        *self.0.0.lock() = true;
        self.0.1.notify_all();
    }

    fn pass(&self) {
        let mut is_open = self.0.0.lock();
        while !*is_open {
            self.0.1.wait(&mut is_open);
        }
    }
}

#[tokio::test]
async fn a_stored_answer_is_given_without_asking() {
    let fixture = fixture(ON, |count, _| {
        said(200, "max-age=60", &format!("answer {count}")).with("X-Request-Id", "own")
    });
    let (status, body, told) = fixture.get("/a", &[]).await;
    assert_eq!((status, &*body, &*told), (200, "answer 1", "onebox; fwd=uri-miss; stored"));
    let head = testing::get("/a", &[("host", "a.example")]);
    let response = fixture.ask(&head).await;
    assert_eq!(testing::header(&response, "age").as_deref(), Some("0"));
    assert!(testing::header(&response, "date").is_some());
    assert_eq!(testing::header(&response, "x-request-id").map(|id| id.len()), Some(16));
    let told = testing::header(&response, "cache-status").unwrap();
    assert!(told.starts_with("onebox; hit; ttl="), "{told}");
    assert_eq!(testing::body(response).await.unwrap(), b"answer 1");
    assert_eq!(fixture.get("/a?b", &[]).await.1, "answer 2");
    assert_eq!(fixture.asked(), 2);
    let counted = fixture.counted();
    assert_eq!((counted.hits, counted.misses, counted.saved_bytes), (1, 2, 8));
    assert!(fixture.cache.stored_bytes() > 0);
}

#[tokio::test]
async fn heads_parts_and_conditions_are_answered_from_a_stored_answer() {
    let fixture = fixture(ON, |_, _| said(200, "max-age=60", "0123456789").with("ETag", "\"a\""));
    fixture.get("/", &[]).await;
    type Fields<'a> = &'a [(&'a str, &'a str)];
    let table: &[(Fields<'_>, u16, &str)] = &[
        (&[("range", "bytes=2-4")], 206, "234"),
        (&[("range", "bytes=-1")], 206, "9"),
        (&[("range", "bytes=10-")], 416, ""),
        (&[("range", "bytes=0-0,2-2")], 200, "0123456789"),
        (&[("range", "bytes=2-4"), ("if-range", "\"a\"")], 206, "234"),
        (&[("range", "bytes=2-4"), ("if-range", "\"b\"")], 200, "0123456789"),
        (&[("if-none-match", "\"a\"")], 304, ""),
        (&[("if-none-match", "\"b\"")], 200, "0123456789"),
    ];
    for (headers, status, body) in table {
        let (found, text, _) = fixture.get("/", headers).await;
        assert_eq!((found, &*text), (*status, *body), "{headers:?}");
    }
    let head = testing::request(Method::HEAD, "/", &[("host", "a.example")]);
    assert_eq!(fixture.ask(&head).await.status, 200);
    assert_eq!(fixture.asked(), 1);
}

#[tokio::test]
async fn what_a_client_has_already_is_a_304_also_the_first_time() {
    let fixture = fixture(ON, |_, request| {
        assert_eq!(request.vars.get(b"HTTP_IF_NONE_MATCH"), None, "it is not the cache's");
        said(200, "max-age=60", "text").with("ETag", "\"a\"")
    });
    assert_eq!(fixture.get("/", &[("if-none-match", "\"a\"")]).await.0, 304);
    assert_eq!(fixture.get("/", &[]).await.1, "text");
    assert_eq!(fixture.asked(), 1);
}

#[tokio::test]
async fn answers_that_are_for_one_client_are_not_stored() {
    for value in ["private, max-age=60", "no-store"] {
        let fixture = fixture(ON, move |count, _| said(200, value, &count.to_string()));
        for expected in ["1", "2", "3"] {
            let (_, body, told) = fixture.get("/", &[]).await;
            assert_eq!((&*body, &*told), (expected, "onebox; fwd=uri-miss"));
        }
    }
    let cookie = |count: usize, _: &Request| {
        said(200, "no-cache=\"set-cookie\", max-age=60", "x")
            .with("Set-Cookie", &format!("a={count}"))
    };
    let fixture = fixture(ON, cookie);
    let cookie = async || {
        let head = testing::get("/", &[("host", "a.example")]);
        testing::header(&fixture.ask(&head).await, "set-cookie")
    };
    assert_eq!((cookie().await.as_deref(), cookie().await), (Some("a=1"), None));
}

#[tokio::test]
async fn answers_that_depend_on_a_field_are_for_those_who_send_the_same() {
    let fixture = fixture(ON, |_, request| {
        let language = request.vars.get(b"HTTP_ACCEPT_LANGUAGE").unwrap_or_default();
        said(200, "max-age=60", &String::from_utf8_lossy(language)).with("Vary", "Accept-Language")
    });
    for (language, body, told) in [
        ("en, de", "en, de", "onebox; fwd=uri-miss; stored"),
        ("fr", "fr", "onebox; fwd=vary-miss; stored"),
        ("EN,de;q=1", "en, de", "onebox; hit"),
        ("fr", "fr", "onebox; hit"),
    ] {
        let found = fixture.get("/", &[("accept-language", language)]).await;
        assert!(found.1 == body && found.2.starts_with(told), "{language}: {found:?}");
    }
    assert_eq!(fixture.asked(), 2);
}

#[tokio::test]
async fn a_stored_answer_is_validated_and_gets_the_fields_of_the_304() {
    let fixture = fixture(ON, |count, request| {
        let condition = request.vars.get(b"HTTP_IF_NONE_MATCH");
        let answer = match count {
            1 => said(200, "no-cache", "text"),
            2 | 3 => {
                assert_eq!(condition, Some(&b"\"a\""[..]));
                said(304, "no-cache", "")
            }
            _ => said(200, "max-age=60", "other"),
        };
        answer.with("ETag", "\"a\"").with("X-Count", &count.to_string())
    });
    fixture.get("/", &[]).await;
    let head = testing::get("/", &[("host", "a.example")]);
    let response = fixture.ask(&head).await;
    assert_eq!(testing::header(&response, "x-count").as_deref(), Some("2"));
    assert_eq!(testing::header(&response, "age"), None, "it was validated for this request");
    let told = testing::header(&response, "cache-status").unwrap();
    assert_eq!(told, "onebox; fwd=stale; fwd-status=304; stored");
    assert_eq!((response.status, testing::body(response).await.unwrap()), (200, b"text".to_vec()));
    // The client's own condition is answered here.
    assert_eq!(fixture.get("/", &[("if-none-match", "\"a\"")]).await.0, 304);
    assert_eq!(fixture.get("/", &[("if-none-match", "\"b\"")]).await.1, "other");
    assert_eq!(fixture.counted().revalidated, 2);
}

#[tokio::test]
async fn a_304_about_another_answer_is_not_believed() {
    let fixture = fixture(ON, |count, request| match count {
        1 => said(200, "no-cache", "old").with("ETag", "\"a\""),
        2 => said(304, "no-cache", "").with("ETag", "\"b\""),
        _ => {
            assert_eq!(request.vars.get(b"HTTP_IF_NONE_MATCH"), None);
            said(200, "no-cache", "new").with("ETag", "\"b\"")
        }
    });
    fixture.get("/", &[]).await;
    assert_eq!(fixture.get("/", &[]).await.1, "new");
}

#[tokio::test]
async fn a_304_that_names_another_field_makes_the_answer_one_for_those_who_send_the_same() {
    let fixture = fixture(ON, |count, request| {
        let name = request.vars.get(b"HTTP_COOKIE").unwrap_or_default();
        let answer = match count {
            1 => said(200, "no-cache", "of anybody"),
            2 => said(304, "max-age=60", "").with("Vary", "Cookie"),
            _ => said(200, "max-age=60", &String::from_utf8_lossy(name)).with("Vary", "Cookie"),
        };
        answer.with("ETag", "\"a\"")
    });
    fixture.get("/", &[]).await;
    assert_eq!(fixture.get("/", &[("cookie", "ann=1")]).await.1, "of anybody");
    assert_eq!(fixture.get("/", &[("cookie", "bob=1")]).await.1, "bob=1");
    assert_eq!(fixture.get("/", &[("cookie", "ann=1")]).await.1, "of anybody");
    assert_eq!(fixture.asked(), 3);
}

#[tokio::test]
async fn a_client_that_hides_a_field_from_the_application_leaves_nothing_for_those_who_send_it() {
    let fixture = fixture(ON, |_, request| {
        let language = request.vars.get(b"HTTP_ACCEPT_LANGUAGE").unwrap_or(b"none");
        said(200, "max-age=60", &String::from_utf8_lossy(language)).with("Vary", "Accept-Language")
    });
    let german = ("accept-language", "de");
    let hiding = ("connection", "accept-language");
    assert_eq!(fixture.get("/", &[german, hiding]).await.1, "none");
    assert_eq!(fixture.get("/", &[german]).await.1, "de");
    assert_eq!(fixture.get("/", &[]).await.1, "none");
    assert_eq!(fixture.asked(), 2);
}

#[tokio::test]
async fn a_client_that_wants_nothing_stored_takes_nothing_from_others() {
    let fixture = fixture(ON, |_, _| said(200, "max-age=60", "text"));
    fixture.get("/", &[]).await;
    let reload = ("cache-control", "no-cache");
    for own in [("authorization", "Basic YTpi"), ("cache-control", "no-store")] {
        let (_, _, told) = fixture.get("/", &[reload, own]).await;
        assert_eq!(told, "onebox; fwd=request", "{own:?}");
        let (_, _, told) = fixture.get("/", &[]).await;
        assert!(told.starts_with("onebox; hit"), "{own:?}: {told}");
    }
    assert_eq!(fixture.asked(), 3);
}

#[tokio::test]
async fn an_answer_that_another_one_stands_for_is_not_found_on_the_disk() {
    const DISK: &str = "[cache]\nenabled = true\ndisk = '16MB'";
    let fixture = fixture(DISK, |count, request| {
        let name = request.vars.get(b"HTTP_COOKIE").unwrap_or_default();
        let answer =
            said(200, "max-age=600", &format!("{count} {}", String::from_utf8_lossy(name)));
        if count == 1 { answer } else { answer.with("Vary", "Cookie") }
    });
    fixture.get("/", &[]).await;
    while !fixture.cache.is_idle() {
        tokio::task::yield_now().await;
    }
    let (ann, bob) = (("cookie", "ann"), ("cookie", "bob"));
    assert_eq!(fixture.get("/", &[ann, ("cache-control", "no-cache")]).await.1, "2 ann");
    assert_eq!(fixture.get("/", &[bob]).await.1, "3 bob");
}

#[tokio::test]
async fn a_stale_answer_stands_in_for_an_error_where_it_may() {
    for (value, expected) in [("max-age=0, stale-if-error=60", 200), ("max-age=0", 503)] {
        let fixture = fixture(ON, move |count, _| match count {
            1 => said(200, value, "good").with("ETag", "\"a\""),
            _ => said(503, "", "bad"),
        });
        fixture.get("/", &[]).await;
        let (status, _, told) = fixture.get("/", &[]).await;
        assert_eq!(status, expected, "{value}: {told}");
    }
}

#[tokio::test]
async fn an_application_that_gives_no_answer_is_an_error_too() {
    let fixture =
        raw_fixture("[cache]\nenabled = true\nstale-if-error = '1m'", |count, _, mut sink| {
            if count == 1 {
                sink.head(head_with(200, &[("Cache-Control", "max-age=0"), ("ETag", "\"a\"")]))
                    .unwrap();
                sink.data(Bytes::from_static(b"good")).unwrap();
                sink.finish();
            } else {
                sink.abort(AbortReason::WorkerLost);
            }
        });
    fixture.get("/", &[]).await;
    let (status, body, told) = fixture.get("/", &[]).await;
    assert_eq!((status, &*body), (200, "good"), "{told}");
    assert!(told.ends_with("; fwd=stale; fwd-status=502"), "{told}");
    assert_eq!(fixture.get("/b", &[]).await.0, 502);
}

#[tokio::test]
async fn a_stale_answer_is_used_once_more_while_a_fresh_one_is_fetched() {
    let fixture = fixture(ON, |count, _| match count {
        1 => said(200, "max-age=0, stale-while-revalidate=60", "old"),
        _ => said(200, "max-age=60", "new"),
    });
    fixture.get("/", &[]).await;
    let (_, body, told) = fixture.get("/", &[]).await;
    assert!(body == "old" && told.starts_with("onebox; hit; ttl="), "{body} {told}");
    while fixture.get("/", &[]).await.1 != "new" {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(fixture.asked(), 2);
}

/// So many clients at once, while the application holds the first of them; what they got.
async fn crowd(count: usize, answer: fn() -> Said) -> (Fixture, Vec<(u16, String, String)>) {
    let gate = Gate::default();
    let held = gate.clone();
    let fixture = Arc::new(fixture(ON, move |_, _| {
        held.pass();
        answer()
    }));
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..count {
        let fixture = Arc::clone(&fixture);
        clients.spawn(async move { fixture.get("/", &[]).await });
    }
    fixture.until_waiting(count - 1).await;
    gate.open();
    let answers = clients.join_all().await;
    (Arc::into_inner(fixture).unwrap(), answers)
}

#[tokio::test]
async fn a_thousand_clients_are_one_request() {
    let (fixture, answers) = crowd(1000, || said(200, "max-age=60", "text")).await;
    assert_eq!(fixture.asked(), 1);
    assert!(answers.iter().all(|(status, body, _)| (*status, &**body) == (200, "text")));
    let collapsed = answers.iter().filter(|(_, _, told)| told.ends_with("; collapsed")).count();
    assert_eq!((answers.len(), collapsed), (1000, 999));
}

#[tokio::test]
async fn a_thousand_clients_are_one_request_also_when_it_fails() {
    let (fixture, answers) = crowd(1000, || said(500, "", "secrets of the first client")).await;
    assert_eq!(fixture.asked(), 1);
    assert!(answers.iter().all(|(status, ..)| *status == 500));
    let told = answers.iter().filter(|(_, body, _)| body.contains("secrets")).count();
    assert_eq!(told, 1);
}

#[tokio::test]
async fn an_answer_for_one_client_holds_up_nobody_else() {
    let (fixture, answers) = crowd(100, || said(200, "private", "own")).await;
    assert_eq!(fixture.asked(), 100);
    assert!(answers.iter().all(|(status, body, _)| (*status, &**body) == (200, "own")));
    // From then on nobody waits at all.
    assert_eq!(fixture.cache.flights.waiting(), 0);
}

#[tokio::test]
async fn when_the_first_client_leaves_the_next_one_asks() {
    let gate = Gate::default();
    let held = gate.clone();
    let fixture = Arc::new(fixture(ON, move |count, _| {
        if count == 1 {
            held.pass();
        }
        said(200, "max-age=60", &count.to_string())
    }));
    let ask = || {
        let fixture = Arc::clone(&fixture);
        tokio::spawn(async move { fixture.get("/", &[]).await })
    };
    let first = ask();
    while fixture.asked() < 1 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let second = ask();
    fixture.until_waiting(1).await;
    first.abort();
    gate.open();
    assert_eq!(second.await.unwrap().1, "2");
}

#[tokio::test]
async fn nobody_waits_longer_than_the_lock_timeout() {
    let gate = Gate::default();
    let held = gate.clone();
    let toml = "[cache]\nenabled = true\nlock-timeout = '0s'";
    let fixture = Arc::new(fixture(toml, move |_, _| {
        held.pass();
        said(200, "max-age=60", "text")
    }));
    let clients: Vec<_> = (0..3)
        .map(|_| {
            let fixture = Arc::clone(&fixture);
            tokio::spawn(async move { fixture.get("/", &[]).await })
        })
        .collect();
    gate.open();
    for client in clients {
        assert_eq!(client.await.unwrap().1, "text");
    }
}

#[tokio::test]
async fn an_answer_that_is_cut_is_not_stored() {
    let fixture = raw_fixture(ON, |count, _, mut sink| {
        let headers = [("Cache-Control", "max-age=60"), ("Content-Length", "10")];
        sink.head(head_with(200, &headers)).unwrap();
        sink.data(Bytes::from_static(b"01234")).unwrap();
        if count == 1 {
            sink.abort(AbortReason::WorkerLost);
        } else {
            sink.data(Bytes::from_static(b"56789")).unwrap();
            sink.finish();
        }
    });
    let head = testing::get("/", &[("host", "a.example")]);
    testing::body(fixture.ask(&head).await).await.unwrap_err();
    assert_eq!(fixture.get("/", &[]).await.1, "0123456789");
    assert_eq!(fixture.get("/", &[]).await.1, "0123456789");
    assert_eq!(fixture.asked(), 2);
}

#[tokio::test]
async fn a_body_is_stored_while_it_is_sent_unless_it_grows_too_large() {
    for (size, asked) in [(600 << 10, 1), (2 << 20, 2)] {
        let fixture = raw_fixture(ON, move |_, _, mut sink| {
            sink.head(head_with(200, &[("Cache-Control", "max-age=60")])).unwrap();
            for _ in 0..size / 1024 {
                sink.data(Bytes::from(vec![b'x'; 1024])).unwrap();
            }
            sink.finish();
        });
        for _ in 0..2 {
            assert_eq!(fixture.get("/", &[]).await.1.len(), size);
        }
        assert_eq!(fixture.asked(), asked, "{size}");
    }
}

#[tokio::test]
async fn an_unsafe_method_has_what_it_names_validated() {
    let fixture = fixture(ON, |count, request| {
        let answer = match request.vars.get(key::REQUEST_METHOD) {
            Some(b"GET") => said(200, "max-age=60", &count.to_string()),
            Some(b"DELETE") => said(500, "", ""),
            _ => said(303, "", "")
                .with("Location", "/b")
                .with("Content-Location", "http://x.example/c"),
        };
        answer.with("ETag", &format!("\"{count}\""))
    });
    for path in ["/a", "/b", "/c"] {
        fixture.get(path, &[]).await;
    }
    let send = |method| testing::request(method, "/a", &[("host", "a.example")]);
    let response = fixture.ask(&send(Method::DELETE)).await;
    assert_eq!(testing::header(&response, "cache-status").as_deref(), Some("onebox; fwd=method"));
    assert_eq!(fixture.get("/a", &[]).await.1, "1", "it failed");
    fixture.ask(&send(Method::POST)).await;
    assert_eq!(fixture.get("/a", &[]).await.1, "6");
    assert_eq!(fixture.get("/b", &[]).await.1, "7");
    assert_eq!(fixture.get("/c", &[]).await.1, "3", "it is another host's");
}

#[tokio::test]
async fn answers_are_purged_by_url_prefix_and_tag() {
    let fixture = fixture(ON, |_, request| {
        let path = String::from_utf8_lossy(request.vars.get(key::PATH_INFO).unwrap()).into_owned();
        let tags = if path == "/a/1" { "one, odd" } else { "even" };
        said(200, "max-age=60", &path).with("Cache-Tag", tags).with("Surrogate-Key", "all x")
    });
    let fill = async || {
        for path in ["/a/1", "/a/2", "/b"] {
            fixture.get(path, &[]).await;
        }
    };
    let table = [
        (Purge::Url("a.example/a/1".into()), 1),
        (Purge::Url("/a".into()), 0),
        (Purge::Prefix("/a".into()), 2),
        (Purge::Prefix("http://a.example".into()), 3),
        (Purge::Tag("odd".into()), 1),
        (Purge::Tag("all".into()), 3),
        (Purge::Tag("al".into()), 0),
        (Purge::All, 3),
    ];
    for (what, expected) in table {
        fill().await;
        assert_eq!(fixture.cache.purge(&what), expected, "{what:?}");
        assert_eq!(fixture.cache.store.len() as u64, 3 - expected, "{what:?}");
    }
    let head = testing::get("/a/1", &[("host", "a.example")]);
    for _ in 0..2 {
        let response = fixture.ask(&head).await;
        assert_eq!(testing::header(&response, "cache-tag"), None);
        assert_eq!(testing::header(&response, "surrogate-key"), None);
    }
}

#[tokio::test]
async fn an_answer_that_was_asked_for_before_a_purge_is_not_stored_after_it() {
    let gate = Gate::default();
    let held = gate.clone();
    let fixture = Arc::new(fixture(ON, move |count, _| {
        held.pass();
        said(200, "max-age=60", &count.to_string())
    }));
    let early = Arc::clone(&fixture);
    let early = tokio::spawn(async move { early.get("/", &[]).await.1 });
    while fixture.asked() < 1 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    fixture.cache.purge(&Purge::All);
    gate.open();
    assert_eq!(early.await.unwrap(), "1");
    assert_eq!(fixture.get("/", &[]).await.1, "2");
}

#[tokio::test]
async fn requests_say_what_they_take_and_rules_lead_past_the_cache() {
    let toml = "[cache]\nenabled = true\nbypass-cookie = 'session'";
    let fixture = fixture(toml, |count, _| said(200, "max-age=60", &count.to_string()));
    assert_eq!(fixture.get("/", &[("cache-control", "only-if-cached")]).await.0, 504);
    assert_eq!(fixture.get("/", &[]).await.1, "1");
    assert_eq!(fixture.get("/", &[("cache-control", "only-if-cached")]).await.1, "1");
    let (_, body, told) = fixture.get("/", &[("cookie", "session=1")]).await;
    assert_eq!((&*body, &*told), ("2", "onebox; fwd=bypass"));
    let (_, body, told) = fixture.get("/", &[("cache-control", "no-cache")]).await;
    assert_eq!((&*body, &*told), ("3", "onebox; fwd=request; stored"));
    assert_eq!(fixture.get("/", &[]).await.1, "3");
    assert_eq!(fixture.counted().bypassed, 1);
}

#[tokio::test]
async fn a_route_may_keep_every_answer_for_a_time_or_none() {
    let toml = "cache = true\n[[route]]\npath = '/slow'\ncache = '1h'\n[[route]]\npath = '/live'\ncache = false";
    let fixture = fixture(toml, |count, _| said(200, "max-age=0", &count.to_string()));
    for (path, expected) in [("/", ["1", "2"]), ("/slow", ["3", "3"]), ("/live", ["4", "5"])] {
        for body in expected {
            assert_eq!(fixture.get(path, &[("cache-control", "no-cache")]).await.1, body, "{path}");
        }
    }
}

#[tokio::test]
async fn a_text_is_compressed_once_for_all_clients() {
    let text = "text ".repeat(1000);
    let fixture = raw_fixture(ON, move |_, _, mut sink| {
        let headers =
            [("Cache-Control", "max-age=60"), ("Content-Type", "text/plain"), ("ETag", "\"a\"")];
        sink.head(head_with(200, &headers)).unwrap();
        sink.data(Bytes::from(text.clone())).unwrap();
        sink.finish();
    });
    let headers = [("host", "a.example"), ("accept-encoding", "gzip")];
    let zipped = testing::get("/", &headers);
    let before = {
        fixture.get("/", &[]).await;
        fixture.cache.store.stored_bytes()
    };
    let mut bodies = Vec::new();
    for _ in 0..2 {
        let response = fixture.ask(&zipped).await;
        assert_eq!(testing::header(&response, "content-encoding").as_deref(), Some("gzip"));
        assert_eq!(testing::header(&response, "etag").as_deref(), Some("W/\"a\""));
        assert_eq!(testing::header(&response, "vary").as_deref(), Some("Accept-Encoding"));
        let ResponseBody::Full(body) = response.body else { panic!("it is here") };
        bodies.push(body);
    }
    assert_eq!(bodies[0].as_ptr(), bodies[1].as_ptr());
    assert_eq!(fixture.cache.store.stored_bytes(), before + bodies[0].len() as u64);
    let (status, part, _) =
        fixture.get("/", &[("accept-encoding", "gzip"), ("range", "bytes=0-3")]).await;
    assert_eq!((status, &*part), (206, "text"));
    assert_eq!(fixture.asked(), 1);
}

#[tokio::test]
async fn memory_is_bounded_and_so_are_the_variants_of_a_url() {
    let toml = "[cache]\nenabled = true\nsize = '1MB'\nmax-object = '64KB'";
    let fixture =
        fixture(toml, |_, _| said(200, "max-age=60", &"x".repeat(32 << 10)).with("Vary", "X-A"));
    for number in 0..200 {
        fixture.get(&format!("/{number}"), &[]).await;
        assert!(fixture.cache.store.stored_bytes() <= 1 << 20);
    }
    assert!(fixture.cache.store.len() >= 16);
    for number in 0..40 {
        fixture.get("/", &[("x-a", &number.to_string())]).await;
    }
    assert!(fixture.cache.purge(&Purge::Url("/".into())) <= 32);
}

#[tokio::test]
async fn a_head_brings_a_stored_answer_up_to_date_or_has_it_validated() {
    let fixture = raw_fixture(ON, |count, request, mut sink| {
        let (etag, count) = (if count < 3 { "\"a\"" } else { "\"b\"" }, count.to_string());
        let headers = [
            ("Cache-Control", "max-age=60"),
            ("ETag", etag),
            ("Content-Length", "4"),
            ("X-Count", &count),
        ];
        sink.head(head_with(200, &headers)).unwrap();
        if request.vars.get(key::REQUEST_METHOD) != Some(b"HEAD") {
            sink.data(Bytes::from_static(b"text")).unwrap();
        }
        sink.finish();
    });
    let get = testing::get("/", &[("host", "a.example")]);
    let count = async || testing::header(&fixture.ask(&get).await, "x-count");
    let reload = [("host", "a.example"), ("cache-control", "no-cache")];
    let head = testing::request(Method::HEAD, "/", &reload);
    assert_eq!(count().await.as_deref(), Some("1"));
    fixture.ask(&head).await;
    assert_eq!(count().await.as_deref(), Some("2"));
    fixture.ask(&head).await;
    assert_eq!(count().await.as_deref(), Some("4"), "it is another one by now");
}

#[tokio::test]
async fn what_memory_has_let_go_comes_from_the_disk_until_it_is_taken_out() {
    const DISK: &str = "[cache]\nenabled = true\ndisk = '16MB'";
    let fixture = fixture(DISK, |count, _| {
        let body = count.to_string().repeat(300 << 10);
        said(200, "max-age=600", &body).with("ETag", "\"a\"")
    });
    let forgotten = || async {
        while !fixture.cache.is_idle() {
            tokio::task::yield_now().await;
        }
        fixture.cache.halve();
        assert_eq!(fixture.cache.stored_bytes(), 0);
    };
    fixture.get("/", &[]).await;
    forgotten().await;
    let head = testing::get("/", &[("host", "a.example")]);
    let response = fixture.ask(&head).await;
    let told = testing::header(&response, "cache-status").unwrap();
    assert!(told.starts_with("onebox; hit; ttl=") && told.ends_with("; detail=disk"), "{told}");
    assert!(testing::header(&response, "age").is_some());
    assert!(matches!(response.body, ResponseBody::File { size, .. } if size == 300 << 10));
    // A large one stays where it is, a client that has it is told so, and one that asks for less gets less.
    assert_eq!(fixture.cache.stored_bytes(), 0);
    let (status, ..) = fixture.get("/", &[("if-none-match", "\"a\"")]).await;
    assert_eq!(status, 304);
    let (status, _, _) = fixture.get("/", &[("range", "bytes=0-9")]).await;
    assert_eq!((status, fixture.asked()), (206, 1));
    // To be validated it is read, and from then on it is in memory.
    fixture.get("/", &[("cache-control", "no-cache")]).await;
    assert_eq!(fixture.asked(), 2);
    let post = RequestHead { method: Method::POST, ..head.clone() };
    fixture.ask(&post).await;
    forgotten().await;
    let (.., told) = fixture.get("/", &[]).await;
    assert_eq!((told.as_str(), fixture.asked()), ("onebox; fwd=uri-miss; stored", 4));
    forgotten().await;
    assert_eq!(fixture.cache.purge(&Purge::Tag("none".into())), 0);
    assert_eq!(fixture.cache.purge(&Purge::Url("/".into())), 1);
    let (.., told) = fixture.get("/", &[]).await;
    assert_eq!((told.as_str(), fixture.asked()), ("onebox; fwd=uri-miss; stored", 5));
    assert_eq!(fixture.counted().from_disk, 3);
}
