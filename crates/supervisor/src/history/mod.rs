//! What was measured, over time: the sampler tells it, a task of its own writes it, charts and Prometheus ask for it.
//!
//! Whoever tells or asks never waits for the writer's disk. `metrics.db` is expendable: where it is damaged or of a later version
//! it is put aside, never destroyed, and begun anew.

mod aside;
pub(crate) mod figures;
mod recorder;
pub(crate) mod resolution;
mod series;
mod totals;
mod traffic;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::api::{
    BoxSeries, ErrorGroup, FailureReport, RequestRecord, RouteReport, SiteSeries, TrafficFigures,
};
use crate::clock::now_ms;
use crate::journal::Journal;
use crate::store::metrics::{
    self, FiguresRead, MetricsError, MetricsReader, Question, Retention, RouteSpan, Search, Whose,
};
use figures::Tick;
use recorder::{Order, Recorder, Unsaved};
use resolution::{Grid, Wanted};
pub(crate) use totals::Totals;

/// Seconds that may wait for the writer; when it is full, seconds are lost and counted.
const WAITING: usize = 64;
/// How long a question waits for what is not written yet, and an upgrade until it is.
const PATIENCE: Duration = Duration::from_secs(1);

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HistoryError {
    /// It is none.
    #[error("the span is empty, or has more than {} points", Grid::MOST_POINTS)]
    Span,
    /// The database.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
}

/// The history of the box and its sites.
#[derive(Debug)]
pub(crate) struct History {
    path: PathBuf,
    retention: Arc<Mutex<Retention>>,
    /// `None` once it is closed.
    orders: Mutex<Option<mpsc::Sender<Order>>>,
    recorder: Mutex<Option<JoinHandle<()>>>,
    /// Writes that were begun: what was not written yet may then be in the file.
    saves: Arc<AtomicU64>,
    lost: AtomicU64,
    totals: Mutex<Totals>,
}

impl History {
    /// A history in this file; what the writer notices goes to the journal.
    pub(crate) fn new(path: PathBuf, retention: Retention, journal: Arc<Journal>) -> Self {
        let (orders, waiting) = mpsc::channel(WAITING);
        let saves = Arc::new(AtomicU64::new(0));
        let retention = Arc::new(Mutex::new(retention));
        let recorder =
            Recorder::new(path.clone(), Arc::clone(&retention), journal, Arc::clone(&saves));
        Self {
            path,
            retention,
            orders: Mutex::new(Some(orders)),
            recorder: Mutex::new(Some(tokio::spawn(recorder.run(waiting)))),
            saves,
            lost: AtomicU64::new(0),
            totals: Mutex::default(),
        }
    }

    /// Takes in a second. Never waits: a writer that is behind loses it.
    pub(crate) fn take(&self, tick: Tick) {
        self.totals.lock().add(&tick);
        if let Err(mpsc::error::TrySendError::Full(_)) = self.order(Order::Tick(Box::new(tick)))
            && self.lost.fetch_add(1, Ordering::Relaxed) == 0
        {
            tracing::warn!("metrics.db is written too slowly: seconds of history are lost");
        }
    }

    /// Takes in a request that failed. Never waits: a writer that is behind loses it.
    pub(crate) fn failed(&self, report: FailureReport) {
        if let Err(mpsc::error::TrySendError::Full(_)) = self.order(Order::Failed(Box::new(report)))
        {
            tracing::warn!("metrics.db is written too slowly: the report of a failure is lost");
        }
    }

    /// Takes in requests that are over. Never waits: a writer that is behind loses them.
    pub(crate) fn requests(&self, records: Vec<RequestRecord>) {
        if let Err(mpsc::error::TrySendError::Full(_)) = self.order(Order::Requests(records)) {
            tracing::warn!("metrics.db is written too slowly: records of requests are lost");
        }
    }

    /// Requests that are looked for, the last first.
    ///
    /// # Errors
    /// As [`Self::errors`].
    pub(crate) async fn search(&self, search: &Search) -> Result<Vec<RequestRecord>, HistoryError> {
        self.write_down().await;
        self.read_or_check(metrics::search(&self.path, search).await)
    }

