//! Attacks with hundreds of sockets each, all at once: each ends by itself and as the table says, and meanwhile an ordinary client is
//! answered by a site with one Python thread, which none of them ever holds. What floods a connection of HTTP/2 is in
//! `fixtures/clients/http2_frames.py`.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::net::TcpSocket;

use crate::harness::{self, Address, DEADLINE, Poller, SiteFolder, TestBox};

/// It remembers which paths it was asked for.
const APP: &str = r#"
asked = set()


def application(environ, start_response):
    path = environ["PATH_INFO"]
    start_response("200 OK", [("Content-Type", "application/octet-stream")])
    if path == "/asked":
        return [" ".join(sorted(asked)).encode()]
    asked.add(path)
    if path == "/large":
        return [bytes(8 << 20)]
    sent = environ["wsgi.input"].read()
    return [b"%d %s" % (len(sent), environ.get("HTTP_CONTENT_ENCODING", "plain").encode())]
"#;

const CONFIG: &str = "[listen]\nhttp = '127.0.0.1:0'\nhttps = '127.0.0.1:0'\nadmin = 'none'\n\
                      [limits]\nheader-timeout = '8s'\nbody-timeout = '5s'\nidle-timeout = '5s'\nsend-timeout = '5s'\n\
                      max-connections-per-client = 8192\n";

#[derive(Clone, Copy)]
enum Door {
    Http,
    Https,
}

/// What a socket of an attack gets in the end.
#[derive(Clone, Copy)]
enum End {
    /// An answer that begins so, and no more.
    Told(&'static str),
    /// Nothing.
    Closed,
    /// A reset, in the middle of what it does not read.
    Cut,
}

struct Attack {
    name: &'static str,
    sockets: usize,
    door: Door,
    begins: String,
    /// What is sent again and again.
    goes_on: &'static str,
    end: End,
    /// Which count of the status has each of its sockets.
    counted: Option<&'static str>,
}

fn attacks() -> Vec<Attack> {
    let head = |method: &str, field: &str| {
        format!("{method} /attack HTTP/1.1\r\nHost: localhost\r\n{field}\r\n")
    };
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let chunked = head("POST", "Transfer-Encoding: chunked\r\n");
    let attack = |name, begins: &str, goes_on, end, counted| {
        let begins = begins.to_owned();
        Attack { name, sockets: 300, door: Door::Http, begins, goes_on, end, counted }
    };
    let hello = "\x16\x03\x01\x02\0\x01\0\x01\u{7c}\x03\x03";
    vec![
        attack(
            "heads by the byte",
            "GET /attack HTTP/1.1\r\nHost: ",
            "a",
            End::Told("408"),
            Some("slow"),
        ),
        attack(
            "bodies by the byte",
            &head("POST", "Content-Length: 9999\r\n"),
            "a",
            End::Told("408"),
            None,
        ),
        attack(
            "bodies that stop",
            &head("POST", "Content-Length: 9999\r\n"),
            "",
            End::Told("408"),
            None,
        ),
        attack("silence", "", "", End::Closed, None),
        attack("silence after a request", &get("/public/page.txt"), "", End::Told("200"), None),
        // What they do not read is more than the kernel takes for them.
        Attack {
            sockets: 40,
            ..attack("readers who do not read a file", &get("/public/large"), "", End::Cut, None)
        },
        Attack {
            sockets: 16,
            ..attack("readers who do not read", &get("/large"), "", End::Cut, None)
        },
        Attack {
            door: Door::Https,
            ..attack("silence with TLS", "", "", End::Closed, Some("handshake"))
        },
        Attack {
            door: Door::Https,
            ..attack("half a handshake", hello, "", End::Closed, Some("handshake"))
        },
        attack(
            "a head without end",
            "GET /attack HTTP/1.1\r\nHost: localhost\r\n",
            "X-Field: 0123456789\r\nX-Other: 0123456789\r\n",
            End::Told("431"),
            Some("malformed"),
        ),
        attack(
            "a field without end",
            "GET /attack HTTP/1.1\r\nHost: localhost\r\nX-Field: ",
            "0123456789abcdef0123456789abcdef",
            End::Told("431"),
            Some("malformed"),
        ),
        attack(
            "a target without end",
            "GET /",
            "0123456789abcdef0123456789abcdef",
            End::Told("414"),
            Some("malformed"),
        ),
        attack(
            "chunks of one byte without end",
            &chunked,
            "1\r\na\r\n1\r\nb\r\n1\r\nc\r\n1\r\nd\r\n",
            End::Told("413"),
            None,
        ),
        attack(
            "a chunk extension without end",
            &format!("{chunked}1;"),
            "a=b;a=b;a=b;a=b;",
            End::Told("400"),
            None,
        ),
        attack(
            "trailers without end",
            &format!("{chunked}0\r\n"),
            "X-Field: 0123456789\r\n",
            End::Told("400"),
            None,
        ),
    ]
}

/// One socket of an attack.
struct Attacker {
    stream: TcpStream,
    told: Vec<u8>,
    is_over: bool,
}

impl Attack {
    /// Attacks until every socket has met its end; what became of those that did not meet the expected one.
    fn run(&self, address: SocketAddr, sockets: usize) -> Vec<String> {
        let mut attackers: Vec<_> = (0..sockets).map(|_| self.begin(address)).collect();
        // So much at once that bombs are over soon, and what is to drip does.
        let piece = match self.goes_on.len() {
            0 | 1 => self.goes_on.to_owned(),
            size => self.goes_on.repeat(8192 / size),
        };
        let begun = Instant::now();
        while attackers.iter().any(|attacker| !attacker.is_over) {
            assert!(begun.elapsed() < DEADLINE, "{} does not end", self.name);
            for attacker in attackers.iter_mut().filter(|attacker| !attacker.is_over) {
                attacker.go_on(piece.as_bytes(), self.end);
            }
            thread::sleep(Duration::from_millis(50));
        }
        let expected = match self.end {
            End::Told(status) => format!("HTTP/1.1 {status} "),
            End::Closed | End::Cut => String::new(),
        };
        let is_expected = |told: &str| match self.end {
            End::Told(_) => told.starts_with(&expected) && told.matches("HTTP/1.1 ").count() == 1,
            End::Closed | End::Cut => told.is_empty(),
        };
        let told = attackers.iter().map(|attacker| String::from_utf8_lossy(&attacker.told));
        let others = told.filter(|told| !is_expected(told));
        others.map(|told| format!("{}: {:.80}", self.name, told)).collect()
    }

