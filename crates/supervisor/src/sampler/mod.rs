//! Once a second: what the engines counted, and what it all takes of the machine, for the history and for every dashboard.
//!
//! A slow observer loses samples and never slows this. Must not know how a sample is drawn or kept.

mod engines;
mod machine;
mod processes;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use onebox_app_server::GilStalls;
use onebox_metrics::{HistogramSnapshot, SiteSnapshot, Snapshot};
use tokio::time::{Instant, MissedTickBehavior};

use crate::api::{MachineSample, ProcessSample, Sample, SiteSample};
use crate::appliance::Appliance;
use crate::clock::now_ms;
use crate::feed::Event;
use crate::history::figures::{BoxFigures, ProcessFigures, SiteFigures, Tick};
use engines::Engines;
use machine::Machine;
use processes::Processes;

const SECOND: Duration = Duration::from_secs(1);

/// Takes a sample each second until the appliance ends.
pub(crate) async fn run(appliance: Arc<Appliance>) {
    let mut engines = Engines::new(appliance.adopted);
    let mut meters = Meters {
        processes: Processes::new(),
        machine: Machine::new(appliance.paths.state_dir().to_owned()),
    };
    let mut taken_at = Instant::now();
    let mut second = tokio::time::interval_at(taken_at + until_half_past(), SECOND);
    second.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            _ = second.tick() => {}
            () = appliance.shutdown.cancelled() => return,
        }
        let counted = engines.count(appliance.generations_to_count());
        let (processes, stalls) = (appliance.processes(), appliance.take_gil_stalls());
        let lasted = taken_at.elapsed();
        taken_at += lasted;
        // Reading /proc is short, but not nothing.
        let measured = tokio::task::spawn_blocking(move || {
            let taken = meters.measure(&processes, &stalls, lasted);
            (meters, taken)
        });
        let Ok((returned, taken)) = measured.await else { return };
        meters = returned;
        appliance.adapt_crews(&counted, taken.memory_available());
        let sample = Arc::new(sample(&counted, &taken, lasted));
        *appliance.last_sample.lock() = Some(Arc::clone(&sample));
        appliance.feed.send(Event::Sample(sample));
        appliance.history.take(tick(&counted, taken, lasted));
    }
}

/// Samples are taken half past a second, so that one that is a little early or late still belongs to its own second.
fn until_half_past() -> Duration {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Duration::from_millis(u64::from(1500 - since_epoch.subsec_millis()))
}

/// Everything that reads `/proc`.
struct Meters {
    processes: Processes,
    machine: Machine,
}

/// What it all took.
struct Taken {
    processes: BTreeMap<String, ProcessFigures>,
    the_box: BoxFigures,
}

impl Taken {
    /// What the machine could still give; without bound where it does not say.
    fn memory_available(&self) -> u64 {
        match self.the_box.memory_total {
            0 => u64::MAX,
            total => total.saturating_sub(self.the_box.memory.max),
        }
    }
}

impl Meters {
    fn measure(
        &mut self,
        processes: &[(String, u32)],
        stalls: &[(String, GilStalls)],
        lasted: Duration,
    ) -> Taken {
        let seconds = whole_seconds(lasted);
        let mut processes = self.processes.measure(processes, seconds);
        for (name, stalls) in stalls {
            // One that has just ended has no figures.
            if let Some(figures) = processes.get_mut(name) {
                figures.gil_stalls.merge(*stalls);
            }
        }
        Taken { processes, the_box: self.machine.measure(seconds) }
    }
}

/// How many seconds of history a sample stands for: one, unless the machine was too busy to take each.
fn whole_seconds(lasted: Duration) -> u64 {
    (lasted + Duration::from_millis(500)).as_secs().max(1)
}

fn tick(counted: &Snapshot, taken: Taken, lasted: Duration) -> Tick {
    let seconds = whole_seconds(lasted);
    let figures = |(name, site): (&String, &SiteSnapshot)| {
        Some((name.clone(), SiteFigures::over(site, seconds)?))
    };
    Tick {
        at_ms: now_ms().saturating_sub(i64::try_from(lasted.as_millis()).unwrap_or(0)),
        sites: counted.sites.iter().filter_map(figures).collect(),
        processes: taken.processes,
        the_box: BoxFigures { drops: counted.drops, ..taken.the_box },
    }
}

