//! Forgetting: by age, and where that is not enough, by size.

use std::time::Duration;

use onebox_config::MetricsSettings;

use super::{MetricsDb, MetricsError, routes};
use crate::history::resolution::Resolution;

/// How often the oldest tenth is forgotten before the next time.
const ROUNDS: usize = 10;

/// What stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Retention {
    /// How long.
    pub(crate) keep: Duration,
    /// Bytes of the whole file.
    pub(crate) max_bytes: u64,
}

impl From<&MetricsSettings> for Retention {
    fn from(settings: &MetricsSettings) -> Self {
        Self { keep: settings.keep, max_bytes: settings.max_bytes }
    }
}

impl MetricsDb {
    /// Forgets what is too old at `now_ms`. What is later than that stays: the clock may be wrong.
    ///
    /// # Errors
    /// [`MetricsError`].
    pub(crate) async fn prune_by_age(
        &mut self,
        now_ms: i64,
        keep: Duration,
    ) -> Result<(), MetricsError> {
        for resolution in Resolution::ALL {
            let age_ms = i64::try_from(resolution.keep(keep).as_millis()).unwrap_or(i64::MAX);
            self.forget_before(resolution, now_ms.saturating_sub(age_ms)).await?;
        }
        self.forget_routes(now_ms, keep).await?;
        let keep_ms = i64::try_from(keep.as_millis()).unwrap_or(i64::MAX);
        self.forget_failures(now_ms.saturating_sub(keep_ms)).await?;
        self.forget_requests(now_ms.saturating_sub(keep_ms)).await?;
        self.forget_series().await
    }

    /// Forgets the oldest rows of each resolution until the rest takes no more than `max_bytes`, and gives back the space.
    ///
    /// # Errors
    /// [`MetricsError`].
    pub(crate) async fn prune_by_size(&mut self, max_bytes: u64) -> Result<(), MetricsError> {
        for _ in 0..ROUNDS {
            if self.used_bytes().await? <= max_bytes {
                break;
            }
            for resolution in Resolution::ALL {
                let span: (Option<i64>, Option<i64>) = sqlx::query_as(
                    "SELECT min(at_ms), max(at_ms) FROM box_samples WHERE step_s = ?1",
                )
                .bind(resolution.step_s())
                .fetch_one(&mut self.connection)
                .await?;
                if let (Some(oldest), Some(newest)) = span {
                    let tenth = newest.saturating_sub(oldest) / 10;
                    let before_ms =
                        oldest.saturating_add(tenth).saturating_add(2 * resolution.step_s() * 1000);
                    self.forget_before(resolution, before_ms).await?;
                }
            }
        }
        self.forget_series().await?;
        sqlx::query("PRAGMA incremental_vacuum").execute(&mut self.connection).await?;
        Ok(())
    }

    /// What the rows take; free pages, which the next rows fill, are not counted.
    pub(crate) async fn used_bytes(&mut self) -> Result<u64, MetricsError> {
        let used: i64 = sqlx::query_scalar(
            "SELECT (page_count - freelist_count) * page_size \
             FROM pragma_page_count, pragma_freelist_count, pragma_page_size",
        )
        .fetch_one(&mut self.connection)
        .await?;
        Ok(u64::try_from(used).unwrap_or(0))
    }

    /// Forgets the rows of a resolution that were over before a moment.
    async fn forget_before(
        &mut self,
        resolution: Resolution,
        before_ms: i64,
    ) -> Result<(), MetricsError> {
        for rows in routes::rows_of(resolution) {
            sqlx::query("DELETE FROM route_samples WHERE step_s = ?1 AND at_ms < ?2")
                .bind(rows.step_s())
                .bind(before_ms.saturating_sub(rows.step_s() * 1000))
                .execute(&mut self.connection)
                .await?;
        }
        let before_ms = before_ms.saturating_sub(resolution.step_s() * 1000);
        let series: Vec<i64> =
            sqlx::query_scalar("SELECT id FROM series").fetch_all(&mut self.connection).await?;
        for id in series {
            // Short ranges of the primary keys: nothing else is read.
            for statement in [
                "DELETE FROM site_samples WHERE step_s = ?1 AND series = ?2 AND at_ms < ?3",
                "DELETE FROM process_samples WHERE step_s = ?1 AND series = ?2 AND at_ms < ?3",
                "DELETE FROM release_samples WHERE step_s = ?1 AND series = ?2 AND at_ms < ?3",
            ] {
                sqlx::query(statement)
                    .bind(resolution.step_s())
                    .bind(id)
                    .bind(before_ms)
                    .execute(&mut self.connection)
                    .await?;
            }
        }
        sqlx::query("DELETE FROM box_samples WHERE step_s = ?1 AND at_ms < ?2")
            .bind(resolution.step_s())
            .bind(before_ms)
            .execute(&mut self.connection)
            .await?;
        Ok(())
    }

