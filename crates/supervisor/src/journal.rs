//! Writes down what happens as it happens, for [`PastEvent`]s in `state.db`.
//!
//! Whoever tells of an event goes on at once: a database that is slow or locked must not hold up the start of an engine. Must not
//! know what events mean.

use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::api::{EventKind, PastEvent};
use crate::clock::now_ms;
use crate::store::Store;

/// Events that may wait for the database; when it is full, the newest is lost and a warning says so.
const WAITING: usize = 256;

/// Where events are told.
#[derive(Debug)]
pub(crate) struct Journal {
    /// `None` once it is closed.
    events: Mutex<Option<mpsc::Sender<PastEvent>>>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl Journal {
    /// A journal into this database.
    pub(crate) fn new(store: Store) -> Self {
        let (events, waiting) = mpsc::channel(WAITING);
        let writer = tokio::spawn(write(store, waiting));
        Self { events: Mutex::new(Some(events)), writer: Mutex::new(Some(writer)) }
    }

    /// Tells what has just happened to a site.
    pub(crate) fn site(&self, kind: EventKind, site: &str, release: Option<&str>, text: &str) {
        self.record(PastEvent {
            at_ms: now_ms(),
            kind,
            site: Some(site.to_owned()),
            release: release.map(str::to_owned),
            text: text.to_owned(),
        });
    }

    /// Tells what has just happened to the whole box.
    pub(crate) fn the_box(&self, kind: EventKind, text: &str) {
        let text = text.to_owned();
        self.record(PastEvent { at_ms: now_ms(), kind, site: None, release: None, text });
    }

    /// Waits until everything that was told is written; what is told from here on is lost.
    pub(crate) async fn close(&self) {
        self.events.lock().take();
        let writer = self.writer.lock().take();
        if let Some(writer) = writer {
            writer.await.ok();
        }
    }

    fn record(&self, event: PastEvent) {
        let events = self.events.lock();
        let told = events.as_ref().is_some_and(|events| events.try_send(event).is_ok());
        if !told {
            tracing::warn!("an event could not be written down");
        }
    }
}

async fn write(store: Store, mut waiting: mpsc::Receiver<PastEvent>) {
    while let Some(event) = waiting.recv().await {
        if let Err(error) = store.add_event(&event).await {
            tracing::warn!(%error, "an event could not be written down");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{EventSpan, temporary};

    #[tokio::test]
    async fn what_was_told_before_the_end_is_written() {
        let (_folder, store) = temporary().await;
        let journal = Journal::new(store.clone());
        journal.site(EventKind::Deploy, "blog", Some("r1"), "release r1 is live");
        journal.the_box(EventKind::EngineCrash, "the engine aborted (signal 6)");
        journal.close().await;
        journal.the_box(EventKind::EngineCrash, "too late");
        let span = EventSpan { from_ms: 0, to_ms: i64::MAX, site: None, limit: 10 };
        let events = store.events(&span).await.unwrap();
        let told: Vec<_> = events.iter().map(|event| (event.kind, event.site.as_deref())).collect();
        assert_eq!(told, [(EventKind::Deploy, Some("blog")), (EventKind::EngineCrash, None)]);
    }
}
