//! Servers beside the Python site: real uWSGI, gunicorn, php-fpm and a WebSocket server behind the proxy, and uWSGI's router
//! in front of it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use bytes::Bytes;
use http::Request;

use crate::harness::{
    Connection, DEADLINE, Peer, Pem, Poller, SiteFolder, TestBox, environment_of, free_address,
    get, php_fpm, run, uwsgi_can_be_built,
};

fn tool(name: &str) -> Command {
    Command::new(environment_of("peers").join("bin").join(name))
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/apps/peers").join(name)
}

/// A real uWSGI that serves the fixture.
pub(crate) fn uwsgi(arguments: &[&str]) -> Peer {
    let mut command = tool("uwsgi");
    command.args(["--need-app", "--die-on-term", "--threads", "4", "--buffer-size", "65535"]);
    command.arg("--wsgi-file").arg(fixture("app.py")).args(arguments);
    Peer::start(command, "spawned uWSGI worker")
}

/// A real gunicorn that serves the fixture.
fn gunicorn(arguments: &[&str]) -> Peer {
    let mut command = tool("gunicorn");
    command.args(["--threads", "4", "--chdir"]).arg(fixture("")).args(arguments).arg("app");
    Peer::start(command, "Booting worker")
}

/// A real php-fpm that listens at `socket`; `None`, and a word about it, where the machine has none.
pub(crate) fn php(folder: &Path, socket: &Path) -> Option<Peer> {
    let binary = php_fpm()?;
    let config = folder.join("php-fpm.conf");
    let pool =
        "[www]\npm = static\npm.max_children = 2\nuser = root\ngroup = root\nlisten.mode = 0666\n";
    let text = format!(
        "[global]\ndaemonize = no\nerror_log = /dev/stderr\n{pool}listen = {}\n",
        socket.display()
    );
    std::fs::write(&config, text).unwrap();
    let mut command = Command::new(binary);
    command.arg("--nodaemonize").arg("--fpm-config").arg(&config);
    if rustix::process::geteuid().is_root() {
        command.arg("--allow-to-run-as-root");
    }
    Some(Peer::start(command, "ready to handle connections"))
}

/// A site of nothing but these upstreams.
fn proxied(appliance: &TestBox, config: &str) -> SiteFolder {
    let site = SiteFolder::fixture("proxied");
    site.write("onebox.toml", config);
    appliance.deploy(site.path()).ok();
    assert_eq!(appliance.site("proxied")["mode"], "proxied");
    site
}

fn everything_works_below(address: SocketAddr, prefix: &str) {
    let mut client = Connection::open(address, "localhost").unwrap();
    let empty = "e3b0c44298fc1c14";
    let answer = client.get(&format!("{prefix}/a%20b?x=1")).unwrap();
    assert_eq!(answer.text(), format!("GET a b 0 {empty}"), "{prefix}");
    let head = Request::head(format!("{prefix}/x")).body(Bytes::new()).unwrap();
    let head = client.send(head).unwrap();
    assert_eq!((head.status.as_u16(), head.body.len()), (200, 0), "{prefix}");
    let missing = client.get(&format!("{prefix}/missing")).unwrap();
    assert_eq!((missing.status.as_u16(), missing.text().as_str()), (404, "not here"), "{prefix}");
    assert_eq!(missing.header("x-who"), "127.0.0.1", "{prefix}");
    let posted = client.post(&format!("{prefix}/form"), "text/plain", "name=value").unwrap();
    assert!(posted.text().starts_with("POST form 10 "), "{prefix}: {}", posted.text());
    let upload: Vec<u8> = (0..=250).cycle().take(20 << 20).collect();
    let told = client.post(&format!("{prefix}/up"), "text/plain", upload.clone()).unwrap().text();
    assert!(told.starts_with("POST up 20971520 "), "{prefix}: {told}");
    assert_eq!(chunked(address, &format!("{prefix}/up"), &upload), told, "{prefix}");
    let stream = client.get(&format!("{prefix}/stream")).unwrap().text();
    assert!(stream.starts_with("piece 0\n") && stream.ends_with("piece 999\n"), "{prefix}");
    let large = client.get(&format!("{prefix}/large")).unwrap().body;
    assert!(large.len() == 20 << 20 && large.ends_with(&[253, 254, 255]), "{prefix}");
    let cut = client.get(&format!("{prefix}/cut")).unwrap_err();
    assert!(cut.starts_with("body: "), "{prefix}: {cut}");
}

