//! Certificates by ACME, from Pebble: without being asked, over its faults and ours.

use std::process::{Command, Stdio};
use std::time::Instant;

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{
    DEADLINE, Doorman, Https, Nginx, Pebble, SiteFolder, TestBox, free_address, get, onebox, run,
};

const LISTEN: &str =
    "[listen]\nhttp = \"127.0.0.1:0\"\nhttps = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n";

/// Waits until the site's ordered certificate is as it should be.
fn wait_until(appliance: &TestBox, wanted: impl Fn(&Value) -> bool) -> Value {
    let begun = Instant::now();
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
    let mut command = onebox();
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

/// The account at the one authority that is asked.
fn account(appliance: &TestBox) -> Vec<u8> {
    let folders = std::fs::read_dir(appliance.state().join("certificates")).unwrap();
    let files = folders.map(|folder| folder.unwrap().path().join("account.json"));
    let accounts: Vec<_> = files.filter_map(|file| std::fs::read(file).ok()).collect();
    assert_eq!(accounts.len(), 1);
    accounts[0].clone()
}

#[test]
fn an_order_that_a_restart_broke_off_is_made_once_more_by_the_same_account() {
    let Some(mut pebble) = Pebble::new() else { return };
    let doorman = Doorman::start();
    pebble.start(doorman.address, doorman.address);
    let mut appliance = TestBox::start_with_config(&format!("{LISTEN}{}", pebble.section()));
    let site = SiteFolder::fixture("hello");
    site.write("onebox.toml", "domains = 'a.onebox-test.net'\n");
    appliance.deploy(site.path()).ok();
    // The authority asks for its proof, and waits.
    doorman.wait_for_somebody();
    let known = account(&appliance);
    appliance.signal(Signal::KILL);
    appliance.wait();
    // What is asked for the next order may come before the test knows where to.
    doorman.turn_away();

    let mut command = onebox();
    command.args(["serve", "--http", "127.0.0.1:0", "--https", "127.0.0.1:0"]);
    command.args(["--admin", "127.0.0.1:0"]);
    command.env("ONEBOX_ACME__DIRECTORY", pebble.directory());
    command.env("ONEBOX_ACME__CA_FILE", &pebble.certificate().certificate);
    command.env("ONEBOX_ACME__RETRY", "1s");
    let again = TestBox::start_as(command, Some(appliance.state()));
    doorman.open_to(again.https.unwrap());
    wait_until(&again, is_good);
    let trusting = Https::new(again.https.unwrap(), &pebble.root());
    assert!(trusting.get("a.onebox-test.net", "/").starts_with("HTTP/1.1 200 "));
    assert_eq!(account(&again), known, "one account");
    let said = again.said();
    assert_eq!(said.matches("ordering a certificate").count(), 1, "{said}");
}

#[test]
fn the_authority_says_when_a_certificate_is_renewed() {
    let Some(mut pebble) = Pebble::new() else { return };
    if !Nginx::is_here() {
        return;
    }
    // Pebble's directory with a place for renewal information beside it; nginx shows what lies in a folder.
    let (folder, address) = (tempfile::tempdir().unwrap(), free_address());
    let certificate = pebble.certificate();
    let _front = Nginx::serve(&[format!(
        "listen {address} ssl; ssl_certificate {}; ssl_certificate_key {}; root {}; default_type application/json; \
         location = /dir {{ try_files /directory.json =404; }} \
         location /renewal/ {{ add_header Retry-After 1; try_files /window.json =404; }}",
        certificate.certificate.display(),
        certificate.key.display(),
        folder.path().display()
    )]);
    let advise = |window: &str| {
        let draft = folder.path().join("draft");
        std::fs::write(&draft, format!("{{\"suggestedWindow\": {window}}}")).unwrap();
        std::fs::rename(draft, folder.path().join("window.json")).unwrap();
    };
    advise(r#"{"start": "2999-01-01T00:00:00Z", "end": "2999-01-02T00:00:00Z"}"#);
    let front = format!("https://localhost:{}", address.port());
    let config = format!("{LISTEN}{}", pebble.section_for(&format!("{front}/dir")));
    let appliance = TestBox::start_with_config(&config);
    pebble.start(appliance.http, appliance.https.unwrap());
    let mut directory: Value = serde_json::from_str(&pebble.directory_text()).unwrap();
    directory["renewalInfo"] = format!("{front}/renewal").into();
    std::fs::write(folder.path().join("directory.json"), directory.to_string()).unwrap();
    let site = SiteFolder::fixture("hello");
    site.write("onebox.toml", "domains = 'a.onebox-test.net'\n");
    appliance.deploy(site.path()).ok();

    // Whatever it says, that is before the end.
    let renews_at = |certificate: &Value, tenths: i64| {
        let at = |key: &str| certificate[key].as_i64().unwrap_or_default();
        let life_ms = at("not_after_ms") - at("not_before_ms");
        let part_ms = at("renews_ms") - at("not_before_ms");
        life_ms > 0 && part_ms * 10 / life_ms == tenths
    };
    wait_until(&appliance, |certificate| is_good(certificate) && renews_at(certificate, 9));
    // It calls all its certificates back, and goes on doing so: that is obeyed once.
    advise(r#"{"start": "2020-01-01T00:00:00Z", "end": "2020-01-02T00:00:00Z"}"#);
    appliance.wait_for_lines("certificate obtained", 2);
    wait_until(&appliance, |certificate| is_good(certificate) && renews_at(certificate, 3));
    let said = appliance.said();
    assert_eq!(said.matches("ordering a certificate").count(), 2, "{said}");
}

#[test]
fn a_wildcard_says_what_it_needs_and_a_site_that_goes_leaves_no_certificate() {
    let Some(mut pebble) = Pebble::new() else { return };
    let appliance = TestBox::start_with_config(&format!("{LISTEN}{}", pebble.section()));
    pebble.start(appliance.http, appliance.https.unwrap());
    let site = SiteFolder::fixture("hello");
    site.write(
        "onebox.toml",
        "domains = ['a.onebox-test.net', '*.b.onebox-test.net', 'www.example.com']\n",
    );
    let said = appliance.deploy(site.path()).ok().all();
    let why = "for *.b.onebox-test.net: a wildcard is proven by DNS alone";
    assert!(said.contains(why), "{said}");
    let ordered = wait_until(&appliance, is_good);
    assert_eq!(ordered["names"], serde_json::json!(["a.onebox-test.net"]));
    assert!(appliance.cli(&["cert", "hello"]).ok().stdout.contains(why));
    let said = appliance.said();
    assert_eq!(said.matches("no certificate").count(), 0, "{said}");

    let kept = || -> Vec<_> {
        let folders = std::fs::read_dir(appliance.state().join("certificates")).unwrap();
        let files = folders.map(|folder| folder.unwrap().path().join("hello.site.json"));
        files.filter(|file| file.exists()).collect()
    };
    assert_eq!(kept().len(), 1);
    appliance.cli(&["rm", "hello", "--yes"]).ok();
    assert!(kept().is_empty(), "{:?}", kept());
    assert!(!account(&appliance).is_empty());
}

#[test]
fn a_certificate_is_ordered_anew_when_somebody_asks() {
    let Some(mut pebble) = Pebble::new() else { return };
    let appliance = TestBox::start_with_config(&format!("{LISTEN}{}", pebble.section()));
    pebble.start(appliance.http, appliance.https.unwrap());
    let site = SiteFolder::fixture("hello");
    site.write("onebox.toml", "domains = 'a.onebox-test.net'\n");
    appliance.deploy(site.path()).ok();
    wait_until(&appliance, is_good);
    let served = || {
        let mut command = Command::new("openssl");
        let address = appliance.https.unwrap().to_string();
        command.args(["s_client", "-connect", &address, "-servername", "a.onebox-test.net"]);
        command.stdin(Stdio::null());
        let said = run(command).ok().stdout;
        let from = said.find("-----BEGIN CERTIFICATE-----").unwrap();
        said[from..].split("-----END").next().unwrap().to_owned()
    };
    let before = served();
    // An order that is very young is not repeated.
    let renew = || appliance.cli(&["cert", "renew", "hello"]);
    let renewed = loop {
        let said = renew();
        if said.status.success() {
            break said.stdout;
        }
        assert!(said.all().contains("authorities allow few"), "{}", said.all());
    };
    assert!(renewed.starts_with("a certificate for a.onebox-test.net is ordered"), "{renewed}");
    appliance.wait_for_lines("certificate obtained", 2);
    let begun = Instant::now();
    while served() == before {
        assert!(begun.elapsed() < DEADLINE, "the certificate of before is still there");
    }

    let refused = appliance.cli(&["cert", "renew", "nobody"]).failed().all();
    assert!(refused.contains("no site nobody"), "{refused}");
    site.write("onebox.toml", "domains = 'a.lan'\n");
    appliance.deploy(site.path()).ok();
    let refused = renew().failed().all();
    assert!(refused.contains("hello has no certificate that is ordered"), "{refused}");
}
