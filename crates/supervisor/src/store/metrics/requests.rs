//! Requests one by one, and looking for them.

use std::ops::{Range, RangeInclusive};
use std::path::Path;

use sqlx::sqlite::SqliteRow;
use sqlx::{ConnectOptions, Connection, Row};

use super::table::{count, stored};
use super::{MetricsDb, MetricsError, options};
use crate::api::RequestRecord;

/// So many requests of a site stay of those that failed or were slow, and so many of the others.
pub(super) const MOST_OF_A_KIND: i64 = 2000;

/// What is looked for; all of it has to be so.
#[derive(Debug, Clone)]
pub(crate) struct Search {
    pub(crate) request_id: Option<String>,
    pub(crate) site: Option<String>,
    /// A part of the path.
    pub(crate) path: Option<String>,
    pub(crate) status: RangeInclusive<u16>,
    /// It took so long at least.
    pub(crate) total_us: u64,
    /// It came in this span of time.
    pub(crate) span: Range<i64>,
    /// At most so many, the last.
    pub(crate) limit: u32,
}

impl MetricsDb {
    /// Adds records, all of them or none, and forgets those that are too many then.
    ///
    /// # Errors
    /// [`MetricsError`]; nothing of it is there then.
    pub(crate) async fn add_requests(
        &mut self,
        records: &[RequestRecord],
    ) -> Result<(), MetricsError> {
        let mut transaction = self.connection.begin().await?;
        for record in records {
            let mut insert = sqlx::query(
                "INSERT INTO requests (request_id, at_ms, site, \"release\", method, path, status, notable, \
                 served_by, error, bytes_in, bytes_out, accept_us, queue_us, app_us, body_us, send_us, \
                 total_us, client, user_agent, worker, tls_us) \
                 VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            )
            .bind(&record.request_id)
            .bind(record.at_ms)
            .bind(&record.site)
            .bind(&record.release)
            .bind(&record.method)
            .bind(&record.path)
            .bind(record.status)
            .bind(record.is_notable())
            .bind(&record.served_by)
            .bind(&record.error)
            .bind(stored(record.bytes_in))
            .bind(stored(record.bytes_out));
            for phase in
                [record.accept_us, record.queue_us, record.app_us, record.body_us, record.send_us]
            {
                insert = insert.bind(phase.map(stored));
            }
            insert
                .bind(stored(record.total_us))
                .bind(&record.client)
                .bind(&record.user_agent)
                .bind(&record.worker)
                .bind(record.tls_us.map(stored))
                .execute(&mut *transaction)
                .await?;
        }
        let mut kinds: Vec<_> =
            records.iter().map(|record| (&record.site, record.is_notable())).collect();
        kinds.sort_unstable();
        kinds.dedup();
        for (site, is_notable) in kinds {
            sqlx::query(
                "DELETE FROM requests WHERE site = ?1 AND notable = ?2 AND id <= (SELECT id FROM requests \
                 WHERE site = ?1 AND notable = ?2 ORDER BY id DESC LIMIT 1 OFFSET ?3)",
            )
            .bind(site)
            .bind(is_notable)
            .bind(MOST_OF_A_KIND)
            .execute(&mut *transaction)
            .await?;
        }
        Ok(transaction.commit().await?)
    }

    /// Forgets the requests that came before.
    ///
    /// # Errors
    /// [`MetricsError`].
    pub(super) async fn forget_requests(&mut self, before_ms: i64) -> Result<(), MetricsError> {
        sqlx::query("DELETE FROM requests WHERE at_ms < ?1")
            .bind(before_ms)
            .execute(&mut self.connection)
            .await?;
        Ok(())
    }
}

/// The requests that are looked for, the last first.
///
/// # Errors
/// [`MetricsError`] where the database can't be opened or read.
pub(crate) async fn search(
    path: &Path,
    search: &Search,
) -> Result<Vec<RequestRecord>, MetricsError> {
    let mut connection = options(path).read_only(true).create_if_missing(false).connect().await?;
    let rows = sqlx::query(
        "SELECT * FROM requests WHERE (?1 IS NULL OR request_id = ?1) AND (?2 IS NULL OR site = ?2) \
         AND (?3 IS NULL OR instr(path, ?3) > 0) AND status BETWEEN ?4 AND ?5 AND total_us >= ?6 \
         AND at_ms >= ?7 AND at_ms < ?8 ORDER BY at_ms DESC, id DESC LIMIT ?9",
    )
    .bind(&search.request_id)
    .bind(&search.site)
    .bind(&search.path)
    .bind(search.status.start())
    .bind(search.status.end())
    .bind(stored(search.total_us))
    .bind(search.span.start)
    .bind(search.span.end)
    .bind(search.limit)
    .fetch_all(&mut connection)
    .await?;
    connection.close().await.ok();
    rows.iter().map(to_record).collect()
}

fn to_record(row: &SqliteRow) -> Result<RequestRecord, MetricsError> {
    let phase = |column: &str| -> Result<Option<u64>, MetricsError> {
        let value: Option<i64> = row.try_get(column)?;
        value.map(|_| count(row, column)).transpose()
    };
    let status = count(row, "status")?;
    Ok(RequestRecord {
        request_id: row.try_get("request_id")?,
        at_ms: row.try_get("at_ms")?,
        site: row.try_get("site")?,
        release: row.try_get("release")?,
        method: row.try_get("method")?,
        path: row.try_get("path")?,
        status: u16::try_from(status)
            .map_err(|_| MetricsError::Damaged(format!("status is {status}")))?,
        served_by: row.try_get("served_by")?,
        error: row.try_get("error")?,
        bytes_in: count(row, "bytes_in")?,
        bytes_out: count(row, "bytes_out")?,
        tls_us: phase("tls_us")?,
        accept_us: phase("accept_us")?,
        queue_us: phase("queue_us")?,
        app_us: phase("app_us")?,
        body_us: phase("body_us")?,
        send_us: phase("send_us")?,
        total_us: count(row, "total_us")?,
        client: row.try_get("client")?,
        user_agent: row.try_get("user_agent")?,
        worker: row.try_get("worker")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERYTHING: Search = Search {
        request_id: None,
        site: None,
        path: None,
        status: 0..=999,
        total_us: 0,
        span: i64::MIN..i64::MAX,
        limit: 10_000,
    };

    fn record(at_ms: i64, site: &str, path: &str, status: u16) -> RequestRecord {
        RequestRecord {
            request_id: format!("{at_ms:016}"),
            at_ms,
            site: site.into(),
            release: "r1".into(),
            method: "GET".into(),
            path: path.into(),
            status,
            served_by: "app".into(),
            error: (status >= 500).then(|| "why".into()),
            bytes_in: 1,
            bytes_out: 2,
            tls_us: Some(9),
            accept_us: Some(3),
            queue_us: None,
            app_us: Some(u64::try_from(at_ms).unwrap()),
            body_us: None,
            send_us: Some(5),
            total_us: u64::try_from(at_ms).unwrap(),
            client: Some("192.0.2.7".into()),
            user_agent: None,
            worker: Some(format!("{site}.1")),
        }
    }

    #[tokio::test]
    async fn a_request_is_found_by_each_of_its_properties() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.db");
        let mut db = MetricsDb::open(&path).await.unwrap();
        let records = [
            record(1, "blog", "/a/100%", 200),
            record(2, "shop", "/a", 404),
            record(3, "blog", "/b", 503),
        ];
        db.add_requests(&records).await.unwrap();
        let [first, second, third] = records;
        let found = async |wanted: Search| search(&path, &wanted).await.unwrap();
        let all = found(EVERYTHING).await;
        assert_eq!(all, [third.clone(), second.clone(), first.clone()]);
        let by_id = Search { request_id: Some(second.request_id.clone()), ..EVERYTHING };
        assert_eq!(found(by_id).await, std::slice::from_ref(&second));
        let by_site = Search { site: Some("blog".into()), limit: 1, ..EVERYTHING };
        assert_eq!(found(by_site).await, std::slice::from_ref(&third));
        // Nothing in it is a wildcard.
        let by_path = Search { path: Some("0%".into()), ..EVERYTHING };
        assert_eq!(found(by_path).await, std::slice::from_ref(&first));
        assert_eq!(
            found(Search { path: Some("%".into()), ..EVERYTHING }).await,
            std::slice::from_ref(&first)
        );
        assert_eq!(
            found(Search { status: 400..=499, ..EVERYTHING }).await,
            std::slice::from_ref(&second)
        );
        assert_eq!(found(Search { total_us: 3, ..EVERYTHING }).await, [third]);
        assert_eq!(found(Search { span: 1..2, ..EVERYTHING }).await, [first]);
        assert_eq!(found(Search { span: 2..3, ..EVERYTHING }).await, [second]);
    }

    #[tokio::test]
    async fn the_last_of_each_kind_stay_whatever_the_other_does() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.db");
        let mut db = MetricsDb::open(&path).await.unwrap();
        db.add_requests(&[record(1, "blog", "/failed", 500), record(2, "shop", "/", 200)])
            .await
            .unwrap();
        let many: Vec<_> =
            (3..=MOST_OF_A_KIND + 9).map(|at_ms| record(at_ms, "blog", "/", 200)).collect();
        db.add_requests(&many).await.unwrap();
        let kept = search(&path, &EVERYTHING).await.unwrap();
        assert_eq!(kept.len(), 2002);
        let oldest: Vec<_> = kept.iter().rev().take(3).map(|record| record.at_ms).collect();
        assert_eq!(oldest, [1, 2, 10]);
        db.forget_requests(2000).await.unwrap();
        let kept = search(&path, &EVERYTHING).await.unwrap();
        assert_eq!(kept.last().map(|record| record.at_ms), Some(2000));
    }
}
