//! The dashboard's users. Passwords are here only as argon2id hashes.

use sqlx::Row;

use super::{Store, StoreError};
use crate::clock::now_ms;

impl Store {
    /// Adds a user, unless there is one already; tells whether it did.
    pub(crate) async fn add_first_user(
        &self,
        name: &str,
        password_hash: &str,
    ) -> Result<bool, StoreError> {
        let done = sqlx::query(
            "INSERT INTO users (name, password_hash, created_ms) SELECT ?1, ?2, ?3 WHERE NOT EXISTS (SELECT 1 FROM users)",
        )
        .bind(name)
        .bind(password_hash)
        .bind(now_ms())
        .execute(&self.pool)
        .await?;
        self.note_change();
        Ok(done.rows_affected() == 1)
    }

    /// Sets a user's password and ends every session, both or neither; a user that is missing is made.
    pub(crate) async fn set_password(
        &self,
        name: &str,
        password_hash: &str,
    ) -> Result<(), StoreError> {
        let mut transaction = self.pool.begin().await?;
        sqlx::query(
            "INSERT INTO users (name, password_hash, created_ms) VALUES (?1, ?2, ?3) ON CONFLICT (name) DO UPDATE SET password_hash = ?2",
        )
        .bind(name)
        .bind(password_hash)
        .bind(now_ms())
        .execute(&mut *transaction)
        .await?;
        sqlx::query("DELETE FROM sessions").execute(&mut *transaction).await?;
        transaction.commit().await?;
        self.note_change();
        Ok(())
    }

    /// Whether anybody can log in.
    pub(crate) async fn has_users(&self) -> Result<bool, StoreError> {
        let row = sqlx::query("SELECT EXISTS (SELECT 1 FROM users) AS found")
            .fetch_one(&self.pool)
            .await?;
        Ok(row.try_get("found")?)
    }

    /// The hash of a user's password.
    pub(crate) async fn password_hash(&self, user: &str) -> Result<Option<String>, StoreError> {
        let row = sqlx::query("SELECT password_hash FROM users WHERE name = ?1")
            .bind(user)
            .fetch_optional(&self.pool)
            .await?;
        Ok(row.map(|row| row.try_get("password_hash")).transpose()?)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{SessionRow, temporary};

    #[tokio::test]
    async fn only_the_first_user_is_made_by_itself() {
        let (_folder, store) = temporary().await;
        assert!(!store.has_users().await.unwrap());
        assert!(store.add_first_user("admin", "hash").await.unwrap());
        assert!(!store.add_first_user("other", "hash").await.unwrap());
        assert!(store.has_users().await.unwrap());
        assert_eq!(store.password_hash("admin").await.unwrap().as_deref(), Some("hash"));
        assert_eq!(store.password_hash("other").await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_new_password_ends_every_session() {
        let (_folder, store) = temporary().await;
        store.set_password("admin", "first").await.unwrap();
        let session = SessionRow { user: "admin".into(), csrf_token: "csrf".into() };
        store.add_session(b"token", &session, std::time::Duration::from_secs(60)).await.unwrap();
        store.set_password("admin", "second").await.unwrap();
        assert_eq!(store.password_hash("admin").await.unwrap().as_deref(), Some("second"));
        assert_eq!(store.session(b"token").await.unwrap(), None);
    }
}
