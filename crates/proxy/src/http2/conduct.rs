//! What a client may waste: floods of frames that carry nothing, and requests that it takes back.
//!
//! What a single frame can do (too large heads, endless CONTINUATION, empty DATA, resets of requests that nobody has seen, frames
//! that make us reset) is h2's to limit. This is about what is allowed, frame by frame, and only becomes an attack by its number:
//! PING, SETTINGS, PRIORITY, WINDOW_UPDATE, unknown frames (CVE-2019-9512, CVE-2019-9515), all of which cost more than their bytes;
//! HEADERS with RST_STREAM behind it (CVE-2023-44487).

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

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
/// How many frames may come that are no part of a request: in advance, and for each piece of a request or an answer. Clients
/// open a window once or twice for a piece; each second another may come.
const GRANTED_FRAMES: u64 = 1000;
const FRAMES_OF_PIECE: u64 = 8;

/// The size of a frame's head, and of what it begins with, in bytes (RFC 9113 §4.1).
const HEAD_BYTES: usize = 9;
const SIZE_AND_KIND_BYTES: usize = 4;
/// The size of what a client says before its first frame, in bytes (RFC 9113 §3.4).
const PREFACE_BYTES: usize = 24;
/// The frames of requests (RFC 9113 §6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const CONTINUATION: u8 = 9;

/// The bytes and frames of one connection.
#[derive(Debug)]
pub(super) struct Conduct {
    begun: Instant,
    received: AtomicU64,
    useful: AtomicU64,
    /// Pieces of requests and answers, whatever their size.
    pieces: AtomicU64,
    /// Frames that are no part of a request.
    asides: AtomicU64,
    answered: AtomicU64,
    taken_back: AtomicU64,
    is_too_much: Notify,
}

impl Conduct {
    pub(super) fn new() -> Self {
        Self {
            begun: Instant::now(),
            received: AtomicU64::new(0),
            useful: AtomicU64::new(0),
            pieces: AtomicU64::new(0),
            asides: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            taken_back: AtomicU64::new(0),
            is_too_much: Notify::new(),
        }
    }

    /// So many bytes came.
    pub(super) fn received(&self, bytes: usize) {
        let total = self.received.fetch_add(bytes as u64, Ordering::Relaxed) + bytes as u64;
        let useful = self.useful.load(Ordering::Relaxed);
        if total / FACTOR > useful.saturating_add(GRANTED_BYTES) {
            self.is_too_much.notify_one();
        }
    }

    /// So many frames came that are no part of a request.
    pub(super) fn heard_asides(&self, frames: u64) {
        let heard = self.asides.fetch_add(frames, Ordering::Relaxed) + frames;
        let pieces = self.pieces.load(Ordering::Relaxed);
        let granted = GRANTED_FRAMES.saturating_add(pieces.saturating_mul(FRAMES_OF_PIECE));
        if heard > granted && heard > granted.saturating_add(self.begun.elapsed().as_secs()) {
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
        self.pieces.fetch_add(1, Ordering::Relaxed);
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

/// The heads of the frames in what a client sends, wherever it is cut.
#[derive(Debug)]
pub(super) struct FrameHeads {
    /// So many bytes come before the next head.
    skipped: usize,
    /// The size of the payload and the kind of frame, as far as they are there.
    begun: u32,
    begun_bytes: usize,
}

impl FrameHeads {
    /// Begins before the preface.
    pub(super) fn new() -> Self {
        Self { skipped: PREFACE_BYTES, begun: 0, begun_bytes: 0 }
    }

    /// How many frames begin in the next `bytes` that are no part of a request.
    pub(super) fn count_asides(&mut self, mut bytes: &[u8]) -> u64 {
        let mut asides = 0;
        loop {
            let (skipped, rest) = bytes.split_at(bytes.len().min(self.skipped));
            self.skipped -= skipped.len();
            let Some((byte, rest)) = rest.split_first() else { return asides };
            bytes = rest;
            self.begun = self.begun << 8 | u32::from(*byte);
            self.begun_bytes += 1;
            if self.begun_bytes == SIZE_AND_KIND_BYTES {
                let [size @ .., kind] = self.begun.to_be_bytes();
                asides += u64::from(!matches!(kind, DATA | HEADERS | RST_STREAM | CONTINUATION));
                let size = size.iter().fold(0, |size, byte| size << 8 | usize::from(*byte));
                self.skipped = HEAD_BYTES - SIZE_AND_KIND_BYTES + size;
                self.begun_bytes = 0;
            }
        }
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
        let conduct = Conduct::new();
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
    fn frames_beside_requests_are_limited() {
        let conduct = Conduct::new();
        conduct.heard_asides(1000);
        assert!(!is_too_much(&conduct));
        conduct.carried(1);
        conduct.heard_asides(8);
        assert!(!is_too_much(&conduct));
        // More seconds than this takes.
        conduct.heard_asides(1000);
        assert!(is_too_much(&conduct));
    }

    #[test]
    fn frames_are_counted_wherever_they_are_cut() {
        let frame = |kind: u8, payload: &[u8]| {
            let size = u32::try_from(payload.len()).unwrap().to_be_bytes();
            [&size[1..], &[kind, 0, 0, 0, 0, 1], payload].concat()
        };
        let ping = frame(6, b"01234567");
        let frames =
            [frame(4, b""), frame(1, b"head"), ping, frame(0, &[6; 300]), frame(8, b"0001")];
        let said = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frames.concat()].concat();
        for size in 1..=said.len() {
            let mut heads = FrameHeads::new();
            let asides = said.chunks(size).map(|bytes| heads.count_asides(bytes)).sum::<u64>();
            assert_eq!(asides, 3, "in pieces of {size}");
        }
    }

    #[test]
    fn who_is_of_use_is_read_more_of_at_a_time() {
        let conduct = Conduct::new();
        conduct.received(800);
        conduct.carried(101);
        assert_eq!(conduct.turn_bytes(), TURN_BYTES);
        conduct.received(8);
        assert_eq!(conduct.turn_bytes(), USELESS_TURN_BYTES);
    }

    #[test]
    fn requests_that_are_taken_back_are_limited() {
        let conduct = Conduct::new();
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
