//! One request over the uwsgi channel, and its frames as an answer.
//!
//! Must not know which transport carries the frames.

use bytes::Bytes;
use http::Method;
use onebox_metrics::ServedBy;
use onebox_uwsgi::{AbortReason, Request, ResponseFrame, ResponseHead, ResponseStream};
use tokio::time::Instant;

use super::answer_body::{self, AnswerBody};
use crate::error::ProxyError;
use crate::exchange::Exchange;
use crate::http1::is_token;
use crate::lifecycle::Lifecycle;
use crate::message::{Response, ResponseBody};
use crate::route::{Backend, Site};

/// Fails where there is no application that could be asked, before a body is read for it.
///
/// # Errors
/// [`ProxyError::NotFound`] of a static site, else why the application does not run.
pub(crate) fn check_open(site: &Site) -> Result<(), ProxyError> {
    match &site.backend {
        Backend::Memory(_) | Backend::Workers(_) => Ok(()),
        Backend::None => Err(ProxyError::NotFound),
        Backend::Stopped => Err(ProxyError::Stopped),
        Backend::Failed { reason } => Err(ProxyError::Failed(reason.clone())),
    }
}

/// A request for an application, complete.
pub(crate) struct AppRequest<'r> {
    pub(crate) request: Request,
    pub(crate) method: &'r Method,
    pub(crate) lifecycle: &'r Lifecycle,
}

/// The application's answer. It has `harakiri` for it, from here on.
///
/// # Errors
/// [`ProxyError`] where nothing of an answer can be sent. What fails later cuts the body instead.
pub(crate) async fn answer(
    site: &Site,
    asked: AppRequest<'_>,
    exchange: &mut Exchange,
) -> Result<Response, ProxyError> {
    let AppRequest { mut request, method, lifecycle } = asked;
    let begun = Instant::now();
    let deadline = begun + site.harakiri;
    request.deadline = Some(deadline.into_std());
    let mut frames = dispatch(site, request)?;
    let first = tokio::select! {
        biased;
        first = next_before(&mut frames, deadline) => first,
        () = lifecycle.mercy_over(begun, site.reload_mercy) => {
            Some(Some(ResponseFrame::Aborted(AbortReason::Replaced)))
        }
    };
    exchange.application_spoke(frames.taken_at());
    exchange.was_at(frames.worker());
    let head = match first {
        Some(Some(ResponseFrame::Head(head))) => head,
        Some(Some(ResponseFrame::Aborted(AbortReason::Replaced))) => {
            return Err(ProxyError::Replaced(site.reload_mercy));
        }
        // What the app server does to a request past its deadline.
        Some(Some(ResponseFrame::Aborted(_))) if Instant::now() >= deadline => {
            return Err(ProxyError::DeadlineExceeded(site.harakiri));
        }
        Some(Some(ResponseFrame::Aborted(reason))) => return Err(ProxyError::Aborted(reason)),
        Some(_) => return Err(ProxyError::NoHead),
        None => return Err(ProxyError::DeadlineExceeded(site.harakiri)),
    };
    let head = AnswerHead::check(head)?;
    let mut response = Response::new(head.status, head.headers, ResponseBody::Empty);
    response.reason = head.reason;
    if *method == Method::HEAD || matches!(head.status, 204 | 304) {
        response.declared_length = head.content_length.filter(|_| head.status != 204);
    } else {
        let body = AnswerBody::new(frames, head.content_length, deadline);
        response.body = answer_body::begin(body, exchange).await;
    }
    exchange.answered(response.status, ServedBy::App);
    Ok(response)
}

fn dispatch(site: &Site, request: Request) -> Result<ResponseStream, ProxyError> {
    match &site.backend {
        Backend::Memory(connector) => Ok(connector.dispatch(request, site.response)?),
        Backend::Workers(group) => Ok(group.dispatch(request, site.response)?),
        Backend::None | Backend::Stopped | Backend::Failed { .. } => Err(ProxyError::NotFound),
    }
}

/// The next frame; outer `None` where the worker has not given it at the deadline. Frames of an answer that is complete
/// are read however late: then it is the client who is slow, and no thread is held.
pub(super) async fn next_before(
    frames: &mut ResponseStream,
    deadline: Instant,
) -> Option<Option<ResponseFrame>> {
    match tokio::time::timeout_at(deadline, frames.next()).await {
        Ok(frame) => Some(frame),
        Err(_) if frames.is_complete() => Some(frames.next().await),
        Err(_) => None,
    }
}

