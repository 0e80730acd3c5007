//! Which names the world's authorities vouch for.
//!
//! Source: RFC 6761, RFC 6762 and RFC 8375 (names for special use), CA/Browser Forum's baseline requirements §7.1.4.2 (no internal names).

use std::net::IpAddr;

/// Last labels that never belong to anybody, or only within a network.
const INTERNAL: [&str; 14] = [
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

/// Whether an authority can vouch for a host after asking it over HTTP or TLS: not for addresses, single labels and names that
/// nobody owns; and for a wildcard only DNS could answer.
pub(crate) fn is_public(host: &str) -> bool {
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
}
