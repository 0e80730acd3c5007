//! Every released schema comes forward with its rows, and a database of a later version is left as it is.

use std::collections::BTreeMap;
use std::path::Path;

use sqlx::migrate::Migrator;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Row, SqliteConnection};

use super::{MIGRATIONS, Store, StoreError};

/// Rows for what each migration adds, in order.
const FIXTURES: [&str; 3] = [
    include_str!("fixtures/0001_first.sql"),
    include_str!("fixtures/0002_events.sql"),
    include_str!("fixtures/0003_fallbacks.sql"),
];

/// Every table's columns and rows, as SQL literals.
type Contents = BTreeMap<String, (Vec<String>, Vec<Vec<String>>)>;

async fn connect(path: &Path) -> SqliteConnection {
    SqliteConnectOptions::new().filename(path).create_if_missing(true).connect().await.unwrap()
}

/// A database as the first `count` migrations leave it, with rows in every table.
async fn write_version(path: &Path, count: usize) -> Contents {
    let mut connection = connect(path).await;
    let released = MIGRATIONS.iter().take(count).cloned().collect();
    Migrator::with_migrations(released).run_direct(None, &mut connection, false).await.unwrap();
    for fixture in FIXTURES.iter().take(count) {
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

#[tokio::test]
async fn every_released_schema_comes_forward_with_its_rows() {
    assert_eq!(
        MIGRATIONS.iter().count(),
        FIXTURES.len(),
        "a migration has no rows to prove it with"
    );
    for count in 1..=FIXTURES.len() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        let before = write_version(&path, count).await;
        assert!(before.len() >= 6);
        Store::open(&path).await.unwrap().close().await;
        let mut connection = connect(&path).await;
        for (table, (columns, old)) in before {
            assert!(!old.is_empty(), "{table} has no row in the fixtures");
            assert_eq!(rows(&mut connection, &table, &columns).await, old, "{table} from {count}");
        }
        connection.close().await.unwrap();
    }
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
