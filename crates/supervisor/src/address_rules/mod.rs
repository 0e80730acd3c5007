//! Which addresses get to which site: the rules of state.db and of box.toml together, and what the access logs say about them.
//!
//! Must not know engines or the database: the appliance hands rules in and lists out.

mod probes;
mod scan;
mod trial;

use std::sync::Arc;

use ipnet::IpNet;
use onebox_config::AccessLists;
use onebox_proxy::Guard;

use crate::api::{AddressRule, RuleAction, RuleSource};

pub(crate) use scan::suggestions;
pub(crate) use trial::{Tried, trial};

/// So far back the access logs are read.
pub(crate) const LOOK_BACK_MS: i64 = 3_600_000;

/// Every rule that holds.
#[derive(Debug, Clone, Default)]
pub(crate) struct RuleBook {
    rules: Vec<(IpNet, AddressRule)>,
}

impl RuleBook {
    /// Of those that were asked for and those of box.toml.
    pub(crate) fn new(live: Vec<AddressRule>, file: &AccessLists) -> Self {
        let of_file = |networks: &[IpNet], action| -> Vec<_> {
            networks.iter().map(|network| (network.trunc(), from_file(network, action))).collect()
        };
        // What is in the database was a network when it came there.
        let live = live
            .into_iter()
            .filter_map(|rule| Some((onebox_config::parse_network(&rule.network).ok()?, rule)));
        let rules = live
            .chain(of_file(&file.deny, RuleAction::Deny))
            .chain(of_file(&file.allow, RuleAction::Allow));
        Self { rules: rules.collect() }
    }

    /// Those that were asked for, then those of box.toml.
    pub(crate) fn rules(&self) -> impl Iterator<Item = &AddressRule> {
        self.rules.iter().map(|(_, rule)| rule)
    }

    /// What holds for all sites (`None`), or for one alone.
    pub(crate) fn lists(&self, site: Option<&str>) -> AccessLists {
        let of = |action| {
            let rules = self.rules.iter();
            let rules =
                rules.filter(|(_, rule)| rule.action == action && rule.site.as_deref() == site);
            rules.map(|(network, _)| *network).collect()
        };
        AccessLists { allow: of(RuleAction::Allow), deny: of(RuleAction::Deny) }
    }

    /// Whom a site refuses by these rules.
    pub(crate) fn guard(&self, site: &str) -> Option<Arc<Guard>> {
        Guard::of(&[&self.lists(None), &self.lists(Some(site))])
    }

    /// Who gets to a site, whatever denies it.
    pub(crate) fn allowed(&self, site: &str) -> Vec<IpNet> {
        [self.lists(None).allow, self.lists(Some(site)).allow].concat()
    }

    /// When the first of them is over.
    pub(crate) fn next_end_ms(&self) -> Option<i64> {
        self.rules().filter_map(|rule| rule.expires_ms).min()
    }
}

/// As people write it: an address alone where it is one.
pub(crate) fn shown(network: &IpNet) -> String {
    match network.prefix_len() == network.max_prefix_len() {
        true => network.addr().to_string(),
        false => network.trunc().to_string(),
    }
}

fn from_file(network: &IpNet, action: RuleAction) -> AddressRule {
    AddressRule {
        id: None,
        source: RuleSource::File,
        action,
        network: shown(network),
        site: None,
        reason: None,
        who: "box.toml".to_owned(),
        created_ms: 0,
        expires_ms: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn rule(action: RuleAction, network: &str, site: Option<&str>) -> AddressRule {
        AddressRule {
            id: Some(1),
            source: RuleSource::Live,
            site: site.map(str::to_owned),
            expires_ms: Some(5000),
            ..from_file(&onebox_config::parse_network(network).unwrap(), action)
        }
    }

    #[test]
    fn a_rule_for_a_site_holds_there_alone_and_one_of_the_box_everywhere() {
        let file = AccessLists { allow: Vec::new(), deny: vec!["10.0.0.9/8".parse().unwrap()] };
        let live = vec![
            rule(RuleAction::Deny, "192.0.2.7", Some("blog")),
            rule(RuleAction::Allow, "10.0.0.1", Some("shop")),
        ];
        let book = RuleBook::new(live, &file);
        let refuses = |site: &str, client: &str| {
            book.guard(site).is_some_and(|guard| guard.refuses(client.parse().unwrap()))
        };
        assert!(refuses("blog", "192.0.2.7") && !refuses("shop", "192.0.2.7"));
        assert!(refuses("blog", "10.0.0.1") && !refuses("shop", "10.0.0.1"));
        assert!(refuses("shop", "10.255.0.1") && !refuses("shop", "11.0.0.1"));
        assert_eq!(book.allowed("shop"), ["10.0.0.1/32".parse().unwrap()]);
        assert!(book.allowed("blog").is_empty());
        assert_eq!(book.next_end_ms(), Some(5000));
        let shown: Vec<_> = book.rules().map(|rule| rule.network.as_str()).collect();
        assert_eq!(shown, ["192.0.2.7", "10.0.0.1", "10.0.0.0/8"]);
    }
}
