//! Since when releases are live, by a clock that never jumps.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::clock::EvenClock;

/// What this supervisor made live, and when it began to look at the rest.
#[derive(Debug)]
pub(super) struct LiveSince {
    clock: EvenClock,
    /// By site: the release, and when it went live.
    here: HashMap<String, (String, Instant)>,
}

impl LiveSince {
    /// Of a supervisor that opens the state now.
    pub(super) fn new(clock: EvenClock) -> Self {
        Self { clock, here: HashMap::new() }
    }

    /// A release went live.
    pub(super) fn note(&mut self, site: &str, release: &str, now: Instant) {
        self.here.insert(site.to_owned(), (release.to_owned(), now));
    }

    /// How long the site's release has been live. Of one that went live before, and the database says when, that is counted by
    /// the wall clock until this supervisor began and evenly from then on. `None`: it cannot be told.
    pub(super) fn age(
        &self,
        site: &str,
        release: &str,
        live_ms: Option<i64>,
        now: Instant,
    ) -> Option<Duration> {
        match self.here.get(site) {
            Some((noted, since)) if noted == release => Some(now.duration_since(*since)),
            _ => {
                let age_ms = self.clock.at(now).checked_sub(live_ms?)?;
                Some(Duration::from_millis(u64::try_from(age_ms).ok()?))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const YEAR_MS: i64 = 365 * 86_400_000;

    #[test]
    fn a_wall_clock_that_jumps_a_year_makes_no_release_old_or_new() {
        let start = Instant::now();
        for jump_ms in [-YEAR_MS, YEAR_MS] {
            let mut live = LiveSince::new(EvenClock::set(start, 10 * YEAR_MS));
            live.note("blog", "r2", start + HOUR);
            // What the database says was written after the jump.
            let written_ms = Some(10 * YEAR_MS + jump_ms);
            let age = live.age("blog", "r2", written_ms, start + 2 * HOUR);
            assert_eq!(age, Some(HOUR), "{jump_ms}");
        }
    }

    #[test]
    fn a_release_of_before_is_as_old_as_the_database_says_and_ages_evenly() {
        let start = Instant::now();
        let live = LiveSince::new(EvenClock::set(start, 10 * YEAR_MS));
        let before = Some(10 * YEAR_MS - 1000);
        assert_eq!(live.age("blog", "r1", before, start), Some(Duration::from_secs(1)));
        assert_eq!(live.age("blog", "r1", before, start + HOUR), Some(Duration::from_secs(3601)));
        // The machine was started with a clock that is a year slow: then nothing is changed by itself.
        let ahead = Some(11 * YEAR_MS);
        for unknown in [ahead, None, Some(i64::MIN)] {
            assert_eq!(live.age("blog", "r1", unknown, start), None, "{unknown:?}");
        }
    }
}
