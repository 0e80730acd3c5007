//! Keeps one worker running: a process that ends is started again with a pause, one that is due or wedged is replaced by a warm
//! one, and one that is not needed any more ends when it has finished what it has.

use std::future::pending;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use onebox_app_server::WorkerReport;
use parking_lot::Mutex;
use rustix::process::Signal;
use tokio::sync::OwnedMutexGuard;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::crew::Worker;
use super::life::{Door, Life};
use super::memory::{kill_above, resident_bytes};
use super::recycling::{Due, Reason};
use super::{CrewSpec, GRACE, Past, WorkerContext, drain};
use crate::api::EventKind;
use crate::engine::{LoadFailure, Loaded};
use crate::logs::Source;
use crate::process::{BackOff, Exit};

/// Requests wait for a worker that ended where its next start is no further away than this.
const WAITED_FOR: Duration = Duration::from_secs(1);
/// How long the engine may take to learn of a fresh worker before the old one ends all the same.
const OBEDIENCE: Duration = Duration::from_secs(20);
/// After this another fresh worker is tried where the last one did not come up.
const AGAIN_AFTER: Duration = Duration::from_secs(10);
/// How often it is looked whether a process is due.
const LOOKS: Duration = Duration::from_secs(1);

/// Keeps one worker of a crew.
pub(super) struct Keeper {
    pub(super) context: Arc<WorkerContext>,
    pub(super) spec: CrewSpec,
    pub(super) worker: Arc<Worker>,
    /// The end of the whole crew.
    pub(super) stop: CancellationToken,
    pub(super) tasks: TaskTracker,
    /// Who has it may replace a worker that could also wait.
    pub(super) turn: Arc<tokio::sync::Mutex<()>>,
    /// Whether the crew has taken requests.
    pub(super) past: Arc<Mutex<Past>>,
}

/// How it went on with a process.
enum Outcome {
    Ended(Exit),
    /// Another one serves in its place.
    Replaced(Door, Life),
}

/// A process that could take over.
struct Fresh {
    door: Door,
    life: Life,
    /// Held until it has.
    _turn: Option<OwnedMutexGuard<()>>,
}

/// One that is coming, or why not.
type Relief<'a> = Pin<Box<dyn Future<Output = Result<Fresh, String>> + Send + 'a>>;

