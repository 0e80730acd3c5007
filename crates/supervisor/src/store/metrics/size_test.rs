//! What 30 days of 10 busy sites take on the disk.

use std::time::Duration;

use onebox_app_server::GilStalls;
use onebox_metrics::{DropSnapshot, HistogramSnapshot, Phase, PhaseDurations, Registry, ServedBy};
use sqlx::AssertSqlSafe;
use sqlx::sqlite::SqliteRow;

use super::{Batch, MetricsDb, columns, failures, requests, routes};
use crate::api::{FailureKind, FailureReport, Frame, Raised, RequestRecord};
use crate::history::figures::{BoxFigures, Figures, Gauge, ProcessFigures, SiteFigures, Tick};
use crate::history::resolution::Resolution;

const KEEP: Duration = Duration::from_secs(30 * 86_400);
const SITES: usize = 10;
/// Each site has two workers.
const PROCESSES: usize = 2 + 2 * SITES;
/// Routes of each site: more than have a row of their own.
const ROUTES: u64 = 24;
/// Answers a second of each site.
const ANSWERS: u64 = 20;

/// Durations whose logarithms lie around a middle, as latencies do.
struct Durations(u64);

impl Durations {
    fn next(&mut self, shortest_log2: f64, longest_log2: f64) -> Duration {
        let mut share = 0.0;
        for _ in 0..3 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            share += (self.0 >> 33) as f64 / f64::from(u32::MAX >> 1) / 3.0;
        }
        let log2 = shortest_log2 + share * (longest_log2 - shortest_log2);
        Duration::from_secs_f64(log2.exp2() / 1e6)
    }

    /// What a site does in so many seconds.
    fn site(&mut self, seconds: u64) -> SiteFigures {
        // An hour's histogram has the parts of ten minutes' one.
        let recorded = seconds.min(600);
        let registry = Registry::new();
        for number in 0..recorded * ANSWERS {
            let app = self.next(9.0, 18.0);
            let phases = PhaseDurations {
                tls: (number % 10 == 0).then(|| self.next(11.0, 16.0)),
                accept: Some(self.next(4.0, 8.0)),
                queue: Some(self.next(3.0, 11.0)),
                app: Some(app),
                body: Some(self.next(3.0, 8.0)),
                send: Some(self.next(4.0, 9.0)),
                total: app + Duration::from_micros(400),
            };
            let status = if number % 53 == 0 { 404 } else { 200 };
            let finished = onebox_metrics::Finished {
                status,
                served_by: ServedBy::App,
                bytes_in: 800,
                bytes_out: 20_000,
                phases,
            };
            let site = registry.site("site");
            site.finish(&format!("/section/*/page-{}", number % ROUTES), &finished);
            site.releases.release("20261120-114213-3f2a").count(&finished);
        }
        let counted = &registry.snapshot().sites["site"];
        let mut whole = SiteFigures::over(counted, recorded).unwrap();
        for _ in 1..seconds / recorded {
            whole.merge(&SiteFigures::over(counted, recorded).unwrap());
        }
        whole
    }
}

fn tick(durations: &mut Durations, at_ms: i64, seconds: u64) -> Tick {
    let process = ProcessFigures {
        samples: seconds,
        cpu_us: 123_456 * seconds,
        cpu_us_max: 345_678,
        pss: Gauge::over(43_210_000, seconds),
        rss: Gauge::over(65_432_100, seconds),
        threads: Gauge::over(11, seconds),
        descriptors: Gauge::over(234, seconds),
        gil_stalls: GilStalls { count: seconds, lasted_us: 123_456 * seconds, longest_us: 234_567 },
    };
    let the_box = BoxFigures {
        samples: seconds,
        cpu_ppm: Gauge::over(234_567, seconds),
        memory: Gauge::over(3_456_789_012, seconds),
        memory_total: 8_000_000_000,
        disk: Gauge::over(123_456_789_012, seconds),
        disk_total: 500_000_000_000,
        load: Gauge::over(1234, seconds),
        received: 12_345_678 * seconds,
        sent: 123_456_789 * seconds,
        drops: DropSnapshot {
            malformed: seconds,
            slow: seconds,
            refused: 3 * seconds,
            ..DropSnapshot::default()
        },
    };
    Tick {
        at_ms,
        sites: (0..SITES).map(|n| (format!("site-{n}"), durations.site(seconds))).collect(),
        processes: (0..PROCESSES).map(|n| (format!("site-{n}.1"), process)).collect(),
        the_box,
    }
}

