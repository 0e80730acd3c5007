//! Frameworks of the package index run unmodified: a page, a form, cookies with a redirect, errors, an answer that comes in pieces.

use std::process::Command;

use http::Request;

use crate::harness::{self, Connection, Https, SiteFolder, TestBox, environment_of, get};

/// The framework's application in place, and the folder it runs from.
fn run(module: &str) -> (TestBox, SiteFolder) {
    let python = environment_of("frameworks");
    let site = SiteFolder::fixture("frameworks");
    let arguments = ["--python", python.to_str().unwrap(), "--module", module];
    (TestBox::run_in_place(site.path(), &arguments), site)
}

fn serves_a_page_a_form_and_a_stream(module: &str) {
    let (served, _site) = run(module);
    let mut connection = Connection::open(served.http, "localhost").unwrap();
    shows_its_page(&mut connection);
    let greeted = connection
        .post("/form", "application/x-www-form-urlencoded", "name=Ada+%26+Gr%C3%A4fin")
        .unwrap();
    assert_eq!((greeted.status.as_u16(), &*greeted.text()), (200, "hello Ada & Gräfin"));
    redirects_with_cookies(&served, &mut connection);
    fails_as_itself(&mut connection);
    streams(&served, &mut connection);
}

fn shows_its_page(connection: &mut Connection) {
    let page = connection.get("/").unwrap();
    assert_eq!(page.status, 200, "{}", page.text());
    assert!(page.text().contains("<h1>page</h1>"), "{}", page.text());
    assert!(page.header("content-type").starts_with("text/html"), "{:?}", page.headers);
}

/// Each cookie comes in a field of its own, and the framework knows the address that the client used.
fn redirects_with_cookies(served: &TestBox, connection: &mut Connection) {
    let address = format!("localhost:{}", served.http.port());
    let request = Request::get("/enter").header("host", &address).body(bytes::Bytes::new());
    let sent = connection.send(request.unwrap()).unwrap();
    assert!([302, 303].contains(&sent.status.as_u16()), "{}", sent.status);
    assert!(
        ["/", &format!("http://{address}/")].contains(&sent.header("location")),
        "{:?}",
        sent.headers
    );
    let cookies = sent.headers.get_all("set-cookie").iter();
    let mut pairs: Vec<_> =
        cookies.map(|cookie| cookie.to_str().unwrap().split(';').next().unwrap()).collect();
    pairs.sort_unstable();
    assert_eq!(pairs, ["seen=1", "user=ada"]);
}

/// A page that is not there and a view that raises; the connection goes on.
fn fails_as_itself(connection: &mut Connection) {
    assert_eq!(connection.get("/nowhere").unwrap().status, 404);
    assert_eq!(connection.get("/broken").unwrap().status, 500);
    assert_eq!(connection.get("/").unwrap().status, 200);
}

/// The first piece is here before the second one exists, and another request is answered in between.
fn streams(served: &TestBox, connection: &mut Connection) {
    let mut streaming =
        connection.begin(Request::get("/stream").body(bytes::Bytes::new()).unwrap()).unwrap();
    assert_eq!(streaming.status, 200);
    assert_eq!(connection.piece(&mut streaming).unwrap().unwrap(), "one,");
    assert_eq!(get(served.http, "localhost", "/ask").text(), "asked");
    assert_eq!(connection.piece(&mut streaming).unwrap().unwrap(), "two");
    assert_eq!(connection.piece(&mut streaming).unwrap(), None);
}

#[test]
fn flask_runs_unmodified() {
    serves_a_page_a_form_and_a_stream("flask_app:app");
}

#[test]
fn bottle_runs_unmodified() {
    serves_a_page_a_form_and_a_stream("bottle_app:app");
}

#[test]
fn falcon_runs_unmodified() {
    serves_a_page_a_form_and_a_stream("falcon_app:app");
}

#[test]
fn pyramid_runs_unmodified() {
    serves_a_page_a_form_and_a_stream("pyramid_app:app");
}

#[test]
fn web_py_runs_unmodified() {
    serves_a_page_a_form_and_a_stream("webpy_app:app");
}

