//! From what was counted of some requests, those on a route or of a release, to what the API says of it.

use std::collections::BTreeMap;

use onebox_metrics::{HistogramSnapshot, TrafficSnapshot};

use super::series::{per, quantile_ms, us_to_ms};
use crate::api::{
    PhaseLatencies, PhaseLatency, PhaseMeans, ResponseCounts, RouteFigures, RouteReport,
    TrafficFigures,
};
use crate::store::metrics::RouteSpan;

/// The routes of a span, the one that took most time first.
pub(super) fn report(span: &RouteSpan, routes: BTreeMap<String, TrafficSnapshot>) -> RouteReport {
    let whole_us: u64 = routes.values().map(|route| route.total.sum_us).sum();
    let mut routes: Vec<_> = routes.into_iter().filter(|(_, route)| route.requests() > 0).collect();
    routes.sort_by_key(|(_, route)| std::cmp::Reverse(route.total.sum_us));
    let figures = |(route, counted): (String, TrafficSnapshot)| RouteFigures {
        route,
        time_share: per(counted.total.sum_us, whole_us).unwrap_or(0.0),
        traffic: figures(&counted),
    };
    let routes = routes.into_iter().map(figures).collect();
    RouteReport { from_ms: span.from_ms, to_ms: span.to_ms, routes }
}

/// What requests came to.
pub(super) fn figures(counted: &TrafficSnapshot) -> TrafficFigures {
    let quantile = |q| quantile_ms(&counted.total, q).unwrap_or(0.0);
    let mean_ms = |sum_us| per(sum_us, counted.requests()).map_or(0.0, us_to_ms);
    let phases = counted.phases.each_ref();
    let [tls, accept, queue, app, body, send] = phases.map(|phase| mean_ms(phase.sum_us));
    let phases_ms = PhaseMeans { tls, accept, queue, app, body, send };
    let [tls, accept, queue, app, body, send] = phases.map(phase_latency);
    let phase_latency_ms = PhaseLatencies { tls, accept, queue, app, body, send };
    let [none, c1xx, c2xx, c3xx, c4xx, c5xx] = counted.by_class;
    TrafficFigures {
        requests: counted.requests(),
        errors: counted.errors(),
        responses: ResponseCounts { none, c1xx, c2xx, c3xx, c4xx, c5xx },
        bytes_in: counted.bytes_in,
        bytes_out: counted.bytes_out,
        p50_ms: quantile(0.5),
        p95_ms: quantile(0.95),
        p99_ms: quantile(0.99),
        phases_ms,
        phase_latency_ms,
    }
}

/// `None` where no request had the phase, or where it is not known: earlier versions kept the sum alone.
fn phase_latency(lasted: &HistogramSnapshot) -> Option<PhaseLatency> {
    let quantile = |q| quantile_ms(lasted, q);
    Some(PhaseLatency { p50: quantile(0.5)?, p95: quantile(0.95)?, p99: quantile(0.99)? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::resolution::Resolution;
    use onebox_metrics::{Histogram, Phase};
    use std::time::Duration;

    #[test]
    fn what_took_most_time_comes_first_with_its_share() {
        let recorded = |durations_ms: &[u64]| {
            let histogram = Histogram::default();
            durations_ms.iter().for_each(|ms| histogram.record(Duration::from_millis(*ms)));
            histogram.snapshot()
        };
        let route = |durations_ms: &[u64], app_ms: &[u64]| {
            let mut route =
                TrafficSnapshot { total: recorded(durations_ms), ..TrafficSnapshot::default() };
            route.by_class = [0, 0, durations_ms.len() as u64, 0, 0, 0];
            *route.phase(Phase::App) = recorded(app_ms);
            route
        };
        let span = RouteSpan { resolution: Resolution::Minute, from_ms: 0, to_ms: 60_000 };
        let routes = [("/fast", route(&[10; 10], &[])), ("/slow", route(&[100, 200], &[60, 90]))];
        let routes = routes.into_iter().chain([("/none", TrafficSnapshot::default())]);
        let routes = routes.map(|(name, route)| (name.to_owned(), route)).collect();
        let told = report(&span, routes).routes;
        let names: Vec<_> =
            told.iter().map(|route| (&*route.route, route.traffic.requests)).collect();
        assert_eq!(names, [("/slow", 2), ("/fast", 10)]);
        assert_eq!((told[0].time_share, told[0].traffic.phases_ms.app), (0.75, 75.0));
        assert!((told[0].traffic.p99_ms - 200.0).abs() < 10.0, "{}", told[0].traffic.p99_ms);
        let app = told[0].traffic.phase_latency_ms.app.unwrap();
        assert!((app.p50 - 60.0).abs() < 3.0 && (app.p99 - 90.0).abs() < 4.5, "{app:?}");
        assert_eq!(told[1].traffic.phase_latency_ms, PhaseLatencies::default());
    }
}
