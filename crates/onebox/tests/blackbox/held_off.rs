//! Attacks with two thousand sockets each, as many kinds at once as the machine has descriptors for: each ends by itself and as the
//! table says, and meanwhile an ordinary client is answered by a site with one Python thread, which none of them ever holds. What
//! costs the attacker kilobytes and more has fewer, unless somebody has minutes for it. Floods of HTTP/2 that need megabytes of each
//! socket are in `fixtures/clients/http2_frames.py`.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::WriteHalf;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::harness::{self, Address, DEADLINE, Poller, SiteFolder, TestBox};

/// Of each attack that costs next to nothing, if so many fit.
const SOCKETS: usize = 2000;
/// Of each that sends as much as is read, where it is to be quick.
const FEW: usize = 300;
/// How long an attack may take.
const PATIENCE: Duration = Duration::from_secs(600);
/// Between two pieces of what drips.
const DRIP: Duration = Duration::from_secs(1);
/// Between two pieces of a flood: what is on its way when the other side has had enough is for nothing.
const SURGE: Duration = Duration::from_millis(50);

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
                      [limits]\nheader-timeout = '3s'\nbody-timeout = '3s'\nidle-timeout = '3s'\nsend-timeout = '3s'\n\
                      max-connections = 100000\nmax-connections-per-client = 8192\n";

/// How a connection of HTTP/2 begins, with a SETTINGS frame.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// ENHANCE_YOUR_CALM (RFC 9113 §7).
const CALM: u32 = 11;
/// `:method: GET`, `:scheme: http`, `:path: /`, and `:authority: localhost` (RFC 7541 §6.1, §6.2.2).
const GET_ROOT: &[u8] = b"\x82\x86\x84\x01\x09localhost";

#[derive(Clone, Copy)]
enum Door {
    Http,
    Https,
}

/// What a socket does after it has begun.
#[derive(Clone)]
enum Then {
    /// Nothing but reading.
    Waits,
    /// It sends a byte now and then.
    Drips,
    /// It sends this again and again.
    Floods(Vec<u8>),
    /// It reads nothing.
    ReadsNothing,
    /// It reads a byte now and then.
    ReadsDrops,
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
    /// GOAWAY with ENHANCE_YOUR_CALM.
    Calmed,
    /// The same where it was quick enough; else, as for everybody who asks for nothing, GOAWAY without an error.
    Dismissed,
}

#[derive(Clone)]
struct Attack {
    name: &'static str,
    sockets: usize,
    door: Door,
    begins: Vec<u8>,
    then: Then,
    end: End,
    /// Which count of the status has each of its sockets.
    counted: Option<&'static str>,
    /// How many were told to calm down.
    calmed: Arc<AtomicUsize>,
}

