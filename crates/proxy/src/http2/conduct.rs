//! What a client may waste: floods of frames that carry nothing, and requests that it takes back.
//!
//! What a single frame can do (too large heads, endless CONTINUATION, empty DATA, resets of requests that nobody has seen, frames
//! that make us reset) is h2's to limit. This is about what is allowed, frame by frame, and only becomes an attack by its number:
//! PING, SETTINGS, PRIORITY, WINDOW_UPDATE, unknown frames; HEADERS with RST_STREAM behind it (CVE-2023-44487).

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

/// How many bytes may come for each that was of use, as with nginx.
const FACTOR: u64 = 8;
/// How many bytes of use are granted in advance, as with nginx.
const GRANTED_BYTES: u64 = 1 << 20;
/// How many bytes are read before other connections have their turn: of who is of use, and of who is not, or not yet. Of the
/// smallest frames it is hundreds.
const TURN_BYTES: usize = 32 << 10;
const USELESS_TURN_BYTES: usize = 4 << 10;
/// How many more requests a client may take back than it waits for.
const GRANTED_RESETS: u64 = 100;

/// The bytes of one connection.
#[derive(Debug, Default)]
pub(super) struct Conduct {
    received: AtomicU64,
    useful: AtomicU64,
    answered: AtomicU64,
    taken_back: AtomicU64,
    is_too_much: Notify,
}

impl Conduct {
    /// So many bytes came.
    pub(super) fn received(&self, bytes: usize) {
        let total = self.received.fetch_add(bytes as u64, Ordering::Relaxed) + bytes as u64;
        let useful = self.useful.load(Ordering::Relaxed);
        if total / FACTOR > useful.saturating_add(GRANTED_BYTES) {
            self.is_too_much.notify_one();
        }
    }

    /// So many bytes may be read in one turn.
    pub(super) fn turn_bytes(&self) -> usize {
        let useful = self.useful.load(Ordering::Relaxed).saturating_mul(FACTOR);
        match self.received.load(Ordering::Relaxed) < useful {
            true => TURN_BYTES,
            false => USELESS_TURN_BYTES,
        }
    }

    /// So many bytes of requests or answers were carried, before compression.
    pub(super) fn carried(&self, bytes: usize) {
        self.useful.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// A client got its answer, or would have.
    pub(super) fn answered(&self) {
        self.answered.fetch_add(1, Ordering::Relaxed);
    }

    /// A client does not want its answer any more.
    pub(super) fn taken_back(&self) {
        let taken_back = self.taken_back.fetch_add(1, Ordering::Relaxed) + 1;
        if taken_back > self.answered.load(Ordering::Relaxed).saturating_add(GRANTED_RESETS) {
            self.is_too_much.notify_one();
        }
    }

    /// Resolves when a client has gone too far.
    pub(super) async fn too_much(&self) {
        self.is_too_much.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn is_too_much(conduct: &Conduct) -> bool {
        conduct.too_much().now_or_never().is_some()
    }

    #[test]
    fn bytes_that_carry_nothing_are_limited() {
        let conduct = Conduct::default();
        conduct.received(8 << 20);
        assert!(!is_too_much(&conduct));
        assert_eq!(conduct.turn_bytes(), USELESS_TURN_BYTES);
        conduct.carried(100);
        conduct.received(800);
        assert!(!is_too_much(&conduct));
        conduct.received(8);
        assert!(is_too_much(&conduct));
    }

    #[test]
    fn who_is_of_use_is_read_more_of_at_a_time() {
        let conduct = Conduct::default();
        conduct.received(800);
        conduct.carried(101);
        assert_eq!(conduct.turn_bytes(), TURN_BYTES);
        conduct.received(8);
        assert_eq!(conduct.turn_bytes(), USELESS_TURN_BYTES);
    }

    #[test]
    fn requests_that_are_taken_back_are_limited() {
        let conduct = Conduct::default();
        for _ in 0..1000 {
            conduct.answered();
            conduct.taken_back();
        }
        (0..100).for_each(|_| conduct.taken_back());
        assert!(!is_too_much(&conduct));
        conduct.taken_back();
        assert!(is_too_much(&conduct));
    }
}
