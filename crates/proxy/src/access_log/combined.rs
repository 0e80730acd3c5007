//! The line of Apache's and nginx's `combined` format, byte for byte as nginx writes it, for the programs that read it.
//!
//! Source: nginx, `ngx_http_log_module` (`log_format combined`, `escape=default`), `ngx_http_core_module` (`$body_bytes_sent`,
//! `$remote_user`).

use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::Entry;
use crate::rules;

/// What nginx says of a request that got no head, because its client left.
const NO_ANSWER: u16 = 499;

/// Writes lines; knows the last second's text.
pub(super) struct Combined {
    zone: TimeZone,
    second: Option<u64>,
    time: String,
}

impl Combined {
    pub(super) fn new() -> Self {
        Self { zone: TimeZone::system(), second: None, time: String::new() }
    }

    /// Appends the line, with its end: `$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent
    /// "$http_referer" "$http_user_agent"`.
    pub(super) fn write_to(&mut self, entry: &Entry, out: &mut Vec<u8>) {
        let with_query = entry.routed.site.log.query;
        let shown = |text: &'_ [u8]| {
            let end = memchr::memchr(b'?', text).filter(|_| !with_query).unwrap_or(text.len());
            text.get(..end).unwrap_or_default().to_vec()
        };
        let status = if entry.status == 0 { NO_ANSWER } else { entry.status };
        out.extend_from_slice(
            entry.client_address().unwrap_or_else(|| "unix:".to_owned()).as_bytes(),
        );
        out.extend_from_slice(b" - ");
        let user = entry.fields.authorization.as_deref().and_then(rules::user_name);
        write_value(user.as_deref().filter(|user| !user.is_empty()), out);
        out.extend_from_slice(format!(" [{}] \"", self.time(entry.ended_at)).as_bytes());
        out.extend_from_slice(entry.method.as_str().as_bytes());
        out.push(b' ');
        escape(&shown(&entry.target), out);
        let (version, bytes) = (entry.version.as_str(), entry.body_bytes_out);
        out.extend_from_slice(format!(" {version}\" {status} {bytes} \"").as_bytes());
        write_value(entry.fields.referer.as_deref().map(shown).as_deref(), out);
        out.extend_from_slice(b"\" \"");
        write_value(entry.fields.user_agent.as_deref(), out);
        out.extend_from_slice(b"\"\n");
    }

    /// `22/Nov/2026:04:52:23 +0000`, in the machine's own time.
    fn time(&mut self, at: SystemTime) -> &str {
        let second = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        if self.second != Some(second) {
            let at = i64::try_from(second).ok().and_then(|at| Timestamp::from_second(at).ok());
            let at = at.unwrap_or_default().to_zoned(self.zone.clone());
            self.time = at.strftime("%d/%b/%Y:%H:%M:%S %z").to_string();
            self.second = Some(second);
        }
        &self.time
    }
}

/// A value, or `-` where there is none; an empty one is one.
fn write_value(value: Option<&[u8]>, out: &mut Vec<u8>) {
    match value {
        Some(value) => escape(value, out),
        None => out.push(b'-'),
    }
}

/// Whatever could end a value or a line, or is not ASCII, as `\xXX`.
fn escape(value: &[u8], out: &mut Vec<u8>) {
    for byte in value {
        match byte {
            b'"' | b'\\' | ..b' ' | 0x7f.. => {
                out.extend_from_slice(format!("\\x{byte:02X}").as_bytes());
            }
            byte => out.push(*byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use onebox_config::site::SiteLog;

    use super::*;
    use crate::access_log::entry::tests::entry_of;
    use crate::route::Site;
    use crate::testing;

    fn line(query: bool, change: impl FnOnce(&mut Entry)) -> String {
        let log = SiteLog { query, ..SiteLog::default() };
        let mut entry = entry_of(Site { log, ..testing::site("blog") });
        change(&mut entry);
        let mut writer = Combined { zone: TimeZone::UTC, ..Combined::new() };
        let mut out = Vec::new();
        writer.write_to(&entry, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_line_is_nginxs() {
        let plain = line(false, |entry| {
            entry.target = Bytes::from_static(b"/a?token=1");
            entry.fields.referer = Some(Bytes::from_static(b"http://b/?q=2"));
        });
        let expected = "192.0.2.7 - - [01/Jan/1970:00:00:01 +0000] \"GET /a HTTP/2.0\" 200 4 \"http://b/\" \"-\"\n";
        assert_eq!(plain, expected);
        let full = line(true, |entry| {
            entry.target = Bytes::from_static(b"/a?token=1");
            entry.fields.referer = Some(Bytes::from_static(b"http://b/?q=2"));
            entry.fields.authorization = Some(Bytes::from_static(b"Basic YW5uOnNlY3JldA=="));
            (entry.status, entry.client) = (0, None);
        });
        let expected = "unix: - ann [01/Jan/1970:00:00:01 +0000] \"GET /a?token=1 HTTP/2.0\" 499 4 \"http://b/?q=2\" \"-\"\n";
        assert_eq!(full, expected);
    }

    #[test]
    fn nothing_that_a_client_says_ends_a_value_or_a_line() {
        let line = line(true, |entry| {
            entry.target = Bytes::from_static(b"/\"\\\x7f\xc3\xa9");
            entry.fields.user_agent = Some(Bytes::from_static(b"a\" \"b\r\n\t\x1b[2J\x85"));
            // Base64 of `a" b` and a line's end.
            entry.fields.authorization = Some(Bytes::from_static(b"Basic YSIgYgo6"));
        });
        assert!(line.contains("\"GET /\\x22\\x5C\\x7F\\xC3\\xA9 HTTP/2.0\""), "{line}");
        assert!(line.contains("\"a\\x22 \\x22b\\x0D\\x0A\\x09\\x1B[2J\\x85\""), "{line}");
        assert!(line.contains(" - a\\x22 b\\x0A ["), "{line}");
        assert_eq!(line.lines().count(), 1);
        assert_eq!(line.matches('"').count(), 6);
    }
}
