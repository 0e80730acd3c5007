//! `state.db`: what the appliance must not lose. Every SQL statement is in this folder, those of `metrics.db` in [`metrics`].
//!
//! A transaction here alone decides which release of a site is live; routes are derived from it. Must not know processes or HTTP.

mod address_rules;
mod audit;
mod copy;
mod error;
mod events;
mod fallbacks;
pub(crate) mod metrics;
mod releases;
mod sessions;
mod sites;
mod tokens;
mod users;
mod variables;
#[cfg(test)]
mod versions_test;

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::Row;
use sqlx::migrate::Migrator;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteQueryResult,
    SqliteRow, SqliteSynchronous,
};
use tokio::sync::Notify;

use crate::holders;

pub(crate) use audit::Asked;
pub use error::StoreError;
pub(crate) use events::EventSpan;
pub(crate) use fallbacks::FallbackRow;
pub(crate) use sites::{Commit, SiteRow};

/// The schemas of all versions, in order.
static MIGRATIONS: Migrator = sqlx::migrate!("../../migrations/state");

/// How long another program may hold the database when the appliance starts.
const PATIENCE: Duration = Duration::from_secs(30);

/// The schema that an open database has: the last one of this program.
pub(crate) fn known_schema() -> i64 {
    MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or_default()
}

/// The open database. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    pool: SqlitePool,
    path: PathBuf,
    /// Told whenever something changes that the copy must have.
    changed: Arc<Notify>,
}

impl Store {
    /// Opens the database, making it where it is missing, and brings its schema up to date. A damaged one is put aside, and the
    /// copy of it takes its place; one that another program holds is waited for.
    ///
    /// # Errors
    /// [`StoreError`] where that fails; nothing is changed then.
    pub(crate) async fn open(path: &Path) -> Result<Self, StoreError> {
        copy::clean(path);
        let deadline = Instant::now() + PATIENCE;
        let reason = loop {
            match Self::open_sound(path).await {
                Err(StoreError::Locked) if Instant::now() < deadline => {
                    let holder =
                        holders::of_files(&[path, &journal(path, "-wal"), &journal(path, "-shm")]);
                    let holder = holder.unwrap_or_else(|| "another program".to_owned());
                    tracing::warn!(
                        holder,
                        "state.db is locked; the appliance starts when it is free"
                    );
                }
                Err(StoreError::Damaged { reason }) => break reason,
                other => return other,
            }
        };
        match copy::restore(path) {
            Ok(aside) => {
                let aside = aside.display().to_string();
                tracing::error!(
                    reason,
                    aside,
                    "state.db was damaged; its last copy took its place"
                );
                Self::open_sound(path).await
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Err(StoreError::NoCopy { reason })
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn open_sound(path: &Path) -> Result<Self, StoreError> {
        if copy::is_lost(path) {
            return Err(StoreError::Damaged { reason: "it is missing or empty".to_owned() });
        }
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
        let store = Self { pool, path: path.to_owned(), changed: Arc::default() };
        let ready = store.make_ready().await;
        if ready.is_err() {
            // A damaged file is moved next: a connection that still closed would take the journal of the one in its place.
            store.close().await;
        }
        ready.map(|()| store)
    }

    async fn make_ready(&self) -> Result<(), StoreError> {
        self.check().await?;
        Ok(MIGRATIONS.run(&self.pool).await?)
    }

    /// Writes everything back and closes.
    pub(crate) async fn close(&self) {
        self.pool.close().await;
    }
}

/// A file that SQLite keeps beside a database.
fn journal(database: &Path, end: &str) -> PathBuf {
    PathBuf::from(format!("{}{end}", database.display()))
}

/// # Errors
/// Where no row was added, because one of that name is there.
fn added(done: &SqliteQueryResult, what: &'static str, name: &str) -> Result<(), StoreError> {
    match done.rows_affected() {
        0 => Err(StoreError::NameTaken { what, name: name.to_owned() }),
        _ => Ok(()),
    }
}

/// # Errors
/// Where no row was changed, because there is none of that name.
fn found(done: &SqliteQueryResult, what: &'static str, name: &str) -> Result<(), StoreError> {
    match done.rows_affected() {
        0 => Err(StoreError::NoSuch { what, name: name.to_owned() }),
        _ => Ok(()),
    }
}

/// A column that holds the name of something.
fn named<T>(row: &SqliteRow, column: &str) -> Result<T, sqlx::Error>
where
    T: FromStr<Err: std::error::Error + Send + Sync + 'static>,
{
    row.try_get::<&str, _>(column)?.parse().map_err(|error| sqlx::Error::Decode(Box::new(error)))
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
