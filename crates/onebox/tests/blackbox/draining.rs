//! What goes on in a process that was replaced, and for how long: requests have `reload-mercy`, what has begun to be answered has
//! `drain-timeout`.

use std::io::{Read, Write};
use std::net::TcpStream;

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{
    Address, Fifo, SiteFolder, TestBox, begin_stream, free_address, get, packet, rest_of,
};

/// A site whose `/wait` and `/hold` wait for these.
struct Fixture {
    site: SiteFolder,
    stream: Fifo,
    held: Fifo,
    _hold: Fifo,
}

impl Fixture {
    fn new(settings: &str) -> Self {
        let (stream, held, hold) = (Fifo::new(), Fifo::new(), Fifo::new());
        let site = SiteFolder::fixture("stream");
        site.write(
            "onebox.toml",
            &format!(
                "{settings}\n[env]\nSTREAM_FIFO = {:?}\nHELD_FIFO = {:?}\nHOLD_FIFO = {:?}\n[static]\n\"/files\" = \"files\"\n",
                stream.path(),
                held.path(),
                hold.path()
            ),
        );
        Self { site, stream, held, _hold: hold }
    }
}

/// A stream outlives a redeploy, a request that does not get an answer in time is told; the same for every mode.
fn outlives_a_redeploy(mode: &str) {
    let appliance = TestBox::start();
    let fixture = Fixture::new(&format!("reload-mercy = \"200ms\"\nisolation = \"{mode}\""));
    fixture.site.write("files/large", &"x".repeat(32 << 20));
    appliance.deploy(fixture.site.path()).ok();
    let old = get(appliance.http, "localhost", "/").text();

    let (mut streaming, mut stream) = begin_stream(appliance.http);
    let mut download = TcpStream::connect(appliance.http).unwrap();
    download.write_all(b"GET /files/large HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut begun = [0; 1000];
    download.read_exact(&mut begun).unwrap();
    let held = std::thread::scope(|scope| {
        let address = appliance.http;
        let held = scope.spawn(move || get(address, "localhost", "/hold"));
        fixture.held.wait_for_writer();
        appliance.deploy(fixture.site.path()).ok();
        held.join().unwrap()
    });
    assert_eq!(held.status, 503, "{}", held.text());
    assert_eq!((held.header("retry-after"), held.closes()), ("1", mode == "embedded"));

    // Its mercy is over, and what had begun goes on while others are answered by the new process.
    assert_ne!(get(appliance.http, "localhost", "/").text(), old);
    fixture.stream.release_reader();
    assert_eq!(streaming.piece(&mut stream).unwrap().unwrap(), "second");
    assert!(streaming.piece(&mut stream).unwrap().is_none());
    let mut rest = vec![0; (32 << 20) - 1000];
    download.read_exact(&mut rest).unwrap();
    assert!(rest.ends_with(b"xxx"));
}

#[test]
fn an_engines_streams_and_downloads_outlive_a_redeploy_and_requests_have_their_mercy() {
    outlives_a_redeploy("embedded");
}

#[test]
fn workers_streams_and_downloads_outlive_a_redeploy_and_requests_have_their_mercy() {
    outlives_a_redeploy("process");
}

/// What comes next on a connection that an old engine holds is judged by the rules of this moment.
#[test]
fn who_is_denied_while_an_engine_drains_is_refused_there_too() {
    let config =
        "[listen]\nhttp = '127.0.0.1:0'\nadmin = 'none'\ntrusted-proxies = ['127.0.0.1']\n";
    let appliance = TestBox::start_with_config(config);
    let fixture = Fixture::new("");
    appliance.deploy(fixture.site.path()).ok();
    let next_after_a_redeploy = |client: &str| {
        let ask = |path: &str| {
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: {client}\r\n\r\n")
        };
        let old = get(appliance.http, "localhost", "/").text();
        let mut held = Address::Tcp(appliance.http).connect();
        held.write_all(ask("/wait").as_bytes()).unwrap();
        let mut begun = Vec::new();
        while !begun.ends_with(b"first,\r\n") {
            let mut byte = [0];
            held.read_exact(&mut byte).unwrap();
            begun.extend(byte);
        }
        appliance.deploy(fixture.site.path()).ok();
        appliance.cli(&["deny", "203.0.113.7", "--site", "stream"]).ok();
        held.write_all(ask("/").as_bytes()).unwrap();
        fixture.stream.release_reader();
        let rest = rest_of(&mut *held).bytes;
        (old, String::from_utf8_lossy(&rest).into_owned())
    };
    let (_, refused) = next_after_a_redeploy("203.0.113.7");
    assert!(refused.contains("second") && refused.contains("HTTP/1.1 403 "), "{refused}");
    let (old, served) = next_after_a_redeploy("203.0.113.8");
    assert!(served.contains("HTTP/1.1 200 ") && served.ends_with(&old), "{old}: {served}");
}

#[test]
fn the_oldest_of_three_draining_engines_is_ended() {
    let appliance = TestBox::start();
    let fixture = Fixture::new("");
    appliance.deploy(fixture.site.path()).ok();
    let mut streams = Vec::new();
    for _ in 0..3 {
        streams.push(begin_stream(appliance.http));
        appliance.deploy(fixture.site.path()).ok();
    }
    let mut rest: Vec<_> =
        streams.iter_mut().map(|(open, answer)| (open, answer)).skip(1).collect();
    fixture.stream.release_reader();
    for (open, answer) in &mut rest {
        assert_eq!(open.piece(answer).unwrap().unwrap(), "second");
    }
    let (open, answer) = &mut streams[0];
    open.piece(answer).unwrap_err();
    appliance.wait_for_line("too many engines drain at once");
}

#[test]
fn drain_timeout_ends_what_goes_on_for_too_long() {
    let appliance = TestBox::start_with(|command| {
        command.env("ONEBOX_LIMITS__DRAIN_TIMEOUT", "1s");
    });
    let fixture = Fixture::new("");
    appliance.deploy(fixture.site.path()).ok();
    let (mut open, mut answer) = begin_stream(appliance.http);
    appliance.deploy(fixture.site.path()).ok();
    open.piece(&mut answer).unwrap_err();
}

#[test]
fn connections_in_the_backlog_are_answered_when_the_appliance_ends() {
    let mut appliance = TestBox::start();
    let fixture = Fixture::new("");
    appliance.deploy(fixture.site.path()).ok();
    let engine = Pid::from_raw(appliance.engine_pid()).unwrap();
    kill_process(engine, Signal::STOP).unwrap();
    let waiting: Vec<_> = (0..50)
        .map(|_| {
            let mut open = TcpStream::connect(appliance.http).unwrap();
            open.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
            open
        })
        .collect();
    appliance.signal(Signal::TERM);
    appliance.wait_for_line("shutting down");
    kill_process(engine, Signal::CONT).unwrap();
    for mut open in waiting {
        let mut answer = String::new();
        open.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    assert_eq!(appliance.wait(), 0);
    TcpStream::connect(appliance.http).unwrap_err();
}

/// A connection that waits at each of a site's uwsgi sockets is answered when `close` makes the site give them up; the status.
fn answered_at_closing_sockets(
    settings: &str,
    close: impl Fn(&TestBox, &SiteFolder),
) -> [String; 2] {
    let tcp = free_address();
    let (unix, of_all) = ("run/front.sock", format!("socket = [\"run/front.sock\", \"{tcp}\"]\n"));
    let ways: [&dyn Fn(&TestBox) -> Address; 2] = [
        &|appliance| Address::Unix(appliance.state().join("sites/fronted/shared").join(unix)),
        &|_| Address::Tcp(tcp),
    ];
    ways.map(|way| {
        // The first connection has the only place, so that the second waits.
        let appliance = TestBox::start_with(|command| {
            command.env("ONEBOX_LIMITS__MAX_CONNECTIONS", "1");
        });
        let site = SiteFolder::fixture("fronted");
        site.write("onebox.toml", &format!("{of_all}{settings}"));
        appliance.deploy(site.path()).ok();
        let way = way(&appliance);
        let held = way.connect();
        let mut waiting = way.connect();
        let request = packet(
            0,
            &[
                ("REQUEST_METHOD", b"GET"),
                ("REQUEST_URI", b"/"),
                ("PATH_INFO", b"/"),
                ("QUERY_STRING", b""),
                ("HTTP_HOST", b"localhost"),
                ("SERVER_PROTOCOL", b"HTTP/1.1"),
            ],
        );
        waiting.write_all(&request).unwrap();
        close(&appliance, &site);
        drop(held);
        let said = rest_of(&mut *waiting);
        assert!(!said.reset);
        let text = String::from_utf8_lossy(&said.bytes).into_owned();
        text.lines().next().unwrap_or_default().to_owned()
    })
}

fn remove(appliance: &TestBox, _: &SiteFolder) {
    appliance.cli(&["rm", "fronted", "--yes"]).ok();
}

#[test]
fn who_waits_at_the_uwsgi_sockets_of_a_site_that_is_removed_is_answered() {
    assert_eq!(answered_at_closing_sockets("", remove), ["HTTP/1.1 200 OK"; 2]);
    // Its engine stays, and has nothing of the site any more.
    let told = answered_at_closing_sockets("isolation = \"process\"\n", remove);
    assert_eq!(told, ["HTTP/1.1 503 Service Unavailable"; 2]);
}

#[test]
fn who_waits_at_uwsgi_sockets_that_a_redeploy_drops_is_answered() {
    let redeploy = |appliance: &TestBox, site: &SiteFolder| {
        site.write("onebox.toml", "");
        appliance.deploy(site.path()).ok();
    };
    assert_eq!(answered_at_closing_sockets("", redeploy), ["HTTP/1.1 200 OK"; 2]);
}
