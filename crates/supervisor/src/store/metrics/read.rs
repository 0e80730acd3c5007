//! Reading spans, beside the writer: each question has a connection of its own, which sees what is written and waits for nobody.
//! What is not written yet is given to it.

use std::collections::BTreeMap;
use std::path::Path;

use sqlx::sqlite::SqliteRow;
use sqlx::{ConnectOptions, Connection, Row, SqliteConnection};

use super::columns::{PROCESS, SITE, THE_BOX};
use super::{Batch, Kind, MetricsError, options};
use crate::history::figures::{BoxFigures, Figures, ProcessFigures, SiteFigures};
use crate::history::resolution::Grid;

const SITE_ROWS: &str = "SELECT * FROM site_samples \
                         WHERE step_s = ?1 AND series = ?2 AND at_ms >= ?3 AND at_ms < ?4";
const PROCESS_ROWS: &str = "SELECT * FROM process_samples \
                            WHERE step_s = ?1 AND series = ?2 AND at_ms >= ?3 AND at_ms < ?4";

/// What is asked for besides what the machine did.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Question<'a> {
    pub(crate) site: Option<&'a str>,
    pub(crate) processes: Whose<'a>,
}

/// Which processes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Whose<'a> {
    /// All.
    Everybodys,
    /// The engines.
    Engines,
    /// The workers of this site.
    Workers(&'a str),
}

impl Whose<'_> {
    fn wants(self, process: &str) -> bool {
        match self {
            Self::Everybodys => true,
            Self::Engines => process == "engine",
            Self::Workers(site) => {
                process.rsplit_once('.').is_some_and(|(of_site, _)| of_site == site)
            }
        }
    }
}

/// An answer: figures for each point of the grid.
#[derive(Debug)]
pub(crate) struct FiguresRead {
    /// Without samples where nobody looked.
    pub(crate) the_box: Vec<BoxFigures>,
    /// Empty where no site was asked for.
    pub(crate) site: Vec<SiteFigures>,
    /// Those that lived in the span, by name.
    pub(crate) processes: BTreeMap<String, Vec<ProcessFigures>>,
}

/// A connection that only reads.
#[derive(Debug)]
pub(crate) struct MetricsReader {
    connection: SqliteConnection,
}

impl MetricsReader {
    /// Answers a question from the database and from what is not written yet.
    ///
    /// # Errors
    /// [`MetricsError`] where it can't be opened or read.
    pub(crate) async fn read(
        path: &Path,
        question: Question<'_>,
        grid: &Grid,
        unsaved: &Batch,
    ) -> Result<FiguresRead, MetricsError> {
        let options = options(path).read_only(true).create_if_missing(false);
        let mut reader = Self { connection: options.connect().await? };
        let answer = reader.answer(question, grid, unsaved).await;
        reader.connection.close().await.ok();
        answer
    }

    async fn answer(
        &mut self,
        question: Question<'_>,
        grid: &Grid,
        unsaved: &Batch,
    ) -> Result<FiguresRead, MetricsError> {
        Ok(FiguresRead {
            the_box: self.the_box(grid, unsaved).await?,
            site: match question.site {
                Some(site) => self.site(site, grid, unsaved).await?,
                None => Vec::new(),
            },
            processes: self.processes(question.processes, grid, unsaved).await?,
        })
    }

    async fn site(
        &mut self,
        name: &str,
        grid: &Grid,
        unsaved: &Batch,
    ) -> Result<Vec<SiteFigures>, MetricsError> {
        let mut points = vec![SiteFigures::default(); grid.points];
        for (at_ms, figures) in unsaved.site(grid.resolution, name) {
            add(&mut points, grid, at_ms, figures);
        }
        let Some(series) = self.series(Kind::Site, name).await? else { return Ok(points) };
        for row in &self.rows(SITE_ROWS, series, grid).await? {
            add(&mut points, grid, row.try_get("at_ms")?, &SITE.read(row)?);
        }
        Ok(points)
    }

    async fn processes(
        &mut self,
        whose: Whose<'_>,
        grid: &Grid,
        unsaved: &Batch,
    ) -> Result<BTreeMap<String, Vec<ProcessFigures>>, MetricsError> {
        let mut processes: BTreeMap<String, Vec<ProcessFigures>> = BTreeMap::new();
        for (name, at_ms, figures) in unsaved.processes(grid.resolution) {
            if whose.wants(name) {
                let empty = || vec![ProcessFigures::default(); grid.points];
                let points = processes.entry(name.to_owned()).or_insert_with(empty);
                add(points, grid, at_ms, figures);
            }
        }
        let all = sqlx::query("SELECT id, name FROM series WHERE kind = 'process'")
            .fetch_all(&mut self.connection)
            .await?;
        for row in all {
            let name: String = row.try_get("name")?;
            if whose.wants(&name) {
                let empty = || vec![ProcessFigures::default(); grid.points];
                let points = processes.entry(name).or_insert_with(empty);
                self.process(row.try_get("id")?, grid, points).await?;
            }
        }
        processes.retain(|_, points| points.iter().any(|point| point.samples > 0));
        Ok(processes)
    }

    async fn process(
        &mut self,
        series: i64,
        grid: &Grid,
        points: &mut [ProcessFigures],
    ) -> Result<(), MetricsError> {
        for row in &self.rows(PROCESS_ROWS, series, grid).await? {
            add(points, grid, row.try_get("at_ms")?, &PROCESS.read(row)?);
        }
        Ok(())
    }

    async fn the_box(
        &mut self,
        grid: &Grid,
        unsaved: &Batch,
    ) -> Result<Vec<BoxFigures>, MetricsError> {
        let mut points = vec![BoxFigures::default(); grid.points];
        let rows = sqlx::query(
            "SELECT * FROM box_samples WHERE step_s = ?1 AND at_ms >= ?2 AND at_ms < ?3 ORDER BY at_ms",
        )
        .bind(grid.resolution.step_s())
        .bind(grid.from_ms)
        .bind(grid.end_ms())
        .fetch_all(&mut self.connection)
        .await?;
        for row in &rows {
            add(&mut points, grid, row.try_get("at_ms")?, &THE_BOX.read(row)?);
        }
        // The latest last: they say how much there is.
        for (at_ms, figures) in unsaved.the_box(grid.resolution) {
            add(&mut points, grid, at_ms, figures);
        }
        Ok(points)
    }

    /// The rows of a series in the span: of [`SITE_ROWS`] or [`PROCESS_ROWS`].
    async fn rows(
        &mut self,
        statement: &'static str,
        series: i64,
        grid: &Grid,
    ) -> Result<Vec<SqliteRow>, MetricsError> {
        let rows = sqlx::query(statement)
            .bind(grid.resolution.step_s())
            .bind(series)
            .bind(grid.from_ms)
            .bind(grid.end_ms())
            .fetch_all(&mut self.connection)
            .await?;
        Ok(rows)
    }

    async fn series(&mut self, kind: Kind, name: &str) -> Result<Option<i64>, MetricsError> {
        let id = sqlx::query_scalar("SELECT id FROM series WHERE kind = ?1 AND name = ?2")
            .bind(kind.name())
            .bind(name)
            .fetch_optional(&mut self.connection)
            .await?;
        Ok(id)
    }
}

/// Adds a row to its point.
fn add<T: Figures>(points: &mut [T], grid: &Grid, at_ms: i64, figures: &T) {
    if let Some(point) = grid.point(at_ms).and_then(|point| points.get_mut(point)) {
        point.merge(figures);
    }
}