/// What is answered to a body of unknown size.
fn chunked(address: SocketAddr, path: &str, body: &[u8]) -> String {
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let head = "HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n";
    write!(stream, "POST {path} {head}\r\n").unwrap();
    for chunk in body.chunks(100_000) {
        write!(stream, "{:x}\r\n", chunk.len()).unwrap();
        stream.write_all(chunk).unwrap();
        stream.write_all(b"\r\n").unwrap();
    }
    stream.write_all(b"0\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text.split("\r\n\r\n").nth(1).unwrap_or_default().to_owned()
}

#[test]
fn real_uwsgi_and_gunicorn_answer_over_unix_tcp_and_http() {
    if !uwsgi_can_be_built() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("uwsgi.sock");
    let [tcp, ours, http] = [free_address(), free_address(), free_address()].map(|a| a.to_string());
    let _uwsgi = uwsgi(&["--socket", socket.to_str().unwrap(), "--socket", &tcp]);
    let _gunicorn = gunicorn(&["--protocol", "uwsgi", "--bind", &ours]);
    let _http = gunicorn(&["--bind", &http]);
    let appliance = TestBox::start();
    let upstreams = [
        ("/unix", format!("uwsgi://unix:{}", socket.display())),
        ("/tcp", format!("uwsgi://{tcp}")),
        ("/gunicorn", format!("uwsgi://{ours}")),
        ("/http", format!("http://{http}")),
    ];
    let section =
        |(path, to): &(&str, String)| format!("[[upstream]]\npath = '{path}'\nto = '{to}'\n");
    let config: String = upstreams.iter().map(section).collect();
    let _site = proxied(&appliance, &config);
    for (path, _) in &upstreams {
        everything_works_below(appliance.http, path);
    }
    assert_eq!(get(appliance.http, "localhost", "/elsewhere").status, 404);
    let told = appliance.cli(&["explain", "proxied"]).ok().stdout;
    assert!(told.contains("proxied is proxied") && told.contains(&upstreams[1].1), "{told}");
    let told = appliance.cli(&["status", "proxied"]).ok().stdout;
    assert!(told.contains("/gunicorn"), "{told}");
}

#[test]
fn a_websocket_passes_both_ways() {
    if !uwsgi_can_be_built() {
        return;
    }
    let address = free_address();
    let mut command = tool("python");
    command.arg(fixture("echo_server.py")).arg(address.port().to_string());
    let _server = Peer::start(command, "ready");
    let appliance = TestBox::start();
    let site = SiteFolder::fixture("fronted");
    site.write("onebox.toml", &format!("[[upstream]]\npath = '/ws'\nto = 'http://{address}'\n"));
    appliance.deploy(site.path()).ok();
    let mut client = tool("python");
    client.arg(fixture("echo_client.py")).arg(format!("ws://{}/ws/chat", appliance.http));
    assert_eq!(run(client).ok().stdout, "all came back\n");
    assert!(get(appliance.http, "localhost", "/python").text().starts_with("GET /python "));
}

#[test]
fn killing_one_of_three_under_load_loses_no_idempotent_request() {
    if !uwsgi_can_be_built() {
        return;
    }
    let addresses = [free_address(), free_address(), free_address()].map(|a| a.to_string());
    let [first, second, third] = &addresses;
    let mut peers = [
        uwsgi(&["--socket", first]),
        gunicorn(&["--bind", second]),
        gunicorn(&["--protocol", "uwsgi", "--bind", third]),
    ];
    let appliance = TestBox::start();
    let config = format!(
        "[[upstream]]\nto = ['uwsgi://{first}', 'http://{second}', 'uwsgi://{third}']\nfail-timeout = '1s'\n"
    );
    let _site = proxied(&appliance, &config);
    let visitors: Vec<Poller> = (0..4)
        .map(|_| Poller::keep_alive(appliance.http, "localhost", "/any/large-enough"))
        .collect();
    let answered = || visitors.iter().map(Poller::answered).sum::<u64>();
    for peer in &mut peers[..2] {
        wait_for_more(&answered, 200);
        peer.kill();
    }
    wait_for_more(&answered, 200);
    let total: u64 =
        visitors.into_iter().map(|visitor| visitor.all_well().bodies.values().sum::<u64>()).sum();
    assert!(total >= 600, "{total}");
}

fn wait_for_more(answered: &dyn Fn() -> u64, more: u64) {
    let (before, begun) = (answered(), Instant::now());
    while answered() < before + more {
        assert!(begun.elapsed() < DEADLINE, "{} answers since {before}", answered());
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

#[test]
fn uwsgis_router_stands_in_front_of_a_site() {
    if !uwsgi_can_be_built() {
        return;
    }
    let address = free_address();
    let appliance = TestBox::start();
    let site = SiteFolder::fixture("fronted");
    site.write("onebox.toml", "socket = 'run/front.sock'\n");
    appliance.deploy(site.path()).ok();
    let socket = appliance.state().join("sites/fronted/shared/run/front.sock");
    let mut command = tool("uwsgi");
    // Without a master the router does not outlive its first process.
    command.args(["--master", "--die-on-term", "--http", &address.to_string()]);
    command.arg("--http-to").arg(socket);
    let _router = Peer::start(command, "spawned uWSGI http");
    let mut client = Connection::open(address, "localhost").unwrap();
    let text = client.get("/a%20b?x=1").unwrap().text();
    assert!(text.starts_with("GET /a b 0 "), "{text}");
    let mut client = Connection::open(address, "localhost").unwrap();
    let upload: Vec<u8> = (0..=250).cycle().take(5 << 20).collect();
    let posted = client.post("/up", "text/plain", upload).unwrap().text();
    assert!(posted.starts_with("POST /up 5242880 "), "{posted}");
    let stream = get(address, "localhost", "/stream").text();
    assert!(stream.starts_with("piece 0\n") && stream.ends_with("piece 999\n"));
    let who = get(address, "mysite.example.com", "/who?a=b").text();
    assert_eq!(who, "127.0.0.1 mysite.example.com a=b http HTTP/1.1");
}

#[test]
fn php_and_python_answer_on_the_same_port() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("php.sock");
    let Some(_php) = php(folder.path(), &socket) else { return };
    let appliance = TestBox::start();
    let site = SiteFolder::fixture("fronted");
    let upstream = format!(
        "[[upstream]]\npath = '/php'\nto = 'fastcgi://unix:{}'\nroot = 'public'\n",
        socket.display()
    );
    site.write("onebox.toml", &format!("{upstream}[static]\n'/php' = 'public/php'\n"));
    site.write(
        "public/php/index.php",
        "<?php echo 'front ', $_SERVER['PATH_INFO'], ' ', $_SERVER['REQUEST_URI'];",
    );
    site.write(
        "public/php/page.php",
        "<?php header('X-Php: yes'); http_response_code(201);\n\
         echo implode(' ', [$_SERVER['REQUEST_METHOD'], $_SERVER['SCRIPT_NAME'], $_SERVER['PATH_INFO'] ?? '-',\n\
         $_GET['a'] ?? '-', $_POST['b'] ?? '-', strlen(file_get_contents('php://input')), $_SERVER['REMOTE_ADDR']]);",
    );
    site.write(
        "public/php/large.php",
        "<?php for ($i = 0; $i < 100; $i++) echo str_repeat('x', 100000);",
    );
    site.write("public/php/cut.php", "<?php header('Content-Length: 1000000'); echo 'short';");
    site.write("public/php/broken.php", "<?php error_log('a complaint'); nonsense();");
    site.write("public/php/a.css", "body {}");
    appliance.deploy(site.path()).ok();
    let address = appliance.http;
    let mut client = Connection::open(address, "localhost").unwrap();
    let page = client.get("/php/page.php/more?a=1").unwrap();
    assert_eq!((page.status.as_u16(), page.header("x-php")), (201, "yes"));
    assert_eq!(page.text(), "GET /php/page.php /more 1 - 0 127.0.0.1");
    let form = "application/x-www-form-urlencoded";
    let posted = client.post("/php/page.php", form, "b=2").unwrap().text();
    assert_eq!(posted, "POST /php/page.php  - 2 3 127.0.0.1");
    let upload = vec![b'y'; 3 << 20];
    let posted = client.post("/php/page.php", "text/plain", upload).unwrap().text();
    assert_eq!(posted, "POST /php/page.php  - - 3145728 127.0.0.1");
    assert_eq!(
        client.get("/php/pretty/url?c").unwrap().text(),
        "front /pretty/url /php/pretty/url?c"
    );
    assert_eq!(client.get("/php/").unwrap().text(), "front  /php/");
    assert_eq!(client.get("/php/large.php").unwrap().body.len(), 10_000_000);
    assert_eq!(client.get("/php/a.css").unwrap().text(), "body {}");
    assert_eq!(client.get("/php/a.css/x.php").unwrap().status, 404);
    assert_eq!(client.get("/php/none.php").unwrap().status, 404);
    assert_eq!(client.get("/php/broken.php").unwrap().status, 500);
    assert!(client.get("/python").unwrap().text().starts_with("GET /python "));
    assert!(client.get("/php/cut.php").unwrap_err().starts_with("body: "));
    let logged = appliance.cli(&["logs", "fronted"]).ok().stdout;
    assert!(logged.contains("answer cut"), "{logged}");
}

#[test]
fn a_proxied_site_without_its_server_is_not_deployed() {
    let appliance = TestBox::start();
    let site = SiteFolder::fixture("proxied");
    site.write("onebox.toml", &format!("[[upstream]]\nto = 'http://{}'\n", free_address()));
    let failed = appliance.deploy(site.path()).failed();
    assert!(failed.all().contains("no server of its [[upstream]] answers"), "{}", failed.all());
}

#[test]
fn a_server_over_tls_must_have_a_certificate_that_the_machine_trusts() {
    if !uwsgi_can_be_built() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (address, authority) = (free_address(), folder.path().join("authority.pem"));
    let mut command = tool("python");
    command.arg(fixture("https_server.py")).arg(address.port().to_string()).arg(&authority);
    let _server = Peer::start(command, "ready");
    let config = format!(
        "[health]\nstatus = [404, 501, 502]\n[[upstream]]\nto = 'https://localhost:{}'\npass-host = false\n",
        address.port()
    );
    let post_by = |appliance: &TestBox, config: &str| {
        proxied(appliance, config);
        let mut client = Connection::open(appliance.http, "localhost").unwrap();
        client.post("/", "text/plain", "x".repeat(300_000)).unwrap()
    };
    let trusting = TestBox::start_with(|command| {
        command.env("SSL_CERT_FILE", &authority);
    });
    let expected = format!("300000 bytes for localhost:{}", address.port());
    assert_eq!(post_by(&trusting, &config).text(), expected);
    let appliance = TestBox::start();
    assert_eq!(post_by(&appliance, &config).status, 502);

    // A site may name the authority of its server.
    let named = format!("{config}ca-file = '{}'\n", authority.display());
    assert_eq!(post_by(&appliance, &named).text(), expected);
    let other = Pem::new(folder.path(), "localhost");
    let wrong = format!("{config}ca-file = '{}'\n", other.certificate.display());
    assert_eq!(post_by(&appliance, &wrong).status, 502);
    // It is read again where it was of no use.
    std::fs::copy(&authority, &other.certificate).unwrap();
    let mut client = Connection::open(appliance.http, "localhost").unwrap();
    assert_eq!(client.post("/", "text/plain", "x".repeat(300_000)).unwrap().text(), expected);
    std::fs::write(&other.certificate, "nothing").unwrap();
    let site = SiteFolder::fixture("proxied");
    site.write("onebox.toml", &wrong);
    let said = appliance.deploy(site.path()).failed().all();
    assert!(said.contains("there is no certificate in it"), "{said}");
}

/// Answers every request with an empty 200.
fn answering(listener: TcpListener) {
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut head = [0; 4096];
            if stream.read(&mut head).is_ok() {
                let answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
                stream.write_all(answer.as_bytes()).ok();
            }
        }
    });
}

