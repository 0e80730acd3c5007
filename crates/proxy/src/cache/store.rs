//! Stored answers in bounded memory, and in front of those on the disk.
//!
//! The memory is `quick_cache`: S3-FIFO, sharded, bounded by weight, a read lock and an atomic on a hit. Moka and foyer cost more
//! on each hit (a queue of reads, a runtime) for what is of no use here. A URL has one place in it, whatever its answers depend
//! on; what is there is never altered but replaced.

use std::collections::{HashMap, HashSet};
use std::hash::BuildHasher;
use std::iter;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use quick_cache::sync::{Cache as Memory, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};

use super::Purge;
use super::disk::{Disk, OnDisk};
use super::key::Key;
use super::stored::Stored;
use crate::message::RequestHead;

/// Answers to one URL that differ in what they depend on; the oldest one goes first.
pub(super) const MOST_VARIANTS: usize = 32;

/// How long it is remembered that the answer to a URL could not be stored.
const PASSING: Duration = Duration::from_secs(30);

/// What is stored of an average answer, for the size of tables.
pub(super) const USUAL_BYTES: u64 = 8 << 10;

/// A shard has room for so many of the largest answers at least.
const LARGEST_IN_SHARD: u64 = 4;

/// This part of the memory is not worth keeping where it must be given back.
const LITTLE: u64 = 64;

/// URLs share so many locks.
const STRIPES: usize = 64;

/// What is known about a URL.
#[derive(Clone, Default)]
struct Place {
    /// The newest first.
    variants: Arc<[Arc<Stored>]>,
    /// Its last answer could not be stored, so that nobody waits for the next one (nginx has nothing like it, Varnish calls it
    /// hit-for-miss).
    passing_until: Option<Instant>,
    /// In bytes, as it was when it was put there.
    weight: u64,
}

/// How often answers to a URL were taken out while it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Epoch(u32);

/// Requests for a URL that have no answer yet.
#[derive(Default)]
struct Underway {
    requests: usize,
    epoch: Epoch,
}

type Stripe = HashMap<Key, Underway>;

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
    disk: Option<Arc<Disk>>,
    /// Who changes what is stored of a URL holds its lock.
    stripes: [Mutex<Stripe>; STRIPES],
    hasher: DefaultHashBuilder,
}