fn sample(counted: &Snapshot, taken: &Taken, lasted: Duration) -> Sample {
    let seconds = lasted.as_secs_f64().max(0.001);
    let share = |cpu_us| Duration::from_micros(cpu_us).as_secs_f64() / seconds;
    let process = |(name, figures): (&String, &ProcessFigures)| ProcessSample {
        process: name.clone(),
        cpu: share(figures.cpu_us),
        memory_bytes: figures.pss.max,
        gil_stalled: share(figures.gil_stalls.lasted_us),
    };
    Sample {
        at_ms: now_ms(),
        sites: counted.sites.iter().map(|(name, site)| site_sample(name, site, seconds)).collect(),
        memory_bytes: taken.processes.values().map(|process| process.pss.max).sum(),
        cpu: share(taken.processes.values().map(|process| process.cpu_us).sum()),
        processes: taken.processes.iter().map(process).collect(),
        machine: machine_sample(&taken.the_box),
    }
}

/// What the history keeps as integers.
fn machine_sample(figures: &BoxFigures) -> MachineSample {
    MachineSample {
        cpu: figures.cpu_ppm.max as f64 / 1e6,
        memory_bytes: figures.memory.max,
        memory_total_bytes: figures.memory_total,
        load: figures.load.max as f64 / 1e3,
    }
}

fn site_sample(name: &str, site: &SiteSnapshot, seconds: f64) -> SiteSample {
    // Counts of a second are far below 2^52.
    let rate = |count: u64| count as f64 / seconds;
    SiteSample {
        site: name.to_owned(),
        requests_per_s: rate(site.requests()),
        static_per_s: rate(site.r#static),
        errors_per_s: rate(site.errors()),
        p50_ms: quantile_ms(&site.total, 0.5),
        p95_ms: quantile_ms(&site.total, 0.95),
        p99_ms: quantile_ms(&site.total, 0.99),
        in_flight: site.in_flight,
        gil_wait_ms: site.gil_wait_ms,
    }
}

fn quantile_ms(histogram: &HistogramSnapshot, q: f64) -> f64 {
    if histogram.count == 0 { 0.0 } else { histogram.quantile(q).as_secs_f64() * 1000.0 }
}

#[cfg(test)]
mod tests {
    use onebox_metrics::DropSnapshot;

    use super::*;

    #[test]
    fn a_sample_that_came_late_stands_for_the_seconds_that_it_covers() {
        let seconds =
            [0, 999, 1001, 1499, 2000, 3001].map(Duration::from_millis).map(whole_seconds);
        assert_eq!(seconds, [1, 1, 1, 1, 2, 3]);
    }

    #[test]
    fn what_was_measured_adds_up_to_the_sample() {
        let process = |cpu_us, pss| ProcessFigures {
            samples: 2,
            cpu_us,
            pss: crate::history::figures::Gauge::over(pss, 2),
            ..ProcessFigures::default()
        };
        let processes = [("engine", process(300_000, 7)), ("supervisor", process(100_000, 5))];
        let processes = processes.map(|(name, figures)| (name.to_owned(), figures)).into();
        let gauge = |value| crate::history::figures::Gauge::over(value, 2);
        let the_box = BoxFigures {
            cpu_ppm: gauge(250_000),
            memory: gauge(7),
            memory_total: 9,
            load: gauge(1_500),
            ..BoxFigures::default()
        };
        let taken = Taken { processes, the_box };
        let site = SiteSnapshot { by_class: [0, 0, 6, 0, 0, 2], ..SiteSnapshot::default() };
        let drops = DropSnapshot { flood: 3, ..DropSnapshot::default() };
        let counted = Snapshot { sites: [("blog".to_owned(), site)].into(), drops };
        let sample = sample(&counted, &taken, Duration::from_secs(2));
        assert_eq!((sample.memory_bytes, sample.cpu), (12, 0.2));
        let process = |process: &str, cpu, memory_bytes| ProcessSample {
            process: process.to_owned(),
            cpu,
            memory_bytes,
            gil_stalled: 0.0,
        };
        assert_eq!(sample.processes, [process("engine", 0.15, 7), process("supervisor", 0.05, 5)]);
        let machine =
            MachineSample { cpu: 0.25, memory_bytes: 7, memory_total_bytes: 9, load: 1.5 };
        assert_eq!(sample.machine, machine);
        assert_eq!((sample.sites[0].requests_per_s, sample.sites[0].errors_per_s), (4.0, 1.0));
        let tick = tick(&counted, taken, Duration::from_secs(2));
        let blog = &tick.sites["blog"];
        assert_eq!((blog.samples, blog.answers_max, tick.the_box.drops.flood), (2, 4, 3));
    }
}
