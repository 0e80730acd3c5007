//! What each release of a site answered, by the hour.

use std::collections::BTreeMap;
use std::path::Path;

use onebox_metrics::TrafficSnapshot;
use sqlx::SqliteConnection;

use super::MetricsError;
use super::columns::RELEASE;
use super::routes::{Rows, read};
use super::table::KeyPart::Text;
use super::write::SeriesKey;
use crate::history::resolution::Resolution;

/// At which releases are kept: enough to compare one with the next.
pub(super) const RESOLUTION: Resolution = Resolution::Hour;

/// Adds what was counted by release to the rows of an hour.
pub(super) async fn write_releases(
    connection: &mut SqliteConnection,
    key: SeriesKey,
    counted: &BTreeMap<String, TrafficSnapshot>,
) -> Result<(), MetricsError> {
    for (release, traffic) in counted {
        let [step, series, at] = key.columns();
        let key = [step, series, at, ("\"release\"", Text(release))];
        RELEASE.add(connection, &key, traffic).await?;
    }
    Ok(())
}

/// What the releases of a site answered, as far back as history goes.
///
/// # Errors
/// [`MetricsError`] where the database can't be opened or read.
pub(crate) async fn releases(
    path: &Path,
    site: &str,
) -> Result<BTreeMap<String, TrafficSnapshot>, MetricsError> {
    let all = Rows { table: &RELEASE, name: "release", site, resolution: RESOLUTION };
    read(path, all, i64::MIN..i64::MAX).await
}

#[cfg(test)]
mod tests {
    use super::super::{Batch, MetricsDb};
    use super::*;
    use crate::history::figures::{SiteFigures, Tick};
    use onebox_metrics::{Histogram, Phase, SiteSnapshot};
    use std::time::Duration;

    fn second(at_ms: i64, release: &str, app_ms: u64) -> Tick {
        let total = Histogram::default();
        total.record(Duration::from_millis(app_ms));
        let mut traffic = TrafficSnapshot {
            by_class: [0, 0, 1, 0, 0, 0],
            total: total.snapshot(),
            ..TrafficSnapshot::default()
        };
        *traffic.phase(Phase::App) = total.snapshot();
        let counted = SiteSnapshot {
            by_class: traffic.by_class,
            releases: [(release.to_owned(), traffic)].into(),
            ..SiteSnapshot::default()
        };
        let blog = SiteFigures::over(&counted, 1).map(|figures| ("blog".to_owned(), figures));
        Tick { at_ms, sites: blog.into_iter().collect(), ..Tick::default() }
    }

    #[tokio::test]
    async fn a_release_is_all_of_its_hours_and_writes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.db");
        let mut db = MetricsDb::open(&path).await.unwrap();
        let hour_ms = 3_600_000;
        for (at_ms, release, app_ms) in
            [(0, "r1", 5), (1000, "r1", 7), (hour_ms, "r1", 9), (hour_ms + 1, "r2", 100)]
        {
            let mut batch = Batch::default();
            batch.add(&second(at_ms, release, app_ms));
            db.write(&batch).await.unwrap();
        }
        let told = releases(&path, "blog").await.unwrap();
        let (first, second) = (&told["r1"], &told["r2"]);
        assert_eq!(
            (first.requests(), first.phases[3].sum_us, first.phases[3].count),
            (3, 21_000, 3)
        );
        assert_eq!((second.requests(), second.total.mean()), (1, Duration::from_millis(100)));
        assert!(releases(&path, "shop").await.unwrap().is_empty());
        db.prune_by_age(3 * hour_ms, Duration::from_millis(3_600_000)).await.unwrap();
        let told = releases(&path, "blog").await.unwrap();
        assert_eq!((told["r1"].requests(), told["r2"].requests()), (1, 1), "an hour is left");
    }
}
