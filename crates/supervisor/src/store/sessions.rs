//! Logins of the dashboard. The cookie's value is kept only as a hash.
//!
//! How long one lasts is counted evenly: a wall clock that jumps while the appliance runs neither ends nor prolongs it. One from a
//! time that has not come yet, by the clock of a later start, is over: how long it has lasted cannot be told.

use std::time::Duration;

use sqlx::Row;

use super::{Store, StoreError};
use crate::clock::even_ms;

/// By so much the clocks of two starts may differ.
const SLACK_MS: i64 = 60_000;

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
        lasts: Duration,
    ) -> Result<(), StoreError> {
        self.add_session_at(even_ms(), token_hash, session, lasts).await
    }

    async fn add_session_at(
        &self,
        now_ms: i64,
        token_hash: &[u8],
        session: &SessionRow,
        lasts: Duration,
    ) -> Result<(), StoreError> {
        let lasts_ms = i64::try_from(lasts.as_millis()).unwrap_or(i64::MAX);
        sqlx::query("DELETE FROM sessions WHERE expires_ms <= ?1 OR created_ms > ?2")
            .bind(now_ms)
            .bind(now_ms.saturating_add(SLACK_MS))
            .execute(&self.pool)
            .await?;
        sqlx::query(
            "INSERT INTO sessions (token_hash, user, csrf_token, created_ms, expires_ms) VALUES (?1, ?2, ?3, ?4, ?5)",
        )
        .bind(token_hash)
        .bind(&session.user)
        .bind(&session.csrf_token)
        .bind(now_ms)
        .bind(now_ms.saturating_add(lasts_ms))
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// The session of a cookie, while it is good.
    pub(crate) async fn session(
        &self,
        token_hash: &[u8],
    ) -> Result<Option<SessionRow>, StoreError> {
        self.session_at(even_ms(), token_hash).await
    }

    async fn session_at(
        &self,
        now_ms: i64,
        token_hash: &[u8],
    ) -> Result<Option<SessionRow>, StoreError> {
        let row = sqlx::query(
            "SELECT user, csrf_token FROM sessions WHERE token_hash = ?1 AND expires_ms > ?2 AND created_ms <= ?3",
        )
        .bind(token_hash)
        .bind(now_ms)
        .bind(now_ms.saturating_add(SLACK_MS))
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
        store.add_session(b"old", &session, Duration::ZERO).await.unwrap();
        assert_eq!(store.session(b"old").await.unwrap(), None);
        store.add_session(b"new", &session, Duration::from_secs(60)).await.unwrap();
        assert_eq!(store.session(b"new").await.unwrap(), Some(session));
        store.remove_session(b"new").await.unwrap();
        assert_eq!(store.session(b"new").await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_clock_that_is_a_year_off_at_a_later_start_prolongs_no_session() {
        const YEAR_MS: i64 = 365 * 86_400_000;
        let (_folder, store) = temporary().await;
        store.add_first_user("admin", "hash").await.unwrap();
        let session = SessionRow { user: "admin".into(), csrf_token: "csrf".into() };
        let (login_ms, day) = (3 * YEAR_MS, Duration::from_secs(86_400));
        store.add_session_at(login_ms, b"login", &session, day).await.unwrap();
        let good = |now_ms| store.session_at(now_ms, b"login");
        assert!(good(login_ms).await.unwrap().is_some());
        assert!(good(login_ms - 5_000).await.unwrap().is_some(), "clocks differ a little");
        assert_eq!(good(login_ms + YEAR_MS).await.unwrap(), None);
        assert_eq!(good(login_ms - YEAR_MS).await.unwrap(), None);
        // What cannot be told is not kept either: the clock may come to that time again.
        store.add_session_at(login_ms - YEAR_MS, b"later", &session, day).await.unwrap();
        assert_eq!(good(login_ms).await.unwrap(), None);
    }
}
