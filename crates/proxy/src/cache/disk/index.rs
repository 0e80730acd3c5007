//! Which answers are on the disk: the same bounded memory as the answers themselves have, whose weight is that of the files.

use std::iter;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use quick_cache::sync::Cache as Memory;
use quick_cache::{DefaultHashBuilder, Lifecycle, OptionsBuilder, Weighter};

use super::super::store::{MOST_VARIANTS, USUAL_BYTES};
use super::super::vary::Selection;
use super::super::{Key, Stored};
use super::keeper::Work;
use super::record;

/// Files take whole blocks.
const BLOCK: u64 = 4096;

/// A file with an answer.
#[derive(Debug)]
pub(in super::super) struct OnDisk {
    pub(super) id: u64,
    /// Of the file, in bytes.
    pub(super) size: u64,
    pub(in super::super) selection: Selection,
    pub(in super::super) tags: Vec<Box<[u8]>>,
    /// Whether it is written.
    is_ready: AtomicBool,
    /// Whether it could not be written.
    is_lost: AtomicBool,
    /// Whether its body is known to be what was written; one from before may have been lost with the machine's power.
    is_checked: AtomicBool,
}

impl OnDisk {
    /// One that will be written.
    pub(super) fn of(id: u64, key: &Key, stored: &Stored) -> Arc<Self> {
        Arc::new(Self {
            id,
            size: record::size(key, stored),
            selection: stored.selection().clone(),
            tags: stored.tags().to_vec(),
            is_ready: AtomicBool::new(false),
            is_lost: AtomicBool::new(false),
            is_checked: AtomicBool::new(true),
        })
    }

    /// One that another process wrote.
    pub(super) fn of_before(id: u64, size: u64, stored: &Stored) -> Arc<Self> {
        Arc::new(Self {
            id,
            size,
            selection: stored.selection().clone(),
            tags: stored.tags().to_vec(),
            is_ready: AtomicBool::new(true),
            is_lost: AtomicBool::new(false),
            is_checked: AtomicBool::new(false),
        })
    }

    pub(super) fn is_ready(&self) -> bool {
        self.is_ready.load(Ordering::Acquire)
    }

    pub(super) fn was_written(&self) {
        self.is_ready.store(true, Ordering::Release);
    }

    pub(super) fn is_lost(&self) -> bool {
        self.is_lost.load(Ordering::Acquire)
    }

    pub(super) fn was_lost(&self) {
        self.is_lost.store(true, Ordering::Release);
    }

    pub(super) fn is_checked(&self) -> bool {
        self.is_checked.load(Ordering::Relaxed)
    }

    pub(super) fn was_checked(&self) {
        self.is_checked.store(true, Ordering::Relaxed);
    }
}

/// The files of one URL, the newest first.
type Files = Arc<[Arc<OnDisk>]>;

#[derive(Clone)]
struct ByBlocks;

impl Weighter<Key, Files> for ByBlocks {
    fn weight(&self, _key: &Key, files: &Files) -> u64 {
        files.iter().map(|file| file.size.next_multiple_of(BLOCK)).sum()
    }
}

/// Has files removed whose place is taken.
#[derive(Clone)]
struct Leaving(Arc<Work>);

impl Lifecycle<Key, Files> for Leaving {
    type RequestState = ();

    /// Not `on_evict`, which is also told of what another value takes the place of.
    fn before_evict(&self, _state: &mut (), _key: &Key, files: &mut Files) {
        files.iter().for_each(|file| self.0.remove(file.id));
    }
}

pub(super) struct Index {
    files: Memory<Key, Files, ByBlocks, DefaultHashBuilder, Leaving>,
    work: Arc<Work>,
    /// Held by who changes what is there.
    changing: Mutex<()>,
}

impl Index {
    pub(super) fn new(size_bytes: u64, work: Arc<Work>) -> Self {
        let leaving = Leaving(Arc::clone(&work));
        let hasher = DefaultHashBuilder::default();
        let usual = usize::try_from(size_bytes / USUAL_BYTES).unwrap_or(1).max(1);
        let options = OptionsBuilder::new()
            .shards(1)
            .estimated_items_capacity(usual)
            .weight_capacity(size_bytes)
            .build();
        let files = match options {
            Ok(options) => Memory::with_options(options, ByBlocks, hasher, leaving),
            // Only a part that was left out is an error, and all are there.
            Err(_) => Memory::with(1, size_bytes, ByBlocks, hasher, leaving),
        };
        Self { files, work, changing: Mutex::default() }
    }

    pub(super) fn find(&self, key: &Key, is_it: impl Fn(&OnDisk) -> bool) -> Option<Arc<OnDisk>> {
        self.files.get(key)?.iter().find(|file| is_it(file)).cloned()
    }

    /// The URLs that have a file that is meant.
    pub(super) fn keys(&self, is_meant: impl Fn(&Key, &OnDisk) -> bool) -> Vec<Key> {
        let has_one = |(key, files): &(Key, Files)| files.iter().any(|file| is_meant(key, file));
        self.files.iter().filter(has_one).map(|(key, _)| key).collect()
    }

    /// Puts a file in place of the one that the same requests have.
    pub(super) fn put(&self, key: &Key, file: Arc<OnDisk>) {
        let _changing = self.changing.lock();
        let known = self.files.peek(key).unwrap_or_default();
        let others = known.iter().filter(|other| other.selection != file.selection).cloned();
        let files: Files =
            iter::once(Arc::clone(&file)).chain(others).take(MOST_VARIANTS).collect();
        self.replace(key, &known, files);
    }

    /// Puts a file beside the others, unless there is one for the same requests.
    pub(super) fn put_older(&self, key: &Key, file: Arc<OnDisk>) -> bool {
        let _changing = self.changing.lock();
        let known = self.files.peek(key).unwrap_or_default();
        let is_known = known.iter().any(|other| other.selection == file.selection);
        if is_known || known.len() >= MOST_VARIANTS {
            return false;
        }
        let files: Files = known.iter().cloned().chain([file]).collect();
        self.replace(key, &known, files);
        true
    }

    /// Takes files out.
    pub(super) fn remove(&self, key: &Key, is_meant: impl Fn(&OnDisk) -> bool) -> Vec<Arc<OnDisk>> {
        let _changing = self.changing.lock();
        let Some(known) = self.files.peek(key) else { return Vec::new() };
        let (meant, others): (Vec<_>, Vec<_>) =
            known.iter().cloned().partition(|file| is_meant(file));
        if !meant.is_empty() {
            self.replace(key, &known, others.into());
        }
        meant
    }

    pub(super) fn size_bytes(&self) -> u64 {
        self.files.weight()
    }

    /// Has those files removed that are not there any more.
    fn replace(&self, key: &Key, known: &Files, files: Files) {
        let is_gone = |file: &&Arc<OnDisk>| !files.iter().any(|other| other.id == file.id);
        known.iter().filter(is_gone).for_each(|file| self.work.remove(file.id));
        match files.is_empty() {
            true => drop(self.files.remove(key)),
            false => self.files.insert(key.clone(), files),
        }
    }
}
