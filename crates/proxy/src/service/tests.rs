use onebox_uwsgi::{AbortReason, Backlog, ResponseHead, ResponseSink, channel, key};
use std::time::Duration;

use super::*;
use crate::http1::Sent;
use crate::message::ResponseBody;
use crate::route::Backend;
use crate::testing;

pub(super) fn service(sites: Vec<Site>) -> Service {
    let service = service_with(AccessLog::disabled());
    service.set_routes(RouteTable::new(sites));
    service
}

pub(super) fn service_with(log: AccessLog) -> Service {
    let settings = ProxySettings {
        limits: Limits::default(),
        temp_dir: None,
        clients: Default::default(),
        admin_hosts: Vec::new(),
    };
    Service::new(settings, Arc::new(Registry::new()), log, testing::shared())
}

/// A site with an application: `respond` is run on a thread for every request.
fn application(respond: impl Fn(Request, ResponseSink) + Send + 'static) -> Site {
    let (connector, backlog) = channel(4);
    std::thread::spawn(move || {
        while let Some(job) = backlog.receive() {
            respond(job.request, job.sink);
        }
    });
    Site { catch_all: true, backend: Backend::Memory(connector), ..testing::site("app") }
}

pub(super) fn head_with(status: u16, headers: &[(&str, &str)]) -> ResponseHead {
    let headers = headers.iter().map(|(n, v)| (n.as_bytes().to_vec(), v.as_bytes().to_vec()));
    ResponseHead { status, reason: Vec::new(), headers: headers.collect() }
}

