//! Environment variables that were given to a site with `onebox env`, laid over those of its release. Values may be secrets.

use sqlx::Row;

use super::{Store, StoreError};

impl Store {
    /// The variables of a site, by name.
    pub(crate) async fn variables(&self, site: &str) -> Result<Vec<(String, String)>, StoreError> {
        sqlx::query("SELECT name, value FROM variables WHERE site = ?1 ORDER BY name")
            .bind(site)
            .fetch_all(&self.pool)
            .await?
            .iter()
            .map(|row| Ok((row.try_get("name")?, row.try_get("value")?)))
            .collect()
    }

    /// Sets one variable of a site that is known.
    pub(crate) async fn set_variable(
        &self,
        site: &str,
        name: &str,
        value: &str,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO variables (site, name, value) VALUES (?1, ?2, ?3) ON CONFLICT (site, name) DO UPDATE SET value = ?3",
        )
        .bind(site)
        .bind(name)
        .bind(value)
        .execute(&self.pool)
        .await?;
        self.note_change();
        Ok(())
    }

    /// Removes one variable; tells whether it was there.
    pub(crate) async fn remove_variable(&self, site: &str, name: &str) -> Result<bool, StoreError> {
        let done = sqlx::query("DELETE FROM variables WHERE site = ?1 AND name = ?2")
            .bind(site)
            .bind(name)
            .execute(&self.pool)
            .await?;
        self.note_change();
        Ok(done.rows_affected() == 1)
    }
}

#[cfg(test)]
mod tests {
    use super::super::temporary;

    #[tokio::test]
    async fn a_variable_is_set_changed_and_removed() {
        let (_folder, store) = temporary().await;
        store.add_site("blog").await.unwrap();
        store.set_variable("blog", "KEY", "one").await.unwrap();
        store.set_variable("blog", "KEY", "two").await.unwrap();
        assert_eq!(store.variables("blog").await.unwrap(), [("KEY".into(), "two".into())]);
        assert!(store.remove_variable("blog", "KEY").await.unwrap());
        assert!(!store.remove_variable("blog", "KEY").await.unwrap());
        store.set_variable("nowhere", "KEY", "value").await.unwrap_err();
    }
}
