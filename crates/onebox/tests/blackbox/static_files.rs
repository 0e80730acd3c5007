//! Files are served without Python: where none exists, while it is held, and by the counters.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::harness::{Connection, DEADLINE, Fifo, SiteFolder, TestBox, get};

#[test]
fn a_static_site_needs_no_python_on_the_machine() {
    let empty = tempfile::tempdir().unwrap();
    let appliance = TestBox::start_with(|command| {
        command.env("PATH", empty.path());
    });
    let site = SiteFolder::fixture("static-only");
    appliance.deploy(site.path()).ok();
    assert_eq!(appliance.site("static-only")["mode"], "static");

    let home = get(appliance.http, "localhost", "/");
    assert!(home.text().contains("home"), "{}", home.text());
    assert!(home.header("content-type").starts_with("text/html"), "{:?}", home.headers);
    assert!(get(appliance.http, "localhost", "/about/").text().contains("about"));
    let folder = get(appliance.http, "localhost", "/about");
    assert!(folder.status.is_redirection(), "{}", folder.status);
    assert_eq!(get(appliance.http, "localhost", "/nothing").status, 404);
    for hidden in ["/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/.git/config"] {
        assert!(get(appliance.http, "localhost", hidden).status.is_client_error(), "{hidden}");
    }

    appliance.cli(&["stop", "static-only"]).ok();
    assert_eq!(get(appliance.http, "localhost", "/").status, 503);
    appliance.cli(&["start", "static-only"]).ok();
    assert_eq!(get(appliance.http, "localhost", "/").status, 200);
}

#[test]
fn files_are_served_while_python_is_held_and_only_python_counts_as_python() {
    let (begun, held) = (Fifo::new(), Fifo::new());
    let appliance = TestBox::start();
    let site = SiteFolder::fixture("gil");
    let (begun_path, held_path) = (begun.path().display(), held.path().display());
    let environment =
        format!("[env]\nBEGUN_FIFO = \"{begun_path}\"\nHELD_FIFO = \"{held_path}\"\n");
    site.write("onebox.toml", &format!("[static]\n\"/static\" = \"static\"\n{environment}"));
    appliance.deploy(site.path()).ok();
    let address = appliance.http;

    let file = get(address, "localhost", "/static/css/site.css");
    assert!(file.header("content-type").starts_with("text/css"), "{:?}", file.headers);
    assert!(!file.header("etag").is_empty());
    assert_eq!(get(address, "localhost", "/static/.hidden").status, 404);

    let (sender, done) = mpsc::channel();
    let asking = std::thread::spawn(move || sender.send(get(address, "localhost", "/hold").text()));
    begun.wait_for_writer();
    let mut connection = Connection::open(address, "localhost").unwrap();
    for _ in 0..100 {
        assert_eq!(connection.get("/static/css/site.css").unwrap().status, 200);
    }
    assert!(done.try_recv().is_err(), "Python is held all the time");
    held.release_reader();
    assert_eq!(done.recv_timeout(DEADLINE).unwrap(), "from Python");
    asking.join().unwrap().unwrap();

    counters_tell_files_from_answers_of_python(&appliance);
}

/// The files, and nothing else, count as files.
fn counters_tell_files_from_answers_of_python(appliance: &TestBox) {
    const FILES: u64 = 60;
    const ANSWERS: u64 = 20;
    // Of what was asked for before, the answer of Python came last.
    let (files, answers) = counted_when(appliance, |files, answers| files >= 101 && answers >= 1);
    let mut connection = Connection::open(appliance.http, "localhost").unwrap();
    for number in 0..FILES + ANSWERS {
        connection.get(if number % 4 == 0 { "/" } else { "/static/css/site.css" }).unwrap();
    }
    let both = files + answers + FILES + ANSWERS;
    let counted = counted_when(appliance, |files, answers| files + answers >= both);
    assert_eq!(counted, (files + FILES, answers + ANSWERS));
}

/// How many answers were files and how many Python's, once that is so: they are counted each second.
fn counted_when(appliance: &TestBox, is_so: impl Fn(u64, u64) -> bool) -> (u64, u64) {
    let begun = Instant::now();
    loop {
        let page = appliance.api("/metrics").stdout;
        let by = |maker: &str| {
            let name = format!("onebox_http_answers_total{{site=\"gil\",by=\"{maker}\"}} ");
            let count = page.lines().find_map(|line| line.strip_prefix(&name));
            count.map_or(0, |count| count.parse().unwrap())
        };
        let (files, answers) = (by("static"), by("app"));
        if is_so(files, answers) {
            return (files, answers);
        }
        assert!(begun.elapsed() < DEADLINE, "{page}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