/// All of them, with so many sockets for each that sends as much as is read.
fn attacks(bombs: usize) -> Vec<Attack> {
    let head = |method: &str, field: &str| {
        format!("{method} /attack HTTP/1.1\r\nHost: localhost\r\n{field}\r\n")
    };
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let chunked = head("POST", "Transfer-Encoding: chunked\r\n");
    let sized = head("POST", "Content-Length: 9999\r\n");
    let attack = |name, begins: &str, then, end, counted| {
        let begins = begins.as_bytes().to_vec();
        let sockets = if matches!(then, Then::Floods(_)) { bombs } else { SOCKETS };
        let calmed = Arc::default();
        Attack { name, sockets, door: Door::Http, begins, then, end, counted, calmed }
    };
    // So much at once that bombs are over soon.
    let floods = |piece: &str| Then::Floods(piece.repeat(8192 / piece.len()).into());
    let frames = |name, begins: &[u8], then| Attack {
        begins: [PREFACE, begins].concat(),
        ..attack(name, "", then, End::Calmed, Some("flood"))
    };
    let useless = |name, frame: &[u8]| Attack {
        end: End::Dismissed,
        counted: None,
        ..frames(name, &[], Then::Floods(frame.repeat(8192 / frame.len())))
    };
    let taken_back = (1..400_u32).step_by(2).flat_map(|stream| {
        let reset = frame(3, 0, stream, &8_u32.to_be_bytes());
        [frame(1, 0x5, stream, GET_ROOT), reset].concat()
    });
    let hello = "\x16\x03\x01\x02\0\x01\0\x01\u{7c}\x03\x03";
    let (told, malformed) = (End::Told, Some("malformed"));
    vec![
        attack(
            "heads by the byte",
            "GET /a HTTP/1.1\r\nHost: ",
            Then::Drips,
            told("408"),
            Some("slow"),
        ),
        attack("bodies by the byte", &sized, Then::Drips, told("408"), None),
        attack("bodies that stop", &sized, Then::Waits, told("408"), None),
        attack("silence", "", Then::Waits, End::Closed, None),
        attack("silence after a request", &get("/public/page.txt"), Then::Waits, told("200"), None),
        Attack {
            door: Door::Https,
            ..attack("silence with TLS", "", Then::Waits, End::Closed, Some("handshake"))
        },
        Attack {
            door: Door::Https,
            ..attack("half a handshake", hello, Then::Waits, End::Closed, Some("handshake"))
        },
        attack(
            "a head without end",
            "GET /attack HTTP/1.1\r\nHost: localhost\r\n",
            floods("X-Field: 0123456789\r\nX-Other: 0123456789\r\n"),
            told("431"),
            malformed,
        ),
        attack(
            "a field without end",
            "GET /attack HTTP/1.1\r\nHost: localhost\r\nX-Field: ",
            floods("0123456789abcdef"),
            told("431"),
            malformed,
        ),
        attack("a target without end", "GET /", floods("0123456789abcdef"), told("414"), malformed),
        attack(
            "chunks of one byte without end",
            &chunked,
            floods("1\r\na\r\n1\r\nb\r\n"),
            told("413"),
            None,
        ),
        attack(
            "a chunk extension without end",
            &format!("{chunked}1;"),
            floods("a=b;a=b;a=b;a=b;"),
            told("400"),
            None,
        ),
        attack(
            "trailers without end",
            &format!("{chunked}0\r\n"),
            floods("X-Field: 0123456789\r\n"),
            told("400"),
            None,
        ),
        Attack {
            sockets: bombs,
            ..frames("requests taken back", &taken_back.collect::<Vec<_>>(), Then::Waits)
        },
        frames(
            "a head of HTTP/2 without end",
            &frame(1, 0x1, 1, GET_ROOT),
            Then::Floods(frame(9, 0, 1, b"").repeat(100)),
        ),
        useless("pings without end", &frame(6, 0, 0, b"01234567")),
        useless("settings without end", &frame(4, 0, 0, b"\0\x03\0\0\0\x64")),
        useless("windows without end", &frame(8, 0, 0, b"\0\0\0\x01")),
        // What they do not read is more than the kernel takes for them.
        Attack {
            sockets: bombs,
            ..attack(
                "readers who do not read",
                &get("/public/large"),
                Then::ReadsNothing,
                End::Cut,
                None,
            )
        },
        Attack {
            sockets: bombs,
            ..attack("readers by the byte", &get("/public/large"), Then::ReadsDrops, End::Cut, None)
        },
        Attack {
            sockets: 16,
            ..attack(
                "readers who do not read Python",
                &get("/large"),
                Then::ReadsNothing,
                End::Cut,
                None,
            )
        },
    ]
}

/// A frame of HTTP/2 (RFC 9113 §4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let size = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&size[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

