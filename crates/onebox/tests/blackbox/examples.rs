//! The examples of the project, deployed with packages from the package index.

use crate::harness::{Connection, SiteFolder, TestBox};

#[test]
fn the_flask_example_goes_on_line() {
    let appliance = TestBox::start();
    appliance.deploy(SiteFolder::example("flask").path()).ok();
    let site = appliance.site("flask");
    assert_eq!((&site["kind"], &site["mode"]), (&"Flask".into(), &"embedded".into()));
    let mut connection = Connection::open(appliance.http, "localhost").unwrap();
    let home = connection.get("/").unwrap();
    assert_eq!(home.status, 200, "{}", home.text());
    assert!(home.header("content-type").starts_with("text/html"));
}

#[test]
fn the_django_example_goes_on_line() {
    let appliance = TestBox::start();
    appliance.deploy(SiteFolder::example("django").path()).ok();
    let site = appliance.site("django");
    assert_eq!((&site["kind"], &site["mode"]), (&"Django".into(), &"embedded".into()));
    let mut connection = Connection::open(appliance.http, "localhost").unwrap();
    let home = connection.get("/").unwrap();
    assert_eq!(home.status, 200, "{}", home.text());
}
