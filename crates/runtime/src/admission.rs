//! How many threads may serve at once while the interpreter is the bottleneck.
//!
//! Threads that all want the GIL take it from each other at every call that gives it up, and each change costs more than many
//! such calls: eight threads spend twice the CPU time of one on a page with a few queries of SQLite. So threads of a saturated
//! interpreter are sent to rest after their requests, and let in again as soon as those that serve wait for something else.
//! A request that takes long counts no more, so that nobody waits for it. While the interpreter has time, all may serve, and
//! this costs a lock that nobody else wants for each request.
#![allow(unsafe_code)]

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pyo3::Python;
use rustix::thread::Pid;

use crate::seats::Seat;

/// How often it is looked at while threads rest.
const TICK: Duration = Duration::from_millis(20);
/// The same while all may serve.
const CALM_TICK: Duration = Duration::from_millis(200);
/// From so many threads that run or wait for a processor, on average, the interpreter is saturated.
const SATURATED: f64 = 0.9;
/// Below it, those that serve wait for something else, and one more would have time to run.
const HAS_TIME: f64 = 0.7;
/// From this share of their time on, threads do run beside each other: what they call gives the GIL up. What they wait for a
/// processor says nothing: one that wants the GIL wakes every five milliseconds.
const PARALLEL: f64 = 0.75;
/// How often one more thread is tried, to see whether they would.
const TRY_EVERY: Duration = Duration::from_secs(1);
/// A request counts no more after so many times what requests take.
const LONG: u32 = 4;
/// The bounds of that.
const LONG_AT_LEAST: Duration = Duration::from_millis(20);
const LONG_AT_MOST: Duration = Duration::from_millis(200);

/// Lets threads serve.
pub(crate) struct Admission {
    /// How many threads there are.
    threads: usize,
    state: Mutex<State>,
    has_room: Condvar,
}

struct State {
    /// How many may be inside.
    limit: usize,
    /// Threads that serve, or wait for a request to serve, but for those whose request takes long.
    inside: usize,
}

/// Whether a thread is inside; written with the lock of [`State`].
#[derive(Default)]
pub(crate) struct Ticket(AtomicBool);

impl Admission {
    /// For `threads` threads, all of which may serve.
    pub(crate) fn new(threads: usize) -> Self {
        let state = Mutex::new(State { limit: threads, inside: 0 });
        Self { threads, state, has_room: Condvar::new() }
    }