async fn ask(service: &Service, head: &RequestHead, chunks: &[&'static [u8]]) -> Response {
    let mut body = RequestBody::from_chunks(chunks.iter().map(|c| Bytes::from_static(c)));
    let (response, exchange) = service.handle(head, &mut body, &testing::connection()).await;
    exchange.sent(Sent { bytes: 100, head_bytes: 0, complete: true });
    response
}

#[tokio::test]
async fn an_application_answers_over_memory() {
    let site = application(|request, mut sink| {
        assert_eq!(request.vars.get(key::PATH_INFO), Some(&b"/hello"[..]));
        sink.head(head_with(200, &[("Content-Type", "text/plain"), ("Content-Length", "5")]))
            .unwrap();
        sink.data(Bytes::from_static(b"hello")).unwrap();
        sink.finish();
    });
    let metrics = Arc::clone(&site.metrics);
    let service = service(vec![site]);
    let response = ask(&service, &testing::get("/hello", &[("host", "a")]), &[]).await;
    assert_eq!(response.status, 200);
    assert_eq!(testing::header(&response, "content-type").as_deref(), Some("text/plain"));
    assert_eq!(testing::header(&response, "x-request-id").map(|id| id.len()), Some(16));
    assert!(matches!(&response.body, ResponseBody::Full(body) if body == "hello"));
    let counted = metrics.snapshot();
    assert_eq!((counted.app, counted.by_class[2], counted.in_flight), (1, 1, 0));
    assert_eq!((counted.queue.count, counted.app_time.count), (1, 1));
    assert_eq!(counted.bytes_out, 100);
}

#[tokio::test]
async fn an_application_gets_the_whole_body() {
    let site = application(|request, mut sink| {
        assert_eq!(request.vars.get(key::CONTENT_LENGTH), Some(&b"6"[..]));
        let mut text = String::new();
        std::io::Read::read_to_string(&mut request.body.into_reader().unwrap(), &mut text).unwrap();
        sink.head(head_with(200, &[])).unwrap();
        sink.data(text.into()).unwrap();
        sink.finish();
    });
    let service = service(vec![site]);
    let mut head = testing::request(http::Method::POST, "/", &[("transfer-encoding", "chunked")]);
    head.content_length = None;
    let response = ask(&service, &head, &[b"abc", b"def"]).await;
    assert_eq!(testing::body(response).await.unwrap(), b"abcdef");
}

#[tokio::test]
async fn an_unknown_host_is_a_421_and_no_sites_business() {
    let service = service(vec![Site { domains: vec!["a".into()], ..testing::site("a") }]);
    let response = ask(&service, &testing::get("/", &[("host", "b")]), &[]).await;
    assert_eq!(response.status, 421);
}

#[tokio::test]
async fn the_probe_entrance_has_its_own_sites() {
    let stopped = Site { catch_all: true, backend: Backend::Stopped, ..testing::site("a") };
    let service = service(vec![stopped]);
    let mut connection = testing::connection();
    connection.entrance = Entrance::Probe;
    let head = testing::get("/", &[("host", "a")]);
    let mut body = RequestBody::from_chunks([]);
    assert_eq!(service.handle(&head, &mut body, &connection).await.0.status, 503);
    service.set_probe_routes(RouteTable::new(vec![application(|_, mut sink| {
        sink.head(head_with(204, &[])).unwrap();
        sink.finish();
    })]));
    assert_eq!(service.handle(&head, &mut body, &connection).await.0.status, 204);
    assert_eq!(ask(&service, &head, &[]).await.status, 503);
}

#[tokio::test]
async fn a_full_queue_answers_503_and_when_to_try_again() {
    let (connector, _backlog): (_, Backlog) = channel(0);
    let site =
        Site { catch_all: true, backend: Backend::Memory(connector), ..testing::site("app") };
    let service = service(vec![site]);
    let response = ask(&service, &testing::get("/", &[]), &[]).await;
    assert_eq!(response.status, 503);
    assert_eq!(testing::header(&response, "retry-after").as_deref(), Some("1"));
}

#[tokio::test]
async fn what_goes_wrong_before_the_head_is_an_error_page() {
    let raised = AbortReason::Application("ValueError: secret".into());
    for (reason, status) in
        [(raised, 500), (AbortReason::WorkerLost, 502), (AbortReason::Protocol, 502)]
    {
        let service = service(vec![application(move |_, sink| sink.abort(reason.clone()))]);
        let response = ask(&service, &testing::get("/", &[]), &[]).await;
        assert_eq!(response.status, status);
        let id = testing::header(&response, "x-request-id").unwrap();
        let page = String::from_utf8(testing::body(response).await.unwrap()).unwrap();
        assert!(page.contains(&id) && !page.contains("secret"));
    }
    let service = service(vec![application(|_, sink| sink.finish())]);
    assert_eq!(ask(&service, &testing::get("/", &[]), &[]).await.status, 502);
}

#[tokio::test]
async fn what_goes_wrong_after_the_head_cuts_the_answer() {
    let (go, wait) = std::sync::mpsc::channel();
    let site = application(move |_, mut sink| {
        sink.head(head_with(200, &[])).unwrap();
        sink.data(Bytes::from_static(b"begin")).unwrap();
        wait.recv().unwrap();
        sink.abort(AbortReason::Application("ValueError".into()));
    });
    let service = service(vec![site]);
    let response = ask(&service, &testing::get("/", &[]), &[]).await;
    assert_eq!(response.status, 200);
    assert!(matches!(response.body, ResponseBody::Stream { size: None, .. }));
    go.send(()).unwrap();
    assert!(testing::body(response).await.unwrap_err().contains("ValueError"));
}

#[tokio::test]
async fn an_answer_that_fails_at_once_after_its_head_is_cut_all_the_same() {
    let failures: [fn(ResponseSink); 3] = [
        |sink| sink.abort(AbortReason::Application("ValueError".into())),
        |sink| drop(sink),
        |sink| sink.finish(),
    ];
    for fail in failures {
        for data in ["", "begin"] {
            let service = service(vec![application(move |_, mut sink| {
                sink.head(head_with(200, &[("Content-Length", "10")])).unwrap();
                sink.data(data.into()).unwrap();
                fail(sink);
            })]);
            let response = ask(&service, &testing::get("/", &[]), &[]).await;
            assert_eq!(response.status, 200);
            assert!(testing::body(response).await.is_err());
        }
    }
}

#[tokio::test]
async fn an_answer_shorter_than_it_declares_is_never_complete() {
    let (go, wait) = std::sync::mpsc::channel();
    let site = application(move |_, mut sink| {
        sink.head(head_with(200, &[("Content-Length", "10")])).unwrap();
        sink.data(Bytes::from_static(b"begin")).unwrap();
        wait.recv().unwrap();
        sink.finish();
    });
    let service = service(vec![site]);
    let response = ask(&service, &testing::get("/", &[]), &[]).await;
    assert!(matches!(response.body, ResponseBody::Stream { size: Some(10), .. }));
    go.send(()).unwrap();
    assert!(testing::body(response).await.unwrap_err().contains("5 bytes shorter"));
}

#[tokio::test]
async fn an_answer_longer_than_it_declares_ends_where_it_said() {
    let service = service(vec![application(|_, mut sink| {
        sink.head(head_with(200, &[("Content-Length", "3")])).unwrap();
        sink.data(Bytes::from_static(b"abcdef")).unwrap();
        sink.finish();
    })]);
    let response = ask(&service, &testing::get("/", &[]), &[]).await;
    assert_eq!(testing::body(response).await.unwrap(), b"abc");
}

#[tokio::test]
async fn a_yielded_frame_does_not_wait_for_the_next_one() {
    use futures_util::StreamExt;
    let (go, wait) = std::sync::mpsc::channel();
    let site = application(move |_, mut sink| {
        sink.head(head_with(200, &[])).unwrap();
        sink.data(Bytes::from_static(b"one")).unwrap();
        wait.recv().unwrap();
        sink.data(Bytes::from_static(b"two")).unwrap();
        sink.finish();
    });
    let service = service(vec![site]);
    let response = ask(&service, &testing::get("/", &[]), &[]).await;
    let ResponseBody::Stream { mut stream, .. } = response.body else { panic!("not a stream") };
    assert_eq!(stream.next().await, Some(Ok(Bytes::from_static(b"one"))));
    go.send(()).unwrap();
    assert_eq!(stream.next().await, Some(Ok(Bytes::from_static(b"two"))));
    assert_eq!(stream.next().await, None);
}

#[tokio::test(start_paused = true)]
async fn an_application_past_its_deadline_is_a_504() {
    let (connector, backlog) = channel(4);
    let backend = Backend::Memory(connector);
    let harakiri = Duration::from_secs(30);
    let site = Site { catch_all: true, backend, harakiri, ..testing::site("app") };
    let service = service(vec![site]);
    let response = ask(&service, &testing::get("/", &[]), &[]).await;
    assert_eq!(response.status, 504);
    drop(backlog);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_passed_after_the_head_cuts_the_answer() {
    let (connector, backlog) = channel(4);
    let backend = Backend::Memory(connector);
    let site = Site { catch_all: true, backend, ..testing::site("app") };
    let service = service(vec![site]);
    let head = testing::get("/", &[]);
    let worker = async {
        tokio::task::yield_now().await;
        let mut sink = backlog.receive().unwrap().sink;
        sink.head(head_with(200, &[])).unwrap();
        sink.data(Bytes::from_static(b"begin")).unwrap();
        sink
    };
    let (response, sink) = tokio::join!(ask(&service, &head, &[]), worker);
    assert_eq!(response.status, 200);
    assert!(testing::body(response).await.unwrap_err().contains("harakiri"));
    drop(sink);
}

#[tokio::test(start_paused = true)]
async fn a_slow_client_is_no_slow_application() {
    let (connector, backlog) = channel(4);
    let backend = Backend::Memory(connector);
    let response = onebox_uwsgi::BufferLimits { memory_bytes: 4, file_bytes: 1 << 21 };
    let site = Site { catch_all: true, backend, response, ..testing::site("app") };
    let service = service(vec![site]);
    let head = testing::get("/", &[]);
    let worker = async {
        tokio::task::yield_now().await;
        let mut sink = backlog.receive().unwrap().sink;
        sink.head(head_with(200, &[])).unwrap();
        // More than is collected, most of it in the temporary file.
        for _ in 0..4 {
            sink.data(Bytes::from(vec![b'x'; 300 << 10])).unwrap();
        }
        sink.finish();
    };
    let (response, ()) = tokio::join!(ask(&service, &head, &[]), worker);
    tokio::time::advance(Duration::from_secs(3600)).await;
    assert_eq!(testing::body(response).await.map(|body| body.len()), Ok(4 * (300 << 10)));
}

#[tokio::test]
async fn a_head_request_declares_a_length_and_has_no_body() {
    let service = service(vec![application(|_, mut sink| {
        sink.head(head_with(200, &[("Content-Length", "5")])).unwrap();
        sink.finish();
    })]);
    let head = testing::request(http::Method::HEAD, "/", &[]);
    let response = ask(&service, &head, &[]).await;
    assert_eq!(response.declared_length, Some(5));
    assert!(matches!(response.body, ResponseBody::Empty));
}

#[tokio::test]
async fn a_body_above_max_body_is_a_413_and_ends_the_connection() {
    let site = Site { max_body: 4, ..application(|_, _| unreachable!()) };
    let service = service(vec![site]);
    let head = testing::request(http::Method::POST, "/", &[("content-length", "5")]);
    let response = ask(&service, &head, &[b"abcde"]).await;
    assert_eq!((response.status, response.close), (413, true));
}

#[tokio::test]
async fn large_headers_are_a_431_that_names_the_largest() {
    let site = Site { buffer_size: 600, ..application(|_, _| unreachable!()) };
    let service = service(vec![site]);
    let long = "x".repeat(700);
    let head = testing::get("/", &[("x-story", &long), ("accept", "application/json")]);
    let response = ask(&service, &head, &[]).await;
    assert_eq!(response.status, 431);
    let page = String::from_utf8(testing::body(response).await.unwrap()).unwrap();
    assert!(page.contains("600 bytes") && page.contains("X-Story"), "{page}");
}

#[tokio::test]
async fn a_bad_path_is_a_400() {
    let service = service(vec![application(|_, _| unreachable!())]);
    for target in ["/%00", "/%zz", "/a%"] {
        assert_eq!(ask(&service, &testing::get(target, &[]), &[]).await.status, 400, "{target}");
    }
}

#[tokio::test]
async fn what_is_asked_of_the_server_itself_reaches_no_application_and_is_counted() {
    let site = application(|_, _| unreachable!());
    let metrics = Arc::clone(&site.metrics);
    let service = service(vec![site]);
    let trace = testing::request(http::Method::TRACE, "/", &[("cookie", "secret")]);
    let options = testing::request(http::Method::OPTIONS, "*", &[]);
    for (head, status) in [(trace, 405), (options, 200)] {
        let response = ask(&service, &head, &[]).await;
        assert_eq!(response.status, status);
        assert!(testing::header(&response, "allow").is_some());
        assert_eq!(testing::body(response).await.unwrap(), b"");
    }
    let counted = metrics.snapshot();
    assert_eq!((counted.by_class[2], counted.by_class[4], counted.app), (1, 1, 0));
}

#[tokio::test]
async fn a_refused_message_gets_a_page_and_ends_the_connection() {
    let service = service(Vec::new());
    let refusal = Refusal { status: 400, reason: "The request is malformed." };
    let (response, exchange) = service.refuse(&refusal, &testing::connection());
    exchange.sent(Sent { bytes: 1, head_bytes: 0, complete: true });
    assert_eq!((response.status, response.close), (400, true));
    let page = String::from_utf8(testing::body(response).await.unwrap()).unwrap();
    assert!(page.contains("The request is malformed."));
}

#[tokio::test]
async fn a_request_is_logged_without_the_values_of_its_query() {
    let folder = tempfile::tempdir().unwrap();
    let log = AccessLog::to_folder(folder.path().into()).unwrap();
    let service = service_with(log.clone());
    service.set_routes(RouteTable::new(vec![application(|_, mut sink| {
        sink.head(head_with(201, &[])).unwrap();
        sink.finish();
    })]));
    let head = testing::get("/a?token=secret", &[("user-agent", "curl")]);
    let response = ask(&service, &head, &[]).await;
    log.flush();
    let text = std::fs::read_to_string(folder.path().join("app/access.log")).unwrap();
    let line: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&line["status"], &line["path"]), (&201.into(), &"/a".into()));
    assert_eq!((&line["client"], &line["user_agent"]), (&"192.0.2.7".into(), &"curl".into()));
    assert_eq!((&line["served_by"], &line["release"]), (&"app".into(), &"r1".into()));
    assert_eq!(line["request_id"], testing::header(&response, "x-request-id").unwrap());
    assert!(line["queue_ms"].is_number() && line["app_ms"].is_number());
    assert!(!text.contains("secret"));
}

