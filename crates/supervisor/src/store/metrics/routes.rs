//! Where a site's time went, by route: minutes for some hours, hours for some days, days for as long as history stays. There are
//! twenty rows where a site has one: hours of a month would take more than all else together.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use onebox_metrics::{Routes, TrafficSnapshot};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Row, SqliteConnection};

use super::columns::ROUTE;
use super::table::KeyPart::Text;
use super::table::Table;
use super::write::SeriesKey;
use super::{MetricsDb, MetricsError, options};
use crate::history::resolution::{Resolution, Wanted};

/// So many routes of a site have a row of their own for the same time: those that took most.
const MOST: usize = 20;
/// How long minutes stay.
const MINUTES: Duration = Duration::from_secs(3 * 3600);
/// How long hours stay.
const HOURS: Duration = Duration::from_secs(3 * 86_400);

/// How long routes stay at a resolution, where history as a whole stays for `keep`: not at all at the finer ones.
pub(super) fn keep(resolution: Resolution, keep: Duration) -> Duration {
    match resolution {
        Resolution::Second | Resolution::TenSeconds => Duration::ZERO,
        Resolution::Minute => keep.min(MINUTES),
        Resolution::Hour => keep.min(HOURS),
        Resolution::Day => keep,
    }
}

/// The rows of routes that a row of their site is in.
pub(super) fn rows_of(resolution: Resolution) -> &'static [Resolution] {
    match resolution {
        Resolution::Second | Resolution::TenSeconds => &[],
        Resolution::Minute => &[Resolution::Minute],
        Resolution::Hour => &[Resolution::Hour, Resolution::Day],
        Resolution::Day => &[Resolution::Day],
    }
}

/// Which rows are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RouteSpan {
    pub(crate) resolution: Resolution,
    /// The beginning of the first row.
    pub(crate) from_ms: i64,
    /// The end of the last row.
    pub(crate) to_ms: i64,
}

impl RouteSpan {
    /// The finest rows that a span touches and that are still there at its beginning. `None` where the span is none.
    pub(crate) fn new(wanted: Wanted, now_ms: i64) -> Option<Self> {
        let last_ms = wanted.to_ms.checked_sub(1).filter(|last_ms| *last_ms >= wanted.from_ms)?;
        let is_there = |kept: Duration| wanted.from_ms >= now_ms.saturating_sub(milliseconds(kept));
        let resolution = if is_there(MINUTES) {
            Resolution::Minute
        } else if is_there(HOURS) {
            Resolution::Hour
        } else {
            Resolution::Day
        };
        let to_ms = resolution.begin_ms(last_ms).saturating_add(resolution.step_s() * 1000);
        Some(Self { resolution, from_ms: resolution.begin_ms(wanted.from_ms), to_ms })
    }
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// Adds what was counted by route to the rows of a time.
pub(super) async fn write_routes(
    connection: &mut SqliteConnection,
    key: SeriesKey,
    counted: &BTreeMap<String, TrafficSnapshot>,
) -> Result<(), MetricsError> {
    let known =
        sqlx::query("SELECT * FROM route_samples WHERE step_s = ?1 AND series = ?2 AND at_ms = ?3")
            .bind(key.step_s)
            .bind(key.series)
            .bind(key.at_ms)
            .fetch_all(&mut *connection)
            .await?;
    let mut whole = counted.clone();
    for row in &known {
        whole.entry(row.try_get("route")?).or_default().merge(&ROUTE.read(row)?);
    }
    sqlx::query("DELETE FROM route_samples WHERE step_s = ?1 AND series = ?2 AND at_ms = ?3")
        .bind(key.step_s)
        .bind(key.series)
        .bind(key.at_ms)
        .execute(&mut *connection)
        .await?;
    for (route, traffic) in largest(whole) {
        let [step, series, at] = key.columns();
        let key = [step, series, at, ("route", Text(&route))];
        ROUTE.put(connection, &key, traffic).await?;
    }
    Ok(())
}

/// The routes that took most time, and all others as one.
fn largest(routes: BTreeMap<String, TrafficSnapshot>) -> BTreeMap<String, TrafficSnapshot> {
    let mut routes: Vec<_> = routes.into_iter().collect();
    routes.sort_by_key(|(name, route)| {
        (name == Routes::OTHER, std::cmp::Reverse(route.total.sum_us))
    });
    let others = routes.split_off(routes.len().min(MOST));
    let mut kept: BTreeMap<_, _> = routes.into_iter().collect();
    for (_, route) in others {
        kept.entry(Routes::OTHER.to_owned()).or_default().merge(&route);
    }
    kept
}

/// What a site's routes took in a span.
///
/// # Errors
/// [`MetricsError`] where the database can't be opened or read.
pub(crate) async fn routes(
    path: &Path,
    site: &str,
    span: &RouteSpan,
) -> Result<BTreeMap<String, TrafficSnapshot>, MetricsError> {
    let rows = Rows { table: &ROUTE, name: "route", site, resolution: span.resolution };
    read(path, rows, span.from_ms..span.to_ms).await
}

/// Rows of a site by name.
pub(super) struct Rows<'a> {
    pub(super) table: &'static Table<TrafficSnapshot>,
    /// The column with the name.
    pub(super) name: &'static str,
    pub(super) site: &'a str,
    pub(super) resolution: Resolution,
}

