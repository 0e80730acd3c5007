//! The exchange with a real nginx's packet, and with everything that is none.

use std::time::Duration;

use onebox_config::Limits;
use onebox_metrics::Registry;
use onebox_uwsgi::{Backlog, ResponseHead, Vars, VarsBuilder, channel};
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::*;
use crate::ProxySettings;
use crate::access_log::AccessLog;
use crate::message::Entrance;
use crate::route::{Backend, RouteTable, Site};
use crate::service::Service;
use crate::testing;

/// Packets of a real nginx; `fixtures/README.md` names its version and the requests.
const NGINX_POST: &[u8] = include_bytes!("../fixtures/nginx-1.22.1-post.bin");
const NGINX_GET: &[u8] = include_bytes!("../fixtures/nginx-1.22.1-get.bin");
const ROUTER_POST: &[u8] = include_bytes!("../fixtures/uwsgi-2.0.31-http-post.bin");
const ROUTER_GET: &[u8] = include_bytes!("../fixtures/uwsgi-2.0.31-http-get.bin");

struct Fixture {
    door: Arc<Door>,
    backlog: Backlog,
    site: Site,
}

impl Fixture {
    fn new(limits: Limits, change: impl FnOnce(&mut Site)) -> Self {
        let (connector, backlog) = channel(4);
        let mut site = testing::site("blog");
        site.backend = Backend::Memory(connector);
        change(&mut site);
        let settings = ProxySettings {
            limits,
            temp_dir: None,
            clients: Default::default(),
            admin_hosts: Vec::new(),
        };
        let registry = Arc::new(Registry::new());
        let service = Service::new(settings, registry, AccessLog::disabled(), testing::shared());
        service.set_routes(RouteTable::new(vec![site.clone()]));
        let door = Door { site: "blog".into(), allow: None, service: Arc::new(service) };
        Self { door: Arc::new(door), backlog, site }
    }

    /// The other end of a connection that is being served.
    fn connect(&self) -> UnixStream {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let connection = ConnectionInfo::at(Entrance::Public);
        let door = Arc::clone(&self.door);
        tokio::spawn(serve(Socket::Unix(ours), connection, door, Arc::default()));
        theirs
    }

    /// An application that answers one request, and what it saw.
    fn answer_one(&self) -> std::thread::JoinHandle<(Vars, String)> {
        let backlog = self.backlog.clone();
        std::thread::spawn(move || {
            let job = backlog.receive().unwrap();
            let mut sink = job.sink;
            let head = ResponseHead {
                status: 201,
                reason: b"Made".to_vec(),
                headers: vec![(b"X-App".to_vec(), b"1".to_vec())],
            };
            sink.head(head).unwrap();
            sink.data(bytes::Bytes::from_static(b"hello")).unwrap();
            sink.finish();
            let mut body = String::new();
            std::io::Read::read_to_string(&mut job.request.body.into_reader().unwrap(), &mut body)
                .unwrap();
            (job.request.vars, body)
        })
    }
}

fn packet(modifier1: u8, pairs: &[(&str, &str)]) -> Vec<u8> {
    let mut vars = VarsBuilder::new(VarsBuilder::MAX_BLOCK_BYTES);
    for (name, value) in pairs {
        vars.push(name.as_bytes(), value.as_bytes()).unwrap();
    }
    let block = vars.finish().as_bytes().to_vec();
    let datasize = u16::try_from(block.len()).unwrap();
    [&PacketHeader { modifier1, datasize, modifier2: 0 }.encode()[..], &block].concat()
}

/// Everything that is said until the end.
async fn said(mut stream: UnixStream) -> Vec<u8> {
    let mut all = Vec::new();
    // A reset is an end too.
    tokio::time::timeout(Duration::from_secs(60), stream.read_to_end(&mut all)).await.unwrap().ok();
    all
}

async fn ask(fixture: &Fixture, bytes: &[u8]) -> String {
    let mut stream = fixture.connect();
    stream.write_all(bytes).await.unwrap();
    stream.shutdown().await.unwrap();
    String::from_utf8(said(stream).await).unwrap()
}