    /// The tracebacks of a site, the last seen first.
    ///
    /// # Errors
    /// [`HistoryError`] where the database can't be read.
    pub(crate) async fn errors(&self, site: &str) -> Result<Vec<ErrorGroup>, HistoryError> {
        self.write_down().await;
        self.read_or_check(metrics::error_groups(&self.path, site).await)
    }

    /// What a request failed with, the first first.
    ///
    /// # Errors
    /// As [`Self::errors`].
    pub(crate) async fn failures_of(
        &self,
        request_id: &str,
    ) -> Result<Vec<FailureReport>, HistoryError> {
        self.write_down().await;
        self.read_or_check(metrics::failures_of(&self.path, request_id).await)
    }

    /// Changes what stays, from the next time on that something is forgotten.
    pub(crate) fn set_retention(&self, retention: Retention) {
        *self.retention.lock() = retention;
    }

    /// What was counted since the appliance started; the sampler waits while it is held.
    pub(crate) fn totals(&self) -> MutexGuard<'_, Totals> {
        self.totals.lock()
    }

    /// Seconds that the writer was too slow for.
    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// What a site did, with its processes.
    ///
    /// # Errors
    /// [`HistoryError`] where the span is none, or the database can't be read.
    pub(crate) async fn site(
        &self,
        site: &str,
        processes: Whose<'_>,
        wanted: Wanted,
    ) -> Result<SiteSeries, HistoryError> {
        let (grid, read) = self.read(wanted, Question { site: Some(site), processes }).await?;
        Ok(series::site(&grid, &read.the_box, &read.site, &read.processes))
    }

    /// Where a site's time went, by route.
    ///
    /// # Errors
    /// As [`Self::site`].
    pub(crate) async fn routes(
        &self,
        site: &str,
        wanted: Wanted,
    ) -> Result<RouteReport, HistoryError> {
        let span = RouteSpan::new(wanted, now_ms()).ok_or(HistoryError::Span)?;
        self.write_down().await;
        let routes = self.read_or_check(metrics::routes(&self.path, site, &span).await)?;
        Ok(traffic::report(&span, routes))
    }

    /// What the releases of a site answered, as far back as this goes.
    ///
    /// # Errors
    /// As [`Self::errors`].
    pub(crate) async fn releases(
        &self,
        site: &str,
    ) -> Result<BTreeMap<String, TrafficFigures>, HistoryError> {
        self.write_down().await;
        let releases = self.read_or_check(metrics::releases(&self.path, site).await)?;
        Ok(releases.iter().map(|(id, counted)| (id.clone(), traffic::figures(counted))).collect())
    }

    /// What the machine did, with all processes.
    ///
    /// # Errors
    /// As [`Self::site`].
    pub(crate) async fn the_box(&self, wanted: Wanted) -> Result<BoxSeries, HistoryError> {
        let everything = Question { site: None, processes: Whose::Everybodys };
        let (grid, read) = self.read(wanted, everything).await?;
        Ok(series::the_box(&grid, &read.the_box, &read.processes))
    }

    /// Writes what is only in memory; a disk that is too slow for it is not waited for.
    pub(crate) async fn write_down(&self) {
        let (done, written) = oneshot::channel();
        if self.order(Order::Save(done)).is_ok() {
            tokio::time::timeout(PATIENCE, written).await.ok();
        }
    }

    /// Writes what is left and ends the writer.
    pub(crate) async fn close(&self) {
        self.orders.lock().take();
        let recorder = self.recorder.lock().take();
        if let Some(recorder) = recorder {
            recorder.await.ok();
        }
    }

    /// Asks the database and what is not written yet. What is written in between would be there twice: then it asks again.
    async fn read(
        &self,
        wanted: Wanted,
        question: Question<'_>,
    ) -> Result<(Grid, FiguresRead), HistoryError> {
        let grid =
            Grid::new(wanted, now_ms(), self.retention.lock().keep).ok_or(HistoryError::Span)?;
        loop {
            let unsaved = self.unsaved().await;
            let read = MetricsReader::read(&self.path, question, &grid, &unsaved.batch).await;
            let read = self.read_or_check(read);
            if self.saves.load(Ordering::SeqCst) == unsaved.saves {
                return Ok((grid, read?));
            }
        }
    }

    /// Has the writer look at a file that is damaged.
    fn read_or_check<T>(&self, read: Result<T, MetricsError>) -> Result<T, HistoryError> {
        if let Err(MetricsError::Damaged(_)) = &read {
            self.let_check();
        }
        Ok(read?)
    }

    /// A writer that is stuck leaves the last seconds out.
    async fn unsaved(&self) -> Unsaved {
        let (answer, wait) = oneshot::channel();
        let asked = self.order(Order::Peek(answer)).is_ok();
        match tokio::time::timeout(PATIENCE, wait).await {
            Ok(Ok(unsaved)) if asked => unsaved,
            _ => Unsaved { saves: self.saves.load(Ordering::SeqCst), ..Unsaved::default() },
        }
    }

    /// Lets the writer look at the file. Where it is behind, the next reader tells it.
    fn let_check(&self) {
        self.order(Order::Check).ok();
    }

    fn order(&self, order: Order) -> Result<(), mpsc::error::TrySendError<Order>> {
        match &*self.orders.lock() {
            Some(orders) => orders.try_send(order),
            None => Err(mpsc::error::TrySendError::Closed(order)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::figures::{BoxFigures, Gauge, SiteFigures};
    use super::*;
    use crate::api::EventKind;
    use crate::store::{EventSpan, Store, temporary};
    use onebox_metrics::SiteSnapshot;
    use std::os::unix::fs::FileExt;

    const RETENTION: Retention =
        Retention { keep: Duration::from_secs(30 * 86_400), max_bytes: 100 << 20 };

    struct Kept {
        folder: tempfile::TempDir,
        store: Store,
        journal: Arc<Journal>,
    }

    impl Kept {
        async fn new() -> Self {
            let (folder, store) = temporary().await;
            let journal = Arc::new(Journal::new(store.clone()));
            Self { folder, store, journal }
        }

        fn path(&self) -> PathBuf {
            self.folder.path().join("metrics.db")
        }

        fn open(&self) -> History {
            History::new(self.path(), RETENTION, Arc::clone(&self.journal))
        }

        fn asides(&self) -> Vec<String> {
            let names = std::fs::read_dir(self.folder.path()).unwrap();
            let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
            names.filter(|name| name.contains("aside") && !name.ends_with("-wal")).collect()
        }

        async fn events(&self) -> Vec<EventKind> {
            self.journal.close().await;
            let span = EventSpan { from_ms: 0, to_ms: i64::MAX, site: None, limit: 10 };
            self.store.events(&span).await.unwrap().iter().map(|event| event.kind).collect()
        }
    }

    fn second(at_ms: i64, answers: u64) -> Tick {
        let by_class = [0, 0, answers, 0, 0, 0];
        let counted = SiteSnapshot { by_class, ..SiteSnapshot::default() };
        let sites = SiteFigures::over(&counted, 1).map(|figures| ("blog".to_owned(), figures));
        Tick {
            at_ms,
            sites: sites.into_iter().collect(),
            the_box: BoxFigures { samples: 1, load: Gauge::over(500, 1), ..BoxFigures::default() },
            ..Tick::default()
        }
    }

    async fn answers(
        history: &History,
        from_ms: i64,
        to_ms: i64,
        step_ms: i64,
    ) -> Vec<Option<f64>> {
        let wanted = Wanted { from_ms, to_ms, step_ms: Some(step_ms) };
        let series = history.site("blog", Whose::Everybodys, wanted).await.unwrap();
        series.responses_per_s.c2xx
    }

    #[tokio::test]
    async fn what_was_told_is_there_at_once_and_after_a_restart() {
        let (kept, now) = (Kept::new().await, now_ms() / 60_000 * 60_000);
        let history = kept.open();
        for (at, count) in [(-3, 4), (-2, 0), (-1, 2)] {
            history.take(second(now + at * 1000, count));
        }
        let seconds = answers(&history, now - 4000, now, 1000).await;
        assert_eq!(seconds, [None, Some(4.0), Some(0.0), Some(2.0)]);
        history.take(second(now, 9));
        history.close().await;
        let again = kept.open();
        assert_eq!(answers(&again, now, now + 1000, 1000).await, [Some(9.0)]);
        assert_eq!(answers(&again, now - 60_000, now, 60_000).await, [Some(2.0)], "6 in 3 seconds");
    }

    #[tokio::test]
    async fn a_clock_that_goes_back_adds_to_the_rows_that_are_there() {
        let (kept, now) = (Kept::new().await, now_ms() / 60_000 * 60_000);
        let history = kept.open();
        history.take(second(now - 120_000, 5));
        assert_eq!(answers(&history, now - 120_000, now - 60_000, 60_000).await, [Some(5.0)]);
        // It goes two days back, then to where it was before.
        for at_ms in [now - 2 * 86_400_000, now - 120_000, now - 119_000] {
            history.take(second(at_ms, 2));
        }
        assert_eq!(answers(&history, now - 120_000, now - 60_000, 60_000).await, [Some(3.0)]);
        history.close().await;
    }

    #[tokio::test]
    async fn a_damaged_file_is_put_aside_and_history_begins_anew() {
        let (kept, now) = (Kept::new().await, now_ms());
        std::fs::write(kept.path(), "no database at all, ".repeat(500)).unwrap();
        let history = kept.open();
        history.take(second(now - 5000, 3));
        let seconds = answers(&history, now - 60_000, now, 60_000).await;
        assert!(seconds.contains(&Some(3.0)), "{seconds:?}");
        history.close().await;
        let asides = kept.asides();
        assert_eq!(asides.len(), 1);
        let old = std::fs::read_to_string(kept.folder.path().join(&asides[0])).unwrap();
        assert!(old.starts_with("no database at all"));
        assert_eq!(kept.events().await, [EventKind::HistoryStart]);
    }

    #[tokio::test]
    async fn damage_that_a_reader_meets_is_seen_to() {
        let (kept, now) = (Kept::new().await, now_ms());
        let history = kept.open();
        history.take(second(now - 5000, 3));
        answers(&history, now - 60_000, now, 60_000).await;
        let mut raw = metrics::raw_connection(&kept.path()).await;
        sqlx::raw_sql("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut raw).await.unwrap();
        drop(raw);
        let file = std::fs::OpenOptions::new().write(true).open(kept.path()).unwrap();
        let pages = file.metadata().unwrap().len() - 8192;
        file.write_all_at(&vec![0xa5; usize::try_from(pages).unwrap()], 8192).unwrap();
        let wanted = Wanted { from_ms: now - 60_000, to_ms: now, step_ms: None };
        history.the_box(wanted).await.unwrap_err();
        history.take(second(now - 4000, 7));
        history.the_box(wanted).await.unwrap();
        history.close().await;
        assert_eq!(kept.events().await, [EventKind::HistoryStart]);
    }

    #[tokio::test]
    async fn a_lock_that_lasts_costs_no_second_and_holds_up_nobody() {
        let (kept, now) = (Kept::new().await, now_ms());
        let history = kept.open();
        history.take(second(now - 9000, 1));
        for at in 0..60 {
            // So many that they are written.
            history.take(second(now - 90_000 + at, 0));
        }
        answers(&history, now - 60_000, now, 60_000).await;
        let mut raw = metrics::raw_connection(&kept.path()).await;
        sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut raw).await.unwrap();
        for at in 1..=8 {
            history.take(second(now - 9000 + at * 1000, 1));
        }
        let seconds = answers(&history, now - 9000, now, 1000).await;
        assert!(seconds.iter().flatten().count() >= 8, "also while it lasts: {seconds:?}");
        sqlx::raw_sql("ROLLBACK").execute(&mut raw).await.unwrap();
        drop(raw);
        history.close().await;
        let again = kept.open();
        let seconds = answers(&again, now - 9000, now, 1000).await;
        assert!(seconds.iter().flatten().count() >= 8, "{seconds:?}");
        again.close().await;
        assert!(kept.asides().is_empty());
    }

    #[tokio::test]
    async fn seconds_that_the_writer_is_too_slow_for_are_counted() {
        let kept = Kept::new().await;
        let history = kept.open();
        // No task runs before the first wait: the channel fills.
        for at in 0..100 {
            history.take(second(at * 1000, 1));
        }
        assert_eq!(history.lost(), 36);
        assert_eq!(history.totals().sites["blog"].counted.requests(), 100);
        history.close().await;
    }
}