/// What rows that began in a span say, added up by name.
pub(super) async fn read(
    path: &Path,
    rows: Rows<'_>,
    span: Range<i64>,
) -> Result<BTreeMap<String, TrafficSnapshot>, MetricsError> {
    let mut connection = options(path).read_only(true).create_if_missing(false).connect().await?;
    let sql = format!(
        "SELECT samples.* FROM series JOIN {} samples ON series.id = samples.series \
         WHERE series.kind = 'site' AND series.name = ?1 AND step_s = ?2 AND at_ms >= ?3 AND at_ms < ?4",
        rows.table.name
    );
    let found = sqlx::query(AssertSqlSafe(sql))
        .bind(rows.site)
        .bind(rows.resolution.step_s())
        .bind(span.start)
        .bind(span.end)
        .fetch_all(&mut connection)
        .await?;
    connection.close().await.ok();
    let mut whole: BTreeMap<String, TrafficSnapshot> = BTreeMap::new();
    for row in &found {
        whole.entry(row.try_get(rows.name)?).or_default().merge(&rows.table.read(row)?);
    }
    Ok(whole)
}

impl MetricsDb {
    /// Forgets what is too old at `now_ms`.
    pub(super) async fn forget_routes(
        &mut self,
        now_ms: i64,
        history: Duration,
    ) -> Result<(), MetricsError> {
        for resolution in [Resolution::Minute, Resolution::Hour, Resolution::Day] {
            let kept_ms = milliseconds(keep(resolution, history));
            let row_ms = resolution.step_s() * 1000;
            sqlx::query("DELETE FROM route_samples WHERE step_s = ?1 AND at_ms < ?2")
                .bind(resolution.step_s())
                .bind(now_ms.saturating_sub(kept_ms).saturating_sub(row_ms))
                .execute(&mut self.connection)
                .await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::Batch;
    use super::*;
    use crate::history::figures::{SiteFigures, Tick};
    use onebox_metrics::{Finished, PhaseDurations, Registry, ServedBy};

    const NOW_MS: i64 = 1_800_000_000_000 / 3_600_000 * 3_600_000;
    const MONTH: Duration = Duration::from_secs(30 * 86_400);

    fn tick(at_ms: i64, answers: &[(&str, u64)]) -> Tick {
        let registry = Registry::new();
        let blog = registry.site("blog");
        for (route, ms) in answers {
            let total = Duration::from_millis(*ms);
            let phases = PhaseDurations { app: Some(total), total, ..PhaseDurations::default() };
            let finished = Finished {
                status: 200,
                served_by: ServedBy::App,
                bytes_in: 1,
                bytes_out: 7,
                phases,
            };
            blog.finish(route, &finished);
        }
        let blog = SiteFigures::over(&registry.snapshot().sites["blog"], 1).unwrap();
        Tick { at_ms, sites: [("blog".to_owned(), blog)].into(), ..Tick::default() }
    }

    async fn written(ticks: &[Tick]) -> (tempfile::TempDir, MetricsDb) {
        let folder = tempfile::tempdir().unwrap();
        let mut db = MetricsDb::open(&folder.path().join("metrics.db")).await.unwrap();
        for tick in ticks {
            let mut batch = Batch::default();
            batch.add(tick);
            db.write(&batch).await.unwrap();
        }
        (folder, db)
    }

    async fn told(folder: &tempfile::TempDir, from_ms: i64, to_ms: i64) -> Vec<(String, u64, u64)> {
        let wanted = Wanted { from_ms, to_ms, step_ms: None };
        let span = RouteSpan::new(wanted, NOW_MS).unwrap();
        let found = routes(&folder.path().join("metrics.db"), "blog", &span).await.unwrap();
        let figures = found.into_iter();
        figures.map(|(name, route)| (name, route.total.count, route.phases[3].sum_us)).collect()
    }

    #[tokio::test]
    async fn routes_add_up_over_writes_minutes_and_hours() {
        let (folder, mut db) = written(&[
            tick(NOW_MS - 120_000, &[("/a", 4), ("/a", 6)]),
            tick(NOW_MS - 119_000, &[("/a", 10), ("/b", 1)]),
            tick(NOW_MS - 60_000, &[("/b", 2)]),
        ])
        .await;
        let first = [("/a".to_owned(), 3, 20_000), ("/b".to_owned(), 1, 1000)];
        assert_eq!(told(&folder, NOW_MS - 110_000, NOW_MS - 90_000).await, first);
        let both = [("/a".to_owned(), 3, 20_000), ("/b".to_owned(), 2, 3000)];
        assert_eq!(told(&folder, NOW_MS - 120_000, NOW_MS).await, both);
        let hour_ms = 3_600_000;
        db.forget_routes(NOW_MS + 4 * hour_ms, MONTH).await.unwrap();
        assert_eq!(told(&folder, NOW_MS - 120_000, NOW_MS).await, []);
        assert_eq!(told(&folder, NOW_MS - 12 * hour_ms, NOW_MS).await, both, "by the hour");
        db.forget_routes(NOW_MS + 80 * hour_ms, MONTH).await.unwrap();
        assert_eq!(told(&folder, NOW_MS - 12 * hour_ms, NOW_MS).await, []);
        assert_eq!(told(&folder, NOW_MS - 80 * hour_ms, NOW_MS).await, both, "by the day");
        db.forget_routes(NOW_MS + 32 * 24 * hour_ms, MONTH).await.unwrap();
        assert_eq!(told(&folder, NOW_MS - 80 * hour_ms, NOW_MS).await, []);
    }

    #[tokio::test]
    async fn those_that_took_least_share_a_row() {
        let names: Vec<_> = (0..MOST + 3).map(|number| format!("/{number:02}")).collect();
        let answers: Vec<_> = names.iter().zip(1..).map(|(name, ms)| (name.as_str(), ms)).collect();
        let (folder, _db) = written(&[tick(NOW_MS, &answers), tick(NOW_MS, &answers)]).await;
        let told = told(&folder, NOW_MS, NOW_MS + 1).await;
        assert_eq!(told.len(), MOST + 1);
        assert_eq!(told.iter().map(|(_, count, _)| count).sum::<u64>(), 2 * (MOST as u64 + 3));
        assert!(told.iter().any(|(name, count, _)| name == Routes::OTHER && *count == 6));
    }

    #[test]
    fn a_span_is_told_by_the_rows_that_it_touches() {
        let span =
            |from_ms, to_ms| RouteSpan::new(Wanted { from_ms, to_ms, step_ms: None }, NOW_MS);
        let minutes = span(NOW_MS - 90_000, NOW_MS - 60_000).unwrap();
        assert_eq!((minutes.from_ms, minutes.to_ms), (NOW_MS - 120_000, NOW_MS - 60_000));
        let hours = span(NOW_MS - 4 * 3_600_000 + 1, NOW_MS - 3_600_001).unwrap();
        assert_eq!((hours.from_ms, hours.to_ms), (NOW_MS - 4 * 3_600_000, NOW_MS - 3_600_000));
        let day_ms = 86_400_000;
        let days = span(NOW_MS - 4 * day_ms, NOW_MS).unwrap();
        assert_eq!((days.from_ms % day_ms, days.to_ms % day_ms), (0, 0));
        assert!(days.from_ms <= NOW_MS - 4 * day_ms && days.to_ms >= NOW_MS);
        for (from_ms, to_ms) in [(5, 5), (6, 5), (0, i64::MIN), (i64::MAX, i64::MAX)] {
            assert_eq!(span(from_ms, to_ms), None);
        }
        // Must not overflow.
        span(i64::MIN, i64::MAX);
    }
}
