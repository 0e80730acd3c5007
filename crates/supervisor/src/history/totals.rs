//! What was counted since the appliance started, whichever engines did it, and what was read off last.

use std::collections::BTreeMap;

use super::figures::{BoxFigures, Figures, ProcessFigures, SiteFigures, Tick};

/// Everything up to now.
#[derive(Debug, Clone, Default)]
pub(crate) struct Totals {
    /// By name; counters only grow, `in_flight` is of the last second, what is stored of the last one with a request.
    pub(crate) sites: BTreeMap<String, SiteFigures>,
    /// By name: those that live, with their CPU time and their waits for the GIL since the appliance started.
    pub(crate) processes: BTreeMap<String, ProcessFigures>,
    /// The bytes of its network, and who got to no site, are since the appliance started.
    pub(crate) the_box: BoxFigures,
}

impl Totals {
    /// Adds a second.
    pub(super) fn add(&mut self, tick: &Tick) {
        for (name, figures) in &tick.sites {
            self.sites.entry(name.clone()).or_default().merge(&figures.of_the_whole_site());
        }
        for (name, total) in &mut self.sites {
            let now = tick.sites.get(name);
            total.counted.in_flight = now.map_or(0, |now| now.in_flight.max);
            if let Some(now) = now {
                total.counted.cache.stored_bytes = now.counted.cache.stored_bytes;
            }
        }
        let before = std::mem::replace(&mut self.processes, tick.processes.clone());
        for (name, now) in &mut self.processes {
            let Some(earlier) = before.get(name) else { continue };
            now.cpu_us = now.cpu_us.saturating_add(earlier.cpu_us);
            now.gil_stalls.merge(earlier.gil_stalls);
        }
        let before = std::mem::replace(&mut self.the_box, tick.the_box);
        self.the_box.received = self.the_box.received.saturating_add(before.received);
        self.the_box.sent = self.the_box.sent.saturating_add(before.sent);
        self.the_box.drops.merge(&before.drops);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use onebox_metrics::SiteSnapshot;

    #[test]
    fn counters_grow_and_what_is_read_off_is_the_last_reading() {
        let tick = |answers, in_flight, cpu_us| {
            let by_class = [0, 0, answers, 0, 0, 0];
            let counted = SiteSnapshot { by_class, in_flight, ..SiteSnapshot::default() };
            let site = SiteFigures::over(&counted, 1).map(|figures| ("blog".to_owned(), figures));
            let engine = ProcessFigures { samples: 1, cpu_us, ..ProcessFigures::default() };
            Tick {
                sites: site.into_iter().collect(),
                processes: [("engine".to_owned(), engine)].into(),
                the_box: BoxFigures { received: 10, memory_total: 8, ..BoxFigures::default() },
                ..Tick::default()
            }
        };
        let mut totals = Totals::default();
        totals.add(&tick(3, 2, 100));
        totals.add(&tick(4, 1, 50));
        let blog = &totals.sites["blog"].counted;
        assert_eq!((blog.requests(), blog.in_flight), (7, 1));
        assert_eq!(totals.processes["engine"].cpu_us, 150);
        assert_eq!((totals.the_box.received, totals.the_box.memory_total), (20, 8));
        totals.add(&tick(0, 0, 0));
        assert_eq!(totals.sites["blog"].counted.in_flight, 0);
    }
}
