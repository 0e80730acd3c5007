//! Messages that two readers could take for two things, by every way in and to every way behind: each is refused, or what arrives
//! is one unambiguous message, looked at byte by byte. Here stand some of each kind; the long lists of what is refused at the door
//! are `http1/corpus_test` and, for HTTP/2, `http2_frames.py` of the black-box suite.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use onebox_proxy::{Backend, RouteTable, Site};
use onebox_uwsgi::{PacketHeader, Piece, ResponseHead, Vars, channel};

use common::Server;

/// How long anything may take that is not measured.
const DEADLINE: Duration = Duration::from_secs(60);

/// Behind each message of HTTP/1: whoever took the message for a longer or a shorter one does not see this.
const NEXT: &str = "GET /next HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n";
const NEXT_SEEN: &str = "GET /next a.example  \"\"";

/// What stands behind the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Behind {
    Memory,
    Http,
    Uwsgi,
    FastCgi,
}

const ALL: [Behind; 4] = [Behind::Memory, Behind::Http, Behind::Uwsgi, Behind::FastCgi];

/// A proxy in front of somebody who notes what arrives.
struct Front {
    server: Server,
    arrived: Arc<Mutex<Vec<String>>>,
}

impl Front {
    /// In front of somebody who gives this answer: as HTTP, without the status line over FastCGI.
    fn new(behind: Behind, answer: &str) -> Self {
        let arrived = Arc::new(Mutex::new(Vec::new()));
        let (backend, config) = match behind {
            Behind::Memory => (memory(Arc::clone(&arrived)), String::new()),
            Behind::Http | Behind::Uwsgi | Behind::FastCgi => {
                let server = recorder(behind, Arc::clone(&arrived), answer.to_owned());
                let scheme = format!("{behind:?}").to_lowercase();
                // No folder is seen from here, so that every path is the script's.
                let root = if behind == Behind::FastCgi { "root = '/nowhere'\n" } else { "" };
                let to = format!("[[upstream]]\nto = '{scheme}://{server}'\n{root}");
                (Backend::None, to)
            }
        };
        let server = Server::start();
        let site = Site { backend, ..server.site("site", &config) };
        server.proxy.set_routes(RouteTable::new(vec![site]));
        Self { server, arrived }
    }

    /// What has arrived since the last look.
    fn arrived(&self) -> Vec<String> {
        std::mem::take(&mut self.arrived.lock().unwrap())
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.server.address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream
    }

    /// What is answered to these bytes, to the end of the connection.
    fn ask(&self, message: &[u8]) -> String {
        let mut stream = self.connect();
        stream.write_all(message).unwrap();
        let mut said = Vec::new();
        stream.read_to_end(&mut said).unwrap();
        String::from_utf8_lossy(&said).into_owned()
    }
}

const ANSWER: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// A message as all ways behind have it: method, target, host, the fields that begin with X, the body. What frames it is checked.
fn described(
    [method, target, host]: [&str; 3],
    fields: &mut dyn Iterator<Item = (String, String)>,
    body: &[u8],
) -> String {
    const OURS: [&str; 2] = ["x-request-id", "x-real-ip"];
    let is_sent = |name: &str| {
        name.starts_with("x-") && !name.starts_with("x-forwarded-") && !OURS.contains(&name)
    };
    let mut sent: Vec<_> = fields
        .inspect(|(name, value)| {
            let has_control = |text: &str| text.bytes().any(|byte| byte < b' ' || byte == 0x7f);
            assert!(!has_control(name) && !has_control(value), "{name:?}: {value:?}");
        })
        .filter(|(name, _)| is_sent(name))
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    sent.sort();
    format!("{method} {target} {host} {} \"{}\"", sent.join(","), body.escape_ascii())
}

fn of_vars<'v>(vars: impl Iterator<Item = (&'v [u8], &'v [u8])>, body: &[u8]) -> String {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let vars: Vec<_> = vars.map(|(name, value)| (text(name), text(value))).collect();
    let one = |name: &str| {
        let mut found = vars.iter().filter(|(known, _)| known == name);
        let value = found.next().map_or("", |(_, value)| value);
        assert!(found.next().is_none(), "{name} stands twice in {vars:?}");
        value
    };
    assert_eq!(one("HTTP_TRANSFER_ENCODING"), "");
    assert_eq!(one("CONTENT_LENGTH").parse().unwrap_or(0), body.len());
    let fields = vars.iter().filter_map(|(name, value)| {
        let name = name.strip_prefix("HTTP_")?;
        Some((name.to_lowercase().replace('_', "-"), value.clone()))
    });
    let line = [one("REQUEST_METHOD"), one("REQUEST_URI"), one("HTTP_HOST")];
    described(line, &mut { fields }, body)
}

