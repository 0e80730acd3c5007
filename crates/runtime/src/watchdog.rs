//! The thread that sees to deadlines (`harakiri`), and to a GIL that nobody gives back. It never takes the GIL.
//!
//! What it does to a request past its deadline, step by step: says where its thread is; lets an exception be raised in
//! it; shuts down the socket that it waits in; after a grace gives it up, so that another thread or process takes its
//! place. While no request runs it sleeps.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use pyo3::prelude::*;

use crate::admission::{Admission, Gatekeeper};
use crate::blocked;
use crate::heart::{Heart, Look, Order, Stalls};
use crate::notice::{self, Notice};
use crate::seats::{Seat, Seats, Task};
use crate::spec::Deadlines;
use crate::stack::{Stacks, place};
use crate::teller::Teller;

/// How often it looks while requests run.
const TICK: Duration = Duration::from_millis(200);
/// How long an exception may take to be raised before the thread is taken for one that waits.
const PATIENCE: Duration = Duration::from_millis(100);
/// How often an exception is raised again that the application swallowed.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// A wait for the GIL as long as this is told.
const STALL: Duration = Duration::from_millis(500);

/// How often a stall is told while it lasts.
const TOLD_EVERY: Duration = Duration::from_millis(500);
/// How often it tells what the process does.
const USAGE_EVERY: Duration = Duration::from_secs(1);
/// So many threads that do not come back are too many for a process that starts fresh ones.
const MOST_ABANDONED: usize = 2;

/// What a process does about a thread that does not come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Remedy {
    /// Another thread takes its place; a second one wedges the process.
    FreshThread,
    /// Another process takes the place of this one.
    FreshProcess,
}

/// What a watchdog needs to know.
pub(crate) struct Parts {
    pub(crate) seats: Arc<Seats>,
    pub(crate) heart: Arc<Heart>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) deadlines: Deadlines,
    pub(crate) remedy: Remedy,
    /// The application's folder.
    pub(crate) root: PathBuf,
    pub(crate) teller: Arc<Teller>,
}

struct Watchdog {
    parts: Parts,
    gatekeeper: Gatekeeper,
    stacks: Stacks,
    cases: Vec<Case>,
    /// How long the present wait for the GIL lasts, where it was told.
    stall: Option<Stall>,
    is_wedged: bool,
    usage: Usage,
}

/// What was told of what the process does.
struct Usage {
    /// Requests that were begun, and that ran; how busy the interpreter was.
    told: (u64, u64, u64),
    at: Instant,
}

/// A request past its deadline.
struct Case {
    seat: Arc<Seat>,
    task: Task,
    opened_at: Instant,
    interrupted_at: Instant,
    /// When its thread is given up.
    ends_at: Instant,
    /// What its thread does; `None` once it was told.
    look: Option<Arc<Look>>,
}

struct Stall {
    waited: Duration,
    told: Duration,
}

/// Starts the watchdog of this process.
pub(crate) fn start(py: Python<'_>, parts: Parts) -> PyResult<()> {
    let stacks = Stacks::install(py)?;
    let usage = Usage { told: (0, 0, 0), at: Instant::now() };
    let gatekeeper = Gatekeeper::new(Arc::clone(&parts.admission));
    let watchdog = Watchdog {
        parts,
        gatekeeper,
        stacks,
        cases: Vec::new(),
        stall: None,
        is_wedged: false,
        usage,
    };
    std::thread::Builder::new().name("onebox-watchdog".into()).spawn(|| watchdog.watch())?;
    Ok(())
}

