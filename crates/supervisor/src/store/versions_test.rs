//! Every released schema comes forward with its rows, and a database of a later version is left as it is.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use sqlx::migrate::Migrator;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Row, SqliteConnection};

use super::metrics::MetricsDb;
use super::{Store, StoreError};

/// Rows for what each migration of `state.db` adds, in order.
const STATE: [&str; 7] = [
    include_str!("fixtures/0001_first.sql"),
    include_str!("fixtures/0002_events.sql"),
    include_str!("fixtures/0003_fallbacks.sql"),
    include_str!("fixtures/0004_maintenance.sql"),
    include_str!("fixtures/0005_paths.sql"),
    include_str!("fixtures/0006_access.sql"),
    include_str!("fixtures/0007_address_rules.sql"),
];
/// The same of `metrics.db`.
const METRICS: [&str; 11] = [
    include_str!("metrics/fixtures/0001_first.sql"),
    include_str!("metrics/fixtures/0002_failures.sql"),
    include_str!("metrics/fixtures/0003_requests.sql"),
    include_str!("metrics/fixtures/0004_worker.sql"),
    include_str!("metrics/fixtures/0005_routes.sql"),
    include_str!("metrics/fixtures/0006_cache.sql"),
    include_str!("metrics/fixtures/0007_tls.sql"),
    include_str!("metrics/fixtures/0008_releases.sql"),
    include_str!("metrics/fixtures/0009_gil.sql"),
    include_str!("metrics/fixtures/0010_refused.sql"),
    include_str!("metrics/fixtures/0011_histograms.sql"),
];

/// Every table's columns and rows, as SQL literals.
type Contents = BTreeMap<String, (Vec<String>, Vec<Vec<String>>)>;

async fn connect(path: &Path) -> SqliteConnection {
    SqliteConnectOptions::new().filename(path).create_if_missing(true).connect().await.unwrap()
}

/// A database as the first migrations leave it, one for each of the fixtures, whose rows it has.
async fn write_version(path: &Path, migrations: &Migrator, fixtures: &[&'static str]) -> Contents {
    let mut connection = connect(path).await;
    let released = migrations.iter().take(fixtures.len()).cloned().collect();
    Migrator::with_migrations(released).run_direct(None, &mut connection, false).await.unwrap();
    for fixture in fixtures {
        sqlx::raw_sql(*fixture).execute(&mut connection).await.unwrap();
    }
    let contents = read(&mut connection).await;
    connection.close().await.unwrap();
    contents
}

async fn read(connection: &mut SqliteConnection) -> Contents {
    let names: Vec<String> = sqlx::query_scalar(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE '\\_%' ESCAPE '\\' \
         AND name NOT LIKE 'sqlite%'",
    )
    .fetch_all(&mut *connection)
    .await
    .unwrap();
    let mut contents = Contents::new();
    for name in names {
        let columns: Vec<String> = sqlx::query_scalar("SELECT name FROM pragma_table_info(?1)")
            .bind(&name)
            .fetch_all(&mut *connection)
            .await
            .unwrap();
        let rows = rows(connection, &name, &columns).await;
        contents.insert(name, (columns, rows));
    }
    contents
}

async fn rows(
    connection: &mut SqliteConnection,
    table: &str,
    columns: &[String],
) -> Vec<Vec<String>> {
    let quoted: Vec<String> = columns.iter().map(|column| format!("quote({column})")).collect();
    let sql = format!("SELECT {} FROM {table} ORDER BY 1, 2", quoted.join(", "));
    let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(connection).await.unwrap();
    rows.iter().map(|row| (0..columns.len()).map(|index| row.get(index)).collect()).collect()
}

/// Opens a database of every version with `open`, and looks whether its rows are still there.
async fn come_forward(migrations: &Migrator, fixtures: &[&'static str], open: AsyncOpen) {
    assert_eq!(
        migrations.iter().count(),
        fixtures.len(),
        "a migration has no rows to prove it with"
    );
    for count in 1..=fixtures.len() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("some.db");
        let before = write_version(&path, migrations, &fixtures[..count]).await;
        assert!(before.len() >= 4);
        open(path.clone()).await;
        let mut connection = connect(&path).await;
        for (table, (columns, old)) in before {
            assert!(!old.is_empty(), "{table} has no row in the fixtures");
            assert_eq!(rows(&mut connection, &table, &columns).await, old, "{table} from {count}");
        }
        connection.close().await.unwrap();
    }
}

type AsyncOpen = fn(PathBuf) -> BoxFuture<'static, ()>;

#[tokio::test]
async fn every_released_schema_of_the_state_comes_forward_with_its_rows() {
    let open: AsyncOpen =
        |path| async move { Store::open(&path).await.unwrap().close().await }.boxed();
    come_forward(&super::MIGRATIONS, &STATE, open).await;
}

#[tokio::test]
async fn every_released_schema_of_the_metrics_comes_forward_with_its_rows() {
    let open: AsyncOpen =
        |path| async move { MetricsDb::open(&path).await.unwrap().close().await }.boxed();
    come_forward(&super::metrics::MIGRATIONS, &METRICS, open).await;
}

#[tokio::test]
async fn a_database_of_a_later_version_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    Store::open(&path).await.unwrap().close().await;
    let mut connection = connect(&path).await;
    sqlx::query(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         VALUES (9000, 'of a later version', 1, x'00', 0)",
    )
    .execute(&mut connection)
    .await
    .unwrap();
    connection.close().await.unwrap();
    let before = std::fs::read(&path).unwrap();
    let error = Store::open(&path).await.unwrap_err();
    assert!(matches!(error, StoreError::Newer { version: 9000, .. }), "{error}");
    let told = error.to_string();
    assert!(told.contains("written by a later version of onebox (schema 9000"), "{told}");
    assert_eq!(std::fs::read(&path).unwrap(), before);
}
