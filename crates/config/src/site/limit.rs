//! `[[limit]]` of a site or a route: how often a client may ask, and how much at a time.
//!
//! Source: nginx's `limit_req` and `limit_conn`, HAProxy's stick tables.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::section::{Section, Unsupported};
use crate::types::{Invalid, number, text};
use crate::{Origin, Problem};

/// The most that a limit may name.
const MOST: u32 = 1_000_000;

/// What nginx and others call things.
const UNSUPPORTED: &Unsupported = &Unsupported {
    later: &[],
    foreign: &[
        ("zone", "by", "nginx"),
        ("limit-req", "rate", "nginx"),
        ("limit-conn", "concurrent", "nginx"),
        ("events", "rate", "Caddy"),
        ("key", "by", "Caddy"),
    ],
};

/// One `[[limit]]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Limit {
    /// `rate`
    pub rate: Option<Rate>,
    /// `concurrent`: requests that are answered at a time
    pub concurrent: Option<u32>,
    /// `by`
    pub by: LimitKey,
}

/// How often may be asked: a token bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Rate {
    /// So many requests
    pub requests: u32,
    /// in so much time,
    pub per: Duration,
    /// `burst`: and so many at once.
    pub burst: u32,
}

/// Whose requests are counted together.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum LimitKey {
    /// A client's, by its address; of IPv6 by its /64.
    Address,
    /// Those with the same value of a header; those without it by address.
    Header(String),
    /// Those with the same value of a cookie; those without it by address.
    Cookie(String),
    /// Those of one route, everybody's; what no route has is one of its own.
    Route,
    /// Everybody's.
    All,
}

impl fmt::Display for Limit {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(Rate { requests, per, burst }) = self.rate {
            let unit = UNITS.iter().find(|(_, unit)| *unit == per).map_or("", |(name, _)| name);
            write!(out, "{requests}/{unit}, {burst} at once")?;
        }
        if let Some(most) = self.concurrent {
            let comma = if self.rate.is_some() { ", " } else { "" };
            write!(out, "{comma}{most} at a time")?;
        }
        write!(out, ", by {}", self.by)
    }
}

impl fmt::Display for LimitKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address => out.write_str("address"),
            Self::Header(name) => write!(out, "header:{name}"),
            Self::Cookie(name) => write!(out, "cookie:{name}"),
            Self::Route => out.write_str("route"),
            Self::All => out.write_str("all"),
        }
    }
}

/// Reads `limit`; `None`: nothing is said.
pub(super) fn read(section: &mut Section, problems: &mut Vec<Problem>) -> Option<Vec<Limit>> {
    let were_given = section.origin_of("limit").is_some();
    let limits = section.sections("limit");
    let limits = limits.into_iter().filter_map(|(limit, at)| read_one(limit, at, problems));
    let limits = limits.collect();
    were_given.then_some(limits)
}

fn read_one(mut section: Section, at: Origin, problems: &mut Vec<Problem>) -> Option<Limit> {
    let is_empty = section.origin_of("rate").or(section.origin_of("concurrent")).is_none();
    let has_rate = section.origin_of("rate").is_some();
    let rate = section.read("rate", text(rate));
    let burst_at = section.origin_of("burst");
    let burst = section.read("burst", number(1..=MOST));
    if let (false, Some(at)) = (has_rate, burst_at) {
        let hint = "rate = \"10/s\"";
        section.refuse("burst", at, Invalid::new("stands without a `rate`").hint(hint));
    }
    let limit = Limit {
        rate: rate.map(|(requests, per)| Rate { requests, per, burst: burst.unwrap_or(requests) }),
        concurrent: section.read("concurrent", number(1..=MOST)),
        by: section.read("by", text(key)).unwrap_or(LimitKey::Address),
    };
    if is_empty {
        let invalid = Invalid::new("is missing: nothing would be limited");
        section.refuse("rate", at, invalid.hint("rate = \"10/s\", or concurrent = 20"));
    }
    section.finish(UNSUPPORTED, problems);
    (limit.rate.is_some() || limit.concurrent.is_some()).then_some(limit)
}