/// The application at the other end of the memory channel.
fn memory(arrived: Arc<Mutex<Vec<String>>>) -> Backend {
    let (connector, backlog) = channel(64);
    std::thread::spawn(move || {
        while let Some(mut job) = backlog.receive() {
            let mut body = Vec::new();
            job.request.body.into_reader().unwrap().read_to_end(&mut body).unwrap();
            arrived.lock().unwrap().push(of_vars(job.request.vars.iter(), &body));
            let head = Some(ResponseHead { status: 200, ..ResponseHead::default() });
            // A client that left is no failure of the fixture.
            let _ = job.sink.push(Piece { head, data: Bytes::from_static(b"ok"), last: true });
        }
    });
    Backend::Memory(connector)
}

/// A server that notes each message, gives its answer, and goes on where its protocol does.
fn recorder(behind: Behind, arrived: Arc<Mutex<Vec<String>>>, answer: String) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let (arrived, answer) = (Arc::clone(&arrived), answer.clone());
            std::thread::spawn(move || {
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                while let Some((message, frame)) = match behind {
                    Behind::Uwsgi => read_uwsgi(&mut reader),
                    Behind::FastCgi => read_fastcgi(&mut reader),
                    Behind::Http | Behind::Memory => read_http(&mut reader),
                } {
                    arrived.lock().unwrap().push(message);
                    (&stream).write_all(&frame(answer.as_bytes())).ok();
                    if behind != Behind::Http || answer != ANSWER {
                        return;
                    }
                }
            });
        }
    });
    address
}

/// A message, and how its answer is framed.
type Noted = (String, fn(&[u8]) -> Vec<u8>);

/// Strictly: whatever is no message of RFC 9112 to the byte is noted as that.
fn read_http(reader: &mut impl BufRead) -> Option<Noted> {
    let plain: fn(&[u8]) -> Vec<u8> = <[u8]>::to_vec;
    let first = line(reader)?;
    let [method, target, "HTTP/1.1"] = first.split(' ').collect::<Vec<_>>()[..] else {
        return Some((format!("no request line: {first:?}"), plain));
    };
    let (mut fields, mut hosts, mut framing) = (Vec::new(), Vec::new(), Vec::new());
    while let Some(field) = line(reader).filter(|line| !line.is_empty()) {
        let (name, value) = field.split_once(": ").expect("a name and a value");
        let name = name.to_lowercase();
        assert!(!name.contains(' '), "{field:?}");
        match name.as_str() {
            "host" => hosts.push(value.to_owned()),
            "content-length" | "transfer-encoding" => framing.push(value.to_owned()),
            _ => fields.push((name, value.to_owned())),
        }
    }
    let [host] = &hosts[..] else { panic!("hosts: {hosts:?}") };
    let mut body = Vec::new();
    match &framing[..] {
        [] => {}
        [coding] if coding == "chunked" => loop {
            let size = usize::from_str_radix(&line(reader).unwrap(), 16).unwrap();
            let mut chunk = vec![0; size];
            reader.read_exact(&mut chunk).unwrap();
            body.extend(chunk);
            assert_eq!(line(reader).unwrap(), "");
            if size == 0 {
                break;
            }
        },
        [length] => {
            body.resize(length.parse().unwrap(), 0);
            reader.read_exact(&mut body).unwrap();
        }
        several => panic!("framed by {several:?}"),
    }
    Some((described([method, target, host], &mut fields.into_iter(), &body), plain))
}

/// A line without its end, which is CRLF; `None` at the end of the connection.
fn line(reader: &mut impl BufRead) -> Option<String> {
    let mut line = Vec::new();
    reader.read_until(b'\n', &mut line).unwrap();
    let text = String::from_utf8(line).unwrap();
    if text.is_empty() {
        return None;
    }
    Some(text.strip_suffix("\r\n").expect("a line ends with CRLF").to_owned())
}

