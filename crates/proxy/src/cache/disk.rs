//! Stored answers on the disk, which outlive their process: a file for each, and an index of them in memory.
//!
//! Requests read the index and never write a file: what is stored, and what is to go, waits for a thread (`keeper`), which also
//! reads the index anew at the start. `record` is what a file looks like. The `folder` is one release's; of the processes and
//! caches that would use it one does, the others wait for its lock. Where memory has an answer nobody looks here.
//!
//! The crates `cacache` and `foyer` were looked at: the one has no bound, and an index in files that grow; the other brings an
//! engine of its own for blocks of a device, with some eighty dependencies.

mod folder;
mod index;
mod keeper;
mod record;

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;

use super::policy::Terms;
use super::{Key, Purge, Stored};
use crate::message::RequestHead;
pub use folder::Clearing;
use index::Index;
pub(super) use index::OnDisk;
use keeper::Work;
pub(super) use record::{Reader, SMALL, Writer};

/// The stored answers of one release of a site on the disk.
pub(super) struct Disk {
    folder: PathBuf,
    index: Index,
    work: Arc<Work>,
    /// What was taken out before all files were in the index; `None`: they are.
    taken_out: Mutex<Option<Vec<TakenOut>>>,
}

/// What is not to be found in files that are not in the index yet.
enum TakenOut {
    Purged(Purge),
    Url(Key),
}

impl Disk {
    /// The one in a folder, which may take `size_bytes`. What it has is found little by little.
    pub(super) fn open(folder: PathBuf, size_bytes: u64) -> Arc<Self> {
        let work = Arc::new(Work::default());
        let disk = Arc::new(Self {
            folder,
            index: Index::new(size_bytes, Arc::clone(&work)),
            work,
            taken_out: Mutex::new(Some(Vec::new())),
        });
        keeper::start(&disk);
        disk
    }

    /// What is here for a request.
    pub(super) fn find(&self, key: &Key, head: &RequestHead) -> Option<Arc<OnDisk>> {
        if self.work.is_closed() {
            return None;
        }
        self.index.find(key, |on_disk| on_disk.is_ready() && on_disk.selection.matches(head))
    }

    /// Reads an answer; `None`: what is there is not what was written, and is gone now. A large body stays in its file where
    /// `may_stay` says so.
    pub(super) fn load(
        &self,
        key: &Key,
        on_disk: &Arc<OnDisk>,
        may_stay: impl FnOnce(&Terms) -> bool,
    ) -> Option<Stored> {
        let file = File::open(self.path(on_disk.id));
        let read = file.and_then(|file| {
            record::read(file, key, on_disk.is_checked(), |terms, size| {
                size > SMALL && may_stay(terms)
            })
        });
        match read {
            Ok(stored) => {
                on_disk.was_checked();
                Some(stored)
            }
            Err(error) => {
                tracing::warn!(%error, "a stored answer on the disk is damaged, and goes");
                self.index.remove(key, |other| other.id == on_disk.id);
                None
            }
        }
    }

    /// Writes an answer soon, in place of the one that the same requests have; not where too much waits to be written.
    pub(super) fn put(&self, key: &Key, stored: &Arc<Stored>) {
        let Some(id) = self.work.next_id() else { return };
        let on_disk = OnDisk::of(id, key, stored);
        // In this order: what the index has no room for is taken out of the work again.
        if self.work.write(key.clone(), Arc::clone(stored), Arc::clone(&on_disk)) {
            self.index.put(key, Arc::clone(&on_disk));
            // The thread may have failed to write it before it was there to be taken out.
            if on_disk.is_lost() {
                self.index.remove(key, |other| other.id == id);
            }
        } else {
            self.index.remove(key, |other| other.selection == on_disk.selection);
        }
    }

    /// Takes out answers to a URL: which ones there were.
    pub(super) fn remove(&self, key: &Key, is_meant: impl Fn(&OnDisk) -> bool) -> Vec<Arc<OnDisk>> {
        if let Some(taken_out) = &mut *self.taken_out.lock() {
            taken_out.push(TakenOut::Url(key.clone()));
        }
        self.index.remove(key, is_meant)
    }

    /// The URLs of answers that are to be purged; also has those purged that are not in the index yet.
    pub(super) fn begin_purge(&self, what: &Purge) -> Vec<Key> {
        if let Some(taken_out) = &mut *self.taken_out.lock() {
            taken_out.push(TakenOut::Purged(what.clone()));
        }
        self.index.keys(|key, on_disk| what.means(key, &on_disk.tags))
    }

    /// Waits until no file has what was taken out before.
    pub(super) async fn settled(&self) {
        self.work.settled().await;
    }

    /// Stores nothing more, and leaves the folder to whoever waits for it.
    pub(super) fn close(&self) {
        self.work.close();
    }

    /// What it takes, in bytes.
    pub(super) fn size_bytes(&self) -> u64 {
        self.index.size_bytes()
    }

    /// Whether everything is written and removed that was to be.
    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        self.taken_out.lock().is_none() && self.work.is_idle()
    }

    fn path(&self, id: u64) -> PathBuf {
        self.folder.join(format!("{id:016x}"))
    }

    /// Puts a file of before into the index; `false`: it is of no use.
    fn found(&self, id: u64, file: File) -> io::Result<bool> {
        let (key, on_disk) = record::describe(file, id)?;
        let taken_out = self.taken_out.lock();
        let is_taken_out = taken_out.iter().flatten().any(|taken| match taken {
            TakenOut::Purged(what) => what.means(&key, &on_disk.tags),
            TakenOut::Url(url) => *url == key,
        });
        // Held meanwhile, so that nobody takes it out in between.
        Ok(!is_taken_out && self.index.put_older(&key, on_disk))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
mod tests;
