//! Who the client is behind other proxies, and what upstreams are told about it: nginx and curl stand around us.

use std::net::{SocketAddr, SocketAddrV4};
use std::process::Command;

use bytes::Bytes;
use http::Request;

use crate::harness::{
    Address, Connection, Https, Nginx, Pem, Relay, SiteFolder, TestBox, free_address, get, run,
};

/// An appliance that believes what `listen` says, and the site that tells what it sees.
fn appliance(listen: &str) -> TestBox {
    let listener = "[listen]\nhttp = '127.0.0.1:0'\nadmin = '127.0.0.1:0'\n";
    let appliance = TestBox::start_with_config(&format!("{listener}{listen}"));
    let site = SiteFolder::fixture("fronted");
    site.write(
        "onebox.toml",
        "[[route]]\nexact = '/office'\nallow = ['192.0.2.0/24']\nrewrite = '/who'\n\
         [[route]]\nexact = '/old'\nredirect = '$scheme://$host/new'\n",
    );
    appliance.deploy(site.path()).ok();
    appliance
}

fn asked(address: SocketAddr, path: &str, fields: &[(&str, &str)]) -> (u16, String, String) {
    let mut request = Request::get(path);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    let mut connection = Connection::open(address, "inside").unwrap();
    let answer = connection.send(request.body(Bytes::new()).unwrap()).unwrap();
    (answer.status.as_u16(), answer.header("location").to_owned(), answer.text())
}

#[test]
fn what_a_trusted_proxy_says_is_what_everything_behind_it_sees() {
    if !Nginx::is_here() {
        return;
    }
    let appliance = appliance("trusted-proxies = '127.0.0.0/8'\n");
    let nginx = Nginx::start(&[format!(
        "proxy_pass http://{}; proxy_http_version 1.1; proxy_set_header X-Forwarded-Proto https; \
         proxy_set_header X-Forwarded-Host shop.example; \
         proxy_set_header X-Forwarded-For \"$http_x_forwarded_for, 192.0.2.7, $remote_addr\";",
        appliance.http
    )]);
    let front = nginx.addresses[0];
    let forged = [("x-forwarded-for", "6.6.6.6"), ("forwarded", "for=9.9.9.9;host=evil")];
    let (_, _, who) = asked(front, "/who?a", &forged);
    assert_eq!(who, "192.0.2.7 shop.example a https HTTP/1.1");
    assert_eq!(asked(front, "/office", &[]).0, 200, "the access list sees the client");
    assert_eq!(asked(front, "/old", &[]).1, "https://shop.example/new");
    // Without a word of a proxy, this machine is the client.
    assert_eq!(get(appliance.http, "inside", "/office").status, 403);
}

#[test]
fn nobody_is_believed_who_is_not_named() {
    let appliance = appliance("");
    let forged = [
        ("x-forwarded-for", "192.0.2.7"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "evil"),
        ("forwarded", "for=192.0.2.7;proto=https;host=evil"),
    ];
    let (_, _, who) = asked(appliance.http, "/who?a", &forged);
    assert_eq!(who, "127.0.0.1 inside a http HTTP/1.1");
    assert_eq!(asked(appliance.http, "/office", &forged).0, 403);
}

#[test]
fn forwarded_is_read_where_the_configuration_says_so() {
    let appliance = appliance("trusted-proxies = ['127.0.0.1']\nclient-header = 'forwarded'\n");
    let fields = [
        (
            "forwarded",
            "for=6.6.6.6, for=\"192.0.2.7:99\";proto=https;host=shop.example, for=127.0.0.1",
        ),
        ("x-forwarded-for", "9.9.9.9"),
    ];
    let (_, _, who) = asked(appliance.http, "/who?a", &fields);
    assert_eq!(who, "192.0.2.7 shop.example a https HTTP/1.1");
}

