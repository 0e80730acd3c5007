//! The one writer of `metrics.db`, a task of its own: what is slow here is slow for nobody else.
//!
//! Seconds are written a minute at a time: each row that changes costs a page on the disk. While the database is locked or the disk is full they are kept, up to a limit, and written
//! when that is over.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use super::aside::put_aside;
use super::figures::Tick;
use crate::api::{EventKind, FailureReport, RequestRecord};
use crate::clock::now_ms;
use crate::journal::Journal;
use crate::store::metrics::{Batch, MetricsDb, MetricsError, Retention};

/// Seconds that are written together; so many are lost where the process is killed.
const TOGETHER: usize = 60;
/// Seconds that are kept while nothing can be written.
const MOST_KEPT: usize = 300;
/// Requests that are written together, and kept while nothing can be written; the oldest go.
const MOST_REQUESTS: usize = 2000;
/// Failures that are kept while nothing can be written; the oldest go.
const MOST_FAILURES: usize = 100;
/// How often what is too old, or too much, is forgotten.
const PRUNING: Duration = Duration::from_secs(60);
/// How long to wait before the next attempt.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// What the recorder is told.
#[derive(Debug)]
pub(super) enum Order {
    /// A second is over.
    Tick(Box<Tick>),
    /// Requests are over.
    Requests(Vec<RequestRecord>),
    /// A request has failed.
    Failed(Box<FailureReport>),
    /// Somebody wants to read: what is not written yet?
    Peek(oneshot::Sender<Unsaved>),
    /// Somebody could not read.
    Check,
    /// What waits must be written now.
    Save(oneshot::Sender<()>),
}

/// When to try again what went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum After {
    /// What was wrong is out of the way.
    AgainAtOnce,
    /// After a pause.
    Later,
}

/// What is not written yet.
#[derive(Debug, Default)]
pub(super) struct Unsaved {
    pub(super) batch: Batch,
    /// How often something was written, or begun to be, before.
    pub(super) saves: u64,
}

/// Writes until nobody tells anything any more.
#[derive(Debug)]
pub(super) struct Recorder {
    path: PathBuf,
    retention: Arc<Mutex<Retention>>,
    journal: Arc<Journal>,
    db: Option<MetricsDb>,
    batch: Batch,
    failures: Vec<FailureReport>,
    requests: Vec<RequestRecord>,
    saves: Arc<AtomicU64>,
    /// When to try again, and the pause after that, while nothing can be written.
    trouble: Option<(Instant, Duration)>,
    pruned_at: Instant,
    clock: Steadiness,
}

impl Recorder {
    /// One that counts its writes in `saves`, each before it can be seen.
    pub(super) fn new(
        path: PathBuf,
        retention: Arc<Mutex<Retention>>,
        journal: Arc<Journal>,
        saves: Arc<AtomicU64>,
    ) -> Self {
        Self {
            path,
            retention,
            journal,
            db: None,
            batch: Batch::default(),
            failures: Vec::new(),
            requests: Vec::new(),
            saves,
            trouble: None,
            pruned_at: Instant::now(),
            clock: Steadiness::new(Instant::now()),
        }
    }

    pub(super) async fn run(mut self, mut orders: mpsc::Receiver<Order>) {
        // Makes the file, for who wants to read at once.
        self.save().await;
        while let Some(order) = orders.recv().await {
            match order {
                Order::Tick(tick) => {
                    self.clock.see(Instant::now(), tick.at_ms);
                    self.batch.add(&tick);
                    if self.batch.seconds() >= TOGETHER {
                        self.save().await;
                    }
                }
                // Written with the next minute, or when somebody asks.
                Order::Failed(report) => {
                    let surplus = (self.failures.len() + 1).saturating_sub(MOST_FAILURES);
                    self.failures.drain(..surplus);
                    self.failures.push(*report);
                }
                Order::Requests(mut records) => {
                    self.requests.append(&mut records);
                    if self.requests.len() >= MOST_REQUESTS {
                        self.save().await;
                        let surplus = self.requests.len().saturating_sub(MOST_REQUESTS);
                        self.requests.drain(..surplus);
                    }
                }
                Order::Peek(answer) => {
                    let saves = self.saves.load(Ordering::SeqCst);
                    // Who asked may have given up.
                    answer.send(Unsaved { batch: self.batch.clone(), saves }).ok();
                }
                Order::Check => self.check().await,
                Order::Save(done) => {
                    self.save().await;
                    // Who asked may have given up.
                    done.send(()).ok();
                }
            }
        }
        self.trouble = None;
        self.save().await;
        if let Some(db) = self.db {
            db.close().await;
        }
    }

