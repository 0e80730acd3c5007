//! Whether a release answers: one request over the engine's private socket, through the same path as traffic.
//!
//! Owns the verdict (DESIGN section 8) and its words. Must not know how the release was started or is switched to.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use onebox_config::site::HealthCheck;
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep, timeout_at};

use super::plan::Kind;

/// How much of an unhealthy answer is read.
const BODY_BYTES: usize = 64 * 1024;
/// Between two attempts to connect to an engine that is still starting.
const PAUSE: Duration = Duration::from_millis(50);

/// Whom to ask.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Probe<'a> {
    /// The engine's private socket.
    pub(crate) socket: &'a Path,
    /// `Host`: the site's first domain, else `localhost`.
    pub(crate) host: &'a str,
    /// What the site is, for the hint.
    pub(crate) kind: Kind,
    /// Its name, for the hint.
    pub(crate) site: &'a str,
}

/// Why a release is not healthy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub(crate) struct HealthFailure {
    /// What it answered; `None` when there was no answer.
    pub(crate) status: Option<u16>,
    /// In a sentence.
    pub(crate) reason: String,
    /// What to do; may be empty.
    pub(crate) hint: String,
}

/// Asks once, waiting up to the check's timeout for the engine to listen and the application to answer.
///
/// # Errors
/// When the answer is not a healthy one, or none came.
pub(crate) async fn check(probe: &Probe<'_>, check: &HealthCheck) -> Result<(), HealthFailure> {
    let deadline = Instant::now() + check.timeout;
    let stream = loop {
        match UnixStream::connect(probe.socket).await {
            Ok(stream) => break stream,
            Err(error) if Instant::now() + PAUSE >= deadline => {
                return Err(no_answer(probe, format!("the engine does not listen: {error}")));
            }
            Err(_) => sleep(PAUSE).await,
        }
    };
    match timeout_at(deadline, ask(stream, probe.host, &check.path)).await {
        Err(_) => Err(no_answer(
            probe,
            format!("GET {} was not answered within {:?}", check.path, check.timeout),
        )),
        Ok(Err(error)) => Err(no_answer(probe, format!("GET {}: {error}", check.path))),
        Ok(Ok(answer)) => judge(probe, check, &answer),
    }
}

/// An answer: its status and the beginning of its body.
struct Answer {
    status: StatusCode,
    body: Bytes,
}

async fn ask(
    stream: UnixStream,
    host: &str,
    path: &str,
) -> Result<Answer, Box<dyn std::error::Error + Send + Sync>> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::get(path)
        .header(header::HOST, host)
        .header(header::USER_AGENT, "onebox-health-check")
        .header(header::ACCEPT, "*/*")
        .body(Empty::<Bytes>::new())?;
    let exchange = async {
        let response = sender.send_request(request).await?;
        let (head, body) = response.into_parts();
        let body = match Limited::new(body, BODY_BYTES).collect().await {
            Ok(body) => body.to_bytes(),
            // Too long or cut off: the status is the verdict.
            Err(_) => Bytes::new(),
        };
        Ok(Answer { status: head.status, body })
    };
    // The connection is driven here and ends with the question: no task is left behind.
    let mut connection = std::pin::pin!(connection);
    let mut exchange = std::pin::pin!(exchange);
    tokio::select! {
        biased;
        answer = &mut exchange => answer,
        ended = &mut connection => match ended {
            Ok(()) => exchange.await,
            Err(error) => Err(error.into()),
        },
    }
}

fn judge(probe: &Probe<'_>, check: &HealthCheck, answer: &Answer) -> Result<(), HealthFailure> {
    let status = answer.status.as_u16();
    let is_healthy = if check.status.is_empty() {
        status < 500 && status != 400
    } else {
        check.status.contains(&status)
    };
    if is_healthy {
        return Ok(());
    }
    let reason = format!("GET {} answered {status}", check.path);
    let hint = match (status, probe.kind) {
        (400, Kind::Django) => format!(
            "Django answers 400 to hosts outside ALLOWED_HOSTS; the check asked for {host}. Add to the settings: \
             ALLOWED_HOSTS = [\"{host}\"]",
            host = probe.host
        ),
        (502..=504, Kind::Proxied) => {
            "no server of its [[upstream]] answers: are they running, and may they be reached from here?"
                .to_owned()
        }
        (500.., _) => format!("the traceback is in `onebox logs {}`", probe.site),
        _ if !check.status.is_empty() => {
            format!("[health] status in onebox.toml allows {:?}", check.status)
        }
        _ => "another address can be asked: path = \"/…\" under [health] in onebox.toml".to_owned(),
    };
    let reason = match title(&answer.body) {
        Some(title) => format!("{reason}: {title}"),
        None => reason,
    };
    Err(HealthFailure { status: Some(status), reason, hint })
}

