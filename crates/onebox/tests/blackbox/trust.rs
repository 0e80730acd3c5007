//! `onebox trust`: this machine believes the box's own authority.

use std::process::Command;

use crate::harness::{SiteFolder, TestBox, run};

#[test]
fn the_machine_believes_the_box_until_that_is_taken_back() {
    let appliance = TestBox::start();
    let said = appliance.cli(&["trust"]).failed().all();
    assert!(said.contains("no authority of its own yet"), "{said}");

    let appliance = TestBox::start_with_tls();
    let site = SiteFolder::fixture("hello");
    appliance.deploy(site.path()).ok();
    let address = appliance.https.unwrap();
    let curl = || {
        let mut command = Command::new("curl");
        let url = format!("https://hello.localhost:{}/", address.port());
        command.args(["-sS", "--max-time", "60", &url, "--resolve"]);
        command.arg(format!("hello.localhost:{}:{}", address.port(), address.ip()));
        run(command)
    };
    assert!(!curl().status.success());
    if !rustix::process::geteuid().is_root() {
        let said = appliance.cli(&["trust"]).failed().all();
        assert!(said.contains("only root"), "{said}");
        return;
    }
    let said = appliance.cli(&["trust"]).ok().stdout;
    assert!(said.contains("/usr/local/share/ca-certificates/onebox-"), "{said}");
    let answer = curl();
    let untrusted = appliance.cli(&["trust", "--uninstall"]).ok().stdout;
    assert_eq!(answer.ok().stdout, "hello GET / 0");
    assert!(untrusted.contains("removed"), "{untrusted}");
    assert!(!curl().status.success());
    assert!(appliance.cli(&["trust", "--uninstall"]).ok().stdout.contains("nothing to remove"));
}
