//! Which lines of a site's logs somebody looks for.

use std::ops::RangeInclusive;

use ipnet::IpNet;
use onebox_config::parse_network;

use super::access_line::AccessLine;
use crate::api::{LogLine, LogsQuery};

/// What a line must be like; of what is not said anything will do.
#[derive(Debug, Clone, Default)]
pub(crate) struct LineFilter {
    from_ms: Option<i64>,
    to_ms: Option<i64>,
    request_id: Option<String>,
    status: Option<RangeInclusive<u16>>,
    path: Option<String>,
    address: Option<IpNet>,
}

/// A condition that can't be met by any line, and why.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BadFilter {
    #[error("`{0}` is no status: write 404, 5xx or 400-499")]
    Status(String),
    #[error("`{0}` is neither an address nor a network, as in 10.0.0.0/8")]
    Address(String),
    #[error("`{0}` is no path: it begins with / or *")]
    Path(String),
}

impl TryFrom<&LogsQuery> for LineFilter {
    type Error = BadFilter;

    fn try_from(query: &LogsQuery) -> Result<Self, BadFilter> {
        let is_path = |path: &&String| path.starts_with(['/', '*']);
        let path = query.path.as_ref();
        if let Some(other) = path.filter(|path| !is_path(path)) {
            return Err(BadFilter::Path(other.clone()));
        }
        let status = query.status.as_deref();
        let status =
            status.map(|text| statuses(text).ok_or_else(|| BadFilter::Status(text.to_owned())));
        let address = query.address.as_deref();
        let address = address
            .map(|text| parse_network(text).map_err(|_| BadFilter::Address(text.to_owned())));
        Ok(Self {
            from_ms: query.from_ms,
            to_ms: query.to_ms,
            request_id: query.request_id.clone(),
            status: status.transpose()?,
            path: path.cloned(),
            address: address.transpose()?,
        })
    }
}

impl LineFilter {
    /// Whether only lines of the access log can be meant.
    pub(crate) fn is_for_access(&self) -> bool {
        self.status.is_some() || self.path.is_some() || self.address.is_some()
    }

    /// Before this nothing is looked for.
    pub(super) fn since_ms(&self) -> Option<i64> {
        self.from_ms
    }

    /// Whether it takes a line, whichever log it is of.
    pub(crate) fn takes(&self, line: &LogLine) -> bool {
        if line.source == "access" {
            return AccessLine::parse(&line.text).is_some_and(|line| self.takes_access(&line));
        }
        let names = |id: &String| line.text.contains(id.as_str());
        !self.is_for_access()
            && self.is_in_time(line.at_ms)
            && self.request_id.as_ref().is_none_or(names)
    }

    /// Whether it takes a line of the access log.
    pub(super) fn takes_access(&self, line: &AccessLine<'_>) -> bool {
        let has_id = |id: &String| line.request_id.as_deref() == Some(id.as_str());
        let is_from = |network: &IpNet| line.client.is_some_and(|client| network.contains(&client));
        self.is_in_time(line.at_ms)
            && self.request_id.as_ref().is_none_or(has_id)
            && self.status.as_ref().is_none_or(|statuses| statuses.contains(&line.status))
            && self.address.as_ref().is_none_or(is_from)
            && self.path.as_ref().is_none_or(|pattern| matches(pattern, &line.path))
    }

    fn is_in_time(&self, at_ms: i64) -> bool {
        self.from_ms.is_none_or(|from| at_ms >= from) && self.to_ms.is_none_or(|to| at_ms < to)
    }
}

/// `404`, `5xx`, `400-499`.
fn statuses(text: &str) -> Option<RangeInclusive<u16>> {
    if let Some(class) = text.strip_suffix("xx") {
        let class: u16 = class.parse().ok().filter(|class| (1..=5).contains(class))?;
        return Some(class * 100..=class * 100 + 99);
    }
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last && last <= 599).then_some(first..=last)
}

/// Whether a text is what a pattern says, in which `*` is anything.
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else {
        return false;
    };
    let mut parts: Vec<&str> = parts.collect();
    // Without a star nothing may follow, with one the last part stands at the end.
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        match rest.split_once(part) {
            Some((_, behind)) => rest = behind,
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: &str = r#"{"at_ms":1000,"request_id":"r1","method":"GET","path":"/api/users","status":503,"client":"10.1.2.3"}"#;

    fn query() -> LogsQuery {
        serde_json::from_str("{}").unwrap()
    }

    fn takes(query: &LogsQuery, source: &str, text: &str) -> bool {
        let line = LogLine { at_ms: 1000, source: source.into(), text: text.into() };
        LineFilter::try_from(query).unwrap().takes(&line)
    }

    #[test]
    fn each_condition_holds_on_its_own() {
        let text = |text: &str| Some(text.to_owned());
        for (query, expected) in [
            (query(), true),
            (LogsQuery { status: text("5xx"), ..query() }, true),
            (LogsQuery { status: text("503"), ..query() }, true),
            (LogsQuery { status: text("500-502"), ..query() }, false),
            (LogsQuery { path: text("/api*"), ..query() }, true),
            (LogsQuery { path: text("/api"), ..query() }, false),
            (LogsQuery { address: text("10.0.0.0/8"), ..query() }, true),
            (LogsQuery { address: text("10.1.2.4"), ..query() }, false),
            (LogsQuery { address: text("::/0"), ..query() }, false),
            (LogsQuery { request_id: text("r1"), ..query() }, true),
            (LogsQuery { request_id: text("r"), ..query() }, false),
            (LogsQuery { from_ms: Some(1000), to_ms: Some(1001), ..query() }, true),
            (LogsQuery { from_ms: Some(1001), ..query() }, false),
            (LogsQuery { to_ms: Some(1000), ..query() }, false),
        ] {
            assert_eq!(takes(&query, "access", JSON), expected, "{query:?}");
        }
    }

    #[test]
    fn what_an_application_wrote_has_a_time_and_may_name_a_request() {
        let id = Some("r1".to_owned());
        assert!(takes(&LogsQuery { request_id: id.clone(), ..query() }, "app", "failed: r1"));
        assert!(!takes(&LogsQuery { request_id: id, ..query() }, "error", "failed: r2"));
        assert!(!takes(&LogsQuery { from_ms: Some(1001), ..query() }, "app", "late"));
        assert!(!takes(&LogsQuery { status: Some("5xx".to_owned()), ..query() }, "app", "500"));
    }

    #[test]
    fn a_star_is_anything() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("/", "/", true),
            ("/", "/a", false),
            ("/a*", "/a", true),
            ("/a*/c", "/a/b/c", true),
            ("/a*/c", "/a/c", true),
            ("/a*/c", "/a", false),
            ("*.php", "/x.php", true),
            ("*.php", "/x.php7", false),
            ("/a*a", "/a", false),
            ("*a*a*", "banana", true),
            ("/*b*b", "/b", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn what_no_line_can_be_is_refused() {
        for status in ["", "6xx", "0xx", "xx", "abc", "499-400", "600", "-1", "1-2-3"] {
            let query = LogsQuery { status: Some(status.to_owned()), ..query() };
            assert!(LineFilter::try_from(&query).is_err(), "{status}");
        }
        for address in ["", "10.0.0", "10.0.0.0/33", "host"] {
            let query = LogsQuery { address: Some(address.to_owned()), ..query() };
            assert!(LineFilter::try_from(&query).is_err(), "{address}");
        }
        let query = LogsQuery { path: Some("api".to_owned()), ..query() };
        assert!(LineFilter::try_from(&query).is_err());
    }
}