#[tokio::test]
async fn a_packet_of_a_real_nginx_is_answered_with_http() {
    let fixture = Fixture::new(Limits::default(), |_| ());
    let application = fixture.answer_one();
    let mut stream = fixture.connect();
    stream.write_all(NGINX_POST).await.unwrap();
    let answer = String::from_utf8(said(stream).await).unwrap();
    assert!(answer.starts_with("HTTP/1.1 201 Made\r\n"), "{answer}");
    assert!(answer.contains("\r\nX-App: 1\r\n") && answer.ends_with("\r\n\r\nhello"), "{answer}");
    let (vars, body) = application.join().unwrap();
    assert_eq!(body, "name=value");
    let text =
        |name: &str| String::from_utf8_lossy(vars.get(name.as_bytes()).unwrap()).into_owned();
    assert_eq!(text("REQUEST_METHOD"), "POST");
    assert_eq!(text("REQUEST_URI"), "/a%20b?x=1");
    assert_eq!(text("PATH_INFO"), "/a b");
    assert_eq!(text("SCRIPT_NAME"), "");
    assert_eq!(text("CONTENT_LENGTH"), "10");
    assert_eq!(text("HTTP_COOKIE"), "a=1");
    assert_eq!(text("REMOTE_ADDR"), "127.0.0.1");
}

#[tokio::test]
async fn packets_of_uwsgis_router_are_answered_with_http() {
    for (packet, method, path, query, sent) in [
        (ROUTER_GET, "GET", "/a b/c", "x=1&y=%20", ""),
        (ROUTER_POST, "POST", "/form", "", "name=value"),
    ] {
        let fixture = Fixture::new(Limits::default(), |_| ());
        let application = fixture.answer_one();
        let mut stream = fixture.connect();
        stream.write_all(packet).await.unwrap();
        let answer = String::from_utf8(said(stream).await).unwrap();
        assert!(answer.starts_with("HTTP/1.1 201 Made\r\n"), "{answer}");
        let (vars, body) = application.join().unwrap();
        assert_eq!(body, sent);
        for (name, value) in [
            ("REQUEST_METHOD", method),
            ("PATH_INFO", path),
            ("QUERY_STRING", query),
            ("SCRIPT_NAME", ""),
            ("HTTP_HOST", "mysite.example.com"),
            ("REMOTE_ADDR", "127.0.0.1"),
        ] {
            assert_eq!(vars.get(name.as_bytes()), Some(value.as_bytes()), "{name}");
        }
        assert_eq!(vars.get(b"CONTENT_LENGTH").is_some(), !sent.is_empty());
        assert_eq!(vars.get(b"UWSGI_ROUTER"), None);
    }
}

#[tokio::test]
async fn the_empty_length_and_type_that_nginx_sends_are_left_out() {
    let fixture = Fixture::new(Limits::default(), |_| ());
    let application = fixture.answer_one();
    assert!(ask(&fixture, NGINX_GET).await.starts_with("HTTP/1.1 201 "));
    let (vars, body) = application.join().unwrap();
    assert_eq!(body, "");
    for name in [&b"CONTENT_LENGTH"[..], b"CONTENT_TYPE", b"HTTP_X_UNDER"] {
        assert_eq!(vars.get(name), None, "{}", name.escape_ascii());
    }
    assert_eq!(vars.get(b"HTTP_X_FORWARDED_FOR"), Some(&b"1.2.3.4"[..]));
}

#[tokio::test]
async fn a_ping_is_answered_with_a_pong() {
    let fixture = Fixture::new(Limits::default(), |_| ());
    let mut stream = fixture.connect();
    stream.write_all(&[100, 0, 0, 0]).await.unwrap();
    let mut pong = [0; 4];
    stream.read_exact(&mut pong).await.unwrap();
    assert_eq!(pong, [100, 0, 0, 1]);
}

#[tokio::test]
async fn what_is_no_packet_is_told_so() {
    let fixture = Fixture::new(Limits::default(), |_| ());
    let get = packet(0, &[("REQUEST_METHOD", "GET")]);
    let malformed = "the variables of the packet are malformed";
    let wrong: [(&[u8], u16, &str); 8] = [
        (&packet(5, &[("REQUEST_METHOD", "GET")]), 501, "modifier1 5 is not served here"),
        (b"GET / HTTP/1.1\r\n\r\n", 501, "a request over HTTP begins like this."),
        (&get[..3], 400, "ends in the middle"),
        (&get[..4], 400, "ends in the middle"),
        (&get[..get.len() - 1], 400, "ends in the middle"),
        (&[0, 3, 0, 0, 9, 0, b'x'], 400, malformed),
        (&[0, 4, 0, 0, 0, 0, 0, 0], 400, malformed),
        (&[0, 0xff, 0xff, 0], 400, "ends in the middle"),
    ];
    for (bytes, status, reason) in wrong {
        let answer = ask(&fixture, bytes).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        assert!(answer.contains(reason), "{} {answer}", bytes.escape_ascii());
    }
    assert_eq!(ask(&fixture, b"").await, "");
}

#[tokio::test]
async fn a_packet_without_a_method_is_a_400() {
    let fixture = Fixture::new(Limits::default(), |_| ());
    let answer = ask(&fixture, &packet(0, &[("PATH_INFO", "/")])).await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
}

