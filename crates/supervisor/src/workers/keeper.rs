//! Keeps one worker running: a process that ends is started again with a pause, one that is wedged is replaced by a warm one.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use onebox_app_server::WorkerReport;
use rustix::process::Signal;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::life::{Door, Life};
use super::{CrewSpec, GRACE, Worker, WorkerContext, drain};
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

/// Keeps one worker of a crew.
pub(super) struct Keeper {
    pub(super) context: Arc<WorkerContext>,
    pub(super) spec: CrewSpec,
    pub(super) worker: Arc<Worker>,
    pub(super) stop: CancellationToken,
    pub(super) tasks: TaskTracker,
}

/// How it went on with a process.
enum Outcome {
    Ended(Exit),
    /// Another one serves in its place.
    Replaced(Door, Life),
}

impl Keeper {
    /// Keeps the worker until the crew is dismissed.
    pub(super) async fn run(self, mut door: Door) {
        let mut back_off = BackOff::new();
        let mut life = self.start(&door);
        loop {
            let ended = match life {
                Ok(running) => match self.keep(running).await {
                    Outcome::Ended(exit) => Ok(exit),
                    Outcome::Replaced(fresh_door, fresh) => {
                        (door, life) = (fresh_door, Ok(fresh));
                        continue;
                    }
                },
                Err(error) => Err(error),
            };
            *self.worker.current.lock() = None;
            if self.stop.is_cancelled() {
                return;
            }
            let reason = match ended {
                Ok(exit) => exit.to_string(),
                Err(error) => format!("could not be started: {error}"),
            };
            let pause = back_off.after_end(Instant::now());
            *self.worker.keeps_ending.lock() =
                back_off.is_a_loop().then(|| format!("the worker {reason}"));
            self.tell_end(&reason, pause);
            self.set(|loaded| after_end(loaded, &reason, pause));
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.stop.cancelled() => return,
            }
            life = self.start(&door);
        }
    }

    fn start(&self, door: &Door) -> io::Result<Life> {
        Life::start(&self.context, &self.spec, door, &self.tasks)
    }

    /// Keeps one process until its end, or until another one serves in its place.
    async fn keep(&self, mut life: Life) -> Outcome {
        *self.worker.current.lock() = Some((Arc::clone(&life.process), life.started_ms));
        let mut is_reported = *self.worker.loaded.borrow() == Loaded::Ready;
        let mut wedged = None;
        loop {
            let relief = async {
                match &wedged {
                    Some(_) => self.warm_up().await,
                    None => std::future::pending().await,
                }
            };
            let ended = life.process.ended();
            tokio::select! {
                () = ended => {
                    life.last_words().await;
                    return Outcome::Ended(life.process.exited().await);
                }
                () = self.stop.cancelled() => {
                    let mercy = self.spec.mercy;
                    return Outcome::Ended(drain(&life.process, mercy, &self.context).await);
                }
                Some(heard) = life.says(), if wedged.is_none() => {
                    if let (Some(report), false) = (heard.report, is_reported) {
                        is_reported = true;
                        self.hear(report);
                    }
                    wedged = heard.wedged;
                }
                fresh = relief => match fresh {
                    Ok((fresh_door, fresh)) => {
                        self.hand_over(life, fresh_door.path()).await;
                        return Outcome::Replaced(fresh_door, fresh);
                    }
                    Err(error) => {
                        let text = format!("no worker can take the place of one that is wedged: {error}");
                        tracing::error!(site = self.spec.site, worker = self.worker.name, text);
                        self.log(&text);
                        tokio::select! {
                            () = tokio::time::sleep(AGAIN_AFTER) => {}
                            () = self.stop.cancelled() => {}
                            _ = life.process.exited() => {}
                        }
                    }
                },
            }
        }
    }
    /// Starts another process beside the one that serves and waits until it could take over.
    async fn warm_up(&self) -> Result<(Door, Life), String> {
        let door = Door::open(self.context.next_socket()).map_err(|error| error.to_string())?;
        let started = Life::start(&self.context, &self.spec, &door, &self.tasks);
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

    /// Sends requests to the process behind `socket` from now on; the old one finishes what it has and ends, in the background.
    async fn hand_over(&self, old: Life, socket: &Path) {
        let text = format!(
            "worker {}: a fresh process takes the place of {}",
            self.worker.name,
            old.process.pid()
        );
        self.log(&text);
        tracing::warn!(site = self.spec.site, worker = self.worker.name, "worker replaced");
        let left = std::mem::replace(&mut *self.worker.socket.lock(), socket.to_owned());
        self.worker.left.lock().push(left.clone());
        let change = self.context.tell_change();
        self.context.settled(change, OBEDIENCE).await;
        let (context, spec) = (Arc::clone(&self.context), self.spec.clone());
        let worker = Arc::clone(&self.worker);
        self.tasks.spawn(async move {
            let deadlines = spec.spec.deadlines;
            // As long as the last of its requests may take; the one that holds it up has no client any more.
            tokio::select! {
                _ = old.finish(deadlines.harakiri + deadlines.grace + GRACE) => {}
                () = context.hurry.cancelled() => {
                    old.finish(spec.mercy + GRACE).await;
                }
            }
            worker.left.lock().retain(|socket| *socket != left);
            context.tell_change();
        });
    }

    /// What the worker is now by its own word.
    fn hear(&self, report: WorkerReport) {
        match report {
            WorkerReport::Ready => self.set(|loaded| *loaded = Loaded::Ready),
            WorkerReport::Failed { summary, traceback } => {
                let failure = LoadFailure { summary, traceback };
                self.context.logs.write(&self.spec.site, Source::Error, failure.text());
                self.set(|loaded| *loaded = Loaded::Failed(failure));
            }
        }
    }

    fn tell_end(&self, reason: &str, pause: Duration) {
        tracing::warn!(site = self.spec.site, worker = self.worker.name, reason, "worker ended");
        let text = format!("worker {} {reason}; next start in {pause:?}", self.worker.name);
        self.log(&text);
        let (site, release) = (&self.spec.site, &self.spec.release);
        self.context.journal.site(EventKind::WorkerCrash, site, Some(release), &text);
    }

    fn log(&self, text: &str) {
        self.context.logs.write(&self.spec.site, Source::Onebox, text);
    }

    fn set(&self, change: impl FnOnce(&mut Loaded)) {
        self.worker.loaded.send_modify(change);
        self.context.tell_change();
    }
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

/// What a worker is between its end and its next start. One that served a moment ago will soon serve again, and requests wait
/// for it; of one that never came up, or keeps ending, they are told.
fn after_end(loaded: &mut Loaded, reason: &str, pause: Duration) {
    match loaded {
        Loaded::Failed(_) => {}
        Loaded::Ready if pause <= WAITED_FOR => *loaded = Loaded::Waiting,
        Loaded::Ready | Loaded::Waiting => {
            let summary = format!("the worker {reason}");
            *loaded = Loaded::Failed(LoadFailure { summary, traceback: String::new() });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(mut loaded: Loaded, pause_ms: u64) -> Loaded {
        after_end(&mut loaded, "crashed", Duration::from_millis(pause_ms));
        loaded
    }

    #[test]
    fn requests_wait_for_a_worker_that_served_and_will_soon_serve_again() {
        assert_eq!(ended(Loaded::Ready, 100), Loaded::Waiting);
    }

    #[test]
    fn a_worker_that_never_came_up_or_keeps_ending_has_failed() {
        let failure =
            LoadFailure { summary: "the worker crashed".into(), traceback: String::new() };
        assert_eq!(ended(Loaded::Waiting, 100), Loaded::Failed(failure.clone()));
        assert_eq!(ended(Loaded::Ready, 10_000), Loaded::Failed(failure));
        let first = LoadFailure { summary: "no module".into(), traceback: String::new() };
        assert_eq!(ended(Loaded::Failed(first.clone()), 100), Loaded::Failed(first));
    }
}
