//! WebDAV and CalDAV: every method, its fields and its answers go through, in both ways of running an application.

use std::fs;
use std::process::Command;

use crate::harness::{SiteFolder, TestBox, client_works, environment_of, run};

fn serve(site: &SiteFolder, isolation: &str) -> TestBox {
    let python = environment_of("frameworks");
    site.write(
        "onebox.toml",
        &format!("python = \"{}\"\nisolation = \"{isolation}\"\n", python.display()),
    );
    TestBox::run_in_place(site.path(), &[])
}

#[test]
fn a_web_dav_client_works_on_a_folder() {
    let site = SiteFolder::fixture("webdav");
    for isolation in ["embedded", "process"] {
        let served = serve(&site, isolation);
        client_works("webdav.py", served.http);
    }
}

#[test]
fn curl_puts_a_file_with_a_length_and_in_chunks_and_waits_to_be_asked_for_it() {
    let site = SiteFolder::fixture("webdav");
    let served = serve(&site, "embedded");
    let body = site.path().join("body");
    fs::write(&body, vec![b'x'; 3_000_000]).unwrap();
    for (name, field) in [("long", "X-None: 1"), ("chunked", "Transfer-Encoding: chunked")] {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--verbose", "--expect100-timeout", "60"])
            .args(["--header", "Expect: 100-continue", "--header", field, "--upload-file"])
            .arg(&body)
            .arg(format!("http://{}/{name}", served.http));
        let put = run(curl).ok().stderr;
        let asked = put.find("< HTTP/1.1 100 Continue").expect(&put);
        let made = put.find("< HTTP/1.1 201 Created").expect(&put);
        assert!(asked < made, "{put}");
        assert_eq!(put.contains("> Content-Length"), name == "long", "{put}");
        assert_eq!(fs::metadata(site.path().join("files").join(name)).unwrap().len(), 3_000_000);
    }
}

#[test]
fn a_cal_dav_client_keeps_a_calendar() {
    let site = SiteFolder::fixture("caldav");
    for isolation in ["embedded", "process"] {
        let served = serve(&site, isolation);
        client_works("caldav_client.py", served.http);
    }
}
