//! HTTPS: own certificates, the box's own, redirects, sessions that outlive an engine.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::{DEADLINE, Https, Pem, Poller, Session, SiteFolder, TestBox, get, onebox};

/// An application that shows what it knows of the way a request came.
const SHOW: &str = "def application(environ, start_response):
    start_response('200 OK', [('Content-Type', 'text/plain')])
    names = 'wsgi.url_scheme', 'HTTPS', 'SERVER_PORT', 'REQUEST_SCHEME'
    return [' '.join(f'{name}={environ.get(name)}' for name in names).encode()]
";

#[test]
fn a_sites_own_certificate_answers_and_is_read_again_when_it_changes() {
    let appliance = TestBox::start_with_tls();
    let (folder, port) = (tempfile::tempdir().unwrap(), appliance.https.unwrap().port());
    let (first, other) = (Pem::new(folder.path(), "a.example"), tempfile::tempdir().unwrap());
    let second = Pem::new(other.path(), "a.example");
    let site = SiteFolder::fixture("hello");
    site.write("app.py", SHOW);
    site.write("onebox.toml", &format!("domains = 'a.example'\n{}hsts = '1d'\n", first.section()));
    appliance.deploy(site.path()).ok();
    let trusting = |root: &Pem| Https::new(appliance.https.unwrap(), &root.certificate);
    // A copy, because the file itself is replaced later.
    let old = Pem { certificate: folder.path().join("old.pem"), key: first.key.clone() };
    std::fs::copy(&first.certificate, &old.certificate).unwrap();
    let answer = trusting(&old).get("a.example", "/");
    let environ = format!("wsgi.url_scheme=https HTTPS=on SERVER_PORT={port} REQUEST_SCHEME=https");
    assert!(answer.ends_with(&environ), "{answer}");
    assert!(answer.contains("Strict-Transport-Security: max-age=86400\r\n"), "{answer}");

    // Without TLS there is only the way to it.
    let redirect = get(appliance.http, &format!("a.example:{}", appliance.http.port()), "/x?y=1");
    assert_eq!(redirect.status, 308);
    assert_eq!(redirect.header("location"), format!("https://a.example:{port}/x?y=1"));
    let local = get(appliance.http, "hello.localhost", "/");
    assert!(local.text().starts_with("wsgi.url_scheme=http HTTPS=None"), "{}", local.text());
    assert_eq!(local.header("strict-transport-security"), "");
    let status = appliance.site("hello");
    assert_eq!(status["urls"][0], format!("https://a.example:{port}"));
    assert_eq!(status["certificates"][0]["source"], "own");

    // What is wrong is told, and the certificate of before goes on.
    std::fs::write(&first.key, std::fs::read(&second.key).unwrap()).unwrap();
    appliance.wait_for_line("the key does not belong to the certificate");
    trusting(&old).get("a.example", "/");
    assert!(appliance.cli(&["cert", "hello"]).ok().stdout.contains("does not belong"));
    first.replace_by(&second);
    appliance.wait_for_lines("certificate read", 2);
    while !trusting(&second).ask("a.example", "/", &[]).status.success() {
        std::thread::yield_now();
    }
    assert!(!trusting(&old).ask("a.example", "/", &[]).status.success());
    assert!(!appliance.cli(&["cert"]).ok().stdout.contains("does not belong"));
}

