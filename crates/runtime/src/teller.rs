//! The thread that tells the host what happens: neither requests nor the watchdog wait for whoever reads it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::notice::{Failed, Notice};

/// Notices that may wait. When they are so many the watchdog waits for the host, and failures are counted instead of told.
const WAITING: usize = 64;
/// So many failures are told in a second; the others are counted.
const FAILURES_PER_SECOND: u32 = 20;
/// How long what waits may take at the end of the process.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Takes lines of JSON, each with its end.
pub(crate) type Tell = Box<dyn Fn(&str) + Send>;

/// Where notices go.
pub(crate) struct Teller {
    waiting: SyncSender<Message>,
    /// Failures that were not told since the last one that was.
    lost: AtomicU64,
    budget: Mutex<Budget>,
}

enum Message {
    Notice(Notice),
    /// Everything before it was told.
    Flush(SyncSender<()>),
}

/// What was told in the second that began then.
struct Budget {
    began: Instant,
    told: u32,
}

impl Teller {
    /// Starts the thread.
    pub(crate) fn start(tell: Tell) -> std::io::Result<Self> {
        let (waiting, messages) = sync_channel(WAITING);
        std::thread::Builder::new()
            .name("onebox-teller".into())
            .spawn(move || pass_on(&messages, &tell))?;
        let budget = Mutex::new(Budget { began: Instant::now(), told: 0 });
        Ok(Self { waiting, lost: AtomicU64::new(0), budget })
    }

    /// Tells something; waits where the host is behind.
    pub(crate) fn tell(&self, notice: Notice) {
        // The thread lives as long as the process.
        let _ = self.waiting.send(Message::Notice(notice));
    }

    /// Tells of a failed request, and of how many were not told before it; never waits.
    pub(crate) fn tell_failed(&self, mut failed: Failed) {
        failed.lost = self.lost.swap(0, Ordering::Relaxed);
        let lost = failed.lost + 1;
        let is_told = self.is_within_budget()
            && self.waiting.try_send(Message::Notice(Notice::Failed(failed))).is_ok();
        if !is_told {
            self.lost.fetch_add(lost, Ordering::Relaxed);
        }
    }

    /// Waits until everything was told, for a moment at most.
    pub(crate) fn flush(&self) {
        let (done, wait) = sync_channel(1);
        if self.waiting.send(Message::Flush(done)).is_ok() {
            let _ = wait.recv_timeout(LAST_WORDS);
        }
    }

    fn is_within_budget(&self) -> bool {
        let mut budget = self.budget.lock().unwrap_or_else(PoisonError::into_inner);
        if budget.began.elapsed() >= Duration::from_secs(1) {
            *budget = Budget { began: Instant::now(), told: 0 };
        }
        budget.told += 1;
        budget.told <= FAILURES_PER_SECOND
    }
}

fn pass_on(messages: &Receiver<Message>, tell: &Tell) {
    while let Ok(message) = messages.recv() {
        match message {
            Message::Notice(notice) => tell(&notice.to_json()),
            Message::Flush(done) => {
                // Who asked may have given up.
                let _ = done.send(());
            }
        }
    }
}
