//! What it costs to count a request: the calls that the proxy makes for one to a file, from the clock's first mark to the last counter.
//!
//! Prints JSON: `alone_ns` on one thread, `shared_ns` on each of two threads that count for the same site.

#![expect(clippy::print_stdout, reason = "it is a command")]

use std::hint::black_box;
use std::thread;
use std::time::Instant;

use onebox_metrics::{Finished, Phase, PhaseClock, Registry, ServedBy};

const REQUESTS: u32 = 200_000;
const ROUNDS: usize = 15;

fn main() {
    let registry = Registry::new();
    let alone_ns = median(|| count(&registry));
    let shared_ns = median(|| {
        thread::scope(|scope| {
            let other = scope.spawn(|| count(&registry));
            let one = count(&registry);
            (one + other.join().unwrap_or(one)) / 2.0
        })
    });
    println!(r#"{{"alone_ns": {alone_ns:.1}, "shared_ns": {shared_ns:.1}}}"#);
}

/// Nanoseconds for each of many requests.
fn count(registry: &Registry) -> f64 {
    let site = registry.site("site");
    let release = site.releases.release("20261122-153106-e67f");
    let begun = Instant::now();
    for _ in 0..REQUESTS {
        let in_flight = site.begin();
        let mut clock = PhaseClock::new(Instant::now());
        for phase in [Phase::Accept, Phase::App, Phase::Body, Phase::Send] {
            clock.mark(phase);
        }
        let finished = Finished {
            status: 200,
            served_by: ServedBy::Static,
            bytes_in: 80,
            bytes_out: 1200,
            phases: clock.durations(),
        };
        site.finish(black_box("/static/…"), black_box(&finished));
        release.count(black_box(&finished));
        drop(in_flight);
    }
    begun.elapsed().as_nanos() as f64 / f64::from(REQUESTS)
}

fn median(mut measure: impl FnMut() -> f64) -> f64 {
    let mut rounds: Vec<f64> = (0..ROUNDS).map(|_| measure()).collect();
    rounds.sort_by(f64::total_cmp);
    rounds.get(ROUNDS / 2).copied().unwrap_or_default()
}
