//! Which names the world's authorities vouch for.
//!
//! Source: RFC 2606, RFC 6761, RFC 6762, RFC 8375 and RFC 9476 (names for special use), CA/Browser Forum's baseline requirements §7.1.4.2 (no internal names).

use std::net::IpAddr;

/// Last labels that never belong to anybody, or only within a network.
const INTERNAL: [&str; 15] = [
    "alt",
    "arpa",
    "corp",
    "example",
    "home",
    "internal",
    "intranet",
    "invalid",
    "lan",
    "local",
    "localdomain",
    "localhost",
    "onion",
    "private",
    "test",
];

/// Domains of the world's that nobody can order for (RFC 2606 §3; authorities refuse them).
const RESERVED: [&str; 3] = ["example.com", "example.net", "example.org"];

/// Let's Encrypt's limit; nobody has more by intent.
const MOST_LABELS: usize = 10;

/// Why no authority of the world's vouches for a name that looks as if one could.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum Unorderable {
    /// `*.a.org`
    #[error("a wildcard is proven by DNS alone, which onebox can't")]
    Wildcard,
    /// `www.example.com`
    #[error("the domain is reserved for examples")]
    Reserved,
    /// `a.0`
    #[error("no domain of the world's ends so")]
    Ending,
    /// `1.2.3.4.5.6.7.8.9.a.org`
    #[error("it has more than {MOST_LABELS} labels")]
    Deep,
}

/// Whether an authority can vouch for a host after asking it over HTTP or TLS: not for addresses, single labels and names that
/// nobody owns; and for a wildcard only DNS could answer.
pub(crate) fn is_public(host: &str) -> bool {
    looks_public(host) && unorderable(host).is_none()
}

/// Why a host that looks public can't have a certificate of the world's; `None`: it can, or does not look so.
fn unorderable(host: &str) -> Option<Unorderable> {
    let (wildcard, name) = match host.strip_prefix("*.") {
        Some(rest) => (true, rest),
        None => (false, host),
    };
    if !looks_public(name) {
        return None;
    }
    let is_below = |reserved: &str| {
        name.strip_suffix(reserved).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    let last = name.rsplit('.').next().unwrap_or_default();
    match () {
        () if RESERVED.into_iter().any(is_below) => Some(Unorderable::Reserved),
        // RFC 3696 §2: the last label is not all digits; and a single letter was given to nobody.
        () if last.len() < 2 || last.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some(Unorderable::Ending)
        }
        () if wildcard => Some(Unorderable::Wildcard),
        () if name.split('.').count() > MOST_LABELS => Some(Unorderable::Deep),
        () => None,
    }
}

/// What the owner of a site should know about the first of its hosts that no authority of the world's can vouch for.
pub fn about_unorderable(hosts: &[String]) -> Option<String> {
    let (host, why) = hosts.iter().find_map(|host| Some((host, unorderable(host)?)))?;
    let way_out = match why {
        Unorderable::Wildcard => "name its hosts one by one, or bring a certificate under [tls]",
        Unorderable::Reserved | Unorderable::Ending | Unorderable::Deep => {
            "write another one in `domains`, or bring a certificate under [tls]"
        }
    };
    Some(format!("no certificate that browsers trust is ordered for {host}: {why}; {way_out}"))
}

fn looks_public(host: &str) -> bool {
    let Some((rest, last)) = host.rsplit_once('.') else { return false };
    !rest.is_empty()
        && !host.contains('*')
        && host.parse::<IpAddr>().is_err()
        && !INTERNAL.contains(&last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_somebody_owns_is_public() {
        for host in ["a.org", "www.a.co.uk", "xn--mnchen-3ya.de", "local.dev"] {
            assert!(is_public(host), "{host}");
        }
        for host in [
            "localhost",
            "blog.localhost",
            "nas",
            "nas.local",
            "a.lan",
            "192.0.2.1",
            "::1",
            "*.a.org",
            "a.home.arpa",
            "a.test",
        ] {
            assert!(!is_public(host), "{host}");
        }
    }

    #[test]
    fn what_looks_public_and_can_not_be_ordered_says_why() {
        for (host, why) in [
            ("*.a.org", Some(Unorderable::Wildcard)),
            ("*.a.lan", None),
            ("example.com", Some(Unorderable::Reserved)),
            ("www.example.org", Some(Unorderable::Reserved)),
            ("*.example.net", Some(Unorderable::Reserved)),
            ("notexample.com", None),
            ("a.0", Some(Unorderable::Ending)),
            ("www.a.b", Some(Unorderable::Ending)),
            ("1.2.3.4.5.6.7.8.9.a.org", Some(Unorderable::Deep)),
            ("3.4.5.6.7.8.9.b.a.org", None),
            ("192.0.2.1", None),
            ("nas.local", None),
            ("a.org", None),
        ] {
            assert_eq!(unorderable(host), why, "{host}");
            assert!(why.is_none() || !is_public(host), "{host}");
        }
    }
}