#[test]
fn a_certificate_that_can_not_be_used_is_no_release() {
    let appliance = TestBox::start_with_tls();
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (Pem::new(folder.path(), "a.example"), Pem::new(folder.path(), "b.example"));
    let site = SiteFolder::fixture("static-only");
    let deploy = |section: &str| {
        site.write("onebox.toml", section);
        appliance.deploy(site.path()).failed().all()
    };
    let mixed = Pem { certificate: one.certificate.clone(), key: other.key };
    let said = deploy(&mixed.section());
    assert!(said.contains("the key does not belong to the certificate"), "{said}");
    let said = deploy("[tls]\ncertificate = '/nowhere/a.pem'\nkey = '/nowhere/a.key'\n");
    assert!(said.contains("/nowhere/a.pem can't be read"), "{said}");
    // In a folder that everybody may read there is no place for a key.
    for (file, path) in [("a.pem", &one.certificate), ("a.key", &one.key)] {
        site.write(file, &std::fs::read_to_string(path).unwrap());
        site.write(&format!(".tls/{file}"), &std::fs::read_to_string(path).unwrap());
    }
    let said = deploy("[tls]\ncertificate = 'a.pem'\nkey = 'a.key'\n");
    assert!(said.contains("lies in a folder whose files are served"), "{said}");
    site.write("onebox.toml", "[tls]\ncertificate = '.tls/a.pem'\nkey = '.tls/a.key'\n");
    appliance.deploy(site.path()).ok();
    assert_eq!(get(appliance.http, "localhost", "/.tls/a.key").status, 404);
    let https = Https::new(appliance.https.unwrap(), &one.certificate);
    assert!(https.get("a.example", "/").starts_with("HTTP/1.1 200 "));
}

#[test]
fn names_of_this_machine_are_vouched_for_by_the_box_and_addresses_too() {
    let mut appliance = TestBox::start_with_tls();
    let site = SiteFolder::fixture("hello");
    appliance.deploy(site.path()).ok();
    let root = appliance.state().join("certificates/authority/root.pem");
    let https = Https::new(appliance.https.unwrap(), &root);
    for host in ["hello.localhost", "localhost", "127.0.0.1"] {
        assert!(https.get(host, "/").starts_with("HTTP/1.1 200 "), "{host}");
    }
    // The site takes every host, its certificate does not.
    assert!(!https.ask("other.example", "/", &[]).status.success());
    assert!(https.ask("other.example", "/", &["-k"]).ok().stdout.contains(" 200 "));
    assert_eq!(get(appliance.http, "localhost", "/").status, 200, "nobody is sent to a warning");
    let status = appliance.site("hello");
    assert_eq!(status["certificates"][0]["source"], "internal");

    let before = std::fs::read(&root).unwrap();
    appliance.signal(Signal::TERM);
    assert_eq!(appliance.wait(), 0);
    let again = onebox_at(&appliance);
    assert_eq!(std::fs::read(&root).unwrap(), before);
    assert!(Https::new(again.https.unwrap(), &root).get("localhost", "/").contains(" 200 "));
}

fn onebox_at(appliance: &TestBox) -> TestBox {
    let mut command = onebox();
    command.args(["serve", "--http", "127.0.0.1:0", "--https", "127.0.0.1:0"]);
    command.args(["--admin", "127.0.0.1:0"]);
    TestBox::start_as(command, Some(appliance.state()))
}

#[test]
fn sessions_go_on_after_a_redeploy_and_after_an_upgrade() {
    let appliance = TestBox::start_with_tls();
    let site = SiteFolder::fixture("hello");
    appliance.deploy(site.path()).ok();
    let folder = tempfile::tempdir().unwrap();
    let sessions = ["-tls1_2", "-tls1_3"]
        .map(|version| Session::new(appliance.https.unwrap(), folder.path(), version));
    for session in &sessions {
        assert!(!session.goes_on("hello.localhost"));
        assert!(session.goes_on("hello.localhost"));
    }
    let engine = appliance.engine_pid();
    appliance.deploy(site.path()).ok();
    assert_ne!(appliance.engine_pid(), engine);
    for session in &sessions {
        assert!(session.goes_on("hello.localhost"));
    }
    let engine = appliance.engine_pid();
    appliance.signal(Signal::USR2);
    appliance.wait_for_line("upgraded");
    while appliance.engine_pid() == engine {
        std::thread::yield_now();
    }
    for session in &sessions {
        assert!(session.goes_on("hello.localhost"));
    }
}

