//! The corpus beside a real nginx: what we take and it refuses needs a reason in [`LAXER`]; `docs/http1-corpus.md` shows both.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::task::JoinSet;

use super::{PROBE, Row, UNFINISHED, rows, statuses};

const NGINX: &str = "/usr/sbin/nginx";
/// With this variable the document is written anew.
const WRITE: &str = "ONEBOX_WRITE_CORPUS";
const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/http1-corpus.md");

/// Messages that we take and nginx does not, and why.
const LAXER: &[(&str, &str)] = &[
    (
        "a method in small letters",
        "a method of its own (RFC 9110 §9.1), which the application judges",
    ),
    ("the method !#$%&'*+-.^_`|~09az", "a token (RFC 9110 §9.1), which the application judges"),
    (
        "an asterisk for OPTIONS",
        "a question about the server itself (RFC 9110 §9.3.7), which it answers",
    ),
    ("a target with marks", "the escape is judged where a path is decoded, behind this parser"),
    ("Chunked in capitals", "a tab is white space around a value (RFC 9110 §5.5)"),
];

/// A real nginx with the paths of the corpus, ended with this value.
struct Nginx {
    child: Child,
    folder: tempfile::TempDir,
}

impl Nginx {
    /// Starts it, where it is installed.
    async fn start() -> Option<Self> {
        if !Path::new(NGINX).exists() {
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().display().to_string();
        std::fs::write(folder.path().join("nginx.conf"), CONFIGURATION.replace("AT", &at)).unwrap();
        let child = Command::new(NGINX)
            .args(["-p", &at, "-c", "nginx.conf", "-e", "error.log"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let nginx = Self { child, folder };
        let started = Instant::now();
        while UnixStream::connect(nginx.socket()).await.is_err() {
            let log = || std::fs::read_to_string(nginx.folder.path().join("error.log"));
            assert!(started.elapsed() < Duration::from_secs(30), "{:?}", log());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Some(nginx)
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("front")
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// `/` reads no body, `/echo` and `/limited` do (their server is behind a proxy), `/close` is the probe.
const CONFIGURATION: &str = "
daemon off; master_process off; pid AT/pid; events { worker_connections 2000; }
http {
  access_log off; client_body_temp_path AT/body; proxy_temp_path AT/proxy;
  fastcgi_temp_path AT/fastcgi; uwsgi_temp_path AT/uwsgi; scgi_temp_path AT/scgi;
  client_header_buffer_size 1k; large_client_header_buffers 4 8k;
  client_header_timeout 2s; client_body_timeout 2s; lingering_timeout 1s; lingering_time 2s;
  proxy_ignore_client_abort on;
  server {
    listen unix:AT/front;
    location / { return 200; }
    location = /echo { proxy_pass http://unix:AT/back; }
    location = /limited { client_max_body_size 10; proxy_pass http://unix:AT/back; }
    location = /close { keepalive_timeout 0; add_header X-Probe yes; return 200; }
  }
  server { listen unix:AT/back; location / { return 200; } }
}
";

/// What nginx answers to a message; without the probe's answer.
async fn ask(socket: PathBuf, row: usize, message: Vec<u8>, half_close: bool) -> (usize, Vec<u16>) {
    let mut stream = UnixStream::connect(socket).await.unwrap();
    // It may answer and close before it has read everything.
    stream.write_all(&message).await.ok();
    if half_close {
        stream.shutdown().await.ok();
    }
    let mut answers = Vec::new();
    stream.read_to_end(&mut answers).await.ok();
    let answers = String::from_utf8_lossy(&answers);
    let mut seen = statuses(&answers);
    if answers.contains("X-Probe") {
        seen.pop();
    }
    (row, seen)
}

async fn ask_all(nginx: &Nginx, messages: Vec<Vec<u8>>, half_close: bool) -> Vec<Vec<u16>> {
    let mut answers = vec![Vec::new(); messages.len()];
    let mut asked = JoinSet::new();
    for (row, message) in messages.into_iter().enumerate() {
        asked.spawn(ask(nginx.socket(), row, message, half_close));
    }
    while let Some(answer) = asked.join_next().await {
        let (row, seen) = answer.unwrap();
        answers[row] = seen;
    }
    answers
}

/// The messages of the corpus with our answers, and those of nginx.
async fn compare(nginx: &Nginx) -> Vec<(String, Vec<u16>, Vec<u16>)> {
    let rows = rows();
    let messages = rows.iter().map(|row| [&row.message, PROBE].concat()).collect();
    let unfinished = UNFINISHED.iter().map(|(_, message, _)| message.to_vec()).collect();
    let (whole, ended) =
        tokio::join!(ask_all(nginx, messages, false), ask_all(nginx, unfinished, true));
    let rows = rows.into_iter().map(|Row { name, answers, .. }| (name, answers));
    let cut = UNFINISHED.iter().map(|(name, _, answers)| (cut_name(name), answers.to_vec()));
    let seen = whole.into_iter().chain(ended);
    rows.chain(cut).zip(seen).map(|((name, ours), seen)| (name, ours, seen)).collect()
}

fn cut_name(name: &str) -> String {
    format!("{name}, then the end")
}

fn taken(answers: &[u16]) -> usize {
    answers.iter().filter(|status| **status < 400).count()
}

#[tokio::test]
async fn what_nginx_refuses_is_refused_or_has_its_reason() {
    let Some(nginx) = Nginx::start().await else {
        eprintln!("skipped: there is no {NGINX}");
        return;
    };
    let compared = compare(&nginx).await;
    let reason = |name: &str| LAXER.iter().find(|(row, _)| *row == name).map(|(_, why)| *why);
    let mut wrong = Vec::new();
    for (name, ours, theirs) in &compared {
        if (taken(ours) > taken(theirs)) != reason(name).is_some() {
            wrong.push(format!("{name}: {ours:?}, nginx {theirs:?}, {:?}", reason(name)));
        }
    }
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(DOCUMENT, document(&compared, reason)).unwrap();
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_document_shows_every_message_as_it_is_answered() {
    let document = std::fs::read_to_string(DOCUMENT).unwrap();
    let lines = rows().into_iter().map(|row| line(&row.name, &row.answers));
    let cut = UNFINISHED.iter().map(|(name, _, answers)| line(&cut_name(name), answers));
    for line in lines.chain(cut) {
        assert!(document.contains(&line), "write it anew with {WRITE}=1: {line}");
    }
}

fn document(
    compared: &[(String, Vec<u16>, Vec<u16>)],
    reason: impl Fn(&str) -> Option<&'static str>,
) -> String {
    let mut text = format!(
        "# HTTP/1.1, message by message\n\n\
         {} raw messages (`crates/proxy/src/http1/corpus_test/`), what onebox answers, and what nginx answers to the same bytes.\n\
         A dash: closed without an answer. Where onebox takes more than nginx, the last column says why.\n\
         Written by `{WRITE}=1 cargo nextest run -p onebox-proxy nginx`; the tests keep it true.\n\n\
         | message | onebox | nginx | |\n|---|---|---|---|\n",
        compared.len()
    );
    for (name, ours, theirs) in compared {
        let note = match taken(ours).cmp(&taken(theirs)) {
            std::cmp::Ordering::Greater => reason(name).unwrap_or_default(),
            std::cmp::Ordering::Less => "stricter",
            std::cmp::Ordering::Equal => "",
        };
        writeln!(text, "{} {} | {note} |", line(name, ours), shown(theirs)).unwrap();
    }
    text
}

fn line(name: &str, ours: &[u16]) -> String {
    // A bar in a name would end its cell.
    format!("| {} | {} |", name.replace('|', "\\|"), shown(ours))
}

fn shown(statuses: &[u16]) -> String {
    match statuses {
        [] => "–".into(),
        [first, .., last] if statuses.len() > 4 && first == last => {
            format!("{first} × {}", statuses.len())
        }
        _ => statuses.iter().map(u16::to_string).collect::<Vec<_>>().join(" "),
    }
}