/// Status and headers of an answer, fit to be sent.
struct AnswerHead {
    status: u16,
    reason: Option<Vec<u8>>,
    headers: Vec<(Bytes, Bytes)>,
    content_length: Option<u64>,
}

impl AnswerHead {
    /// Takes the framing and hop-by-hop headers out, and refuses what would break the framing.
    fn check(head: ResponseHead) -> Result<Self, ProxyError> {
        let broken = |what: &str| {
            ProxyError::Aborted(AbortReason::Application(format!("the application sent {what}")))
        };
        if !(200..=999).contains(&head.status) {
            return Err(broken("an interim status as its answer"));
        }
        let mut headers = Vec::with_capacity(head.headers.len() + 2);
        let mut content_length = None;
        for (name, value) in head.headers {
            if name.is_empty() || !name.iter().copied().all(is_token) {
                return Err(broken("a header whose name is not valid"));
            }
            // RFC 9110 §5.5: these would end the header, and let a value start another one.
            if value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
                return Err(broken("a header with a line break in its value"));
            }
            if name.eq_ignore_ascii_case(b"content-length") {
                let size = parse_size(value.trim_ascii())
                    .filter(|size| content_length.is_none_or(|earlier| earlier == *size));
                content_length =
                    Some(size.ok_or_else(|| broken("a Content-Length that is no size"))?);
            } else if !is_hop_by_hop(&name) {
                headers.push((name.into(), value.into()));
            }
        }
        let printable = |byte: &u8| matches!(byte, b'\t' | b' '..=b'~' | 0x80..);
        let reason = Some(head.reason).filter(|r| !r.is_empty() && r.iter().all(printable));
        Ok(Self { status: head.status, reason, headers, content_length })
    }
}

/// RFC 9110 §7.6.1; PEP 3333 forbids them to applications.
pub(super) fn is_hop_by_hop(name: &[u8]) -> bool {
    const NAMES: [&[u8]; 7] = [
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    ];
    NAMES.iter().any(|hop| name.eq_ignore_ascii_case(hop))
}

pub(super) fn parse_size(text: &[u8]) -> Option<u64> {
    let digits =
        std::str::from_utf8(text).ok().filter(|t| t.bytes().all(|b| b.is_ascii_digit()))?;
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(status: u16, headers: &[(&str, &str)]) -> ResponseHead {
        let headers = headers
            .iter()
            .map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()))
            .collect();
        ResponseHead { status, reason: b"Fine".to_vec(), headers }
    }

    #[test]
    fn framing_and_hop_by_hop_headers_are_taken_out() {
        let headers = [
            ("Content-Length", "5"),
            ("Connection", "close"),
            ("Transfer-Encoding", "chunked"),
            ("X-A", "1"),
            ("Set-Cookie", "a"),
            ("Set-Cookie", "b"),
        ];
        let checked = AnswerHead::check(head(200, &headers)).ok().unwrap();
        assert_eq!(checked.content_length, Some(5));
        assert_eq!(checked.reason.as_deref(), Some(&b"Fine"[..]));
        let names: Vec<_> = checked.headers.iter().map(|(name, _)| &name[..]).collect();
        assert_eq!(names, [&b"X-A"[..], b"Set-Cookie", b"Set-Cookie"]);
    }

    #[test]
    fn a_head_that_would_break_the_framing_is_a_500() {
        let broken = [
            head(100, &[]),
            head(200, &[("X-A", "1\r\nSet-Cookie: evil")]),
            head(200, &[("X A", "1")]),
            head(200, &[("Content-Length", "-5")]),
            head(200, &[("Content-Length", "5"), ("Content-Length", "6")]),
        ];
        for head in broken {
            let error = AnswerHead::check(head.clone()).err();
            assert_eq!(error.map(|error| error.status()), Some(500), "{head:?}");
        }
    }

    #[test]
    fn a_reason_with_control_bytes_is_left_out() {
        let mut bad = head(200, &[]);
        bad.reason = b"O\rK".to_vec();
        assert_eq!(AnswerHead::check(bad).ok().unwrap().reason, None);
    }
}
