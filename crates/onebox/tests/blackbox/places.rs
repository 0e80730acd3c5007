//! More connections than there are places, or than one client may have: what becomes of them in which order, and that all is well
//! when there are fewer.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};

use crate::harness::{Connection, DEADLINE, SiteFolder, TestBox, rest_of};

const LISTEN: &str = "[listen]\nhttp = '127.0.0.1:0'\nadmin = 'none'\n";
const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream
}

/// Sends something, and reads until the answer says this.
fn say(stream: &mut TcpStream, message: &[u8], answer: &str) {
    stream.write_all(message).unwrap();
    let mut said = String::new();
    while !said.contains(answer) {
        let mut buffer = [0; 4096];
        let size = stream.read(&mut buffer).unwrap();
        assert!(size > 0, "not {answer:?} but {said}");
        said.push_str(&String::from_utf8_lossy(&buffer[..size]));
    }
}

/// The whole answer to a request on a connection of its own.
fn ask(address: SocketAddr) -> String {
    let mut stream = connect(address);
    stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    String::from_utf8_lossy(&rest_of(&mut stream).bytes).into_owned()
}

/// Whether the other side has closed a connection.
fn has_ended(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let ended = matches!(stream.peek(&mut [0]), Ok(0));
    stream.set_nonblocking(false).unwrap();
    ended
}

/// A request whose body is waited for.
fn begin_post(address: SocketAddr) -> TcpStream {
    let mut stream = connect(address);
    let head =
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n";
    say(&mut stream, head, "100 Continue\r\n\r\n");
    stream
}

/// An engine that may open 256 files, and how many connections fit into that.
fn with_few_descriptors(config: &str) -> (TestBox, usize) {
    let appliance = TestBox::start_with_config(&format!("{LISTEN}{config}"));
    appliance.deploy(SiteFolder::fixture("hello").path()).ok();
    let engine = Pid::from_raw(appliance.engine_pid()).unwrap();
    let few = Rlimit { current: Some(256), maximum: Some(256) };
    prlimit(Some(appliance.pid()), Resource::Nofile, few).unwrap();
    kill_process(engine, Signal::KILL).unwrap();
    appliance.wait_for_line("`max-connections` needs more open files");
    let said = appliance.said();
    let fit = said.split("fit=").nth(1).and_then(|rest| rest.split(' ').next()).unwrap();
    let fit = fit.parse().unwrap_or_else(|_| panic!("{fit:?} in {said}"));
    (appliance, fit)
}

#[test]
fn who_is_idle_leaves_first_then_clients_are_told_to_come_later_and_then_all_is_well() {
    let (appliance, fit) = with_few_descriptors(
        "[limits]\nmax-connections-per-client = 1000\nbody-timeout = '10m'\nidle-timeout = '10m'\n",
    );
    let dropped = |why: &str| appliance.status()["dropped"][why].as_u64().unwrap();
    // All are served as long as there are places.
    let mut idle: Vec<_> = (0..fit).map(|_| connect(appliance.http)).collect();
    for stream in &mut idle {
        say(stream, GET, "hello GET / 0");
    }
    // Beyond that, one who is idle leaves for each that comes. Who have been idle for as long, by the timers of a busy machine,
    // leave in any order.
    let mut under_way = vec![begin_post(appliance.http)];
    let begun = Instant::now();
    while idle.len() == fit {
        assert!(begun.elapsed() < DEADLINE, "nobody leaves");
        idle.retain(|stream| !has_ended(stream));
    }
    say(&mut idle[fit / 2], GET, "hello GET / 0");
    under_way.extend((1..fit).map(|_| begin_post(appliance.http)));
    for mut stream in idle {
        assert_eq!(rest_of(&mut stream).bytes, b"");
    }
    // Nobody is idle: who comes waits for a while in vain.
    let mut late = connect(appliance.http);
    late.write_all(GET).unwrap();
    let refused = rest_of(&mut late).bytes;
    let refused = String::from_utf8_lossy(&refused).into_owned();
    assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
    for field in ["\r\nRetry-After: 10\r\n", "\r\nConnection: close\r\n"] {
        assert!(refused.contains(field), "{refused}");
    }
    appliance.wait_for_line("there is no room for another connection");
    // What is under way is answered, and then there is room for everybody.
    for stream in &mut under_way {
        say(stream, b"abc", "hello POST / 3");
    }
    drop(under_way);
    say(&mut connect(appliance.http), GET, "hello GET / 0");
    while dropped("in_the_way") < fit as u64 || dropped("no_room") < 1 {
        std::thread::yield_now();
    }
    assert!(!appliance.said().contains("no connection can be accepted"), "{}", appliance.said());
}

