//! The examples of the project, deployed with packages from the package index: a page, a stylesheet, a form, an upload.

use http::Request;

use crate::harness::{Connection, SiteFolder, TestBox, get};

const PICTURE: &[u8] = b"\x89PNG\r\n\x1a\nnot much of a picture";

#[test]
fn the_flask_example_goes_on_line_and_keeps_what_it_is_told() {
    let appliance = TestBox::start();
    let site = SiteFolder::example("flask");
    appliance.deploy(site.path()).ok();
    let status = appliance.site("flask");
    assert_eq!((&status["kind"], &status["mode"]), (&"Flask".into(), &"embedded".into()));
    assert!(
        get(appliance.http, "localhost", "/static/style.css")
            .header("content-type")
            .starts_with("text/css")
    );

    let mut connection = Connection::open(appliance.http, "localhost").unwrap();
    assert!(connection.get("/").unwrap().text().contains("Nobody has written"));
    let written =
        connection.send(form("/", &[("name", "Ada"), ("message", "first!")], "")).unwrap();
    assert_eq!(written.status, 303, "{}", written.text());

    appliance.deploy(site.path()).ok();
    let page = get(appliance.http, "localhost", "/").text();
    assert!(page.contains("Ada") && page.contains("first!"), "{page}");
    let picture = get(appliance.http, "localhost", address_in(&page, "/pictures/"));
    assert_eq!((picture.status.as_u16(), &picture.body[..]), (200, PICTURE));
}

#[test]
fn the_django_example_goes_on_line_and_keeps_what_it_is_told() {
    let appliance = TestBox::start();
    let site = SiteFolder::example("django");
    let deployed = appliance.deploy(site.path()).ok();
    assert!(
        deployed.stdout.contains("entries.0001_initial"),
        "it was migrated: {}",
        deployed.stdout
    );
    let status = appliance.site("django");
    assert_eq!((&status["kind"], &status["mode"]), (&"Django".into(), &"embedded".into()));
    // Collected from the example's own application and from Django's.
    for path in ["/static/entries/style.css", "/static/admin/css/base.css"] {
        assert!(
            get(appliance.http, "localhost", path).header("content-type").starts_with("text/css"),
            "{path}"
        );
    }

    let mut connection = Connection::open(appliance.http, "localhost").unwrap();
    let page = connection.get("/").unwrap();
    let cookie = page.header("set-cookie").split(';').next().unwrap().to_owned();
    let text = page.text();
    let token =
        text.split("csrfmiddlewaretoken\" value=\"").nth(1).unwrap().split('"').next().unwrap();
    let fields = [("csrfmiddlewaretoken", token), ("name", "Ada"), ("message", "first!")];
    let written = connection.send(form("/", &fields, &cookie)).unwrap();
    assert_eq!(written.status, 302, "{}", written.text());

    appliance.deploy(site.path()).ok();
    let page = get(appliance.http, "localhost", "/").text();
    assert!(page.contains("Ada") && page.contains("first!"), "{page}");
    // MEDIA_ROOT is served without Python.
    let picture = get(appliance.http, "localhost", address_in(&page, "/media/"));
    assert_eq!((picture.status.as_u16(), &picture.body[..]), (200, PICTURE));
    assert!(!picture.header("etag").is_empty());
}

#[test]
fn the_plain_wsgi_example_goes_on_line_and_keeps_what_it_is_told() {
    let appliance = TestBox::start();
    let site = SiteFolder::example("wsgi");
    appliance.deploy(site.path()).ok();
    let status = appliance.site("wsgi");
    assert_eq!((&status["kind"], &status["mode"]), (&"WSGI".into(), &"embedded".into()));
    let style = get(appliance.http, "localhost", "/static/style.css");
    assert!(style.header("content-type").starts_with("text/css"), "{:?}", style.headers);

    let mut connection = Connection::open(appliance.http, "localhost").unwrap();
    let urlencoded = "application/x-www-form-urlencoded";
    let refused = connection.post("/", urlencoded, "address=javascript%3Aalert(1)").unwrap();
    assert_eq!(refused.status, 400);
    let written = connection.post("/", urlencoded, "address=https%3A%2F%2Fexample.org%2F%3Fa%3D1");
    assert_eq!(written.unwrap().status, 303);
    let page = connection.get("/").unwrap().text();
    let code = page.split("<td><a href=\"").nth(1).unwrap().split('"').next().unwrap();

    appliance.deploy(site.path()).ok();
    let followed = get(appliance.http, "localhost", code);
    assert_eq!(followed.status, 302);
    assert_eq!(followed.header("location"), "https://example.org/?a=1");
    assert_eq!(get(appliance.http, "localhost", "/nothing").status, 404);
}

#[test]
fn the_web_py_example_goes_on_line_and_keeps_what_it_is_told() {
    let appliance = TestBox::start();
    let site = SiteFolder::example("webpy");
    appliance.deploy(site.path()).ok();
    assert_eq!(appliance.site("webpy")["mode"], "embedded");
    let style = get(appliance.http, "localhost", "/static/style.css");
    assert!(style.header("content-type").starts_with("text/css"), "{:?}", style.headers);

    let mut connection = Connection::open(appliance.http, "localhost").unwrap();
    let cookie = connection.get("/").unwrap().header("set-cookie").to_owned();
    let cookie = cookie.split(';').next().unwrap();
    let token = cookie.split_once('=').unwrap().1;
    let mut add = |token: &str| {
        let request = Request::post("/")
            .header("content-type", "application/x-www-form-urlencoded")
            .header("cookie", cookie)
            .body(format!("token={token}&name=%C3%84pfel").into());
        connection.send(request.unwrap()).unwrap().status
    };
    assert_eq!(add("another"), 403);
    assert_eq!(add(token), 303);

    appliance.deploy(site.path()).ok();
    let page = get(appliance.http, "localhost", "/").text();
    assert!(page.contains("<li>Äpfel"), "{page}");
}

/// A form with a picture, as a browser sends it.
fn form(path: &str, fields: &[(&str, &str)], cookie: &str) -> Request<bytes::Bytes> {
    let mut body = Vec::new();
    for (name, value) in fields {
        let part =
            format!("--part\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
        body.extend_from_slice(part.as_bytes());
    }
    body.extend_from_slice(
        b"--part\r\nContent-Disposition: form-data; name=\"picture\"; filename=\"a.png\"\r\n",
    );
    body.extend_from_slice(b"Content-Type: image/png\r\n\r\n");
    body.extend_from_slice(PICTURE);
    body.extend_from_slice(b"\r\n--part--\r\n");
    Request::post(path)
        .header("content-type", "multipart/form-data; boundary=part")
        .header("cookie", cookie)
        .body(body.into())
        .unwrap()
}

/// The first quoted address on a page that begins with `prefix`.
fn address_in<'a>(page: &'a str, prefix: &str) -> &'a str {
    let start =
        page.find(&format!("\"{prefix}")).unwrap_or_else(|| panic!("{prefix} in {page}")) + 1;
    page[start..].split('"').next().unwrap()
}