#[tokio::test]
async fn a_request_whose_answer_was_given_up_is_counted_with_status_0() {
    let site = application(|_, sink| drop(sink));
    let metrics = Arc::clone(&site.metrics);
    let service = service(vec![site]);
    let mut body = RequestBody::from_chunks([]);
    let head = testing::get("/", &[]);
    drop(service.handle(&head, &mut body, &testing::connection()).await);
    assert_eq!(metrics.snapshot().by_class[0], 1);
}

#[tokio::test]
async fn a_request_without_an_answer_has_its_sites_mercy_when_the_proxy_drains_and_then_503() {
    let (connector, backlog) = channel(4);
    let backend = Backend::Memory(connector);
    let reload_mercy = Duration::from_millis(50);
    let site = Site { catch_all: true, backend, reload_mercy, ..testing::site("app") };
    let service = service(vec![site]);
    let head = testing::get("/", &[]);
    let drain = async {
        tokio::task::yield_now().await;
        service.lifecycle.drain(Duration::from_secs(3600), crate::Heir::Successor);
    };
    let (response, ()) = tokio::join!(ask(&service, &head, &[]), drain);
    assert_eq!(response.status, 503);
    assert_eq!(testing::header(&response, "Retry-After").as_deref(), Some("1"));
    drop(backlog);
}
