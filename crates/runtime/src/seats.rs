//! The threads that serve requests, and what each of them is doing: written by the threads, read by the watchdog.
//!
//! A request costs two short locks that nobody else wants, and no system call. Must not know what becomes of a request
//! that takes too long.
#![allow(unsafe_code)]

use std::cell::RefCell;
use std::ffi::c_long;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::Thread;
use std::time::{Duration, Instant};

use onebox_uwsgi::Vars;
use pyo3::ffi;
use pyo3::prelude::*;
use rustix::thread::{Pid, gettid};

use crate::admission::Ticket;
use crate::notice::Failed;
use crate::printed::Printed;
use crate::raised::{self, Raised};

pyo3::create_exception!(
    onebox_runtime,
    DeadlineExceeded,
    pyo3::exceptions::PyBaseException,
    "The request passed its deadline (`harakiri`), and its client was told so."
);

/// One thread's place.
pub(crate) struct Seat {
    /// As Python names the thread.
    pub(crate) ident: c_long,
    /// As the kernel does.
    pub(crate) tid: Pid,
    pub(crate) ticket: Ticket,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Counts the requests of this thread, so that nothing meant for one reaches the next.
    sequence: u64,
    task: Option<Task>,
    /// Whether an exception was left in the thread for this request.
    is_interrupted: bool,
    is_abandoned: bool,
    /// What the request failed with; empty where no exception was seen.
    failure: Option<Vec<Raised>>,
    printed: Printed,
}

thread_local! {
    /// The seat of the calling thread.
    static MINE: RefCell<Option<Arc<Seat>>> = const { RefCell::new(None) };
}

/// Does something with the seat of the calling thread, where it has one.
pub(crate) fn with_mine(act: impl FnOnce(&Seat)) {
    MINE.with_borrow(|mine| mine.as_deref().map(act));
}

/// The request that the calling thread serves has failed with this. The first failure counts: what comes after it
/// belongs to it, or is the same once more.
pub(crate) fn note_failure(py: Python<'_>, error: &PyErr) {
    with_mine(|seat| {
        if seat.has_failed_with_nothing() {
            let raised = raised::chain(py, error);
            seat.state().failure = Some(raised);
        }
    });
}

/// The request that the calling thread serves was answered with a status of 500 or above.
pub(crate) fn note_bad_answer() {
    with_mine(|seat| {
        seat.state().failure.get_or_insert_default();
    });
}

/// A request being served.
#[derive(Clone)]
pub(crate) struct Task {
    pub(crate) sequence: u64,
    pub(crate) vars: Arc<Vars>,
    pub(crate) began: Instant,
    pub(crate) deadline: Instant,
}

/// A request that has ended.
pub(crate) struct Ended {
    pub(crate) next: Next,
    pub(crate) failed: Option<Failed>,
}

/// What a thread does after a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    Serve,
    /// Another thread has taken its place.
    Leave,
}

impl Seat {
    /// What the thread is doing; `None` between requests.
    pub(crate) fn task(&self) -> Option<Task> {
        self.state().task.clone()
    }

    pub(crate) fn is_abandoned(&self) -> bool {
        self.state().is_abandoned
    }

    /// The thread has printed something.
    pub(crate) fn printed(&self, text: &[u8]) {
        let mut state = self.state();
        if state.task.is_some() {
            state.printed.add(text);
        }
    }

    /// What the thread has printed for this request so far.
    pub(crate) fn printed_so_far(&self) -> String {
        self.state().printed.text()
    }

    /// Whether it serves a request of which no exception is known yet.
    fn has_failed_with_nothing(&self) -> bool {
        let state = self.state();
        state.task.is_some() && state.failure.as_ref().is_none_or(Vec::is_empty)
    }

    /// Leaves [`DeadlineExceeded`] in the thread if it still serves that request: raised when it next runs Python code.
    pub(crate) fn interrupt(&self, py: Python<'_>, sequence: u64) {
        let kind = py.get_type::<DeadlineExceeded>();
        let mut state = self.state();
        if state.task.as_ref().is_some_and(|task| task.sequence == sequence) {
            // SAFETY: the GIL is held, and the class lives as long as its module.
            unsafe { ffi::PyThreadState_SetAsyncExc(self.ident, kind.as_ptr()) };
            state.is_interrupted = true;
        }
    }

    /// Gives the thread up if it still serves that request.
    fn abandon(&self, sequence: u64) -> bool {
        let mut state = self.state();
        state.is_abandoned |= state.task.as_ref().is_some_and(|task| task.sequence == sequence);
        state.is_abandoned
    }

