//! The same figures for Prometheus: counters since the appliance started, and what was read off last.
//!
//! Source: the Prometheus text format 0.0.4 and its conventions for names: base units, `_total` for what only grows.

use std::fmt::{Display, Write};

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use onebox_metrics::{CacheSnapshot, HistogramSnapshot, SiteSnapshot};

use super::{AdminError, AdminState};
use crate::api::{ApplianceStatus, SiteState};
use crate::history::Totals;
use crate::history::figures::ProcessFigures;
use crate::workers::Recycles;

const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Bounds of the latency histogram: 2^n microseconds, from half a millisecond to 67 seconds. At a power of two no part of our own
/// histogram is cut, so that each count is exact.
const BOUNDS: std::ops::RangeInclusive<u32> = 9..=26;

/// A family that has one value of each `T`: its name, its type, what it is, the value.
type Family<T> = (&'static str, &'static str, &'static str, fn(&T) -> String);

const OF_SITES: &[Family<SiteSnapshot>] = &[
    (
        "onebox_http_request_bytes_total",
        "counter",
        "Bytes received, heads and bodies.",
        |counted| counted.bytes_in.to_string(),
    ),
    ("onebox_http_response_bytes_total", "counter", "Bytes sent, heads and bodies.", |counted| {
        counted.bytes_out.to_string()
    }),
    ("onebox_http_limited_total", "counter", "Requests that a limit refused.", |counted| {
        counted.limited.to_string()
    }),
    ("onebox_http_requests_in_flight", "gauge", "Requests being served.", |counted| {
        counted.in_flight.to_string()
    }),
];

const OF_CACHES: &[Family<CacheSnapshot>] = &[
    ("onebox_cache_saved_bytes_total", "counter", "Bytes of bodies that were stored.", |cache| {
        cache.saved_bytes.to_string()
    }),
    (
        "onebox_cache_disk_hits_total",
        "counter",
        "Stored answers that came from the disk.",
        |cache| cache.from_disk.to_string(),
    ),
    ("onebox_cache_stored_bytes", "gauge", "What stored answers take in memory.", |cache| {
        cache.stored_bytes.to_string()
    }),
    ("onebox_cache_disk_bytes", "gauge", "What stored answers take on the disk.", |cache| {
        cache.disk_bytes.to_string()
    }),
];

const OF_PROCESSES: &[Family<ProcessFigures>] = &[
    ("onebox_process_cpu_seconds_total", "counter", "CPU time of a process.", |process| {
        seconds_us(process.cpu_us).to_string()
    }),
    (
        "onebox_process_proportional_memory_bytes",
        "gauge",
        "Memory, with what is shared divided among those who share it.",
        |process| process.pss.max.to_string(),
    ),
    (
        "onebox_process_resident_memory_bytes",
        "gauge",
        "Memory, with all that is shared.",
        |process| process.rss.max.to_string(),
    ),
    ("onebox_process_threads", "gauge", "Threads.", |process| process.threads.max.to_string()),
    ("onebox_process_open_fds", "gauge", "Open file descriptors.", |process| {
        process.descriptors.max.to_string()
    }),
    (
        "onebox_process_gil_stalls_total",
        "counter",
        "Waits for the GIL of 100 ms or more.",
        |process| process.gil_stalls.count.to_string(),
    ),
    (
        "onebox_process_gil_stalled_seconds_total",
        "counter",
        "How long waits for the GIL of 100 ms or more lasted.",
        |process| seconds_us(process.gil_stalls.lasted_us).to_string(),
    ),
];

/// The figures for Prometheus
#[utoipa::path(get, path = "/metrics", operation_id = "metrics",
    responses((status = OK, body = String, content_type = "text/plain")))]
pub(super) async fn metrics(
    State(state): State<AdminState>,
) -> Result<impl IntoResponse, AdminError> {
    let status = state.appliance.status().await?;
    let history = &state.appliance.history;
    let recycles = state.appliance.recycles();
    let text = exposition(&status, &history.totals(), history.lost(), &recycles);
    Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], text))
}

/// Everything, family by family.
fn exposition(status: &ApplianceStatus, totals: &Totals, lost: u64, recycles: &Recycles) -> String {
    let mut page = Page::default();
    the_appliance(&mut page, status, lost);
    sites(&mut page, status, totals);
    workers(&mut page, status, recycles);
    processes(&mut page, totals);
    the_box(&mut page, totals);
    drops(&mut page, totals);
    page.text
}

