//! Routes: which one a path has, what it does, and that all of it changes under open connections. nginx is the oracle.

use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;

use bytes::Bytes;
use http::Request;

use crate::harness::{Answer, Connection, Nginx, SiteFolder, TestBox, get, onebox};

/// A static site with these files, each holding its own path.
fn folder_of_files(files: &[&str]) -> SiteFolder {
    let site = SiteFolder::fixture("static-only");
    for file in files {
        site.write(file, &format!("this is {file}\n"));
    }
    site
}

/// What tells answers apart: status, where they lead, and what is in them when they are good.
fn essence(address: SocketAddr, path: &str) -> (u16, String, String) {
    let answer = get(address, "localhost", path);
    let location = answer.header("location");
    // nginx names the host, in an absolute URL.
    let location = match location.split_once("://") {
        Some((_, rest)) => rest.find('/').map_or("", |at| &rest[at..]),
        None => location,
    };
    let text = if answer.status == 200 { answer.text() } else { String::new() };
    // For a folder that may not be listed nginx says 403, which tells that it is there.
    let status = if answer.status == 403 { 404 } else { answer.status.as_u16() };
    (status, location.to_owned(), text)
}

fn same_as_nginx(onebox: SocketAddr, nginx: SocketAddr, paths: &[&str]) {
    for path in paths {
        assert_eq!(essence(onebox, path), essence(nginx, path), "{path}");
    }
}

#[test]
fn of_several_routes_that_match_nginx_would_take_the_same_one() {
    if !Nginx::is_here() {
        return;
    }
    let site = folder_of_files(&[]);
    // Each answers with a status of its own.
    let routes = [
        ("exact", "/a", 410),
        ("exact", "/a/b/c", 411),
        ("path", "/a", 412),
        ("path", "/a/b", 413),
        ("regex", "^/[ax]/", 414),
        ("regex", "[.]php$", 415),
        ("regex", "^/x", 416),
        ("regex", "(?i)^/upper$", 417),
        ("regex", "é", 422),
    ];
    let toml = routes.map(|(kind, pattern, status)| {
        format!("[[route]]\n{kind} = '{pattern}'\nstatus = {status}\n")
    });
    site.write("onebox.toml", &toml.concat());
    let locations = routes.map(|(kind, pattern, status)| {
        let kind = match kind {
            "exact" => "=",
            // Ours end where a segment does, which in nginx takes a slash.
            "path" => return format!("location ^~ {pattern}/ {{ return {status}; }}\n"),
            _ => "~",
        };
        format!("location {kind} \"{pattern}\" {{ return {status}; }}\n")
    });
    let root = site.path().display();
    let nginx = Nginx::serve(&[format!("root {root}; {}", locations.concat())]);
    let appliance = TestBox::run_in_place(site.path(), &[]);
    let paths = [
        "/a",
        "/a/",
        "/a/x",
        "/a/x.php",
        "/a/b/",
        "/a/b/c",
        "/a/b/c/",
        "/a/b/c.php",
        "/ab",
        "/x",
        "/x/",
        "/x.php",
        "/y.php",
        "/y.php?a=/a",
        "/y.PHP",
        "/UPPER",
        "/upper/",
        "/%61/b/x",
        "/caf%C3%A9",
        "/nothing",
        "/",
    ];
    same_as_nginx(appliance.http, nginx.addresses[0], &paths);
}

