//! Releases: when they were made and whether they can be served.

use sqlx::Row;

use super::{Store, StoreError};
use crate::api::ReleaseState;
use crate::clock::now_ms;

/// A release as the database knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReleaseRow {
    pub(crate) id: String,
    pub(crate) created_ms: i64,
    pub(crate) state: ReleaseState,
    pub(crate) problem: Option<String>,
}

impl Store {
    /// Adds a release that is being made.
    pub(crate) async fn add_release(&self, site: &str, id: &str) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO releases (site, id, created_ms, state) VALUES (?1, ?2, ?3, 'staging')",
        )
        .bind(site)
        .bind(id)
        .bind(now_ms())
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// The ids of all releases of all sites.
    pub(crate) async fn release_ids(&self) -> Result<Vec<String>, StoreError> {
        Ok(sqlx::query_scalar("SELECT id FROM releases").fetch_all(&self.pool).await?)
    }

    /// The releases of a site, the newest first.
    pub(crate) async fn releases(&self, site: &str) -> Result<Vec<ReleaseRow>, StoreError> {
        sqlx::query(
            "SELECT id, created_ms, state, problem FROM releases WHERE site = ?1 ORDER BY id DESC",
        )
        .bind(site)
        .fetch_all(&self.pool)
        .await?
        .iter()
        .map(|row| {
            Ok(ReleaseRow {
                id: row.try_get("id")?,
                created_ms: row.try_get("created_ms")?,
                state: match row.try_get("state")? {
                    "ready" => ReleaseState::Ready,
                    "staging" => ReleaseState::Staging,
                    _ => ReleaseState::Failed,
                },
                problem: row.try_get("problem")?,
            })
        })
        .collect()
    }

    /// Marks a release that was being made as failed; one that was ready once stays so.
    pub(crate) async fn fail_release(
        &self,
        site: &str,
        id: &str,
        problem: &str,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE releases SET state = 'failed', problem = ?3 WHERE site = ?1 AND id = ?2 AND state = 'staging'",
        )
        .bind(site)
        .bind(id)
        .bind(problem)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Marks what an appliance that was killed left half-made; returns site and id of each.
    pub(crate) async fn fail_interrupted_releases(
        &self,
    ) -> Result<Vec<(String, String)>, StoreError> {
        sqlx::query(
            "UPDATE releases SET state = 'failed', problem = 'the appliance ended during the deploy' \
             WHERE state = 'staging' RETURNING site, id",
        )
        .fetch_all(&self.pool)
        .await?
        .iter()
        .map(|row| Ok((row.try_get("site")?, row.try_get("id")?)))
        .collect()
    }

    /// Forgets a release whose files are gone.
    pub(crate) async fn remove_release(&self, site: &str, id: &str) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM releases WHERE site = ?1 AND id = ?2")
            .bind(site)
            .bind(id)
            .execute(&self.pool)
            .await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::temporary;
    use super::*;

    #[tokio::test]
    async fn releases_come_newest_first_with_what_became_of_them() {
        let (_folder, store) = temporary().await;
        store.add_site("blog").await.unwrap();
        for id in ["20260101-a", "20260102-b", "20260103-c"] {
            store.add_release("blog", id).await.unwrap();
        }
        store.fail_release("blog", "20260102-b", "no such module").await.unwrap();
        let mut interrupted = store.fail_interrupted_releases().await.unwrap();
        interrupted.sort();
        let blog = |id: &str| ("blog".to_owned(), id.to_owned());
        assert_eq!(interrupted, [blog("20260101-a"), blog("20260103-c")]);
        let rows = store.releases("blog").await.unwrap();
        let ids: Vec<_> = rows.iter().map(|row| row.id.as_str()).collect();
        assert_eq!(ids, ["20260103-c", "20260102-b", "20260101-a"]);
        assert_eq!(rows[1].problem.as_deref(), Some("no such module"));
        assert!(rows.iter().all(|row| row.state == ReleaseState::Failed));
        store.remove_release("blog", "20260102-b").await.unwrap();
        assert_eq!(store.releases("blog").await.unwrap().len(), 2);
    }
}