impl Watchdog {
    fn watch(mut self) {
        let seats = Arc::clone(&self.parts.seats);
        seats.watched_by_me();
        let mut begun_before = seats.begun();
        loop {
            let begun = seats.begun();
            let now = Instant::now();
            let next = self.look(now);
            let rests = begun == begun_before && next.is_none();
            if rests {
                self.gatekeeper.rest();
            }
            self.tell_usage(now, begun, rests);
            if rests {
                seats.wait_for_work(begun);
            } else {
                // Who serves a request now and then is not woken for each.
                let next = next.unwrap_or(now + TICK);
                let next = next.min(self.gatekeeper.look(now, &seats.all(), begun));
                std::thread::park_timeout(next.saturating_duration_since(now));
                self.excuse(next);
            }
            begun_before = begun;
        }
    }

    /// Looks once; when to look again, `None` while no request runs.
    fn look(&mut self, now: Instant) -> Option<Instant> {
        self.close_cases();
        let seats = self.parts.seats.all();
        let busy = seats.into_iter().filter(|seat| !seat.is_abandoned());
        let busy: Vec<_> = busy.filter_map(|seat| seat.task().map(|task| (seat, task))).collect();
        if busy.is_empty() && self.stall.is_none() && !self.parts.heart.is_asked() {
            return None;
        }
        let is_stalled = self.feel_pulse(now);
        let mut next = now + TICK;
        for (seat, task) in busy {
            let known = self.cases.iter().position(|case| Arc::ptr_eq(&case.seat, &seat));
            let again = match known {
                None if now < task.deadline => task.deadline,
                None => self.open(seat, task),
                Some(index) => self.pursue(index, now, is_stalled),
            };
            next = next.min(again);
        }
        Some(next)
    }

    /// Tells what the process does, once a second and before it rests.
    fn tell_usage(&mut self, now: Instant, requests: u64, rests: bool) {
        let is_due = rests || now.saturating_duration_since(self.usage.at) >= USAGE_EVERY;
        if !is_due {
            return;
        }
        let tasks: Vec<_> = self.parts.seats.all().iter().filter_map(|seat| seat.task()).collect();
        let running = u64::try_from(tasks.len()).unwrap_or(u64::MAX);
        let oldest = tasks.into_iter().min_by_key(|task| task.began);
        let gil_wait = self.parts.heart.mean_wait(now);
        let busy_percent = self.gatekeeper.busy_percent();
        let stalls = self.parts.heart.take_stalls(now);
        let is_known = self.usage.told == (requests, running, busy_percent);
        if running == 0 && is_known && stalls == Stalls::default() {
            return;
        }
        let usage = notice::Usage { requests, running, oldest, gil_wait, stalls, busy_percent };
        self.parts.teller.tell(Notice::Usage(usage));
        self.usage = Usage { told: (requests, running, busy_percent), at: now };
    }

    /// A process that was stopped, or a machine that was, is not to blame the application for it.
    fn excuse(&mut self, planned: Instant) {
        let now = Instant::now();
        let overslept = now.saturating_duration_since(planned);
        if overslept > STALL {
            self.parts.heart.excuse(now);
            for case in &mut self.cases {
                case.ends_at += overslept;
            }
        }
    }

    /// Forgets requests that have ended.
    fn close_cases(&mut self) {
        let (teller, root) = (&self.parts.teller, &self.parts.root);
        self.cases.retain_mut(|case| {
            let lasts = case.seat.task().is_some_and(|task| task.sequence == case.task.sequence);
            if !lasts {
                if let Some(look) = case.look.take() {
                    tell_overdue(teller, case, look.get().map_or("", String::as_str), root);
                }
                teller.tell(Notice::Freed { task: case.task.clone() });
            }
            lasts
        });
    }

    /// A request has passed its deadline.
    fn open(&mut self, seat: Arc<Seat>, task: Task) -> Instant {
        let look = Arc::new(Look::new());
        let order = Order::Look(Arc::clone(&seat), task.sequence, Arc::clone(&look));
        self.parts.heart.order(order);
        self.parts.heart.order(Order::Interrupt(Arc::clone(&seat), task.sequence));
        let now = Instant::now();
        self.cases.push(Case {
            seat,
            task,
            opened_at: now,
            interrupted_at: now,
            ends_at: now + self.parts.deadlines.grace,
            look: Some(look),
        });
        now + PATIENCE.min(self.parts.deadlines.grace)
    }