impl Keeper {
    /// Keeps the worker until it is dismissed.
    pub(super) async fn run(self, mut door: Door) {
        let mut back_off = BackOff::new();
        let mut life = self.start(&door);
        loop {
            let ended = match life {
                Ok(running) => match self.keep(running, &door).await {
                    Outcome::Ended(exit) => Ok(exit),
                    Outcome::Replaced(fresh_door, fresh) => {
                        (door, life) = (fresh_door, Ok(fresh));
                        continue;
                    }
                },
                Err(error) => Err(error),
            };
            self.worker.now.lock().process = None;
            if self.worker.dismissed.is_cancelled() {
                return;
            }
            let reason = match ended {
                Ok(exit) => exit.to_string(),
                Err(error) => format!("could not be started: {error}"),
            };
            let pause = back_off.after_end(Instant::now());
            self.worker.now.lock().keeps_ending =
                back_off.is_a_loop().then(|| format!("the worker {reason}"));
            self.tell_end(&reason, pause);
            let past = *self.past.lock();
            self.set(|loaded| after_end(loaded, past, &reason, pause));
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.worker.dismissed.cancelled() => return,
            }
            life = self.start(&door);
        }
    }

    /// Starts a process behind `door`; one that takes too much memory is killed, whatever it does by then.
    fn start(&self, door: &Door) -> io::Result<Life> {
        let limit = self.spec.limits.memory_limit;
        let group = limit.and_then(|limit| self.context.groups.make(limit));
        let (context, name) = (&self.context, &self.worker.name);
        let life = Life::start(context, &self.spec, name, (door, group.as_ref()), &self.tasks)?;
        if let Some(limit) = limit {
            let (context, spec) = (Arc::clone(&self.context), self.spec.clone());
            let (worker, process) = (Arc::clone(&self.worker), Arc::clone(&life.process));
            self.tasks.spawn(async move {
                let taken = match group {
                    Some(group) => {
                        process.ended().await;
                        group.has_killed().then_some(limit)
                    }
                    None => kill_above(limit, &process).await,
                };
                let Some(taken) = taken else { return };
                let reason = Reason::MemoryLimit(taken);
                let text = format!(
                    "worker {}: process {} is killed: {reason}",
                    worker.name,
                    process.pid()
                );
                tell(&context, &spec, &worker, &reason, &text);
            });
        }
        Ok(life)
    }

    /// Keeps one process until its end, or until another one serves in its place.
    async fn keep(&self, mut life: Life, door: &Door) -> Outcome {
        self.worker.now.lock().process = Some(life.about());
        let mut is_reported = *self.worker.loaded.borrow() == Loaded::Ready;
        let due = Due::new(&self.spec.limits, rand::random());
        let mut looks = tokio::time::interval(LOOKS);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut reason: Option<Reason> = None;
        let mut relief: Relief<'_> = Box::pin(pending());
        loop {
            let ended = life.process.ended();
            let found = tokio::select! {
                biased;
                () = ended => {
                    life.last_words().await;
                    return Outcome::Ended(life.process.exited().await);
                }
                () = self.stop.cancelled() => {
                    let mercy = self.spec.mercy;
                    return Outcome::Ended(drain(&life.process, mercy, &self.context).await);
                }
                () = self.worker.dismissed.cancelled() => {
                    return Outcome::Ended(self.withdraw(life, door).await);
                }
                Some(heard) = life.says() => {
                    if let (Some(report), false) = (heard.report, is_reported) {
                        is_reported = true;
                        self.hear(report);
                    }
                    heard.wedged.map(Reason::Wedged).or_else(|| self.reason(&life, &due))
                }
                _ = looks.tick() => self.reason(&life, &due),
                fresh = &mut relief => match fresh {
                    Ok(Fresh { door, life: fresh, _turn }) => {
                        self.hand_over(life, (&door, &fresh), reason).await;
                        return Outcome::Replaced(door, fresh);
                    }
                    Err(error) => {
                        let text = format!(
                            "worker {}: no fresh process can take its place: {error}",
                            self.worker.name
                        );
                        tracing::error!(site = self.spec.site, worker = self.worker.name, text);
                        self.log(&text);
                        relief = self.relief(reason.as_ref(), AGAIN_AFTER);
                        None
                    }
                },
            };
            // What can't wait does not wait behind what can.
            let is_news = reason.as_ref().is_none_or(Reason::can_wait);
            if let Some(found) =
                found.filter(|found| is_news && (reason.is_none() || !found.can_wait()))
            {
                relief = self.relief(Some(&found), Duration::ZERO);
                reason = Some(found);
            }
        }
    }

    /// Why a process is due to be replaced that takes requests.
    fn reason(&self, life: &Life, due: &Due) -> Option<Reason> {
        if *self.worker.loaded.borrow() != Loaded::Ready {
            return None;
        }
        let rss = due.asks_for_memory().then(|| resident_bytes(life.process.pid())).flatten();
        due.reason(life.usage().requests, life.started.elapsed(), rss)
    }

    /// Brings a process that could take over, after a pause and when it is its turn.
    fn relief(&self, reason: Option<&Reason>, pause: Duration) -> Relief<'_> {
        let can_wait = reason.is_none_or(Reason::can_wait);
        Box::pin(async move {
            tokio::time::sleep(pause).await;
            let turn = match can_wait {
                true => Some(Arc::clone(&self.turn).lock_owned().await),
                false => None,
            };
            let (door, life) = self.warm_up().await?;
            Ok(Fresh { door, life, _turn: turn })
        })
    }

    /// Starts another process beside the one that serves and waits until it could take over.
    async fn warm_up(&self) -> Result<(Door, Life), String> {
        let door = self.context.open_door().map_err(|error| error.to_string())?;
        let started = self.start(&door);
        let mut fresh = Unproven(Some(started.map_err(|error| error.to_string())?));
        let limit = self.spec.patience;
        let said = match &mut fresh.0 {
            Some(life) => tokio::time::timeout(limit, life.says()).await,
            None => Ok(None),
        };
        match said.map(|heard| heard.and_then(|heard| heard.report)) {
            Ok(Some(WorkerReport::Ready)) => {
                let life = fresh.0.take().ok_or_else(|| "it was lost".to_owned())?;
                Ok((door, life))
            }
            Ok(Some(WorkerReport::Failed { summary, .. })) => Err(summary),
            Ok(None) => Err("it ended before it was ready".to_owned()),
            Err(_) => Err(format!("it was not ready within {limit:?}")),
        }
    }

    /// Sends requests to a fresh process from now on; the old one finishes what it has and ends, in the background.
    async fn hand_over(&self, old: Life, (door, fresh): (&Door, &Life), reason: Option<Reason>) {
        let left = {
            let mut now = self.worker.now.lock();
            let left = std::mem::replace(&mut now.socket, door.path().to_owned());
            now.left.push((left.clone(), old.about()));
            now.process = Some(fresh.about());
            left
        };
        let change = self.context.tell_change();
        self.context.settled(change, OBEDIENCE).await;
        // Whoever is told finds the fresh one.
        if let Some(reason) = reason {
            let (name, pid) = (&self.worker.name, old.process.pid());
            let text = format!("worker {name}: a fresh process takes the place of {pid}: {reason}");
            tell(&self.context, &self.spec, &self.worker, &reason, &text);
        }
        let (context, spec) = (Arc::clone(&self.context), self.spec.clone());
        let worker = Arc::clone(&self.worker);
        self.tasks.spawn(async move {
            finish(&old, &spec, &context).await;
            worker.now.lock().left.retain(|(socket, _)| *socket != left);
            context.tell_change();
        });
    }

    /// Sends no more requests to a process that is not needed, and lets it finish what it has.
    async fn withdraw(&self, life: Life, door: &Door) -> Exit {
        {
            let mut now = self.worker.now.lock();
            now.process = None;
            now.left.push((door.path().to_owned(), life.about()));
        }
        self.set(|loaded| *loaded = Loaded::Waiting);
        let change = self.context.last_change();
        self.context.settled(change, OBEDIENCE).await;
        let exit = finish(&life, &self.spec, &self.context).await;
        self.worker.now.lock().left.retain(|(socket, _)| socket != door.path());
        exit
    }

    /// What the worker is now by its own word.
    fn hear(&self, report: WorkerReport) {
        match report {
            WorkerReport::Ready => {
                *self.past.lock() = Past::Served;
                self.set(|loaded| *loaded = Loaded::Ready);
            }
            WorkerReport::Failed { summary, traceback } => {
                let failure = LoadFailure { summary, traceback };
                self.context.books.logs.write(&self.spec.site, Source::Error, failure.text());
                self.set(|loaded| *loaded = Loaded::Failed(failure));
            }
        }
    }

    fn tell_end(&self, reason: &str, pause: Duration) {
        tracing::warn!(site = self.spec.site, worker = self.worker.name, reason, "worker ended");
        let text = format!("worker {} {reason}; next start in {pause:?}", self.worker.name);
        self.log(&text);
        let (site, release) = (&self.spec.site, &self.spec.release);
        self.context.books.journal.site(EventKind::WorkerCrash, site, Some(release), &text);
    }

    fn log(&self, text: &str) {
        self.context.books.logs.write(&self.spec.site, Source::Onebox, text);
    }

    fn set(&self, change: impl FnOnce(&mut Loaded)) {
        self.worker.loaded.send_modify(change);
        self.context.tell_change();
    }
}