#[test]
fn try_files_index_files_and_redirects_of_folders_are_nginxs() {
    if !Nginx::is_here() {
        return;
    }
    let files =
        ["app.js", "page.html", "docs/index.html", "docs/a b.html", "old/index.htm", "bare/x.txt"];
    let site = folder_of_files(&files);
    let ways = [
        ("index = ['index.html', 'index.htm']\n", "index index.html index.htm;"),
        (
            "index = ['index.html', 'index.htm']\ntry-files = ['$uri', '$uri.html', '$uri/', '/index.html']\n",
            "index index.html index.htm; location / { try_files $uri $uri.html $uri/ /index.html; }",
        ),
        ("try-files = ['$uri', '=404']\n", "location / { try_files $uri =404; }"),
        (
            "[[route]]\nregex = '^/v([0-9]+)/(.*)$'\ntry-files = ['/$2', '/docs/$2', '=410']\n",
            "location ~ ^/v([0-9]+)/(.*)$ { try_files /$2 /docs/$2 =410; }",
        ),
    ];
    let root = site.path().display();
    let servers = ways.map(|(_, server)| format!("root {root}; {server}"));
    let nginx = Nginx::serve(&servers);
    let paths = [
        "/",
        "/app.js",
        "/page",
        "/page.html",
        "/docs",
        "/docs?a=b",
        "/docs/",
        "/docs/a%20b.html",
        "/docs/index.html",
        "/old",
        "/old/",
        "/nothing",
        "/nothing/",
        "/v1/app.js",
        "/v2/index.html",
        "/v3/a%20b.html",
        "/v4/none",
        "/app.js/",
    ];
    for ((toml, server), address) in ways.iter().zip(&nginx.addresses) {
        site.write("onebox.toml", toml);
        let appliance = TestBox::run_in_place(site.path(), &[]);
        for path in paths {
            let (ours, theirs) = (essence(appliance.http, path), essence(*address, path));
            assert_eq!(ours, theirs, "{path} with {server}");
        }
    }
}

#[test]
fn an_upstream_keeps_its_paths_beside_a_single_page_application() {
    if !Nginx::is_here() {
        return;
    }
    let backend = Nginx::serve(&["location / { return 200 $request_uri; }".to_owned()]);
    let api =
        |path: &str| format!("[[upstream]]\n{path}to = ['http://{}']\n", backend.addresses[0]);
    let page = "try-files = ['$uri', '/index.html']\n";
    let site = folder_of_files(&["index.html"]);
    for toml in [
        format!("{page}{}", api("path = '/api'\n")),
        format!("{page}{}[[route]]\npath = '/api'\nupstream = 'api'\n", api("name = 'api'\n")),
        format!("{page}{}[[route]]\npath = '/api'\nmax-body = '1KB'\n", api("path = '/api'\n")),
        format!("{}[[route]]\npath = '/'\n{page}", api("path = '/api'\n")),
    ] {
        site.write("onebox.toml", &toml);
        let appliance = TestBox::run_in_place(site.path(), &[]);
        let get = |path: &str| ask(appliance.http, "localhost", path, &[]).text();
        assert_eq!(
            (get("/api/x"), get("/api/y?z")),
            ("/api/x".into(), "/api/y?z".into()),
            "{toml}"
        );
        assert_eq!(get("/apis"), get("/"), "{toml}");
    }
}

/// A request with fields of its own.
fn ask(address: SocketAddr, host: &str, path: &str, fields: &[(&str, &str)]) -> Answer {
    let mut request = Request::get(path);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    let mut connection = Connection::open(address, host).unwrap();
    connection.send(request.body(Bytes::new()).unwrap()).unwrap()
}

