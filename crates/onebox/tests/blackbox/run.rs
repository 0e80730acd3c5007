//! `onebox run`: a folder served in place.

use std::fs;

use rustix::process::Signal;

use crate::harness::{Connection, SiteFolder, TestBox, get, onebox, run};

#[test]
fn a_folder_is_served_in_place_and_nothing_is_kept() {
    let site = SiteFolder::fixture("hello");
    let mut served = TestBox::run_in_place(site.path(), &[]);
    let mut connection = Connection::open(served.http, "localhost").unwrap();
    assert_eq!(connection.get("/a").unwrap().text(), "hello GET /a 0");
    assert_eq!(connection.post("/b", "text/plain", "four").unwrap().text(), "hello POST /b 4");
    let head =
        connection.send(http::Request::head("/c").body(bytes::Bytes::new()).unwrap()).unwrap();
    assert_eq!(
        (head.status.as_u16(), head.header("content-length"), head.body.len()),
        (200, "15", 0)
    );

    // An exception is a 500 for the client, a traceback for the operator, and no end of anything.
    assert_eq!(connection.get("/raise").unwrap().status, 500);
    assert_eq!(connection.get("/after").unwrap().text(), "hello GET /after 0");

    served.signal(Signal::INT);
    assert_eq!(served.wait(), 0);
    assert!(served.said().contains("RuntimeError: raised on purpose"), "{}", served.said());
    let left: Vec<_> =
        fs::read_dir(site.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| name == "app.py" || name == "__pycache__"), "{left:?}");
}

#[test]
fn exit_handlers_run_when_an_embedded_application_ends() {
    let site = SiteFolder::fixture("hello");
    site.write(
        "goodbye.py",
        "import atexit\nfrom app import application\natexit.register(print, 'goodbye', flush=True)\n",
    );
    let mut served = TestBox::run_in_place(site.path(), &["--module", "goodbye:application"]);
    assert_eq!(get(served.http, "localhost", "/").status, 200);
    served.signal(Signal::TERM);
    assert_eq!(served.wait(), 0);
    assert!(served.said().contains("goodbye"), "{}", served.said());
}

#[test]
fn the_environment_is_inherited_and_the_module_can_be_named() {
    let site = SiteFolder::fixture("released");
    site.write("other.py", "from app import application as chosen\n");
    let served =
        TestBox::run_in_place_with(site.path(), &["--module", "other:chosen"], |command| {
            command.env("GREETING", "from outside");
        });
    assert_eq!(get(served.http, "localhost", "/greeting").text(), "from outside");
}

#[test]
fn an_application_that_cannot_be_imported_ends_with_its_traceback() {
    let site = SiteFolder::fixture("broken-import");
    let mut command = onebox();
    let state = tempfile::tempdir().unwrap();
    command
        .arg("run")
        .arg(site.path())
        .args(["--http", "127.0.0.1:0"])
        .env("ONEBOX_STATE_DIR", state.path());
    let finished = run(command).failed();
    assert!(finished.all().contains("a_module_that_is_not_there"), "{}", finished.all());
}

#[test]
fn a_folder_that_is_no_site_is_told_with_what_was_looked_for() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = onebox();
    command.arg("run").arg(folder.path()).args(["--http", "127.0.0.1:0"]);
    let finished = run(command).failed();
    for said in ["no site was recognised", "looked for", "module = "] {
        assert!(finished.stderr.contains(said), "{said:?} in {}", finished.stderr);
    }
}