    fn begin(&self, address: SocketAddr) -> Attacker {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let stream = runtime.block_on(async {
            let socket = TcpSocket::new_v4().unwrap();
            if matches!(self.end, End::Cut) {
                socket.set_recv_buffer_size(1).unwrap();
            }
            socket.connect(address).await.unwrap().into_std().unwrap()
        });
        (&stream).write_all(self.begins.as_bytes()).unwrap();
        Attacker { stream, told: Vec::new(), is_over: false }
    }
}

impl Attacker {
    fn go_on(&mut self, piece: &[u8], end: End) {
        if !piece.is_empty() && self.told.is_empty() {
            // Where the other side has had enough it takes no more, or has closed.
            let _ = self.stream.write(piece);
        }
        if matches!(end, End::Cut) {
            self.is_over = matches!(self.stream.take_error(), Ok(Some(_)));
            return;
        }
        let mut buffer = [0; 4096];
        match self.stream.read(&mut buffer) {
            Ok(0) => self.is_over = true,
            Ok(size) => self.told.extend_from_slice(&buffer[..size]),
            Err(error) => self.is_over = error.kind() != ErrorKind::WouldBlock,
        }
    }
}

/// The sockets of an attack where it has `wanted`, so that all of them fit into what this process may open.
fn that_fit(wanted: usize, attacks: usize) -> usize {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
    // The engine may need two for each.
    let all = limit.current.map_or(usize::MAX, |all| usize::try_from(all).unwrap() / 2 - 200);
    let fit = wanted.min(all / attacks);
    if fit < wanted {
        eprintln!("only {fit} sockets in each attack: this machine allows no more (ulimit -Hn)");
    }
    fit
}

#[test]
fn every_attack_ends_by_itself_and_an_ordinary_client_never_notices() {
    let site = SiteFolder::fixture("released");
    site.write("app.py", APP);
    site.write("public/page.txt", "a file");
    site.write("public/large", &"a large file\n".repeat(1 << 20));
    site.write(
        "onebox.toml",
        "threads = 1\nmax-body = \"16KB\"\n[static]\n\"/public\" = \"public\"\n",
    );
    let appliance = TestBox::start_with_config(CONFIG);
    appliance.deploy(site.path()).ok();
    let attacks = attacks();
    let fit = that_fit(300, attacks.len());
    let visitors = Poller::start(appliance.http, "localhost", "/");
    let (http, https) = (appliance.http, appliance.https.unwrap());
    let surprises: Vec<String> = thread::scope(|scope| {
        let running: Vec<_> = attacks
            .iter()
            .map(|attack| {
                let address = match attack.door {
                    Door::Http => http,
                    Door::Https => https,
                };
                scope.spawn(move || attack.run(address, attack.sockets.min(fit)))
            })
            .collect();
        running.into_iter().flat_map(|attack| attack.join().unwrap()).collect()
    });
    assert_eq!(surprises, [""; 0]);
    let tally = visitors.all_well();
    assert_eq!(tally.bodies.len(), 1, "{:?}", tally.bodies);
    // None of them got as far as the application but the one whose request was whole.
    assert_eq!(harness::get(http, "localhost", "/asked").text(), "/ /large");
    for reason in ["slow", "handshake", "malformed"] {
        let sockets = attacks.iter().filter(|attack| attack.counted == Some(reason));
        let expected: usize = sockets.map(|attack| attack.sockets.min(fit)).sum();
        let begun = Instant::now();
        while appliance.status()["dropped"][reason].as_u64().unwrap() < expected as u64 {
            assert!(begun.elapsed() < DEADLINE, "{reason}: {}", appliance.status()["dropped"]);
        }
    }
}

/// What is compressed is nobody's business between client and application, however much it would be.
#[test]
fn a_compressed_body_is_passed_on_as_it_is() {
    let site = SiteFolder::fixture("released");
    site.write("app.py", APP);
    let appliance = TestBox::run_in_place(site.path(), &[]);
    let bomb = bomb();
    let head = format!(
        "POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n",
        bomb.len()
    );
    let said = Address::Tcp(appliance.http).ask(&[head.as_bytes(), &bomb].concat());
    let said = String::from_utf8_lossy(&said.bytes).into_owned();
    assert!(said.ends_with(&format!("{} gzip", bomb.len())), "{said}");
}

/// A gzip of 100 MB of nothing, as gzip makes it.
fn bomb() -> Vec<u8> {
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "head -c 100000000 /dev/zero | gzip -9"]);
    let made = command.output().unwrap();
    assert!(made.status.success() && made.stdout.len() < 200_000, "{made:?}");
    made.stdout
}