fn read_uwsgi(reader: &mut impl BufRead) -> Option<Noted> {
    let mut header = [0; PacketHeader::LEN];
    reader.read_exact(&mut header).ok()?;
    let mut block = vec![0; usize::from(PacketHeader::decode(header).datasize)];
    reader.read_exact(&mut block).unwrap();
    let vars = Vars::decode(block).unwrap();
    let length = vars.get(b"CONTENT_LENGTH").unwrap_or_default();
    let size = String::from_utf8_lossy(length).parse().unwrap_or(0);
    let mut body = vec![0; size];
    reader.read_exact(&mut body).unwrap();
    Some((of_vars(vars.iter(), &body), <[u8]>::to_vec))
}

/// FastCGI 1.0, §3.3: version, type, id, size, padding; then the content.
fn read_fastcgi(reader: &mut impl BufRead) -> Option<Noted> {
    const STDIN: u8 = 5;
    let (mut params, mut body) = (Vec::new(), Vec::new());
    loop {
        let mut header = [0; 8];
        reader.read_exact(&mut header).ok()?;
        let [_, kind, _, _, high, low, padding, _] = header;
        let size = usize::from(u16::from_be_bytes([high, low]));
        let mut content = vec![0; size + usize::from(padding)];
        reader.read_exact(&mut content).unwrap();
        content.truncate(size);
        match kind {
            4 => params.extend(content),
            STDIN if size == 0 => break,
            STDIN => body.extend(content),
            _ => {}
        }
    }
    let mut rest = &params[..];
    let mut vars = Vec::new();
    while !rest.is_empty() {
        let (name, value) = (size(&mut rest), size(&mut rest));
        let (pair, others) = rest.split_at(name + value);
        vars.push(pair.split_at(name));
        rest = others;
    }
    Some((of_vars(vars.into_iter(), &body), as_fastcgi))
}

/// The size of a name or of a value.
fn size(params: &mut &[u8]) -> usize {
    let mut first = [0];
    params.read_exact(&mut first).unwrap();
    if first[0] < 0x80 {
        return first[0].into();
    }
    let mut more = [0; 3];
    params.read_exact(&mut more).unwrap();
    let size = u32::from_be_bytes([first[0] & 0x7f, more[0], more[1], more[2]]);
    size.try_into().unwrap()
}

/// `STDOUT` with the answer but for its status line, and `END_REQUEST`.
fn as_fastcgi(answer: &[u8]) -> Vec<u8> {
    let record = |kind: u8, content: &[u8]| {
        let [high, low] = u16::try_from(content.len()).unwrap().to_be_bytes();
        [&[1, kind, 0, 1, high, low, 0, 0], content].concat()
    };
    let line = answer.windows(2).position(|end| end == b"\r\n").map_or(0, |at| at + 2);
    [record(6, &answer[line..]), record(6, b""), record(3, &[0; 8])].concat()
}

/// What becomes of a message.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Refused(u16),
    /// It arrives as that.
    Arrives(&'static str),
}

use Fate::{Arrives, Refused};

/// The head of a request, and what stands behind it.
fn post(fields: &str, body: &str) -> String {
    format!("POST /x HTTP/1.1\r\nHost: a.example\r\n{fields}\r\n{body}")
}

