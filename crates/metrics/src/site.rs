//! The live counters of one site. Everything here is on the request path: relaxed atomics and nothing else.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::{CacheMetrics, PhaseDurations, Releases, Routes, SiteSnapshot, TrafficSnapshot};

/// Who made an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServedBy {
    /// The Python application.
    App,
    /// A file, without Python.
    Static,
    /// Nobody: it was stored.
    Cache,
    /// A server of an upstream.
    Upstream,
    /// The proxy itself: a refusal or an error page.
    Proxy,
}

/// One answered request, as it is counted.
#[derive(Debug, Clone, Copy)]
pub struct Finished {
    /// The status that was sent; 0 where no head was sent any more.
    pub status: u16,
    /// Who made the answer.
    pub served_by: ServedBy,
    /// Bytes of the request, head and body.
    pub bytes_in: u64,
    /// Bytes of the answer, head and body.
    pub bytes_out: u64,
    /// Where the time went.
    pub phases: PhaseDurations,
}

impl Finished {
    /// The first digit of its status; 0 where that is none.
    pub(crate) fn class(&self) -> usize {
        match self.status {
            100..=599 => usize::from(self.status / 100),
            _ => 0,
        }
    }
}

/// The counters of one site since the process started.
#[derive(Debug, Default)]
pub struct SiteMetrics {
    app: AtomicU64,
    static_files: AtomicU64,
    cached: AtomicU64,
    proxy: AtomicU64,
    limited: AtomicU64,
    in_flight: AtomicU64,
    gil_wait_ms: AtomicU64,
    /// Of stored answers: what requests came to.
    pub cache: CacheMetrics,
    /// Everything else, by route: each answer is on one, and so all together are the site's.
    routes: Routes,
    /// The same by release.
    pub releases: Releases,
}

impl SiteMetrics {
    /// Counters that are all zero.
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts a request as being served until the guard is dropped.
    #[must_use = "the request is in flight while the guard lives"]
    pub fn begin(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight { metrics: Arc::clone(self) }
    }

    /// Counts an answer that was sent, or that could not be, to a request on the route of this pattern.
    pub fn finish(&self, pattern: &str, finished: &Finished) {
        let served = match finished.served_by {
            ServedBy::App | ServedBy::Upstream => &self.app,
            ServedBy::Static => &self.static_files,
            ServedBy::Cache => &self.cached,
            ServedBy::Proxy => &self.proxy,
        };
        served.fetch_add(1, Ordering::Relaxed);
        self.routes.count(pattern, finished);
    }

    /// Counts a request that a limit refused; its answer is counted, too.
    pub fn refused_by_limit(&self) {
        self.limited.fetch_add(1, Ordering::Relaxed);
    }

    /// Tells how long the application's threads have been waiting for the GIL; 0 when they wait no more.
    pub fn waits_for_gil(&self, waited_ms: u64) {
        self.gil_wait_ms.store(waited_ms, Ordering::Relaxed);
    }

    /// What was counted so far.
    pub fn snapshot(&self) -> SiteSnapshot {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let routes = self.routes.snapshot();
        let mut all = TrafficSnapshot::default();
        routes.values().for_each(|route| all.merge(route));
        let [tls, accept, queue, app_time, body, send] = all.phases;
        SiteSnapshot {
            by_class: all.by_class,
            app: load(&self.app),
            r#static: load(&self.static_files),
            cached: load(&self.cached),
            proxy: load(&self.proxy),
            limited: load(&self.limited),
            bytes_in: all.bytes_in,
            bytes_out: all.bytes_out,
            in_flight: load(&self.in_flight),
            gil_wait_ms: load(&self.gil_wait_ms),
            cache: self.cache.snapshot(),
            routes,
            releases: self.releases.snapshot(),
            total: all.total,
            tls,
            accept,
            queue,
            app_time,
            body,
            send,
        }
    }
}

/// A request that is being served; dropping it ends that.
#[derive(Debug)]
pub struct InFlight {
    metrics: Arc<SiteMetrics>,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.metrics.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn answer(status: u16, served_by: ServedBy) -> Finished {
        let app = Some(Duration::from_millis(3));
        let total = Duration::from_millis(4);
        let phases = PhaseDurations { app, total, ..PhaseDurations::default() };
        Finished { status, served_by, bytes_in: 10, bytes_out: 100, phases }
    }

    #[test]
    fn an_answer_is_counted_once_by_class_and_once_by_maker() {
        let metrics = SiteMetrics::new();
        metrics.finish("/a", &answer(200, ServedBy::App));
        metrics.finish("/b", &answer(304, ServedBy::Static));
        metrics.finish("/a", &answer(503, ServedBy::Proxy));
        let snapshot = metrics.snapshot();
        assert_eq!(snapshot.by_class, [0, 0, 1, 1, 0, 1]);
        assert_eq!((snapshot.app, snapshot.r#static, snapshot.proxy), (1, 1, 1));
        assert_eq!((snapshot.bytes_in, snapshot.bytes_out), (30, 300));
        assert_eq!(snapshot.requests(), 3);
        assert_eq!(snapshot.total.count, 3);
    }

    #[test]
    fn a_status_that_no_class_knows_is_counted_as_other() {
        let metrics = SiteMetrics::new();
        for status in [0, 99, 600, u16::MAX] {
            metrics.finish("/a", &answer(status, ServedBy::App));
        }
        assert_eq!(metrics.snapshot().by_class, [4, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn a_phase_that_was_not_measured_is_not_recorded_as_zero() {
        let metrics = SiteMetrics::new();
        metrics.finish("/a", &answer(200, ServedBy::App));
        let snapshot = metrics.snapshot();
        assert_eq!(snapshot.app_time.count, 1);
        assert_eq!(snapshot.queue.count, 0);
    }

    #[test]
    fn a_wait_for_the_gil_is_told_while_it_lasts_and_the_longest_counts() {
        let metrics = SiteMetrics::new();
        metrics.waits_for_gil(700);
        let waiting = metrics.snapshot();
        metrics.waits_for_gil(0);
        let mut later = metrics.snapshot();
        assert_eq!(
            (waiting.delta(&later).gil_wait_ms, later.delta(&waiting).gil_wait_ms),
            (700, 0)
        );
        later.merge(&waiting);
        assert_eq!(later.gil_wait_ms, 700);
    }

    #[test]
    fn a_request_is_in_flight_until_its_guard_is_dropped() {
        let metrics = Arc::new(SiteMetrics::new());
        let guard = metrics.begin();
        assert_eq!(metrics.snapshot().in_flight, 1);
        drop(guard);
        assert_eq!(metrics.snapshot().in_flight, 0);
    }
}