    /// Writes what waits; what can't be written goes on waiting.
    async fn save(&mut self) {
        let must_wait = self.trouble.is_some_and(|(next, _)| Instant::now() < next);
        if !must_wait
            && let Err(error) = self.try_save().await
            && self.suffer(error).await == After::AgainAtOnce
            && let Err(error) = self.try_save().await
        {
            self.suffer(error).await;
        }
        if self.batch.seconds() > MOST_KEPT {
            tracing::warn!(seconds = self.batch.seconds(), "history is lost");
            self.batch = Batch::default();
        }
    }

    async fn try_save(&mut self) -> Result<(), MetricsError> {
        let db = match &mut self.db {
            Some(db) => db,
            none => none.insert(MetricsDb::open(&self.path).await?),
        };
        if self.batch.seconds() > 0 {
            self.saves.fetch_add(1, Ordering::SeqCst);
            db.write(&self.batch).await?;
            self.batch = Batch::default();
        }
        if !self.failures.is_empty() {
            db.add_failures(&self.failures).await?;
            self.failures.clear();
        }
        if !self.requests.is_empty() {
            db.add_requests(&self.requests).await?;
            self.requests.clear();
        }
        if self.pruned_at.elapsed() >= PRUNING {
            self.pruned_at = Instant::now();
            let Retention { keep, max_bytes } = *self.retention.lock();
            if self.clock.is_steady(Instant::now()) {
                db.prune_by_age(now_ms(), keep).await?;
            }
            db.prune_by_size(max_bytes).await?;
        }
        if self.trouble.take().is_some() {
            tracing::info!("metrics.db is written again");
        }
        Ok(())
    }

    async fn check(&mut self) {
        // What this connection remembers may be better than what is on the disk: a new one reads it all.
        if let Some(db) = self.db.take() {
            db.close().await;
        }
        self.save().await;
    }

    /// What passes is waited for; what does not is put aside.
    async fn suffer(&mut self, error: MetricsError) -> After {
        if let Some(db) = self.db.take() {
            db.close().await;
        }
        let problem = match &error {
            MetricsError::Unavailable(_) => error.to_string(),
            MetricsError::Damaged(_) | MetricsError::Newer(_) => {
                match self.start_over(&error).await {
                    Ok(()) => return After::AgainAtOnce,
                    Err(cannot) => format!("{error}, and it can't be put aside: {cannot}"),
                }
            }
        };
        let pause = self.trouble.map_or(FIRST_PAUSE, |(_, pause)| (pause * 2).min(LONGEST_PAUSE));
        if self.trouble.is_none() {
            tracing::warn!(error = problem, "history can't be written and is kept in memory");
        }
        self.trouble = Some((Instant::now() + pause, pause));
        After::Later
    }

    async fn start_over(&mut self, reason: &MetricsError) -> std::io::Result<()> {
        let path = self.path.clone();
        let aside = tokio::task::spawn_blocking(move || put_aside(&path))
            .await
            .map_err(std::io::Error::other)??;
        let text = format!("{reason}; it is kept as {}, and history begins anew", aside.display());
        tracing::warn!(text, "metrics.db was put aside");
        self.journal.the_box(EventKind::HistoryStart, &text);
        Ok(())
    }
}

/// Whether the wall clock goes as the monotonic one does. Where it has just jumped, nothing is old by it: a machine that starts
/// with a wrong clock must not lose its history.
#[derive(Debug)]
struct Steadiness {
    last: Option<(Instant, i64)>,
    since: Instant,
}

impl Steadiness {
    /// How long the clock must have gone well.
    const LONG_ENOUGH: Duration = Duration::from_secs(600);
    /// What is no jump.
    const SLACK_MS: u64 = 60_000;

    fn new(now: Instant) -> Self {
        Self { last: None, since: now }
    }

    fn see(&mut self, now: Instant, at_ms: i64) {
        if let Some((then, then_ms)) = self.last {
            let gone_ms = i64::try_from(now.duration_since(then).as_millis()).unwrap_or(i64::MAX);
            if at_ms.abs_diff(then_ms.saturating_add(gone_ms)) > Self::SLACK_MS {
                self.since = now;
            }
        }
        self.last = Some((now, at_ms));
    }

    fn is_steady(&self, now: Instant) -> bool {
        now.duration_since(self.since) >= Self::LONG_ENOUGH
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_jumps_makes_nothing_old() {
        let start = Instant::now();
        let mut clock = Steadiness::new(start);
        let after = |seconds| start + Duration::from_secs(seconds);
        clock.see(after(0), 0);
        clock.see(after(1), 1_000);
        assert!(!clock.is_steady(after(599)));
        assert!(clock.is_steady(after(600)));
        for jump_ms in [-86_400_000, 86_400_000] {
            clock.see(after(700), 700_000 + jump_ms);
            assert!(!clock.is_steady(after(701)));
            clock.see(after(701), 701_000 + jump_ms);
            assert!(clock.is_steady(after(1300)));
            clock = Steadiness::new(start);
            clock.see(after(699), 699_000);
        }
    }
}
