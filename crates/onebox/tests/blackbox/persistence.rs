//! What an application wrote is there after a redeploy and after a rollback.

use crate::harness::{Connection, SiteFolder, TestBox};

#[test]
fn a_row_and_an_upload_outlive_redeploy_and_rollback() {
    let appliance = TestBox::start();
    let site = SiteFolder::fixture("notes");
    appliance.deploy(site.path()).ok();
    let ask = |path: &str| {
        Connection::open(appliance.http, "localhost").unwrap().get(path).unwrap().text()
    };
    let tell = |path: &str, text: &'static str| {
        let mut connection = Connection::open(appliance.http, "localhost").unwrap();
        assert_eq!(connection.post(path, "text/plain", text).unwrap().status, 200);
    };

    tell("/notes", "first");
    tell("/uploads/a.txt", "uploaded");
    site.write("README", "a second release");
    appliance.deploy(site.path()).ok();
    assert_eq!(ask("/notes"), "first");
    assert_eq!(ask("/uploads/a.txt"), "uploaded");

    tell("/notes", "second");
    appliance.cli(&["rollback", "notes"]).ok();
    assert_eq!(ask("/notes"), "first,second");
    assert_eq!(ask("/uploads/a.txt"), "uploaded");

    // A database in the folder seeds the first release and never comes over the one that lives.
    site.write("notes.sqlite3", "not even a database");
    appliance.deploy(site.path()).ok();
    assert_eq!(ask("/notes"), "first,second");

    let explained = appliance.cli(&["explain", "notes", "--json"]).ok().json();
    let persistent = explained["persistent"].to_string();
    assert!(persistent.contains("notes.sqlite3") && persistent.contains("uploads"), "{persistent}");
}

#[test]
fn a_database_that_the_folder_brings_is_kept_without_being_asked() {
    let appliance = TestBox::start();
    let site = SiteFolder::fixture("notes");
    site.remove("onebox.toml");
    // An empty file is an empty SQLite database.
    site.write("notes.sqlite3", "");
    appliance.deploy(site.path()).ok();
    let mut connection = Connection::open(appliance.http, "localhost").unwrap();
    connection.post("/notes", "text/plain", "kept").unwrap();
    appliance.deploy(site.path()).ok();
    let mut connection = Connection::open(appliance.http, "localhost").unwrap();
    assert_eq!(connection.get("/notes").unwrap().text(), "kept");
}

#[test]
fn a_file_that_is_not_kept_is_told_at_the_next_deploy() {
    let appliance = TestBox::start();
    let site = SiteFolder::fixture("hello");
    let write =
        "import os\nos.makedirs('uploads', exist_ok=True)\nopen('uploads/a.png', 'w').close()\n";
    let app = std::fs::read_to_string(site.path().join("app.py")).unwrap();
    site.write("app.py", &format!("{write}{app}"));
    let first = appliance.deploy(site.path()).ok();
    assert!(!first.stdout.contains("persist ="), "{}", first.stdout);
    let second = appliance.deploy(site.path()).ok();
    let told = "uploads/a.png was written by the release before and is not kept: add `persist = [\"uploads\"]`";
    assert!(second.stdout.contains(told), "{}", second.stdout);
}