impl Store {
    /// A store for `size` bytes whose answers have bodies of `max_object` bytes at most.
    pub(super) fn new(size: u64, max_object: u64, disk: Option<Arc<Disk>>) -> Self {
        let shards = (size / (max_object.max(1) * LARGEST_IN_SHARD)).clamp(1, 16);
        let options = OptionsBuilder::new()
            .shards(usize::try_from(shards).unwrap_or(1))
            .estimated_items_capacity(usize::try_from(size / USUAL_BYTES).unwrap_or(1).max(1))
            .weight_capacity(size)
            .build();
        let (hasher, lifecycle) = (DefaultHashBuilder::default(), DefaultLifecycle::default());
        let memory = match options {
            Ok(options) => Memory::with_options(options, ByBytes, hasher.clone(), lifecycle),
            // Only a part that was left out is an error, and all are there.
            Err(_) => Memory::with(1, size, ByBytes, hasher.clone(), lifecycle),
        };
        Self { memory, disk, stripes: std::array::from_fn(|_| Mutex::default()), hasher }
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

    /// What is on the disk for a request, where memory has nothing for it.
    pub(super) fn find_on_disk(
        &self,
        key: &Key,
        head: &RequestHead,
    ) -> Option<(Arc<Disk>, Arc<OnDisk>)> {
        let disk = self.disk.as_ref()?;
        let place = self.memory.peek(key);
        if place.is_some_and(|place| place.variants.iter().any(|stored| stored.is_for(head))) {
            return None;
        }
        Some((Arc::clone(disk), disk.find(key, head)?))
    }

    pub(crate) fn has_disk(&self) -> bool {
        self.disk.is_some()
    }

    pub(super) fn disk(&self) -> Option<&Arc<Disk>> {
        self.disk.as_ref()
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

    /// Notes that a URL is asked for; `end` follows.
    pub(super) fn begin(&self, key: &Key) -> Epoch {
        let mut stripe = self.stripe(key).lock();
        let underway = stripe.entry(key.clone()).or_default();
        underway.requests += 1;
        underway.epoch
    }

    /// A request that `begin` noted is at its end.
    pub(super) fn end(&self, key: &Key) {
        let mut stripe = self.stripe(key).lock();
        let Some(underway) = stripe.get_mut(key) else { return };
        underway.requests -= 1;
        if underway.requests == 0 {
            stripe.remove(key);
        }
    }

    /// Stores an answer in place of the one that the same requests have, unless answers to its URL were taken out since it was
    /// asked for.
    pub(super) fn put(&self, key: &Key, head: &RequestHead, stored: Arc<Stored>, since: Epoch) {
        self.change(key, |stripe, place| {
            if stripe.get(key).is_some_and(|underway| underway.epoch == since) {
                let others = place.others(head);
                if let Some(disk) = &self.disk {
                    let selection = stored.selection();
                    self.remove_from_disk(key, |on_disk| {
                        on_disk.selection.matches(head) && on_disk.selection != *selection
                    });
                    disk.put(key, &stored);
                }
                place.variants = iter::once(stored).chain(others).take(MOST_VARIANTS).collect();
                place.passing_until = None;
            }
        });
    }

    /// Keeps in memory what was read from the disk, unless there is something newer, or it was taken out meanwhile.
    pub(super) fn remember(
        &self,
        key: &Key,
        head: &RequestHead,
        stored: &Arc<Stored>,
        since: Epoch,
    ) {
        self.change(key, |stripe, place| {
            let is_still_right = stripe.get(key).is_some_and(|underway| underway.epoch == since);
            if is_still_right && place.others(head).len() == place.variants.len() {
                let others = place.variants.iter().cloned();
                place.variants =
                    iter::once(Arc::clone(stored)).chain(others).take(MOST_VARIANTS).collect();
                place.passing_until = None;
            }
        });
    }

    /// Notes that an answer to a URL could not be stored.
    pub(crate) fn pass(&self, key: &Key, now: Instant) {
        self.change(key, |_, place| place.passing_until = Some(now + PASSING));
    }

    /// Forgets the answer for a request.
    pub(crate) fn forget(&self, key: &Key, head: &RequestHead) {
        self.change(key, |_, place| {
            place.variants = place.others(head).into();
            self.remove_from_disk(key, |on_disk| on_disk.selection.matches(head));
        });
    }

    /// Counts what an answer has grown by.
    pub(crate) fn recount(&self, key: &Key) {
        self.change(key, |_, _| ());
    }

    /// All answers to a URL must be validated from now on (RFC 9111 §4.4).
    pub(crate) fn invalidate(&self, key: &Key) {
        self.change(key, |stripe, place| {
            if let Some(underway) = stripe.get_mut(key) {
                underway.take_out();
            }
            self.remove_from_disk(key, |_| true);
            place.variants =
                place.variants.iter().map(|stored| Arc::new(stored.expired())).collect();
            place.passing_until = None;
        });
    }

    /// Takes out the answers that are meant; how many.
    pub(super) fn purge(&self, what: &Purge) -> u64 {
        for stripe in &self.stripes {
            stripe.lock().values_mut().for_each(Underway::take_out);
        }
        let is_meant = |key: &Key, stored: &Stored| what.means(key, stored.tags());
        let is_meant_in =
            |(key, place): &(Key, Place)| place.variants.iter().any(|stored| is_meant(key, stored));
        let in_memory = self.memory.iter().filter(is_meant_in).map(|(key, _)| key);
        let on_disk = self.disk.iter().flat_map(|disk| disk.begin_purge(what));
        let meant: HashSet<_> = in_memory.chain(on_disk).collect();
        let mut purged = 0;
        for key in meant {
            self.change(&key, |_, place| {
                let (goes, stays): (Vec<_>, Vec<_>) =
                    place.variants.iter().cloned().partition(|stored| is_meant(&key, stored));
                place.variants = stays.into();
                // Most are in both.
                let is_other = |file: &&Arc<OnDisk>| {
                    !goes.iter().any(|gone| *gone.selection() == file.selection)
                };
                let files = self.remove_from_disk(&key, |file| what.means(&key, &file.tags));
                purged += (goes.len() + files.iter().filter(is_other).count()) as u64;
            });
        }
        purged
    }

    fn remove_from_disk(&self, key: &Key, is_meant: impl Fn(&OnDisk) -> bool) -> Vec<Arc<OnDisk>> {
        self.disk.as_ref().map(|disk| disk.remove(key, is_meant)).unwrap_or_default()
    }

    /// Makes what is stored half as large, and little of it nothing.
    pub(super) fn halve(&self) {
        let (size, half) = (self.memory.capacity(), self.memory.weight() / 2);
        if half < size / LITTLE {
            return self.memory.clear();
        }
        self.memory.set_capacity(half);
        self.memory.set_capacity(size);
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

    fn change(&self, key: &Key, change: impl FnOnce(&mut Stripe, &mut Place)) {
        let mut stripe = self.stripe(key).lock();
        let known = self.memory.peek(key);
        let mut place = known.clone().unwrap_or_default();
        change(&mut stripe, &mut place);
        if place.variants.is_empty() && place.passing_until.is_none() {
            if known.is_some() {
                self.memory.remove(key);
            }
            return;
        }
        let sizes: usize = place.variants.iter().map(|stored| stored.size()).sum();
        place.weight = sizes as u64 + 256;
        self.memory.insert(key.clone(), place);
    }

    fn stripe(&self, key: &Key) -> &Mutex<Stripe> {
        let index = usize::try_from(self.hasher.hash_one(key) % STRIPES as u64).unwrap_or(0);
        self.stripes.get(index).unwrap_or(&self.stripes[0])
    }
}

impl Underway {
    fn take_out(&mut self) {
        self.epoch.0 = self.epoch.0.wrapping_add(1);
    }
}

impl Place {
    /// The answers that are not for a request.
    fn others(&self, head: &RequestHead) -> Vec<Arc<Stored>> {
        self.variants.iter().filter(|stored| !stored.is_for(head)).cloned().collect()
    }
}
