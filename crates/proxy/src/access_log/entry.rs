//! A line of the access log.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use onebox_metrics::{PhaseDurations, ServedBy};
use serde::Serialize;

use super::one_line::OneLine;
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
    /// As the client sent it.
    pub(crate) target: Bytes,
    /// Without the query: its values may be secrets.
    pub(crate) path: Bytes,
    pub(crate) version: Version,
    /// 0: no head was sent.
    pub(crate) status: u16,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    /// What of that was not the head.
    pub(crate) body_bytes_out: u64,
    pub(crate) phases: PhaseDurations,
    pub(crate) client: Option<SocketAddr>,
    pub(crate) fields: ClientFields,
    pub(crate) served_by: ServedBy,
    /// `None`: the embedded interpreter, or no application.
    pub(crate) worker: Option<Arc<str>>,
    pub(crate) error: Option<String>,
}

/// What a client says about itself.
#[derive(Default)]
pub(crate) struct ClientFields {
    pub(crate) user_agent: Option<Bytes>,
    pub(crate) referer: Option<Bytes>,
    /// Holds a secret: only a user's name is ever taken from it.
    pub(crate) authorization: Option<Bytes>,
}

impl ClientFields {
    /// Takes a field of a request; the first one of a name counts.
    pub(crate) fn take(&mut self, name: &[u8], value: &Bytes) {
        let field = match name {
            b"user-agent" => &mut self.user_agent,
            b"referer" => &mut self.referer,
            b"authorization" => &mut self.authorization,
            _ => return,
        };
        field.get_or_insert_with(|| value.clone());
    }
}

#[derive(Serialize)]
struct Line<'a> {
    at_ms: u64,
    site: &'a str,
    release: &'a str,
    request_id: &'a str,
    method: &'a str,
    path: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    query: Option<&'a str>,
    protocol: &'static str,
    status: u16,
    bytes_in: u64,
    bytes_out: u64,
    queue_ms: Option<f64>,
    app_ms: Option<f64>,
    total_ms: f64,
    client: Option<String>,
    user_agent: Option<&'a str>,
    referrer: Option<&'a str>,
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

    /// Appends the line as JSON, with its end.
    pub(super) fn write_to(&self, out: &mut Vec<u8>) -> std::io::Result<()> {
        let path = String::from_utf8_lossy(&self.path);
        let with_query = self.routed.site.log.query;
        let query = self.target.splitn(2, |byte| *byte == b'?').nth(1).filter(|_| with_query);
        let query = query.map(String::from_utf8_lossy);
        let user_agent = self.fields.user_agent.as_deref().map(String::from_utf8_lossy);
        let referrer = self.fields.referer.as_deref().map(String::from_utf8_lossy);
        let referrer = referrer.as_deref().map(|text| match text.split_once('?') {
            Some((before, _)) if !with_query => before,
            _ => text,
        });
        let at = self.began().duration_since(UNIX_EPOCH).unwrap_or_default();
        let line = Line {
            at_ms: u64::try_from(at.as_millis()).unwrap_or(0),
            site: self.site(),
            release: &self.routed.site.release,
            request_id: self.request_id.as_str(),
            method: self.method.as_str(),
            path: &path,
            query: query.as_deref(),
            protocol: self.version.as_str(),
            status: self.status,
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
            queue_ms: self.phases.queue.map(milliseconds),
            app_ms: self.phases.app.map(milliseconds),
            total_ms: milliseconds(self.phases.total),
            client: self.client_address(),
            user_agent: user_agent.as_deref(),
            referrer,
            served_by: served_by(self.served_by),
            worker: self.worker.as_deref(),
            error: self.error.as_deref(),
        };
        line.serialize(&mut serde_json::Serializer::with_formatter(&mut *out, OneLine))?;
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
    use onebox_config::site::SiteLog;

    use super::*;
    use crate::route::{RouteTable, Site};
    use crate::testing;

    pub(in crate::access_log) fn entry(site: &str) -> Entry {
        entry_of(testing::site(site))
    }

    pub(in crate::access_log) fn entry_of(site: Site) -> Entry {
        let site = Site { catch_all: true, ..site };
        Entry {
            routed: Arc::clone(RouteTable::new(vec![site]).site(None, b"/").unwrap()),
            ended_at: UNIX_EPOCH + Duration::from_millis(1002),
            request_id: RequestId::random(),
            method: http::Method::GET,
            target: Bytes::from_static(b"/a \"b\"\xff?q=1"),
            path: Bytes::from_static(b"/a \"b\"\xff"),
            version: Version::Http2,
            status: 200,
            bytes_in: 3,
            bytes_out: 104,
            body_bytes_out: 4,
            phases: PhaseDurations {
                queue: Some(Duration::from_micros(1500)),
                total: Duration::from_millis(2),
                ..PhaseDurations::default()
            },
            client: "[::ffff:192.0.2.7]:1".parse().ok(),
            fields: ClientFields::default(),
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
        assert!(line.get("query").is_none());
        assert_eq!((&line["served_by"], &line["protocol"]), (&"static".into(), &"HTTP/2.0".into()));
    }

    #[test]
    fn a_query_is_written_where_that_is_wanted() {
        for (query, expected) in
            [(false, (None, "http://b/")), (true, (Some("q=1"), "http://b/?c"))]
        {
            let log = SiteLog { query, ..SiteLog::default() };
            let mut entry = entry_of(Site { log, ..testing::site("blog") });
            entry.fields.referer = Some(Bytes::from_static(b"http://b/?c"));
            let mut line = Vec::new();
            entry.write_to(&mut line).unwrap();
            let line: serde_json::Value = serde_json::from_slice(&line).unwrap();
            let seen = (line.get("query").and_then(|query| query.as_str()), &line["referrer"]);
            assert_eq!(seen, (expected.0, &expected.1.into()));
        }
    }

    #[test]
    fn nothing_that_a_client_says_ends_a_line() {
        let mut entry = entry("blog");
        let agent = "\u{85}\u{2028}\u{2029}\u{7f}\u{9b}2J\r\n\"\\ü";
        entry.fields.user_agent = Some(Bytes::from(agent));
        let mut line = Vec::new();
        entry.write_to(&mut line).unwrap();
        let text = String::from_utf8(line).unwrap();
        let is_end = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
        assert_eq!(text.find(is_end), Some(text.len() - 1), "{text}");
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["user_agent"], agent);
    }
}
