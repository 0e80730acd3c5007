//! The clocks: the wall's, as the databases and the API write it, and one that goes on evenly whatever is done to the wall's.
//!
//! Must not know what is being timed.

use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Milliseconds since the Unix epoch.
pub(crate) fn now_ms() -> i64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    to_ms(since_epoch)
}

/// The same by a clock that was set once, when this program first asked, and never jumps: for what lasts a certain time.
pub(crate) fn even_ms() -> i64 {
    static CLOCK: LazyLock<EvenClock> = LazyLock::new(|| EvenClock::set(Instant::now(), now_ms()));
    CLOCK.at(Instant::now())
}

/// A wall clock that was set once and is carried on by the monotonic one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EvenClock {
    set: Instant,
    set_ms: i64,
}

impl EvenClock {
    /// Set by the wall clock.
    pub(crate) fn set(set: Instant, set_ms: i64) -> Self {
        Self { set, set_ms }
    }

    /// What it shows.
    pub(crate) fn at(&self, now: Instant) -> i64 {
        self.set_ms.saturating_add(to_ms(now.duration_since(self.set)))
    }
}

fn to_ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_even_clock_asks_the_wall_once() {
        let start = Instant::now();
        let clock = EvenClock::set(start, 5_000);
        assert_eq!(clock.at(start + Duration::from_secs(3)), 8_000);
        assert_eq!(EvenClock::set(start, i64::MAX).at(start + Duration::from_secs(3)), i64::MAX);
        assert!(even_ms().abs_diff(now_ms()) < 60_000);
    }
}