/// As many requests and failures as stay of a site.
async fn log(db: &mut MetricsDb, site: &str) {
    let request = |number: i64| RequestRecord {
        request_id: format!("{number:032}"),
        at_ms: 1_792_000_000_000 + number,
        site: site.to_owned(),
        release: "20261120-114213-3f2a".into(),
        method: "GET".into(),
        path: format!("/section/{number}/page-{}", number % 24),
        status: if number % 2 == 0 { 200 } else { 500 },
        served_by: "app".into(),
        worker: Some(format!("{site}.1")),
        error: None,
        bytes_in: 812,
        bytes_out: 20_123,
        tls_us: None,
        accept_us: Some(123),
        queue_us: Some(234),
        app_us: Some(34_567),
        body_us: Some(45),
        send_us: Some(56),
        total_us: 35_025,
        client: Some("192.0.2.123".into()),
        user_agent: Some(
            "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0".into(),
        ),
    };
    let requests: Vec<_> = (0..2 * requests::MOST_OF_A_KIND).map(request).collect();
    db.add_requests(&requests).await.unwrap();
    let frame = |line| Frame {
        file: "venv/lib/python3.13/site-packages/django/core/handlers/base.py".into(),
        line,
        function: "_get_response".into(),
        source: Some("response = wrapped_callback(request, *callback_args)".into()),
    };
    let failure = |number: i64| FailureReport {
        at_ms: 1_792_000_000_000 + number,
        kind: FailureKind::Exception,
        site: site.to_owned(),
        release: "20261120-114213-3f2a".into(),
        worker: Some(format!("{site}.1")),
        request_id: format!("{number:032}"),
        method: "GET".into(),
        path: "/section/7/page-3".into(),
        age_ms: 12,
        fingerprint: format!("{:016}", number % 25),
        place: Some("blog/views.py:123 in page".into()),
        raised: vec![Raised {
            kind: "blog.errors.NotToBeHad".into(),
            message: "there is no such page in this section".into(),
            after: None,
            frames: (0..12).map(frame).collect(),
        }],
        printed: "INFO looking for the page\n".repeat(4),
    };
    let reports: Vec<_> = (0..failures::MOST_OF_A_SITE).map(failure).collect();
    db.add_failures(&reports).await.unwrap();
}

/// What each table takes, with its indexes.
async fn shares(db: &mut MetricsDb) -> Vec<(String, i64)> {
    sqlx::query_as(
        "SELECT m.tbl_name, sum(s.pgsize) FROM dbstat s JOIN sqlite_schema m ON m.name = s.name \
         GROUP BY m.tbl_name ORDER BY 2 DESC",
    )
    .fetch_all(&mut db.connection)
    .await
    .unwrap_or_default()
}

/// Copies the rows that begin at 0 to every time for which rows stay, in the order of time.
async fn copy_rows(db: &mut MetricsDb, resolution: Resolution, tables: &[(&str, Duration)]) {
    for (table, keep) in tables {
        let rows = i64::try_from(keep.as_secs()).unwrap() / resolution.step_s();
        let columns: Vec<String> =
            sqlx::query_scalar("SELECT name FROM pragma_table_info(?1) WHERE name <> 'at_ms'")
                .bind(table)
                .fetch_all(&mut db.connection)
                .await
                .unwrap();
        let columns = columns.join(", ");
        let step_s = resolution.step_s();
        let sql = format!(
            "CREATE TEMP TABLE model AS SELECT * FROM {table} WHERE step_s = {step_s} AND at_ms = 0; \
             WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {rows}) \
             INSERT INTO {table} ({columns}, at_ms) \
             SELECT {columns}, 1792000000000 + n * step_s * 1000 FROM numbers CROSS JOIN model; \
             DROP TABLE model;"
        );
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut db.connection).await.unwrap();
    }
}

