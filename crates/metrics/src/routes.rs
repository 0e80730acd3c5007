//! Counters for each route of a site: where its time goes. The number of routes is bounded; what comes then is counted together.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::{Finished, Traffic, TrafficSnapshot};

/// So many routes of a site are told apart.
const MOST: usize = 50;

/// The live counters of a site's routes. A route that is known costs a look into a table and relaxed atomics.
#[derive(Debug, Default)]
pub struct Routes {
    known: ArcSwap<HashMap<Box<str>, Arc<Traffic>>>,
    /// Of what is on no route, or came when there were too many.
    other: Traffic,
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
    fn learn(&self, pattern: &str) -> Option<Arc<Traffic>> {
        if self.known.load().len() >= MOST {
            return None;
        }
        let made = Arc::new(Traffic::default());
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

    pub(crate) fn snapshot(&self) -> BTreeMap<String, TrafficSnapshot> {
        let known = self.known.load();
        let known = known.iter().map(|(pattern, route)| (pattern.to_string(), route.snapshot()));
        let all = known.chain([(Self::OTHER.to_owned(), self.other.snapshot())]);
        all.filter(|(_, route)| route.requests() > 0).collect()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::{PhaseDurations, ServedBy};
    use std::time::Duration;

    pub(crate) fn answer(status: u16) -> Finished {
        let (app, total) = (Some(Duration::from_millis(3)), Duration::from_millis(4));
        let phases = PhaseDurations { app, total, ..PhaseDurations::default() };
        Finished { status, served_by: ServedBy::App, bytes_in: 10, bytes_out: 100, phases }
    }

    #[test]
    fn a_route_has_its_answers_its_failures_and_each_phase() {
        let routes = Routes::default();
        routes.count("/posts/*", &answer(200));
        routes.count("/posts/*", &answer(503));
        routes.count("/posts/*", &answer(404));
        let snapshot = routes.snapshot();
        assert_eq!(snapshot.keys().collect::<Vec<_>>(), ["/posts/*"]);
        let posts = &snapshot["/posts/*"];
        assert_eq!(posts.by_class, [0, 0, 1, 0, 1, 1]);
        assert_eq!((posts.total.count, posts.bytes_in, posts.bytes_out), (3, 30, 300));
        let phases = posts.phases.each_ref().map(|phase| (phase.count, phase.sum_us));
        assert_eq!(phases, [(0, 0), (0, 0), (0, 0), (3, 9000), (0, 0), (0, 0)]);
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