#[test]
fn redirects_rewrites_and_headers_stand_before_the_application() {
    let site = SiteFolder::fixture("fronted");
    site.write(
        "onebox.toml",
        "domains = ['www.shop.example', 'shop.example', '*.shop.example']\n\
         canonical-host = 'www.shop.example'\n\
         headers = { set = { X-Frame-Options = 'DENY' }, remove = ['Content-Type'] }\n\
         errors = { 410 = 'gone.html', 4xx = 'other.html' }\n\
         [[route]]\npath = '/old'\nredirect = '/new$rest'\nstatus = 301\n\
         [[route]]\nregex = '^/u/(?<id>[^/]+)$'\nrewrite = '/user?id=$id'\n\
         [[route]]\nexact = '/w'\nrewrite = '/who?forged=no'\nrequest-headers = { set = { X-Set = '1' } }\n\
         [[route]]\npath = '/gone'\nstatus = 410\nheaders = { set = { X-Frame-Options = 'SAMEORIGIN' } }\n\
         [[route]]\npath = '/office'\nallow = ['192.0.2.0/24']\n\
         [[route]]\nexact = '/small'\nmax-body = '1KB'\n",
    );
    site.write("gone.html", "<h1>long gone</h1>");
    site.write("other.html", "<h1>something else</h1>");
    let appliance = TestBox::start();
    appliance.deploy(site.path()).ok();
    let at = |path: &str| get(appliance.http, "www.shop.example", path);

    let redirect = at("/old/a%20b?x=1");
    assert_eq!(redirect.status, 301);
    assert_eq!(redirect.header("location"), "/new/a%20b?x=1");
    assert_eq!(at("/old//evil.example/").header("location"), "/new//evil.example/");
    assert!(at("/u/7").text().starts_with("GET /user 0 "), "{}", at("/u/7").text());
    assert_eq!(at("/w?a=b").text(), "127.0.0.1 www.shop.example forged=no&a=b http HTTP/1.1");
    for path in ["/", "/w", "/old"] {
        assert_eq!(at(path).header("x-frame-options"), "DENY", "{path}");
        assert_eq!(at(path).header("content-type"), "", "{path}");
    }
    let gone = at("/gone/for/ever");
    assert_eq!((gone.status.as_u16(), gone.text().as_str()), (410, "<h1>long gone</h1>"));
    assert_eq!(gone.header("x-frame-options"), "SAMEORIGIN");
    let office = at("/office/plan");
    assert_eq!((office.status.as_u16(), office.text().as_str()), (403, "<h1>something else</h1>"));
    let missing = at("/missing");
    assert_eq!((missing.status.as_u16(), missing.text().as_str()), (404, "not here"));
    let mut connection = Connection::open(appliance.http, "www.shop.example").unwrap();
    assert_eq!(connection.post("/small", "text/plain", vec![b'x'; 2000]).unwrap().status, 413);

    let port = appliance.http.port();
    for host in ["shop.example", "a.b.shop.example"] {
        let asked = format!("{host}:{port}");
        let answer = get(appliance.http, &asked, "/a%20b?c");
        assert_eq!(answer.status, 308, "{host}");
        assert_eq!(answer.header("location"), format!("http://www.shop.example:{port}/a%20b?c"));
    }
    assert_eq!(get(appliance.http, "fronted.localhost", "/").status, 200);
    assert_eq!(get(appliance.http, "example", "/").status, 421);

    let explained = appliance.cli(&["explain", "http://www.shop.example/u/7?x"]).ok().stdout;
    insta::assert_snapshot!("explain-url", explained);
    let refused = appliance.cli(&["explain", "http://www.shop.example/x/../u/7"]).ok().stdout;
    assert!(refused.contains("400: other servers read this path as another one"), "{refused}");
    let refused = appliance.cli(&["explain", "ftp://x"]).failed().all();
    assert!(refused.contains("is not a URL"), "{refused}");
}

