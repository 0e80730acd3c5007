//! From what was counted by route to what the API says of it.

use std::collections::BTreeMap;

use onebox_metrics::RouteSnapshot;

use super::series::{per, quantile_ms, us_to_ms};
use crate::api::{PhaseMeans, RouteFigures, RouteReport};
use crate::store::metrics::RouteSpan;

/// The routes of a span, the one that took most time first.
pub(super) fn report(span: &RouteSpan, routes: BTreeMap<String, RouteSnapshot>) -> RouteReport {
    let whole_us: u64 = routes.values().map(|route| route.total.sum_us).sum();
    let mut routes: Vec<_> =
        routes.into_iter().filter(|(_, route)| route.total.count > 0).collect();
    routes.sort_by_key(|(_, route)| std::cmp::Reverse(route.total.sum_us));
    let figures = |(route, counted): (String, RouteSnapshot)| {
        let quantile = |q| quantile_ms(&counted.total, q).unwrap_or(0.0);
        let mean_ms = |sum_us| per(sum_us, counted.total.count).map_or(0.0, us_to_ms);
        let [accept, queue, app, body, send] = counted.phases_us.map(mean_ms);
        RouteFigures {
            route,
            requests: counted.total.count,
            errors: counted.errors,
            bytes_out: counted.bytes_out,
            p50_ms: quantile(0.5),
            p95_ms: quantile(0.95),
            p99_ms: quantile(0.99),
            time_share: per(counted.total.sum_us, whole_us).unwrap_or(0.0),
            phases_ms: PhaseMeans { accept, queue, app, body, send },
        }
    };
    let routes = routes.into_iter().map(figures).collect();
    RouteReport { from_ms: span.from_ms, to_ms: span.to_ms, routes }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::resolution::Resolution;
    use onebox_metrics::Histogram;
    use std::time::Duration;

    #[test]
    fn what_took_most_time_comes_first_with_its_share() {
        let route = |durations_ms: &[u64], app_us| {
            let total = Histogram::default();
            durations_ms.iter().for_each(|ms| total.record(Duration::from_millis(*ms)));
            let phases_us = [0, 0, app_us, 0, 0];
            RouteSnapshot { total: total.snapshot(), phases_us, ..RouteSnapshot::default() }
        };
        let span = RouteSpan { resolution: Resolution::Minute, from_ms: 0, to_ms: 60_000 };
        let routes = [("/fast", route(&[10; 10], 0)), ("/slow", route(&[100, 200], 150_000))];
        let routes = routes.into_iter().chain([("/none", RouteSnapshot::default())]);
        let routes = routes.map(|(name, route)| (name.to_owned(), route)).collect();
        let told = report(&span, routes).routes;
        let names: Vec<_> = told.iter().map(|route| (&*route.route, route.requests)).collect();
        assert_eq!(names, [("/slow", 2), ("/fast", 10)]);
        assert_eq!((told[0].time_share, told[0].phases_ms.app), (0.75, 75.0));
        assert!((told[0].p99_ms - 200.0).abs() < 10.0, "{}", told[0].p99_ms);
    }
}