#[test]
fn werkzeug_runs_unmodified() {
    serves_a_page_a_form_and_a_stream("werkzeug_app:app");
}

#[test]
fn django_runs_unmodified_with_sessions_csrf_protection_and_uploads() {
    let (served, _site) = run("django_app:app");
    let mut connection = Connection::open(served.http, "localhost").unwrap();
    shows_its_page(&mut connection);
    let first = connection.get("/").unwrap();
    let cookies: Vec<_> = first
        .headers
        .get_all("set-cookie")
        .iter()
        .map(|cookie| cookie.to_str().unwrap().split(';').next().unwrap())
        .collect();
    assert_eq!(cookies.len(), 2, "{cookies:?}");
    let mut send = |request: http::request::Builder, body: Vec<u8>| {
        let request = request.header("cookie", cookies.join("; ")).body(body.into()).unwrap();
        connection.send(request).unwrap()
    };
    let second = send(Request::get("/"), Vec::new()).text();
    let [_, visits, token] = second.lines().collect::<Vec<_>>()[..] else { panic!("{second}") };
    assert_eq!(visits, "2", "the session is known again");

    let form =
        || Request::post("/form").header("content-type", "application/x-www-form-urlencoded");
    assert_eq!(send(form(), b"name=Ada".to_vec()).status, 403, "no token");
    let greeted = send(form().header("x-csrftoken", token), b"name=Ada".to_vec());
    assert_eq!((greeted.status.as_u16(), &*greeted.text()), (200, "hello Ada"));

    let head =
        "--part\r\nContent-Disposition: form-data; name=\"file\"; filename=\"big.bin\"\r\n\r\n";
    let body = [head.as_bytes(), &[b'x'; 3_000_000], b"\r\n--part--\r\n"].concat();
    let upload = Request::post("/upload")
        .header("content-type", "multipart/form-data; boundary=part")
        .header("x-csrftoken", token);
    assert_eq!(send(upload, body).text(), "big.bin 3000000");
    redirects_with_cookies(&served, &mut connection);
    fails_as_itself(&mut connection);
    streams(&served, &mut connection);
}

#[test]
fn flask_and_django_know_how_a_request_came() {
    let listen = "[listen]\nhttp = '127.0.0.1:0'\nhttps = '127.0.0.1:0'\nadmin = '127.0.0.1:0'\n";
    let believing = format!("{listen}trusted-proxies = '127.0.0.1'\n");
    let appliance = TestBox::start_with_config(&believing);
    let (http, https) = (appliance.http, appliance.https.unwrap());
    let python = environment_of("frameworks");
    let site = SiteFolder::fixture("frameworks");
    for (module, isolation) in
        [("flask_app", "auto"), ("django_app", "auto"), ("django_app", "process")]
    {
        site.write(
            "onebox.toml",
            &format!(
                "python = '{}'\nmodule = '{module}:app'\nisolation = '{isolation}'\n",
                python.display()
            ),
        );
        appliance.deploy(site.path()).ok();
        let root = appliance.state().join("certificates/authority/root.pem");
        let secure = Https::new(https, &root).get("localhost", "/way");
        let expected = format!("True https://localhost:{}/", https.port());
        assert!(secure.ends_with(&format!("\r\n\r\n{expected}")), "{module}: {secure}");
        let host = format!("localhost:{}", http.port());
        assert_eq!(get(http, &host, "/way").text(), format!("False http://{host}/"), "{module}");
        // Somebody in front has done the TLS.
        let mut connection = Connection::open(http, "inside").unwrap();
        let request = Request::get("/way")
            .header("x-forwarded-proto", "https")
            .header("x-forwarded-host", "shop.example");
        let told = connection.send(request.body(bytes::Bytes::new()).unwrap()).unwrap().text();
        assert_eq!(told, "True https://shop.example/", "{module}");
        // Somebody else says so.
        let forged = ["X-Forwarded-Proto: https", "X-Forwarded-Host: evil.example"];
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--max-time", "60", "--interface", "127.0.0.2"]);
        curl.args(forged.iter().flat_map(|field| ["-H", field])).arg(format!("http://{host}/way"));
        assert_eq!(harness::run(curl).ok().stdout, format!("False http://{host}/"), "{module}");
    }
}