/// The output of `onebox hash-password`.
fn hashed(password: &str) -> String {
    let mut child =
        onebox().arg("hash-password").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    writeln!(child.stdin.take().unwrap(), "{password}").unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn a_password_is_asked_for_where_the_configuration_wants_one() {
    let site = SiteFolder::fixture("static-only");
    let hash = hashed("open sesame");
    // `htpasswd -nbB ann sesame`
    let bcrypt = "$2y$05$VWmUqsyPq.Gt8o4NVaLVZu1pzwuSGBbVBR5v7dXCpRQ6Ml2jDPxyy";
    site.write(
        "onebox.toml",
        &format!(
            "[auth]\nrealm = 'Staff'\nusers = {{ Aladdin = '{hash}', ann = '{bcrypt}' }}\n\
             [[route]]\npath = '/assets'\nauth = false\n"
        ),
    );
    let appliance = TestBox::run_in_place(site.path(), &[]);
    let with = |value: &str| ask(appliance.http, "localhost", "/", &[("authorization", value)]);
    let refused = get(appliance.http, "localhost", "/");
    assert_eq!(refused.status, 401);
    assert_eq!(refused.header("www-authenticate"), "Basic realm=\"Staff\", charset=\"UTF-8\"");
    // Aladdin:open sesame, twice: checked, and remembered.
    for _ in 0..2 {
        assert_eq!(with("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==").status, 200);
    }
    for wrong in [
        "Basic QWxhZGRpbjpvcGVuIHNlc2FtIQ==",
        "Basic YWxhZGRpbjpvcGVuIHNlc2FtZQ==",
        "Bearer QWxhZGRpbjpvcGVuIHNlc2FtZQ==",
        "Basic",
        "Basic !!!",
    ] {
        assert_eq!(with(wrong).status, 401, "{wrong}");
    }
    assert_eq!(get(appliance.http, "localhost", "/assets/site.css").status, 200);
    assert_eq!(get(appliance.http, "localhost", "/index.html").status, 401);
}

#[test]
fn maintenance_begins_and_ends_on_an_open_connection_and_outlives_a_deploy() {
    let site = SiteFolder::fixture("static-only");
    site.write("onebox.toml", "maintenance-page = 'sorry.html'\n");
    site.write("sorry.html", "back soon");
    let appliance = TestBox::start();
    appliance.deploy(site.path()).ok();
    let mut connection = Connection::open(appliance.http, "localhost").unwrap();
    assert_eq!(connection.get("/").unwrap().status, 200);
    appliance.cli(&["maintenance", "static-only", "on"]).ok();
    let mut in_maintenance = || {
        let answer = connection.get("/").unwrap();
        assert_eq!((answer.status.as_u16(), answer.text().as_str()), (503, "back soon"));
        assert_eq!(answer.header("retry-after"), "60");
    };
    in_maintenance();
    appliance.deploy(site.path()).ok();
    in_maintenance();
    let status = appliance.cli(&["status", "static-only"]).ok().stdout;
    assert!(status.contains("in maintenance"), "{status}");
    appliance.cli(&["maintenance", "static-only", "off"]).ok();
    assert_eq!(connection.get("/").unwrap().status, 200);
    appliance.cli(&["maintenance", "nobody", "on"]).failed();
}

#[test]
fn routes_change_under_an_open_connection() {
    let site = SiteFolder::fixture("static-only");
    let appliance = TestBox::start();
    appliance.deploy(site.path()).ok();
    let mut connection = Connection::open(appliance.http, "localhost").unwrap();
    for (toml, status) in [
        ("", 404),
        ("[[route]]\nexact = '/x'\nredirect = '/'\n", 302),
        ("[[route]]\npath = '/x'\nstatus = 451\n", 451),
        ("try-files = ['$uri', '/index.html']\n", 200),
        ("listing = true\nindex = false\n", 404),
    ] {
        site.write("onebox.toml", toml);
        appliance.deploy(site.path()).ok();
        let answer = connection.get("/x").unwrap();
        assert_eq!(answer.status.as_u16(), status, "{toml}");
        assert!(!answer.closes(), "{toml}");
    }
    let listed = connection.get("/").unwrap().text();
    assert!(listed.contains("./assets/") && listed.contains("index.html"), "{listed}");
    assert!(!listed.contains("onebox.toml"), "{listed}");
}

#[test]
fn a_wrong_route_fails_the_check_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let write = |text: &str| std::fs::write(Path::new(folder.path()).join("onebox.toml"), text);
    write("[[route]]\nregex = '('\nredirect = '/x'\n\n[[route]]\npath = '/a'\nredirect = '/a/b'\n")
        .unwrap();
    let mut command = onebox();
    command.arg("check").arg(folder.path());
    let told = crate::harness::run(command).failed().all();
    assert!(told.contains("onebox.toml:2") && told.contains("unclosed group"), "{told}");
    assert!(told.contains("onebox.toml:5") && told.contains("round and round"), "{told}");
}
