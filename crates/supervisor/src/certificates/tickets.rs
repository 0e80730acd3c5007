//! The keys of session tickets: made anew before a ticket can get old, forgotten a day later.

use std::time::{Duration, Instant};

use onebox_proxy::TicketKey;

/// How long a key makes tickets.
const TERM: Duration = Duration::from_secs(12 * 3600);
/// So many are kept: the tickets of one that was replaced are still read for a day, which is as long as clients keep them.
const KEPT: usize = 3;

/// The keys, the newest first.
#[derive(Debug)]
pub(super) struct TicketKeys {
    keys: Vec<TicketKey>,
    made: Instant,
}

impl TicketKeys {
    pub(super) fn new(now: Instant) -> Self {
        Self { keys: vec![TicketKey::random()], made: now }
    }

    /// Also reads what the supervisor before this one made.
    pub(super) fn adopt(&mut self, older: Vec<TicketKey>) {
        self.keys.extend(older);
        self.keys.truncate(KEPT);
    }

    /// Makes a new one where it is time.
    pub(super) fn rotate(&mut self, now: Instant) {
        if now.duration_since(self.made) >= TERM {
            self.keys.insert(0, TicketKey::random());
            self.keys.truncate(KEPT);
            self.made = now;
        }
    }

    pub(super) fn all(&self) -> &[TicketKey] {
        &self.keys
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_makes_tickets_for_half_a_day_and_is_forgotten_a_day_later() {
        let start = Instant::now();
        let mut keys = TicketKeys::new(start);
        let first = keys.all()[0].clone();
        keys.rotate(start + TERM / 2);
        assert_eq!(keys.all(), std::slice::from_ref(&first));
        for (turn, is_known) in [(1, true), (2, true), (3, false)] {
            keys.rotate(start + TERM * turn);
            assert_ne!(keys.all()[0], first);
            assert_eq!(keys.all().contains(&first), is_known, "{turn}");
        }
    }
}
