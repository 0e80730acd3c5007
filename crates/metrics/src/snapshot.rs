//! Counters at one moment, as data: what the engine sends to the supervisor every second.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::traffic::{self, combined};
use crate::{CacheSnapshot, DropSnapshot, HistogramSnapshot, TrafficSnapshot};

/// The counters of a process since it started.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// By name.
    pub sites: BTreeMap<String, SiteSnapshot>,
    /// Of clients that got to no site.
    #[serde(default)]
    pub drops: DropSnapshot,
}

impl Snapshot {
    /// What happened between `earlier` and this one, both of the same process. Sites that are gone are left out.
    pub fn delta(&self, earlier: &Self) -> Self {
        let nothing = SiteSnapshot::default();
        let sites = self.sites.iter().map(|(name, now)| {
            (name.clone(), now.delta(earlier.sites.get(name).unwrap_or(&nothing)))
        });
        Self { sites: sites.collect(), drops: self.drops.delta(&earlier.drops) }
    }

    /// Adds what another process counted.
    pub fn merge(&mut self, other: &Self) {
        for (name, site) in &other.sites {
            self.sites.entry(name.clone()).or_default().merge(site);
        }
        self.drops.merge(&other.drops);
    }
}

/// One site's counters.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteSnapshot {
    /// Answers by the first digit of their status; at 0 those without a proper one.
    pub by_class: [u64; 6],
    /// Answers made by the application, or by servers of an upstream.
    pub app: u64,
    /// Answers made from files, without Python.
    pub r#static: u64,
    /// Answers that were stored.
    #[serde(default)]
    pub cached: u64,
    /// Answers made by the proxy itself.
    pub proxy: u64,
    /// Requests that a limit of the site refused.
    #[serde(default)]
    pub limited: u64,
    /// Bytes received.
    pub bytes_in: u64,
    /// Bytes sent.
    pub bytes_out: u64,
    /// Requests being served at this moment.
    pub in_flight: u64,
    /// How long the application's threads have been waiting for the GIL at this moment, in milliseconds; waits below half a
    /// second are not told.
    pub gil_wait_ms: u64,
    /// What requests came to in the site's cache.
    #[serde(default)]
    pub cache: CacheSnapshot,
    /// By pattern, or [`Routes::OTHER`](crate::Routes::OTHER); those with an answer.
    #[serde(default)]
    pub routes: BTreeMap<String, TrafficSnapshot>,
    /// By release; those with an answer.
    #[serde(default)]
    pub releases: BTreeMap<String, TrafficSnapshot>,
    /// From the first byte to the last.
    pub total: HistogramSnapshot,
    /// [`Phase::Tls`](crate::Phase::Tls)
    #[serde(default)]
    pub tls: HistogramSnapshot,
    /// [`Phase::Accept`](crate::Phase::Accept)
    pub accept: HistogramSnapshot,
    /// [`Phase::Queue`](crate::Phase::Queue)
    pub queue: HistogramSnapshot,
    /// [`Phase::App`](crate::Phase::App)
    pub app_time: HistogramSnapshot,
    /// [`Phase::Body`](crate::Phase::Body)
    pub body: HistogramSnapshot,
    /// [`Phase::Send`](crate::Phase::Send)
    pub send: HistogramSnapshot,
}

impl SiteSnapshot {
    /// All answers.
    pub fn requests(&self) -> u64 {
        self.by_class.iter().sum()
    }

    /// Answers with a status from 500 to 599.
    pub fn errors(&self) -> u64 {
        let [_, _, _, _, _, errors] = self.by_class;
        errors
    }

    /// What happened between `earlier` and this one; `in_flight` and `gil_wait_ms` are this one's.
    pub fn delta(&self, earlier: &Self) -> Self {
        Self {
            by_class: combined(self.by_class, earlier.by_class, u64::saturating_sub),
            app: self.app.saturating_sub(earlier.app),
            r#static: self.r#static.saturating_sub(earlier.r#static),
            cached: self.cached.saturating_sub(earlier.cached),
            proxy: self.proxy.saturating_sub(earlier.proxy),
            limited: self.limited.saturating_sub(earlier.limited),
            bytes_in: self.bytes_in.saturating_sub(earlier.bytes_in),
            bytes_out: self.bytes_out.saturating_sub(earlier.bytes_out),
            in_flight: self.in_flight,
            gil_wait_ms: self.gil_wait_ms,
            cache: self.cache.delta(&earlier.cache),
            routes: traffic::delta(&self.routes, &earlier.routes),
            releases: traffic::delta(&self.releases, &earlier.releases),
            total: self.total.delta(&earlier.total),
            tls: self.tls.delta(&earlier.tls),
            accept: self.accept.delta(&earlier.accept),
            queue: self.queue.delta(&earlier.queue),
            app_time: self.app_time.delta(&earlier.app_time),
            body: self.body.delta(&earlier.body),
            send: self.send.delta(&earlier.send),
        }
    }