/// Lets a process that gets no more requests end, when the last of those it has may at the latest: the one that holds it up
/// has no client any more.
async fn finish(life: &Life, spec: &CrewSpec, context: &WorkerContext) -> Exit {
    let deadlines = spec.spec.deadlines;
    tokio::select! {
        exit = life.finish(deadlines.harakiri + deadlines.grace + GRACE) => exit,
        () = context.hurry.cancelled() => life.finish(spec.mercy + GRACE).await,
    }
}

/// Counts that a process is replaced, and tells why.
fn tell(context: &WorkerContext, spec: &CrewSpec, worker: &Worker, reason: &Reason, text: &str) {
    let name = reason.name();
    {
        let mut now = worker.now.lock();
        now.recycles += 1;
        now.last_recycle = Some(reason.to_string());
    }
    *context.recycles.lock().entry((spec.site.clone(), name)).or_default() += 1;
    tracing::warn!(site = spec.site, worker = worker.name, reason = name, "worker replaced");
    context.books.logs.write(&spec.site, Source::Onebox, text);
    context.books.journal.site(EventKind::Recycle, &spec.site, Some(&spec.release), text);
}

/// A process that may turn out to be of no use: dropped, it is killed.
struct Unproven(Option<Life>);

impl Drop for Unproven {
    fn drop(&mut self) {
        if let Some(life) = &self.0 {
            life.process.signal(Signal::KILL);
        }
    }
}

/// What a worker is between its end and its next start. Of a crew that has served it will soon serve again, also where it was
/// killed while it loaded, and requests wait for it; of one that never came up, or where it keeps ending, they are told.
fn after_end(loaded: &mut Loaded, past: Past, reason: &str, pause: Duration) {
    match loaded {
        Loaded::Failed(_) => {}
        Loaded::Ready | Loaded::Waiting if past == Past::Served && pause <= WAITED_FOR => {
            *loaded = Loaded::Waiting;
        }
        Loaded::Ready | Loaded::Waiting => {
            let summary = format!("the worker {reason}");
            *loaded = Loaded::Failed(LoadFailure { summary, traceback: String::new() });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(mut loaded: Loaded, past: Past, pause_ms: u64) -> Loaded {
        after_end(&mut loaded, past, "crashed", Duration::from_millis(pause_ms));
        loaded
    }

    #[test]
    fn requests_wait_for_a_worker_that_served_and_will_soon_serve_again() {
        assert_eq!(ended(Loaded::Ready, Past::Served, 100), Loaded::Waiting);
        assert_eq!(ended(Loaded::Waiting, Past::Served, 200), Loaded::Waiting, "killed at loading");
    }

    #[test]
    fn a_worker_that_never_came_up_or_keeps_ending_has_failed() {
        let failure =
            LoadFailure { summary: "the worker crashed".into(), traceback: String::new() };
        let failed = Loaded::Failed(failure);
        assert_eq!(ended(Loaded::Waiting, Past::Unproven, 100), failed);
        assert_eq!(ended(Loaded::Ready, Past::Served, 10_000), failed);
        assert_eq!(ended(Loaded::Waiting, Past::Served, 10_000), failed);
        let first = LoadFailure { summary: "no module".into(), traceback: String::new() };
        let first = Loaded::Failed(first);
        assert_eq!(ended(first.clone(), Past::Served, 100), first);
    }
}
