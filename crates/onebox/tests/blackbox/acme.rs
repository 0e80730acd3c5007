//! Certificates by ACME, from Pebble: without being asked, over its faults and ours.

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{DEADLINE, Https, Pebble, SiteFolder, TestBox, get};

const LISTEN: &str =
    "[listen]\nhttp = \"127.0.0.1:0\"\nhttps = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n";

/// Waits until the site's ordered certificate is as it should be.
fn wait_until(appliance: &TestBox, wanted: impl Fn(&Value) -> bool) -> Value {
    let begun = std::time::Instant::now();
    loop {
        let certificates = appliance.site("hello")["certificates"].clone();
        let ordered = certificates.as_array().unwrap().iter().find(|one| one["source"] == "acme");
        match ordered {
            Some(ordered) if wanted(ordered) => return ordered.clone(),
            _ => assert!(begun.elapsed() < DEADLINE, "{certificates}"),
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}

fn is_good(certificate: &Value) -> bool {
    certificate["issuer"].is_string() && certificate["problem"].is_null()
}

#[test]
fn every_public_host_gets_a_certificate_over_all_that_goes_wrong() {
    let Some(mut pebble) = Pebble::new() else { return };
    let config = format!("{LISTEN}{}", pebble.section());
    let mut appliance = TestBox::start_with_config(&config);
    let (http, https) = (appliance.http, appliance.https.unwrap());
    let site = SiteFolder::fixture("hello");
    site.write("onebox.toml", "domains = 'a.onebox-test.net'\n");
    appliance.deploy(site.path()).ok();

    // The directory is down, and comes back. Until then nobody is sent to a certificate that the world does not trust.
    let failed = wait_until(&appliance, |certificate| certificate["problem"].is_string());
    assert!(failed["next_try_ms"].is_i64(), "{failed}");
    assert_eq!(get(http, "a.onebox-test.net", "/").status, 200);
    pebble.start(http, https);
    wait_until(&appliance, is_good);
    let root = pebble.root();
    let trusting = Https::new(https, &root);
    assert!(trusting.get("a.onebox-test.net", "/").starts_with("HTTP/1.1 200 "));
    let way = get(http, &format!("a.onebox-test.net:{}", http.port()), "/");
    assert_eq!(way.status, 308);
    assert!(!trusting.ask("hello.localhost", "/", &[]).status.success());
    let shown = appliance.cli(&["cert"]).ok().stdout;
    assert!(shown.contains("a.onebox-test.net  by ACME, by Pebble"), "{shown}");

    // Pebble forgets the account; a name is added.
    pebble.stop();
    pebble.start(http, https);
    site.write("onebox.toml", "domains = ['a.onebox-test.net', 'b.onebox-test.net']\n");
    appliance.deploy(site.path()).ok();
    appliance.wait_for_line("does not know the account any more");
    appliance.wait_for_lines("certificate obtained", 2);
    wait_until(&appliance, is_good);
    let trusting = Https::new(https, &pebble.root());
    for host in ["a.onebox-test.net", "b.onebox-test.net"] {
        assert!(trusting.get(host, "/").starts_with("HTTP/1.1 200 "), "{host}");
    }

    // A name that goes needs no order, and neither does a restart.
    let root = pebble.root();
    pebble.stop();
    site.write("onebox.toml", "domains = 'b.onebox-test.net'\n");
    appliance.deploy(site.path()).ok();
    appliance.signal(Signal::TERM);
    assert_eq!(appliance.wait(), 0);
    let mut command = crate::harness::onebox();
    command.args(["serve", "--http", "127.0.0.1:0", "--https", "127.0.0.1:0"]);
    command.args(["--admin", "127.0.0.1:0"]);
    command.env("ONEBOX_ACME__DIRECTORY", pebble.directory());
    let again = TestBox::start_as(command, Some(appliance.state()));
    let ordered = wait_until(&again, is_good);
    assert!(ordered["next_try_ms"].is_null(), "{ordered}");
    let trusting = Https::new(again.https.unwrap(), &root);
    assert!(trusting.get("b.onebox-test.net", "/").starts_with("HTTP/1.1 200 "));
}

#[test]
fn what_is_not_believed_over_tls_is_proven_over_http() {
    let Some(mut pebble) = Pebble::new() else { return };
    let appliance = TestBox::start_with_config(&format!("{LISTEN}{}", pebble.section()));
    // Whatever Pebble asks for a handshake, it asks the wrong one.
    pebble.start(appliance.http, appliance.http);
    let site = SiteFolder::fixture("hello");
    site.write("onebox.toml", "domains = 'a.onebox-test.net'\n");
    appliance.deploy(site.path()).ok();
    appliance.wait_for_line("a.onebox-test.net is not proven");
    wait_until(&appliance, is_good);
    let trusting = Https::new(appliance.https.unwrap(), &pebble.root());
    assert!(trusting.get("a.onebox-test.net", "/").starts_with("HTTP/1.1 200 "));
}
