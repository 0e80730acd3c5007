//! `metrics.db`: what was measured. Every SQL statement of it is in this folder.
//!
//! It may be deleted while nothing runs: only history is lost. Must not know who measures or who asks.

mod columns;
mod failures;
mod prune;
mod read;
mod releases;
mod requests;
mod routes;
#[cfg(test)]
mod size_test;
mod table;
mod write;

use std::collections::HashMap;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::sqlite::{
    SqliteAutoVacuum, SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous,
};
use sqlx::{ConnectOptions, Connection};

pub(crate) use failures::{error_groups, failures_of};
pub(crate) use prune::Retention;
pub(crate) use read::{FiguresRead, MetricsReader, Question, Whose};
pub(crate) use releases::releases;
pub(crate) use requests::{Search, search};
pub(crate) use routes::{RouteSpan, routes};
pub(crate) use write::Batch;

/// The schemas of all versions, in order.
pub(super) static MIGRATIONS: Migrator = sqlx::migrate!("../../migrations/metrics");

/// How long a statement waits for a lock that somebody else has.
const BUSY: Duration = Duration::from_secs(2);

/// Why `metrics.db` can't be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MetricsError {
    /// Its content is not what SQLite or this program wrote.
    #[error("metrics.db is damaged: {0}")]
    Damaged(String),
    /// A later version of this program wrote it.
    #[error("metrics.db was written by a later version of onebox (schema {0})")]
    Newer(i64),
    /// It is locked, the disk is full, the file can't be opened: it may pass.
    #[error("metrics.db can't be used now: {0}")]
    Unavailable(String),
}

impl From<sqlx::Error> for MetricsError {
    fn from(error: sqlx::Error) -> Self {
        let code = error.as_database_error().and_then(|error| error.code());
        // Primary result codes are the low byte of extended ones; <https://sqlite.org/rescode.html>.
        let primary = code.and_then(|code| code.parse::<u32>().ok()).map(|code| code & 0xff);
        match (primary, &error) {
            // ERROR (a table is missing), CORRUPT, CONSTRAINT, MISMATCH, NOTADB
            (Some(1 | 11 | 19 | 20 | 26), _)
            | (_, sqlx::Error::ColumnDecode { .. } | sqlx::Error::ColumnNotFound(_)) => {
                Self::Damaged(error.to_string())
            }
            _ => Self::Unavailable(error.to_string()),
        }
    }
}

impl From<MigrateError> for MetricsError {
    fn from(error: MigrateError) -> Self {
        match error {
            MigrateError::VersionMissing(version) => Self::Newer(version),
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => error.into(),
            error => Self::Damaged(error.to_string()),
        }
    }
}

/// What series are there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Kind {
    Site,
    Process,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Site => "site",
            Self::Process => "process",
        }
    }
}

/// The one writer.
#[derive(Debug)]
pub(crate) struct MetricsDb {
    connection: SqliteConnection,
    /// Numbers of series that were written to.
    series: HashMap<(Kind, String), i64>,
}

impl MetricsDb {
    /// Opens the database, making it where it is missing, brings its schema up to date and looks whether it is sound.
    ///
    /// # Errors
    /// [`MetricsError`] where that fails.
    pub(crate) async fn open(path: &Path) -> Result<Self, MetricsError> {
        make_private(path).map_err(|error| MetricsError::Unavailable(error.to_string()))?;
        let mut connection = options(path)
            // The largest rows fit into such a page; in a smaller one each would take a page of its own besides.
            .page_size(8192)
            .auto_vacuum(SqliteAutoVacuum::Incremental)
            .journal_mode(SqliteJournalMode::Wal)
            // A power cut may cost the last seconds, and no more: the file stays sound.
            .synchronous(SqliteSynchronous::Normal)
            .pragma("journal_size_limit", "4194304")
            .connect()
            .await?;
        MIGRATIONS.run_direct(None, &mut connection, false).await?;
        let mut opened = Self { connection, series: HashMap::new() };
        opened.check().await?;
        Ok(opened)
    }

    /// Reads the whole file and looks whether it is sound.
    ///
    /// # Errors
    /// [`MetricsError::Damaged`] with the first thing that is not.
    pub(crate) async fn check(&mut self) -> Result<(), MetricsError> {
        let told: String =
            sqlx::query_scalar("PRAGMA quick_check(1)").fetch_one(&mut self.connection).await?;
        if told == "ok" { Ok(()) } else { Err(MetricsError::Damaged(told)) }
    }

    /// Writes everything back and closes. What can't be written back is still in the journal.
    pub(crate) async fn close(self) {
        self.connection.close().await.ok();
    }
}

/// What writer and reader have in common.
fn options(path: &Path) -> SqliteConnectOptions {
    // A small cache: the supervisor is to stay small, and reads are of neighbours.
    SqliteConnectOptions::new().filename(path).busy_timeout(BUSY).pragma("cache_size", "-512")
}

/// SQLite gives its journal files the mode of the database.
fn make_private(path: &Path) -> std::io::Result<()> {
    let file = std::fs::OpenOptions::new().create(true).append(true).open(path)?;
    file.set_permissions(Permissions::from_mode(0o600))
}

/// A connection of somebody else.
#[cfg(test)]
pub(crate) async fn raw_connection(path: &Path) -> SqliteConnection {
    options(path).connect().await.unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_no_database_is_told_from_what_is_locked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.db");
        std::fs::write(&path, "SQLite, surely? ".repeat(600)).unwrap();
        let error = MetricsDb::open(&path).await.unwrap_err();
        assert!(matches!(error, MetricsError::Damaged(_)), "{error}");
        std::fs::remove_file(&path).unwrap();
        MetricsDb::open(&path).await.unwrap().close().await;
        let missing = MetricsDb::open(&folder.path().join("nowhere/metrics.db")).await.unwrap_err();
        assert!(matches!(missing, MetricsError::Unavailable(_)), "{missing}");
    }

    #[tokio::test]
    async fn a_damaged_page_is_found_when_the_database_is_opened() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.db");
        MetricsDb::open(&path).await.unwrap().close().await;
        let mut bytes = std::fs::read(&path).unwrap();
        assert!(bytes.len() > 3 * 4096);
        bytes[2 * 4096..].fill(0xa5);
        std::fs::write(&path, bytes).unwrap();
        let error = MetricsDb::open(&path).await.unwrap_err();
        assert!(matches!(error, MetricsError::Damaged(_)), "{error}");
    }

    #[tokio::test]
    async fn a_later_schema_is_told_by_its_number() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.db");
        let mut opened = MetricsDb::open(&path).await.unwrap();
        sqlx::query(
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
             VALUES (9000, 'of a later version', 1, x'00', 0)",
        )
        .execute(&mut opened.connection)
        .await
        .unwrap();
        opened.close().await;
        let error = MetricsDb::open(&path).await.unwrap_err();
        assert!(matches!(error, MetricsError::Newer(9000)), "{error}");
    }
}
