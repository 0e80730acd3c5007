//! `[cache]` of a site, `cache` of a route: which answers of applications and upstreams are stored, and for how long.
//!
//! Source: nginx's `proxy_cache_*` directives, RFC 9111 for what is not said.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Problem;
use crate::section::{Section, Unsupported};
use crate::types::{Invalid, duration, must_be, size, size_text, truth};
use crate::value::{Item, Value};

const KB: u64 = 1 << 10;
const MB: u64 = 1 << 20;
const GB: u64 = 1 << 30;
const DAY: Duration = Duration::from_secs(86_400);

/// The shortest time for which storing an answer makes sense.
const SHORTEST: Duration = Duration::from_millis(100);

/// What nginx, Varnish and Squid call things.
const UNSUPPORTED: &Unsupported = &Unsupported {
    later: &[],
    foreign: &[
        ("proxy-cache-valid", "ttl", "nginx"),
        ("uwsgi-cache-valid", "ttl", "nginx"),
        ("proxy-cache-bypass", "bypass-cookie", "nginx"),
        ("proxy-cache-lock-timeout", "lock-timeout", "nginx"),
        ("proxy-cache-use-stale", "stale-if-error", "nginx"),
        ("max-size", "size", "nginx"),
        ("grace", "stale-while-revalidate", "Varnish"),
        ("keep", "stale-if-error", "Varnish"),
        ("maximum-object-size", "max-object", "Squid"),
        ("default-ttl", "ttl", "Varnish"),
    ],
};

/// What a site or a route says about caching; `None`: nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheRules {
    /// `enabled`
    pub enabled: Option<bool>,
    /// `size`, bytes, of all answers together; a site's alone
    pub size: Option<u64>,
    /// `disk`, bytes, of what is stored on the disk as well; a site's alone; `None`: nothing is
    pub disk: Option<u64>,
    /// `max-object`, bytes: the largest body
    pub max_object: Option<u64>,
    /// `ttl`: how long answers are fresh, whatever they say; `None`: as they say it
    pub ttl: Option<Duration>,
    /// `stale-while-revalidate`
    pub stale_while_revalidate: Option<Duration>,
    /// `stale-if-error`
    pub stale_if_error: Option<Duration>,
    /// `lock-timeout`: how long a request waits for the answer to another one
    pub lock_timeout: Option<Duration>,
    /// `ignore-reload`: whether clients can't ask for more than what is stored
    pub ignore_reload: Option<bool>,
    /// `bypass-cookie`: names
    pub bypass_cookie: Option<Vec<String>>,
    /// `bypass-header`: names
    pub bypass_header: Option<Vec<String>>,
    /// `bypass-query`: names of parameters
    pub bypass_query: Option<Vec<String>>,
}

/// What holds where nothing is said.
#[derive(Debug, Clone, Copy)]
pub struct CacheDefaults {
    /// `size`
    pub size: u64,
    /// `max-object`
    pub max_object: u64,
    /// `lock-timeout`
    pub lock_timeout: Duration,
}

impl CacheRules {
    /// The defaults that are not "nothing".
    pub const DEFAULT: CacheDefaults =
        CacheDefaults { size: 64 * MB, max_object: MB, lock_timeout: Duration::from_secs(5) };

    /// Whether answers are stored.
    pub fn is_on(&self) -> bool {
        self.enabled.unwrap_or_default()
    }

    /// The most that all answers of a site may take, in bytes.
    pub fn size_bytes(&self) -> u64 {
        self.size.unwrap_or(Self::DEFAULT.size)
    }

    /// These rules of a route, completed with those of its site.
    #[must_use]
    pub fn within(&self, site: &Self) -> Self {
        let own = self.clone();
        Self {
            enabled: own.enabled.or(site.enabled),
            size: site.size,
            disk: site.disk,
            max_object: own.max_object.or(site.max_object),
            ttl: own.ttl.or(site.ttl),
            stale_while_revalidate: own.stale_while_revalidate.or(site.stale_while_revalidate),
            stale_if_error: own.stale_if_error.or(site.stale_if_error),
            lock_timeout: own.lock_timeout.or(site.lock_timeout),
            ignore_reload: own.ignore_reload.or(site.ignore_reload),
            bypass_cookie: own.bypass_cookie.or_else(|| site.bypass_cookie.clone()),
            bypass_header: own.bypass_header.or_else(|| site.bypass_header.clone()),
            bypass_query: own.bypass_query.or_else(|| site.bypass_query.clone()),
        }
    }
}

/// Whose rules are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    Site,
    Route,
}

/// Reads `cache`: true, false, a time for which every answer is fresh, or a table.
pub(super) fn read(section: &mut Section, scope: Scope, problems: &mut Vec<Problem>) -> CacheRules {
    let mut items = section.items("cache").into_iter();
    let Some(item) = items.next() else { return CacheRules::default() };
    match &item.value {
        Value::Bool(enabled) => CacheRules { enabled: Some(*enabled), ..CacheRules::default() },
        Value::Table(_) => read_table(section, item, scope, problems),
        Value::Text(_) => {
            let ttl =
                section.note("cache", &item.origin, duration(SHORTEST..=365 * DAY)(&item.value));
            CacheRules { enabled: Some(true), ttl, ..CacheRules::default() }
        }
        other => {
            let invalid = must_be("true, false, a time or a table", other)
                .hint("cache = \"1s\" keeps every answer for a second");
            section.refuse("cache", item.origin, invalid);
            CacheRules::default()
        }
    }
}