#[test]
fn redirects_are_for_the_site_to_decide() {
    let appliance = TestBox::start_with_tls();
    let visitors = Poller::start(appliance.http, "localhost", "/");
    let site = SiteFolder::fixture("hello");
    site.write("onebox.toml", "domains = 'a.example'\n[tls]\nredirect = true\n");
    appliance.deploy(site.path()).ok();
    drop(visitors);
    // Somebody in front maps 80 and 443: no port is in the name, and none comes into the way.
    let redirect = get(appliance.http, "a.example", "/x");
    assert_eq!(
        (redirect.status.as_u16(), redirect.header("location")),
        (308, "https://a.example/x")
    );
    site.write("onebox.toml", "domains = 'a.example'\n[tls]\nredirect = false\n");
    appliance.deploy(site.path()).ok();
    assert_eq!(get(appliance.http, "a.example", "/x").status, 200);
}

#[test]
fn an_address_for_tls_comes_and_goes_with_the_configuration() {
    let plain = "[listen]\nhttp = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n";
    let appliance = TestBox::start_with_config(plain);
    assert!(appliance.https.is_none());
    let site = SiteFolder::fixture("hello");
    appliance.deploy(site.path()).ok();
    appliance.write_config(&format!("{plain}https = \"127.0.0.1:0\"\n"));
    appliance.signal(Signal::HUP);
    appliance.wait_for_line("the configuration was reloaded");
    let address = appliance.status()["https"][0].as_str().unwrap().parse().unwrap();
    let root = appliance.state().join("certificates/authority/root.pem");
    assert!(Https::new(address, &root).get("localhost", "/").contains(" 200 "));
    appliance.write_config(plain);
    appliance.signal(Signal::HUP);
    appliance.wait_for_lines("the configuration was reloaded", 2);
    while std::net::TcpStream::connect(address).is_ok() {
        std::thread::yield_now();
    }
}

#[test]
fn an_address_that_is_taken_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut command = onebox();
    command.args(["serve", "--http", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--https"]);
    command.arg(taken.local_addr().unwrap().to_string());
    command.env("ONEBOX_STATE_DIR", folder.path());
    let said = crate::harness::run(command).failed().all();
    assert!(said.contains("has this address: stop it"), "{said}");
}

#[test]
fn the_first_request_of_a_connection_carries_its_handshake() {
    let appliance = TestBox::start_with_tls();
    let (folder, port) = (tempfile::tempdir().unwrap(), appliance.https.unwrap().port());
    let pem = Pem::new(folder.path(), "a.example");
    let site = SiteFolder::fixture("static-only");
    site.write("onebox.toml", &format!("domains = 'a.example'\n{}", pem.section()));
    appliance.deploy(site.path()).ok();
    let https = Https::new(appliance.https.unwrap(), &pem.certificate);
    for version in ["--http1.1", "--http2"] {
        // One after the other, over one connection.
        let first = format!("https://a.example:{port}/first");
        https.ask("a.example", "/later", &[version, &first]).ok();
    }
    let begun = Instant::now();
    let records = loop {
        let records = appliance.api("/api/v1/requests?site=static-only&status=404").json();
        if records.as_array().unwrap().len() == 4 {
            break records;
        }
        assert!(begun.elapsed() < DEADLINE, "{records}");
        std::thread::sleep(Duration::from_millis(50));
    };
    for record in records.as_array().unwrap() {
        let is_first = record["path"] == "/first";
        assert_eq!(record["tls_us"].as_u64().is_some_and(|us| us > 0), is_first, "{record}");
    }
    let first = records.as_array().unwrap().iter().find(|record| record["path"] == "/first");
    let id = first.unwrap()["request_id"].as_str().unwrap();
    let told = appliance.cli(&["autopsy", id]).ok().stdout;
    assert!(told.contains("\ntls "), "{told}");
    let counted = "onebox_http_phase_duration_seconds_count{site=\"static-only\",phase=\"tls\"} ";
    // What is counted is told with the next second, and the look whether the deploy went well is over another way in.
    loop {
        let page = appliance.api("/metrics").stdout;
        if page.lines().any(|line| line.strip_prefix(counted) == Some("2")) {
            break;
        }
        assert!(begun.elapsed() < DEADLINE, "{page}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
