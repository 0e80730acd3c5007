//! One JSON line for each request, in a file for each site.
//!
//! Requests hand their lines to one writer thread over a bounded channel. Where it is full the line is dropped and counted:
//! a slow disk never slows a request.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use serde::Serialize;

mod files;

use files::LogFiles;

/// How many lines may wait for the writer.
const QUEUED_LINES: usize = 8192;

/// The access logs of all sites; a clone writes to the same files.
#[derive(Clone, Default)]
pub struct AccessLog {
    shared: Option<Arc<Shared>>,
}

struct Shared {
    queue: SyncSender<Message>,
    dropped: AtomicU64,
}

enum Message {
    Entry(Box<Entry>),
    Flush(SyncSender<()>),
}

/// A line.
#[derive(Debug, Serialize)]
pub(crate) struct Entry {
    pub(crate) at_ms: u64,
    pub(crate) site: String,
    pub(crate) release: String,
    pub(crate) request_id: String,
    pub(crate) method: String,
    /// Without the query: its values may be secrets.
    pub(crate) path: String,
    /// 0: no head was sent.
    pub(crate) status: u16,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    #[serde(serialize_with = "milliseconds")]
    pub(crate) queue_ms: Option<Duration>,
    #[serde(serialize_with = "milliseconds")]
    pub(crate) app_ms: Option<Duration>,
    #[serde(serialize_with = "milliseconds")]
    pub(crate) total_ms: Option<Duration>,
    pub(crate) client: Option<String>,
    pub(crate) user_agent: Option<String>,
    pub(crate) served_by: &'static str,
    pub(crate) error: Option<String>,
}

/// Milliseconds with three digits behind the point.
fn milliseconds<S: serde::Serializer>(
    duration: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match duration {
        Some(duration) => serializer.serialize_f64((duration.as_secs_f64() * 1e6).round() / 1e3),
        None => serializer.serialize_none(),
    }
}

impl AccessLog {
    /// A log that writes to `FOLDER/SITE/access.log`; folders are made where they are missing. Its thread ends after the
    /// last clone.
    ///
    /// # Errors
    /// Where the thread can't be started.
    pub fn to_folder(folder: PathBuf) -> std::io::Result<Self> {
        let (queue, lines) = sync_channel(QUEUED_LINES);
        std::thread::Builder::new()
            .name("access-log".into())
            .spawn(move || write_lines(&lines, LogFiles::new(folder)))?;
        Ok(Self { shared: Some(Arc::new(Shared { queue, dropped: AtomicU64::new(0) })) })
    }

    /// No log.
    pub fn disabled() -> Self {
        Self::default()
    }

    /// How many lines were dropped because the writer was behind.
    pub fn dropped(&self) -> u64 {
        self.shared.as_ref().map_or(0, |shared| shared.dropped.load(Ordering::Relaxed))
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

fn write_lines(lines: &Receiver<Message>, mut files: LogFiles) {
    while let Ok(first) = lines.recv() {
        let mut next = Some(first);
        // Everything that waits is one batch, written to the files at its end.
        while let Some(message) = next {
            match message {
                Message::Entry(entry) => files.append(&entry),
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
pub(crate) mod tests {
    use super::*;

    pub(crate) fn entry(site: &str) -> Entry {
        Entry {
            at_ms: 1,
            site: site.into(),
            release: "r1".into(),
            request_id: "id".into(),
            method: "GET".into(),
            path: "/a \"b\"".into(),
            status: 200,
            bytes_in: 3,
            bytes_out: 4,
            queue_ms: Some(Duration::from_micros(1500)),
            app_ms: None,
            total_ms: Some(Duration::from_millis(2)),
            client: Some("192.0.2.7".into()),
            user_agent: None,
            served_by: "app",
            error: None,
        }
    }

    #[test]
    fn a_line_is_json_in_the_file_of_its_site() {
        let folder = tempfile::tempdir().unwrap();
        let log = AccessLog::to_folder(folder.path().into()).unwrap();
        log.write(entry("blog"));
        log.write(entry("shop"));
        log.flush();
        let text = std::fs::read_to_string(folder.path().join("blog/access.log")).unwrap();
        let line: serde_json::Value = serde_json::from_str(text.trim()).unwrap();
        assert_eq!(line["path"], "/a \"b\"");
        assert_eq!(line["queue_ms"], 1.5);
        assert_eq!(line["app_ms"], serde_json::Value::Null);
        assert!(folder.path().join("shop/access.log").exists());
        assert_eq!(log.dropped(), 0);
    }

    #[test]
    fn lines_are_dropped_and_counted_where_the_writer_is_gone() {
        let (queue, lines) = sync_channel(1);
        drop(lines);
        let shared = Shared { queue, dropped: AtomicU64::new(0) };
        let log = AccessLog { shared: Some(Arc::new(shared)) };
        log.write(entry("blog"));
        assert_eq!(log.dropped(), 1);
        log.flush();
    }

    #[test]
    fn lines_are_dropped_and_counted_where_the_queue_is_full() {
        let (queue, _lines) = sync_channel(1);
        let shared = Shared { queue, dropped: AtomicU64::new(0) };
        let log = AccessLog { shared: Some(Arc::new(shared)) };
        for _ in 0..3 {
            log.write(entry("blog"));
        }
        assert_eq!(log.dropped(), 2);
    }
}
