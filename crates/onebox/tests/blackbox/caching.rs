//! Stored answers: asked for once, purged by an operator, gone with their release; of an application and of an upstream.

use std::net::SocketAddr;
use std::time::Instant;

use bytes::Bytes;
use http::{Method, Request};
use rustix::process::Signal;

use crate::harness::{Answer, Connection, DEADLINE, SiteFolder, TestBox, get};

const STORED: &str = "/?cc=max-age=600";

fn site(toml: &str) -> SiteFolder {
    let site = SiteFolder::fixture("cached");
    site.write("onebox.toml", toml);
    site
}

fn send(address: SocketAddr, method: Method, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut connection = Connection::open(address, "localhost").unwrap();
    connection.send(request.body(Bytes::new()).unwrap()).unwrap()
}

fn told(answer: &Answer) -> (&str, String) {
    (answer.header("cache-status"), answer.text())
}

#[test]
fn an_answer_is_stored_purged_counted_and_gone_with_its_release() {
    let appliance = TestBox::start();
    let site = site("cache = true\n");
    appliance.deploy(site.path()).ok();
    let text = || get(appliance.http, "localhost", STORED).text();
    let first = get(appliance.http, "localhost", STORED);
    assert_eq!(first.header("cache-status"), "onebox; fwd=uri-miss; stored");
    let again = get(appliance.http, "localhost", STORED);
    assert!(again.header("cache-status").starts_with("onebox; hit; ttl="), "{:?}", again.headers);
    assert!(!again.header("age").is_empty() && again.text() == first.text());

    let purged = |arguments: &[&str]| {
        let all = [&["purge", "cached", "--json"], arguments].concat();
        appliance.cli(&all).ok().json()["answers"].as_u64().unwrap()
    };
    assert_eq!(purged(&["/nothing"]), 0);
    assert_eq!(purged(&[STORED]), 1);
    let second = text();
    assert_ne!(second, first.text());
    assert_eq!(purged(&["--prefix", "http://localhost:1/"]), 0, "it is another port");
    assert_eq!(purged(&["--prefix", "/"]), 1);
    get(appliance.http, "localhost", "/?cc=max-age=600&tag=a,b");
    assert_eq!((purged(&["--tag", "c"]), purged(&["--tag", "b"])), (0, 1));
    text();
    assert_eq!(purged(&[]), 1);
    assert_eq!(
        appliance.cli(&["purge", "cached", "/a", "--tag", "b"]).code(),
        2,
        "one or the other"
    );
    let nobody = appliance.cli(&["purge", "nobody"]).failed();
    assert!(nobody.stderr.contains("nobody"), "{}", nobody.stderr);

    let counted = appliance.wait_for_site("cached", |site| {
        site["cache"]["hits"] == 1 && site["cache"]["misses"].as_u64() >= Some(4)
    });
    assert!(counted["cache"]["hit_ratio"].as_f64().unwrap() > 0.0);
    let shown = appliance.cli(&["status", "cached"]).ok().stdout;
    assert!(shown.contains("cache") && shown.contains("1 fresh"), "{shown}");
    let explained = appliance.cli(&["explain", "http://localhost/"]).ok().stdout;
    assert!(explained.contains("a stored answer if there is one that is fresh"), "{explained}");

    text();
    site.write("release.txt", "two");
    appliance.deploy(site.path()).ok();
    assert!(text().starts_with("two "), "a new release begins without answers");
}

#[test]
fn an_answer_on_the_disk_outlives_the_appliance_and_not_a_purge_or_a_release() {
    const OTHER: &str = "/other?cc=max-age=600";
    let folder = tempfile::tempdir().unwrap();
    let (state, site) = (folder.path(), site("[cache]\nenabled = true\ndisk = '16MB'\n"));
    let files = || {
        let releases = state.join("cache/cached").read_dir().into_iter().flatten().flatten();
        let files = releases.filter_map(|release| release.path().read_dir().ok()).flatten();
        let is_whole = |name: &str| name.len() == 16;
        files
            .filter(|file| file.as_ref().unwrap().file_name().to_str().is_some_and(is_whole))
            .count()
    };
    let until_there_are = |count: usize| {
        let begun = Instant::now();
        while files() != count {
            assert!(begun.elapsed() < DEADLINE, "{} files", files());
            std::thread::yield_now();
        }
    };
    let stop = |mut appliance: TestBox| {
        appliance.signal(Signal::TERM);
        assert_eq!(appliance.wait(), 0);
    };
    let (first, other) = {
        let appliance = TestBox::start_at(state);
        appliance.deploy(site.path()).ok();
        let texts = [STORED, OTHER].map(|path| get(appliance.http, "localhost", path).text());
        until_there_are(2);
        stop(appliance);
        texts.into()
    };
    let appliance = TestBox::start_at(state);
    // The first ones may come before it is known what there is, and what is not asked for has no figures.
    appliance.wait_for_site("cached", |site| {
        get(appliance.http, "localhost", "/");
        site["cache"]["disk_bytes"].as_u64() > Some(4096)
    });
    let again = get(appliance.http, "localhost", STORED);
    let status = again.header("cache-status");
    assert!(
        status.starts_with("onebox; hit; ttl=") && status.ends_with("; detail=disk"),
        "{status}"
    );
    assert_eq!(again.text(), first);
    let third = get(appliance.http, "localhost", STORED);
    assert!(!third.header("cache-status").contains("disk"), "it is in memory now");
    appliance.wait_for_site("cached", |site| site["cache"]["from_disk"] == 1);
    let metrics = appliance.api("/metrics").ok().stdout;
    assert!(metrics.contains("onebox_cache_disk_hits_total{site=\"cached\"} 1\n"), "{metrics}");
    let purged = appliance.cli(&["purge", "cached", "--prefix", "/", "--json"]).ok().json();
    assert_eq!(
        (purged["answers"].as_u64(), files()),
        (Some(2), 0),
        "in memory, and on the disk alone"
    );
    assert_ne!(get(appliance.http, "localhost", OTHER).text(), other);
    until_there_are(1);
    site.write("release.txt", "two");
    appliance.deploy(site.path()).ok();
    assert!(get(appliance.http, "localhost", OTHER).text().starts_with("two "));
    until_there_are(1);
    appliance.cli(&["rm", "cached", "--yes"]).ok();
    assert!(!state.join("cache/cached").exists());
}

