//! Who may ask, and how much: `deny`, `[[limit]]` of sites and routes. nginx is the oracle.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::{Connection, DEADLINE, Fifo, Nginx, SiteFolder, TestBox, get};

/// On `/slow` it says that it has begun, and waits to be let go.
const SLOW: &str = r#"import os


def application(environ, start_response):
    if environ["PATH_INFO"] == "/slow":
        open(os.environ["FIFO"], "w").close()
        open(os.environ["FIFO"]).close()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"done"]
"#;

fn statuses(address: SocketAddr, paths: &[&str]) -> Vec<u16> {
    paths.iter().map(|path| get(address, "localhost", path).status.as_u16()).collect()
}

#[test]
fn who_asks_too_often_gets_429_and_is_told_when_to_come_again() {
    let site = SiteFolder::fixture("static-only");
    let toml = "[[limit]]\nrate = \"2/h\"\nburst = 3\n\n[[route]]\npath = \"/free\"\nlimit = []\nstatus = 410\n\n\
                [[route]]\npath = \"/once\"\nstatus = 410\n[[route.limit]]\nrate = \"1/d\"\n";
    site.write("onebox.toml", toml);
    let served = TestBox::start();
    served.deploy(site.path()).ok();
    let paths = ["/once", "/", "/nothing", "/", "/", "/once", "/free", "/free"];
    let answered = statuses(served.http, &paths);
    assert_eq!(answered, [410, 200, 404, 200, 429, 429, 410, 410]);
    if Nginx::is_here() {
        let root = site.path().display();
        let nginx = Nginx::serve_with(
            "limit_req_zone $binary_remote_addr zone=site:1m rate=1r/m;\n\
             limit_req_zone $binary_remote_addr zone=once:1m rate=1r/m; limit_req_status 429;",
            &[format!(
                "root {root}; limit_req zone=site burst=2 nodelay;\n\
                 location = /free {{ limit_req zone=once burst=9 nodelay; try_files /none =410; }}\n\
                 location = /once {{ limit_req zone=once; try_files /none =410; }}"
            )],
        );
        assert_eq!(statuses(nginx.addresses[0], &paths), answered);
    }
    let refused = get(served.http, "localhost", "/");
    let wait: u32 = refused.header("retry-after").parse().unwrap();
    assert!((1..=1800).contains(&wait), "{wait}");
    assert!(refused.text().contains("too many requests"), "{}", refused.text());
    let explained = served.cli(&["explain", "http://localhost/once"]).ok().stdout;
    assert!(explained.contains("429 beyond 1/d, 1 at once, by address"), "{explained}");
}

#[test]
fn a_limit_by_route_is_each_routes_own() {
    let site = SiteFolder::fixture("static-only");
    let toml = "[[limit]]\nrate = \"1/d\"\nby = \"route\"\n\n[[route]]\npath = \"/a\"\nstatus = 410\n\n\
                [[route]]\npath = \"/b\"\nstatus = 410\n";
    site.write("onebox.toml", toml);
    let served = TestBox::start();
    served.deploy(site.path()).ok();
    assert_eq!(statuses(served.http, &["/a", "/b", "/"]), [410, 410, 200]);
    // Nobody has asked before from there, and all the same.
    let mut other = Connection::open_from([127, 0, 0, 2], served.http, "localhost").unwrap();
    for path in ["/a", "/b", "/", "/nothing"] {
        assert_eq!(other.get(path).unwrap().status, 429, "{path}");
    }
}

#[test]
fn only_so_many_requests_are_answered_at_a_time() {
    let fifo = Fifo::new();
    let site = SiteFolder::fixture("hello");
    site.write("app.py", SLOW);
    let toml = format!("[env]\nFIFO = {:?}\n[[limit]]\nconcurrent = 1\n", fifo.path());
    site.write("onebox.toml", &toml);
    let served = TestBox::run_in_place(site.path(), &[]);
    let address = served.http;
    let slow = thread::spawn(move || get(address, "localhost", "/slow"));
    fifo.wait_for_writer();
    let refused = get(address, "localhost", "/");
    assert_eq!((refused.status.as_u16(), refused.header("retry-after")), (429, "1"));
    fifo.release_reader();
    assert_eq!(slow.join().unwrap().text(), "done");
    // It counts until its last byte is out, which its client can have before.
    let begun = Instant::now();
    while get(address, "localhost", "/").status != 200 {
        assert!(begun.elapsed() < DEADLINE);
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn who_is_denied_gets_403_even_where_allowed() {
    let site = SiteFolder::fixture("static-only");
    let toml = "allow = [\"127.0.0.0/8\"]\ndeny = [\"127.0.0.2\"]\n\n\
                [[route]]\npath = \"/open\"\ndeny = []\nstatus = 410\n";
    site.write("onebox.toml", toml);
    let served = TestBox::run_in_place(site.path(), &[]);
    let ask = |last: u8, path: &str| {
        let from = [127, 0, 0, last];
        let mut connection = Connection::open_from(from, served.http, "localhost").unwrap();
        connection.get(path).unwrap().status.as_u16()
    };
    assert_eq!([ask(1, "/"), ask(3, "/"), ask(2, "/")], [200, 200, 403]);
    assert_eq!(ask(2, "/open"), 410);
}
