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
    /// It had as many connections as one client may have.
    Crowd,
    /// It said nothing, and others needed its place.
    InTheWay,
    /// There was no place for it.
    NoRoom,
    /// There was no memory for it.
    NoMemory,
    /// A rule of the box refuses its address: counted for each request.
    Refused,
}

/// The live counters of one process.
#[derive(Debug, Default)]
pub struct DropMetrics {
    malformed: AtomicU64,
    slow: AtomicU64,
    handshake: AtomicU64,
    flood: AtomicU64,
    crowd: AtomicU64,
    in_the_way: AtomicU64,
    no_room: AtomicU64,
    no_memory: AtomicU64,
    refused: AtomicU64,
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
    /// [`Dropped::Crowd`]
    pub crowd: u64,
    /// [`Dropped::InTheWay`]
    pub in_the_way: u64,
    /// [`Dropped::NoRoom`]
    pub no_room: u64,
    /// [`Dropped::NoMemory`]
    pub no_memory: u64,
    /// [`Dropped::Refused`]
    pub refused: u64,
}

impl DropMetrics {
    /// Counts a client.
    pub fn count(&self, why: Dropped) {
        let counter = match why {
            Dropped::Malformed => &self.malformed,
            Dropped::Slow => &self.slow,
            Dropped::Handshake => &self.handshake,
            Dropped::Flood => &self.flood,
            Dropped::Crowd => &self.crowd,
            Dropped::InTheWay => &self.in_the_way,
            Dropped::NoRoom => &self.no_room,
            Dropped::NoMemory => &self.no_memory,
            Dropped::Refused => &self.refused,
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
            crowd: load(&self.crowd),
            in_the_way: load(&self.in_the_way),
            no_room: load(&self.no_room),
            no_memory: load(&self.no_memory),
            refused: load(&self.refused),
        }
    }
}

impl DropSnapshot {
    /// Each reason by the name that people read, and its count.
    pub fn by_reason(&self) -> [(&'static str, u64); 9] {
        [
            ("malformed", self.malformed),
            ("slow", self.slow),
            ("handshake", self.handshake),
            ("flood", self.flood),
            ("crowd", self.crowd),
            ("in-the-way", self.in_the_way),
            ("no-room", self.no_room),
            ("no-memory", self.no_memory),
            ("refused", self.refused),
        ]
    }

    /// What happened between `earlier` and this one.
    pub(crate) fn delta(&self, earlier: &Self) -> Self {
        self.with(earlier, u64::saturating_sub)
    }

    /// Adds what was counted elsewhere.
    pub fn merge(&mut self, other: &Self) {
        *self = self.with(other, u64::saturating_add);
    }

    fn with(&self, other: &Self, combine: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            malformed: combine(self.malformed, other.malformed),
            slow: combine(self.slow, other.slow),
            handshake: combine(self.handshake, other.handshake),
            flood: combine(self.flood, other.flood),
            crowd: combine(self.crowd, other.crowd),
            in_the_way: combine(self.in_the_way, other.in_the_way),
            no_room: combine(self.no_room, other.no_room),
            no_memory: combine(self.no_memory, other.no_memory),
            refused: combine(self.refused, other.refused),
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
        let reasons = [
            Dropped::Malformed,
            Dropped::Slow,
            Dropped::Handshake,
            Dropped::Flood,
            Dropped::Crowd,
            Dropped::InTheWay,
            Dropped::NoRoom,
            Dropped::NoMemory,
            Dropped::Refused,
        ];
        for (index, why) in reasons.into_iter().enumerate() {
            (0..=index).for_each(|_| drops.count(why));
        }
        let mut since = drops.snapshot().delta(&before);
        assert_eq!(since.by_reason().map(|(_, count)| count), [1, 2, 3, 4, 5, 6, 7, 8, 9]);
        since.merge(&before);
        assert_eq!(since, drops.snapshot());
    }
}
