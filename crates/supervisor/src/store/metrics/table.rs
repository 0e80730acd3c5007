//! Tables whose rows add up: what each column is called and which figure it holds is said once, for writing and for reading.

use onebox_metrics::{HistogramSnapshot, pack, unpack};
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{AssertSqlSafe, Row, Sqlite, SqliteConnection};

use super::MetricsError;
use crate::history::figures::Figures;

/// A column's name, and the figure that it holds.
pub(super) type Column<F> = (&'static str, fn(&mut F) -> &mut u64);

/// The next histogram in the column [`HISTOGRAMS`], and where rows of before have it.
pub(super) type Packed<F> = (Before, fn(&mut F) -> &mut HistogramSnapshot);

/// The column with all histograms of a row, where it has any.
const HISTOGRAMS: &str = "histograms";

/// What earlier versions wrote for a histogram without durations.
const NO_HISTOGRAM: &[u8] = &[0];

/// A column of earlier versions, which is empty in newer rows.
#[derive(Debug, Clone, Copy)]
pub(super) enum Before {
    /// It has a whole histogram.
    Whole(&'static str),
    /// It has the sum alone.
    Sum(&'static str),
}

/// A table of figures.
pub(super) struct Table<F: 'static> {
    pub(super) name: &'static str,
    pub(super) counts: &'static [Column<F>],
    pub(super) histograms: &'static [Packed<F>],
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
        let mut histograms = Vec::with_capacity(self.histograms.len());
        for (before, figure) in self.histograms {
            insert = match before {
                Before::Whole(_) => insert.bind(NO_HISTOGRAM),
                Before::Sum(_) => insert.bind(0_i64),
            };
            histograms.push(std::mem::take(figure(&mut figures)));
        }
        if !histograms.is_empty() {
            insert = insert.bind(pack(&histograms));
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
        for ((before, figure), packed) in self.histograms.iter().zip(self.packed(row)?) {
            let whole = figure(&mut figures);
            *whole = before.read(row)?;
            whole.merge(&packed);
        }
        Ok(figures)
    }

    /// What the column with the histograms says; rows of before have nothing there.
    fn packed(&self, row: &SqliteRow) -> Result<Vec<HistogramSnapshot>, MetricsError> {
        let expected = self.histograms.len();
        let bytes: &[u8] = if expected == 0 { &[] } else { row.try_get(HISTOGRAMS)? };
        if bytes.is_empty() {
            return Ok(vec![HistogramSnapshot::default(); expected]);
        }
        let all = unpack(bytes, expected);
        all.ok_or_else(|| MetricsError::Damaged(format!("{HISTOGRAMS} has not {expected} of them")))
    }

    /// Without those of the key.
    fn columns(&self) -> impl Iterator<Item = &'static str> {
        let counts = self.counts.iter().map(|(column, _)| *column);
        let before =
            self.histograms.iter().map(|(Before::Whole(column) | Before::Sum(column), _)| *column);
        let packed = (!self.histograms.is_empty()).then_some(HISTOGRAMS);
        counts.chain(before).chain(packed)
    }
}

impl Before {
    fn read(self, row: &SqliteRow) -> Result<HistogramSnapshot, MetricsError> {
        match self {
            Self::Whole(column) => {
                let read = HistogramSnapshot::from_bytes(row.try_get(column)?);
                read.ok_or_else(|| MetricsError::Damaged(format!("{column} is no histogram")))
            }
            Self::Sum(column) => {
                let sum_us = count(row, column)?;
                Ok(HistogramSnapshot { sum_us, ..HistogramSnapshot::default() })
            }
        }
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

/// SQLite's integers have a sign.
pub(super) fn stored(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
