//! Which release an earlier one serves in the place of, and why.

use std::collections::BTreeMap;

use sqlx::Row;

use super::sites::write_live;
use super::{Commit, Store, StoreError};
use crate::clock::now_ms;

/// A release that did not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FallbackRow {
    pub(crate) release: String,
    pub(crate) problem: String,
}

impl Store {
    /// By site.
    pub(super) async fn fallbacks(&self) -> Result<BTreeMap<String, FallbackRow>, StoreError> {
        sqlx::query("SELECT site, release, problem FROM fallbacks")
            .fetch_all(&self.pool)
            .await?
            .iter()
            .map(|row| {
                let release = row.try_get("release")?;
                Ok((
                    row.try_get("site")?,
                    FallbackRow { release, problem: row.try_get("problem")? },
                ))
            })
            .collect()
    }

    /// Makes an earlier release live in the place of one that did not hold. Where that one was in another's place already, the
    /// first stays the one to go back to.
    ///
    /// # Errors
    /// As [`Store::make_live`]; nothing is changed then.
    pub(crate) async fn fall_back(
        &self,
        commit: &Commit<'_>,
        from: &FallbackRow,
    ) -> Result<(), StoreError> {
        let mut transaction = self.pool.begin().await?;
        write_live(&mut transaction, commit).await?;
        sqlx::query(
            "INSERT INTO fallbacks (site, release, problem, at_ms) VALUES (?1, ?2, ?3, ?4) ON CONFLICT (site) DO NOTHING",
        )
        .bind(commit.site)
        .bind(&from.release)
        .bind(&from.problem)
        .bind(now_ms())
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        self.note_change();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::temporary;
    use super::*;

    fn commit(release: &str) -> Commit<'_> {
        Commit { site: "blog", release, domains: &[], path: "", catch_all: false }
    }

    fn ended(release: &str) -> FallbackRow {
        FallbackRow { release: release.into(), problem: "it crashed".into() }
    }

    async fn blog() -> (tempfile::TempDir, Store) {
        let (folder, store) = temporary().await;
        store.add_site("blog").await.unwrap();
        for release in ["r1", "r2", "r3"] {
            store.add_release("blog", release).await.unwrap();
            store.make_live(&commit(release)).await.unwrap();
        }
        (folder, store)
    }

    #[tokio::test]
    async fn the_first_release_that_did_not_hold_is_remembered_until_the_next_one_is_made_live() {
        let (_folder, store) = blog().await;
        for (live, from) in [("r2", "r3"), ("r1", "r2")] {
            store.fall_back(&commit(live), &ended(from)).await.unwrap();
            let row = store.site("blog").await.unwrap().unwrap();
            assert_eq!(row.live_release.as_deref(), Some(live));
            assert_eq!(row.fallback, Some(ended("r3")));
        }
        store.make_live(&commit("r2")).await.unwrap();
        assert_eq!(store.site("blog").await.unwrap().unwrap().fallback, None);
    }

    #[tokio::test]
    async fn a_removed_release_is_nothing_to_go_back_to() {
        let (_folder, store) = blog().await;
        store.fall_back(&commit("r2"), &ended("r3")).await.unwrap();
        store.remove_release("blog", "r3").await.unwrap();
        assert_eq!(store.site("blog").await.unwrap().unwrap().fallback, None);
    }

    #[tokio::test]
    async fn a_release_that_is_not_known_changes_nothing() {
        let (_folder, store) = blog().await;
        store.fall_back(&commit("r2"), &ended("r9")).await.unwrap_err();
        let row = store.site("blog").await.unwrap().unwrap();
        assert_eq!((row.live_release.as_deref(), row.fallback), (Some("r3"), None));
    }
}