#[rustfmt::skip]
fn messages() -> Vec<(&'static str, String, Fate)> {
    let get = |line: &str, fields: &str| format!("{line}\r\n{fields}\r\n");
    let host = "Host: a.example\r\n";
    let chunks = |body: &str| post("Transfer-Encoding: chunked\r\n", body);
    vec![
        ("a length", post("Content-Length: 3\r\n", "abc"), Arrives("POST /x a.example  \"abc\"")),
        ("a request as body", post("Content-Length: 28\r\n", "GET /evil HTTP/1.1\r\nX: y\r\n\r\n"), Arrives(r#"POST /x a.example  "GET /evil HTTP/1.1\r\nX: y\r\n\r\n""#)),
        ("chunks with extensions and trailers", chunks("1;a=\"x\";b\r\na\r\n2;c\r\nbc\r\n0\r\nX-Trailer: 1\r\nContent-Length: 9\r\n\r\n"), Arrives("POST /x a.example  \"abc\"")),
        ("chunks that hold the end of chunks", chunks("5\r\n0\r\n\r\n\r\n0\r\n\r\n"), Arrives(r#"POST /x a.example  "0\r\n\r\n""#)),
        ("both framings", post("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), Refused(400)),
        ("both framings, the other way", post("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", "0\r\n\r\n"), Refused(400)),
        ("two lengths", post("Content-Length: 3\r\nContent-Length: 0\r\n", "abc"), Refused(400)),
        ("a list of lengths", post("Content-Length: 3, 0\r\n", "abc"), Refused(400)),
        ("a length with a sign", post("Content-Length: +3\r\n", "abc"), Refused(400)),
        ("chunked twice", post("Transfer-Encoding: chunked, chunked\r\n", "0\r\n\r\n"), Refused(400)),
        ("chunked and something else", post("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", "0\r\n\r\n"), Refused(400)),
        ("another coding", post("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"), Refused(501)),
        ("a coding behind a tab", post("Transfer-Encoding:\tchunked\r\n", "3\r\nabc\r\n0\r\n\r\n"), Arrives("POST /x a.example  \"abc\"")),
        ("a coding behind a vertical tab", post("Transfer-Encoding: \x0bchunked\r\n", "0\r\n\r\n"), Refused(400)),
        ("a coding with a blank before its colon", post("Transfer-Encoding : chunked\r\n", "0\r\n\r\n"), Refused(400)),
        ("a folded coding", post("Transfer-Encoding:\r\n chunked\r\n", "0\r\n\r\n"), Refused(400)),
        ("a coding in a folded field", post("X-A: b\r\n\tTransfer-Encoding: chunked\r\n", ""), Refused(400)),
        ("a coding behind a bare LF", post("X-A: b\nTransfer-Encoding: chunked\r\n", ""), Refused(400)),
        ("a coding behind a bare CR", post("X-A: b\rTransfer-Encoding: chunked\r\n", ""), Refused(400)),
        ("a coding in 1.0", "POST /x HTTP/1.0\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(), Refused(400)),
        ("a head that ends with bare LFs", "GET /x HTTP/1.1\nHost: a.example\n\n".to_owned(), Refused(400)),
        ("a bare LF in an extension", chunks("1;a\nb\r\na\r\n0\r\n\r\n"), Refused(400)),
        ("a chunk that ends with a bare LF", chunks("1\r\na\n0\r\n\r\n"), Refused(400)),
        ("a chunk size that overflows", chunks("10000000000000001\r\na\r\n0\r\n\r\n"), Refused(400)),
        ("a chunk that is longer than it says", chunks("1\r\nab\r\n0\r\n\r\n"), Refused(400)),
        ("an absolute target and another Host", get("GET http://b.example/x?q HTTP/1.1", host), Arrives("GET /x?q b.example  \"\"")),
        ("two hosts", get("GET /x HTTP/1.1", &host.repeat(2)), Refused(400)),
        ("a list of hosts", get("GET /x HTTP/1.1", "Host: a.example, b.example\r\n"), Refused(400)),
        ("a host with a path", get("GET /x HTTP/1.1", "Host: a.example/y\r\n"), Refused(400)),
        ("no host", get("GET /x HTTP/1.1", ""), Refused(400)),
        ("a second line in the target", get("GET /x\rX: HTTP/1.1", host), Refused(400)),
        ("a second version in the target", get("GET /x HTTP/1.1 HTTP/1.1", host), Refused(400)),
        ("NUL in a value", get("GET /x HTTP/1.1", &format!("{host}X-A: b\0c\r\n")), Refused(400)),
        ("NUL in a name", get("GET /x HTTP/1.1", &format!("{host}X\0A: b\r\n")), Refused(400)),
        ("a control byte in a name", get("GET /x HTTP/1.1", &format!("{host}X\x01A: b\r\n")), Refused(400)),
        ("a control byte in a value", get("GET /x HTTP/1.1", &format!("{host}X-A: b\x01\r\n")), Refused(400)),
        ("a length with an underscore", get("GET /x HTTP/1.1", &format!("{host}Content_Length: 9\r\nTransfer_Encoding: chunked\r\n")), Arrives("GET /x a.example  \"\"")),
        ("a field that is for us alone", get("GET /x HTTP/1.1", &format!("{host}Connection: X-Hop\r\nX-Hop: 1\r\nX-End: 2\r\n")), Arrives("GET /x a.example x-end=2 \"\"")),
        ("a field in several lines", get("GET /x HTTP/1.1", &format!("{host}X-A: 1\r\n")), Arrives("GET /x a.example x-a=1 \"\"")),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_of_http_1_is_refused_or_arrives_as_one() {
    for behind in ALL {
        let front = Front::new(behind, ANSWER);
        for (name, message, fate) in messages() {
            let answer = front.ask(format!("{message}{NEXT}").as_bytes());
            let answers: Vec<_> =
                answer.split("HTTP/1.1 ").skip(1).map(|answer| answer[..3].to_owned()).collect();
            match fate {
                Refused(status) => {
                    assert_eq!(answers, [status.to_string()], "{name}, {behind:?}: {answer}");
                    assert_eq!(front.arrived(), [""; 0], "{name}, {behind:?}");
                }
                Arrives(seen) => {
                    assert_eq!(front.arrived(), [seen, NEXT_SEEN], "{name}, {behind:?}: {answer}");
                    assert_eq!(answers, ["200", "200"], "{name}, {behind:?}: {answer}");
                }
            }
        }
    }
}

/// A frame of HTTP/2 (RFC 9113 §4.1) of the first request.
fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let [_, sizes @ ..] = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&sizes[..], &[kind, flags, 0, 0, 0, stream], payload].concat()
}

/// Fields as literals that nobody compressed (RFC 7541 §6.2.2).
fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    fields.iter().flat_map(|(name, value)| [vec![0], text(name), text(value)].concat()).collect()
}

type Fields = Vec<(&'static str, &'static str)>;

/// What is asked in HTTP/2, its fields and its body, and as what it arrives, if it does.
#[rustfmt::skip]
fn requests() -> Vec<(&'static str, Fields, &'static str, Option<&'static str>)> {
    let with = |changed: &'static str, value: &'static str| {
        let fields = [(":method", "POST"), (":scheme", "http"), (":authority", "a.example"), (":path", "/x")];
        let mut fields: Vec<_> = fields.map(|(name, own)| (name, if name == changed { value } else { own })).to_vec();
        if !changed.starts_with(':') {
            fields.push((changed, value));
        }
        fields
    };
    vec![
        ("a body without a length", with("x-a", "1"), "abc", Some("POST /x a.example x-a=1 \"abc\"")),
        ("a request as body", with("x-a", "1"), "0\r\n\r\nGET /evil HTTP/1.1\r\n\r\n", Some(r#"POST /x a.example x-a=1 "0\r\n\r\nGET /evil HTTP/1.1\r\n\r\n""#)),
        ("a length", with("content-length", "3"), "abc", Some("POST /x a.example  \"abc\"")),
        ("a length that is too short", with("content-length", "0"), "GET /evil HTTP/1.1\r\n\r\n", None),
        ("a length that is too long", with("content-length", "9"), "abc", None),
        ("a coding", with("transfer-encoding", "chunked"), "0\r\n\r\n", None),
        ("connection", with("connection", "transfer-encoding"), "", None),
        ("a coding in a value", with("x-a", "b\r\ntransfer-encoding: chunked"), "", None),
        ("a coding behind LF in a value", with("x-a", "b\ntransfer-encoding: chunked"), "", None),
        ("a coding behind CR in a value", with("x-a", "b\rtransfer-encoding: chunked"), "", None),
        ("NUL in a value", with("x-a", "b\0c"), "", None),
        ("a coding in a name", with("x-a: b\r\ntransfer-encoding", "chunked"), "", None),
        ("a colon in a name", with("transfer-encoding:", "chunked"), "", None),
        ("a blank in a name", with("transfer-encoding ", "chunked"), "", None),
        ("a name in capitals", with("Transfer-Encoding", "chunked"), "", None),
        ("a request in the method", with(":method", "GET /evil HTTP/1.1\r\nhost: a\r\n\r\nGET"), "", None),
        ("a request in the path", with(":path", "/x HTTP/1.1\r\nhost: a\r\n\r\nGET /evil"), "", None),
        ("a blank in the path", with(":path", "/x HTTP/1.1"), "", None),
        ("a field in the authority", with(":authority", "a.example\r\nx-a: b"), "", None),
        ("a path in the authority", with(":authority", "a.example/evil"), "", None),
        ("another host", with("host", "b.example"), "", None),
        ("a field in the scheme", with(":scheme", "http\r\nx-a: b"), "", None),
        ("a pseudo-field behind others", [with("x-a", "1"), vec![(":path", "/evil")]].concat(), "", None),
        ("an address as scheme", with(":scheme", "http://b.example/evil?"), "", None),
        ("a length with an underscore", with("content_length", "9"), "abc", Some("POST /x a.example  \"abc\"")),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_of_http_2_is_refused_or_arrives_as_one() {
    const HEADERS: u8 = 1;
    const RST_STREAM: u8 = 3;
    const GOAWAY: u8 = 7;
    for behind in ALL {
        let front = Front::new(behind, ANSWER);
        for (name, fields, body, seen) in requests() {
            let mut stream = front.connect();
            let mut message = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
            message.extend(frame(4, 0, 0, b""));
            message.extend(frame(HEADERS, 4, 1, &block(&fields)));
            message.extend(frame(0, 1, 1, body.as_bytes()));
            stream.write_all(&message).unwrap();
            // Its answer, or the end of the request or of the connection.
            loop {
                let mut header = [0; 9];
                if stream.read_exact(&mut header).is_err() {
                    break;
                }
                let size = u32::from_be_bytes([0, header[0], header[1], header[2]]);
                let mut payload = vec![0; usize::try_from(size).unwrap()];
                stream.read_exact(&mut payload).unwrap();
                if [HEADERS, RST_STREAM, GOAWAY].contains(&header[3]) {
                    break;
                }
            }
            let expected: Vec<_> = seen.into_iter().collect();
            assert_eq!(front.arrived(), expected, "{name}, {behind:?}");
        }
        // Whatever was refused is over: nothing of it arrives in front of what comes next.
        assert!(front.ask(NEXT.as_bytes()).starts_with("HTTP/1.1 200 "));
        assert_eq!(front.arrived(), [NEXT_SEEN], "{behind:?}");
    }
}

/// Answers with two meanings; what the client gets has one, or is our 502.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_with_two_meanings_reaches_nobody() {
    let refused = [
        (
            "both framings",
            "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        ),
        ("two lengths", "Content-Length: 2\r\nContent-Length: 20\r\n\r\nok"),
        ("a list of lengths", "Content-Length: 2, 2\r\n\r\nok"),
        ("a length with a sign", "Content-Length: +2\r\n\r\nok"),
        ("another coding", "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
        (
            "chunked twice",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        ("a folded field", "X-A: b\r\n Set-Cookie: evil=1\r\n\r\nok"),
        ("a bare LF", "X-A: b\nSet-Cookie: evil=1\r\n\r\nok"),
        ("a bare CR", "X-A: b\rSet-Cookie: evil=1\r\n\r\nok"),
        ("NUL", "X-A: b\0Set-Cookie: evil=1\r\n\r\nok"),
        ("a blank before a colon", "Set-Cookie : evil=1\r\n\r\nok"),
        ("a blank in a name", "X A: evil\r\n\r\nok"),
        ("a control byte in a name", "X\x01A: evil\r\n\r\nok"),
        ("a line without a colon", "evil\r\n\r\nok"),
    ];
    for behind in [Behind::Http, Behind::Uwsgi, Behind::FastCgi] {
        for (name, rest) in refused {
            let front = Front::new(behind, &format!("HTTP/1.1 200 OK\r\n{rest}"));
            let answer = front.ask(NEXT.as_bytes());
            assert!(answer.starts_with("HTTP/1.1 502 "), "{name}, {behind:?}: {answer}");
            assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{name}, {behind:?}: {answer}");
            assert!(!answer.contains("evil"), "{name}, {behind:?}: {answer}");
        }
        let second = "Content-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
        let front = Front::new(behind, &format!("HTTP/1.1 200 OK\r\n{second}"));
        for _ in 0..2 {
            let answer = front.ask(NEXT.as_bytes());
            assert!(answer.ends_with("\r\n\r\nok"), "a second answer, {behind:?}: {answer}");
        }
    }
    let flood = "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(2000);
    let unasked =
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\nevil";
    for (name, answer) in
        [("a flood of interim answers", flood.as_str()), ("a 101 that nobody asked for", unasked)]
    {
        for behind in [Behind::Http, Behind::Uwsgi] {
            let answer = Front::new(behind, answer).ask(NEXT.as_bytes());
            assert!(
                answer.contains("HTTP/1.1 502 ") && !answer.contains("evil"),
                "{name}, {behind:?}: {answer}"
            );
        }
    }
}