#[test]
fn the_proxy_protocol_introduces_clients_in_both_directions() {
    if !Nginx::is_here() {
        return;
    }
    let appliance = appliance("trusted-proxies = '127.0.0.1'\nproxy-protocol = true\n");
    let curl = |more: &[&str]| {
        let mut command = Command::new("curl");
        command.args(["-sS", "--max-time", "60"]).args(more);
        command.arg(format!("http://{}/who?a", appliance.http));
        run(command)
    };
    let told = curl(&["--haproxy-clientip", "192.0.2.7"]);
    if told.stderr.contains("is unknown") {
        return eprintln!("skipped: this curl has no --haproxy-clientip");
    }
    assert_eq!(told.ok().stdout, format!("192.0.2.7 {} a http HTTP/1.1", appliance.http));
    assert_ne!(curl(&[]).code(), 0, "a trusted proxy that introduces nobody is not answered");

    // An nginx that wants to be told, behind an appliance that tells it, in both versions.
    let addresses = [free_address(), free_address()];
    let nginx = Nginx::serve(&addresses.map(|address| {
        format!(
            "listen {address} proxy_protocol; \
             location / {{ return 200 \"$proxy_protocol_addr $http_x_forwarded_for $uri\"; }}"
        )
    }));
    let front = TestBox::start();
    let site = SiteFolder::fixture("proxied");
    let upstreams = ["v1", "v2"].into_iter().zip(addresses).map(|(version, address)| {
        format!(
            "[[upstream]]\npath = '/{version}'\nto = 'http://{address}'\nproxy-protocol = '{version}'\n\
             [upstream.health]\npath = '/'\n"
        )
    });
    site.write("onebox.toml", &upstreams.collect::<String>());
    front.deploy(site.path()).ok();
    for version in ["v1", "v2"] {
        let mut connection = Connection::open(front.http, "localhost").unwrap();
        for _ in 0..3 {
            let said = connection.get(&format!("/{version}/x")).unwrap().text();
            assert_eq!(said, format!("127.0.0.1 127.0.0.1 /{version}/x"));
        }
    }
    drop(nginx);
}

/// Shows who asks, and what was reached how.
const SHOW: &str = "def application(environ, start_response):
    start_response('200 OK', [('Content-Type', 'text/plain')])
    names = 'REMOTE_ADDR', 'REMOTE_PORT', 'SERVER_PORT', 'wsgi.url_scheme', 'HTTPS'
    return [' '.join(str(environ.get(name)) for name in names).encode()]
";

/// Introductions of one client in both versions, byte by byte as the specification has them.
fn introductions(client: SocketAddrV4, local: SocketAddrV4) -> [Vec<u8>; 2] {
    let (from, to) = (client.ip(), local.ip());
    let text = format!("PROXY TCP4 {from} {to} {} {}\r\n", client.port(), local.port());
    let mut binary = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    binary.extend([from.octets(), to.octets()].concat());
    binary.extend([client.port().to_be_bytes(), local.port().to_be_bytes()].concat());
    [text.into_bytes(), binary]
}

