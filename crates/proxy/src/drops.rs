//! Clients that are sent away before they get to a site: each is counted, and floods are told in the log, not each of them.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use onebox_metrics::{Dropped, Registry};
use parking_lot::Mutex;

/// How long the log is silent of floods after it told of one.
const SILENCE: Duration = Duration::from_secs(10);

/// What counts them.
#[derive(Debug)]
pub(crate) struct Drops {
    metrics: Arc<Registry>,
    floods: Mutex<Floods>,
    crowds: Mutex<Floods>,
    no_room: Mutex<Floods>,
    no_memory: Mutex<Floods>,
}

/// What the log knows of floods of one kind.
#[derive(Debug, Default)]
struct Floods {
    told_at: Option<Instant>,
    untold: u64,
}

impl Drops {
    /// Counts in `metrics`.
    pub(crate) fn new(metrics: Arc<Registry>) -> Self {
        let (floods, crowds, no_room, no_memory) = Default::default();
        Self { metrics, floods, crowds, no_room, no_memory }
    }

    /// A client was sent away.
    pub(crate) fn count(&self, why: Dropped, client: Option<IpAddr>) {
        self.metrics.drops.count(why);
        let told = |floods: &Mutex<Floods>| floods.lock().tell(Instant::now());
        let client = client.map(|client| client.to_canonical());
        match why {
            Dropped::Flood => {
                if let Some(others) = told(&self.floods) {
                    tracing::warn!(
                        ?client,
                        others,
                        "a client was sent away: it floods its connection"
                    );
                }
            }
            Dropped::Crowd => {
                if let Some(others) = told(&self.crowds) {
                    tracing::warn!(
                        ?client,
                        others,
                        "a client was sent away: it has as many connections as one may have (max-connections-per-client)"
                    );
                }
            }
            Dropped::NoRoom => {
                if let Some(others) = told(&self.no_room) {
                    tracing::warn!(
                        ?client,
                        others,
                        "a client was sent away: there is no room for another connection (max-connections)"
                    );
                }
            }
            Dropped::NoMemory => {
                if let Some(others) = told(&self.no_memory) {
                    tracing::warn!(
                        ?client,
                        others,
                        "a client was sent away: there is no memory for another connection (max-memory)"
                    );
                }
            }
            Dropped::Malformed
            | Dropped::Slow
            | Dropped::Handshake
            | Dropped::InTheWay
            | Dropped::Refused => {}
        }
    }
}

impl Floods {
    /// Whether the log hears of this one, and of how many others that it has not heard of.
    fn tell(&mut self, now: Instant) -> Option<u64> {
        if self.told_at.is_some_and(|told_at| now < told_at + SILENCE) {
            self.untold += 1;
            return None;
        }
        self.told_at = Some(now);
        Some(std::mem::take(&mut self.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_hears_of_one_flood_in_a_while_and_how_many_others_there_were() {
        let (mut floods, begin) = (Floods::default(), Instant::now());
        let told = [0, 1, 9, 10, 19, 40].map(|at_s| floods.tell(begin + Duration::from_secs(at_s)));
        assert_eq!(told, [Some(0), None, None, Some(2), None, Some(1)]);
    }

    #[test]
    fn everybody_is_counted() {
        let metrics = Arc::<Registry>::default();
        let drops = Drops::new(Arc::clone(&metrics));
        for why in [Dropped::Flood, Dropped::Flood, Dropped::Slow] {
            drops.count(why, None);
        }
        let counted = metrics.snapshot().drops;
        assert_eq!((counted.flood, counted.slow, counted.malformed), (2, 1, 0));
    }
}
