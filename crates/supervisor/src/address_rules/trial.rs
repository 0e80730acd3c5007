//! What a rule would have done within the last hour.

use std::collections::HashSet;
use std::io;
use std::net::IpAddr;

use ipnet::IpNet;

use super::RuleBook;
use crate::api::{RuleAction, RuleTrial, SiteRequests, TriedRequest};
use crate::logs::{AccessLine, Logs};

/// So many requests are shown.
const EXAMPLES: usize = 10;

/// A rule that nobody has made yet.
#[derive(Debug, Clone)]
pub(crate) struct Tried {
    pub(crate) action: RuleAction,
    pub(crate) network: IpNet,
    /// The sites that it would hold for.
    pub(crate) sites: Vec<String>,
    pub(crate) from_ms: i64,
    /// Who asks, where that is an address.
    pub(crate) asking: Option<IpAddr>,
}

/// Reads the access logs. Blocks on the disk.
pub(crate) fn trial(logs: &Logs, book: &RuleBook, tried: &Tried) -> io::Result<RuleTrial> {
    let (mut addresses, mut sites, mut examples) = (HashSet::new(), Vec::new(), Vec::new());
    for site in &tried.sites {
        let is_concerned = concerned(book, tried, site);
        let mut requests = 0;
        logs.each_access(site, tried.from_ms, |line| {
            let Some(client) = line.client.filter(|client| is_concerned(*client)) else { return };
            requests += 1;
            addresses.insert(client);
            examples.push(example(site, line, client));
            if examples.len() > 50 * EXAMPLES {
                keep_last(&mut examples);
            }
        })?;
        if requests > 0 {
            sites.push(SiteRequests { site: site.clone(), requests });
        }
    }
    keep_last(&mut examples);
    sites.sort_by(|a, b| b.requests.cmp(&a.requests).then_with(|| a.site.cmp(&b.site)));
    Ok(RuleTrial {
        from_ms: tried.from_ms,
        requests: sites.iter().map(|site| site.requests).sum(),
        addresses: addresses.len() as u64,
        sites,
        examples,
        is_own_address: tried.asking.is_some_and(|asking| tried.network.contains(&asking)),
    })
}

/// Whether the rule would change something for an address: it denies one that is not allowed, or allows one that is denied.
fn concerned<'a>(
    book: &RuleBook,
    tried: &'a Tried,
    site: &str,
) -> impl Fn(IpAddr) -> bool + use<'a> {
    let (guard, allowed) = (book.guard(site), book.allowed(site));
    move |client| {
        tried.network.contains(&client)
            && match tried.action {
                RuleAction::Deny => !allowed.iter().any(|network| network.contains(&client)),
                RuleAction::Allow => guard.as_ref().is_some_and(|guard| guard.refuses(client)),
            }
    }
}

fn keep_last(examples: &mut Vec<TriedRequest>) {
    examples.sort_by_key(|request| std::cmp::Reverse(request.at_ms));
    examples.truncate(EXAMPLES);
}

fn example(site: &str, line: &AccessLine<'_>, client: IpAddr) -> TriedRequest {
    TriedRequest {
        at_ms: line.at_ms,
        site: site.to_owned(),
        client: client.to_string(),
        method: line.method.to_string(),
        path: line.path.to_string(),
        status: line.status,
    }
}

#[cfg(test)]
mod tests {
    use onebox_config::{AccessLists, Paths};

    use super::*;
    use crate::address_rules::tests::rule;
    use crate::logs::Destination;

    fn logs(of: &[(&str, i64, &str)]) -> (tempfile::TempDir, Logs) {
        let folder = tempfile::tempdir().unwrap();
        let logs = Logs::new(Paths::new(folder.path()), Destination::Files);
        for (site, at_ms, client) in of {
            let path = logs.access_log(site);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            let before = std::fs::read_to_string(&path).unwrap_or_default();
            let line = format!(
                "{{\"at_ms\":{at_ms},\"method\":\"GET\",\"path\":\"/{at_ms}\",\"status\":200,\"client\":\"{client}\"}}\n"
            );
            std::fs::write(&path, before + &line).unwrap();
        }
        (folder, logs)
    }

    fn tried(action: RuleAction, network: &str) -> Tried {
        let sites = vec!["blog".to_owned(), "shop".to_owned(), "silent".to_owned()];
        let asking = "10.0.0.1".parse().ok();
        Tried { action, network: network.parse().unwrap(), sites, from_ms: 100, asking }
    }

    #[test]
    fn what_would_be_refused_is_counted_for_each_site_and_the_last_ones_are_shown() {
        let mut lines: Vec<_> = (100..130).map(|at_ms| ("shop", at_ms, "10.0.0.1")).collect();
        lines.extend([
            ("blog", 120, "10.0.0.2"),
            ("blog", 99, "10.0.0.3"),
            ("blog", 121, "11.0.0.1"),
        ]);
        let (_folder, logs) = logs(&lines);
        let told =
            trial(&logs, &RuleBook::default(), &tried(RuleAction::Deny, "10.0.0.0/8")).unwrap();
        assert_eq!((told.requests, told.addresses, told.is_own_address), (31, 2, true));
        let sites: Vec<_> = told.sites.iter().map(|site| (&*site.site, site.requests)).collect();
        assert_eq!(sites, [("shop", 30), ("blog", 1)]);
        let shown: Vec<_> = told.examples.iter().map(|request| request.at_ms).collect();
        assert_eq!(shown, (120..130).rev().collect::<Vec<_>>());
        let other =
            trial(&logs, &RuleBook::default(), &tried(RuleAction::Deny, "12.0.0.0/8")).unwrap();
        assert_eq!((other.requests, other.is_own_address, other.sites.len()), (0, false, 0));
    }

    #[test]
    fn what_other_rules_say_is_taken_into_account() {
        let lines =
            [("blog", 100, "10.0.0.1"), ("shop", 100, "10.0.0.1"), ("shop", 101, "10.0.0.2")];
        let (_folder, logs) = logs(&lines);
        let allowed = vec![rule(RuleAction::Allow, "10.0.0.1", Some("shop"))];
        let book = RuleBook::new(allowed, &AccessLists::default());
        let told = trial(&logs, &book, &tried(RuleAction::Deny, "10.0.0.0/8")).unwrap();
        assert_eq!(told.requests, 2);
        let denied = vec![rule(RuleAction::Deny, "10.0.0.2", None)];
        let book = RuleBook::new(denied, &AccessLists::default());
        let told = trial(&logs, &book, &tried(RuleAction::Allow, "10.0.0.0/8")).unwrap();
        assert_eq!((told.requests, &*told.examples[0].client), (1, "10.0.0.2"));
    }
}
