//! Logins of the dashboard. The cookie's value is kept only as a hash.

use sqlx::Row;

use super::{Store, StoreError};
use crate::clock::now_ms;

/// A login that is still good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SessionRow {
    pub(crate) user: String,
    pub(crate) csrf_token: String,
}

impl Store {
    /// Adds a session and forgets those that are over.
    pub(crate) async fn add_session(
        &self,
        token_hash: &[u8],
        session: &SessionRow,
        expires_ms: i64,
    ) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM sessions WHERE expires_ms <= ?1")
            .bind(now_ms())
            .execute(&self.pool)
            .await?;
        sqlx::query(
            "INSERT INTO sessions (token_hash, user, csrf_token, created_ms, expires_ms) VALUES (?1, ?2, ?3, ?4, ?5)",
        )
        .bind(token_hash)
        .bind(&session.user)
        .bind(&session.csrf_token)
        .bind(now_ms())
        .bind(expires_ms)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// The session of a cookie, while it is good.
    pub(crate) async fn session(
        &self,
        token_hash: &[u8],
    ) -> Result<Option<SessionRow>, StoreError> {
        let row = sqlx::query(
            "SELECT user, csrf_token FROM sessions WHERE token_hash = ?1 AND expires_ms > ?2",
        )
        .bind(token_hash)
        .bind(now_ms())
        .fetch_optional(&self.pool)
        .await?;
        row.map(|row| {
            Ok(SessionRow { user: row.try_get("user")?, csrf_token: row.try_get("csrf_token")? })
        })
        .transpose()
    }

    /// Ends a session.
    pub(crate) async fn remove_session(&self, token_hash: &[u8]) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM sessions WHERE token_hash = ?1")
            .bind(token_hash)
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
    async fn a_session_is_good_until_it_ends_or_is_ended() {
        let (_folder, store) = temporary().await;
        store.add_first_user("admin", "hash").await.unwrap();
        let session = SessionRow { user: "admin".into(), csrf_token: "csrf".into() };
        store.add_session(b"old", &session, now_ms() - 1).await.unwrap();
        assert_eq!(store.session(b"old").await.unwrap(), None);
        store.add_session(b"new", &session, now_ms() + 60_000).await.unwrap();
        assert_eq!(store.session(b"new").await.unwrap(), Some(session));
        store.remove_session(b"new").await.unwrap();
        assert_eq!(store.session(b"new").await.unwrap(), None);
    }
}
