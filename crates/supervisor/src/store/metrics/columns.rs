//! What the columns of the tables of samples hold. A column is added here and in a migration, and nowhere else.

use onebox_metrics::{Phase, TrafficSnapshot};

use super::table::Before::{Sum, Whole};
use super::table::{Column, Packed, Table};
use crate::history::figures::{BoxFigures, ProcessFigures, SiteFigures};

/// What a site did.
pub(super) const SITE: Table<SiteFigures> = Table {
    name: "site_samples",
    counts: &[
        ("samples", |row| &mut row.samples),
        ("status_none", |row| &mut row.counted.by_class[0]),
        ("status_1xx", |row| &mut row.counted.by_class[1]),
        ("status_2xx", |row| &mut row.counted.by_class[2]),
        ("status_3xx", |row| &mut row.counted.by_class[3]),
        ("status_4xx", |row| &mut row.counted.by_class[4]),
        ("status_5xx", |row| &mut row.counted.by_class[5]),
        ("by_app", |row| &mut row.counted.app),
        ("by_static", |row| &mut row.counted.r#static),
        ("by_proxy", |row| &mut row.counted.proxy),
        ("by_cache", |row| &mut row.counted.cached),
        ("limited", |row| &mut row.counted.limited),
        ("cache_hits", |row| &mut row.counted.cache.hits),
        ("cache_stale", |row| &mut row.counted.cache.stale),
        ("cache_revalidated", |row| &mut row.counted.cache.revalidated),
        ("cache_misses", |row| &mut row.counted.cache.misses),
        ("cache_bypassed", |row| &mut row.counted.cache.bypassed),
        ("cache_saved", |row| &mut row.counted.cache.saved_bytes),
        ("bytes_in", |row| &mut row.counted.bytes_in),
        ("bytes_out", |row| &mut row.counted.bytes_out),
        ("answers_max", |row| &mut row.answers_max),
        ("in_flight_sum", |row| &mut row.in_flight.sum),
        ("in_flight_min", |row| &mut row.in_flight.min),
        ("in_flight_max", |row| &mut row.in_flight.max),
    ],
    histograms: &[
        (Whole("latency"), |row| &mut row.counted.total),
        (Whole("tls"), |row| &mut row.counted.tls),
        (Whole("accept"), |row| &mut row.counted.accept),
        (Whole("queue"), |row| &mut row.counted.queue),
        (Whole("app"), |row| &mut row.counted.app_time),
        (Whole("body"), |row| &mut row.counted.body),
        (Whole("send"), |row| &mut row.counted.send),
    ],
};

/// What a process took.
pub(super) const PROCESS: Table<ProcessFigures> = Table {
    name: "process_samples",
    counts: &[
        ("samples", |row| &mut row.samples),
        ("cpu_us", |row| &mut row.cpu_us),
        ("cpu_us_max", |row| &mut row.cpu_us_max),
        ("pss_sum", |row| &mut row.pss.sum),
        ("pss_min", |row| &mut row.pss.min),
        ("pss_max", |row| &mut row.pss.max),
        ("rss_sum", |row| &mut row.rss.sum),
        ("rss_min", |row| &mut row.rss.min),
        ("rss_max", |row| &mut row.rss.max),
        ("threads_sum", |row| &mut row.threads.sum),
        ("threads_min", |row| &mut row.threads.min),
        ("threads_max", |row| &mut row.threads.max),
        ("descriptors_sum", |row| &mut row.descriptors.sum),
        ("descriptors_min", |row| &mut row.descriptors.min),
        ("descriptors_max", |row| &mut row.descriptors.max),
        ("gil_stalls", |row| &mut row.gil_stalls.count),
        ("gil_stalled_us", |row| &mut row.gil_stalls.lasted_us),
        ("gil_longest_us", |row| &mut row.gil_stalls.longest_us),
    ],
    histograms: &[],
};

/// What the machine did.
pub(super) const THE_BOX: Table<BoxFigures> = Table {
    name: "box_samples",
    counts: &[
        ("samples", |row| &mut row.samples),
        ("cpu_ppm_sum", |row| &mut row.cpu_ppm.sum),
        ("cpu_ppm_min", |row| &mut row.cpu_ppm.min),
        ("cpu_ppm_max", |row| &mut row.cpu_ppm.max),
        ("memory_sum", |row| &mut row.memory.sum),
        ("memory_min", |row| &mut row.memory.min),
        ("memory_max", |row| &mut row.memory.max),
        ("memory_total", |row| &mut row.memory_total),
        ("disk_sum", |row| &mut row.disk.sum),
        ("disk_min", |row| &mut row.disk.min),
        ("disk_max", |row| &mut row.disk.max),
        ("disk_total", |row| &mut row.disk_total),
        ("load_sum", |row| &mut row.load.sum),
        ("load_min", |row| &mut row.load.min),
        ("load_max", |row| &mut row.load.max),
        ("received", |row| &mut row.received),
        ("sent", |row| &mut row.sent),
        ("dropped_malformed", |row| &mut row.drops.malformed),
        ("dropped_slow", |row| &mut row.drops.slow),
        ("dropped_handshake", |row| &mut row.drops.handshake),
        ("dropped_flood", |row| &mut row.drops.flood),
        ("dropped_crowd", |row| &mut row.drops.crowd),
        ("dropped_in_the_way", |row| &mut row.drops.in_the_way),
        ("dropped_no_room", |row| &mut row.drops.no_room),
        ("dropped_no_memory", |row| &mut row.drops.no_memory),
        ("dropped_refused", |row| &mut row.drops.refused),
    ],
    histograms: &[],
};

/// What was answered on a route.
pub(super) const ROUTE: Table<TrafficSnapshot> =
    Table { name: "route_samples", counts: TRAFFIC, histograms: DURATIONS };

/// What a release answered.
pub(super) const RELEASE: Table<TrafficSnapshot> =
    Table { name: "release_samples", counts: TRAFFIC, histograms: DURATIONS };

const TRAFFIC: &[Column<TrafficSnapshot>] = &[
    ("status_none", |row| &mut row.by_class[0]),
    ("status_1xx", |row| &mut row.by_class[1]),
    ("status_2xx", |row| &mut row.by_class[2]),
    ("status_3xx", |row| &mut row.by_class[3]),
    ("status_4xx", |row| &mut row.by_class[4]),
    ("errors", |row| &mut row.by_class[5]),
    ("bytes_in", |row| &mut row.bytes_in),
    ("bytes_out", |row| &mut row.bytes_out),
];
const DURATIONS: &[Packed<TrafficSnapshot>] = &[
    (Whole("latency"), |row| &mut row.total),
    (Sum("tls_us"), |row| row.phase(Phase::Tls)),
    (Sum("accept_us"), |row| row.phase(Phase::Accept)),
    (Sum("queue_us"), |row| row.phase(Phase::Queue)),
    (Sum("app_us"), |row| row.phase(Phase::App)),
    (Sum("body_us"), |row| row.phase(Phase::Body)),
    (Sum("send_us"), |row| row.phase(Phase::Send)),
];

#[cfg(test)]
mod tests {
    use onebox_app_server::GilStalls;
    use onebox_metrics::{CacheSnapshot, DropSnapshot, HistogramSnapshot, SiteSnapshot, unpack};
    use sqlx::{AssertSqlSafe, Column as _, Row};

    use super::super::MetricsDb;
    use super::super::table::KeyPart::{self, Number, Text};
    use super::super::table::count;
    use super::*;
    use crate::history::figures::{Figures, Gauge};
    use std::fmt::Debug;

    const KEY: [(&str, KeyPart<'static>); 3] =
        [("step_s", Number(60)), ("series", Number(1)), ("at_ms", Number(0))];

    /// What the columns of a row say after these figures were written, the histograms by their only part.
    async fn written<F>(table: &Table<F>, key: &[(&'static str, KeyPart<'_>)], figures: F) -> String
    where
        F: Figures + Debug + PartialEq,
    {
        let folder = tempfile::tempdir().unwrap();
        let mut db = MetricsDb::open(&folder.path().join("metrics.db")).await.unwrap();
        sqlx::raw_sql("INSERT INTO series VALUES (1, 'site', 'blog')")
            .execute(&mut db.connection)
            .await
            .unwrap();
        table.add(&mut db.connection, key, &figures).await.unwrap();
        let sql = format!("SELECT * FROM {}", table.name);
        let row = sqlx::query(AssertSqlSafe(sql)).fetch_one(&mut db.connection).await.unwrap();
        assert_eq!(table.read(&row).unwrap(), figures);
        let names = row.columns().iter().map(|column| column.name()).skip(key.len());
        let all = names.map(|name| match count(&row, name) {
            Ok(value) => format!("{name} {value}"),
            Err(_) => {
                let bytes: Vec<u8> = row.get(name);
                match unpack(&bytes, table.histograms.len()) {
                    Some(all) => {
                        let parts: Vec<_> = all.iter().map(|one| one.buckets[0].0).collect();
                        format!("{name} {parts:?}")
                    }
                    None => format!("{name} {bytes:?}"),
                }
            }
        });
        all.collect::<Vec<_>>().join(", ")
    }

    fn gauge(first: u64) -> Gauge {
        Gauge { sum: first, min: first + 1, max: first + 2 }
    }

    fn histogram(part: u16) -> HistogramSnapshot {
        HistogramSnapshot { buckets: vec![(part, 1)], sum_us: 0, count: 1 }
    }

    #[tokio::test]
    async fn every_column_of_a_site_holds_what_it_is_called() {
        let cache = CacheSnapshot {
            hits: 11,
            stale: 12,
            revalidated: 13,
            misses: 14,
            bypassed: 15,
            saved_bytes: 16,
            ..CacheSnapshot::default()
        };
        let counted = SiteSnapshot {
            by_class: [1, 2, 3, 4, 5, 6],
            app: 7,
            r#static: 8,
            proxy: 9,
            cached: 10,
            limited: 31,
            cache,
            bytes_in: 17,
            bytes_out: 18,
            total: histogram(1),
            tls: histogram(2),
            accept: histogram(3),
            queue: histogram(4),
            app_time: histogram(5),
            body: histogram(6),
            send: histogram(7),
            ..SiteSnapshot::default()
        };
        let site = SiteFigures { samples: 30, counted, answers_max: 19, in_flight: gauge(20) };
        insta::assert_snapshot!(written(&SITE, &KEY, site).await, @"samples 30, status_none 1, status_1xx 2, status_2xx 3, status_3xx 4, status_4xx 5, status_5xx 6, by_app 7, by_static 8, by_proxy 9, bytes_in 17, bytes_out 18, answers_max 19, in_flight_sum 20, in_flight_min 21, in_flight_max 22, latency [0], accept [0], queue [0], app [0], body [0], send [0], by_cache 10, cache_hits 11, cache_stale 12, cache_revalidated 13, cache_misses 14, cache_bypassed 15, cache_saved 16, tls [0], limited 31, histograms [1, 2, 3, 4, 5, 6, 7]");
    }

    #[tokio::test]
    async fn every_column_of_a_process_holds_what_it_is_called() {
        let process = ProcessFigures {
            samples: 1,
            cpu_us: 2,
            cpu_us_max: 3,
            pss: gauge(4),
            rss: gauge(7),
            threads: gauge(10),
            descriptors: gauge(13),
            gil_stalls: GilStalls { count: 16, lasted_us: 17, longest_us: 18 },
        };
        insta::assert_snapshot!(written(&PROCESS, &KEY, process).await, @"samples 1, cpu_us 2, cpu_us_max 3, pss_sum 4, pss_min 5, pss_max 6, rss_sum 7, rss_min 8, rss_max 9, threads_sum 10, threads_min 11, threads_max 12, descriptors_sum 13, descriptors_min 14, descriptors_max 15, gil_stalls 16, gil_stalled_us 17, gil_longest_us 18");
    }

    #[tokio::test]
    async fn every_column_of_the_box_holds_what_it_is_called() {
        let the_box = BoxFigures {
            samples: 1,
            cpu_ppm: gauge(2),
            memory: gauge(5),
            memory_total: 8,
            disk: gauge(9),
            disk_total: 12,
            load: gauge(13),
            received: 16,
            sent: 17,
            drops: DropSnapshot {
                malformed: 18,
                slow: 19,
                handshake: 20,
                flood: 21,
                crowd: 22,
                in_the_way: 23,
                no_room: 24,
                no_memory: 25,
                refused: 26,
            },
        };
        let key = [("step_s", Number(60)), ("at_ms", Number(0))];
        insta::assert_snapshot!(written(&THE_BOX, &key, the_box).await, @"samples 1, cpu_ppm_sum 2, cpu_ppm_min 3, cpu_ppm_max 4, memory_sum 5, memory_min 6, memory_max 7, memory_total 8, disk_sum 9, disk_min 10, disk_max 11, disk_total 12, load_sum 13, load_min 14, load_max 15, received 16, sent 17, dropped_malformed 18, dropped_slow 19, dropped_handshake 20, dropped_flood 21, dropped_crowd 22, dropped_in_the_way 23, dropped_no_room 24, dropped_no_memory 25, dropped_refused 26");
    }

    #[tokio::test]
    async fn every_column_of_traffic_holds_what_it_is_called() {
        let traffic = TrafficSnapshot {
            by_class: [1, 2, 3, 4, 5, 6],
            bytes_in: 7,
            bytes_out: 8,
            total: histogram(1),
            phases: [2, 3, 4, 5, 6, 7].map(histogram),
        };
        let [step, series, at] = KEY;
        let key = [step, series, at, ("route", Text("/a"))];
        insta::assert_snapshot!(written(&ROUTE, &key, traffic.clone()).await, @"errors 6, bytes_out 8, accept_us 0, queue_us 0, app_us 0, body_us 0, send_us 0, latency [0], tls_us 0, status_none 1, status_1xx 2, status_2xx 3, status_3xx 4, status_4xx 5, bytes_in 7, histograms [1, 2, 3, 4, 5, 6, 7]");
        let key = [step, series, at, ("\"release\"", Text("r1"))];
        insta::assert_snapshot!(written(&RELEASE, &key, traffic).await, @"status_none 1, status_1xx 2, status_2xx 3, status_3xx 4, status_4xx 5, errors 6, bytes_in 7, bytes_out 8, tls_us 0, accept_us 0, queue_us 0, app_us 0, body_us 0, send_us 0, latency [0], histograms [1, 2, 3, 4, 5, 6, 7]");
    }

    #[tokio::test]
    async fn a_row_of_an_earlier_version_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let mut db = MetricsDb::open(&folder.path().join("metrics.db")).await.unwrap();
        sqlx::raw_sql(
            "INSERT INTO series VALUES (1, 'site', 'blog'); \
             INSERT INTO release_samples (step_s, series, at_ms, \"release\", status_none, status_1xx, status_2xx, \
             status_3xx, status_4xx, errors, bytes_in, bytes_out, tls_us, accept_us, queue_us, app_us, body_us, \
             send_us, latency) VALUES (60, 1, 0, 'r1', 0, 0, 1, 0, 0, 0, 7, 8, 9, 10, 11, 12, 13, 14, x'030303')",
        )
        .execute(&mut db.connection)
        .await
        .unwrap();
        let [step, series, at] = KEY;
        let key = [step, series, at, ("\"release\"", Text("r1"))];
        let more = TrafficSnapshot {
            by_class: [0, 0, 1, 0, 0, 0],
            phases: [1, 2, 3, 4, 5, 6].map(histogram),
            total: histogram(3),
            ..TrafficSnapshot::default()
        };
        for requests in [2, 3] {
            RELEASE.add(&mut db.connection, &key, &more).await.unwrap();
            let row = sqlx::query("SELECT * FROM release_samples").fetch_one(&mut db.connection);
            let whole = RELEASE.read(&row.await.unwrap()).unwrap();
            assert_eq!((whole.requests(), whole.total.sum_us), (requests, 3));
            assert_eq!(whole.total.buckets, [(3, requests)]);
            let phases = whole.phases.map(|phase| (phase.sum_us, phase.count));
            assert_eq!(phases, [9, 10, 11, 12, 13, 14].map(|sum_us| (sum_us, requests - 1)));
        }
        sqlx::raw_sql("UPDATE release_samples SET histograms = x'ffff'")
            .execute(&mut db.connection)
            .await
            .unwrap();
        let error = RELEASE.add(&mut db.connection, &key, &more).await.unwrap_err();
        assert!(matches!(error, super::super::MetricsError::Damaged(_)), "{error}");
    }

    #[tokio::test]
    async fn rows_add_up_over_writes() {
        let folder = tempfile::tempdir().unwrap();
        let mut db = MetricsDb::open(&folder.path().join("metrics.db")).await.unwrap();
        sqlx::raw_sql("INSERT INTO series VALUES (1, 'process', 'engine')")
            .execute(&mut db.connection)
            .await
            .unwrap();
        for (cpu_us, pss) in [(5, 30), (7, 10), (2, 20)] {
            let figures = ProcessFigures {
                samples: 1,
                cpu_us,
                cpu_us_max: cpu_us,
                pss: Gauge { sum: pss, min: pss, max: pss },
                ..ProcessFigures::default()
            };
            PROCESS.add(&mut db.connection, &KEY, &figures).await.unwrap();
        }
        let row = sqlx::query("SELECT * FROM process_samples").fetch_one(&mut db.connection);
        let whole = PROCESS.read(&row.await.unwrap()).unwrap();
        assert_eq!((whole.samples, whole.cpu_us, whole.cpu_us_max), (3, 14, 7));
        assert_eq!(whole.pss, Gauge { sum: 60, min: 10, max: 30 });
    }
}