    /// A request that is past its deadline still runs; when to look at it again.
    fn pursue(&mut self, index: usize, now: Instant, is_stalled: bool) -> Instant {
        let next = now + TICK;
        let Some(case) = self.cases.get_mut(index) else { return next };
        if let Some(look) = &case.look {
            let found = match look.get() {
                // Nobody gets the GIL, so that no thread runs Python code.
                None if is_stalled => Some(self.stacks.of(case.seat.tid)),
                found => found.cloned(),
            };
            if let Some(stack) = found {
                tell_overdue(&self.parts.teller, case, &stack, &self.parts.root);
                case.look = None;
            }
        }
        if is_stalled {
            // Nothing can reach it, and it may only be one that waits: the stall has its own limit.
            case.ends_at = now + self.parts.deadlines.grace;
            return next;
        }
        if now >= case.ends_at {
            if self.parts.seats.abandon(&case.seat, case.task.sequence) {
                self.parts.admission.leave(&case.seat.ticket);
                self.parts.teller.tell(Notice::Abandoned { task: case.task.clone() });
                self.replace();
            }
            return next;
        }
        if now >= case.interrupted_at + AGAIN_AFTER {
            case.interrupted_at = now;
            let order = Order::Interrupt(Arc::clone(&case.seat), case.task.sequence);
            self.parts.heart.order(order);
        }
        if now >= case.opened_at + PATIENCE {
            blocked::free(case.seat.tid);
        }
        next.min(case.ends_at)
    }

    /// A thread was given up.
    fn replace(&mut self) {
        let abandoned = self.cases.iter().filter(|case| case.seat.is_abandoned()).count();
        match self.parts.remedy {
            Remedy::FreshProcess => self.wedged("a thread does not come back"),
            Remedy::FreshThread => {
                self.parts.heart.order(Order::StartThread);
                if abandoned >= MOST_ABANDONED {
                    self.wedged(&format!("{abandoned} threads do not come back"));
                }
            }
        }
    }

    /// Whether Python threads wait for the GIL for too long.
    fn feel_pulse(&mut self, now: Instant) -> bool {
        let waited = self.parts.heart.ask(now).filter(|waited| *waited >= STALL);
        let Some(waited) = waited else {
            if let Some(Stall { waited, .. }) = self.stall.take() {
                self.parts.teller.tell(Notice::Unstalled { waited });
            }
            return false;
        };
        let stall = self.stall.get_or_insert(Stall { waited, told: Duration::ZERO });
        stall.waited = waited;
        if waited >= stall.told + TOLD_EVERY {
            stall.told = waited;
            self.parts.teller.tell(Notice::Stalled { waited });
        }
        if waited >= self.parts.deadlines.deadlock && !self.is_wedged {
            let place = self.place_that_runs().map(|place| format!(", by {place}"));
            let place = place.unwrap_or_default();
            self.wedged(&format!("the GIL was not given back within {waited:.1?}{place}"));
        }
        true
    }

    /// Where the thread is that keeps the GIL: all others that serve requests wait.
    fn place_that_runs(&mut self) -> Option<String> {
        let seats = self.parts.seats.all();
        let seat = seats.iter().find(|seat| seat.task().is_some() && !blocked::waits(seat.tid))?;
        place(&self.stacks.of(seat.tid), &self.parts.root)
    }

    fn wedged(&mut self, reason: &str) {
        if !self.is_wedged {
            self.is_wedged = true;
            self.parts.teller.tell(Notice::Wedged { reason: reason.to_owned() });
        }
    }
}

fn tell_overdue(teller: &Teller, case: &Case, stack: &str, root: &Path) {
    teller.tell(Notice::Overdue {
        task: case.task.clone(),
        place: place(stack, root),
        stack: stack.to_owned(),
        printed: case.seat.printed_so_far(),
    });
}
