//! Addresses that are refused, and those that are let in all the same.

use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::{Store, StoreError, found, named};
use crate::api::{AddressRule, RuleSource};

impl Store {
    /// Writes down a rule, in the place of the one that said the same until another moment or for another reason; returns its id.
    pub(crate) async fn put_address_rule(&self, rule: &AddressRule) -> Result<i64, StoreError> {
        let row = sqlx::query(
            "INSERT INTO address_rules (action, network, site, reason, who, created_ms, expires_ms) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (action, network, site) DO UPDATE SET \
             reason = excluded.reason, who = excluded.who, created_ms = excluded.created_ms, \
             expires_ms = excluded.expires_ms RETURNING id",
        )
        .bind(rule.action.name())
        .bind(&rule.network)
        .bind(rule.site.as_deref().unwrap_or_default())
        .bind(&rule.reason)
        .bind(&rule.who)
        .bind(rule.created_ms)
        .bind(rule.expires_ms)
        .fetch_one(&self.pool)
        .await?;
        self.note_change();
        Ok(row.try_get("id")?)
    }

    /// The rules that hold at a moment, the newest first; those that are over are forgotten.
    pub(crate) async fn address_rules(&self, now_ms: i64) -> Result<Vec<AddressRule>, StoreError> {
        let done = sqlx::query("DELETE FROM address_rules WHERE expires_ms <= ?1")
            .bind(now_ms)
            .execute(&self.pool)
            .await?;
        if done.rows_affected() > 0 {
            self.note_change();
        }
        let rows = sqlx::query(
            "SELECT id, action, network, site, reason, who, created_ms, expires_ms \
             FROM address_rules ORDER BY created_ms DESC, id DESC",
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.iter().map(to_rule).collect::<Result<_, _>>()?)
    }

    /// Removes a rule.
    pub(crate) async fn remove_address_rule(&self, id: i64) -> Result<(), StoreError> {
        let done = sqlx::query("DELETE FROM address_rules WHERE id = ?1")
            .bind(id)
            .execute(&self.pool)
            .await?;
        found(&done, "rule", &id.to_string())?;
        self.note_change();
        Ok(())
    }
}

fn to_rule(row: &SqliteRow) -> Result<AddressRule, sqlx::Error> {
    let site: String = row.try_get("site")?;
    Ok(AddressRule {
        id: Some(row.try_get("id")?),
        source: RuleSource::Live,
        action: named(row, "action")?,
        network: row.try_get("network")?,
        site: (!site.is_empty()).then_some(site),
        reason: row.try_get("reason")?,
        who: row.try_get("who")?,
        created_ms: row.try_get("created_ms")?,
        expires_ms: row.try_get("expires_ms")?,
    })
}

#[cfg(test)]
mod tests {
    use super::super::temporary;
    use super::*;
    use crate::api::RuleAction;

    fn rule(network: &str, site: Option<&str>, expires_ms: Option<i64>) -> AddressRule {
        AddressRule {
            id: None,
            source: RuleSource::Live,
            action: RuleAction::Deny,
            network: network.to_owned(),
            site: site.map(str::to_owned),
            reason: Some("scans".to_owned()),
            who: "cli".to_owned(),
            created_ms: 1000,
            expires_ms,
        }
    }

    #[tokio::test]
    async fn a_rule_holds_until_it_is_over_or_removed() {
        let (_folder, store) = temporary().await;
        let first = store.put_address_rule(&rule("10.0.0.0/8", None, Some(5000))).await.unwrap();
        let second = store.put_address_rule(&rule("10.0.0.0/8", Some("blog"), None)).await.unwrap();
        assert_ne!(first, second);
        let told = store.address_rules(4999).await.unwrap();
        let expected = AddressRule { id: Some(first), ..rule("10.0.0.0/8", None, Some(5000)) };
        assert_eq!((told.len(), &told[1]), (2, &expected));
        assert_eq!(store.address_rules(5000).await.unwrap().len(), 1);
        store.remove_address_rule(second).await.unwrap();
        assert!(store.address_rules(5000).await.unwrap().is_empty());
        assert!(store.remove_address_rule(second).await.is_err());
    }

    #[tokio::test]
    async fn the_same_rule_again_has_another_end() {
        let (_folder, store) = temporary().await;
        let first = store.put_address_rule(&rule("10.0.0.1", None, Some(5000))).await.unwrap();
        let again = store.put_address_rule(&rule("10.0.0.1", None, None)).await.unwrap();
        assert_eq!(first, again);
        let told = store.address_rules(9000).await.unwrap();
        assert_eq!((told.len(), told[0].expires_ms), (1, None));
    }
}
