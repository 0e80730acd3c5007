//! Answers that say why there is no other answer: small, plain, without a version or a secret.

use bytes::Bytes;

use crate::message::{RequestHead, Response, ResponseBody};
use crate::request_id::RequestId;

/// The page: colours follow the visitor's choice of light or dark; nothing is loaded.
pub(crate) const STYLE: &str = "\
:root{color-scheme:light dark}\
body{font:1rem/1.5 system-ui,sans-serif;max-width:34rem;margin:18vh auto 0;padding:0 1.5rem}\
h1{font-size:1.25rem;margin:0}small{opacity:.65}code{font-size:inherit}";

/// What an error page says.
pub(crate) struct ErrorPage<'a> {
    pub(crate) status: u16,
    /// One sentence, as plain text.
    pub(crate) sentence: &'a str,
    pub(crate) request_id: RequestId,
    pub(crate) retry_after_s: Option<u32>,
    pub(crate) close: bool,
}

impl ErrorPage<'_> {
    /// The page as JSON where `head` prefers that, else as HTML.
    pub(crate) fn into_response(self, head: Option<&RequestHead>) -> Response {
        let title = title(self.status);
        let (kind, body) = if head.is_some_and(prefers_json) {
            ("application/json", self.json(title))
        } else {
            ("text/html; charset=utf-8", self.html(title))
        };
        let mut headers = vec![
            (Bytes::from_static(b"Content-Type"), Bytes::from_static(kind.as_bytes())),
            (Bytes::from_static(b"Cache-Control"), Bytes::from_static(b"no-store")),
        ];
        if let Some(seconds) = self.retry_after_s {
            headers.push((Bytes::from_static(b"Retry-After"), seconds.to_string().into()));
        }
        let body = ResponseBody::Full(body.into());
        Response { close: self.close, ..Response::new(self.status, headers, body) }
    }

    fn html(&self, title: &str) -> String {
        format!(
            "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width\"><title>{status} {title}</title>\
             <style>{STYLE}</style><h1>{status} {title}</h1><p>{sentence}</p>\
             <small>Request <code>{id}</code></small></html>\n",
            status = self.status,
            sentence = escaped(self.sentence),
            id = self.request_id,
        )
    }

    fn json(&self, title: &str) -> String {
        let page = serde_json::json!({
            "status": self.status,
            "title": title,
            "detail": self.sentence,
            "request_id": self.request_id.as_str(),
        });
        format!("{page}\n")
    }
}

fn title(status: u16) -> &'static str {
    http::StatusCode::from_u16(status).ok().and_then(|s| s.canonical_reason()).unwrap_or("Error")
}

pub(crate) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Whether Accept names `application/json`, and before `text/html` where it names both.
fn prefers_json(head: &RequestHead) -> bool {
    let find = |wanted: &[u8]| {
        head.header_values("accept").find_map(|value| memchr::memmem::find(value, wanted))
    };
    match (find(b"application/json"), find(b"text/html")) {
        (Some(json), Some(html)) => json < html,
        (json, _) => json.is_some(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    async fn page(accept: &str) -> (String, String) {
        let page = ErrorPage {
            status: 503,
            sentence: "Busy <now>.",
            request_id: RequestId::random(),
            retry_after_s: Some(1),
            close: false,
        };
        let response = page.into_response(Some(&testing::get("/", &[("accept", accept)])));
        assert_eq!(testing::header(&response, "retry-after").as_deref(), Some("1"));
        let kind = testing::header(&response, "content-type").unwrap();
        (kind, String::from_utf8(testing::body(response).await.unwrap()).unwrap())
    }

    #[tokio::test]
    async fn a_browser_gets_html_with_the_sentence_escaped() {
        let (kind, text) = page("text/html,application/json;q=0.9").await;
        assert_eq!(kind, "text/html; charset=utf-8");
        assert!(text.contains("503 Service Unavailable") && text.contains("Busy &lt;now&gt;."));
    }

    #[tokio::test]
    async fn a_program_that_prefers_json_gets_json() {
        let (kind, text) = page("application/json").await;
        assert_eq!(kind, "application/json");
        let page: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(page["detail"], "Busy <now>.");
        assert_eq!(page["request_id"].as_str().map(str::len), Some(16));
    }
}
