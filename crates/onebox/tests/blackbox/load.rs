//! Steady load of a real client, kept connections and fresh ones, uploads and streams, over everything that replaces a process:
//! not one request fails.

use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;

use crate::harness::{SiteFolder, TestBox};

const APP: &str = r#"
import hashlib
import time


def pieces():
    for _ in range(20):
        yield b"piece\n"
        time.sleep(0.005)


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    path = environ["PATH_INFO"]
    if path == "/stream":
        return pieces()
    if path == "/upload":
        return [hashlib.sha256(environ["wsgi.input"].read()).hexdigest().encode()]
    return [open("release.txt", "rb").read()]
"#;

/// The client, until it is told to stop.
struct Load(Child);

impl Load {
    fn start(appliance: &TestBox) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/load_client.py");
        let mut command = Command::new("python3");
        command
            .arg(script)
            .args([appliance.http.ip().to_string(), appliance.http.port().to_string()]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        Self(command.spawn().unwrap())
    }

    /// Every kind of request was answered, and none failed.
    fn all_well(mut self) {
        drop(self.0.stdin.take());
        let mut text = String::new();
        self.0.stdout.take().unwrap().read_to_string(&mut text).unwrap();
        assert!(self.0.wait().unwrap().success());
        let told: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(told["failures"], serde_json::json!([]), "{told}");
        let counts = told["counts"].as_object().unwrap();
        assert_eq!(counts.len(), 4, "{told}");
        assert!(counts.values().all(|count| count.as_u64().unwrap() > 10), "{told}");
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // Only where the test has failed does it still run.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn everything_that_replaces_a_process(mode: &str) {
    let appliance = TestBox::start();
    let site = SiteFolder::fixture("released");
    site.write("app.py", APP);
    site.write("onebox.toml", &format!("isolation = \"{mode}\"\n"));
    appliance.deploy(site.path()).ok();
    let load = Load::start(&appliance);
    site.write("release.txt", "two");
    appliance.deploy(site.path()).ok();
    appliance.cli(&["rollback", "released"]).ok();
    appliance.cli(&["restart", "released"]).ok();
    appliance.write_config("[limits]\nmax-target = \"2KB\"\n");
    appliance.signal(Signal::HUP);
    appliance.wait_for_line("the configuration was reloaded");
    appliance.signal(Signal::USR2);
    appliance.wait_for_line(" upgraded");
    appliance.deploy(site.path()).ok();
    load.all_well();
}

#[test]
fn nothing_fails_with_an_embedded_site() {
    everything_that_replaces_a_process("embedded");
}

#[test]
fn nothing_fails_with_workers() {
    everything_that_replaces_a_process("process");
}