    /// Adds what another process counted for the same site.
    pub fn merge(&mut self, other: &Self) {
        self.by_class = combined(self.by_class, other.by_class, u64::saturating_add);
        self.app = self.app.saturating_add(other.app);
        self.r#static = self.r#static.saturating_add(other.r#static);
        self.cached = self.cached.saturating_add(other.cached);
        self.proxy = self.proxy.saturating_add(other.proxy);
        self.limited = self.limited.saturating_add(other.limited);
        self.bytes_in = self.bytes_in.saturating_add(other.bytes_in);
        self.bytes_out = self.bytes_out.saturating_add(other.bytes_out);
        self.in_flight = self.in_flight.saturating_add(other.in_flight);
        self.gil_wait_ms = self.gil_wait_ms.max(other.gil_wait_ms);
        self.cache.merge(&other.cache);
        traffic::merge(&mut self.routes, &other.routes);
        traffic::merge(&mut self.releases, &other.releases);
        self.total.merge(&other.total);
        self.tls.merge(&other.tls);
        self.accept.merge(&other.accept);
        self.queue.merge(&other.queue);
        self.app_time.merge(&other.app_time);
        self.body.merge(&other.body);
        self.send.merge(&other.send);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Finished, PhaseDurations, Registry, Routes, ServedBy};
    use proptest::prelude::*;
    use std::time::Duration;

    fn counted(answers: &[(u16, u64)]) -> Snapshot {
        let registry = Registry::default();
        for &(status, us) in answers {
            let total = Duration::from_micros(us);
            let phases = PhaseDurations { total, send: Some(total), ..PhaseDurations::default() };
            let served_by = if status < 300 { ServedBy::App } else { ServedBy::Static };
            let site = registry.site(if us % 2 == 0 { "even" } else { "odd" });
            let finished = Finished { status, served_by, bytes_in: us, bytes_out: 7, phases };
            // Which statuses make a route known depends on their order.
            let pattern = match status {
                0 | 400..=499 => Routes::OTHER,
                _ if us % 3 == 0 => "/a",
                _ => "/b",
            };
            site.finish(pattern, &finished);
            if us % 7 == 0 {
                site.refused_by_limit();
            }
            site.releases.release(if us % 5 == 0 { "r1" } else { "r2" }).count(&finished);
        }
        registry.snapshot()
    }

    fn answers() -> impl Strategy<Value = Vec<(u16, u64)>> {
        prop::collection::vec((0_u16..700, 0_u64..100_000_000), 0..60)
    }

    proptest! {
        #[test]
        fn merging_is_counting_everything_in_one(a in answers(), b in answers()) {
            let mut merged = counted(&a);
            merged.merge(&counted(&b));
            prop_assert_eq!(merged, counted(&[a, b].concat()));
        }

        #[test]
        fn a_delta_and_what_was_before_make_the_whole(a in answers(), b in answers()) {
            let before = counted(&a);
            let after = counted(&[a, b].concat());
            let mut whole = after.delta(&before);
            whole.merge(&before);
            prop_assert_eq!(whole, after);
        }
    }

    #[test]
    fn a_snapshot_survives_the_way_to_the_supervisor() {
        let snapshot = counted(&[(200, 5), (404, 123_456), (0, 8)]);
        let line = serde_json::to_string(&snapshot).unwrap();
        assert_eq!(serde_json::from_str::<Snapshot>(&line).unwrap(), snapshot);
        let absurd = line.replacen(r#""phases":""#, r#""phases":"///"#, 1);
        assert_ne!(absurd, line);
        assert!(serde_json::from_str::<Snapshot>(&absurd).is_err());
    }

    #[test]
    fn what_an_engine_of_before_says_is_understood() {
        let one = r#"{"buckets":[[3,2]],"sum_us":6,"count":2}"#;
        let none = r#"{"buckets":[],"sum_us":0,"count":0}"#;
        let line = format!(
            r#"{{"sites":{{"blog":{{"by_class":[0,0,2,0,0,0],"app":2,"static":0,"proxy":0,"bytes_in":1,"bytes_out":2,
            "in_flight":1,"gil_wait_ms":0,"total":{one},"accept":{one},"queue":{none},"app_time":{one},"body":{none},
            "send":{one},"routes":{{"/a":{{"errors":1,"bytes_out":2,"phases_us":[1,2,3,4,5],"total":{one}}}}}}}}}}}"#
        );
        let told = serde_json::from_str::<Snapshot>(&line).unwrap();
        let blog = &told.delta(&Snapshot::default()).sites["blog"];
        assert_eq!((blog.requests(), blog.accept.count, blog.tls.count), (2, 2, 0));
        assert!(blog.routes.is_empty(), "routes were told otherwise");
    }

    #[test]
    fn requests_in_flight_are_told_as_they_are_and_not_as_a_difference() {
        let now = SiteSnapshot { in_flight: 3, ..SiteSnapshot::default() };
        let before = SiteSnapshot { in_flight: 5, ..SiteSnapshot::default() };
        assert_eq!(now.delta(&before).in_flight, 3);
    }
}