impl Attack {
    /// Attacks from an address of its own until every socket has met its end; what became of those that did not meet the
    /// expected one.
    async fn run(self, address: SocketAddr, from: IpAddr) -> Vec<String> {
        let (attack, begun) = (Arc::new(self), Instant::now());
        let connecting = Arc::new(Semaphore::new(200));
        let mut sockets = JoinSet::new();
        for _ in 0..attack.sockets {
            let (attack, connecting) = (Arc::clone(&attack), Arc::clone(&connecting));
            sockets.spawn(async move {
                let ready = connecting.acquire().await.unwrap();
                let stream = attack.connect(address, from).await;
                drop(ready);
                attack.meet(stream).await
            });
        }
        let surprises = timeout(PATIENCE, sockets.join_all()).await;
        let surprises = surprises.unwrap_or_else(|_| panic!("{} does not end", attack.name));
        eprintln!(
            "{} sockets, {:.1} s: {}",
            attack.sockets,
            begun.elapsed().as_secs_f32(),
            attack.name
        );
        surprises.into_iter().flatten().map(|told| format!("{}: {told}", attack.name)).collect()
    }

    async fn connect(&self, address: SocketAddr, from: IpAddr) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        if matches!(self.end, End::Cut) {
            socket.set_recv_buffer_size(1).unwrap();
        }
        socket.bind((from, 0).into()).unwrap();
        socket.connect(address).await.unwrap()
    }

    /// What one socket met that it was not to.
    async fn meet(&self, mut stream: TcpStream) -> Option<String> {
        // Where the other side has had enough already it takes no more.
        let _ = stream.write_all(&self.begins).await;
        if matches!(self.end, End::Cut) {
            return self.is_cut(&mut stream).await;
        }
        let (mut reader, mut writer) = stream.split();
        let mut told = Vec::new();
        let mut going_on = pin!(self.go_on(&mut writer));
        while !self.has_enough(&mut told) {
            let read = tokio::select! {
                read = reader.read_buf(&mut told) => read,
                never = going_on.as_mut() => match never {},
            };
            if !matches!(read, Ok(1..)) {
                break;
            }
        }
        // What was said before a reset counts too.
        let _ = reader.read_to_end(&mut told).await;
        let is_expected = match self.end {
            End::Told(status) => {
                let expected = format!("HTTP/1.1 {status} ");
                let text = String::from_utf8_lossy(&told);
                text.starts_with(&expected) && text.matches("HTTP/1.1 ").count() == 1
            }
            End::Closed | End::Cut => told.is_empty(),
            End::Calmed => goodbye(&mut told) == Some(CALM),
            End::Dismissed => {
                let ending = goodbye(&mut told);
                self.calmed.fetch_add(usize::from(ending == Some(CALM)), Ordering::Relaxed);
                matches!(ending, Some(CALM | 0))
            }
        };
        (!is_expected).then(|| format!("{:.80}", told.escape_ascii().to_string()))
    }

    /// Whether a socket that was told this goes on no more.
    fn has_enough(&self, told: &mut Vec<u8>) -> bool {
        match self.end {
            End::Calmed | End::Dismissed => goodbye(told).is_some(),
            End::Told(_) | End::Closed | End::Cut => !told.is_empty(),
        }
    }

    async fn go_on(&self, writer: &mut WriteHalf<'_>) -> std::convert::Infallible {
        loop {
            let piece = match &self.then {
                Then::Waits | Then::ReadsNothing | Then::ReadsDrops => std::future::pending().await,
                Then::Drips => {
                    sleep(DRIP).await;
                    b"a"
                }
                Then::Floods(piece) => {
                    sleep(SURGE).await;
                    &piece[..]
                }
            };
            if writer.write_all(piece).await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Waits for a reset. Where more was on its way than there is room for, the kernel throws the first one away: what comes for
    /// a connection that is no more is answered by another.
    async fn is_cut(&self, stream: &mut TcpStream) -> Option<String> {
        let mut drop = [0];
        loop {
            match stream.try_write(b"\r\n") {
                Err(error) if error.kind() != ErrorKind::WouldBlock => return None,
                _ => {}
            }
            sleep(DRIP / 10).await;
            if matches!(self.then, Then::ReadsDrops) {
                match stream.try_read(&mut drop) {
                    Ok(0) => return Some("an end that looks whole".to_owned()),
                    Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                        return None;
                    }
                    _ => {}
                }
            }
        }
    }
}

