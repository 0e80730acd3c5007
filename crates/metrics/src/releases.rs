//! Counters for each release of a site, for as long as somebody serves it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::{Traffic, TrafficSnapshot};

/// The live counters by release. The lock is taken when routes change and when somebody looks, never by a request.
#[derive(Debug, Default)]
pub struct Releases(Mutex<BTreeMap<String, Arc<Traffic>>>);

impl Releases {
    /// The counters of a release, made if there are none. They are forgotten when nobody has them any more.
    pub fn release(&self, id: &str) -> Arc<Traffic> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(known.entry(id.to_owned()).or_default())
    }

    /// What was counted so far; of a release that nobody serves any more this is its end.
    pub(crate) fn snapshot(&self) -> BTreeMap<String, TrafficSnapshot> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = BTreeMap::new();
        known.retain(|id, traffic| {
            // Asked first: what is counted after this is in the next one.
            let is_served = Arc::get_mut(traffic).is_none();
            all.insert(id.clone(), traffic.snapshot());
            is_served
        });
        all.retain(|_, traffic| traffic.requests() > 0);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routes::tests::answer;

    #[test]
    fn a_release_is_counted_to_its_end_and_then_forgotten() {
        let releases = Releases::default();
        let (old, new) = (releases.release("r1"), releases.release("r2"));
        old.count(&answer(200));
        new.count(&answer(503));
        releases.release("r2").count(&answer(200));
        let both = releases.snapshot();
        assert_eq!((both["r1"].requests(), both["r2"].requests(), both["r2"].errors()), (1, 2, 1));
        old.count(&answer(200));
        drop(old);
        assert_eq!(releases.snapshot()["r1"].requests(), 2);
        assert_eq!(releases.snapshot().keys().collect::<Vec<_>>(), ["r2"]);
    }
}