#[tokio::test]
async fn a_request_is_counted_and_logged_with_the_client_behind_the_web_server() {
    let folder = tempfile::tempdir().unwrap();
    let log = AccessLog::to_folder(folder.path().into()).unwrap();
    let mut fixture = Fixture::new(Limits::default(), |_| ());
    let settings = ProxySettings {
        limits: Limits::default(),
        temp_dir: None,
        clients: Default::default(),
        admin_hosts: Vec::new(),
    };
    let registry = Arc::new(Registry::new());
    let service = Service::new(settings, registry, log.clone(), testing::shared());
    service.set_routes(RouteTable::new(vec![fixture.site.clone()]));
    Arc::get_mut(&mut fixture.door).unwrap().service = Arc::new(service);
    let application = fixture.answer_one();
    let pairs = [
        ("REQUEST_METHOD", "POST"),
        ("REQUEST_URI", "/a%20b?token=secret"),
        ("PATH_INFO", "/a b"),
        ("CONTENT_LENGTH", "4"),
        ("REMOTE_ADDR", "192.0.2.9"),
        ("HTTP_USER_AGENT", "curl"),
    ];
    let answer = ask(&fixture, &[packet(0, &pairs), b"body".to_vec()].concat()).await;
    application.join().unwrap();
    log.flush();
    let text = std::fs::read_to_string(folder.path().join("blog/access.log")).unwrap();
    let line: serde_json::Value = serde_json::from_str(&text).unwrap();
    for (field, value) in [
        ("method", "POST"),
        ("path", "/a%20b"),
        ("client", "192.0.2.9"),
        ("user_agent", "curl"),
        ("served_by", "app"),
    ] {
        assert_eq!(line[field], value, "{text}");
    }
    assert_eq!((&line["status"], &line["bytes_out"]), (&201.into(), &answer.len().into()));
    assert!(answer.contains(line["request_id"].as_str().unwrap()) && !text.contains("secret"));
    let counted = fixture.site.metrics.snapshot();
    assert_eq!((counted.app, counted.by_class[2], counted.in_flight), (1, 1, 0));
    assert_eq!(counted.bytes_out, answer.len() as u64);
}

#[tokio::test]
async fn variables_above_buffer_size_are_a_431_that_names_the_limit() {
    let fixture = Fixture::new(Limits::default(), |site| site.buffer_size = 4096);
    let long = "x".repeat(5000);
    let pairs = [("REQUEST_METHOD", "GET"), ("PATH_INFO", "/"), ("HTTP_X_LONG", &*long)];
    let answer = ask(&fixture, &packet(0, &pairs)).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    assert!(answer.contains("4096") && answer.contains("X-Long"), "{answer}");
}

