//! Environment variables that were given to a site with `onebox env`, laid over those of its release. Values may be secrets.

use std::collections::BTreeMap;

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

    /// Sets variables of a site that is known, and removes those without a value; all of them or none.
    pub(crate) async fn change_variables(
        &self,
        site: &str,
        changes: &BTreeMap<String, Option<String>>,
    ) -> Result<(), StoreError> {
        let mut transaction = self.pool.begin().await?;
        for (name, value) in changes {
            let sql = match value {
                Some(_) => {
                    "INSERT INTO variables (site, name, value) VALUES (?1, ?2, ?3) ON CONFLICT (site, name) DO UPDATE SET value = ?3"
                }
                None => "DELETE FROM variables WHERE site = ?1 AND name = ?2 AND ?3 IS NULL",
            };
            let query = sqlx::query(sql).bind(site).bind(name).bind(value);
            query.execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        self.note_change();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::temporary;
    use super::*;

    fn changes<const N: usize>(
        changes: [(&str, Option<&str>); N],
    ) -> BTreeMap<String, Option<String>> {
        changes.map(|(name, value)| (name.to_owned(), value.map(str::to_owned))).into()
    }

    #[tokio::test]
    async fn variables_are_set_changed_and_removed_at_once() {
        let (_folder, store) = temporary().await;
        store.add_site("blog").await.unwrap();
        let (one, two) = (Some("one"), Some("two"));
        store.change_variables("blog", &changes([("A", one), ("B", one)])).await.unwrap();
        store.change_variables("blog", &changes([("A", two), ("B", None)])).await.unwrap();
        assert_eq!(store.variables("blog").await.unwrap(), [("A".into(), "two".into())]);
        store.change_variables("blog", &changes([("B", None)])).await.unwrap();
        store.change_variables("nowhere", &changes([("A", one)])).await.unwrap_err();
    }
}
