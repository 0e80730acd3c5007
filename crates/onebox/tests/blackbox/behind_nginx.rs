//! A real nginx in front, joined in the three ways of the classic deployment: uwsgi over a Unix socket, uwsgi over TCP, HTTP.

use std::os::unix::fs::PermissionsExt;

use crate::harness::{
    Address, Connection, Nginx, Poller, SiteFolder, TestBox, free_address, get, packet,
};

const UWSGI: &str = "include /etc/nginx/uwsgi_params; uwsgi_pass";

/// A site with a Unix socket and an address for uwsgi, and an nginx with a server for each way to it.
fn fronted(more: &str) -> (TestBox, SiteFolder, Nginx) {
    let appliance = TestBox::start();
    let site = SiteFolder::fixture("fronted");
    let address = free_address();
    site.write("onebox.toml", &format!("socket = [\"run/front.sock\", \"{address}\"]\n{more}"));
    appliance.deploy(site.path()).ok();
    let socket = appliance.state().join("sites/fronted/shared/run/front.sock");
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o660);
    let nginx = Nginx::start(&[
        format!("{UWSGI} unix:{};", socket.display()),
        format!("{UWSGI} {address};"),
        format!("proxy_pass http://{};", appliance.http),
    ]);
    (appliance, site, nginx)
}

fn everything_works_through(nginx: &Nginx) {
    let upload: Vec<u8> = (0..=250).cycle().take(20 << 20).collect();
    let mut said = Vec::new();
    for address in &nginx.addresses {
        let mut client = Connection::open(*address, "localhost").unwrap();
        let empty = "e3b0c44298fc1c14";
        assert_eq!(client.get("/a%20b?x=1").unwrap().text(), format!("GET /a b 0 {empty}"));
        let posted = client.post("/form", "text/plain", "name=value").unwrap().text();
        assert!(posted.starts_with("POST /form 10 "), "{posted}");
        said.push(client.post("/upload", "text/plain", upload.clone()).unwrap().text());
        let stream = client.get("/stream").unwrap().text();
        assert!(stream.starts_with("piece 0\n") && stream.ends_with("piece 999\n"));
        let missing = client.get("/missing").unwrap();
        assert_eq!((missing.status.as_u16(), missing.text().as_str()), (404, "not here"));
    }
    assert!(said[0].starts_with("POST /upload 20971520 "), "{}", said[0]);
    assert_eq!((&said[0], &said[0]), (&said[1], &said[2]));
}

#[test]
fn each_way_to_an_embedded_site_works() {
    if !Nginx::is_here() {
        return;
    }
    let (appliance, _site, nginx) = fronted("");
    assert_eq!(appliance.site("fronted")["mode"], "embedded");
    everything_works_through(&nginx);
    for address in &nginx.addresses[..2] {
        let who = get(*address, "mysite.example.com", "/who?a=b").text();
        assert_eq!(who, "127.0.0.1 mysite.example.com a=b http HTTP/1.1");
    }
}

#[test]
fn each_way_to_an_isolated_site_works() {
    if !Nginx::is_here() {
        return;
    }
    let (appliance, _site, nginx) = fronted("processes = 2\n");
    assert_eq!(appliance.site("fronted")["mode"], "isolated");
    everything_works_through(&nginx);
}

#[test]
fn redeploys_behind_nginx_lose_no_request_stream_or_upload() {
    if !Nginx::is_here() {
        return;
    }
    for more in ["", "processes = 2\n"] {
        let (appliance, site, nginx) = fronted(more);
        let body = bytes::Bytes::from(vec![b'u'; 300_000]);
        let ways = nginx.addresses[..2].iter();
        let visitors: Vec<Poller> = ways
            .flat_map(|address| {
                [
                    Poller::start(*address, "localhost", "/"),
                    Poller::keep_alive(*address, "localhost", "/stream"),
                    Poller::upload(*address, "localhost", "/upload", body.clone()),
                ]
            })
            .collect();
        for _ in 0..2 {
            appliance.deploy(site.path()).ok();
        }
        for visitor in visitors {
            // One body: no stream was cut short and no upload either.
            assert_eq!(visitor.all_well().bodies.len(), 1);
        }
    }
}

#[test]
fn the_sockets_go_with_the_configuration_and_with_the_site() {
    if !Nginx::is_here() {
        return;
    }
    let (appliance, site, nginx) = fronted("");
    let socket = appliance.state().join("sites/fronted/shared/run/front.sock");
    assert!(socket.exists());
    let without = std::fs::read_to_string(site.path().join("onebox.toml")).unwrap();
    let without = without.replace("\"run/front.sock\", ", "");
    site.write("onebox.toml", &without);
    appliance.deploy(site.path()).ok();
    assert!(!socket.exists());
    assert_eq!(get(nginx.addresses[0], "localhost", "/").status, 502);
    assert_eq!(get(nginx.addresses[1], "localhost", "/").status, 200);
    appliance.cli(&["rm", "fronted", "--yes"]).ok();
    assert_eq!(get(nginx.addresses[1], "localhost", "/").status, 502);
}

#[test]
fn an_appliance_that_was_killed_takes_its_sockets_again() {
    let state = tempfile::tempdir().unwrap();
    let site = SiteFolder::fixture("fronted");
    let address = free_address();
    site.write("onebox.toml", &format!("socket = [\"run/front.sock\", \"{address}\"]\n"));
    let killed = TestBox::start_at(state.path());
    killed.deploy(site.path()).ok();
    drop(killed);
    let socket = state.path().join("sites/fronted/shared/run/front.sock");
    assert!(socket.exists(), "nobody was there to remove it");
    let _again = TestBox::start_at(state.path());
    let message = packet(0, &[("REQUEST_METHOD", b"GET"), ("PATH_INFO", b"/here")]);
    for way in [Address::Unix(socket), Address::Tcp(address)] {
        let said = String::from_utf8(way.ask(&message).bytes).unwrap();
        assert!(said.starts_with("HTTP/1.1 200 ") && said.contains("GET /here 0"), "{said}");
    }
}

#[test]
fn a_socket_that_is_taken_fails_the_deploy_and_what_was_live_stays() {
    let appliance = TestBox::start();
    let site = SiteFolder::fixture("fronted");
    appliance.deploy(site.path()).ok();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    site.write("onebox.toml", &format!("socket = \"{}\"\n", taken.local_addr().unwrap()));
    let failed = appliance.deploy(site.path()).failed();
    assert!(failed.all().contains("has this address: stop it"), "{}", failed.all());
    assert_eq!(get(appliance.http, "localhost", "/").status, 200);
    site.write("onebox.toml", "socket = \"0.0.0.0:8000\"\n");
    let refused = appliance.deploy(site.path()).failed();
    assert!(refused.all().contains("socket-allow"), "{}", refused.all());
}