    /// Ends the request. From here on no exception is left for it, neither one that was nor one that is about to be:
    /// [`Self::interrupt`] needs the same lock, and the GIL, which the caller holds.
    fn finish(&self, _: Python<'_>) -> Ended {
        let mut state = self.state();
        let failure = state.task.take().zip(state.failure.take());
        let failed = failure.map(|(task, raised)| Failed {
            task,
            raised,
            printed: state.printed.text(),
            lost: 0,
        });
        state.printed.clear();
        if std::mem::take(&mut state.is_interrupted) {
            // SAFETY: the GIL is held; null clears what is pending.
            unsafe { ffi::PyThreadState_SetAsyncExc(self.ident, std::ptr::null_mut()) };
        }
        let next = if state.is_abandoned { Next::Leave } else { Next::Serve };
        Ended { next, failed }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All seats, and who watches them.
pub(crate) struct Seats {
    /// How long a request may take that does not say it itself.
    harakiri: Duration,
    list: Mutex<List>,
    /// Told when a seat is left or given up.
    left: Condvar,
    /// How many requests were begun.
    begun: AtomicU64,
    /// Whether the watcher sleeps until a request begins.
    is_unwatched: AtomicBool,
    watcher: OnceLock<Thread>,
}

#[derive(Default)]
struct List {
    seats: Vec<Arc<Seat>>,
    /// Threads that have no seat yet.
    expected: usize,
}

impl Seats {
    pub(crate) fn new(harakiri: Duration) -> Self {
        Self {
            harakiri,
            list: Mutex::default(),
            left: Condvar::new(),
            begun: AtomicU64::new(0),
            is_unwatched: AtomicBool::new(false),
            watcher: OnceLock::new(),
        }
    }

    /// A thread was started that will take a seat.
    pub(crate) fn expect(&self) {
        self.list().expected += 1;
    }

    /// A seat for the calling thread, which was expected.
    pub(crate) fn take(&self) -> Arc<Seat> {
        // SAFETY: pthread_self has no preconditions; it is what CPython calls a thread's identity.
        let ident = unsafe { libc::pthread_self() }.cast_signed();
        let seat = Arc::new(Seat {
            ident,
            tid: gettid(),
            ticket: Ticket::default(),
            state: Mutex::default(),
        });
        let mut list = self.list();
        list.expected = list.expected.saturating_sub(1);
        list.seats.push(Arc::clone(&seat));
        MINE.set(Some(Arc::clone(&seat)));
        seat
    }

    /// The thread of this seat serves no more.
    pub(crate) fn leave(&self, seat: &Arc<Seat>) {
        MINE.take();
        self.list().seats.retain(|other| !Arc::ptr_eq(other, seat));
        self.left.notify_all();
    }

    /// The thread of this seat begins a request.
    pub(crate) fn begin(&self, seat: &Seat, vars: &Arc<Vars>, time_left: Option<Duration>) {
        let began = Instant::now();
        let deadline = began + time_left.unwrap_or(self.harakiri);
        let mut state = seat.state();
        state.sequence += 1;
        let sequence = state.sequence;
        state.task = Some(Task { sequence, vars: Arc::clone(vars), began, deadline });
        drop(state);
        self.begun.fetch_add(1, Ordering::Relaxed);
        // Pairs with the fence of `wait_for_work`: either it sees the request, or this sees that it sleeps.
        fence(Ordering::SeqCst);
        if self.is_unwatched.load(Ordering::Relaxed) {
            self.wake();
        }
    }

    /// The thread of this seat ends its request.
    pub(crate) fn finish(&self, py: Python<'_>, seat: &Seat) -> Ended {
        let ended = seat.finish(py);
        if ended.next == Next::Leave {
            self.wake();
        }
        ended
    }

    /// Gives the thread of this seat up if it still serves that request.
    pub(crate) fn abandon(&self, seat: &Seat, sequence: u64) -> bool {
        let is_abandoned = seat.abandon(sequence);
        // The lock: whoever waits has looked either before, and is told now, or sees it.
        drop(self.list());
        self.left.notify_all();
        is_abandoned
    }

    /// Every seat.
    pub(crate) fn all(&self) -> Vec<Arc<Seat>> {
        self.list().seats.clone()
    }

    /// How many requests were begun so far.
    pub(crate) fn begun(&self) -> u64 {
        self.begun.load(Ordering::Relaxed)
    }

    /// Makes the calling thread the one that sleeps in [`Self::wait_for_work`].
    pub(crate) fn watched_by_me(&self) {
        let _ = self.watcher.set(std::thread::current());
    }

    /// Sleeps until more than `begun` requests were begun or an abandoned thread came back.
    pub(crate) fn wait_for_work(&self, begun: u64) {
        self.is_unwatched.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if self.begun() == begun {
            std::thread::park();
        }
        self.is_unwatched.store(false, Ordering::Relaxed);
    }

    /// Waits until every thread has left its seat or was given up.
    pub(crate) fn wait_until_left(&self) {
        let mut list = self.list();
        while list.expected > 0 || !list.seats.iter().all(|seat| seat.is_abandoned()) {
            list = self.left.wait(list).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Makes the watcher look.
    pub(crate) fn wake(&self) {
        self.is_unwatched.store(false, Ordering::Relaxed);
        if let Some(watcher) = self.watcher.get() {
            watcher.unpark();
        }
    }

    fn list(&self) -> MutexGuard<'_, List> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
