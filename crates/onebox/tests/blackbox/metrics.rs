//! `/metrics`, as Prometheus's own parser reads it.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use crate::harness::{DEADLINE, SiteFolder, TestBox, environment_of, get, run};

#[test]
fn prometheus_own_parser_understands_every_line() {
    let appliance = TestBox::start();
    appliance.deploy(SiteFolder::fixture("hello").path()).ok();
    get(appliance.http, "localhost", "/");
    let begun = Instant::now();
    // It is counted with the next second.
    let counted = "onebox_http_requests_total{site=\"hello\",status=\"2xx\"} ";
    let text = loop {
        let text = appliance.api("/metrics").stdout;
        let count = text.lines().find_map(|line| line.strip_prefix(counted));
        if count.is_some_and(|count| count != "0") {
            break text;
        }
        assert!(begun.elapsed() < DEADLINE, "{text}");
        std::thread::sleep(std::time::Duration::from_millis(50));
    };
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("page.txt");
    std::fs::write(&page, text).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/clients/prometheus.py");
    let mut parser = Command::new(environment_of("frameworks").join("bin/python"));
    parser.arg(script).stdin(std::fs::File::open(&page).unwrap());
    assert!(run(parser).ok().stdout.ends_with("done\n"));
}
