//! What a site or route says about caching, complete.

use std::time::Duration;

use onebox_config::site::CacheRules;

use crate::message::RequestHead;

/// `[cache]` of a site or of a route, with its defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    /// `max-object`: the largest body, in bytes.
    pub(crate) max_object: usize,
    /// `ttl`: how long answers are fresh, whatever they say.
    pub(crate) ttl: Option<Duration>,
    /// `stale-while-revalidate`
    pub(crate) stale_while_revalidate: Duration,
    /// `stale-if-error`
    pub(crate) stale_if_error: Duration,
    /// `lock-timeout`: how long a request waits for the answer to another one.
    pub(crate) lock_timeout: Duration,
    /// Whether clients can't ask for more than what is stored.
    pub(crate) ignore_reload: bool,
    /// `bypass-cookie`, `bypass-header`, `bypass-query`
    bypass: Bypass,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Bypass {
    cookies: Vec<String>,
    /// In lower case.
    headers: Vec<String>,
    query: Vec<String>,
}

impl Settings {
    /// `None`: nothing is cached.
    pub(crate) fn of(rules: &CacheRules) -> Option<Self> {
        if !rules.is_on() {
            return None;
        }
        let default = CacheRules::DEFAULT;
        Some(Self {
            max_object: usize::try_from(rules.max_object.unwrap_or(default.max_object))
                .unwrap_or(usize::MAX),
            ttl: rules.ttl,
            stale_while_revalidate: rules.stale_while_revalidate.unwrap_or_default(),
            stale_if_error: rules.stale_if_error.unwrap_or_default(),
            lock_timeout: rules.lock_timeout.unwrap_or(default.lock_timeout),
            // What is forced for the application's sake can't be undone by whoever reloads.
            ignore_reload: rules.ignore_reload.unwrap_or_default() || rules.ttl.is_some(),
            bypass: Bypass {
                cookies: rules.bypass_cookie.clone().unwrap_or_default(),
                headers: rules
                    .bypass_header
                    .iter()
                    .flatten()
                    .map(|name| name.to_ascii_lowercase())
                    .collect(),
                query: rules.bypass_query.clone().unwrap_or_default(),
            },
        })
    }

    /// Whether a request has something for whose sake it goes to the application, and its answer is not stored.
    pub(crate) fn bypasses(&self, head: &RequestHead) -> bool {
        let Bypass { cookies, headers, query } = &self.bypass;
        let has_header = || headers.iter().any(|name| head.header(name).is_some());
        let has_cookie = || {
            let crumbs = head.header_values("cookie").flat_map(|value| value.split(|b| *b == b';'));
            names(crumbs).any(|name| cookies.iter().any(|known| known.as_bytes() == name))
        };
        let has_parameter = || {
            let parameters = head.query.iter().flat_map(|query| query.split(|b| *b == b'&'));
            names(parameters).any(|name| query.iter().any(|known| known.as_bytes() == name))
        };
        (!headers.is_empty() && has_header())
            || (!cookies.is_empty() && has_cookie())
            || (!query.is_empty() && has_parameter())
    }
}

/// What stands in front of an equals sign.
fn names<'a>(pairs: impl Iterator<Item = &'a [u8]>) -> impl Iterator<Item = &'a [u8]> {
    pairs.map(|pair| pair.split(|byte| *byte == b'=').next().unwrap_or_default().trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn a_cookie_a_header_or_a_parameter_leads_past_the_cache() {
        let list = |name: &str| Some(vec![name.to_owned()]);
        let settings = Settings::of(&CacheRules {
            enabled: Some(true),
            bypass_cookie: list("session"),
            bypass_header: list("X-Fresh"),
            bypass_query: list("nocache"),
            ..CacheRules::default()
        })
        .unwrap();
        let bypasses = |target: &str, headers: &[(&str, &str)]| {
            settings.bypasses(&testing::get(target, headers))
        };
        assert!(bypasses("/", &[("cookie", "a=session; session=1")]));
        assert!(bypasses("/", &[("cookie", "a=1"), ("cookie", "session=1")]));
        assert!(bypasses("/", &[("x-fresh", "")]));
        assert!(bypasses("/?a=1&nocache", &[]));
        assert!(bypasses("/?nocache=1", &[]));
        assert!(!bypasses("/nocache?a=nocache&nocached=1", &[("cookie", "sessions=1; a=session")]));
        let off = CacheRules { enabled: Some(false), ..CacheRules::default() };
        assert_eq!(Settings::of(&off), None);
        assert_eq!(Settings::of(&CacheRules::default()), None);
    }
}
