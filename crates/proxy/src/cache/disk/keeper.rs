//! The thread that writes and removes files, and finds those that are there: the only one that changes the folder.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::{Condvar, Mutex};
use tokio::sync::watch;

use super::super::{Key, Stored};
use super::folder::{self, UNFINISHED, id_of};
use super::index::OnDisk;
use super::{Disk, record};

/// Bytes that may wait to be written; what is stored beyond that is stored in memory alone.
const MOST_WAITING: u64 = 32 << 20;

/// An answer that is to be written.
struct Writing {
    key: Key,
    stored: Arc<Stored>,
    on_disk: Arc<OnDisk>,
}

/// What the thread has to do.
pub(super) struct Work {
    orders: Mutex<Orders>,
    wake: Condvar,
    /// How many removals were carried out.
    removed: watch::Sender<u64>,
}

#[derive(Default)]
struct Orders {
    writings: VecDeque<Writing>,
    waiting_bytes: u64,
    /// Never more than there are files.
    removals: Vec<u64>,
    /// How many removals there ever were.
    ordered: u64,
    last_id: u64,
    /// Whether the thread carries something out.
    is_busy: bool,
    state: State,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum State {
    /// The folder is not ours yet.
    #[default]
    Waiting,
    Open,
    Closed,
}

impl Default for Work {
    fn default() -> Self {
        let removed = watch::Sender::new(0);
        Self { orders: Mutex::default(), wake: Condvar::new(), removed }
    }
}

impl Work {
    /// A name for a file, above all earlier ones of this folder; `None`: nothing is written any more.
    pub(super) fn next_id(&self) -> Option<u64> {
        let mut orders = self.orders.lock();
        if orders.state == State::Closed {
            return None;
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        orders.last_id = now.max(orders.last_id.saturating_add(1));
        Some(orders.last_id)
    }

    /// Has an answer written; `false`: too much waits.
    pub(super) fn write(&self, key: Key, stored: Arc<Stored>, on_disk: Arc<OnDisk>) -> bool {
        let mut orders = self.orders.lock();
        let waiting_bytes = orders.waiting_bytes + on_disk.size;
        if orders.state == State::Closed || waiting_bytes > MOST_WAITING {
            return false;
        }
        orders.waiting_bytes = waiting_bytes;
        orders.writings.push_back(Writing { key, stored, on_disk });
        self.wake.notify_one();
        true
    }

    /// Has a file removed, or never written.
    pub(super) fn remove(&self, id: u64) {
        let mut orders = self.orders.lock();
        if let Some(at) = orders.writings.iter().position(|writing| writing.on_disk.id == id)
            && let Some(writing) = orders.writings.remove(at)
        {
            orders.waiting_bytes -= writing.on_disk.size;
            return;
        }
        orders.removals.push(id);
        orders.ordered += 1;
        self.wake.notify_one();
    }

    pub(super) fn close(&self) {
        self.orders.lock().state = State::Closed;
        self.wake.notify_one();
    }

    pub(super) async fn settled(&self) {
        let ordered = {
            let orders = self.orders.lock();
            // What is not ours yet is found without what was taken out, and what is no longer ours is another's.
            if orders.state != State::Open {
                return;
            }
            orders.ordered
        };
        // The sender is ours.
        let _ = self.removed.subscribe().wait_for(|removed| *removed >= ordered).await;
    }

    /// The next thing to do, removals first; `None`: there is nothing more, and there will be nothing more.
    fn next(&self) -> Option<Order> {
        let mut orders = self.orders.lock();
        loop {
            orders.is_busy = !orders.removals.is_empty() || !orders.writings.is_empty();
            if !orders.removals.is_empty() {
                return Some(Order::Remove(std::mem::take(&mut orders.removals)));
            }
            if let Some(writing) = orders.writings.pop_front() {
                orders.waiting_bytes -= writing.on_disk.size;
                return Some(Order::Write(writing));
            }
            if orders.state == State::Closed {
                return None;
            }
            self.wake.wait(&mut orders);
        }
    }

    /// Whether everything was carried out.
    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        let orders = self.orders.lock();
        !orders.is_busy && orders.removals.is_empty() && orders.writings.is_empty()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.orders.lock().state == State::Closed
    }
}

enum Order {
    Remove(Vec<u64>),
    Write(Writing),
}

/// Starts the thread, which ends when the disk is closed.
pub(super) fn start(disk: &Arc<Disk>) {
    let (folder, work) = (disk.folder.clone(), Arc::clone(&disk.work));
    let disk = Arc::downgrade(disk);
    let run = move || {
        if let Err(error) = keep(&folder, &work, &disk) {
            tracing::warn!(folder = %folder.display(), %error, "answers are not stored on the disk");
        }
        work.close();
        // Nobody waits for what will not be done.
        work.removed.send_replace(u64::MAX);
    };
    let started = std::thread::Builder::new().name("cache".to_owned()).spawn(run);
    if let Err(error) = started {
        tracing::warn!(%error, "answers are not stored on the disk");
    }
}

fn keep(own: &Path, work: &Work, disk: &Weak<Disk>) -> io::Result<()> {
    let site = own.parent().unwrap_or(own);
    // Another engine has it until it drains.
    let _lock = folder::lock(site)?;
    if work.is_closed() {
        return Ok(());
    }
    folder::remove_releases(site, Some(own));
    folder::make(own)?;
    {
        let mut orders = work.orders.lock();
        if orders.state == State::Waiting {
            orders.state = State::Open;
        }
    }
    find_all(own, work, disk)?;
    let mut trouble = Trouble::default();
    while let Some(order) = work.next() {
        match order {
            Order::Remove(ids) => {
                for id in &ids {
                    remove(&own.join(format!("{id:016x}")));
                }
                work.removed.send_modify(|removed| *removed += ids.len() as u64);
            }
            Order::Write(writing) => {
                let written = write(own, &writing);
                if written.is_ok() {
                    writing.on_disk.was_written();
                } else {
                    writing.on_disk.was_lost();
                    if let Some(disk) = disk.upgrade() {
                        disk.index.remove(&writing.key, |other| other.id == writing.on_disk.id);
                    }
                }
                trouble.note(written);
            }
        }
    }
    Ok(())
}

/// A disk that takes nothing is told of once.
#[derive(Default)]
struct Trouble(bool);

impl Trouble {
    fn note(&mut self, written: io::Result<()>) {
        let was_there = std::mem::replace(&mut self.0, written.is_err());
        match written {
            Err(error) if !was_there => {
                tracing::warn!(%error, "an answer can't be stored on the disk")
            }
            _ => {}
        }
    }
}

/// Puts the files of before into the index, the newest first, and removes what is none.
fn find_all(folder: &Path, work: &Work, disk: &Weak<Disk>) -> io::Result<()> {
    let entries = fs::read_dir(folder)?.flatten().map(|entry| entry.path());
    let mut files: Vec<_> = entries.map(|path| (id_of(&path), path)).collect();
    files.sort_by_key(|(id, _)| Reverse(*id));
    for (id, path) in files {
        let Some(disk) = disk.upgrade().filter(|_| !work.is_closed()) else { return Ok(()) };
        let found = id.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidFilename));
        let found = found.and_then(|id| disk.found(id, File::open(&path)?));
        if let Err(error) = &found {
            tracing::debug!(path = %path.display(), %error, "this is no stored answer");
        }
        if !matches!(found, Ok(true)) {
            remove(&path);
        }
    }
    if let Some(disk) = disk.upgrade() {
        *disk.taken_out.lock() = None;
    }
    Ok(())
}

fn write(folder: &Path, Writing { key, stored, on_disk }: &Writing) -> io::Result<()> {
    let unfinished = folder.join(UNFINISHED);
    let written = (|| {
        let options =
            OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).clone();
        let mut file = options.open(&unfinished)?;
        let (head, body) = record::write(key, stored)?;
        file.write_all(&head)?;
        file.write_all(&body)?;
        fs::rename(&unfinished, folder.join(format!("{:016x}", on_disk.id)))
    })();
    if written.is_err() {
        remove(&unfinished);
    }
    written
}

fn remove(path: &Path) {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(path = %path.display(), %error, "a file of the cache can't be removed");
        }
        _ => {}
    }
}
