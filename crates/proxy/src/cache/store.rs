//! Stored answers in bounded memory.
//!
//! The memory is `quick_cache`: S3-FIFO, sharded, bounded by weight, a read lock and an atomic on a hit. Moka and foyer cost more
//! on each hit (a queue of reads, a runtime) for what is of no use here. A URL has one place in it, whatever its answers depend
//! on; what is there is never altered but replaced.

use std::sync::Arc;
use std::time::{Duration, Instant};

use quick_cache::sync::{Cache as Memory, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};

use super::key::Key;
use super::stored::Stored;
use crate::message::RequestHead;

/// Answers to one URL that differ in what they depend on; the oldest one goes first.
const MOST_VARIANTS: usize = 32;

/// How long it is remembered that the answer to a URL could not be stored.
const PASSING: Duration = Duration::from_secs(30);

/// What is stored of an average answer, for the size of tables.
const USUAL_BYTES: u64 = 8 << 10;

/// A shard has room for so many of the largest answers at least.
const LARGEST_IN_SHARD: u64 = 4;

/// What is known about a URL.
#[derive(Clone)]
struct Place {
    /// The newest first.
    variants: Arc<[Arc<Stored>]>,
    /// Its last answer could not be stored, so that nobody waits for the next one (nginx has nothing like it, Varnish calls it
    /// hit-for-miss).
    passing_until: Option<Instant>,
    weight: u64,
}

#[derive(Clone)]
struct ByBytes;

impl Weighter<Key, Place> for ByBytes {
    fn weight(&self, key: &Key, place: &Place) -> u64 {
        place.weight + key.as_bytes().len() as u64
    }
}

/// What is found for a request.
pub(crate) enum Found {
    Stored(Arc<Stored>),
    /// Nothing, and the last answer could not be stored.
    Passing,
    /// Nothing for this request; there are answers for others.
    OtherVariants,
    Nothing,
}

/// The answers of one site.
pub(crate) struct Store {
    memory: Memory<Key, Place, ByBytes>,
}

impl Store {
    /// A store for `size` bytes whose answers have bodies of `max_object` bytes at most.
    pub(crate) fn new(size: u64, max_object: u64) -> Self {
        let shards = (size / (max_object.max(1) * LARGEST_IN_SHARD)).clamp(1, 16);
        let options = OptionsBuilder::new()
            .shards(usize::try_from(shards).unwrap_or(1))
            .estimated_items_capacity(usize::try_from(size / USUAL_BYTES).unwrap_or(1).max(1))
            .weight_capacity(size)
            .build();
        let (hasher, lifecycle) = (DefaultHashBuilder::default(), DefaultLifecycle::default());
        let memory = match options {
            Ok(options) => Memory::with_options(options, ByBytes, hasher, lifecycle),
            // Only a part that was left out is an error, and all are there.
            Err(_) => Memory::with(1, size, ByBytes, hasher, lifecycle),
        };
        Self { memory }
    }

    /// The answer for a request, fresh or not.
    pub(crate) fn find(&self, key: &Key, head: &RequestHead, now: Instant) -> Found {
        let Some(place) = self.memory.get(key) else { return Found::Nothing };
        match place.variants.iter().find(|stored| stored.is_for(head)) {
            Some(stored) => Found::Stored(Arc::clone(stored)),
            None if place.passing_until.is_some_and(|until| now < until) => Found::Passing,
            None if place.variants.is_empty() => Found::Nothing,
            None => Found::OtherVariants,
        }
    }

    /// Requests with the same one of these wait for each other: by URL, and by what answers are known to depend on.
    pub(crate) fn flight(&self, key: &Key, head: &RequestHead) -> Box<[u8]> {
        let mut flight = key.as_bytes().to_vec();
        let place = self.memory.peek(key);
        if let Some(newest) = place.as_ref().and_then(|place| place.variants.first()) {
            newest.selection().of_other(head).write(&mut flight);
        }
        flight.into()
    }

    /// Stores an answer in place of the one that the same requests have.
    pub(crate) fn put(&self, key: Key, head: &RequestHead, stored: Arc<Stored>) {
        let old = self.memory.peek(&key);
        let old = old.iter().flat_map(|place| place.variants.iter());
        let others = old.filter(|old| !old.is_for(head)).cloned();
        let variants = std::iter::once(stored).chain(others).take(MOST_VARIANTS);
        self.set(key, variants.collect(), None);
    }

    /// Notes that the answer to a request could not be stored; what was stored for it is gone.
    pub(crate) fn pass(&self, key: Key, head: &RequestHead, now: Instant) {
        let old = self.memory.peek(&key);
        let old = old.iter().flat_map(|place| place.variants.iter());
        let others = old.filter(|old| !old.is_for(head)).cloned();
        self.set(key, others.collect(), Some(now + PASSING));
    }

    /// Forgets the answer for a request.
    pub(crate) fn forget(&self, key: Key, head: &RequestHead) {
        let Some(place) = self.memory.peek(&key) else { return };
        let others = place.variants.iter().filter(|old| !old.is_for(head)).cloned();
        self.set(key, others.collect(), place.passing_until);
    }

    /// Counts what an answer has grown by.
    pub(crate) fn recount(&self, key: Key) {
        if let Some(place) = self.memory.peek(&key) {
            self.set(key, place.variants.iter().cloned().collect(), place.passing_until);
        }
    }

    /// All answers to a URL must be validated from now on (RFC 9111 §4.4).
    pub(crate) fn invalidate(&self, key: Key) {
        if let Some(place) = self.memory.peek(&key) {
            let expired = place.variants.iter().map(|stored| Arc::new(stored.expired()));
            self.set(key, expired.collect(), None);
        }
    }

    /// Takes out the answers that are meant; how many.
    pub(crate) fn purge(&self, is_meant: impl Fn(&Key, &Stored) -> bool) -> u64 {
        let mut purged = 0;
        for (key, place) in self.memory.iter() {
            let (gone, stays): (Vec<_>, Vec<_>) =
                place.variants.iter().cloned().partition(|stored| is_meant(&key, stored));
            if !gone.is_empty() {
                purged += gone.len() as u64;
                self.set(key, stays, None);
            }
        }
        purged
    }

    /// What is stored takes so many bytes.
    pub(crate) fn stored_bytes(&self) -> u64 {
        self.memory.weight()
    }

    /// How many URLs are known.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.memory.len()
    }

    fn set(&self, key: Key, variants: Vec<Arc<Stored>>, passing_until: Option<Instant>) {
        if variants.is_empty() && passing_until.is_none() {
            self.memory.remove(&key);
            return;
        }
        let sizes: usize = variants.iter().map(|stored| stored.size()).sum();
        let place = Place { variants: variants.into(), passing_until, weight: sizes as u64 + 256 };
        self.memory.insert(key, place);
    }
}
