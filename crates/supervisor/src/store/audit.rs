//! Who asked for which change. An entry is written before the change and gets its status after it, so that what ended the appliance
//! has one too.

use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::{Store, StoreError};
use crate::api::AuditEntry;
use crate::clock::now_ms;

/// So many changes stay.
const MOST_KEPT: i64 = 10_000;
/// So many of what was refused for want of a login: whoever guesses passwords must not push the changes out.
const MOST_GUESSES: i64 = 1_000;
/// The status of a wrong password.
const UNAUTHORIZED: u16 = 401;

/// What is known of a change when it is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) who: String,
    pub(crate) token: Option<String>,
    pub(crate) client: String,
    pub(crate) action: String,
    pub(crate) target: Option<String>,
}

impl Store {
    /// Writes down what is asked for; returns the entry's id.
    pub(crate) async fn add_audit(&self, asked: &Asked) -> Result<i64, StoreError> {
        let done = sqlx::query(
            "INSERT INTO audit (at_ms, who, token, client, action, target) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )
        .bind(now_ms())
        .bind(&asked.who)
        .bind(&asked.token)
        .bind(&asked.client)
        .bind(&asked.action)
        .bind(&asked.target)
        .execute(&self.pool)
        .await?;
        Ok(done.last_insert_rowid())
    }

    /// Adds what came of it, and forgets what is too old.
    pub(crate) async fn finish_audit(
        &self,
        id: i64,
        status: u16,
        detail: Option<&str>,
    ) -> Result<(), StoreError> {
        sqlx::query("UPDATE audit SET status = ?2, detail = ?3 WHERE id = ?1")
            .bind(id)
            .bind(status)
            .bind(detail)
            .execute(&self.pool)
            .await?;
        let (least, is_guess) = match status {
            UNAUTHORIZED => (MOST_GUESSES, true),
            _ => (MOST_KEPT, false),
        };
        sqlx::query(
            "DELETE FROM audit WHERE (status IS ?1) = ?2 AND id <= \
             (SELECT id FROM audit WHERE (status IS ?1) = ?2 ORDER BY id DESC LIMIT 1 OFFSET ?3)",
        )
        .bind(UNAUTHORIZED)
        .bind(is_guess)
        .bind(least)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// The entries before one, the newest first.
    pub(crate) async fn audit(
        &self,
        before_id: i64,
        limit: u32,
    ) -> Result<Vec<AuditEntry>, StoreError> {
        let rows = sqlx::query(
            "SELECT id, at_ms, who, token, client, action, target, detail, status FROM audit \
             WHERE id < ?1 ORDER BY id DESC LIMIT ?2",
        )
        .bind(before_id)
        .bind(limit)
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.iter().map(to_entry).collect::<Result<_, _>>()?)
    }
}

fn to_entry(row: &SqliteRow) -> Result<AuditEntry, sqlx::Error> {
    Ok(AuditEntry {
        id: row.try_get("id")?,
        at_ms: row.try_get("at_ms")?,
        who: row.try_get("who")?,
        token: row.try_get("token")?,
        client: row.try_get("client")?,
        action: row.try_get("action")?,
        target: row.try_get("target")?,
        detail: row.try_get("detail")?,
        status: row.try_get("status")?,
    })
}

#[cfg(test)]
mod tests {
    use super::super::temporary;
    use super::*;

    fn asked(action: &str) -> Asked {
        let (who, client) = ("admin".to_owned(), "192.0.2.7".to_owned());
        let action = action.to_owned();
        Asked { who, token: None, client, action, target: Some("blog".to_owned()) }
    }

    #[tokio::test]
    async fn an_entry_is_there_before_its_status_and_the_newest_comes_first() {
        let (_folder, store) = temporary().await;
        let first = store.add_audit(&asked("restart")).await.unwrap();
        let second = store.add_audit(&asked("shutdown")).await.unwrap();
        store.finish_audit(first, 200, Some("r1")).await.unwrap();
        let told = store.audit(i64::MAX, 10).await.unwrap();
        let told: Vec<_> =
            told.iter().map(|entry| (entry.id, entry.status, entry.detail.as_deref())).collect();
        assert_eq!(told, [(second, None, None), (first, Some(200), Some("r1"))]);
        assert_eq!(store.audit(second, 10).await.unwrap().len(), 1);
        assert_eq!(store.audit(i64::MAX, 1).await.unwrap()[0].id, second);
    }

    #[tokio::test]
    async fn wrong_passwords_push_out_each_other_and_no_change() {
        let (_folder, store) = temporary().await;
        let change = store.add_audit(&asked("restart")).await.unwrap();
        store.finish_audit(change, 200, None).await.unwrap();
        sqlx::query(
            "WITH RECURSIVE n (id) AS (SELECT 10 UNION ALL SELECT id + 1 FROM n WHERE id < 10 + ?1) \
             INSERT INTO audit (id, at_ms, who, client, action, status) SELECT id, 0, 'x', 'y', 'login', 401 FROM n",
        )
        .bind(MOST_GUESSES + 20)
        .execute(&store.pool)
        .await
        .unwrap();
        let guess = store.add_audit(&asked("login")).await.unwrap();
        store.finish_audit(guess, UNAUTHORIZED, None).await.unwrap();
        let kept = store.audit(i64::MAX, 10_000).await.unwrap();
        assert_eq!(i64::try_from(kept.len()).unwrap(), MOST_GUESSES + 1);
        assert_eq!(kept.last().unwrap().id, change);
    }
}
