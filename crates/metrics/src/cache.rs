//! What a site's requests came to in its cache.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

/// What a request came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheOutcome {
    /// A stored answer, fresh, or one that another request has brought meanwhile.
    Hit,
    /// A stored answer that was stale.
    Stale,
    /// A stored answer after its source said that it is still the right one.
    Revalidated,
    /// An answer of the source.
    Miss,
    /// An answer of the source, because the request goes past the cache.
    Bypass,
}

/// The live counters of one site's cache.
#[derive(Debug, Default)]
pub struct CacheMetrics {
    hits: AtomicU64,
    stale: AtomicU64,
    revalidated: AtomicU64,
    misses: AtomicU64,
    bypassed: AtomicU64,
    from_disk: AtomicU64,
    saved_bytes: AtomicU64,
    stored_bytes: AtomicU64,
    disk_bytes: AtomicU64,
}

/// The same at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CacheSnapshot {
    /// [`CacheOutcome::Hit`]
    pub hits: u64,
    /// [`CacheOutcome::Stale`]
    pub stale: u64,
    /// [`CacheOutcome::Revalidated`]
    pub revalidated: u64,
    /// [`CacheOutcome::Miss`]
    pub misses: u64,
    /// [`CacheOutcome::Bypass`]
    pub bypassed: u64,
    /// Stored answers that came from the disk, fresh or stale.
    pub from_disk: u64,
    /// Bytes of bodies that did not come from their source.
    pub saved_bytes: u64,
    /// What the stored answers take in memory at this moment, in bytes.
    pub stored_bytes: u64,
    /// What they take on the disk.
    pub disk_bytes: u64,
}

impl CacheMetrics {
    /// Counts a request; `body_bytes` is the size of the stored answer's body.
    pub fn count(&self, outcome: CacheOutcome, body_bytes: u64) {
        let counter = match outcome {
            CacheOutcome::Hit => &self.hits,
            CacheOutcome::Stale => &self.stale,
            CacheOutcome::Revalidated => &self.revalidated,
            CacheOutcome::Miss => &self.misses,
            CacheOutcome::Bypass => &self.bypassed,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        self.saved_bytes.fetch_add(body_bytes, Ordering::Relaxed);
    }

    /// Counts a stored answer that came from the disk.
    pub fn came_from_disk(&self) {
        self.from_disk.fetch_add(1, Ordering::Relaxed);
    }

    /// Tells what the stored answers take now, in memory and on the disk.
    pub fn holds(&self, stored_bytes: u64, disk_bytes: u64) {
        self.stored_bytes.store(stored_bytes, Ordering::Relaxed);
        self.disk_bytes.store(disk_bytes, Ordering::Relaxed);
    }

    pub(crate) fn snapshot(&self) -> CacheSnapshot {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        CacheSnapshot {
            hits: load(&self.hits),
            stale: load(&self.stale),
            revalidated: load(&self.revalidated),
            misses: load(&self.misses),
            bypassed: load(&self.bypassed),
            from_disk: load(&self.from_disk),
            saved_bytes: load(&self.saved_bytes),
            stored_bytes: load(&self.stored_bytes),
            disk_bytes: load(&self.disk_bytes),
        }
    }
}

impl CacheSnapshot {
    /// Requests that could have been answered from the cache.
    pub fn lookups(&self) -> u64 {
        self.hits + self.stale + self.revalidated + self.misses
    }

    /// The part of them that was, from 0 to 1; `None`: there were none.
    pub fn hit_ratio(&self) -> Option<f64> {
        let answered = self.hits + self.stale + self.revalidated;
        (self.lookups() > 0).then(|| answered as f64 / self.lookups() as f64)
    }

    /// What happened between `earlier` and this one; `stored_bytes` and `disk_bytes` are this one's.
    pub(crate) fn delta(&self, earlier: &Self) -> Self {
        Self {
            hits: self.hits.saturating_sub(earlier.hits),
            stale: self.stale.saturating_sub(earlier.stale),
            revalidated: self.revalidated.saturating_sub(earlier.revalidated),
            misses: self.misses.saturating_sub(earlier.misses),
            bypassed: self.bypassed.saturating_sub(earlier.bypassed),
            from_disk: self.from_disk.saturating_sub(earlier.from_disk),
            saved_bytes: self.saved_bytes.saturating_sub(earlier.saved_bytes),
            stored_bytes: self.stored_bytes,
            disk_bytes: self.disk_bytes,
        }
    }

    /// Adds what another process counted.
    pub(crate) fn merge(&mut self, other: &Self) {
        let counters = [
            (&mut self.hits, other.hits),
            (&mut self.stale, other.stale),
            (&mut self.revalidated, other.revalidated),
            (&mut self.misses, other.misses),
            (&mut self.bypassed, other.bypassed),
            (&mut self.from_disk, other.from_disk),
            (&mut self.saved_bytes, other.saved_bytes),
            (&mut self.stored_bytes, other.stored_bytes),
            (&mut self.disk_bytes, other.disk_bytes),
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
    fn the_hit_ratio_is_of_requests_that_could_hit() {
        let cache = CacheMetrics::default();
        assert_eq!(cache.snapshot().hit_ratio(), None);
        for outcome in [CacheOutcome::Hit, CacheOutcome::Stale, CacheOutcome::Revalidated] {
            cache.count(outcome, 10);
        }
        cache.count(CacheOutcome::Miss, 0);
        cache.count(CacheOutcome::Bypass, 0);
        let counted = cache.snapshot();
        assert_eq!((counted.hit_ratio(), counted.saved_bytes), (Some(0.75), 30));
    }
}
