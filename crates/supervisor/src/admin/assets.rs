//! The dashboard's files, carried in the binary.

use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{Html, IntoResponse, Response};
use rust_embed::{EmbeddedFile, RustEmbed};

use super::AdminError;

/// What `npm run build` made; nothing where the binary was built without it.
#[derive(RustEmbed)]
#[folder = "../../web-ui/dist"]
#[allow_missing = true]
struct Assets;

/// What the name of a file ends with that `npm run build` compressed.
const COMPRESSED: &str = ".gz";

/// The page of a binary that was built without the dashboard.
const NOT_BUILT: &str = "<!doctype html><meta charset=utf-8><title>onebox</title>\
<h1>The dashboard was not built into this binary</h1>\
<p>In the source folder, with Node.js installed:</p><pre>make build</pre>\
<p>Everything else works: the API is at <code>/api/v1/</code>, and so does the command line.</p>";

/// Serves a file, and the dashboard's page for every address that is no file of it.
pub(super) async fn serve(method: Method, uri: Uri, headers: HeaderMap) -> Response {
    if !matches!(method, Method::GET | Method::HEAD) {
        return StatusCode::METHOD_NOT_ALLOWED.into_response();
    }
    let path = uri.path().trim_start_matches('/');
    if path.starts_with("api/") {
        return AdminError::NotFound.into_response();
    }
    let coding = Coding::of(&headers);
    if let Some(file) = Assets::get(path).filter(|_| !path.ends_with(COMPRESSED)) {
        // Vite puts a hash into these names, so that they never change.
        let caching = if path.starts_with("assets/") {
            "public, max-age=31536000, immutable"
        } else {
            "no-cache"
        };
        return file_response(path, file, caching, coding);
    }
    match Assets::get("index.html") {
        Some(page) if !path.contains('.') => file_response("index.html", page, "no-cache", coding),
        Some(_) => AdminError::NotFound.into_response(),
        None => Html(NOT_BUILT).into_response(),
    }
}

/// What the browser takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coding {
    Identity,
    Gzip,
}

impl Coding {
    fn of(headers: &HeaderMap) -> Self {
        let accepted = headers.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok());
        let mut codings = accepted.unwrap_or_default().split(',').map(str::trim);
        match codings.any(|coding| coding == "gzip") {
            true => Self::Gzip,
            false => Self::Identity,
        }
    }
}

fn file_response(
    path: &str,
    file: EmbeddedFile,
    caching: &'static str,
    coding: Coding,
) -> Response {
    let kind = HeaderValue::from_str(file.metadata.mimetype());
    let kind = kind.unwrap_or(HeaderValue::from_static("application/octet-stream"));
    let caching = HeaderValue::from_static(caching);
    let compressed = Assets::get(&format!("{path}{COMPRESSED}"));
    let vary = HeaderValue::from_static("accept-encoding");
    let fields =
        [(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, caching), (header::VARY, vary)];
    match compressed.filter(|_| coding == Coding::Gzip) {
        Some(compressed) => {
            let coding = [(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"))];
            (fields, coding, compressed.data.into_owned()).into_response()
        }
        None => (fields, file.data.into_owned()).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn status(method: Method, path: &'static str) -> StatusCode {
        serve(method, Uri::from_static(path), HeaderMap::new()).await.status()
    }

    #[tokio::test]
    async fn every_address_outside_the_api_has_a_page() {
        assert_eq!(status(Method::GET, "/").await, StatusCode::OK);
        assert_eq!(status(Method::GET, "/sites/blog").await, StatusCode::OK);
        assert_eq!(status(Method::GET, "/api/v1/nothing").await, StatusCode::NOT_FOUND);
        assert_eq!(status(Method::POST, "/").await, StatusCode::METHOD_NOT_ALLOWED);
    }

    #[tokio::test]
    async fn a_compressed_file_goes_to_who_takes_it() {
        // A binary without the dashboard has none.
        let is_built = Assets::get("index.html.gz").is_some();
        for (accepted, expected) in
            [("gzip, deflate, br", is_built.then_some("gzip")), ("identity", None), ("xgzip", None)]
        {
            let accepted = HeaderValue::from_static(accepted);
            let headers = HeaderMap::from_iter([(header::ACCEPT_ENCODING, accepted)]);
            let answer = serve(Method::GET, Uri::from_static("/"), headers).await;
            let coding = answer.headers().get(header::CONTENT_ENCODING);
            assert_eq!(coding.map(HeaderValue::as_bytes), expected.map(str::as_bytes));
        }
    }
}
