//! Several Python sites: each in processes of its own, with packages of its own.

use crate::harness::{Poller, SiteFolder, TestBox, get};

#[test]
fn two_sites_with_conflicting_flasks_stand_beside_each_other() {
    let appliance = TestBox::start();
    appliance.deploy(SiteFolder::fixture("flask-old").path()).ok();
    assert_eq!(get(appliance.http, "localhost", "/").text(), "2.3.3");
    assert_eq!(appliance.site("flask-old")["mode"], "embedded");

    let visitors = Poller::keep_alive(appliance.http, "flask-old.localhost", "/");
    appliance.deploy(SiteFolder::fixture("flask-new").path()).ok();
    assert_eq!(get(appliance.http, "flask-new.localhost", "/").text(), "3.1.0");
    assert_eq!(get(appliance.http, "flask-old.localhost", "/").text(), "2.3.3");
    for name in ["flask-old", "flask-new"] {
        assert_eq!(appliance.site(name)["mode"], "isolated", "{name}");
        let workers = appliance.site(name)["workers"].clone();
        assert_ne!(
            workers[0]["pid"].as_i64().unwrap(),
            i64::from(appliance.engine_pid()),
            "{workers}"
        );
    }
    let explained = appliance.cli(&["explain", "flask-new"]).ok().stdout;
    assert!(explained.contains("isolated"), "{explained}");

    // A redeploy of one is nothing to the other, and the engine stays.
    let engine = appliance.engine_pid();
    appliance.deploy(SiteFolder::fixture("flask-new").path()).ok();
    assert_eq!(appliance.engine_pid(), engine);
    let tally = visitors.all_well();
    assert_eq!(tally.bodies.keys().collect::<Vec<_>>(), ["2.3.3"]);
}

#[test]
fn a_site_that_asks_for_processes_gets_them_and_loses_no_request_at_a_redeploy() {
    let appliance = TestBox::start();
    let site = SiteFolder::fixture("released");
    site.write("onebox.toml", "processes = 2\n");
    appliance.deploy(site.path()).ok();
    let status = appliance.site("released");
    assert_eq!(status["mode"], "isolated");
    assert_eq!(status["workers"].as_array().unwrap().len(), 2);
    let visitors = Poller::keep_alive(appliance.http, "localhost", "/");
    site.write("release.txt", "two");
    appliance.deploy(site.path()).ok();
    assert_eq!(get(appliance.http, "localhost", "/").text(), "two");
    visitors.all_well();

    let worker =
        i32::try_from(appliance.site("released")["workers"][0]["pid"].as_i64().unwrap()).unwrap();
    let pid = rustix::process::Pid::from_raw(worker).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    // A request that the dying worker had taken already is answered 502; no other is.
    let answers: Vec<_> = (0..12).map(|_| get(appliance.http, "localhost", "/")).collect();
    let lost = answers.iter().filter(|answer| answer.status != 200).count();
    assert!(lost <= 1, "{lost} of {} were lost", answers.len());
    assert!(
        answers.iter().skip(2).all(|answer| answer.text() == "two"),
        "its neighbour and its successor answer"
    );
}
