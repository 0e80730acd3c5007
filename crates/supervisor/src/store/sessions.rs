//! Logins of the dashboard. The cookie's value is kept only as a hash. One ends at a fixed moment, and before it when nobody used it.
//!
//! How long one lasts is counted evenly: a wall clock that jumps while the appliance runs neither ends nor prolongs it. One from a
//! time that has not come yet, by the clock of a later start, is over: how long it has lasted cannot be told.

use std::time::Duration;

use sqlx::Row;

use super::{Store, StoreError, named};
use crate::api::Role;
use crate::clock::even_ms;

/// By so much the clocks of two starts may differ.
const SLACK_MS: i64 = 60_000;
/// A session that nobody uses for so long is over.
pub(super) const IDLE_MS: i64 = 12 * 3_600_000;
/// Uses closer together than this are one.
pub(super) const MINUTE_MS: i64 = 60_000;

/// A login that is still good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SessionRow {
    pub(crate) user: String,
    pub(crate) role: Role,
    pub(crate) csrf_token: String,
}

impl Store {
    /// Adds a session and forgets those that are over.
    pub(crate) async fn add_session(
        &self,
        token_hash: &[u8],
        user: &str,
        csrf_token: &str,
        lasts: Duration,
    ) -> Result<(), StoreError> {
        self.add_session_at(even_ms(), token_hash, (user, csrf_token), lasts).await
    }

    async fn add_session_at(
        &self,
        now_ms: i64,
        token_hash: &[u8],
        (user, csrf_token): (&str, &str),
        lasts: Duration,
    ) -> Result<(), StoreError> {
        let lasts_ms = i64::try_from(lasts.as_millis()).unwrap_or(i64::MAX);
        sqlx::query(
            "DELETE FROM sessions WHERE expires_ms <= ?1 OR seen_ms <= ?1 - ?3 OR created_ms > ?2",
        )
        .bind(now_ms)
        .bind(now_ms.saturating_add(SLACK_MS))
        .bind(IDLE_MS)
        .execute(&self.pool)
        .await?;
        sqlx::query(
            "INSERT INTO sessions (token_hash, user, csrf_token, created_ms, expires_ms, seen_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?4)",
        )
        .bind(token_hash)
        .bind(user)
        .bind(csrf_token)
        .bind(now_ms)
        .bind(now_ms.saturating_add(lasts_ms))
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// The session of a cookie, while it is good; this is a use of it.
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
            "SELECT user, role, csrf_token, seen_ms FROM sessions JOIN users ON users.name = user \
             WHERE token_hash = ?1 AND expires_ms > ?2 AND seen_ms > ?2 - ?4 AND sessions.created_ms <= ?3",
        )
        .bind(token_hash)
        .bind(now_ms)
        .bind(now_ms.saturating_add(SLACK_MS))
        .bind(IDLE_MS)
        .fetch_optional(&self.pool)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let seen_ms: i64 = row.try_get("seen_ms")?;
        if seen_ms <= now_ms - MINUTE_MS {
            sqlx::query("UPDATE sessions SET seen_ms = ?2 WHERE token_hash = ?1")
                .bind(token_hash)
                .bind(now_ms)
                .execute(&self.pool)
                .await?;
        }
        let (user, csrf_token) = (row.try_get("user")?, row.try_get("csrf_token")?);
        Ok(Some(SessionRow { user, role: named(&row, "role")?, csrf_token }))
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

    const YEAR_MS: i64 = 365 * 86_400_000;

    async fn with_admin() -> (tempfile::TempDir, Store) {
        let (folder, store) = temporary().await;
        store.add_first_user("admin", "hash").await.unwrap();
        (folder, store)
    }

    #[tokio::test]
    async fn a_session_is_good_until_it_ends_or_is_ended() {
        let (_folder, store) = with_admin().await;
        store.add_session(b"old", "admin", "csrf", Duration::ZERO).await.unwrap();
        assert_eq!(store.session(b"old").await.unwrap(), None);
        store.add_session(b"new", "admin", "csrf", Duration::from_secs(60)).await.unwrap();
        let (user, csrf_token) = ("admin".to_owned(), "csrf".to_owned());
        let session = SessionRow { user, role: Role::Admin, csrf_token };
        assert_eq!(store.session(b"new").await.unwrap(), Some(session));
        store.remove_session(b"new").await.unwrap();
        assert_eq!(store.session(b"new").await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_session_that_nobody_uses_ends_and_one_in_use_goes_on_to_its_end() {
        let (_folder, store) = with_admin().await;
        let (login_ms, year) = (YEAR_MS, Duration::from_secs(365 * 86_400));
        for name in [b"used", b"idle"] {
            store.add_session_at(login_ms, name, ("admin", "csrf"), year).await.unwrap();
        }
        let mut now_ms = login_ms;
        for _ in 0..5 {
            now_ms += IDLE_MS - 1;
            assert!(store.session_at(now_ms, b"used").await.unwrap().is_some());
        }
        assert_eq!(store.session_at(now_ms, b"idle").await.unwrap(), None);
        assert_eq!(store.session_at(now_ms + IDLE_MS, b"used").await.unwrap(), None);
        assert_eq!(store.session_at(login_ms + YEAR_MS, b"used").await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_clock_that_is_a_year_off_at_a_later_start_prolongs_no_session() {
        let (_folder, store) = with_admin().await;
        let (login_ms, day) = (3 * YEAR_MS, Duration::from_secs(86_400));
        let who = ("admin", "csrf");
        store.add_session_at(login_ms, b"login", who, day).await.unwrap();
        let good = |now_ms| store.session_at(now_ms, b"login");
        assert!(good(login_ms).await.unwrap().is_some());
        assert!(good(login_ms - 5_000).await.unwrap().is_some(), "clocks differ a little");
        assert_eq!(good(login_ms + YEAR_MS).await.unwrap(), None);
        assert_eq!(good(login_ms - YEAR_MS).await.unwrap(), None);
        // What cannot be told is not kept either: the clock may come to that time again.
        store.add_session_at(login_ms - YEAR_MS, b"later", who, day).await.unwrap();
        assert_eq!(good(login_ms).await.unwrap(), None);
    }
}