#[test]
fn the_proxy_protocol_stands_before_a_handshake() {
    let folder = tempfile::tempdir().unwrap();
    let pem = Pem::new(folder.path(), "a.example");
    let site = SiteFolder::fixture("hello");
    site.write("app.py", SHOW);
    site.write("onebox.toml", &format!("domains = 'a.example'\n{}", pem.section()));
    let deployed = |trusted: &str| {
        let appliance = TestBox::start_with_config(&format!(
            "[listen]\nhttp = '127.0.0.1:0'\nhttps = '127.0.0.1:0'\nadmin = '127.0.0.1:0'\n\
             trusted-proxies = '{trusted}'\nproxy-protocol = true\n"
        ));
        appliance.deploy(site.path()).ok();
        appliance
    };
    let trusting = deployed("127.0.0.1");
    let https = trusting.https.unwrap();
    let ask_in = |version: &str, address: SocketAddr| {
        let arguments = ["-H", "Host: a.example", version];
        Https::new(address, &pem.certificate).ask("a.example", "/", &arguments)
    };
    let ask = |address: SocketAddr| ask_in("--http1.1", address);
    let (client, local) = ("192.0.2.7:4711", "198.51.100.1:8443");
    for introduction in introductions(client.parse().unwrap(), local.parse().unwrap()) {
        for (version, begins) in [("--http1.1", "HTTP/1.1 200"), ("--http2", "HTTP/2 200")] {
            let relay = Relay::start(https, introduction.clone());
            let said = ask_in(version, relay.address).ok().stdout;
            assert!(said.starts_with(begins), "{said}");
            assert!(said.ends_with("\r\n\r\n192.0.2.7 4711 8443 https on"), "{said}");
        }
    }
    // The proxy speaks for itself: its health check.
    let own = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
    for introduction in [&own[..], b"PROXY UNKNOWN\r\n"] {
        let said = ask(Relay::start(https, introduction.to_vec()).address).ok().stdout;
        let reached = format!(" {} https on", https.port());
        assert!(said.contains("\r\n\r\n127.0.0.1 ") && said.ends_with(&reached), "{said}");
    }
    // A proxy that is trusted and introduces nobody, or says it wrong, hears nothing, not even a handshake.
    assert!(!ask(https).status.success());
    let hello = b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03";
    for broken in [
        &b"PROXY TCP4 192.0.2.7 198.51.100.1 4711\r\n"[..],
        b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 99999\r\n",
        b"PROXY TCP9 192.0.2.7 198.51.100.1 4711 8443\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\x0c",
        b"",
    ] {
        let said = Address::Tcp(https).ask(&[broken, hello].concat());
        assert!(said.bytes.is_empty(), "{}: {said:?}", broken.escape_ascii());
    }
    // From anybody else it is no beginning of a handshake.
    let doubting = deployed("192.0.2.0/24");
    let https = doubting.https.unwrap();
    let [text, _] = introductions(client.parse().unwrap(), local.parse().unwrap());
    assert!(!ask(Relay::start(https, text).address).status.success());
    let said = ask(https).ok().stdout;
    assert!(said.contains("\r\n\r\n127.0.0.1 "), "{said}");
}

#[test]
fn the_proxy_protocol_stands_before_http_2() {
    let appliance = appliance("trusted-proxies = '127.0.0.1'\nproxy-protocol = true\n");
    let ask = |address: SocketAddr| {
        let mut command = Command::new("curl");
        command.args(["-sS", "--max-time", "60", "--http2-prior-knowledge", "-H", "Host: inside"]);
        command.arg(format!("http://{address}/who?a"));
        run(command)
    };
    let (client, local) = ("192.0.2.7:4711", "198.51.100.1:8080");
    for introduction in introductions(client.parse().unwrap(), local.parse().unwrap()) {
        let said = ask(Relay::start(appliance.http, introduction).address).ok().stdout;
        assert_eq!(said, "192.0.2.7 inside a http HTTP/2.0");
    }
    assert!(!ask(appliance.http).status.success(), "nobody is introduced");
}

#[test]
fn upstreams_hear_how_the_client_came() {
    if !Nginx::is_here() {
        return;
    }
    let echo = "return 200 \"$http_x_forwarded_for $http_x_forwarded_proto $http_x_forwarded_host $http_forwarded\";";
    let nginx = Nginx::start(&[echo.to_owned()]);
    let appliance = TestBox::start_with_tls();
    let site = SiteFolder::fixture("proxied");
    site.write("onebox.toml", &format!("[[upstream]]\nto = 'http://{}'\n", nginx.addresses[0]));
    appliance.deploy(site.path()).ok();
    let root = appliance.state().join("certificates/authority/root.pem");
    let forged = ["-H", "Host: localhost", "-H", "X-Forwarded-Proto: gopher"];
    let https = Https::new(appliance.https.unwrap(), &root);
    let said = https.ask("localhost", "/", &forged).ok().stdout;
    let expected = "127.0.0.1 https localhost for=127.0.0.1;host=\"localhost\";proto=https";
    assert!(said.ends_with(&format!("\r\n\r\n{expected}")), "{said}");
    let plain = get(appliance.http, "localhost", "/").text();
    assert_eq!(plain, expected.replace("https", "http"));
}
