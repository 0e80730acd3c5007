//! Files are served without Python: where none exists, while it is held, and by the counters.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::mpsc;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

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

/// Samples are rates: times the seconds between them they are counts, and over all of them the files and nothing else were static.
fn counters_tell_files_from_answers_of_python(appliance: &TestBox) {
    const FILES: u32 = 60;
    const ANSWERS: u32 = 20;
    let mut curl = Command::new("curl");
    curl.args(["-sSN", "--max-time", "100", "--unix-socket"]).arg(appliance.control_socket());
    let mut events =
        curl.arg("http://localhost/api/v1/events").stdout(Stdio::piped()).spawn().unwrap();
    let mut samples = BufReader::new(events.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok)
        .filter_map(|line| serde_json::from_str::<Value>(line.strip_prefix("data:")?).ok())
        .filter(|sample| sample["sites"].is_array() && sample["at_ms"].is_i64());
    // What was answered before must be counted before: two samples lie between.
    let mut before = samples.nth(1).expect("a sample each second");
    let mut connection = Connection::open(appliance.http, "localhost").unwrap();
    for number in 0..FILES + ANSWERS {
        connection.get(if number % 4 == 0 { "/" } else { "/static/css/site.css" }).unwrap();
    }
    let (mut all, mut files) = (0.0, 0.0);
    for sample in samples {
        let seconds =
            (sample["at_ms"].as_f64().unwrap() - before["at_ms"].as_f64().unwrap()) / 1000.0;
        let site =
            sample["sites"].as_array().unwrap().iter().find(|site| site["site"] == "gil").cloned();
        let share =
            |name: &str| site.as_ref().and_then(|site| site[name].as_f64()).unwrap_or_default();
        // Something was counted before, and nothing is any more.
        if all > 0.5 && share("requests_per_s") == 0.0 {
            break;
        }
        all += seconds * share("requests_per_s");
        files += seconds * share("static_per_s");
        before = sample;
    }
    kill_process(Pid::from_child(&events), Signal::KILL).unwrap();
    events.wait().unwrap();
    let (wanted_files, wanted) = (f64::from(FILES), f64::from(FILES + ANSWERS));
    // The clock that rates are taken by is another than the one that dates them.
    assert!((all - wanted).abs() < wanted / 10.0, "{all} answers");
    assert!((files / all - wanted_files / wanted).abs() < 0.001, "{files} of {all} were files");
}
