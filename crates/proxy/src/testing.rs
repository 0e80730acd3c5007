//! Requests and sites for the tests of this crate.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use onebox_config::Limits;
use onebox_config::site::SiteLog;
use onebox_metrics::SiteMetrics;
use onebox_uwsgi::BufferLimits;

use crate::lifecycle::Lifecycle;
use crate::message::{
    ConnectionInfo, Entrance, RequestHead, Response, ResponseBody, Version, field,
};
use crate::request_id::RequestId;
use crate::route::{Backend, Https, Site};
use crate::tls::Tls;
use crate::upstream::{Dashboard, Passed, Upgrades};

/// A site that takes every host and has neither files nor an application.
pub(crate) fn site(name: &str) -> Site {
    Site {
        name: name.into(),
        release: "r1".into(),
        domains: Vec::new(),
        path: String::new(),
        catch_all: false,
        statics: Vec::new(),
        sendfile: Vec::new(),
        index: false,
        routing: Arc::default(),
        upstreams: Vec::new(),
        cache: None,
        backend: Backend::None,
        harakiri: Duration::from_secs(60),
        reload_mercy: Duration::from_secs(10),
        buffer_size: 65_536,
        post_buffering: 65_536,
        max_body: 1 << 20,
        response: BufferLimits::default(),
        https: Https::default(),
        guard: None,
        log: SiteLog::default(),
        metrics: Arc::new(SiteMetrics::new()),
        traffic: Arc::default(),
    }
}

/// What a service shares with the rest of its proxy.
pub(crate) fn shared() -> (Arc<Lifecycle>, Arc<Tls>) {
    (Arc::default(), Arc::new(Tls::new(&Limits::default()).unwrap()))
}

/// A connection over TCP.
pub(crate) fn connection() -> ConnectionInfo {
    ConnectionInfo {
        peer: "192.0.2.7:50000".parse().ok(),
        local: "192.0.2.1:80".parse().ok(),
        ..ConnectionInfo::at(Entrance::Public)
    }
}

/// A server of an upstream.
pub(crate) fn server(url: &str) -> onebox_config::site::Server {
    let text = format!("[[upstream]]\nto = {url:?}");
    let config = onebox_config::parse_site(&text, std::path::Path::new("test")).unwrap();
    config.upstreams[0].servers[0].clone()
}

/// A request as it is passed on.
pub(crate) fn passed<'a>(head: &'a RequestHead, connection: &'a ConnectionInfo) -> Passed<'a> {
    Passed {
        head,
        path: &head.path,
        connection,
        request_id: RequestId::random(),
        buffer_size: 65_535,
        upgrades: Upgrades::Allowed,
        dashboard: Dashboard::Elsewhere,
    }
}

/// A GET request.
pub(crate) fn get(target: &str, headers: &[(&str, &str)]) -> RequestHead {
    request(http::Method::GET, target, headers)
}

/// A request with a target in origin form.
pub(crate) fn request(method: http::Method, target: &str, headers: &[(&str, &str)]) -> RequestHead {
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    let value = |wanted: &str| headers.iter().find(|(name, _)| *name == wanted).map(|(_, v)| *v);
    let (host, port) = match value("host").map(|host| host.split_once(':').unwrap_or((host, ""))) {
        Some((host, port)) => (Some(host.to_ascii_lowercase()), port.parse().ok()),
        None => (None, None),
    };
    RequestHead {
        method,
        target: Bytes::copy_from_slice(target.as_bytes()),
        path: Bytes::copy_from_slice(path.as_bytes()),
        query: query.map(|query| Bytes::copy_from_slice(query.as_bytes())),
        version: Version::Http11,
        headers: headers.iter().map(|(name, value)| (bytes(name), bytes(value))).collect(),
        host,
        port,
        content_length: Some(value("content-length").and_then(|v| v.parse().ok()).unwrap_or(0)),
        received_at: Instant::now(),
    }
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

/// A header of an answer, as text.
pub(crate) fn header(response: &Response, name: &str) -> Option<String> {
    field(&response.headers, name).map(|value| String::from_utf8_lossy(value).into_owned())
}

/// The whole body of an answer, or why it was cut.
pub(crate) async fn body(response: Response) -> Result<Vec<u8>, String> {
    use futures_util::StreamExt;
    use std::os::unix::fs::FileExt;
    match response.body {
        ResponseBody::Empty => Ok(Vec::new()),
        ResponseBody::Full(bytes) => Ok(bytes.to_vec()),
        ResponseBody::File { file, offset, size } => {
            let mut bytes = vec![0; usize::try_from(size).unwrap()];
            file.read_exact_at(&mut bytes, offset).unwrap();
            Ok(bytes)
        }
        ResponseBody::Stream { mut stream, .. } => {
            let mut bytes = Vec::new();
            while let Some(piece) = stream.next().await {
                bytes.extend_from_slice(&piece.map_err(|cut| cut.reason)?);
            }
            Ok(bytes)
        }
    }
}
