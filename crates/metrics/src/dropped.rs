//! Clients that were sent away before there was a request that belongs to a site.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

/// Why a client was sent away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dropped {
    /// What it said is no request, or is too large.
    Malformed,
    /// The head of its request did not come in time.
    Slow,
    /// It did not agree on keys, or not in time.
    Handshake,
    /// It flooded its connection.
    Flood,
}

/// The live counters of one process.
#[derive(Debug, Default)]
pub struct DropMetrics {
    malformed: AtomicU64,
    slow: AtomicU64,
    handshake: AtomicU64,
    flood: AtomicU64,
}

/// The same at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DropSnapshot {
    /// [`Dropped::Malformed`]
    pub malformed: u64,
    /// [`Dropped::Slow`]
    pub slow: u64,
    /// [`Dropped::Handshake`]
    pub handshake: u64,
    /// [`Dropped::Flood`]
    pub flood: u64,
}

impl DropMetrics {
    /// Counts a client.
    pub fn count(&self, why: Dropped) {
        let counter = match why {
            Dropped::Malformed => &self.malformed,
            Dropped::Slow => &self.slow,
            Dropped::Handshake => &self.handshake,
            Dropped::Flood => &self.flood,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn snapshot(&self) -> DropSnapshot {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        DropSnapshot {
            malformed: load(&self.malformed),
            slow: load(&self.slow),
            handshake: load(&self.handshake),
            flood: load(&self.flood),
        }
    }
}

impl DropSnapshot {
    /// Each reason by the name that people read, and its count.
    pub fn by_reason(&self) -> [(&'static str, u64); 4] {
        [
            ("malformed", self.malformed),
            ("slow", self.slow),
            ("handshake", self.handshake),
            ("flood", self.flood),
        ]
    }

    /// What happened between `earlier` and this one.
    pub(crate) fn delta(&self, earlier: &Self) -> Self {
        Self {
            malformed: self.malformed.saturating_sub(earlier.malformed),
            slow: self.slow.saturating_sub(earlier.slow),
            handshake: self.handshake.saturating_sub(earlier.handshake),
            flood: self.flood.saturating_sub(earlier.flood),
        }
    }

    /// Adds what was counted elsewhere.
    pub fn merge(&mut self, other: &Self) {
        let counters = [
            (&mut self.malformed, other.malformed),
            (&mut self.slow, other.slow),
            (&mut self.handshake, other.handshake),
            (&mut self.flood, other.flood),
        ];
        for (mine, more) in counters {
            *mine = mine.saturating_add(more);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_counted_by_itself_and_since_when_one_asks() {
        let drops = DropMetrics::default();
        drops.count(Dropped::Malformed);
        let before = drops.snapshot();
        for why in [Dropped::Malformed, Dropped::Slow, Dropped::Handshake, Dropped::Flood] {
            drops.count(why);
        }
        drops.count(Dropped::Flood);
        let mut since = drops.snapshot().delta(&before);
        assert_eq!(since.by_reason().map(|(_, count)| count), [1, 1, 1, 2]);
        since.merge(&before);
        assert_eq!(since, drops.snapshot());
    }
}
