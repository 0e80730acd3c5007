//! A line for each request, in a file for each site.
//!
//! Requests hand their lines to one writer thread over a bounded channel. Where it is full the line is dropped and counted:
//! a slow disk never slows a request.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

mod combined;
mod entry;
mod files;
mod one_line;
mod record;

pub(crate) use entry::{ClientFields, Entry};
use files::LogFiles;
pub use record::RequestRecord;
use record::{Sieve, Waiting};

/// How many lines may wait for the writer.
const QUEUED_LINES: usize = 8192;
/// How long the writer lets lines gather before it writes them: meanwhile it is not woken for each of them.
const GATHER: Duration = Duration::from_millis(10);

/// The access logs of all sites; a clone writes to the same files.
#[derive(Clone, Default)]
pub struct AccessLog {
    shared: Option<Arc<Shared>>,
}

struct Shared {
    queue: SyncSender<Message>,
    dropped: AtomicU64,
    records: Arc<Waiting>,
}

enum Message {
    Entry(Box<Entry>),
    Flush(SyncSender<()>),
    Reopen,
}

impl AccessLog {
    /// A log that writes to `FOLDER/SITE/access.log`; folders are made where they are missing. Its thread ends after the
    /// last clone.
    ///
    /// # Errors
    /// Where the thread can't be started.
    pub fn to_folder(folder: PathBuf) -> std::io::Result<Self> {
        let (queue, lines) = sync_channel(QUEUED_LINES);
        let records = Arc::new(Waiting::default());
        let shared = Shared { queue, dropped: AtomicU64::new(0), records: Arc::clone(&records) };
        std::thread::Builder::new()
            .name("access-log".into())
            .spawn(move || write_lines(&lines, LogFiles::new(folder), &records))?;
        Ok(Self { shared: Some(Arc::new(shared)) })
    }

    /// No log.
    pub fn disabled() -> Self {
        Self::default()
    }

    /// How many lines were dropped because the writer was behind.
    pub fn dropped(&self) -> u64 {
        self.shared.as_ref().map_or(0, |shared| shared.dropped.load(Ordering::Relaxed))
    }

    /// The records of requests that were kept since the last call.
    pub fn take_records(&self) -> Vec<RequestRecord> {
        self.shared.as_ref().map_or_else(Vec::new, |shared| shared.records.take())
    }

    /// Has all files opened anew, because somebody has put them aside. Where the writer is behind it notices that by itself.
    pub fn reopen(&self) {
        if let Some(shared) = &self.shared {
            shared.queue.try_send(Message::Reopen).ok();
        }
    }

    /// Waits until everything that was logged so far is in its file.
    pub fn flush(&self) {
        let Some(shared) = &self.shared else { return };
        let (done, wait) = sync_channel(1);
        if shared.queue.send(Message::Flush(done)).is_ok() {
            // An error means that the writer is gone, and with it what could be waited for.
            let _ = wait.recv();
        }
    }

    pub(crate) fn is_enabled(&self) -> bool {
        self.shared.is_some()
    }

    pub(crate) fn write(&self, entry: Entry) {
        let Some(shared) = &self.shared else { return };
        match shared.queue.try_send(Message::Entry(Box::new(entry))) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                shared.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

fn write_lines(lines: &Receiver<Message>, mut files: LogFiles, records: &Waiting) {
    let mut sieve = Sieve::default();
    while let Ok(first) = lines.recv() {
        if matches!(first, Message::Entry(_)) {
            std::thread::sleep(GATHER);
        }
        let mut next = Some(first);
        // Everything that waits is one batch, written to the files at its end.
        while let Some(message) = next {
            match message {
                Message::Entry(entry) => {
                    files.append(&entry);
                    sieve.take(&entry, records);
                }
                Message::Reopen => files.close(),
                Message::Flush(done) => {
                    files.flush();
                    let _ = done.send(());
                }
            }
            next = lines.try_recv().ok();
        }
        files.flush();
    }
}

#[cfg(test)]
mod tests {
    use super::entry::tests::entry;
    use super::*;

    #[test]
    fn a_line_is_in_the_file_of_its_site() {
        let folder = tempfile::tempdir().unwrap();
        let log = AccessLog::to_folder(folder.path().into()).unwrap();
        log.write(entry("blog"));
        log.write(entry("shop"));
        log.flush();
        let text = std::fs::read_to_string(folder.path().join("blog/access.log")).unwrap();
        assert!(text.starts_with('{') && text.ends_with("}\n"));
        assert!(folder.path().join("shop/access.log").exists());
        assert_eq!(log.dropped(), 0);
    }

    #[test]
    fn lines_are_dropped_and_counted_where_the_writer_is_gone() {
        let (queue, lines) = sync_channel(1);
        drop(lines);
        let shared = Shared { queue, dropped: AtomicU64::new(0), records: Arc::default() };
        let log = AccessLog { shared: Some(Arc::new(shared)) };
        log.write(entry("blog"));
        assert_eq!(log.dropped(), 1);
        log.flush();
    }

    #[test]
    fn lines_are_dropped_and_counted_where_the_queue_is_full() {
        let (queue, _lines) = sync_channel(1);
        let shared = Shared { queue, dropped: AtomicU64::new(0), records: Arc::default() };
        let log = AccessLog { shared: Some(Arc::new(shared)) };
        for _ in 0..3 {
            log.write(entry("blog"));
        }
        assert_eq!(log.dropped(), 2);
    }
}
