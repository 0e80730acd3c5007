//! Writing seconds, at every resolution at once: a row takes in what is added to it, so that nothing is ever rolled up later.
//! Whatever the clock does, a row is the sum of the samples that named its time.

use std::collections::BTreeMap;

use sqlx::Connection;

use super::columns::{PROCESS, SITE, THE_BOX};
use super::releases::{self, write_releases};
use super::routes::{self, write_routes};
use super::table::KeyPart::{self, Number};
use super::{Kind, MetricsDb, MetricsError};
use crate::history::figures::{BoxFigures, Figures, ProcessFigures, SiteFigures, Tick};
use crate::history::resolution::Resolution;

type Rows<T> = BTreeMap<(Resolution, String, i64), T>;

/// Some seconds, added up to the rows that they belong to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Batch {
    sites: Rows<SiteFigures>,
    processes: Rows<ProcessFigures>,
    the_box: BTreeMap<(Resolution, i64), BoxFigures>,
    seconds: usize,
}

impl Batch {
    /// Adds a second.
    pub(crate) fn add(&mut self, tick: &Tick) {
        self.seconds += 1;
        for resolution in Resolution::ALL {
            let at_ms = resolution.begin_ms(tick.at_ms);
            let has_routes = !routes::rows_of(resolution).is_empty();
            for (name, figures) in &tick.sites {
                let row = self.sites.entry((resolution, name.clone(), at_ms)).or_default();
                if has_routes {
                    row.merge(figures);
                } else {
                    row.merge(&figures.of_the_whole_site());
                }
            }
            for (name, figures) in &tick.processes {
                let row = self.processes.entry((resolution, name.clone(), at_ms)).or_default();
                row.merge(figures);
            }
            self.the_box.entry((resolution, at_ms)).or_default().merge(&tick.the_box);
        }
    }

    /// How many seconds it has.
    pub(crate) fn seconds(&self) -> usize {
        self.seconds
    }

    /// The rows of a site: when each began.
    pub(super) fn site(
        &self,
        resolution: Resolution,
        name: &str,
    ) -> impl Iterator<Item = (i64, &SiteFigures)> {
        let rows = self.sites.iter();
        rows.filter(move |((of, site, _), _)| *of == resolution && site == name)
            .map(|((_, _, at_ms), figures)| (*at_ms, figures))
    }

    /// The rows of all processes: whose they are, and when each began.
    pub(super) fn processes(
        &self,
        resolution: Resolution,
    ) -> impl Iterator<Item = (&str, i64, &ProcessFigures)> {
        let rows = self.processes.iter().filter(move |((of, _, _), _)| *of == resolution);
        rows.map(|((_, name, at_ms), figures)| (name.as_str(), *at_ms, figures))
    }

    /// The rows of the machine.
    pub(super) fn the_box(
        &self,
        resolution: Resolution,
    ) -> impl Iterator<Item = (i64, &BoxFigures)> {
        let rows = self.the_box.iter().filter(move |((of, _), _)| *of == resolution);
        rows.map(|((_, at_ms), figures)| (*at_ms, figures))
    }
}

impl MetricsDb {
    /// Adds a batch, all of it or nothing.
    ///
    /// # Errors
    /// [`MetricsError`]; nothing of it is there then.
    pub(crate) async fn write(&mut self, batch: &Batch) -> Result<(), MetricsError> {
        let names = batch.sites.keys().map(|(_, name, _)| (Kind::Site, name));
        let names: Vec<_> =
            names.chain(batch.processes.keys().map(|(_, name, _)| (Kind::Process, name))).collect();
        for (kind, name) in names {
            self.know(kind, name).await?;
        }
        let mut transaction = self.connection.begin().await?;
        for ((resolution, name, at_ms), figures) in &batch.sites {
            let Some(series) = self.series.get(&(Kind::Site, name.clone())) else { continue };
            let key = SeriesKey { step_s: resolution.step_s(), series: *series, at_ms: *at_ms };
            SITE.add(&mut transaction, &key.columns(), figures).await?;
            for rows in routes::rows_of(*resolution) {
                let key = SeriesKey { step_s: rows.step_s(), at_ms: rows.begin_ms(*at_ms), ..key };
                write_routes(&mut transaction, key, &figures.counted.routes).await?;
            }
            if *resolution == releases::RESOLUTION {
                write_releases(&mut transaction, key, &figures.counted.releases).await?;
            }
        }
        for ((resolution, name, at_ms), figures) in &batch.processes {
            let Some(series) = self.series.get(&(Kind::Process, name.clone())) else { continue };
            let key = SeriesKey { step_s: resolution.step_s(), series: *series, at_ms: *at_ms };
            PROCESS.add(&mut transaction, &key.columns(), figures).await?;
        }
        for ((resolution, at_ms), figures) in &batch.the_box {
            let key = [("step_s", Number(resolution.step_s())), ("at_ms", Number(*at_ms))];
            THE_BOX.add(&mut transaction, &key, figures).await?;
        }
        Ok(transaction.commit().await?)
    }

    /// Gives a series its number.
    async fn know(&mut self, kind: Kind, name: &str) -> Result<(), MetricsError> {
        let key = (kind, name.to_owned());
        if self.series.contains_key(&key) {
            return Ok(());
        }
        sqlx::query("INSERT INTO series (kind, name) VALUES (?1, ?2) ON CONFLICT DO NOTHING")
            .bind(kind.name())
            .bind(name)
            .execute(&mut self.connection)
            .await?;
        let id = sqlx::query_scalar("SELECT id FROM series WHERE kind = ?1 AND name = ?2")
            .bind(kind.name())
            .bind(name)
            .fetch_one(&mut self.connection)
            .await?;
        self.series.insert(key, id);
        Ok(())
    }
}

/// Which row of a series.
#[derive(Debug, Clone, Copy)]
pub(super) struct SeriesKey {
    pub(super) step_s: i64,
    pub(super) series: i64,
    pub(super) at_ms: i64,
}

impl SeriesKey {
    /// As columns.
    pub(super) fn columns(self) -> [(&'static str, KeyPart<'static>); 3] {
        [
            ("step_s", Number(self.step_s)),
            ("series", Number(self.series)),
            ("at_ms", Number(self.at_ms)),
        ]
    }
}
