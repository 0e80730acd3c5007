//! Requests that failed, one by one and by their tracebacks. What there is most of goes first: a site that fails all day keeps its
//! other errors.

use std::path::Path;

use sqlx::sqlite::SqliteRow;
use sqlx::{ConnectOptions, Connection, Row, SqliteConnection};

use super::{MetricsDb, MetricsError, options};
use crate::api::{ErrorGroup, FailureKind, FailureReport};

/// So many reports of one traceback stay.
const MOST_OF_A_GROUP: i64 = 20;
/// So many reports of a site do.
pub(super) const MOST_OF_A_SITE: i64 = 500;
/// So many tracebacks of a site do.
const MOST_GROUPS: i64 = 200;

impl MetricsDb {
    /// Adds reports, all of them or none, and forgets those that are too many then.
    ///
    /// # Errors
    /// [`MetricsError`]; nothing of it is there then.
    pub(crate) async fn add_failures(
        &mut self,
        reports: &[FailureReport],
    ) -> Result<(), MetricsError> {
        let mut transaction = self.connection.begin().await?;
        for report in reports {
            add(&mut transaction, report).await?;
            add_to_group(&mut transaction, report).await?;
            forget(&mut transaction, report).await?;
        }
        Ok(transaction.commit().await?)
    }

    /// Forgets the reports and tracebacks that were last seen before.
    ///
    /// # Errors
    /// [`MetricsError`].
    pub(super) async fn forget_failures(&mut self, before_ms: i64) -> Result<(), MetricsError> {
        for statement in [
            "DELETE FROM failures WHERE at_ms < ?1",
            "DELETE FROM failure_groups WHERE last_ms < ?1",
        ] {
            sqlx::query(statement).bind(before_ms).execute(&mut self.connection).await?;
        }
        Ok(())
    }
}