fn the_appliance(page: &mut Page, status: &ApplianceStatus, lost: u64) {
    page.family("onebox_build_info", "gauge", "The version that runs.");
    page.line("", &[("version", &status.version)], 1);
    page.family("onebox_start_time_seconds", "gauge", "When the appliance started, Unix time.");
    page.line("", &[], seconds(status.started_ms, 1e3));
    if let Some(engine) = &status.engine {
        page.family("onebox_engine_generation", "gauge", "The number of the engine that serves.");
        page.line("", &[], engine.generation);
        page.family("onebox_engine_crashes_total", "counter", "Engines that ended by themselves.");
        page.line("", &[], engine.crashes);
    }
    page.family("onebox_history_lost_seconds_total", "counter", "Samples that were not written.");
    page.line("", &[], lost);
}

fn sites(page: &mut Page, status: &ApplianceStatus, totals: &Totals) {
    let nothing = SiteSnapshot::default();
    let counted = |name: &str| totals.sites.get(name).map_or(&nothing, |site| &site.counted);
    let sites: Vec<(&str, &SiteSnapshot)> =
        status.sites.iter().map(|site| (site.name.as_str(), counted(&site.name))).collect();

    page.family("onebox_site_up", "gauge", "Whether a site answers.");
    for site in &status.sites {
        page.line(
            "",
            &[("site", &site.name)],
            u8::from(matches!(site.state, SiteState::Running | SiteState::Idle)),
        );
    }
    page.family("onebox_http_requests_total", "counter", "Answers by class of status.");
    for (site, counted) in &sites {
        let classes = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];
        for (class, count) in classes.iter().zip(counted.by_class) {
            page.line("", &[("site", site), ("status", class)], count);
        }
    }
    page.family("onebox_http_answers_total", "counter", "Answers by who made them.");
    for (site, counted) in &sites {
        let makers = [
            ("app", counted.app),
            ("static", counted.r#static),
            ("cache", counted.cached),
            ("proxy", counted.proxy),
        ];
        for (maker, count) in makers {
            page.line("", &[("site", site), ("by", maker)], count);
        }
    }
    the_caches(page, &sites);
    page.each(OF_SITES, "site", sites.iter().copied());
    page.family(
        "onebox_http_request_duration_seconds",
        "histogram",
        "From the first byte of a request to the last of its answer.",
    );
    for (site, counted) in &sites {
        page.histogram(&[("site", site)], &counted.total);
    }
    page.family(
        "onebox_http_phase_duration_seconds",
        "summary",
        "Where the time of requests went.",
    );
    for (site, counted) in &sites {
        let phases = [
            ("tls", &counted.tls),
            ("accept", &counted.accept),
            ("queue", &counted.queue),
            ("app", &counted.app_time),
            ("body", &counted.body),
            ("send", &counted.send),
        ];
        for (phase, histogram) in phases {
            let labels = [("site", *site), ("phase", phase)];
            page.line("_sum", &labels, seconds_us(histogram.sum_us));
            page.line("_count", &labels, histogram.count);
        }
    }
}

/// Of sites that store answers and were asked.
fn the_caches(page: &mut Page, sites: &[(&str, &SiteSnapshot)]) {
    let used = |(_, counted): &&(&str, &SiteSnapshot)| counted.cache != CacheSnapshot::default();
    let caches: Vec<_> =
        sites.iter().filter(used).map(|(site, counted)| (*site, &counted.cache)).collect();
    if caches.is_empty() {
        return;
    }
    page.family(
        "onebox_cache_requests_total",
        "counter",
        "Requests by what they came to in a cache.",
    );
    for (site, cache) in &caches {
        let outcomes = [
            ("hit", cache.hits),
            ("stale", cache.stale),
            ("revalidated", cache.revalidated),
            ("miss", cache.misses),
            ("bypass", cache.bypassed),
        ];
        for (outcome, count) in outcomes {
            page.line("", &[("site", site), ("outcome", outcome)], count);
        }
    }
    page.each(OF_CACHES, "site", caches.iter().copied());
}

fn workers(page: &mut Page, status: &ApplianceStatus, recycles: &Recycles) {
    page.family("onebox_site_processes", "gauge", "Processes that run a site's Python.");
    for site in &status.sites {
        page.line("", &[("site", &site.name)], site.workers.len());
    }
    page.family(
        "onebox_worker_recycles_total",
        "counter",
        "Workers that were replaced, by reason.",
    );
    for ((site, reason), count) in recycles {
        page.line("", &[("site", site), ("reason", reason)], count);
    }
}

fn processes(page: &mut Page, totals: &Totals) {
    let processes = totals.processes.iter();
    page.each(OF_PROCESSES, "process", processes.map(|(name, process)| (name.as_str(), process)));
}