fn read_table(
    section: &mut Section,
    item: Item,
    scope: Scope,
    problems: &mut Vec<Problem>,
) -> CacheRules {
    let Some((mut table, _)) = section.as_section("cache", item) else {
        return CacheRules::default();
    };
    let (all, disk) = match scope {
        Scope::Site => {
            let (origin, sizes) = (table.origin_of("size"), || size(MB..=1024 * GB));
            (table.read("size", sizes()).zip(origin), table.read("disk", sizes()))
        }
        Scope::Route => (None, None),
    };
    let object_origin =
        table.origin_of("max-object").or_else(|| all.as_ref().map(|(_, at)| at.clone()));
    let rules = CacheRules {
        // Whoever writes about a route's cache wants it to have one.
        enabled: table.read("enabled", truth).or((scope == Scope::Route).then_some(true)),
        size: all.map(|(bytes, _)| bytes),
        disk,
        max_object: table.read("max-object", size(KB..=GB)),
        ttl: table.read("ttl", duration(SHORTEST..=365 * DAY)),
        stale_while_revalidate: table
            .read("stale-while-revalidate", duration(Duration::ZERO..=365 * DAY)),
        stale_if_error: table.read("stale-if-error", duration(Duration::ZERO..=365 * DAY)),
        lock_timeout: table.read("lock-timeout", duration(Duration::ZERO..=DAY / 24)),
        ignore_reload: table.read("ignore-reload", truth),
        bypass_cookie: table.read_texts("bypass-cookie", name),
        bypass_header: table.read_texts("bypass-header", name),
        bypass_query: table.read_texts("bypass-query", name),
    };
    let (most, object) =
        (rules.size_bytes(), rules.max_object.unwrap_or(CacheRules::DEFAULT.max_object));
    if let (Scope::Site, Some(origin), true) = (scope, object_origin, object > most / 4) {
        let invalid = Invalid::new(format!(
            "can't be {} beside a `size` of {}: an answer takes a quarter of it at most",
            size_text(object),
            size_text(most)
        ));
        let hint = format!("make `size` at least {}", size_text(object.saturating_mul(4)));
        table.refuse("max-object", origin, invalid.hint(hint));
    }
    table.finish(UNSUPPORTED, problems);
    rules
}

/// Of a cookie, a header or a parameter.
fn name(text: &str) -> Result<String, Invalid> {
    let is_name = |byte: u8| byte.is_ascii_graphic() && !b"=;&,\"".contains(&byte);
    if text.is_empty() || !text.bytes().all(is_name) {
        return Err(Invalid::new(format!("\"{text}\" is not a name"))
            .hint("write the name alone, without a value"));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::parse_site;

    fn site(text: &str) -> CacheRules {
        parse_site(text, Path::new("onebox.toml")).unwrap().routing.cache
    }

    fn route(text: &str) -> CacheRules {
        let text = format!("[[route]]\npath = '/a'\n{text}");
        parse_site(&text, Path::new("onebox.toml")).unwrap().routing.routes[0].cache.clone()
    }

    #[test]
    fn a_cache_is_on_off_or_for_a_time() {
        let on = CacheRules { enabled: Some(true), ..CacheRules::default() };
        let second = CacheRules { ttl: Some(Duration::from_secs(1)), ..on.clone() };
        assert_eq!(site(""), CacheRules::default());
        assert_eq!(site("cache = true"), on);
        assert_eq!(site("[cache]\nenabled = true"), on);
        assert!(!site("[cache]\nttl = '1s'").is_on());
        assert_eq!(route("cache = '1s'"), second);
        assert_eq!(route("cache = { ttl = '1s' }"), second);
        assert!(!route("cache = false").within(&on).is_on());
    }

    #[test]
    fn a_route_completes_its_rules_with_its_sites() {
        let site =
            site("[cache]\nenabled = true\nmax-object = '2MB'\nttl = '1m'\nbypass-cookie = 'a'");
        let both = route("cache = { ttl = '1s', bypass-cookie = [] }").within(&site);
        assert_eq!(both.max_object, Some(2 << 20));
        assert_eq!(
            (both.ttl, both.bypass_cookie),
            (Some(Duration::from_secs(1)), Some(Vec::new()))
        );
    }

    #[test]
    fn an_answer_that_could_never_be_stored_is_a_contradiction() {
        for text in ["size = '2MB'", "max-object = '20MB'", "size = '8MB'\nmax-object = '4MB'"] {
            let text = format!("[cache]\n{text}");
            let error = parse_site(&text, Path::new("onebox.toml")).unwrap_err().to_string();
            assert!(error.contains("quarter"), "{error}");
        }
    }
}
