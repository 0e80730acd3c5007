//! Files that were asked for lately, in bounded memory: small ones with their compressed forms, large ones as open files.
//!
//! What is remembered is compared with the file at most once a second, by one request at a time; the others are answered
//! from memory meanwhile.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::OnceCell;
use tokio_util::task::AbortOnDropHandle;

use super::answer::Content;
use super::facts::Facts;
use crate::compress::{Coding, Effort, encode_whole};

/// How much is remembered at most, in bytes.
const MEMORY_BYTES: usize = 48 << 20;
/// What one remembered file costs besides its bytes.
const OVERHEAD_BYTES: usize = 512;
/// What an open file costs in place of its bytes: so no more than 128 are open.
const OPEN_BYTES: usize = MEMORY_BYTES / 128 - OVERHEAD_BYTES;
/// How long a large file stays open. One that was removed takes its room on the disk until then.
const OPEN_TIME: Duration = Duration::from_secs(10);
/// How long a file is taken to be what it was, in milliseconds.
const TRUST_MS: u64 = 1000;

/// Up to this size the bytes of a file are remembered; those that compress well, up to a larger one.
pub(super) fn fits_into_memory(facts: &Facts) -> bool {
    facts.size <= if facts.is_compressible { 2 << 20 } else { 256 << 10 }
}

/// A remembered file.
pub(super) struct HotFile {
    pub(super) facts: Facts,
    pub(super) content: Content,
    /// For each of [`Coding::ALL`]; `None` inside: not smaller.
    coded: [OnceCell<Option<Bytes>>; 3],
    checked_ms: AtomicU64,
    was_used: AtomicBool,
    /// Ends the time of an open file; goes with it.
    _closing: Option<AbortOnDropHandle<()>>,
}

/// Whether a remembered file may be used.
pub(super) enum Remembered {
    /// As it is.
    Fresh(Arc<HotFile>),
    /// After it was compared with the file; nobody else does that now.
    Stale(Arc<HotFile>),
    Unknown,
}

pub(super) struct FileMemory {
    started_at: Instant,
    limit_bytes: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// By mount, then by name.
    files: HashMap<u64, HashMap<Box<[u8]>, Arc<HotFile>>>,
    /// In the order in which they may go.
    order: VecDeque<(u64, Box<[u8]>)>,
    bytes: usize,
}

impl Default for FileMemory {
    fn default() -> Self {
        Self::with_limit(MEMORY_BYTES)
    }
}

impl FileMemory {
    fn with_limit(limit_bytes: usize) -> Self {
        Self { started_at: Instant::now(), limit_bytes, state: Mutex::default() }
    }

