//! Once a second: what the engines counted, and what it all takes of the machine, as one [`Sample`].
//!
//! A slow observer loses samples and never slows this. Must not know how a sample is drawn or kept.

use std::collections::HashMap;
use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use onebox_metrics::{HistogramSnapshot, SiteSnapshot, Snapshot};
use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};
use tokio::time::MissedTickBehavior;

use crate::api::{Sample, SiteSample};
use crate::appliance::{Appliance, Event};
use crate::clock::now_ms;

/// Takes a sample each second until the appliance ends.
pub(crate) async fn run(appliance: Arc<Appliance>) {
    let mut sampler = Sampler::new();
    let mut second = tokio::time::interval(Duration::from_secs(1));
    second.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            _ = second.tick() => {}
            () = appliance.shutdown.cancelled() => return,
        }
        let totals = appliance
            .generations()
            .into_iter()
            .map(|generation| (generation.number, generation.take_samples()));
        let counted = sampler.count(totals.collect());
        let pids = appliance.pids();
        // Reading /proc is short, but not nothing.
        let measured = tokio::task::spawn_blocking(move || {
            let usage = sampler.measure(&pids);
            (sampler, usage)
        });
        let Ok((returned, usage)) = measured.await else { return };
        sampler = returned;
        let sample = sampler.sample(&counted, usage);
        // Without a dashboard nobody listens, which is no error.
        appliance.events.send(Event::Sample(Arc::new(sample))).ok();
    }
}

/// What processes take.
#[derive(Debug, Clone, Copy, Default)]
struct Usage {
    memory_bytes: u64,
    cpu: f64,
}

struct Sampler {
    /// The last totals by generation.
    before: HashMap<u64, Snapshot>,
    taken_at: Instant,
    /// `None` where the system does not say what processes take.
    system: Option<System>,
}

impl Sampler {
    fn new() -> Self {
        Self { before: HashMap::new(), taken_at: Instant::now(), system: System::new().ok() }
    }

    /// What was counted since the last call, over all engines that live; a fresh engine counts from nothing.
    fn count(&mut self, totals: Vec<(u64, Vec<Snapshot>)>) -> Snapshot {
        let mut sum = Snapshot::default();
        let numbers: Vec<u64> = totals.iter().map(|(number, _)| *number).collect();
        for (number, snapshots) in totals {
            let Some(last) = snapshots.into_iter().next_back() else { continue };
            let before = self.before.entry(number).or_default();
            sum.merge(&last.delta(before));
            *before = last;
        }
        self.before.retain(|number, _| numbers.contains(number));
        sum
    }

    fn measure(&mut self, children: &[u32]) -> Usage {
        let pids: Vec<Pid> =
            children.iter().copied().chain([std::process::id()]).map(Pid::from_u32).collect();
        let kind = ProcessRefreshKind::nothing().with_cpu().with_memory();
        let mut usage = Usage::default();
        let Some(system) = &mut self.system else { return usage };
        system.refresh_processes_specifics(ProcessesToUpdate::Some(&pids), true, kind);
        for pid in pids {
            let Some(process) = system.process(pid) else { continue };
            usage.memory_bytes += proportional_bytes(pid.as_u32()).unwrap_or(process.memory());
            usage.cpu += f64::from(process.cpu_usage()) / 100.0;
        }
        usage
    }

    fn sample(&mut self, counted: &Snapshot, usage: Usage) -> Sample {
        let now = Instant::now();
        let seconds = now.duration_since(self.taken_at).as_secs_f64().max(0.001);
        self.taken_at = now;
        let sites = counted.sites.iter().map(|(name, site)| site_sample(name, site, seconds));
        Sample {
            at_ms: now_ms(),
            sites: sites.collect(),
            memory_bytes: usage.memory_bytes,
            cpu: usage.cpu,
        }
    }
}

/// Memory with what is shared divided among those who share it: `/proc/PID/smaps_rollup`, proc(5).
fn proportional_bytes(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

fn site_sample(name: &str, site: &SiteSnapshot, seconds: f64) -> SiteSample {
    // Counts of a second are far below 2^52.
    #[allow(clippy::cast_precision_loss)]
    let rate = |count: u64| count as f64 / seconds;
    SiteSample {
        site: name.to_owned(),
        requests_per_s: rate(site.requests()),
        static_per_s: rate(site.r#static),
        errors_per_s: rate(site.errors()),
        p50_ms: quantile_ms(&site.total, 0.5),
        p99_ms: quantile_ms(&site.total, 0.99),
        in_flight: site.in_flight,
    }
}

fn quantile_ms(histogram: &HistogramSnapshot, q: f64) -> f64 {
    if histogram.count == 0 { 0.0 } else { histogram.quantile(q).as_secs_f64() * 1000.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn totals(requests: u64) -> Snapshot {
        let site = SiteSnapshot { by_class: [0, 0, requests, 0, 0, 0], ..SiteSnapshot::default() };
        Snapshot { sites: [("blog".to_owned(), site)].into() }
    }

    fn counted(sampler: &mut Sampler, totals: Vec<(u64, Vec<Snapshot>)>) -> u64 {
        sampler.count(totals).sites.get("blog").map_or(0, SiteSnapshot::requests)
    }

    #[test]
    fn engines_are_counted_each_from_its_own_start() {
        let mut sampler = Sampler::new();
        assert_eq!(counted(&mut sampler, vec![(1, vec![totals(2), totals(5)])]), 5);
        assert_eq!(counted(&mut sampler, vec![(1, vec![totals(7)]), (2, vec![totals(3)])]), 5);
        assert_eq!(counted(&mut sampler, vec![(2, Vec::new())]), 0);
        assert_eq!(counted(&mut sampler, vec![(2, vec![totals(4)])]), 1);
    }

    #[test]
    fn this_process_takes_memory() {
        assert!(Sampler::new().measure(&[]).memory_bytes > 1_000_000);
    }
}
