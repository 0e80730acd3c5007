//! Tables whose rows add up: what each column is called and which figure it holds is said once, for writing and for reading.

use onebox_metrics::HistogramSnapshot;
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{AssertSqlSafe, Row, Sqlite, SqliteConnection};

use super::MetricsError;
use crate::history::figures::Figures;

/// A column's name, and the figure that it holds.
pub(super) type Column<F, T> = (&'static str, fn(&mut F) -> &mut T);

/// A table of figures.
pub(super) struct Table<F: 'static> {
    pub(super) name: &'static str,
    pub(super) counts: &'static [Column<F, u64>],
    pub(super) histograms: &'static [Column<F, HistogramSnapshot>],
}

/// Which row: the columns of the primary key, and what they say.
pub(super) type Key<'a> = [(&'static str, KeyPart<'a>)];

/// What a column of a key says.
#[derive(Debug, Clone, Copy)]
pub(super) enum KeyPart<'a> {
    Number(i64),
    Text(&'a str),
}

impl<F: Figures> Table<F> {
    /// Adds figures to their row, which is made where it is missing.
    pub(super) async fn add(
        &self,
        connection: &mut SqliteConnection,
        key: &Key<'_>,
        figures: &F,
    ) -> Result<(), MetricsError> {
        let conditions: Vec<_> = key.iter().map(|(column, _)| format!("{column} = ?")).collect();
        let sql = format!("SELECT * FROM {} WHERE {}", self.name, conditions.join(" AND "));
        let known = bind(sqlx::query(AssertSqlSafe(sql)), key);
        let known = known.fetch_optional(&mut *connection).await?;
        let mut whole = known.map_or_else(|| Ok(F::default()), |row| self.read(&row))?;
        whole.merge(figures);
        self.put(connection, key, whole).await
    }

    /// Writes a row in the place of the one that is there.
    pub(super) async fn put(
        &self,
        connection: &mut SqliteConnection,
        key: &Key<'_>,
        mut figures: F,
    ) -> Result<(), MetricsError> {
        let columns: Vec<_> = key.iter().map(|(column, _)| *column).chain(self.columns()).collect();
        let values = vec!["?"; columns.len()].join(", ");
        let sql = format!(
            "INSERT OR REPLACE INTO {} ({}) VALUES ({values})",
            self.name,
            columns.join(", ")
        );
        let mut insert = bind(sqlx::query(AssertSqlSafe(sql)), key);
        for (_, figure) in self.counts {
            insert = insert.bind(stored(*figure(&mut figures)));
        }
        for (_, figure) in self.histograms {
            insert = insert.bind(figure(&mut figures).to_bytes());
        }
        insert.execute(connection).await?;
        Ok(())
    }

    /// What a row says.
    pub(super) fn read(&self, row: &SqliteRow) -> Result<F, MetricsError> {
        let mut figures = F::default();
        for (column, figure) in self.counts {
            *figure(&mut figures) = count(row, column)?;
        }
        for (column, figure) in self.histograms {
            *figure(&mut figures) = histogram(row, column)?;
        }
        Ok(figures)
    }

    /// Without those of the key.
    fn columns(&self) -> impl Iterator<Item = &'static str> {
        let counts = self.counts.iter().map(|(column, _)| *column);
        counts.chain(self.histograms.iter().map(|(column, _)| *column))
    }
}

fn bind<'q>(
    mut query: Query<'q, Sqlite, SqliteArguments>,
    key: &Key<'_>,
) -> Query<'q, Sqlite, SqliteArguments> {
    for (_, part) in key {
        query = match part {
            KeyPart::Number(number) => query.bind(*number),
            KeyPart::Text(text) => query.bind((*text).to_owned()),
        };
    }
    query
}

pub(super) fn count(row: &SqliteRow, column: &str) -> Result<u64, MetricsError> {
    let value: i64 = row.try_get(column)?;
    u64::try_from(value).map_err(|_| MetricsError::Damaged(format!("{column} is {value}")))
}

fn histogram(row: &SqliteRow, column: &str) -> Result<HistogramSnapshot, MetricsError> {
    let bytes: &[u8] = row.try_get(column)?;
    let read = HistogramSnapshot::from_bytes(bytes);
    read.ok_or_else(|| MetricsError::Damaged(format!("{column} is no histogram")))
}

/// SQLite's integers have a sign.
pub(super) fn stored(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
