//! The sites of a process and their counters. Looked up when routes change, never by a request.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::{DropMetrics, SiteMetrics, Snapshot};

/// Every site's counters by name. A site keeps its counters from release to release.
#[derive(Debug, Default)]
pub struct Registry {
    sites: ArcSwap<BTreeMap<String, Arc<SiteMetrics>>>,
    /// Of clients that got to no site.
    pub drops: DropMetrics,
}

impl Registry {
    /// A registry without sites.
    pub fn new() -> Self {
        Self::default()
    }

    /// The counters of a site, made if there are none.
    pub fn site(&self, name: &str) -> Arc<SiteMetrics> {
        if let Some(found) = self.sites.load().get(name) {
            return Arc::clone(found);
        }
        let made = Arc::new(SiteMetrics::new());
        let mut chosen = Arc::clone(&made);
        self.sites.rcu(|sites| {
            // Another thread may have made them meanwhile: the first one stays.
            let mut sites = BTreeMap::clone(sites);
            chosen = Arc::clone(sites.entry(name.to_owned()).or_insert_with(|| Arc::clone(&made)));
            sites
        });
        chosen
    }

    /// What was counted so far.
    pub fn snapshot(&self) -> Snapshot {
        let sites = self.sites.load();
        Snapshot {
            sites: sites.iter().map(|(name, site)| (name.clone(), site.snapshot())).collect(),
            drops: self.drops.snapshot(),
        }
    }

    /// Forgets the counters of the sites that `keep` does not want.
    pub fn retain(&self, keep: impl Fn(&str) -> bool) {
        self.sites.rcu(|sites| {
            let mut sites = BTreeMap::clone(sites);
            sites.retain(|name, _| keep(name));
            sites
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_has_one_set_of_counters() {
        let registry = Registry::new();
        let guard = registry.site("blog").begin();
        assert!(Arc::ptr_eq(&registry.site("blog"), &registry.site("blog")));
        assert_eq!(registry.snapshot().sites["blog"].in_flight, 1);
        drop(guard);
    }

    #[test]
    fn threads_that_ask_at_once_get_the_same_counters() {
        let registry = Registry::new();
        let all: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| registry.site("blog"))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(all.iter().all(|site| Arc::ptr_eq(site, &all[0])));
    }

    #[test]
    fn sites_that_nobody_wants_are_forgotten() {
        let registry = Registry::new();
        registry.site("blog");
        registry.site("shop");
        registry.retain(|name| name == "shop");
        assert_eq!(registry.snapshot().sites.keys().collect::<Vec<_>>(), ["shop"]);
    }
}
