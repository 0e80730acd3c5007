//! The dashboard's users. Passwords are here only as argon2id hashes. One user is an admin at any moment.

use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::sessions::IDLE_MS;
use super::{Store, StoreError, added, found, named};
use crate::api::{Role, User};
use crate::clock::{even_ms, now_ms};

/// What a login is checked against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LoginRow {
    pub(crate) password_hash: String,
    pub(crate) role: Role,
}

impl Store {
    /// Adds an admin, unless there is a user already; tells whether it did.
    pub(crate) async fn add_first_user(
        &self,
        name: &str,
        password_hash: &str,
    ) -> Result<bool, StoreError> {
        let done = sqlx::query(
            "INSERT INTO users (name, password_hash, created_ms, role) \
             SELECT ?1, ?2, ?3, 'admin' WHERE NOT EXISTS (SELECT 1 FROM users)",
        )
        .bind(name)
        .bind(password_hash)
        .bind(now_ms())
        .execute(&self.pool)
        .await?;
        self.note_change();
        Ok(done.rows_affected() == 1)
    }

    /// Adds a user.
    pub(crate) async fn add_user(
        &self,
        name: &str,
        role: Role,
        password_hash: &str,
    ) -> Result<(), StoreError> {
        let done = sqlx::query(
            "INSERT INTO users (name, password_hash, created_ms, role) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
        )
        .bind(name)
        .bind(password_hash)
        .bind(now_ms())
        .bind(role.name())
        .execute(&self.pool)
        .await?;
        added(&done, "user", name)?;
        self.note_change();
        Ok(())
    }