    /// Forgets the series that have no row left: of sites and workers that are long gone.
    async fn forget_series(&mut self) -> Result<(), MetricsError> {
        let removed = sqlx::query(
            "DELETE FROM series WHERE NOT EXISTS \
             (SELECT 1 FROM site_samples WHERE step_s IN (1, 10, 60, 3600) AND series = id) AND NOT EXISTS \
             (SELECT 1 FROM process_samples WHERE step_s IN (1, 10, 60, 3600) AND series = id)",
        )
        .execute(&mut self.connection)
        .await?
        .rows_affected();
        if removed > 0 {
            self.series.clear();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::Batch;
    use super::*;
    use crate::history::figures::{BoxFigures, ProcessFigures, Tick};

    const KEEP: Duration = Duration::from_secs(30 * 86_400);
    const NOW_MS: i64 = 1_800_000_000_000;
    const HOUR_MS: i64 = 3_600_000;

    async fn written(times_ms: &[(i64, &str)]) -> (tempfile::TempDir, MetricsDb) {
        let folder = tempfile::tempdir().unwrap();
        let mut db = MetricsDb::open(&folder.path().join("metrics.db")).await.unwrap();
        let mut batch = Batch::default();
        for (at_ms, process) in times_ms {
            let figures = ProcessFigures { samples: 1, ..ProcessFigures::default() };
            batch.add(&Tick {
                at_ms: *at_ms,
                processes: [((*process).to_owned(), figures)].into(),
                the_box: BoxFigures { samples: 1, ..BoxFigures::default() },
                ..Tick::default()
            });
        }
        db.write(&batch).await.unwrap();
        (folder, db)
    }

    /// Rows of each resolution, and names of series.
    async fn left(db: &mut MetricsDb) -> (Vec<i64>, Vec<String>) {
        let mut rows = Vec::new();
        for resolution in Resolution::ALL {
            let count =
                sqlx::query_scalar("SELECT count(*) FROM process_samples WHERE step_s = ?1")
                    .bind(resolution.step_s())
                    .fetch_one(&mut db.connection)
                    .await
                    .unwrap();
            rows.push(count);
        }
        let names = sqlx::query_scalar("SELECT name FROM series ORDER BY name")
            .fetch_all(&mut db.connection)
            .await
            .unwrap();
        (rows, names)
    }

    #[tokio::test]
    async fn the_finer_the_sooner_forgotten_and_the_future_never() {
        let ages_h = [(0, "now"), (1, "hour"), (24, "day"), (24 * 8, "week"), (24 * 31, "month")];
        let times = ages_h.map(|(age, name)| (NOW_MS - age * HOUR_MS, name));
        let (_folder, mut db) = written(&[&times[..], &[(NOW_MS * 2, "future")]].concat()).await;
        db.prune_by_age(NOW_MS, KEEP).await.unwrap();
        let (rows, names) = left(&mut db).await;
        assert_eq!(rows, [2, 3, 4, 5]);
        assert_eq!(names, ["day", "future", "hour", "now", "week"]);
    }

    #[tokio::test]
    async fn a_series_that_was_forgotten_can_be_written_again() {
        let (_folder, mut db) = written(&[(0, "engine")]).await;
        db.prune_by_age(NOW_MS, KEEP).await.unwrap();
        assert_eq!(left(&mut db).await.1, [""; 0]);
        let mut batch = Batch::default();
        let figures = ProcessFigures { samples: 1, ..ProcessFigures::default() };
        let processes = [("engine".to_owned(), figures)].into();
        batch.add(&Tick { at_ms: NOW_MS, processes, ..Tick::default() });
        db.write(&batch).await.unwrap();
        assert_eq!(left(&mut db).await.0, [1, 1, 1, 1]);
    }

    #[tokio::test]
    async fn too_much_is_forgotten_from_its_oldest_end_and_the_space_given_back() {
        let times: Vec<_> = (0..4000).map(|second| (NOW_MS + second * 1000, "engine")).collect();
        let (folder, mut db) = written(&times).await;
        let before = db.used_bytes().await.unwrap();
        let most = before * 2 / 3;
        db.prune_by_size(most).await.unwrap();
        assert!(db.used_bytes().await.unwrap() <= most);
        let oldest: i64 =
            sqlx::query_scalar("SELECT min(at_ms) FROM process_samples WHERE step_s = 1")
                .fetch_one(&mut db.connection)
                .await
                .unwrap();
        let newest: i64 =
            sqlx::query_scalar("SELECT max(at_ms) FROM process_samples WHERE step_s = 1")
                .fetch_one(&mut db.connection)
                .await
                .unwrap();
        assert!(oldest > NOW_MS && newest == NOW_MS + 3_999_000, "{oldest} to {newest}");
        db.close().await;
        assert!(std::fs::metadata(folder.path().join("metrics.db")).unwrap().len() <= most);
    }
}