const UNITS: [(&str, Duration); 4] = [
    ("s", Duration::from_secs(1)),
    ("m", Duration::from_secs(60)),
    ("h", Duration::from_secs(3600)),
    ("d", Duration::from_secs(86_400)),
];

/// `10/s`, `600/m`; nginx writes `10r/s`.
fn rate(text: &str) -> Result<(u32, Duration), Invalid> {
    let read = || {
        let (requests, unit) = text.split_once('/')?;
        let requests = requests.trim().trim_end_matches('r').parse().ok()?;
        let (_, per) = UNITS.iter().find(|(name, _)| *name == unit.trim())?;
        Some((requests, *per))
    };
    match read() {
        Some((requests @ 1..=MOST, per)) => Ok((requests, per)),
        Some(_) => Err(Invalid::new(format!("\"{text}\" is not from 1 to {MOST} requests"))),
        None => Err(Invalid::new(format!("\"{text}\" is not a rate"))
            .hint("write requests and s, m, h or d: \"10/s\", \"100/m\"")),
    }
}

fn key(text: &str) -> Result<LimitKey, Invalid> {
    let name = |name: &str| {
        let is_name = |byte: u8| byte.is_ascii_graphic() && !b"=;,:\"".contains(&byte);
        let is_right = !name.is_empty() && name.bytes().all(is_name);
        is_right.then(|| name.to_owned())
    };
    let named = match text.split_once(':') {
        None if text == "address" => Some(LimitKey::Address),
        None if text == "route" => Some(LimitKey::Route),
        None if text == "all" => Some(LimitKey::All),
        Some(("header", header)) => {
            name(header).map(|name| name.to_ascii_lowercase()).map(LimitKey::Header)
        }
        Some(("cookie", cookie)) => name(cookie).map(LimitKey::Cookie),
        _ => None,
    };
    named.ok_or_else(|| {
        Invalid::new(format!("\"{text}\" names nothing to count by"))
            .hint("one of \"address\", \"header:NAME\", \"cookie:NAME\", \"route\", \"all\"")
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::parse_site;

    fn limits(text: &str) -> Vec<String> {
        let site = parse_site(text, Path::new("onebox.toml")).unwrap();
        site.routing.rules.limits.unwrap().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_limit_is_a_rate_or_a_number_at_a_time() {
        let table = [
            ("rate = '10/s'", "10/s, 10 at once, by address"),
            ("rate = '10r/s'\nburst = 30", "10/s, 30 at once, by address"),
            ("rate = '5/m'\nby = 'header:X-Api-Key'", "5/m, 5 at once, by header:x-api-key"),
            ("concurrent = 4\nby = 'cookie:sid'", "4 at a time, by cookie:sid"),
            ("concurrent = 4\nby = 'route'", "4 at a time, by route"),
            ("rate = '9/h'\nconcurrent = 4\nby = 'all'", "9/h, 9 at once, 4 at a time, by all"),
        ];
        for (text, shown) in table {
            assert_eq!(limits(&format!("[[limit]]\n{text}")), [shown]);
        }
    }

    #[test]
    fn a_routes_limits_stand_in_place_of_its_sites() {
        let text = "[[limit]]\nrate = '10/s'\n[[route]]\npath = '/a'\n[[route.limit]]\nrate = '1/s'\n\
             [[route]]\npath = '/b'\nlimit = []\n[[route]]\npath = '/c'\nstatic = 'c'";
        let routing = parse_site(text, Path::new("onebox.toml")).unwrap().routing;
        let of = |index: usize| {
            let rules = routing.routes[index].rules.within(&routing.rules);
            rules
                .limits
                .unwrap()
                .iter()
                .map(|limit| limit.rate.unwrap().requests)
                .collect::<Vec<_>>()
        };
        assert_eq!((of(0), of(1), of(2)), (vec![1], vec![], vec![10]));
    }
}