    pub(super) fn find(&self, mount: u64, name: &[u8]) -> Remembered {
        let found = self.state.lock().files.get(&mount).and_then(|files| files.get(name)).cloned();
        let Some(file) = found else { return Remembered::Unknown };
        file.was_used.store(true, Ordering::Relaxed);
        let (now, checked) = (self.now_ms(), file.checked_ms.load(Ordering::Relaxed));
        let is_due = now.saturating_sub(checked) >= TRUST_MS;
        // Who moves the time of the check does the check.
        let is_mine = || {
            file.checked_ms
                .compare_exchange(checked, now, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
        };
        if is_due && is_mine() { Remembered::Stale(file) } else { Remembered::Fresh(file) }
    }

    /// Remembers a file, and forgets others until there is room.
    pub(super) fn keep(
        &self,
        mount: u64,
        name: &[u8],
        facts: Facts,
        content: Bytes,
    ) -> Arc<HotFile> {
        self.remember(mount, name, self.hot(facts, Content::Memory(content), None))
    }

    /// Keeps a large file open for a while. Needs a runtime.
    pub(super) fn keep_open(
        self: &Arc<Self>,
        mount: u64,
        name: &[u8],
        facts: Facts,
        file: File,
    ) -> Arc<HotFile> {
        let (memory, known) = (Arc::downgrade(self), Box::<[u8]>::from(name));
        let closing = tokio::spawn(async move {
            tokio::time::sleep(OPEN_TIME).await;
            if let Some(memory) = memory.upgrade() {
                memory.forget(mount, &known);
            }
        });
        let closing = Some(AbortOnDropHandle::new(closing));
        self.remember(mount, name, self.hot(facts, Content::Disk(Arc::new(file)), closing))
    }

    fn hot(
        &self,
        facts: Facts,
        content: Content,
        closing: Option<AbortOnDropHandle<()>>,
    ) -> HotFile {
        HotFile {
            facts,
            content,
            coded: Default::default(),
            checked_ms: AtomicU64::new(self.now_ms()),
            was_used: AtomicBool::new(false),
            _closing: closing,
        }
    }

    fn remember(&self, mount: u64, name: &[u8], file: HotFile) -> Arc<HotFile> {
        let file = Arc::new(file);
        let mut state = self.state.lock();
        state.remove(mount, name);
        state.bytes += file.cost();
        state.files.entry(mount).or_default().insert(name.into(), Arc::clone(&file));
        state.order.push_back((mount, name.into()));
        state.shrink_to(self.limit_bytes);
        file
    }

    /// Forgets files until half as much is remembered.
    pub(super) fn halve(&self) {
        let mut state = self.state.lock();
        let half = state.bytes / 2;
        state.shrink_to(half);
    }

    pub(super) fn forget(&self, mount: u64, name: &[u8]) {
        self.state.lock().remove(mount, name);
    }

    /// A file's bytes in a coding, made once; `None` where they are not smaller.
    pub(super) async fn coded(
        &self,
        mount: u64,
        name: &[u8],
        file: &Arc<HotFile>,
        coding: Coding,
    ) -> Option<Bytes> {
        let Content::Memory(content) = &file.content else { return None };
        let index = Coding::ALL.iter().position(|known| *known == coding)?;
        let cell = file.coded.get(index)?;
        if let Some(coded) = cell.get() {
            return coded.clone();
        }
        let coded = cell.get_or_init(|| async {
            let content = content.clone();
            let encoding = tokio::task::spawn_blocking(move || {
                encode_whole(coding, Effort::Remembered, &content)
            });
            encoding.await.ok().flatten()
        });
        let coded = coded.await.clone();
        // Counted by whoever comes here first after it was made; counting goes by what is held, so twice does no harm.
        self.recount(mount, name, file);
        coded
    }

    /// Counts what a file has grown by.
    fn recount(&self, mount: u64, name: &[u8], file: &Arc<HotFile>) {
        let mut state = self.state.lock();
        let is_held = state.files.get(&mount).and_then(|files| files.get(name));
        if is_held.is_some_and(|held| Arc::ptr_eq(held, file)) {
            state.bytes = state.files.values().flat_map(HashMap::values).map(|f| f.cost()).sum();
            state.shrink_to(self.limit_bytes);
        }
    }

    /// As if the time of trust had passed for everything.
    #[cfg(test)]
    pub(super) fn distrust(&self) {
        for file in self.state.lock().files.values().flat_map(HashMap::values) {
            file.checked_ms.store(0, Ordering::Relaxed);
        }
    }

    /// Begins late enough for 0 to be a time that is never trusted.
    fn now_ms(&self) -> u64 {
        TRUST_MS + u64::try_from(self.started_at.elapsed().as_millis()).unwrap_or(0)
    }
}

impl HotFile {
    fn cost(&self) -> usize {
        let coded = self.coded.iter().filter_map(OnceCell::get).flatten().map(Bytes::len);
        let content = match &self.content {
            Content::Memory(bytes) => bytes.len(),
            Content::Disk(_) => OPEN_BYTES,
        };
        content + coded.sum::<usize>() + OVERHEAD_BYTES
    }
}

impl State {
    fn remove(&mut self, mount: u64, name: &[u8]) {
        let Some(files) = self.files.get_mut(&mount) else { return };
        if let Some(file) = files.remove(name) {
            self.bytes = self.bytes.saturating_sub(file.cost());
            self.order.retain(|(other, known)| *other != mount || **known != *name);
        }
        if files.is_empty() {
            self.files.remove(&mount);
        }
    }

