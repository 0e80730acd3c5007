//! Several sites of one host, each below a path of its own.

use crate::harness::{SiteFolder, TestBox, get};

fn mounted(name: &str, settings: &str) -> SiteFolder {
    let site = SiteFolder::fixture_as("mounted", name);
    site.write("onebox.toml", &format!("{settings}\n[static]\n\"/static\" = \"static\"\n"));
    site
}

/// Status and body of `path` at `host`.
fn asked(appliance: &TestBox, host: &str, path: &str) -> (u16, String) {
    let answer = get(appliance.http, host, path);
    (answer.status.as_u16(), answer.text())
}

fn answers(appliance: &TestBox, host: &str, table: &[(&str, &str)]) {
    for (path, expected) in table {
        assert_eq!(asked(appliance, host, path), (200, (*expected).to_owned()), "{host}{path}");
    }
}

#[test]
fn an_embedded_site_is_below_its_path_and_another_one_has_the_rest() {
    let appliance = TestBox::start();
    appliance.deploy(SiteFolder::fixture("static-only").path()).ok();
    let home = get(appliance.http, "localhost", "/").text();
    let site = mounted("blog", "path = \"/blog/\"\n[health]\npath = \"/up\"");
    appliance.deploy(site.path()).ok();
    assert_eq!(appliance.site("blog")["mode"], "embedded");
    let blog: [(&str, &str); 5] = [
        ("/blog", "/blog "),
        ("/blog/", "/blog /"),
        ("/blog/a%20b/?c=/blog", "/blog /a b/"),
        ("/blog/blog/x", "/blog /blog/x"),
        ("/blog/static/a.txt", "a file of it"),
    ];
    for host in ["localhost", "whoever.example", "blog.localhost"] {
        answers(&appliance, host, &blog);
        answers(&appliance, host, &[("/", home.as_str())]);
        assert_eq!(asked(&appliance, host, "/blogs").0, 404);
        assert_eq!(asked(&appliance, host, "/static/a.txt").0, 404);
    }
    let port = appliance.http.port();
    let uri = get(appliance.http, &format!("localhost:{port}"), "/blog/x");
    assert_eq!(uri.header("x-uri"), format!("http://localhost:{port}/blog"));
    let urls = appliance.site("blog")["urls"].clone();
    assert_eq!(urls[0], format!("http://localhost:{port}/blog"));
}

#[test]
fn the_longest_path_of_a_host_answers_and_nobody_takes_anothers() {
    let appliance = TestBox::start();
    let all = "domains = [\"a.example\"]\n";
    for (name, path) in [("archive", "/blog/archive"), ("main", "/"), ("blog", "/blog")] {
        let site = mounted(name, &format!("{all}path = \"{path}\""));
        appliance.deploy(site.path()).ok();
    }
    assert_eq!(appliance.site("blog")["mode"], "isolated");
    let table = [
        ("/", " /"),
        ("/blogs", " /blogs"),
        ("/blog/1", "/blog /1"),
        ("/blog/archives", "/blog /archives"),
        ("/blog/archive", "/blog/archive "),
        ("/blog/archive/1", "/blog/archive /1"),
        ("/blog/archive/static/a.txt", "a file of it"),
    ];
    answers(&appliance, "a.example", &table);
    let explained = appliance.cli(&["explain", "http://a.example/blog/archive/1"]).ok().stdout;
    assert!(explained.contains("archive"), "{explained}");
    let taken =
        appliance.deploy(mounted("other", &format!("{all}path = \"/blog\"")).path()).failed();
    assert!(taken.stderr.contains("a.example/blog belongs to the site blog"), "{}", taken.stderr);

    // A release takes its path with it, live and back again.
    appliance.deploy(mounted("blog", &format!("{all}path = \"/news\"")).path()).ok();
    answers(&appliance, "a.example", &[("/blog/1", " /blog/1"), ("/news/1", "/news /1")]);
    appliance.cli(&["rollback", "blog"]).ok();
    answers(&appliance, "a.example", &[("/blog/1", "/blog /1"), ("/news/1", " /news/1")]);

    // What another site has meanwhile it does not get back; it goes on as it is.
    let first = appliance.site("blog")["release"].as_str().unwrap().to_owned();
    appliance.deploy(mounted("blog", &format!("{all}path = \"/news\"")).path()).ok();
    appliance.deploy(mounted("later", &format!("{all}path = \"/blog\"")).path()).ok();
    let taken = appliance.cli(&["rollback", "blog", &first]).failed();
    assert!(taken.stderr.contains("a.example/blog belongs to the site later"), "{}", taken.stderr);
    answers(&appliance, "a.example", &[("/blog/1", "/blog /1"), ("/news/1", "/news /1")]);
    appliance.cli(&["rm", "main", "--yes"]).ok();
    assert_eq!(asked(&appliance, "a.example", "/").0, 404);
    assert_eq!(asked(&appliance, "b.example", "/blog").0, 421);
}
