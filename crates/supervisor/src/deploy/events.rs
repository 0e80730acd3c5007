//! What a deploy tells while it runs.
//!
//! Owns the sending side. Must not know who listens, and never waits for a listener: a full channel loses lines of
//! output and says how many, it never stops a deploy.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc;

use super::error::Step;
use crate::api::DeployEvent;

/// The sending side of a deploy's events.
#[derive(Debug)]
pub(crate) struct EventSink {
    sender: mpsc::Sender<DeployEvent>,
    lost: AtomicU64,
}

impl EventSink {
    /// Sends into `sender`; its capacity is how far a listener may be behind.
    pub(crate) fn new(sender: mpsc::Sender<DeployEvent>) -> Self {
        Self { sender, lost: AtomicU64::new(0) }
    }

    /// A step begins.
    pub(crate) fn step(&self, step: Step, text: impl Into<String>) {
        self.send(DeployEvent::Step { step: step.name().to_owned(), text: text.into() });
    }

    /// A line of output.
    pub(crate) fn output(&self, line: impl Into<String>) {
        self.send(DeployEvent::Output { line: line.into() });
    }

    /// Something the user should know.
    pub(crate) fn warning(&self, text: impl Into<String>) {
        self.send(DeployEvent::Warning { text: text.into() });
    }

    /// Any event; a listener that is gone or behind costs the event, not the deploy.
    pub(crate) fn send(&self, event: DeployEvent) {
        let lost = self.lost.load(Ordering::Relaxed);
        if lost > 0 {
            let line = format!("({lost} lines were left out)");
            if self.sender.try_send(DeployEvent::Output { line }).is_ok() {
                self.lost.fetch_sub(lost, Ordering::Relaxed);
            }
        }
        if let Err(mpsc::error::TrySendError::Full(_)) = self.sender.try_send(event) {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_channel_loses_lines_and_says_how_many() {
        let (sender, mut receiver) = mpsc::channel(2);
        let sink = EventSink::new(sender);
        for number in 0..5 {
            sink.output(format!("line {number}"));
        }
        assert!(receiver.try_recv().is_ok());
        assert!(receiver.try_recv().is_ok());
        sink.output("after");
        let Ok(DeployEvent::Output { line }) = receiver.try_recv() else { panic!("no event") };
        assert_eq!(line, "(3 lines were left out)");
        let Ok(DeployEvent::Output { line }) = receiver.try_recv() else { panic!("no event") };
        assert_eq!(line, "after");
    }

    #[test]
    fn a_listener_that_is_gone_is_no_error() {
        let (sender, receiver) = mpsc::channel(2);
        drop(receiver);
        EventSink::new(sender).warning("nobody hears this");
    }
}
