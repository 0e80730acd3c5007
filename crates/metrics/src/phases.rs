//! The phase clock: where the time of one request went.

use std::time::{Duration, Instant};

/// A part of a request's life, in the order of the walk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The handshake of its connection, for the first request on it. It is before the first byte, and so not in the total: a client
    /// may say nothing for long between the two.
    Tls,
    /// From the first byte of the head until the request is understood and routed, its body read where it is read first.
    Accept,
    /// Until a Python thread has taken it.
    Queue,
    /// Until the application gave its head, or the file was opened.
    App,
    /// Until the last byte of the body was made.
    Body,
    /// Until the last byte was handed to the kernel.
    Send,
}

impl Phase {
    /// Every phase, in order.
    pub const ALL: [Self; 6] =
        [Self::Tls, Self::Accept, Self::Queue, Self::App, Self::Body, Self::Send];
}

/// Measures the phases of one request. Each mark ends a phase; what was never marked was not part of the request.
#[derive(Debug, Clone, Copy)]
pub struct PhaseClock {
    started_at: Instant,
    last: Instant,
    durations: PhaseDurations,
}

impl PhaseClock {
    /// A clock that started at `accepted_at`.
    pub fn new(accepted_at: Instant) -> Self {
        Self { started_at: accepted_at, last: accepted_at, durations: PhaseDurations::default() }
    }

    /// The handshake of its connection lasted so long; `None`: it had none, or another request has told it.
    pub fn after_handshake(mut self, lasted: Option<Duration>) -> Self {
        self.durations.tls = lasted;
        self
    }

    /// Ends a phase now: it has lasted since the mark before.
    pub fn mark(&mut self, phase: Phase) {
        self.mark_at(phase, Instant::now());
    }

    /// Ends a phase at a moment that was noted elsewhere; one before the last mark counts as that mark.
    pub fn mark_at(&mut self, phase: Phase, at: Instant) {
        let lasted = at.saturating_duration_since(self.last);
        *self.durations.slot(phase) = Some(self.durations.get(phase).unwrap_or_default() + lasted);
        self.last = self.last.max(at);
        self.durations.total = self.last.saturating_duration_since(self.started_at);
    }

    /// What was measured so far; the total ends at the last mark.
    pub fn durations(&self) -> PhaseDurations {
        self.durations
    }
}

/// How long each phase of a request lasted; `None` for those it did not have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PhaseDurations {
    /// [`Phase::Tls`]
    pub tls: Option<Duration>,
    /// [`Phase::Accept`]
    pub accept: Option<Duration>,
    /// [`Phase::Queue`]
    pub queue: Option<Duration>,
    /// [`Phase::App`]
    pub app: Option<Duration>,
    /// [`Phase::Body`]
    pub body: Option<Duration>,
    /// [`Phase::Send`]
    pub send: Option<Duration>,
    /// From the first byte to the last mark.
    pub total: Duration,
}

impl PhaseDurations {
    /// How long a phase lasted.
    pub fn get(&self, phase: Phase) -> Option<Duration> {
        match phase {
            Phase::Tls => self.tls,
            Phase::Accept => self.accept,
            Phase::Queue => self.queue,
            Phase::App => self.app,
            Phase::Body => self.body,
            Phase::Send => self.send,
        }
    }

    fn slot(&mut self, phase: Phase) -> &mut Option<Duration> {
        match phase {
            Phase::Tls => &mut self.tls,
            Phase::Accept => &mut self.accept,
            Phase::Queue => &mut self.queue,
            Phase::App => &mut self.app,
            Phase::Body => &mut self.body,
            Phase::Send => &mut self.send,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mark_ends_a_phase_and_the_total_is_their_sum() {
        let start = Instant::now();
        let after = |ms| start + Duration::from_millis(ms);
        let mut clock = PhaseClock::new(start);
        clock.mark_at(Phase::Accept, after(1));
        clock.mark_at(Phase::Queue, after(3));
        clock.mark_at(Phase::App, after(10));
        clock.mark_at(Phase::Send, after(11));
        let durations = clock.durations();
        assert_eq!(durations.queue, Some(Duration::from_millis(2)));
        assert_eq!(durations.app, Some(Duration::from_millis(7)));
        assert_eq!(durations.body, None);
        assert_eq!(durations.total, Duration::from_millis(11));
        let sum: Duration = Phase::ALL.iter().filter_map(|phase| durations.get(*phase)).sum();
        assert_eq!(sum, durations.total);
    }

    #[test]
    fn a_handshake_is_told_beside_the_total() {
        let start = Instant::now();
        let handshake = Duration::from_millis(40);
        let mut clock = PhaseClock::new(start).after_handshake(Some(handshake));
        clock.mark_at(Phase::Accept, start + Duration::from_millis(2));
        let durations = clock.durations();
        assert_eq!((durations.tls, durations.get(Phase::Tls)), (Some(handshake), Some(handshake)));
        assert_eq!(durations.total, Duration::from_millis(2));
    }

    #[test]
    fn a_moment_before_the_last_mark_counts_as_that_mark() {
        let start = Instant::now();
        let mut clock = PhaseClock::new(start);
        clock.mark_at(Phase::Accept, start + Duration::from_millis(5));
        clock.mark_at(Phase::Queue, start + Duration::from_millis(2));
        clock.mark_at(Phase::App, start + Duration::from_millis(6));
        assert_eq!(clock.durations().queue, Some(Duration::ZERO));
        assert_eq!(clock.durations().app, Some(Duration::from_millis(1)));
    }
}
