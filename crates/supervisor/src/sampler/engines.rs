//! What was counted since the last second, over all engines that live: each counts from its own start.

use std::collections::HashMap;
use std::sync::Arc;

use onebox_metrics::Snapshot;

use crate::engine::Generation;

/// The engines and their last totals.
pub(super) struct Engines {
    /// The last generation that another supervisor started, and has counted until now.
    adopted: u64,
    /// By generation.
    before: HashMap<u64, Snapshot>,
    /// Those of the second before: one that has ended may have said something at its end.
    living: Vec<Arc<Generation>>,
}

/// What an engine said.
struct Told {
    generation: u64,
    /// The last totals; `None` where it said nothing since it was asked last.
    totals: Option<Snapshot>,
}

impl Engines {
    pub(super) fn new(adopted: u64) -> Self {
        Self { adopted, before: HashMap::new(), living: Vec::new() }
    }

    /// What was counted since the last call, by engines that live or have lived since.
    pub(super) fn count(&mut self, living: Vec<Arc<Generation>>) -> Snapshot {
        let gone = |old: &&Arc<Generation>| !living.iter().any(|one| Arc::ptr_eq(one, old));
        let all = living.iter().chain(self.living.iter().filter(gone));
        let told = all.map(|generation| Told {
            generation: generation.number,
            totals: generation.take_samples().into_iter().next_back(),
        });
        let told = told.collect();
        self.living = living;
        self.differences(told)
    }

    fn differences(&mut self, told: Vec<Told>) -> Snapshot {
        let mut sum = Snapshot::default();
        self.before.retain(|known, _| told.iter().any(|one| one.generation == *known));
        for Told { generation, totals } in told {
            let before = self.before.get(&generation);
            // Silent for a moment: what is in flight still is.
            let Some(now) = totals.or_else(|| before.cloned()) else { continue };
            match before {
                Some(before) => sum.merge(&now.delta(before)),
                // One that was there before this supervisor has a past that another has counted.
                None if generation <= self.adopted => sum.merge(&now.delta(&now)),
                None => sum.merge(&now),
            }
            self.before.insert(generation, now);
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use onebox_metrics::SiteSnapshot;

    const ADOPTED: u64 = 7;

    fn told(generation: u64, requests: Option<u64>) -> Told {
        let totals = requests.map(|requests| {
            let by_class = [0, 0, requests, 0, 0, 0];
            let site = SiteSnapshot { by_class, in_flight: 2, ..SiteSnapshot::default() };
            Snapshot { sites: [("blog".to_owned(), site)].into(), ..Snapshot::default() }
        });
        Told { generation, totals }
    }

    fn counted(engines: &mut Engines, told: Vec<Told>) -> (u64, u64) {
        let sum = engines.differences(told);
        sum.sites.get("blog").map_or((0, 0), |site| (site.requests(), site.in_flight))
    }

    #[test]
    fn engines_are_counted_each_from_its_own_start() {
        let mut engines = Engines::new(ADOPTED);
        assert_eq!(counted(&mut engines, vec![told(11, Some(5))]), (5, 2));
        let both = vec![told(11, Some(7)), told(12, Some(3))];
        assert_eq!(counted(&mut engines, both), (5, 4));
        assert_eq!(counted(&mut engines, vec![told(12, None)]), (0, 2), "silent, not idle");
        assert_eq!(counted(&mut engines, vec![told(12, Some(4))]), (1, 2));
        assert_eq!(counted(&mut engines, vec![told(13, None)]), (0, 0));
    }

    #[test]
    fn what_an_engine_did_before_this_supervisor_is_not_counted_again() {
        let mut engines = Engines::new(ADOPTED);
        assert_eq!(counted(&mut engines, vec![told(7, Some(1_000_000))]), (0, 2));
        assert_eq!(counted(&mut engines, vec![told(7, Some(1_000_003))]), (3, 2));
    }
}
