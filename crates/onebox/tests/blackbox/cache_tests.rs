//! The public tests of HTTP caches (https://cache-tests.fyi), which say what other caches make of them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde::Deserialize;

use crate::harness::{Peer, SiteFolder, TestBox, free_address, made_once, run};

const SUITE: &str = "http-cache-tests@0.4.5";
const CLIENT: &str = "node-fetch@2.7.0";

/// What is another way here, and why.
const ON_PURPOSE: [(&str, &str); 5] = [
    ("age-parse-", "RFC 9111 §5.1: of several the first counts, one that is no number not at all"),
    ("-Set-Cookie", "what sets a cookie is for one client"),
    ("-set-cookie", "what sets a cookie is for one client"),
    (
        "304-etag-update-response-ETag",
        "RFC 9111 §4.3.4: a 304 with another strong ETag updates nothing",
    ),
    ("headers-store-Transfer-Encoding", "an unknown coding ends the connection (RFC 9112 §6.1)"),
];

/// What is not done; none of it has to be.
const NOT_DONE: [(&str, &str); 4] = [
    ("method-POST", "the answer to a POST is not stored"),
    ("vary-normalise-lang-", "applications take the first of what a client likes equally"),
    ("conditional-lm-fresh-no-lm", "without Last-Modified nothing is compared"),
    ("partial-store-partial-", "a part alone is not stored"),
];

#[derive(Debug, Deserialize)]
struct Score {
    passed: u32,
    /// What went wrong, by the test's name.
    failed: BTreeMap<String, String>,
    /// How many of the same tests other caches pass.
    peers: BTreeMap<String, u32>,
}

fn suite() -> std::path::PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/cache-tests/run.mjs");
    let script = fs::read_to_string(script).unwrap();
    made_once("cache-tests", &format!("{SUITE} {CLIENT} {script}"), |folder| {
        let npm = |arguments: &[&str]| {
            let mut npm = Command::new("npm");
            run({
                npm.args(arguments).current_dir(folder);
                npm
            })
            .ok()
        };
        npm(&["install", "--silent", "--no-save", "--no-package-lock", "--prefix", ".", CLIENT]);
        // Installed it would bring an npm of its own.
        let archive = npm(&["pack", "--silent", SUITE]).stdout;
        let mut tar = Command::new("tar");
        tar.arg("xzf").arg(archive.trim()).current_dir(folder);
        run(tar).ok();
        fs::write(folder.join("run.mjs"), script).unwrap();
    })
}

#[test]
fn more_of_the_public_tests_hold_than_of_other_caches() {
    let suite = suite();
    let origin = free_address();
    let mut server = Command::new("node");
    server.args(["--no-warnings", "package/server/server.mjs"]).current_dir(&suite);
    server.env("npm_config_protocol", "http").env("npm_config_pidfile", "/dev/null");
    server.env("npm_config_port", origin.port().to_string());
    let _server = Peer::start(server, "Listening");
    let site = SiteFolder::fixture("static-only");
    site.remove("index.html");
    // Some tests have the server fail: it is asked again at once.
    let upstream =
        format!("[[upstream]]\nto = \"http://localhost:{}\"\nmax-fails = 0\n", origin.port());
    site.write("onebox.toml", &format!("[cache]\nenabled = true\ndisk = '64MB'\n{upstream}"));
    let served = TestBox::run_in_place(site.path(), &[]);

    let mut client = Command::new("node");
    client.args(["--no-warnings", "run.mjs"]).arg(format!("http://{}", served.http));
    client.current_dir(&suite);
    let score: Score = serde_json::from_value(run(client).ok().json()).unwrap();
    let is_known =
        |name: &str| ON_PURPOSE.iter().chain(&NOT_DONE).any(|(part, _)| name.contains(part));
    let unexpected: Vec<_> = score.failed.iter().filter(|(name, _)| !is_known(name)).collect();
    assert!(unexpected.is_empty(), "{unexpected:#?}");
    assert!(
        score.peers.len() == 4 && score.peers.values().all(|peer| *peer < score.passed),
        "{score:#?}"
    );
    println!("{} passed; {:?}", score.passed, score.peers);
}