#[test]
fn what_is_on_the_disk_goes_when_the_site_wants_nothing_there_any_more() {
    let appliance = TestBox::start();
    let folder = appliance.state().join("cache/cached");
    for settings in ["", "isolation = 'process'\n"] {
        let with = |cache: &str| site(&format!("{settings}{cache}"));
        for without in ["cache = true\n", ""] {
            appliance.deploy(with("[cache]\nenabled = true\ndisk = '16MB'\n").path()).ok();
            let begun = Instant::now();
            while !folder.exists() {
                assert!(begun.elapsed() < DEADLINE, "nothing is stored on the disk");
            }
            appliance.deploy(with(without).path()).ok();
            while folder.exists() {
                assert!(begun.elapsed() < DEADLINE, "{settings:?} {without:?}: it stays");
            }
        }
    }
}

#[test]
fn a_site_with_workers_begins_without_answers_after_a_deploy_too() {
    let appliance = TestBox::start();
    let site = site("cache = \"1h\"\nisolation = \"process\"\n");
    appliance.deploy(site.path()).ok();
    let first = get(appliance.http, "localhost", "/").text();
    assert_eq!(get(appliance.http, "localhost", "/").text(), first);
    appliance.cli(&["maintenance", "cached", "on"]).ok();
    assert_eq!(get(appliance.http, "localhost", "/").status, 503, "the gate comes first");
    appliance.cli(&["maintenance", "cached", "off"]).ok();
    assert_eq!(get(appliance.http, "localhost", "/").text(), first, "it is the same release");
    site.write("release.txt", "two");
    appliance.deploy(site.path()).ok();
    assert!(get(appliance.http, "localhost", "/").text().starts_with("two "));
    appliance.cli(&["rollback", "cached"]).ok();
    assert!(get(appliance.http, "localhost", "/").text().starts_with("one "));
}

#[test]
fn without_a_cache_nothing_is_stored_and_nothing_can_be_purged() {
    let appliance = TestBox::start();
    let site = site("");
    appliance.deploy(site.path()).ok();
    let first = get(appliance.http, "localhost", STORED);
    assert_eq!(first.header("cache-status"), "");
    assert_ne!(get(appliance.http, "localhost", STORED).text(), first.text());
    let refused = appliance.cli(&["purge", "cached"]).failed();
    assert!(refused.stderr.contains("cache = true"), "{}", refused.stderr);
}

#[test]
fn answers_of_an_upstream_are_stored_validated_and_invalidated() {
    let behind = site("");
    let behind = TestBox::run_in_place(behind.path(), &[]);
    let front = SiteFolder::fixture("static-only");
    let toml = format!("cache = true\n[[upstream]]\nto = \"http://{}\"\n", behind.http);
    front.write("onebox.toml", &toml);
    front.remove("index.html");
    let front = TestBox::run_in_place(front.path(), &[]);
    let address = front.http;

    let first = get(address, "localhost", STORED);
    assert_eq!(told(&first), ("onebox; fwd=uri-miss; stored", "one 1".to_owned()));
    let part = send(address, Method::GET, STORED, &[("range", "bytes=0-2")]);
    assert_eq!((part.status.as_u16(), part.text()), (206, "one".to_owned()));
    let head = send(address, Method::HEAD, STORED, &[]);
    assert_eq!((head.header("content-length"), head.text()), ("5", String::new()));
    let wanted = send(address, Method::GET, "/other", &[("cache-control", "only-if-cached")]);
    assert_eq!(wanted.status, 504);

    send(address, Method::POST, STORED, &[]);
    let after = get(address, "localhost", STORED);
    assert_eq!(told(&after), ("onebox; fwd=stale; stored", "one 3".to_owned()));

    let validated = "/?cc=no-cache&etag=%22v%22";
    let first = get(address, "localhost", validated);
    let again = get(address, "localhost", validated);
    assert_eq!(told(&again), ("onebox; fwd=stale; fwd-status=304; stored", first.text()));

    let varied = "/?cc=max-age=600&vary=Accept-Language";
    let in_language =
        |language: &str| send(address, Method::GET, varied, &[("accept-language", language)]);
    let english = in_language("en, de").text();
    assert_ne!(in_language("fr").text(), english);
    assert_eq!(in_language("EN,de;q=1").text(), english);
}