    /// Sets the password of an admin of this name, who is made where there is none, and ends every session: all or nothing.
    pub(crate) async fn reset_admin(
        &self,
        name: &str,
        password_hash: &str,
    ) -> Result<(), StoreError> {
        let mut transaction = self.pool.begin().await?;
        sqlx::query(
            "INSERT INTO users (name, password_hash, created_ms, role) VALUES (?1, ?2, ?3, 'admin') \
             ON CONFLICT (name) DO UPDATE SET password_hash = ?2, role = 'admin'",
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

    /// Sets a user's password and ends the sessions of the user but the one that is kept, both or neither.
    pub(crate) async fn set_password(
        &self,
        name: &str,
        password_hash: &str,
        kept_session: Option<&[u8]>,
    ) -> Result<(), StoreError> {
        let mut transaction = self.pool.begin().await?;
        let done = sqlx::query("UPDATE users SET password_hash = ?2 WHERE name = ?1")
            .bind(name)
            .bind(password_hash)
            .execute(&mut *transaction)
            .await?;
        found(&done, "user", name)?;
        sqlx::query("DELETE FROM sessions WHERE user = ?1 AND token_hash IS NOT ?2")
            .bind(name)
            .bind(kept_session)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        self.note_change();
        Ok(())
    }

    /// Gives a user another role, unless nobody would be left who is an admin.
    pub(crate) async fn set_role(&self, name: &str, role: Role) -> Result<(), StoreError> {
        let mut transaction = self.pool.begin().await?;
        let done = sqlx::query("UPDATE users SET role = ?2 WHERE name = ?1")
            .bind(name)
            .bind(role.name())
            .execute(&mut *transaction)
            .await?;
        found(&done, "user", name)?;
        check_admin(&mut transaction, name).await?;
        transaction.commit().await?;
        self.note_change();
        Ok(())
    }

    /// Removes a user with sessions and tokens, unless nobody would be left who is an admin.
    pub(crate) async fn remove_user(&self, name: &str) -> Result<(), StoreError> {
        let mut transaction = self.pool.begin().await?;
        let done = sqlx::query("DELETE FROM users WHERE name = ?1")
            .bind(name)
            .execute(&mut *transaction)
            .await?;
        found(&done, "user", name)?;
        check_admin(&mut transaction, name).await?;
        transaction.commit().await?;
        self.note_change();
        Ok(())
    }

    /// Every user, by name.
    pub(crate) async fn users(&self) -> Result<Vec<User>, StoreError> {
        let rows = sqlx::query(
            "SELECT name, role, created_ms, \
             (SELECT count(*) FROM sessions WHERE user = name AND expires_ms > ?1 AND seen_ms > ?1 - ?2) AS sessions \
             FROM users ORDER BY name",
        )
        .bind(even_ms())
        .bind(IDLE_MS)
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.iter().map(to_user).collect::<Result<_, _>>()?)
    }

    /// Whether anybody can log in.
    pub(crate) async fn has_users(&self) -> Result<bool, StoreError> {
        let row = sqlx::query("SELECT EXISTS (SELECT 1 FROM users) AS found")
            .fetch_one(&self.pool)
            .await?;
        Ok(row.try_get("found")?)
    }

    /// What a login of this user is checked against.
    pub(crate) async fn login_of(&self, user: &str) -> Result<Option<LoginRow>, StoreError> {
        let row = sqlx::query("SELECT password_hash, role FROM users WHERE name = ?1")
            .bind(user)
            .fetch_optional(&self.pool)
            .await?;
        let row = row.map(|row| {
            let password_hash = row.try_get("password_hash")?;
            Ok::<_, sqlx::Error>(LoginRow { password_hash, role: named(&row, "role")? })
        });
        Ok(row.transpose()?)
    }
}

/// # Errors
/// Where nobody is an admin any more.
async fn check_admin(connection: &mut SqliteConnection, name: &str) -> Result<(), StoreError> {
    let row = sqlx::query("SELECT EXISTS (SELECT 1 FROM users WHERE role = 'admin') AS found")
        .fetch_one(connection)
        .await?;
    match row.try_get("found")? {
        true => Ok(()),
        false => Err(StoreError::LastAdmin { user: name.to_owned() }),
    }
}

fn to_user(row: &SqliteRow) -> Result<User, sqlx::Error> {
    Ok(User {
        name: row.try_get("name")?,
        role: named(row, "role")?,
        created_ms: row.try_get("created_ms")?,
        sessions: row.try_get("sessions")?,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::temporary;
    use super::*;

    async fn log_in(store: &Store, user: &str, token: &[u8]) {
        store.add_session(token, user, "csrf", Duration::from_secs(60)).await.unwrap();
    }

    #[tokio::test]
    async fn only_the_first_user_is_made_by_itself_and_is_an_admin() {
        let (_folder, store) = temporary().await;
        assert!(!store.has_users().await.unwrap());
        assert!(store.add_first_user("admin", "hash").await.unwrap());
        assert!(!store.add_first_user("other", "hash").await.unwrap());
        assert!(store.has_users().await.unwrap());
        let admin = LoginRow { password_hash: "hash".into(), role: Role::Admin };
        assert_eq!(store.login_of("admin").await.unwrap(), Some(admin));
        assert_eq!(store.login_of("other").await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_reset_ends_every_session_and_makes_an_admin() {
        let (_folder, store) = temporary().await;
        store.add_first_user("vera", "first").await.unwrap();
        log_in(&store, "vera", b"token").await;
        store.reset_admin("admin", "second").await.unwrap();
        assert_eq!(store.session(b"token").await.unwrap(), None);
        store.set_role("admin", Role::Viewer).await.unwrap();
        store.reset_admin("admin", "third").await.unwrap();
        let admin = LoginRow { password_hash: "third".into(), role: Role::Admin };
        assert_eq!(store.login_of("admin").await.unwrap(), Some(admin));
    }

    #[tokio::test]
    async fn a_new_password_ends_the_users_other_sessions_alone() {
        let (_folder, store) = temporary().await;
        store.add_first_user("admin", "first").await.unwrap();
        store.add_user("vera", Role::Viewer, "first").await.unwrap();
        for (user, token) in [("vera", b"one"), ("vera", b"two"), ("admin", b"adm")] {
            log_in(&store, user, token).await;
        }
        store.set_password("vera", "second", Some(b"two")).await.unwrap();
        let sessions =
            |users: Vec<User>| users.iter().map(|user| user.sessions).collect::<Vec<_>>();
        assert_eq!(sessions(store.users().await.unwrap()), [1, 1]);
        assert!(store.session(b"two").await.unwrap().is_some());
        store.set_password("vera", "third", None).await.unwrap();
        assert_eq!(sessions(store.users().await.unwrap()), [1, 0]);
        let nobody = store.set_password("nobody", "hash", None).await.unwrap_err();
        assert!(matches!(nobody, StoreError::NoSuch { .. }), "{nobody}");
    }

    #[tokio::test]
    async fn the_last_admin_stays_one_and_names_are_taken_once() {
        let (_folder, store) = temporary().await;
        store.add_first_user("admin", "hash").await.unwrap();
        let refused = store.remove_user("admin").await.unwrap_err();
        assert!(matches!(refused, StoreError::LastAdmin { .. }), "{refused}");
        store.set_role("admin", Role::Operator).await.unwrap_err();
        store.add_user("vera", Role::Admin, "hash").await.unwrap();
        let taken = store.add_user("vera", Role::Viewer, "hash").await.unwrap_err();
        assert!(matches!(taken, StoreError::NameTaken { .. }), "{taken}");
        log_in(&store, "admin", b"token").await;
        store.remove_user("admin").await.unwrap();
        assert_eq!(store.session(b"token").await.unwrap(), None);
        store.set_role("nobody", Role::Admin).await.unwrap_err();
        store.remove_user("nobody").await.unwrap_err();
        let left: Vec<_> = store.users().await.unwrap();
        assert_eq!((left.len(), left[0].role), (1, Role::Admin));
    }
}