fn the_box(page: &mut Page, totals: &Totals) {
    let figures = &totals.the_box;
    let gauges = [
        ("onebox_box_cpu_busy_ratio", "Busy share of all cores.", figures.cpu_ppm.max as f64 / 1e6),
        ("onebox_box_load1", "Load average of a minute.", figures.load.max as f64 / 1e3),
    ];
    for (name, help, value) in gauges {
        page.family(name, "gauge", help);
        page.line("", &[], value);
    }
    let gauges = [
        ("onebox_box_memory_used_bytes", "Memory in use.", figures.memory.max),
        ("onebox_box_memory_bytes", "Memory there is.", figures.memory_total),
        ("onebox_box_disk_used_bytes", "In use where the state directory is.", figures.disk.max),
        ("onebox_box_disk_bytes", "What the file system there holds.", figures.disk_total),
    ];
    for (name, help, value) in gauges {
        page.family(name, "gauge", help);
        page.line("", &[], value);
    }
    let counters = [
        ("onebox_box_network_receive_bytes_total", "From the network.", figures.received),
        ("onebox_box_network_transmit_bytes_total", "To the network.", figures.sent),
    ];
    for (name, help, value) in counters {
        page.family(name, "counter", help);
        page.line("", &[], value);
    }
}

fn drops(page: &mut Page, totals: &Totals) {
    page.family(
        "onebox_clients_dropped_total",
        "counter",
        "Clients that were sent away before they got to a site.",
    );
    for (reason, count) in totals.the_box.drops.by_reason() {
        page.line("", &[("reason", reason)], count);
    }
}

/// A page in the making. Writing to a string never fails.
#[derive(Default)]
struct Page {
    text: String,
    name: &'static str,
}

impl Page {
    /// Begins a family: what the next lines belong to.
    fn family(&mut self, name: &'static str, kind: &str, help: &str) {
        self.name = name;
        writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}").ok();
    }

    /// Families with a line for each row, which has its name as a label.
    fn each<'r, T: 'r>(
        &mut self,
        families: &[Family<T>],
        label: &str,
        rows: impl Iterator<Item = (&'r str, &'r T)> + Clone,
    ) {
        for &(name, kind, help, value) in families {
            self.family(name, kind, help);
            for (row, figures) in rows.clone() {
                self.line("", &[(label, row)], value(figures));
            }
        }
    }

    fn line(&mut self, suffix: &str, labels: &[(&str, &str)], value: impl Display) {
        self.text.push_str(self.name);
        self.text.push_str(suffix);
        for (index, (name, value)) in labels.iter().enumerate() {
            self.text.push(if index == 0 { '{' } else { ',' });
            write!(self.text, "{name}=\"{}\"", escaped(value)).ok();
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        writeln!(self.text, " {value}").ok();
    }

    fn histogram(&mut self, labels: &[(&str, &str)], histogram: &HistogramSnapshot) {
        let bucket = |page: &mut Self, bound: &str, count: u64| {
            let labels: Vec<_> = labels.iter().copied().chain([("le", bound)]).collect();
            page.line("_bucket", &labels, count);
        };
        for exponent in BOUNDS {
            let bound = seconds_us(1 << exponent).to_string();
            bucket(self, &bound, histogram.count_below(exponent));
        }
        bucket(self, "+Inf", histogram.count);
        self.line("_sum", labels, seconds_us(histogram.sum_us));
        self.line("_count", labels, histogram.count);
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn seconds(value: i64, unit: f64) -> f64 {
    value as f64 / unit
}

/// Sums of microseconds are far below 2^52.
fn seconds_us(us: u64) -> f64 {
    us as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;
    use onebox_metrics::Histogram;
    use std::time::Duration;

    #[test]
    fn a_histogram_is_cumulative_and_ends_with_everything() {
        let histogram = Histogram::default();
        for ms in [1, 1, 20, 500_000] {
            histogram.record(Duration::from_millis(ms));
        }
        let mut page = Page::default();
        page.family("x_seconds", "histogram", "Some.");
        page.histogram(&[("site", "a\"b\\c\n")], &histogram.snapshot());
        let label = r#"site="a\"b\\c\n""#;
        for line in [
            format!("x_seconds_bucket{{{label},le=\"0.000512\"}} 0"),
            format!("x_seconds_bucket{{{label},le=\"0.001024\"}} 2"),
            format!("x_seconds_bucket{{{label},le=\"0.032768\"}} 3"),
            format!("x_seconds_bucket{{{label},le=\"67.108864\"}} 3"),
            format!("x_seconds_bucket{{{label},le=\"+Inf\"}} 4"),
            format!("x_seconds_sum{{{label}}} 500.022"),
            format!("x_seconds_count{{{label}}} 4"),
        ] {
            assert!(page.text.lines().any(|told| told == line), "{line}\n{}", page.text);
        }
    }
}
