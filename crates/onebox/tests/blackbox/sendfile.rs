//! Files that the application names instead of sending them.

use std::os::unix::fs::symlink;

use bytes::Bytes;
use http::Request;

use crate::harness::{Answer, Connection, SiteFolder, TestBox, get};

const FOLDERS: &str = "[sendfile]\n'/protected' = 'protected'\n'/kept' = 'kept'\n";

fn asked(appliance: &TestBox, field: &str, value: &str) -> Answer {
    get(appliance.http, "localhost", &format!("/?{field}={value}"))
}

#[test]
fn a_named_file_is_sent_in_place_of_the_body() {
    let appliance = TestBox::start();
    let site = SiteFolder::fixture("sendfile");
    site.write("onebox.toml", &format!("persist = ['kept']\n{FOLDERS}"));
    site.write("kept/upload.txt", "an upload\n");
    appliance.deploy(site.path()).ok();
    let report = std::fs::read_to_string(site.path().join("protected/report.csv")).unwrap();

    for (field, value) in [
        ("X-Accel-Redirect", "/protected/report.csv"),
        ("X-Accel-Redirect", "/protected/report%2Ecsv%3Fquery"),
        ("X-Sendfile", "ROOT/protected/report.csv"),
    ] {
        let answer = asked(&appliance, field, value);
        assert_eq!((answer.status.as_u16(), answer.text()), (200, report.clone()), "{value}");
        assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
        assert_eq!(answer.header("content-disposition"), "attachment");
        assert_eq!(answer.header("cache-control"), "private");
        let cookies: Vec<_> = answer.headers.get_all("set-cookie").iter().collect();
        assert_eq!(cookies, ["a=1", "b=2"]);
        assert!(answer.header("etag").len() > 2 && !answer.header("etag").contains("application"));
        for dropped in ["x-own", "x-sendfile", "x-accel-redirect"] {
            assert_eq!(answer.header(dropped), "", "{dropped}");
        }
    }
    let upload = asked(&appliance, "X-Sendfile", "ROOT/kept/upload.txt");
    assert_eq!(upload.text(), "an upload\n");

    let named = "/?X-Accel-Redirect=/protected/report.csv";
    let mut client = Connection::open(appliance.http, "localhost").unwrap();
    let mut ask = |method: &str, name: &str, value: &str| {
        let request = Request::builder().method(method).uri(named).header(name, value);
        client.send(request.body(Bytes::new()).unwrap()).unwrap()
    };
    let part = ask("GET", "range", "bytes=5-10");
    assert_eq!((part.status.as_u16(), part.text().as_str()), (206, &report[5..=10]));
    let known = ask("GET", "if-none-match", part.header("etag"));
    assert_eq!((known.status.as_u16(), known.header("content-disposition")), (304, ""));
    let head = ask("HEAD", "accept", "*/*");
    assert_eq!(head.header("content-length"), report.len().to_string());
    let posted = ask("POST", "accept", "*/*");
    assert_eq!((posted.status.as_u16(), posted.text()), (200, report));

    // No URL leads there: the application is asked.
    let direct = get(appliance.http, "localhost", "/protected/report.csv");
    assert_eq!(direct.text(), "the body of the application");
}

#[test]
fn nothing_outside_of_the_folders_can_be_named() {
    let appliance = TestBox::start();
    let site = SiteFolder::fixture("sendfile");
    site.write("onebox.toml", FOLDERS);
    // A release has no link that leads out of it, and a link in it leads to no secret either.
    symlink("../secret.txt", site.path().join("protected/link")).unwrap();
    site.write("protected/.hidden", "secret");
    appliance.deploy(site.path()).ok();
    for (field, value) in [
        ("X-Sendfile", "/etc/passwd"),
        ("X-Sendfile", "ROOT/secret.txt"),
        ("X-Sendfile", "ROOT/protected/../secret.txt"),
        ("X-Sendfile", "ROOT/protected/link"),
        ("X-Sendfile", "ROOT/protected"),
        ("X-Sendfile", "report.csv"),
        ("X-Accel-Redirect", "/protected/../secret.txt"),
        ("X-Accel-Redirect", "/protected/%252e%252e/secret.txt"),
        ("X-Accel-Redirect", "/protected/.hidden"),
        ("X-Accel-Redirect", "/protected/missing"),
        ("X-Accel-Redirect", "/protected/"),
        ("X-Accel-Redirect", "/secret.txt"),
    ] {
        let answer = asked(&appliance, field, value);
        assert_eq!(answer.status, 404, "{field}: {value}");
        let said = answer.text();
        assert!(!said.contains("secret") && !said.contains("of the application"), "{said}");
    }
}

#[test]
fn without_folders_the_fields_are_like_any_other() {
    let appliance = TestBox::start();
    appliance.deploy(SiteFolder::fixture("sendfile").path()).ok();
    let answer = asked(&appliance, "X-Accel-Redirect", "/protected/report.csv");
    assert_eq!(answer.text(), "the body of the application");
    assert_eq!(answer.header("x-accel-redirect"), "/protected/report.csv");
}