#[tokio::test]
async fn a_body_above_max_body_is_a_413_before_it_is_sent() {
    let fixture = Fixture::new(Limits::default(), |site| site.max_body = 1000);
    let pairs = [("REQUEST_METHOD", "POST"), ("PATH_INFO", "/"), ("CONTENT_LENGTH", "1001")];
    let answer = ask(&fixture, &packet(0, &pairs)).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

#[tokio::test]
async fn a_web_server_that_sends_too_large_a_body_can_read_why_it_is_refused() {
    let fixture = Fixture::new(Limits::default(), |site| site.max_body = 1000);
    let pairs = [("REQUEST_METHOD", "POST"), ("PATH_INFO", "/"), ("CONTENT_LENGTH", "4000000")];
    let (mut reader, mut writer) = fixture.connect().into_split();
    let upload = async {
        writer.write_all(&packet(0, &pairs)).await.unwrap();
        writer.write_all(&[b'x'; 4_000_000]).await
    };
    let mut answer = String::new();
    let (uploaded, read) = tokio::join!(upload, reader.read_to_string(&mut answer));
    uploaded.unwrap();
    read.unwrap();
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

#[tokio::test]
async fn a_full_queue_is_a_503_and_a_stopped_site_too() {
    let fixture = Fixture::new(Limits::default(), |site| site.backend = Backend::Stopped);
    let get = packet(0, &[("REQUEST_METHOD", "GET"), ("PATH_INFO", "/")]);
    assert!(ask(&fixture, &get).await.starts_with("HTTP/1.1 503 "));
    let fixture = Fixture::new(Limits::default(), |site| {
        site.backend = Backend::Memory(channel(0).0);
    });
    let answer = ask(&fixture, &get).await;
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("Retry-After"), "{answer}");
}

#[tokio::test]
async fn a_request_whose_body_is_not_there_yet_takes_no_thread() {
    let fixture = Fixture::new(Limits::default(), |_| ());
    let Backend::Memory(connector) = &fixture.site.backend else { panic!("it is memory") };
    let pairs = [("REQUEST_METHOD", "POST"), ("PATH_INFO", "/"), ("CONTENT_LENGTH", "4")];
    let mut slow = fixture.connect();
    slow.write_all(&packet(0, &pairs)).await.unwrap();
    slow.write_all(b"abc").await.unwrap();
    // Another request goes through meanwhile.
    let application = fixture.answer_one();
    let get = packet(0, &[("REQUEST_METHOD", "GET"), ("PATH_INFO", "/other")]);
    assert!(ask(&fixture, &get).await.starts_with("HTTP/1.1 201 "));
    assert_eq!(application.join().unwrap().0.get(b"PATH_INFO"), Some(&b"/other"[..]));
    assert_eq!(connector.waiting(), 0);
    let application = fixture.answer_one();
    slow.write_all(b"d").await.unwrap();
    assert!(String::from_utf8(said(slow).await).unwrap().starts_with("HTTP/1.1 201 "));
    assert_eq!(application.join().unwrap().1, "abcd");
}

#[tokio::test]
async fn a_packet_or_a_body_that_drips_is_a_408_and_who_says_nothing_is_closed() {
    let limits = Limits {
        header_timeout: Duration::from_millis(100),
        body_timeout: Duration::from_millis(100),
        ..Limits::default()
    };
    let fixture = Fixture::new(limits, |_| ());
    let get = packet(0, &[("REQUEST_METHOD", "GET")]);
    for start in [&get[..0], &get[..2], &get[..9]] {
        let mut stream = fixture.connect();
        stream.write_all(start).await.unwrap();
        let answer = said(stream).await;
        assert_eq!(answer.starts_with(b"HTTP/1.1 408 "), !start.is_empty());
        assert_eq!(answer.is_empty(), start.is_empty());
    }
    let pairs = [("REQUEST_METHOD", "POST"), ("PATH_INFO", "/"), ("CONTENT_LENGTH", "4")];
    let mut stream = fixture.connect();
    stream.write_all(&packet(0, &pairs)).await.unwrap();
    assert!(said(stream).await.starts_with(b"HTTP/1.1 408 "));
}

#[test]
fn who_is_not_allowed_is_not_let_in_and_this_machine_always_is() {
    let mut fixture = Fixture::new(Limits::default(), |_| ());
    let door = Arc::get_mut(&mut fixture.door).unwrap();
    door.allow = Some(vec!["10.0.0.0/8".parse().unwrap()]);
    let from = |peer: &str| ConnectionInfo { peer: peer.parse().ok(), ..testing::connection() };
    for peer in ["10.1.2.3:4", "[::ffff:10.1.2.3]:4", "127.0.0.1:4", "[::1]:4"] {
        assert!(door.lets_in(&from(peer)), "{peer}");
    }
    for peer in ["192.0.2.7:4", "[2001:db8::1]:4", ""] {
        assert!(!door.lets_in(&from(peer)), "{peer}");
    }
}

#[tokio::test]
async fn a_stranger_is_not_listened_to() {
    let mut fixture = Fixture::new(Limits::default(), |_| ());
    Arc::get_mut(&mut fixture.door).unwrap().allow = Some(Vec::new());
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    theirs.write_all(&packet(0, &[("REQUEST_METHOD", "GET")])).await.unwrap();
    let stranger = testing::connection();
    serve(Socket::Unix(ours), stranger, Arc::clone(&fixture.door), Arc::default()).await;
    assert_eq!(said(theirs).await, b"");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_bytes_end_the_connection_without_a_panic(
        bytes in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..200),
            // A good packet with one byte changed.
            (0..NGINX_POST.len(), any::<u8>()).prop_map(|(at, byte)| {
                let mut bytes = NGINX_POST.to_vec();
                bytes[at] = byte;
                bytes
            }),
            // A good packet, cut.
            (0..NGINX_POST.len()).prop_map(|at| NGINX_POST[..at].to_vec()),
        ]
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let fixture = Fixture::new(Limits::default(), |site| site.backend = Backend::None);
            let (ours, mut theirs) = UnixStream::pair().unwrap();
            let connection = ConnectionInfo::at(Entrance::Public);
            let door = Arc::clone(&fixture.door);
            let served = tokio::spawn(serve(Socket::Unix(ours), connection, door, Arc::default()));
            theirs.write_all(&bytes).await.unwrap();
            theirs.shutdown().await.unwrap();
            said(theirs).await;
            served.await.unwrap();
        });
    }
}
