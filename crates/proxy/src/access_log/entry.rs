//! A line of the access log.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use onebox_metrics::{PhaseDurations, ServedBy};
use serde::Serialize;

use super::record::served_by;
use crate::message::Version;
use crate::request_id::RequestId;
use crate::route::RoutedSite;

/// What a line says, as the request had it: text is made of it on the writer's thread.
pub(crate) struct Entry {
    pub(crate) routed: Arc<RoutedSite>,
    pub(crate) ended_at: SystemTime,
    pub(crate) request_id: RequestId,
    pub(crate) method: http::Method,
    /// Without the query: its values may be secrets.
    pub(crate) path: Bytes,
    pub(crate) version: Version,
    /// 0: no head was sent.
    pub(crate) status: u16,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    pub(crate) phases: PhaseDurations,
    pub(crate) client: Option<SocketAddr>,
    pub(crate) user_agent: Option<Bytes>,
    pub(crate) served_by: ServedBy,
    /// `None`: the embedded interpreter, or no application.
    pub(crate) worker: Option<Arc<str>>,
    pub(crate) error: Option<String>,
}

#[derive(Serialize)]
struct Line<'a> {
    at_ms: u64,
    site: &'a str,
    release: &'a str,
    request_id: &'a str,
    method: &'a str,
    path: &'a str,
    protocol: &'static str,
    status: u16,
    bytes_in: u64,
    bytes_out: u64,
    queue_ms: Option<f64>,
    app_ms: Option<f64>,
    total_ms: f64,
    client: Option<String>,
    user_agent: Option<&'a str>,
    served_by: &'static str,
    worker: Option<&'a str>,
    error: Option<&'a str>,
}

impl Entry {
    /// The site whose log it belongs to.
    pub(super) fn site(&self) -> &str {
        &self.routed.site.name
    }

    /// When its head arrived.
    pub(super) fn began(&self) -> SystemTime {
        self.ended_at.checked_sub(self.phases.total).unwrap_or(UNIX_EPOCH)
    }

    /// The client's address, as people write it.
    pub(super) fn client_address(&self) -> Option<String> {
        self.client.map(|client| client.ip().to_canonical().to_string())
    }

    /// Appends the line, with its end.
    pub(super) fn write_to(&self, out: &mut Vec<u8>) -> std::io::Result<()> {
        let path = String::from_utf8_lossy(&self.path);
        let user_agent = self.user_agent.as_deref().map(String::from_utf8_lossy);
        let at = self.began().duration_since(UNIX_EPOCH).unwrap_or_default();
        let line = Line {
            at_ms: u64::try_from(at.as_millis()).unwrap_or(0),
            site: self.site(),
            release: &self.routed.site.release,
            request_id: self.request_id.as_str(),
            method: self.method.as_str(),
            path: &path,
            protocol: self.version.as_str(),
            status: self.status,
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
            queue_ms: self.phases.queue.map(milliseconds),
            app_ms: self.phases.app.map(milliseconds),
            total_ms: milliseconds(self.phases.total),
            client: self.client_address(),
            user_agent: user_agent.as_deref(),
            served_by: served_by(self.served_by),
            worker: self.worker.as_deref(),
            error: self.error.as_deref(),
        };
        serde_json::to_writer(&mut *out, &line)?;
        out.push(b'\n');
        Ok(())
    }
}

/// With three digits behind the point.
fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::route::{RouteTable, Site};
    use crate::testing;

    pub(in crate::access_log) fn entry(site: &str) -> Entry {
        let site = Site { catch_all: true, ..testing::site(site) };
        Entry {
            routed: Arc::clone(RouteTable::new(vec![site]).site(None, b"/").unwrap()),
            ended_at: UNIX_EPOCH + Duration::from_millis(1002),
            request_id: RequestId::random(),
            method: http::Method::GET,
            path: Bytes::from_static(b"/a \"b\"\xff"),
            version: Version::Http2,
            status: 200,
            bytes_in: 3,
            bytes_out: 4,
            phases: PhaseDurations {
                queue: Some(Duration::from_micros(1500)),
                total: Duration::from_millis(2),
                ..PhaseDurations::default()
            },
            client: "[::ffff:192.0.2.7]:1".parse().ok(),
            user_agent: None,
            served_by: ServedBy::Static,
            worker: Some("blog.1".into()),
            error: None,
        }
    }

    #[test]
    fn a_line_is_json() {
        let mut line = Vec::new();
        entry("blog").write_to(&mut line).unwrap();
        let line: serde_json::Value = serde_json::from_slice(&line).unwrap();
        assert_eq!((&line["site"], &line["at_ms"]), (&"blog".into(), &1000.into()));
        assert_eq!(
            (&line["path"], &line["client"]),
            (&"/a \"b\"\u{fffd}".into(), &"192.0.2.7".into())
        );
        assert_eq!((&line["queue_ms"], &line["total_ms"]), (&1.5.into(), &2.0.into()));
        assert_eq!(line["worker"], "blog.1");
        assert!(line["app_ms"].is_null() && line["error"].is_null());
        assert_eq!((&line["served_by"], &line["protocol"]), (&"static".into(), &"HTTP/2.0".into()));
    }
}