/// The code of the GOAWAY among frames of HTTP/2, those before which it takes out; `None`: there is none yet.
fn goodbye(frames: &mut Vec<u8>) -> Option<u32> {
    const GOAWAY: u8 = 7;
    let mut rest = &frames[..];
    let code = loop {
        let Some((head, behind)) = rest.split_at_checked(9) else { break None };
        let size = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let Some((payload, behind)) = behind.split_at_checked(usize::try_from(size).unwrap())
        else {
            break None;
        };
        if head[3] == GOAWAY {
            break Some(u32::from_be_bytes(payload.get(4..8)?.try_into().unwrap()));
        }
        rest = behind;
    };
    frames.drain(..frames.len() - rest.len());
    code
}

/// Attacks that go together: so many sockets that the engine has places for all of them, two descriptors each.
fn turns(attacks: Vec<Attack>) -> Vec<Vec<Attack>> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
    let all = limit.current.map_or(usize::MAX, |all| usize::try_from(all).unwrap());
    // Those of a turn that is over may still be on their way out.
    let fit = (all / 5 * 2).saturating_sub(200).min(10_000);
    if fit < SOCKETS {
        eprintln!("only {fit} sockets in each attack: this machine allows no more (ulimit -Hn)");
    }
    let mut turns: Vec<Vec<Attack>> = Vec::new();
    let mut left = 0;
    for attack in attacks {
        let sockets = attack.sockets.min(fit);
        if sockets > left {
            turns.push(Vec::new());
            left = fit;
        }
        left -= sockets;
        turns.last_mut().unwrap().push(Attack { sockets, ..attack });
    }
    turns
}

#[test]
fn every_attack_ends_by_itself_and_an_ordinary_client_never_notices() {
    hold_off(attacks(FEW));
}

#[test]
#[ignore = "takes minutes of two cores: cargo nextest run -p onebox --run-ignored only held_off"]
fn two_thousand_sockets_of_every_attack_are_held_off() {
    hold_off(attacks(SOCKETS));
}

fn hold_off(attacks: Vec<Attack>) {
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
    let turns = turns(attacks);
    let visitors = Poller::start(appliance.http, "localhost", "/");
    let (http, https) = (appliance.http, appliance.https.unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut surprises = Vec::new();
    for turn in &turns {
        let mut running = JoinSet::new();
        let _entered = runtime.enter();
        for (attack, last) in turn.iter().zip(1..) {
            let address = match attack.door {
                Door::Http => http,
                Door::Https => https,
            };
            running.spawn(attack.clone().run(address, Ipv4Addr::new(127, 0, 1, last).into()));
        }
        surprises.extend(runtime.block_on(running.join_all()).into_iter().flatten());
    }
    assert_eq!(surprises, [""; 0]);
    let tally = visitors.all_well();
    assert_eq!(tally.bodies.len(), 1, "{:?}", tally.bodies);
    eprintln!("{:?}: the longest wait of an ordinary client", tally.longest);
    // None of them got as far as the application but the one whose request was whole.
    assert_eq!(harness::get(http, "localhost", "/asked").text(), "/ /large");
    for reason in ["slow", "handshake", "malformed", "flood"] {
        let sockets = turns.iter().flatten().filter(|attack| attack.counted == Some(reason));
        let expected: usize = sockets.map(|attack| attack.sockets).sum();
        let calmed = turns.iter().flatten().filter(|_| reason == "flood");
        let calmed = calmed.map(|attack| attack.calmed.load(Ordering::Relaxed)).sum::<usize>();
        let expected = expected + calmed;
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
