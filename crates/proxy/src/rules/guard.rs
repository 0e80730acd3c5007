//! Whom the box refuses, whatever the site says itself: rules that change while it runs.

use std::net::IpAddr;
use std::sync::Arc;

use onebox_config::AccessLists;

use super::networks::Networks;

/// What the box says about addresses that ask for a site.
pub struct Guard {
    allow: Networks,
    deny: Networks,
}

impl Guard {
    /// All lists together; `None`: nobody is refused.
    pub fn of(lists: &[&AccessLists]) -> Option<Arc<Self>> {
        let networks = |of: fn(&AccessLists) -> &Vec<ipnet::IpNet>| {
            let all: Vec<_> = lists.iter().flat_map(|list| of(list)).copied().collect();
            Networks::new(&all)
        };
        let guard = Self { allow: networks(|list| &list.allow), deny: networks(|list| &list.deny) };
        (!guard.deny.is_empty()).then(|| Arc::new(guard))
    }

    /// Whether requests from there get 403: somebody denies them, and nobody allows them.
    pub fn refuses(&self, client: IpAddr) -> bool {
        self.deny.contain(client) && !self.allow.contain(client)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lists(allow: &[&str], deny: &[&str]) -> AccessLists {
        let parse = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        AccessLists { allow: parse(allow), deny: parse(deny) }
    }

    #[test]
    fn who_is_allowed_is_never_refused() {
        let everywhere = lists(&["203.0.113.7/32"], &["10.0.0.0/8"]);
        let own = lists(&[], &["203.0.113.0/24", "2001:db8::/64"]);
        let guard = Guard::of(&[&everywhere, &own]).unwrap();
        for (client, expected) in [
            ("10.1.2.3", true),
            ("203.0.113.6", true),
            ("203.0.113.7", false),
            ("2001:db8::1", true),
            ("2001:db8:0:1::1", false),
            ("192.0.2.7", false),
        ] {
            assert_eq!(guard.refuses(client.parse().unwrap()), expected, "{client}");
        }
    }

    #[test]
    fn without_a_denial_there_is_nothing_to_ask() {
        assert!(Guard::of(&[]).is_none());
        assert!(Guard::of(&[&lists(&["10.0.0.0/8"], &[])]).is_none());
    }
}