    /// Lets the thread of this ticket in, between two requests, and keeps it waiting without the GIL while too many are.
    pub(crate) fn enter(&self, py: Python<'_>, ticket: &Ticket) {
        let mut state = self.state();
        if ticket.is_inside() {
            if state.inside <= state.limit {
                return;
            }
            ticket.leave(&mut state);
        }
        if state.inside < state.limit {
            return ticket.enter(&mut state);
        }
        drop(state);
        py.detach(|| {
            let mut state = self.state();
            while state.inside >= state.limit {
                state = self.has_room.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            ticket.enter(&mut state);
        });
    }

    /// The thread of this ticket serves no more, or its request takes long.
    pub(crate) fn leave(&self, ticket: &Ticket) {
        let mut state = self.state();
        if ticket.is_inside() {
            ticket.leave(&mut state);
            drop(state);
            self.has_room.notify_one();
        }
    }

    fn set_limit(&self, limit: usize) {
        self.state().limit = limit;
        self.has_room.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticket {
    fn is_inside(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    fn enter(&self, state: &mut State) {
        self.0.store(true, Ordering::Relaxed);
        state.inside += 1;
    }

    fn leave(&self, state: &mut State) {
        self.0.store(false, Ordering::Relaxed);
        state.inside -= 1;
    }
}

/// Decides how many may be inside. One thread calls it, which never takes the GIL.
pub(crate) struct Gatekeeper {
    admission: Arc<Admission>,
    /// What the threads had used when they were last looked at.
    before: Vec<(Pid, Used)>,
    at: Instant,
    begun: u64,
    /// How many threads ran, how many ran or waited for a processor, and how long requests took, on average; the more
    /// recent, the heavier.
    running: f64,
    demand: f64,
    duration: Duration,
    /// How many served when it was last looked.
    serving: usize,
    try_at: Instant,
}

impl Gatekeeper {
    pub(crate) fn new(admission: Arc<Admission>) -> Self {
        let now = Instant::now();
        Self {
            admission,
            before: Vec::new(),
            at: now,
            begun: 0,
            running: 0.0,
            demand: 0.0,
            duration: Duration::ZERO,
            serving: 0,
            try_at: now,
        }
    }

    /// Looks once, with how many requests were begun so far; when to look again.
    pub(crate) fn look(&mut self, now: Instant, seats: &[Arc<Seat>], begun: u64) -> Instant {
        let limit = self.admission.state().limit;
        let is_calm = limit == self.admission.threads;
        let tick = if is_calm { CALM_TICK } else { TICK };
        let elapsed = now.saturating_duration_since(self.at);
        if elapsed < tick {
            return self.at + tick;
        }
        let inside: Vec<_> = seats.iter().filter(|seat| seat.ticket.is_inside()).collect();
        let serving = inside.iter().filter(|seat| seat.task().is_some()).count();
        self.measure(elapsed, &inside, serving, begun);
        self.at = now;
        let next = self.next_limit(limit, serving, now);
        if next != limit {
            self.admission.set_limit(next);
        }
        if next < self.admission.threads {
            let long = (self.duration * LONG).clamp(LONG_AT_LEAST, LONG_AT_MOST);
            let takes_long = |seat: &&Arc<Seat>| {
                seat.task().is_some_and(|task| now.saturating_duration_since(task.began) >= long)
            };
            inside
                .into_iter()
                .filter(takes_long)
                .for_each(|seat| self.admission.leave(&seat.ticket));
            return now + TICK;
        }
        now + CALM_TICK
    }

    /// How much of its time somebody wants the interpreter, in percent. Threads that run beside each other do without it.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share")]
    pub(crate) fn busy_percent(&self) -> u64 {
        let is_parallel = self.serving > 1 && self.runs_beside(self.serving);
        if is_parallel { 0 } else { (100.0 * self.demand.min(1.0)) as u64 }
    }

    /// No request runs: all may serve the next ones.
    pub(crate) fn rest(&mut self) {
        self.admission.set_limit(self.admission.threads);
        (self.running, self.demand, self.duration, self.serving) = (0.0, 0.0, Duration::ZERO, 0);
    }

    fn measure(&mut self, elapsed: Duration, inside: &[&Arc<Seat>], serving: usize, begun: u64) {
        let now: Vec<_> =
            inside.iter().filter_map(|seat| Some((seat.tid, Used::by(seat.tid)?))).collect();
        let (mut ran, mut waited) = (Duration::ZERO, Duration::ZERO);
        for (tid, used) in &now {
            if let Some((_, before)) = self.before.iter().find(|(of, _)| of == tid) {
                ran += used.ran.saturating_sub(before.ran);
                waited += used.waited.saturating_sub(before.waited);
            }
        }
        let share = |time: Duration| time.as_secs_f64() / elapsed.as_secs_f64();
        self.running = self.running.midpoint(share(ran));
        self.demand = self.demand.midpoint(share(ran + waited));
        let requests = u32::try_from(begun - self.begun).unwrap_or(u32::MAX).max(1);
        self.serving = serving;
        let serving = u32::try_from(serving).unwrap_or(u32::MAX);
        self.duration = (self.duration + elapsed * serving / requests) / 2;
        (self.before, self.begun) = (now, begun);
    }

    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "numbers of threads"
    )]
    fn next_limit(&mut self, limit: usize, serving: usize, now: Instant) -> usize {
        let more = if self.demand < HAS_TIME {
            (limit as f64 * (1.0 - self.demand)).ceil() as usize
        } else if self.demand < SATURATED {
            0
        } else if !self.runs_beside(serving) {
            self.try_at = now + TRY_EVERY;
            let limit = limit.min(serving);
            return (limit - (limit / 8).max(1)).max(1);
        } else {
            usize::from(serving > 1 || now >= self.try_at)
        };
        (limit + more).min(self.admission.threads)
    }

    /// Whether so many threads run beside each other.
    #[expect(clippy::cast_precision_loss, reason = "a number of threads")]
    fn runs_beside(&self, serving: usize) -> bool {
        self.running >= PARALLEL * serving as f64
    }
}

/// What a thread has used so far.
struct Used {
    ran: Duration,
    /// For a processor.
    waited: Duration,
}

impl Used {
    /// Of a thread of this process. `None`: it has ended, or the kernel keeps no account.
    ///
    /// Source: `clock_gettime(2)` with the clock of a thread, as `pthread_getcpuclockid(3)` makes it, and `/proc/PID/schedstat`
    /// (Documentation/scheduler/sched-stats of Linux), whose own first figure is as old as the last tick.
    fn by(tid: Pid) -> Option<Self> {
        /// `CPUCLOCK_PERTHREAD_MASK | CPUCLOCK_SCHED`
        const OF_A_THREAD: libc::clockid_t = 0b110;
        let tid = tid.as_raw_nonzero();
        let mut ran = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the kernel writes a timespec, or says that there is no such thread.
        if unsafe { libc::clock_gettime((!tid.get() << 3) | OF_A_THREAD, &raw mut ran) } != 0 {
            return None;
        }
        let ran = Duration::new(ran.tv_sec.try_into().ok()?, ran.tv_nsec.try_into().ok()?);
        let account = fs::read_to_string(format!("/proc/self/task/{tid}/schedstat")).ok()?;
        let waited = account.split_ascii_whitespace().nth(1)?.parse().ok()?;
        Some(Self { ran, waited: Duration::from_nanos(waited) })
    }
}