    /// Forgets the oldest files that were not asked for since they were last passed over (the clock algorithm).
    fn shrink_to(&mut self, limit_bytes: usize) {
        while self.bytes > limit_bytes {
            let Some((mount, name)) = self.order.pop_front() else { return };
            let Some(file) = self.files.get(&mount).and_then(|files| files.get(&name)) else {
                continue;
            };
            if file.was_used.swap(false, Ordering::Relaxed) {
                self.order.push_back((mount, name));
            } else {
                self.remove(mount, &name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn facts() -> Facts {
        let file = tempfile::NamedTempFile::new().unwrap();
        Facts::new(Path::new("a.css"), &file.path().metadata().unwrap())
    }

    fn is_known(memory: &FileMemory, name: &str) -> bool {
        memory.state.lock().files.values().any(|files| files.contains_key(name.as_bytes()))
    }

    fn keep(memory: &FileMemory, name: &str, bytes: usize) -> Arc<HotFile> {
        memory.keep(1, name.as_bytes(), facts(), vec![b'x'; bytes].into())
    }

    #[test]
    fn memory_is_bounded_and_keeps_what_is_used() {
        let memory = FileMemory::with_limit(3 * (1000 + OVERHEAD_BYTES));
        for name in ["a", "b", "c"] {
            keep(&memory, name, 1000);
        }
        assert!(matches!(memory.find(1, b"a"), Remembered::Fresh(_)));
        keep(&memory, "d", 1000);
        assert!(is_known(&memory, "a") && !is_known(&memory, "b"));
        assert!(is_known(&memory, "c") && is_known(&memory, "d"));
        keep(&memory, "huge", 1 << 20);
        assert!(memory.state.lock().bytes <= memory.limit_bytes);
    }

    #[test]
    fn a_file_that_is_kept_again_is_counted_once() {
        let memory = FileMemory::with_limit(1 << 20);
        for _ in 0..10 {
            keep(&memory, "a", 1000);
        }
        let state = memory.state.lock();
        assert_eq!((state.bytes, state.order.len()), (1000 + OVERHEAD_BYTES, 1));
    }

    #[test]
    fn a_forgotten_file_leaves_nothing_behind() {
        let memory = FileMemory::with_limit(1 << 20);
        keep(&memory, "a", 1000);
        memory.forget(1, b"a");
        let state = memory.state.lock();
        assert_eq!((state.bytes, state.order.len(), state.files.len()), (0, 0, 0));
    }

    #[test]
    fn one_request_checks_a_file_that_is_due() {
        let memory = FileMemory::with_limit(1 << 20);
        keep(&memory, "a", 1);
        assert!(matches!(memory.find(1, b"a"), Remembered::Fresh(_)));
        memory.distrust();
        assert!(matches!(memory.find(1, b"a"), Remembered::Stale(_)));
        assert!(matches!(memory.find(1, b"a"), Remembered::Fresh(_)));
        assert!(matches!(memory.find(2, b"a"), Remembered::Unknown));
    }

    #[tokio::test(start_paused = true)]
    async fn a_large_file_stays_open_for_a_while_and_128_at_most() {
        let memory = Arc::new(FileMemory::default());
        let open = |name: &str| {
            let file = tempfile::tempfile().unwrap();
            memory.keep_open(1, name.as_bytes(), facts(), file)
        };
        for number in 0..200 {
            open(&number.to_string());
        }
        let held = memory.state.lock().files.values().map(HashMap::len).sum::<usize>();
        assert_eq!(held, 128);
        let coded = memory.coded(1, b"199", &open("199"), Coding::Gzip).await;
        assert!(coded.is_none(), "its bytes are not read");
        tokio::time::sleep(OPEN_TIME * 2).await;
        assert!(memory.state.lock().files.is_empty());
        assert_eq!(memory.state.lock().bytes, 0);
    }

    #[tokio::test]
    async fn a_coding_is_made_once_and_counted() {
        let memory = FileMemory::with_limit(1 << 20);
        let file = keep(&memory, "a", 5000);
        let before = memory.state.lock().bytes;
        let coded = memory.coded(1, b"a", &file, Coding::Gzip).await.unwrap();
        let again = memory.coded(1, b"a", &file, Coding::Gzip).await.unwrap();
        assert_eq!(coded.as_ptr(), again.as_ptr());
        assert_eq!(memory.state.lock().bytes, before + coded.len());
    }
}