async fn add(
    connection: &mut SqliteConnection,
    report: &FailureReport,
) -> Result<(), MetricsError> {
    let raised = serde_json::to_string(&report.raised)
        .map_err(|error| MetricsError::Unavailable(error.to_string()))?;
    sqlx::query(
        "INSERT INTO failures (at_ms, kind, site, \"release\", worker, request_id, method, path, \
         age_ms, fingerprint, place, raised, printed) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(report.at_ms)
    .bind(report.kind.name())
    .bind(&report.site)
    .bind(&report.release)
    .bind(&report.worker)
    .bind(&report.request_id)
    .bind(&report.method)
    .bind(&report.path)
    .bind(i64::try_from(report.age_ms).unwrap_or(i64::MAX))
    .bind(&report.fingerprint)
    .bind(&report.place)
    .bind(raised)
    .bind(&report.printed)
    .execute(connection)
    .await?;
    Ok(())
}

async fn add_to_group(
    connection: &mut SqliteConnection,
    report: &FailureReport,
) -> Result<(), MetricsError> {
    let Some(raised) = report.raised.last() else { return Ok(()) };
    sqlx::query(
        "INSERT INTO failure_groups (site, fingerprint, kind, type, message, place, \"release\", \
         request_id, count, first_ms, last_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 1, ?9, ?9) \
         ON CONFLICT DO UPDATE SET message = excluded.message, place = excluded.place, \
         \"release\" = excluded.\"release\", request_id = excluded.request_id, count = count + 1, \
         first_ms = min(first_ms, excluded.first_ms), last_ms = max(last_ms, excluded.last_ms)",
    )
    .bind(&report.site)
    .bind(&report.fingerprint)
    .bind(report.kind.name())
    .bind(&raised.kind)
    .bind(&raised.message)
    .bind(&report.place)
    .bind(&report.release)
    .bind(&report.request_id)
    .bind(report.at_ms)
    .execute(connection)
    .await?;
    Ok(())
}

/// What is too much after this report was added.
async fn forget(
    connection: &mut SqliteConnection,
    report: &FailureReport,
) -> Result<(), MetricsError> {
    sqlx::query(
        "DELETE FROM failures WHERE site = ?1 AND fingerprint = ?2 AND id <= (SELECT id FROM failures \
         WHERE site = ?1 AND fingerprint = ?2 ORDER BY id DESC LIMIT 1 OFFSET ?3)",
    )
    .bind(&report.site)
    .bind(&report.fingerprint)
    .bind(MOST_OF_A_GROUP)
    .execute(&mut *connection)
    .await?;
    sqlx::query(
        "DELETE FROM failures WHERE site = ?1 AND id <= \
         (SELECT id FROM failures WHERE site = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)",
    )
    .bind(&report.site)
    .bind(MOST_OF_A_SITE)
    .execute(&mut *connection)
    .await?;
    sqlx::query(
        "DELETE FROM failure_groups WHERE site = ?1 AND fingerprint IN (SELECT fingerprint FROM \
         failure_groups WHERE site = ?1 ORDER BY last_ms DESC, fingerprint LIMIT -1 OFFSET ?2)",
    )
    .bind(&report.site)
    .bind(MOST_GROUPS)
    .execute(connection)
    .await?;
    Ok(())
}

/// The tracebacks of a site, the last seen first.
///
/// # Errors
/// [`MetricsError`] where the database can't be opened or read.
pub(crate) async fn error_groups(path: &Path, site: &str) -> Result<Vec<ErrorGroup>, MetricsError> {
    let mut connection = options(path).read_only(true).create_if_missing(false).connect().await?;
    let rows = sqlx::query(
        "SELECT * FROM failure_groups WHERE site = ?1 ORDER BY last_ms DESC, fingerprint",
    )
    .bind(site)
    .fetch_all(&mut connection)
    .await?;
    connection.close().await.ok();
    rows.iter().map(to_group).collect()
}

/// What a request failed with, the first first.
///
/// # Errors
/// As [`error_groups`].
pub(crate) async fn failures_of(
    path: &Path,
    request_id: &str,
) -> Result<Vec<FailureReport>, MetricsError> {
    let mut connection = options(path).read_only(true).create_if_missing(false).connect().await?;
    let rows = sqlx::query("SELECT * FROM failures WHERE request_id = ?1 ORDER BY id")
        .bind(request_id)
        .fetch_all(&mut connection)
        .await?;
    connection.close().await.ok();
    rows.iter().map(to_report).collect()
}

fn to_group(row: &SqliteRow) -> Result<ErrorGroup, MetricsError> {
    Ok(ErrorGroup {
        fingerprint: row.try_get("fingerprint")?,
        kind: kind(row)?,
        exception: row.try_get("type")?,
        message: row.try_get("message")?,
        place: row.try_get("place")?,
        release: row.try_get("release")?,
        request_id: row.try_get("request_id")?,
        count: super::table::count(row, "count")?,
        first_ms: row.try_get("first_ms")?,
        last_ms: row.try_get("last_ms")?,
    })
}

fn to_report(row: &SqliteRow) -> Result<FailureReport, MetricsError> {
    let raised: &str = row.try_get("raised")?;
    Ok(FailureReport {
        at_ms: row.try_get("at_ms")?,
        kind: kind(row)?,
        site: row.try_get("site")?,
        release: row.try_get("release")?,
        worker: row.try_get("worker")?,
        request_id: row.try_get("request_id")?,
        method: row.try_get("method")?,
        path: row.try_get("path")?,
        age_ms: super::table::count(row, "age_ms")?,
        fingerprint: row.try_get("fingerprint")?,
        place: row.try_get("place")?,
        raised: serde_json::from_str(raised)
            .map_err(|error| MetricsError::Damaged(format!("raised: {error}")))?,
        printed: row.try_get("printed")?,
    })
}

fn kind(row: &SqliteRow) -> Result<FailureKind, MetricsError> {
    let name: &str = row.try_get("kind")?;
    FailureKind::named(name).ok_or_else(|| MetricsError::Damaged(format!("kind is {name}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Raised;

    fn report(at_ms: i64, site: &str, fingerprint: &str) -> FailureReport {
        let (kind, message) = ("ValueError".to_owned(), format!("at {at_ms}"));
        let raised = vec![Raised { kind, message, after: None, frames: Vec::new() }];
        FailureReport {
            at_ms,
            kind: FailureKind::Exception,
            site: site.into(),
            release: "r1".into(),
            worker: None,
            request_id: format!("{at_ms:032x}"),
            method: "GET".into(),
            path: "/a".into(),
            age_ms: 7,
            fingerprint: fingerprint.into(),
            place: Some("a.py:1 in f".into()),
            raised,
            printed: "printed\n".into(),
        }
    }

    async fn written(reports: &[FailureReport]) -> (tempfile::TempDir, MetricsDb) {
        let folder = tempfile::tempdir().unwrap();
        let mut db = MetricsDb::open(&folder.path().join("metrics.db")).await.unwrap();
        db.add_failures(reports).await.unwrap();
        (folder, db)
    }

    #[tokio::test]
    async fn a_report_is_read_as_it_was_written_and_its_group_counts() {
        let reports = [report(1, "blog", "a"), report(2, "blog", "b"), report(3, "blog", "a")];
        let (folder, _db) = written(&reports).await;
        let path = folder.path().join("metrics.db");
        assert_eq!(failures_of(&path, &reports[0].request_id).await.unwrap(), reports[..1]);
        assert_eq!(failures_of(&path, "none").await.unwrap(), []);
        let groups = error_groups(&path, "blog").await.unwrap();
        let told: Vec<_> = groups
            .iter()
            .map(|group| (&*group.fingerprint, group.count, group.first_ms, group.last_ms))
            .collect();
        assert_eq!(told, [("a", 2, 1, 3), ("b", 1, 2, 2)]);
        assert_eq!(
            (&*groups[0].message, &*groups[0].request_id),
            ("at 3", &*reports[2].request_id)
        );
        assert_eq!(error_groups(&path, "shop").await.unwrap(), []);
    }

    #[tokio::test]
    async fn an_answer_without_an_exception_is_kept_and_in_no_group() {
        let mut bad = report(1, "blog", "");
        (bad.kind, bad.raised, bad.place) = (FailureKind::Answer, Vec::new(), None);
        let (folder, _db) = written(std::slice::from_ref(&bad)).await;
        let path = folder.path().join("metrics.db");
        assert_eq!(failures_of(&path, &bad.request_id).await.unwrap(), [bad]);
        assert_eq!(error_groups(&path, "blog").await.unwrap(), []);
    }

    #[tokio::test]
    async fn the_reports_of_one_traceback_do_not_push_out_those_of_another() {
        let mut reports = vec![report(1, "blog", "rare"), report(2, "shop", "other")];
        reports.extend((3..=2 + MOST_OF_A_SITE).map(|at_ms| report(at_ms, "blog", "often")));
        let (folder, mut db) = written(&reports).await;
        let path = folder.path().join("metrics.db");
        let count = |site: &'static str| {
            sqlx::query_scalar::<_, i64>("SELECT count(*) FROM failures WHERE site = ?1").bind(site)
        };
        assert_eq!(count("blog").fetch_one(&mut db.connection).await.unwrap(), 1 + MOST_OF_A_GROUP);
        assert_eq!(failures_of(&path, &reports[0].request_id).await.unwrap().len(), 1);
        let often = error_groups(&path, "blog").await.unwrap().swap_remove(0);
        assert_eq!(often.count, u64::try_from(MOST_OF_A_SITE).unwrap());
        let many: Vec<_> = (1..=MOST_OF_A_SITE + 9)
            .map(|at_ms| report(at_ms, "blog", &at_ms.to_string()))
            .collect();
        db.add_failures(&many).await.unwrap();
        assert_eq!(count("blog").fetch_one(&mut db.connection).await.unwrap(), MOST_OF_A_SITE);
        assert_eq!(count("shop").fetch_one(&mut db.connection).await.unwrap(), 1);
        let groups = error_groups(&path, "blog").await.unwrap();
        assert_eq!(groups.len(), usize::try_from(MOST_GROUPS).unwrap());
        db.forget_failures(MOST_OF_A_SITE).await.unwrap();
        assert_eq!(count("blog").fetch_one(&mut db.connection).await.unwrap(), 10);
        assert_eq!(count("shop").fetch_one(&mut db.connection).await.unwrap(), 0);
    }
}