/// The title of an error page, which is where Django and Werkzeug put the exception.
fn title(body: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(body);
    let (_, rest) = text.split_once("<title>")?;
    let (title, _) = rest.split_once("</title>")?;
    let words: Vec<&str> = title.split_whitespace().collect();
    let title = words.join(" ");
    (!title.is_empty() && title.len() <= 200).then_some(title)
}

fn no_answer(probe: &Probe<'_>, reason: String) -> HealthFailure {
    let hint = format!("`onebox logs {}` may say what it is waiting for", probe.site);
    HealthFailure { status: None, reason, hint }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixListener;

    async fn probe_answering(
        answer: &'static str,
        kind: Kind,
        statuses: &[u16],
    ) -> (Result<(), HealthFailure>, String) {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("probe.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                request.push(stream.read_u8().await.unwrap());
            }
            stream.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8(request).unwrap()
        });
        let health = HealthCheck {
            path: "/up".to_owned(),
            status: statuses.to_vec(),
            timeout: Duration::from_secs(20),
        };
        let probe = Probe { socket: &socket, host: "blog.example.com", kind, site: "blog" };
        (check(&probe, &health).await, server.await.unwrap())
    }

    #[tokio::test]
    async fn a_redirect_or_a_404_is_healthy() {
        for answer in [
            "HTTP/1.1 302 Found\r\nlocation: /x\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\nno",
        ] {
            let (verdict, request) = probe_answering(answer, Kind::Flask, &[]).await;
            assert_eq!(verdict, Ok(()));
            assert!(request.starts_with("GET /up HTTP/1.1\r\n"), "{request}");
            assert!(request.contains("host: blog.example.com\r\n"), "{request}");
        }
    }

    #[tokio::test]
    async fn a_400_of_django_names_allowed_hosts_and_the_line_to_add() {
        let answer =
            "HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n<title>Bad Request (400)</title>";
        let (verdict, _) = probe_answering(answer, Kind::Django, &[]).await;
        let failure = verdict.unwrap_err();
        assert_eq!(failure.status, Some(400));
        assert!(
            failure.hint.contains("ALLOWED_HOSTS = [\"blog.example.com\"]"),
            "{}",
            failure.hint
        );
    }

    #[tokio::test]
    async fn a_500_points_to_the_logs() {
        let answer = "HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n";
        let failure = probe_answering(answer, Kind::Wsgi, &[]).await.0.unwrap_err();
        assert_eq!(failure.reason, "GET /up answered 500");
        assert!(failure.hint.contains("onebox logs blog"));
    }

    #[tokio::test]
    async fn the_configured_statuses_narrow_what_is_healthy() {
        let answer = "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n";
        let failure = probe_answering(answer, Kind::Wsgi, &[200]).await.0.unwrap_err();
        assert!(failure.hint.contains("[200]"), "{}", failure.hint);
    }

    #[tokio::test]
    async fn an_engine_that_hangs_up_is_a_failure() {
        let failure = probe_answering("", Kind::Wsgi, &[]).await.0.unwrap_err();
        assert_eq!(failure.status, None);
    }

    #[tokio::test]
    async fn an_engine_that_never_listens_is_a_failure_after_the_timeout() {
        let health = HealthCheck {
            path: "/".to_owned(),
            status: Vec::new(),
            timeout: Duration::from_millis(120),
        };
        let socket = Path::new("/nonexistent/probe.sock");
        let probe = Probe { socket, host: "localhost", kind: Kind::Wsgi, site: "blog" };
        let failure = check(&probe, &health).await.unwrap_err();
        assert!(failure.reason.contains("does not listen"), "{}", failure.reason);
    }
}