#[test]
fn how_each_server_is_shows_in_the_status() {
    let well = TcpListener::bind("127.0.0.1:0").unwrap();
    let (first, second) = (well.local_addr().unwrap(), free_address());
    answering(well);
    let appliance = TestBox::start();
    let check = "[upstream.health]\ninterval = '100ms'\nfails = 1\npasses = 1\n";
    let _site = proxied(
        &appliance,
        &format!("[[upstream]]\nto = ['http://{first}', 'http://{second}']\n{check}"),
    );
    let states_are = |expected: [&str; 2]| {
        appliance.wait_for_site("proxied", |status| {
            let servers = status["upstreams"][0]["servers"].as_array().unwrap();
            let states: Vec<_> = servers.iter().map(|server| server["state"].as_str()).collect();
            states == expected.map(Some)
        })
    };
    let status = states_are(["up", "unhealthy"]);
    let servers = &status["upstreams"][0]["servers"];
    assert_eq!(servers[0]["problem"], serde_json::Value::Null);
    assert!(servers[1]["problem"].as_str().unwrap().contains("no connection: "), "{servers}");
    let told = appliance.cli(&["status", "proxied"]).ok().stdout;
    // A check may be under way.
    let up = [format!("http://{first}  up\n"), format!("http://{first}  up, 1 in flight\n")];
    assert!(up.iter().any(|line| told.contains(line)), "{told}");
    assert!(told.contains(&format!("http://{second}  unhealthy: no connection: ")), "{told}");
    answering(TcpListener::bind(second).unwrap());
    states_are(["up", "up"]);
}