#[test]
fn where_memory_is_short_stored_answers_go_then_clients_are_told_to_come_later_and_then_all_is_well()
 {
    /// What of each body is sent at first: together they are more than there is memory for.
    const FIRST: usize = 5_000_000;
    const ALL: usize = FIRST + 3;
    let config =
        "[limits]\nmax-connections-per-client = 1000\nmax-memory = '192MB'\nbody-timeout = '10m'\n";
    let appliance = TestBox::start_with_config(&format!("{LISTEN}{config}"));
    let site = SiteFolder::fixture("hello");
    site.write("onebox.toml", "cache = '1h'\npost-buffering = '8MB'\n");
    appliance.deploy(site.path()).ok();
    let stored = || appliance.site("hello")["cache"]["stored_bytes"].as_u64().unwrap();
    say(&mut connect(appliance.http), GET, "hello GET / 0");
    appliance.wait_for_site("hello", |_| stored() > 0);
    let begin = || {
        let mut stream = connect(appliance.http);
        let head = format!(
            "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {ALL}\r\nExpect: 100-continue\r\n\r\n"
        );
        say(&mut stream, head.as_bytes(), "100 Continue\r\n\r\n");
        stream
    };
    let mut under_way: Vec<_> = (0..48).map(|_| begin()).collect();
    for stream in &mut under_way {
        stream.write_all(&vec![b'a'; FIRST]).unwrap();
    }
    // As long as there is memory everybody is served; then who comes waits for a while in vain.
    let mut said = String::new();
    while !said.starts_with("HTTP/1.1 503 ") {
        said = ask(appliance.http);
        assert!(said.starts_with("HTTP/1.1 503 ") || said.contains("hello GET / 0"), "{said}");
    }
    assert!(said.contains("\r\nRetry-After: 10\r\n"), "{said}");
    appliance.wait_for_line("there is no memory for another connection");
    appliance.wait_for_site("hello", |_| stored() == 0);
    // What is under way is answered, and then there is memory for everybody.
    for stream in &mut under_way {
        say(stream, b"abc", &format!("hello POST / {ALL}"));
    }
    drop(under_way);
    while !said.contains("hello GET / 0") {
        said = ask(appliance.http);
    }
    while appliance.status()["dropped"]["no_memory"].as_u64().unwrap() == 0 {
        std::thread::yield_now();
    }
    let status = appliance.cli(&["status"]).ok().stdout;
    assert!(status.contains("found no memory"), "{status}");
}

#[test]
fn one_client_has_only_its_share_of_connections() {
    let config = format!(
        "{LISTEN}trusted-proxies = ['127.0.0.3']\n[limits]\nmax-connections-per-client = 2\n"
    );
    let appliance = TestBox::start_with_config(&config);
    appliance.deploy(SiteFolder::fixture("hello").path()).ok();
    let open = |last: u8| {
        let opened = Connection::open_from([127, 0, 0, last], appliance.http, "localhost");
        opened.and_then(|mut open| open.get("/").map(|answer| (open, answer.status.as_u16())))
    };
    let (first, second) = (open(1).unwrap(), open(1).unwrap());
    assert_eq!((first.1, second.1), (200, 200));
    assert!(open(1).is_err(), "a third connection is served");
    appliance.wait_for_line("it has as many connections as one may have");
    assert_eq!(open(2).unwrap().1, 200);
    // Behind a proxy there are many.
    let trusted: Vec<_> = (0..5).map(|_| open(3).unwrap()).collect();
    assert!(trusted.iter().all(|(_, status)| *status == 200));
    drop(first);
    // Its end is noticed a moment later.
    while open(1).is_err() {
        std::thread::yield_now();
    }
    while appliance.status()["dropped"]["crowd"].as_u64().unwrap() == 0 {
        std::thread::yield_now();
    }
    let status = appliance.cli(&["status"]).ok().stdout;
    assert!(status.contains("had too many connections"), "{status}");
    let metrics = appliance.api("/metrics").ok().stdout;
    assert!(metrics.contains("onebox_clients_dropped_total{reason=\"crowd\"} "), "{metrics}");
}
