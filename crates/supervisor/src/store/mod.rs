//! `state.db`: what the appliance must not lose. Every SQL statement is in this folder, those of `metrics.db` in [`metrics`].
//!
//! A transaction here alone decides which release of a site is live; routes are derived from it. Must not know processes or HTTP.

mod events;
mod fallbacks;
pub(crate) mod metrics;
mod releases;
mod sessions;
mod sites;
mod users;
mod variables;
#[cfg(test)]
mod versions_test;

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};

pub(crate) use events::EventSpan;
pub(crate) use fallbacks::FallbackRow;
pub(crate) use sessions::SessionRow;
pub(crate) use sites::{Commit, SiteRow};

/// The schemas of all versions, in order.
static MIGRATIONS: Migrator = sqlx::migrate!("../../migrations/state");

/// What went wrong with the database.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A statement failed.
    #[error("state.db: {0}")]
    Database(#[from] sqlx::Error),
    /// It is broken, or is no database of ours.
    #[error("state.db could not be brought up to date: {0}")]
    Migration(#[source] MigrateError),
    /// A later version of this program wrote it.
    #[error(
        "state.db was written by a later version of onebox (schema {version}, this one knows {known}): \
         start that version, or restore a backup of the state directory"
    )]
    Newer {
        /// The schema that this program does not know.
        version: i64,
        /// The last one that it knows.
        known: i64,
    },
    /// Its file can't be made private.
    #[error("state.db: {0}")]
    File(#[from] std::io::Error),
    /// Two sites can't have one host.
    #[error("the host {host} belongs to the site {site}")]
    HostTaken {
        /// The host.
        host: String,
        /// Who has it.
        site: String,
    },
}

impl From<MigrateError> for StoreError {
    fn from(error: MigrateError) -> Self {
        let known = MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or_default();
        match error {
            MigrateError::VersionMissing(version) if version > known => {
                Self::Newer { version, known }
            }
            error => Self::Migration(error),
        }
    }
}

/// The open database. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    pool: SqlitePool,
}

impl Store {
    /// Opens the database, making it where it is missing, and brings its schema up to date.
    ///
    /// # Errors
    /// [`StoreError`] where that fails; nothing is changed then.
    pub(crate) async fn open(path: &Path) -> Result<Self, StoreError> {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(path)?;
        // SQLite gives its journal files the mode of the database.
        file.set_permissions(Permissions::from_mode(0o600))?;
        drop(file);
        let options = SqliteConnectOptions::new()
            .filename(path)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(Duration::from_secs(5));
        // One connection is the one writer; there is nothing here that is worth a second.
        let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options).await?;
        MIGRATIONS.run(&pool).await?;
        Ok(Self { pool })
    }

    /// Writes everything back and closes.
    pub(crate) async fn close(&self) {
        self.pool.close().await;
    }
}

#[cfg(test)]
pub(crate) async fn temporary() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("state.db")).await.unwrap();
    (folder, store)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_database_is_private_and_opens_twice() {
        let (folder, store) = temporary().await;
        store.close().await;
        let path = folder.path().join("state.db");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let again = Store::open(&path).await.unwrap();
        assert!(again.sites().await.unwrap().is_empty());
    }
}