#[tokio::test]
async fn thirty_days_of_ten_busy_sites_take_less_than_100_mb() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("metrics.db");
    let mut db = MetricsDb::open(&path).await.unwrap();
    let mut durations = Durations(7);
    let mut expected = 0;
    for resolution in Resolution::ALL {
        let seconds = u64::try_from(resolution.step_s()).unwrap();
        let mut batch = Batch::default();
        batch.add(&tick(&mut durations, 0, seconds));
        db.write(&batch).await.unwrap();
        let keep = resolution.keep(KEEP);
        let tables = [
            ("site_samples", keep),
            ("process_samples", keep),
            ("box_samples", keep),
            ("route_samples", routes::keep(resolution, KEEP)),
            ("release_samples", keep),
        ];
        copy_rows(&mut db, resolution, &tables).await;
        for table in ["site_samples", "route_samples", "release_samples"] {
            let sql = format!("DELETE FROM {table} WHERE at_ms = 0 AND step_s < 86400");
            sqlx::query(AssertSqlSafe(sql)).execute(&mut db.connection).await.unwrap();
        }
        expected +=
            i64::try_from(resolution.keep(KEEP).as_secs() / seconds * SITES as u64).unwrap();
    }
    copy_rows(&mut db, Resolution::Day, &[("route_samples", KEEP)]).await;
    let rows: i64 =
        sqlx::query_scalar("SELECT count(*) FROM site_samples WHERE length(histograms) > 50")
            .fetch_one(&mut db.connection)
            .await
            .unwrap();
    assert_eq!(rows, expected);
    for number in 0..SITES {
        log(&mut db, &format!("site-{number}")).await;
    }
    sqlx::raw_sql("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut db.connection).await.unwrap();
    for (table, bytes) in shares(&mut db).await {
        println!("{table}: {:.1} MB", bytes as f64 / 1e6);
    }
    let begun = std::time::Instant::now();
    db.check().await.unwrap();
    let checked = begun.elapsed();
    db.close().await;
    let megabytes = std::fs::metadata(&path).unwrap().len() / 1_000_000;
    println!("{megabytes} MB, checked in {checked:?}");
    assert!(megabytes < 100, "{megabytes} MB");
}

#[tokio::test]
async fn percentiles_stay_right_to_five_per_cent_after_every_roll_up() {
    let folder = tempfile::tempdir().unwrap();
    let mut db = MetricsDb::open(&folder.path().join("metrics.db")).await.unwrap();
    let mut durations = Durations(11);
    let (hour_ms, mut exact) = (1_800_000_000_000 / 3_600_000 * 3_600_000, Vec::new());
    for second in 0..40 {
        let registry = Registry::new();
        for _ in 0..15 {
            let total = durations.next(8.0, 22.0);
            exact.push(total.as_micros() as f64);
            let phases = PhaseDurations { app: Some(total), total, ..PhaseDurations::default() };
            let finished = onebox_metrics::Finished {
                status: 200,
                served_by: ServedBy::App,
                bytes_in: 1,
                bytes_out: 1,
                phases,
            };
            let site = registry.site("site");
            site.finish("/posts/*", &finished);
            site.releases.release("r1").count(&finished);
        }
        let site = SiteFigures::over(&registry.snapshot().sites["site"], 1).unwrap();
        let mut batch = Batch::default();
        batch.add(&Tick {
            at_ms: hour_ms + second * 90_000,
            sites: [("site".to_owned(), site)].into(),
            ..Tick::default()
        });
        db.write(&batch).await.unwrap();
    }
    exact.sort_by(f64::total_cmp);
    let mut wholes = Vec::new();
    for resolution in Resolution::ALL {
        let mut whole = HistogramSnapshot::default();
        for row in rows(&mut db, "site_samples", resolution).await {
            whole.merge(&columns::SITE.read(&row).unwrap().counted.app_time);
        }
        wholes.push(whole);
    }
    for (table, resolution) in [
        (columns::ROUTE, Resolution::Minute),
        (columns::ROUTE, Resolution::Hour),
        (columns::ROUTE, Resolution::Day),
        (columns::RELEASE, Resolution::Hour),
    ] {
        let mut whole = HistogramSnapshot::default();
        for row in rows(&mut db, table.name, resolution).await {
            whole.merge(table.read(&row).unwrap().phase(Phase::App));
        }
        wholes.push(whole);
    }
    assert_eq!(wholes.len(), 8);
    for (number, whole) in wholes.iter().enumerate() {
        assert_eq!(whole.count, 600, "{number}");
        for (q, rank) in [(0.5, 300), (0.95, 570), (0.99, 594)] {
            let (told, right) = (whole.quantile(q).as_micros() as f64, exact[rank - 1]);
            assert!((told - right).abs() <= right * 0.05, "{told} for {right} in {number}");
        }
    }
}

async fn rows(db: &mut MetricsDb, table: &str, resolution: Resolution) -> Vec<SqliteRow> {
    let sql = format!("SELECT * FROM {table} WHERE step_s = ?1");
    let rows = sqlx::query(AssertSqlSafe(sql)).bind(resolution.step_s());
    rows.fetch_all(&mut db.connection).await.unwrap()
}
