//! From figures to what a chart draws: a value for each point, `None` where nobody looked.

use std::collections::BTreeMap;

use onebox_metrics::{HistogramSnapshot, SiteSnapshot};

use super::figures::{BoxFigures, Gauge, ProcessFigures, SiteFigures};
use super::resolution::Grid;
use crate::api::{
    BoxSeries, CacheSeries, Curve, DropSeries, GaugeSeries, LatencySeries, PhaseSeries,
    ProcessSeries, ResponseSeries, SiteSeries,
};

/// A site's answer; where the box was watched and the site did nothing, its rates are zero.
pub(super) fn site(
    grid: &Grid,
    the_box: &[BoxFigures],
    figures: &[SiteFigures],
    processes: &BTreeMap<String, Vec<ProcessFigures>>,
) -> SiteSeries {
    let points: Vec<(u64, &SiteFigures)> =
        the_box.iter().map(|watched| watched.samples).zip(figures).collect();
    let rate = |pick: &dyn Fn(&SiteFigures) -> u64| -> Curve {
        points.iter().map(|(watched, figures)| per(pick(figures), *watched)).collect()
    };
    let of_class = |class: usize| {
        rate(&|figures| figures.counted.by_class.get(class).copied().unwrap_or_default())
    };
    let quantile = |q: f64| -> Curve {
        points.iter().map(|(_, figures)| quantile_ms(&figures.counted.total, q)).collect()
    };
    let phase = |pick: &dyn Fn(&SiteSnapshot) -> u64| -> Curve {
        let mean = |counted: &SiteSnapshot| per(pick(counted), counted.total.count).map(us_to_ms);
        points.iter().map(|(_, figures)| mean(&figures.counted)).collect()
    };
    SiteSeries {
        from_ms: grid.from_ms,
        step_ms: grid.step_ms,
        responses_per_s: ResponseSeries {
            none: of_class(0),
            c1xx: of_class(1),
            c2xx: of_class(2),
            c3xx: of_class(3),
            c4xx: of_class(4),
            c5xx: of_class(5),
        },
        static_per_s: rate(&|figures| figures.counted.r#static),
        busiest_per_s: points
            .iter()
            .map(|(watched, figures)| (*watched > 0).then(|| to_float(figures.answers_max)))
            .collect(),
        bytes_in_per_s: rate(&|figures| figures.counted.bytes_in),
        bytes_out_per_s: rate(&|figures| figures.counted.bytes_out),
        in_flight: rate(&|figures| figures.in_flight.sum),
        limited_per_s: rate(&|figures| figures.counted.limited),
        latency_ms: LatencySeries { p50: quantile(0.5), p95: quantile(0.95), p99: quantile(0.99) },
        cache_per_s: CacheSeries {
            hit: rate(&|figures| figures.counted.cache.hits),
            stale: rate(&|figures| figures.counted.cache.stale),
            revalidated: rate(&|figures| figures.counted.cache.revalidated),
            miss: rate(&|figures| figures.counted.cache.misses),
            bypass: rate(&|figures| figures.counted.cache.bypassed),
        },
        hit_ratio: points
            .iter()
            .map(|(_, figures)| figures.counted.cache.hit_ratio().map(rounded))
            .collect(),
        phases_ms: PhaseSeries {
            tls: phase(&|counted| counted.tls.sum_us),
            accept: phase(&|counted| counted.accept.sum_us),
            queue: phase(&|counted| counted.queue.sum_us),
            app: phase(&|counted| counted.app_time.sum_us),
            body: phase(&|counted| counted.body.sum_us),
            send: phase(&|counted| counted.send.sum_us),
        },
        processes: self::processes(processes),
    }
}

/// The machine's answer.
pub(super) fn the_box(
    grid: &Grid,
    points: &[BoxFigures],
    processes: &BTreeMap<String, Vec<ProcessFigures>>,
) -> BoxSeries {
    let gauge = |pick: fn(&BoxFigures) -> Gauge, unit: f64| {
        gauge_series(points.iter().map(|point| (pick(point), point.samples)), unit)
    };
    let rate = |pick: fn(&BoxFigures) -> u64| -> Curve {
        points.iter().map(|point| per(pick(point), point.samples)).collect()
    };
    let total = |pick: fn(&BoxFigures) -> u64| -> Curve {
        points.iter().map(|point| (point.samples > 0).then(|| to_float(pick(point)))).collect()
    };
    BoxSeries {
        from_ms: grid.from_ms,
        step_ms: grid.step_ms,
        cpu: gauge(|point| point.cpu_ppm, 1e6),
        memory_bytes: gauge(|point| point.memory, 1.0),
        memory_total_bytes: total(|point| point.memory_total),
        disk_bytes: gauge(|point| point.disk, 1.0),
        disk_total_bytes: total(|point| point.disk_total),
        load: gauge(|point| point.load, 1e3),
        received_bytes_per_s: rate(|point| point.received),
        sent_bytes_per_s: rate(|point| point.sent),
        dropped_per_s: DropSeries {
            malformed: rate(|point| point.drops.malformed),
            slow: rate(|point| point.drops.slow),
            handshake: rate(|point| point.drops.handshake),
            flood: rate(|point| point.drops.flood),
            crowd: rate(|point| point.drops.crowd),
            in_the_way: rate(|point| point.drops.in_the_way),
            no_room: rate(|point| point.drops.no_room),
            no_memory: rate(|point| point.drops.no_memory),
            refused: rate(|point| point.drops.refused),
        },
        processes: self::processes(processes),
    }
}

fn processes(processes: &BTreeMap<String, Vec<ProcessFigures>>) -> Vec<ProcessSeries> {
    processes.iter().map(|(name, points)| process(name, points)).collect()
}

fn process(name: &str, points: &[ProcessFigures]) -> ProcessSeries {
    let gauge = |pick: fn(&ProcessFigures) -> Gauge| {
        gauge_series(points.iter().map(|point| (pick(point), point.samples)), 1.0)
    };
    let share = |us: Option<f64>| us.map(|us| rounded(us / 1e6));
    ProcessSeries {
        process: name.to_owned(),
        cpu: points.iter().map(|point| share(exactly(point.cpu_us, point.samples))).collect(),
        memory_bytes: gauge(|point| point.pss),
        resident_bytes: gauge(|point| point.rss),
        threads: gauge(|point| point.threads),
        descriptors: gauge(|point| point.descriptors),
        gil_stalled: points
            .iter()
            .map(|point| share(exactly(point.gil_stalls.lasted_us, point.samples)))
            .collect(),
        gil_longest_ms: points
            .iter()
            .map(|point| {
                (point.samples > 0).then(|| us_to_ms(to_float(point.gil_stalls.longest_us)))
            })
            .collect(),
    }
}

fn gauge_series(points: impl Iterator<Item = (Gauge, u64)>, unit: f64) -> GaugeSeries {
    let mut series = GaugeSeries::default();
    for (gauge, samples) in points {
        let reading = |value: u64| (samples > 0).then(|| rounded(to_float(value) / unit));
        series.mean.push(exactly(gauge.sum, samples).map(|mean| rounded(mean / unit)));
        series.min.push(reading(gauge.min));
        series.max.push(reading(gauge.max));
    }
    series
}

pub(super) fn quantile_ms(histogram: &HistogramSnapshot, q: f64) -> Option<f64> {
    (histogram.count > 0).then(|| rounded(histogram.quantile(q).as_secs_f64() * 1000.0))
}

pub(super) fn us_to_ms(us: f64) -> f64 {
    rounded(us / 1000.0)
}

/// A mean; `None` of nothing.
pub(super) fn per(sum: u64, count: u64) -> Option<f64> {
    exactly(sum, count).map(rounded)
}

fn exactly(sum: u64, count: u64) -> Option<f64> {
    (count > 0).then(|| to_float(sum) / to_float(count))
}

/// Figures of people's computers are far below 2^52.
fn to_float(value: u64) -> f64 {
    value as f64
}

/// To three decimals: what is below is noise, and takes space on its way.
fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::resolution::Resolution;
    use onebox_metrics::{CacheSnapshot, Histogram};
    use std::time::Duration;

    const GRID: Grid =
        Grid { resolution: Resolution::Second, from_ms: 7000, step_ms: 1000, points: 3 };

    fn histogram(durations_ms: &[u64]) -> HistogramSnapshot {
        let histogram = Histogram::default();
        durations_ms.iter().for_each(|ms| histogram.record(Duration::from_millis(*ms)));
        histogram.snapshot()
    }

    #[test]
    fn idle_is_zero_unwatched_is_nothing_and_phases_add_up_to_the_mean() {
        let counted = SiteSnapshot {
            by_class: [0, 0, 3, 0, 0, 1],
            total: histogram(&[10, 20, 30, 40]),
            cache: CacheSnapshot { hits: 2, misses: 1, bypassed: 1, ..CacheSnapshot::default() },
            queue: histogram(&[20, 20]),
            app_time: histogram(&[10, 10, 20, 20]),
            ..SiteSnapshot::default()
        };
        let busy = SiteFigures::over(&counted, 2).unwrap();
        let watched = |samples| BoxFigures { samples, ..BoxFigures::default() };
        let nothing = SiteFigures::default;
        let the_box = [watched(2), watched(1), watched(0)];
        let series = site(&GRID, &the_box, &[busy, nothing(), nothing()], &BTreeMap::new());
        assert_eq!(series.responses_per_s.c2xx, [Some(1.5), Some(0.0), None]);
        assert_eq!(series.responses_per_s.c5xx, [Some(0.5), Some(0.0), None]);
        assert_eq!(series.busiest_per_s, [Some(2.0), Some(0.0), None]);
        assert_eq!(series.latency_ms.p99[1..], [None, None], "no request, no latency");
        let p50 = series.latency_ms.p50[0].unwrap();
        assert!((p50 - 20.0).abs() <= 1.0, "{p50}");
        let phases = &series.phases_ms;
        assert_eq!((phases.queue[0], phases.app[0]), (Some(10.0), Some(15.0)));
        assert_eq!(phases.accept[0], Some(0.0));
        assert_eq!(series.cache_per_s.hit, [Some(1.0), Some(0.0), None]);
        assert_eq!(series.hit_ratio, [Some(0.667), None, None]);
    }

    #[test]
    fn gauges_have_their_units() {
        let point = BoxFigures {
            samples: 2,
            cpu_ppm: Gauge { sum: 1_500_000, min: 250_000, max: 1_000_000 },
            load: Gauge { sum: 3000, min: 1000, max: 2000 },
            received: 5000,
            memory_total: 1 << 30,
            ..BoxFigures::default()
        };
        let engine = ProcessFigures { samples: 2, cpu_us: 500_000, ..ProcessFigures::default() };
        let processes = [("engine".to_owned(), vec![engine])].into();
        let series = the_box(&GRID, &[point], &processes);
        assert_eq!(series.cpu.mean, [Some(0.75)]);
        assert_eq!((series.cpu.min[0], series.cpu.max[0]), (Some(0.25), Some(1.0)));
        assert_eq!(series.load.mean, [Some(1.5)]);
        assert_eq!(series.received_bytes_per_s, [Some(2500.0)]);
        assert_eq!(series.memory_total_bytes, [Some(1_073_741_824.0)]);
        assert_eq!(series.processes[0].process, "engine");
        assert_eq!(series.processes[0].cpu, [Some(0.25)]);
    }
}
