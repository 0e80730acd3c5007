//! The dashboard's files, carried in the binary.

use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{Html, IntoResponse, Response};
use rust_embed::{EmbeddedFile, RustEmbed};

use super::AdminError;

/// What `npm run build` made; nothing where the binary was built without it.
#[derive(RustEmbed)]
#[folder = "../../web-ui/dist"]
#[allow_missing = true]
struct Assets;

/// The page of a binary that was built without the dashboard.
const NOT_BUILT: &str = "<!doctype html><meta charset=utf-8><title>onebox</title>\
<h1>The dashboard was not built into this binary</h1>\
<p>In the source folder, with Node.js installed:</p><pre>make build</pre>\
<p>Everything else works: the API is at <code>/api/v1/</code>, and so does the command line.</p>";

/// Serves a file, and the dashboard's page for every address that is no file of it.
pub(super) async fn serve(method: Method, uri: Uri) -> Response {
    if !matches!(method, Method::GET | Method::HEAD) {
        return StatusCode::METHOD_NOT_ALLOWED.into_response();
    }
    let path = uri.path().trim_start_matches('/');
    if path.starts_with("api/") {
        return AdminError::NotFound.into_response();
    }
    if let Some(file) = Assets::get(path) {
        // Vite puts a hash into these names, so that they never change.
        let caching = if path.starts_with("assets/") {
            "public, max-age=31536000, immutable"
        } else {
            "no-cache"
        };
        return file_response(file, caching);
    }
    match Assets::get("index.html") {
        Some(page) if !path.contains('.') => file_response(page, "no-cache"),
        Some(_) => AdminError::NotFound.into_response(),
        None => Html(NOT_BUILT).into_response(),
    }
}

fn file_response(file: EmbeddedFile, caching: &'static str) -> Response {
    let kind = HeaderValue::from_str(file.metadata.mimetype());
    let kind = kind.unwrap_or(HeaderValue::from_static("application/octet-stream"));
    let caching = HeaderValue::from_static(caching);
    ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, caching)], file.data.into_owned())
        .into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn status(method: Method, path: &'static str) -> StatusCode {
        serve(method, Uri::from_static(path)).await.status()
    }

    #[tokio::test]
    async fn every_address_outside_the_api_has_a_page() {
        assert_eq!(status(Method::GET, "/").await, StatusCode::OK);
        assert_eq!(status(Method::GET, "/sites/blog").await, StatusCode::OK);
        assert_eq!(status(Method::GET, "/api/v1/nothing").await, StatusCode::NOT_FOUND);
        assert_eq!(status(Method::POST, "/").await, StatusCode::METHOD_NOT_ALLOWED);
    }
}
