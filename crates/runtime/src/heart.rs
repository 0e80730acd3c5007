//! A Python thread that does what needs the GIL on behalf of those who never wait for it: beats, so that they see whether
//! the GIL is free, interrupts requests, and starts threads.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use pyo3::prelude::*;

use crate::seats::Seat;
use crate::stack;

/// What is to be done with the GIL. There are at most one beat, one look for each request, one interruption for each seat
/// and second while the GIL is free, and one start for each abandoned thread.
pub(crate) enum Order {
    /// Only to get the GIL.
    Beat,
    /// See [`stack::with_gil`]; of a seat and its request.
    Look(Arc<Seat>, u64, Arc<Look>),
    /// See [`Seat::interrupt`].
    Interrupt(Arc<Seat>, u64),
    /// Start one more thread for requests.
    StartThread,
}

/// A wait for the GIL as long as this is a stall: threads that take turns, 5 ms each as CPython has it, wait for less.
const STALL: Duration = Duration::from_millis(100);

/// Waits for the GIL that were too long.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Stalls {
    /// Those that began.
    pub(crate) count: u64,
    /// How long all lasted.
    pub(crate) lasted: Duration,
    /// How long the longest has lasted up to now.
    pub(crate) longest: Duration,
}

impl State {
    fn beaten(&mut self, now: Instant) {
        if let Some(asked_at) = self.asked_at.take() {
            let waited = now.saturating_duration_since(asked_at);
            self.waited.0 += waited;
            self.waited.1 += 1;
            self.count_stall(waited);
            self.counted = Duration::ZERO;
        }
    }

    /// The present wait has lasted so long.
    fn count_stall(&mut self, waited: Duration) {
        if waited < STALL {
            return;
        }
        self.stalls.count += u64::from(self.counted.is_zero());
        self.stalls.lasted += waited.saturating_sub(self.counted);
        self.stalls.longest = self.stalls.longest.max(waited);
        self.counted = waited;
    }
}

/// What a look has found: the stack, empty where the request had ended.
pub(crate) type Look = OnceLock<String>;

/// The thread's orders and its pulse.
#[derive(Default)]
pub(crate) struct Heart {
    state: Mutex<State>,
    ordered: Condvar,
}

#[derive(Default)]
struct State {
    orders: VecDeque<Order>,
    /// Since when the thread waits for the GIL to beat.
    asked_at: Option<Instant>,
    /// How long all beats were waited for since this was asked, and how many they were.
    waited: (Duration, u32),
    /// Since this was asked.
    stalls: Stalls,
    /// How much of the present wait is in `stalls`, now or before.
    counted: Duration,
}

impl Heart {
    /// Orders something; done when the GIL is free.
    pub(crate) fn order(&self, order: Order) {
        self.state().orders.push_back(order);
        self.ordered.notify_one();
    }

    /// Asks for a beat, unless one is still to come; how long that one has been waited for.
    pub(crate) fn ask(&self, now: Instant) -> Option<Duration> {
        let mut state = self.state();
        if let Some(asked_at) = state.asked_at {
            return Some(now.saturating_duration_since(asked_at));
        }
        state.asked_at = Some(now);
        state.orders.push_back(Order::Beat);
        drop(state);
        self.ordered.notify_one();
        None
    }

    /// The wait for a beat counts from now on.
    pub(crate) fn excuse(&self, now: Instant) {
        let mut state = self.state();
        state.asked_at = state.asked_at.map(|_| now);
        state.counted = Duration::ZERO;
    }

    /// How long a beat was waited for since the last call, on average; the one that is still to come counts.
    pub(crate) fn mean_wait(&self, now: Instant) -> Duration {
        let mut state = self.state();
        let (mut waited, mut beats) = std::mem::take(&mut state.waited);
        if let Some(asked_at) = state.asked_at {
            waited += now.saturating_duration_since(asked_at);
            beats += 1;
        }
        waited.checked_div(beats).unwrap_or_default()
    }

    /// The stalls since the last call: of one that lasts, what it has lasted since then.
    pub(crate) fn take_stalls(&self, now: Instant) -> Stalls {
        let mut state = self.state();
        if let Some(asked_at) = state.asked_at {
            state.count_stall(now.saturating_duration_since(asked_at));
        }
        std::mem::take(&mut state.stalls)
    }

    /// Whether a beat is still to come.
    pub(crate) fn is_asked(&self) -> bool {
        self.state().asked_at.is_some()
    }

    /// The thread's life, on a Python thread. `start_thread` starts one more thread for requests, `on_look` is called after
    /// each look.
    pub(crate) fn beat(
        &self,
        py: Python<'_>,
        start_thread: impl Fn(Python<'_>) -> PyResult<()>,
        on_look: impl Fn(),
    ) {
        loop {
            match py.detach(|| self.next()) {
                Order::Beat => self.state().beaten(Instant::now()),
                Order::Look(seat, sequence, found) => {
                    let is_there = seat.task().is_some_and(|task| task.sequence == sequence);
                    let stack =
                        if is_there { stack::with_gil(py, seat.ident) } else { Ok(String::new()) };
                    let _ = found.set(stack.unwrap_or_default());
                    on_look();
                }
                Order::Interrupt(seat, sequence) => seat.interrupt(py, sequence),
                Order::StartThread => {
                    if let Err(error) = start_thread(py) {
                        error.print(py);
                    }
                }
            }
        }
    }

    fn next(&self) -> Order {
        let mut state = self.state();
        loop {
            if let Some(order) = state.orders.pop_front() {
                return order;
            }
            state = self.ordered.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
