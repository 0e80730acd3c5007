//! Credentials of programs. A token is kept only as a hash, and may do no more than its user.

use std::str::FromStr;

use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::sessions::MINUTE_MS;
use super::{Store, StoreError, added, found, named};
use crate::api::{Role, Scope, Token};
use crate::clock::now_ms;

/// A token that is still good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TokenRow {
    pub(crate) name: String,
    pub(crate) user: String,
    pub(crate) role: Role,
    pub(crate) scopes: Vec<Scope>,
}

impl Store {
    /// Adds a token.
    pub(crate) async fn add_token(
        &self,
        token: &Token,
        token_hash: &[u8],
    ) -> Result<(), StoreError> {
        let mut transaction = self.pool.begin().await?;
        let user = sqlx::query("SELECT EXISTS (SELECT 1 FROM users WHERE name = ?1) AS found")
            .bind(&token.user)
            .fetch_one(&mut *transaction)
            .await?;
        if !user.try_get::<bool, _>("found")? {
            return Err(StoreError::NoSuch { what: "user", name: token.user.clone() });
        }
        let scopes: Vec<_> = token.scopes.iter().map(|scope| scope.name()).collect();
        let done = sqlx::query(
            "INSERT INTO tokens (name, token_hash, user, scopes, created_ms, expires_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6) \
             ON CONFLICT (name) DO NOTHING",
        )
        .bind(&token.name)
        .bind(token_hash)
        .bind(&token.user)
        .bind(scopes.join(" "))
        .bind(token.created_ms)
        .bind(token.expires_ms)
        .execute(&mut *transaction)
        .await?;
        added(&done, "token", &token.name)?;
        transaction.commit().await?;
        self.note_change();
        Ok(())
    }

    /// The token with this hash, while it is good; this is a use of it.
    pub(crate) async fn token(&self, token_hash: &[u8]) -> Result<Option<TokenRow>, StoreError> {
        self.token_at(now_ms(), token_hash).await
    }

    async fn token_at(
        &self,
        now_ms: i64,
        token_hash: &[u8],
    ) -> Result<Option<TokenRow>, StoreError> {
        let row = sqlx::query(
            "SELECT tokens.name, user, role, scopes, used_ms FROM tokens JOIN users ON users.name = user \
             WHERE token_hash = ?1 AND (expires_ms IS NULL OR expires_ms > ?2)",
        )
        .bind(token_hash)
        .bind(now_ms)
        .fetch_optional(&self.pool)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let used_ms: Option<i64> = row.try_get("used_ms")?;
        if used_ms.is_none_or(|used_ms| used_ms.abs_diff(now_ms) >= MINUTE_MS.unsigned_abs()) {
            sqlx::query("UPDATE tokens SET used_ms = ?2 WHERE token_hash = ?1")
                .bind(token_hash)
                .bind(now_ms)
                .execute(&self.pool)
                .await?;
        }
        Ok(Some(TokenRow {
            name: row.try_get("name")?,
            user: row.try_get("user")?,
            role: named(&row, "role")?,
            scopes: scopes(&row)?,
        }))
    }

    /// Every token, by name; also those that are over.
    pub(crate) async fn tokens(&self) -> Result<Vec<Token>, StoreError> {
        let rows = sqlx::query(
            "SELECT name, user, scopes, created_ms, expires_ms, used_ms FROM tokens ORDER BY name",
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.iter().map(to_token).collect::<Result<_, _>>()?)
    }

    /// Removes a token.
    pub(crate) async fn remove_token(&self, name: &str) -> Result<(), StoreError> {
        let done = sqlx::query("DELETE FROM tokens WHERE name = ?1")
            .bind(name)
            .execute(&self.pool)
            .await?;
        found(&done, "token", name)?;
        self.note_change();
        Ok(())
    }
}

fn to_token(row: &SqliteRow) -> Result<Token, sqlx::Error> {
    Ok(Token {
        name: row.try_get("name")?,
        user: row.try_get("user")?,
        scopes: scopes(row)?,
        created_ms: row.try_get("created_ms")?,
        expires_ms: row.try_get("expires_ms")?,
        used_ms: row.try_get("used_ms")?,
    })
}

fn scopes(row: &SqliteRow) -> Result<Vec<Scope>, sqlx::Error> {
    let text: String = row.try_get("scopes")?;
    let scopes: Result<_, _> = text.split_whitespace().map(Scope::from_str).collect();
    scopes.map_err(|error| sqlx::Error::Decode(Box::new(error)))
}

#[cfg(test)]
mod tests {
    use super::super::temporary;
    use super::*;

    fn token(name: &str, expires_ms: Option<i64>) -> Token {
        Token {
            name: name.to_owned(),
            user: "admin".to_owned(),
            scopes: vec![Scope::Deploy, Scope::Read],
            created_ms: 1_000,
            expires_ms,
            used_ms: None,
        }
    }

    #[tokio::test]
    async fn a_token_is_good_until_it_expires_or_is_removed() {
        let (_folder, store) = temporary().await;
        store.add_first_user("admin", "hash").await.unwrap();
        store.add_token(&token("ci", Some(9_000)), b"ci").await.unwrap();
        store.add_token(&token("for-ever", None), b"ever").await.unwrap();
        let found = store.token_at(8_999, b"ci").await.unwrap().unwrap();
        assert_eq!((found.name.as_str(), found.role), ("ci", Role::Admin));
        assert_eq!(found.scopes, [Scope::Deploy, Scope::Read]);
        assert_eq!(store.token_at(9_000, b"ci").await.unwrap(), None);
        assert_eq!(store.token_at(8_999, b"other").await.unwrap(), None);
        assert!(store.token_at(i64::MAX, b"ever").await.unwrap().is_some());
        let used: Vec<_> =
            store.tokens().await.unwrap().iter().map(|token| token.used_ms).collect();
        assert_eq!(used, [Some(8_999), Some(i64::MAX)]);
        store.remove_token("ci").await.unwrap();
        assert_eq!(store.token_at(8_999, b"ci").await.unwrap(), None);
        store.remove_token("ci").await.unwrap_err();
    }

    #[tokio::test]
    async fn a_token_goes_with_its_user_and_its_name_is_taken_once() {
        let (_folder, store) = temporary().await;
        store.add_first_user("admin", "hash").await.unwrap();
        let nobody = store.add_token(&Token { user: "x".into(), ..token("ci", None) }, b"t").await;
        assert!(matches!(nobody, Err(StoreError::NoSuch { .. })), "{nobody:?}");
        store.add_user("vera", Role::Viewer, "hash").await.unwrap();
        let hers = Token { user: "vera".into(), ..token("ci", None) };
        store.add_token(&hers, b"t").await.unwrap();
        let taken = store.add_token(&token("ci", None), b"u").await;
        assert!(matches!(taken, Err(StoreError::NameTaken { .. })), "{taken:?}");
        assert_eq!(store.token(b"t").await.unwrap().unwrap().role, Role::Viewer);
        store.remove_user("vera").await.unwrap();
        assert_eq!(store.token(b"t").await.unwrap(), None);
    }
}
