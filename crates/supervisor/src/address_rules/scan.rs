//! Who looks for holes: addresses that asked for many different pages that only scanners ask for, and that are not there.
//!
//! Nobody is refused for it by itself. A crawler with broken links asks for none of these pages; where many people share an address,
//! what the scanner among them asks for is a small part of all.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::IpAddr;

use ipnet::IpNet;
use onebox_config::client_network;

use super::probes::is_probe;
use super::{RuleBook, shown};
use crate::api::{RuleSuggestion, RuleSuggestions};
use crate::logs::{AccessLine, Logs};

/// So many different probes make a scanner.
const LEAST_PROBES: usize = 10;
/// And so large a part of all its requests, in percent.
const LEAST_PERCENT: u64 = 50;
/// Different addresses that are looked at; later ones are left out.
const MOST_ADDRESSES: usize = 100_000;
/// Different pages that are remembered of one.
const MOST_PROBES: usize = 1000;
/// So many are told.
const MOST_TOLD: usize = 100;
const EXAMPLES: usize = 5;

/// What an address asked for.
#[derive(Default)]
struct Seen {
    requests: u64,
    /// Requests for pages of scanners that were not there.
    probing: u64,
    probes: HashSet<String>,
    sites: HashSet<String>,
    last_ms: i64,
}

/// Reads the access logs. Blocks on the disk.
pub(crate) fn suggestions(
    logs: &Logs,
    book: &RuleBook,
    sites: &[String],
    from_ms: i64,
) -> io::Result<RuleSuggestions> {
    let mut seen: HashMap<IpNet, Seen> = HashMap::new();
    for site in sites {
        let (guard, allowed) = (book.guard(site), book.allowed(site));
        let is_known = |client: IpAddr| {
            guard.as_ref().is_some_and(|guard| guard.refuses(client))
                || allowed.iter().any(|network| network.contains(&client))
        };
        logs.each_access(site, from_ms, |line| {
            let client = line.client.filter(|client| !client.is_loopback() && !is_known(*client));
            let Some(network) = client.map(client_network) else { return };
            if seen.len() < MOST_ADDRESSES || seen.contains_key(&network) {
                seen.entry(network).or_default().take(site, line);
            }
        })?;
    }
    let mut found: Vec<_> = seen.into_iter().filter(|(_, seen)| seen.is_scanner()).collect();
    found.sort_by_key(|(network, seen)| (std::cmp::Reverse(seen.probes.len()), *network));
    found.truncate(MOST_TOLD);
    Ok(RuleSuggestions {
        from_ms,
        least_probes: LEAST_PROBES as u64,
        least_percent: LEAST_PERCENT,
        found: found.into_iter().map(|(network, seen)| seen.told(&network)).collect(),
    })
}

impl Seen {
    fn take(&mut self, site: &str, line: &AccessLine<'_>) {
        self.requests += 1;
        self.last_ms = self.last_ms.max(line.at_ms);
        if !matches!(line.status, 404 | 410) || !is_probe(&line.path) {
            return;
        }
        self.probing += 1;
        if !self.sites.contains(site) {
            self.sites.insert(site.to_owned());
        }
        if self.probes.len() < MOST_PROBES && !self.probes.contains(&*line.path) {
            self.probes.insert(line.path.chars().take(200).collect());
        }
    }

    fn is_scanner(&self) -> bool {
        self.probes.len() >= LEAST_PROBES && self.probing * 100 >= self.requests * LEAST_PERCENT
    }

    fn told(self, network: &IpNet) -> RuleSuggestion {
        let sorted = |texts: HashSet<String>| {
            let mut texts: Vec<_> = texts.into_iter().collect();
            texts.sort();
            texts
        };
        let probes = self.probes.len() as u64;
        let examples = sorted(self.probes).into_iter().take(EXAMPLES).collect();
        let (requests, sites, last_ms) = (self.requests, sorted(self.sites), self.last_ms);
        RuleSuggestion { network: shown(network), requests, probes, examples, sites, last_ms }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use onebox_config::{AccessLists, Paths};

    use super::*;
    use crate::address_rules::tests::rule;
    use crate::api::RuleAction;
    use crate::logs::Destination;

    /// So many requests of an address, each for another page with this beginning.
    struct Asks(&'static str, &'static str, u16, usize);

    fn told(all: &[Asks], book: &RuleBook) -> Vec<RuleSuggestion> {
        let folder = tempfile::tempdir().unwrap();
        let logs = Logs::new(Paths::new(folder.path()), Destination::Files);
        let mut text = String::new();
        for Asks(client, path, status, count) in all {
            for number in 0..*count {
                writeln!(
                    text,
                    "{{\"at_ms\":{number},\"method\":\"GET\",\"path\":\"{path}{number}\",\"status\":{status},\"client\":\"{client}\"}}"
                )
                .unwrap();
            }
        }
        let path = logs.access_log("blog");
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        suggestions(&logs, book, &["blog".to_owned()], 0).unwrap().found
    }

    #[test]
    fn a_scanner_is_told_and_nobody_else() {
        let all = [
            Asks("192.0.2.1", "/.git/", 404, 12),
            // A page that links to nothing, a crawler of an earlier site, one probe again and again.
            Asks("192.0.2.2", "/broken/", 404, 500),
            Asks("192.0.2.3", "/old.php?", 404, 500),
            Asks("192.0.2.4", "/.env?", 404, 9),
            // They are there.
            Asks("192.0.2.5", "/.git/", 200, 50),
            // Many people behind one address, one of whom scans.
            Asks("192.0.2.6", "/.git/", 404, 20),
            Asks("192.0.2.6", "/page/", 200, 21),
            Asks("127.0.0.1", "/.git/", 404, 20),
        ];
        let found = told(&all, &RuleBook::default());
        let expected = RuleSuggestion {
            network: "192.0.2.1".to_owned(),
            requests: 12,
            probes: 12,
            examples: ["/.git/0", "/.git/1", "/.git/10", "/.git/11", "/.git/2"]
                .map(str::to_owned)
                .into(),
            sites: vec!["blog".to_owned()],
            last_ms: 11,
        };
        assert_eq!(found, [expected]);
    }

    #[test]
    fn addresses_of_one_network_are_one_scanner() {
        let all = [
            Asks("2001:db8::1", "/.git/a", 404, 6),
            Asks("2001:db8::ffff:2", "/.git/b", 404, 6),
            Asks("2001:db8:0:1::1", "/.git/c", 404, 6),
        ];
        let found = told(&all, &RuleBook::default());
        let networks: Vec<_> = found.iter().map(|one| (&*one.network, one.probes)).collect();
        assert_eq!(networks, [("2001:db8::/64", 12)]);
    }

    #[test]
    fn who_is_known_is_not_suggested() {
        let all = [Asks("192.0.2.1", "/.git/", 404, 20), Asks("192.0.2.2", "/.git/", 404, 20)];
        let rules = vec![
            rule(RuleAction::Deny, "192.0.2.1", None),
            rule(RuleAction::Allow, "192.0.2.2", Some("blog")),
        ];
        assert!(told(&all, &RuleBook::new(rules, &AccessLists::default())).is_empty());
    }
}
