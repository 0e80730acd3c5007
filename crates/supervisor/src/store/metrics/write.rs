//! Writing seconds, at every resolution at once: a row takes in what is added to it, so that nothing is ever rolled up later.
//! Whatever the clock does, a row is the sum of the samples that named its time.

use std::collections::BTreeMap;

use sqlx::sqlite::SqliteRow;
use sqlx::{Connection, Row, SqliteConnection};

use onebox_metrics::{CacheSnapshot, HistogramSnapshot, SiteSnapshot};

use super::routes::{has_routes, write_routes};
use super::{Kind, MetricsDb, MetricsError};
use crate::history::figures::{BoxFigures, Figures, Gauge, ProcessFigures, SiteFigures, Tick};
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
            for (name, figures) in &tick.sites {
                let row = self.sites.entry((resolution, name.clone(), at_ms)).or_default();
                row.merge(figures);
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
            let key = Key { step_s: resolution.step_s(), series: *series, at_ms: *at_ms };
            write_site(&mut transaction, key, figures).await?;
            if has_routes(*resolution) {
                write_routes(&mut transaction, key, &figures.counted.routes).await?;
            }
        }
        for ((resolution, name, at_ms), figures) in &batch.processes {
            let Some(series) = self.series.get(&(Kind::Process, name.clone())) else { continue };
            let key = Key { step_s: resolution.step_s(), series: *series, at_ms: *at_ms };
            write_process(&mut transaction, key, figures).await?;
        }
        for ((resolution, at_ms), figures) in &batch.the_box {
            write_box(&mut transaction, resolution.step_s(), *at_ms, figures).await?;
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
pub(super) struct Key {
    pub(super) step_s: i64,
    pub(super) series: i64,
    pub(super) at_ms: i64,
}

async fn write_site(
    connection: &mut SqliteConnection,
    key: Key,
    figures: &SiteFigures,
) -> Result<(), MetricsError> {
    let known =
        sqlx::query("SELECT * FROM site_samples WHERE step_s = ?1 AND series = ?2 AND at_ms = ?3")
            .bind(key.step_s)
            .bind(key.series)
            .bind(key.at_ms)
            .fetch_optional(&mut *connection)
            .await?;
    let mut whole = figures.clone();
    if let Some(row) = known {
        whole.merge(&to_site(&row)?);
    }
    let counted = &whole.counted;
    let mut insert = sqlx::query(
        "INSERT OR REPLACE INTO site_samples (step_s, series, at_ms, samples, \
         status_none, status_1xx, status_2xx, status_3xx, status_4xx, status_5xx, \
         by_app, by_static, by_proxy, bytes_in, bytes_out, answers_max, \
         in_flight_sum, in_flight_min, in_flight_max, by_cache, cache_hits, cache_stale, cache_revalidated, \
         cache_misses, cache_bypassed, cache_saved, latency, accept, queue, app, body, send) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(key.step_s)
    .bind(key.series)
    .bind(key.at_ms)
    .bind(stored(whole.samples));
    for answers in counted.by_class {
        insert = insert.bind(stored(answers));
    }
    let (gauge, cache) = (whole.in_flight, counted.cache);
    let counts = [
        counted.app,
        counted.r#static,
        counted.proxy,
        counted.bytes_in,
        counted.bytes_out,
        whole.answers_max,
        gauge.sum,
        gauge.min,
        gauge.max,
        counted.cached,
        cache.hits,
        cache.stale,
        cache.revalidated,
        cache.misses,
        cache.bypassed,
        cache.saved_bytes,
    ];
    for count in counts {
        insert = insert.bind(stored(count));
    }
    let histograms = [
        &counted.total,
        &counted.accept,
        &counted.queue,
        &counted.app_time,
        &counted.body,
        &counted.send,
    ];
    for histogram in histograms {
        insert = insert.bind(histogram.to_bytes());
    }
    insert.execute(connection).await?;
    Ok(())
}

/// What a row of `site_samples` says.
pub(super) fn to_site(row: &SqliteRow) -> Result<SiteFigures, MetricsError> {
    Ok(SiteFigures {
        samples: count(row, "samples")?,
        counted: SiteSnapshot {
            by_class: [
                count(row, "status_none")?,
                count(row, "status_1xx")?,
                count(row, "status_2xx")?,
                count(row, "status_3xx")?,
                count(row, "status_4xx")?,
                count(row, "status_5xx")?,
            ],
            app: count(row, "by_app")?,
            r#static: count(row, "by_static")?,
            cached: count(row, "by_cache")?,
            cache: CacheSnapshot {
                hits: count(row, "cache_hits")?,
                stale: count(row, "cache_stale")?,
                revalidated: count(row, "cache_revalidated")?,
                misses: count(row, "cache_misses")?,
                bypassed: count(row, "cache_bypassed")?,
                saved_bytes: count(row, "cache_saved")?,
                // Told live alone.
                stored_bytes: 0,
            },
            // In rows of their own.
            routes: BTreeMap::new(),
            proxy: count(row, "by_proxy")?,
            bytes_in: count(row, "bytes_in")?,
            bytes_out: count(row, "bytes_out")?,
            in_flight: 0,
            gil_wait_ms: 0,
            total: histogram(row, "latency")?,
            accept: histogram(row, "accept")?,
            queue: histogram(row, "queue")?,
            app_time: histogram(row, "app")?,
            body: histogram(row, "body")?,
            send: histogram(row, "send")?,
        },
        answers_max: count(row, "answers_max")?,
        in_flight: gauge(row, ["in_flight_sum", "in_flight_min", "in_flight_max"])?,
    })
}

async fn write_process(
    connection: &mut SqliteConnection,
    key: Key,
    figures: &ProcessFigures,
) -> Result<(), MetricsError> {
    let mut insert = sqlx::query(
        "INSERT INTO process_samples (step_s, series, at_ms, samples, cpu_us, cpu_us_max, \
         pss_sum, pss_min, pss_max, rss_sum, rss_min, rss_max, \
         threads_sum, threads_min, threads_max, descriptors_sum, descriptors_min, descriptors_max) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) \
         ON CONFLICT DO UPDATE SET samples = samples + excluded.samples, \
         cpu_us = cpu_us + excluded.cpu_us, cpu_us_max = max(cpu_us_max, excluded.cpu_us_max), \
         pss_sum = pss_sum + excluded.pss_sum, \
         pss_min = min(pss_min, excluded.pss_min), pss_max = max(pss_max, excluded.pss_max), \
         rss_sum = rss_sum + excluded.rss_sum, \
         rss_min = min(rss_min, excluded.rss_min), rss_max = max(rss_max, excluded.rss_max), \
         threads_sum = threads_sum + excluded.threads_sum, \
         threads_min = min(threads_min, excluded.threads_min), \
         threads_max = max(threads_max, excluded.threads_max), \
         descriptors_sum = descriptors_sum + excluded.descriptors_sum, \
         descriptors_min = min(descriptors_min, excluded.descriptors_min), \
         descriptors_max = max(descriptors_max, excluded.descriptors_max)",
    )
    .bind(key.step_s)
    .bind(key.series)
    .bind(key.at_ms);
    for value in [figures.samples, figures.cpu_us, figures.cpu_us_max] {
        insert = insert.bind(stored(value));
    }
    for gauge in [figures.pss, figures.rss, figures.threads, figures.descriptors] {
        for value in [gauge.sum, gauge.min, gauge.max] {
            insert = insert.bind(stored(value));
        }
    }
    insert.execute(connection).await?;
    Ok(())
}

/// What a row of `process_samples` says.
pub(super) fn to_process(row: &SqliteRow) -> Result<ProcessFigures, MetricsError> {
    Ok(ProcessFigures {
        samples: count(row, "samples")?,
        cpu_us: count(row, "cpu_us")?,
        cpu_us_max: count(row, "cpu_us_max")?,
        pss: gauge(row, ["pss_sum", "pss_min", "pss_max"])?,
        rss: gauge(row, ["rss_sum", "rss_min", "rss_max"])?,
        threads: gauge(row, ["threads_sum", "threads_min", "threads_max"])?,
        descriptors: gauge(row, ["descriptors_sum", "descriptors_min", "descriptors_max"])?,
    })
}

async fn write_box(
    connection: &mut SqliteConnection,
    step_s: i64,
    at_ms: i64,
    figures: &BoxFigures,
) -> Result<(), MetricsError> {
    let mut insert = sqlx::query(
        "INSERT INTO box_samples (step_s, at_ms, samples, cpu_ppm_sum, cpu_ppm_min, cpu_ppm_max, \
         memory_sum, memory_min, memory_max, memory_total, disk_sum, disk_min, disk_max, disk_total, \
         load_sum, load_min, load_max, received, sent) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) \
         ON CONFLICT DO UPDATE SET samples = samples + excluded.samples, \
         cpu_ppm_sum = cpu_ppm_sum + excluded.cpu_ppm_sum, \
         cpu_ppm_min = min(cpu_ppm_min, excluded.cpu_ppm_min), \
         cpu_ppm_max = max(cpu_ppm_max, excluded.cpu_ppm_max), \
         memory_sum = memory_sum + excluded.memory_sum, \
         memory_min = min(memory_min, excluded.memory_min), \
         memory_max = max(memory_max, excluded.memory_max), memory_total = excluded.memory_total, \
         disk_sum = disk_sum + excluded.disk_sum, disk_min = min(disk_min, excluded.disk_min), \
         disk_max = max(disk_max, excluded.disk_max), disk_total = excluded.disk_total, \
         load_sum = load_sum + excluded.load_sum, load_min = min(load_min, excluded.load_min), \
         load_max = max(load_max, excluded.load_max), \
         received = received + excluded.received, sent = sent + excluded.sent",
    )
    .bind(step_s)
    .bind(at_ms);
    let (cpu, memory) = (figures.cpu_ppm, figures.memory);
    let (disk, load) = (figures.disk, figures.load);
    let values = [
        figures.samples,
        cpu.sum,
        cpu.min,
        cpu.max,
        memory.sum,
        memory.min,
        memory.max,
        figures.memory_total,
        disk.sum,
        disk.min,
        disk.max,
        figures.disk_total,
        load.sum,
        load.min,
        load.max,
        figures.received,
        figures.sent,
    ];
    for value in values {
        insert = insert.bind(stored(value));
    }
    insert.execute(connection).await?;
    Ok(())
}

/// What a row of `box_samples` says.
pub(super) fn to_box(row: &SqliteRow) -> Result<BoxFigures, MetricsError> {
    Ok(BoxFigures {
        samples: count(row, "samples")?,
        cpu_ppm: gauge(row, ["cpu_ppm_sum", "cpu_ppm_min", "cpu_ppm_max"])?,
        memory: gauge(row, ["memory_sum", "memory_min", "memory_max"])?,
        memory_total: count(row, "memory_total")?,
        disk: gauge(row, ["disk_sum", "disk_min", "disk_max"])?,
        disk_total: count(row, "disk_total")?,
        load: gauge(row, ["load_sum", "load_min", "load_max"])?,
        received: count(row, "received")?,
        sent: count(row, "sent")?,
    })
}

fn gauge(row: &SqliteRow, [sum, min, max]: [&str; 3]) -> Result<Gauge, MetricsError> {
    Ok(Gauge { sum: count(row, sum)?, min: count(row, min)?, max: count(row, max)? })
}

pub(super) fn count(row: &SqliteRow, column: &str) -> Result<u64, MetricsError> {
    let value: i64 = row.try_get(column)?;
    u64::try_from(value).map_err(|_| MetricsError::Damaged(format!("{column} is {value}")))
}

pub(super) fn histogram(row: &SqliteRow, column: &str) -> Result<HistogramSnapshot, MetricsError> {
    let bytes: &[u8] = row.try_get(column)?;
    let read = HistogramSnapshot::from_bytes(bytes);
    read.ok_or_else(|| MetricsError::Damaged(format!("{column} is no histogram")))
}

/// SQLite's integers have a sign.
pub(super) fn stored(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_a_cache_did_adds_up_over_writes() {
        let folder = tempfile::tempdir().unwrap();
        let mut db = MetricsDb::open(&folder.path().join("metrics.db")).await.unwrap();
        let cache = CacheSnapshot {
            hits: 1,
            stale: 2,
            revalidated: 3,
            misses: 4,
            bypassed: 5,
            saved_bytes: 6,
            stored_bytes: 0,
        };
        let counted = SiteSnapshot {
            by_class: [0, 0, 9, 0, 0, 0],
            cached: 6,
            cache,
            ..SiteSnapshot::default()
        };
        for at_ms in [60_000, 61_000] {
            let mut batch = Batch::default();
            let blog = SiteFigures::over(&counted, 1).map(|figures| ("blog".to_owned(), figures));
            batch.add(&Tick { at_ms, sites: blog.into_iter().collect(), ..Tick::default() });
            db.write(&batch).await.unwrap();
        }
        let row = sqlx::query("SELECT * FROM site_samples WHERE step_s = 60")
            .fetch_one(&mut db.connection)
            .await
            .unwrap();
        let read = to_site(&row).unwrap().counted;
        assert_eq!((read.cached, read.requests()), (12, 18));
        let twice = CacheSnapshot {
            hits: 2,
            stale: 4,
            revalidated: 6,
            misses: 8,
            bypassed: 10,
            saved_bytes: 12,
            stored_bytes: 0,
        };
        assert_eq!(read.cache, twice);
    }
}
