//! Counters for each route of a site: where its time goes. The number of routes is bounded; what comes then is counted together.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};

use crate::{Finished, Histogram, HistogramSnapshot, Phase};

/// So many routes of a site are told apart.
const MOST: usize = 50;

/// The live counters of a site's routes. A route that is known costs a look into a table and relaxed atomics.
#[derive(Debug, Default)]
pub struct Routes {
    known: ArcSwap<HashMap<Box<str>, Arc<RouteMetrics>>>,
    /// Of what is on no route, or came when there were too many.
    other: RouteMetrics,
}

#[derive(Debug, Default)]
struct RouteMetrics {
    errors: AtomicU64,
    bytes_out: AtomicU64,
    phases_us: [AtomicU64; Phase::ALL.len()],
    total: Histogram,
}

/// One route's counters at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteSnapshot {
    /// Answers with a status from 500 to 599.
    pub errors: u64,
    /// Bytes sent.
    pub bytes_out: u64,
    /// What each phase took of all requests together, microseconds, in the order of [`Phase::ALL`].
    pub phases_us: [u64; Phase::ALL.len()],
    /// From the first byte to the last.
    pub total: HistogramSnapshot,
}

impl Routes {
    /// What is not told apart is called this; the patterns of routes begin with a slash.
    pub const OTHER: &str = "other";

    /// Counts an answer on the route of this pattern. Only an answer that says that there is something makes a route known:
    /// paths that somebody guesses must not take the places.
    pub fn count(&self, pattern: &str, finished: &Finished) {
        if let Some(route) = self.known.load().get(pattern) {
            return route.count(finished);
        }
        let is_something = pattern != Self::OTHER && !matches!(finished.status, 0 | 400..=499);
        match is_something.then(|| self.learn(pattern)).flatten() {
            Some(route) => route.count(finished),
            None => self.other.count(finished),
        }
    }

    /// `None`: there are too many.
    fn learn(&self, pattern: &str) -> Option<Arc<RouteMetrics>> {
        if self.known.load().len() >= MOST {
            return None;
        }
        let made = Arc::new(RouteMetrics::default());
        self.known.rcu(|known| {
            let mut known = HashMap::clone(known);
            // Another thread may have made it meanwhile: the first one stays.
            if known.len() < MOST {
                known.entry(pattern.into()).or_insert_with(|| Arc::clone(&made));
            }
            known
        });
        self.known.load().get(pattern).cloned()
    }

    pub(crate) fn snapshot(&self) -> BTreeMap<String, RouteSnapshot> {
        let known = self.known.load();
        let known = known.iter().map(|(pattern, route)| (pattern.to_string(), route.snapshot()));
        let all = known.chain([(Self::OTHER.to_owned(), self.other.snapshot())]);
        all.filter(|(_, route)| route.total.count > 0).collect()
    }
}

impl RouteMetrics {
    fn count(&self, finished: &Finished) {
        if (500..=599).contains(&finished.status) {
            self.errors.fetch_add(1, Ordering::Relaxed);
        }
        self.bytes_out.fetch_add(finished.bytes_out, Ordering::Relaxed);
        for (sum_us, phase) in self.phases_us.iter().zip(Phase::ALL) {
            if let Some(lasted) = finished.phases.get(phase) {
                let us = u64::try_from(lasted.as_micros()).unwrap_or(u64::MAX);
                sum_us.fetch_add(us, Ordering::Relaxed);
            }
        }
        self.total.record(finished.phases.total);
    }

    fn snapshot(&self) -> RouteSnapshot {
        RouteSnapshot {
            errors: self.errors.load(Ordering::Relaxed),
            bytes_out: self.bytes_out.load(Ordering::Relaxed),
            phases_us: self.phases_us.each_ref().map(|sum_us| sum_us.load(Ordering::Relaxed)),
            total: self.total.snapshot(),
        }
    }
}

impl RouteSnapshot {
    /// What happened between `earlier` and this one.
    fn delta(&self, earlier: &Self) -> Self {
        let mut phases_us = self.phases_us;
        for (mine, before) in phases_us.iter_mut().zip(earlier.phases_us) {
            *mine = mine.saturating_sub(before);
        }
        Self {
            errors: self.errors.saturating_sub(earlier.errors),
            bytes_out: self.bytes_out.saturating_sub(earlier.bytes_out),
            phases_us,
            total: self.total.delta(&earlier.total),
        }
    }

    /// Adds what was counted elsewhere.
    pub fn merge(&mut self, other: &Self) {
        self.errors = self.errors.saturating_add(other.errors);
        self.bytes_out = self.bytes_out.saturating_add(other.bytes_out);
        for (mine, more) in self.phases_us.iter_mut().zip(other.phases_us) {
            *mine = mine.saturating_add(more);
        }
        self.total.merge(&other.total);
    }
}

/// What happened on each route; those on which nothing did are left out.
pub(crate) fn delta(
    now: &BTreeMap<String, RouteSnapshot>,
    earlier: &BTreeMap<String, RouteSnapshot>,
) -> BTreeMap<String, RouteSnapshot> {
    let nothing = RouteSnapshot::default();
    let routes = now.iter().map(|(pattern, route)| {
        (pattern.clone(), route.delta(earlier.get(pattern).unwrap_or(&nothing)))
    });
    routes.filter(|(_, route)| route.total.count > 0).collect()
}

pub(crate) fn merge(
    mine: &mut BTreeMap<String, RouteSnapshot>,
    other: &BTreeMap<String, RouteSnapshot>,
) {
    for (pattern, route) in other {
        match mine.get_mut(pattern) {
            Some(known) => known.merge(route),
            None => drop(mine.insert(pattern.clone(), route.clone())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{PhaseDurations, ServedBy};
    use std::time::Duration;

    fn answer(status: u16) -> Finished {
        let (app, total) = (Some(Duration::from_millis(3)), Duration::from_millis(4));
        let phases = PhaseDurations { app, total, ..PhaseDurations::default() };
        Finished { status, served_by: ServedBy::App, bytes_in: 10, bytes_out: 100, phases }
    }

    #[test]
    fn a_route_has_its_answers_its_failures_and_the_time_of_each_phase() {
        let routes = Routes::default();
        routes.count("/posts/*", &answer(200));
        routes.count("/posts/*", &answer(503));
        routes.count("/posts/*", &answer(404));
        let snapshot = routes.snapshot();
        assert_eq!(snapshot.keys().collect::<Vec<_>>(), ["/posts/*"]);
        let posts = &snapshot["/posts/*"];
        assert_eq!((posts.total.count, posts.errors, posts.bytes_out), (3, 1, 300));
        assert_eq!(posts.phases_us, [0, 0, 9000, 0, 0]);
    }

    #[test]
    fn what_somebody_guesses_and_what_is_too_much_is_counted_together() {
        let routes = Routes::default();
        for status in [404, 400, 0] {
            routes.count("/wp-login.php", &answer(status));
        }
        for number in 0..MOST + 2 {
            routes.count(&format!("/{number}"), &answer(200));
        }
        let snapshot = routes.snapshot();
        assert_eq!(snapshot.len(), MOST + 1);
        assert_eq!(snapshot[Routes::OTHER].total.count, 5);
        routes.count("/0", &answer(200));
        assert_eq!(routes.snapshot()["/0"].total.count, 2, "what is known stays known");
    }

    #[test]
    fn threads_that_meet_a_route_at_once_count_on_one() {
        let routes = Routes::default();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| (0..100).for_each(|_| routes.count("/a", &answer(200))));
            }
        });
        assert_eq!(routes.snapshot()["/a"].total.count, 800);
    }
}
