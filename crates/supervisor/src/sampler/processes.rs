//! What processes take, from `/proc`.
//!
//! Source: proc_pid_stat(5), proc_pid_smaps(5), proc_pid_fd(5). Read by hand and not by sysinfo, which opens several files for what
//! one line says.

use std::collections::{BTreeMap, HashMap};
use std::fs;

use onebox_app_server::GilStalls;

use crate::history::figures::{Gauge, ProcessFigures};

/// The proportional memory costs the kernel a walk over all pages: it is asked for so often, each process in a round of its own.
const PSS_EVERY: u64 = 10;

/// What was read of processes before.
pub(super) struct Processes {
    known: HashMap<u32, Known>,
    rounds: u64,
    ticks_per_s: u64,
    page_bytes: u64,
}

/// One process as it was last seen.
#[derive(Debug, Clone, Copy)]
struct Known {
    /// Clock ticks since boot; with the id, what no other process has.
    started: u64,
    cpu_ticks: u64,
    pss_bytes: u64,
}

/// What a process takes now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Reading {
    cpu_us: u64,
    pss: u64,
    rss: u64,
    threads: u64,
    descriptors: u64,
}

impl Processes {
    pub(super) fn new() -> Self {
        Self {
            known: HashMap::new(),
            rounds: 0,
            ticks_per_s: rustix::param::clock_ticks_per_second().max(1),
            page_bytes: u64::try_from(rustix::param::page_size()).unwrap_or(4096),
        }
    }

    /// What these and the supervisor took since the last call, by name; those of one name together.
    pub(super) fn measure(
        &mut self,
        processes: &[(String, u32)],
        seconds: u64,
    ) -> BTreeMap<String, ProcessFigures> {
        let own = ("supervisor".to_owned(), std::process::id());
        let mut readings: BTreeMap<String, Reading> = BTreeMap::new();
        let mut seen = HashMap::new();
        for (name, pid) in processes.iter().chain([&own]) {
            // One that has just ended says nothing.
            let Some((reading, known)) = self.read(*pid) else { continue };
            seen.insert(*pid, known);
            readings.entry(name.clone()).or_default().add(&reading);
        }
        self.known = seen;
        self.rounds += 1;
        readings.into_iter().map(|(name, reading)| (name, reading.over(seconds))).collect()
    }

    fn read(&self, pid: u32) -> Option<(Reading, Known)> {
        let stat = Stat::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?;
        let before = self.known.get(&pid).filter(|known| known.started == stat.started);
        let used_before = match before {
            Some(known) => known.cpu_ticks,
            // What this supervisor did not start has a past of its own.
            None if self.rounds == 0 => stat.cpu_ticks,
            None => 0,
        };
        let rss = stat.rss_pages.saturating_mul(self.page_bytes);
        let is_due = (self.rounds + u64::from(pid)).is_multiple_of(PSS_EVERY);
        let pss = match before {
            Some(known) if !is_due => known.pss_bytes,
            _ => pss_bytes(pid).unwrap_or(rss),
        };
        let cpu_ticks = stat.cpu_ticks.saturating_sub(used_before);
        let reading = Reading {
            cpu_us: cpu_ticks.saturating_mul(1_000_000) / self.ticks_per_s,
            pss,
            rss,
            threads: stat.threads,
            descriptors: descriptors(pid).unwrap_or(0),
        };
        let (started, cpu_ticks) = (stat.started, stat.cpu_ticks);
        Some((reading, Known { started, cpu_ticks, pss_bytes: pss }))
    }
}

impl Reading {
    fn add(&mut self, other: &Self) {
        self.cpu_us += other.cpu_us;
        self.pss += other.pss;
        self.rss += other.rss;
        self.threads += other.threads;
        self.descriptors += other.descriptors;
    }

    fn over(self, seconds: u64) -> ProcessFigures {
        ProcessFigures {
            samples: seconds,
            cpu_us: self.cpu_us,
            cpu_us_max: self.cpu_us / seconds.max(1),
            pss: Gauge::over(self.pss, seconds),
            rss: Gauge::over(self.rss, seconds),
            threads: Gauge::over(self.threads, seconds),
            descriptors: Gauge::over(self.descriptors, seconds),
            // Nothing in /proc tells them.
            gil_stalls: GilStalls::default(),
        }
    }
}

/// What is needed of `/proc/PID/stat`.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    cpu_ticks: u64,
    threads: u64,
    started: u64,
    rss_pages: u64,
}

impl Stat {
    fn parse(text: &str) -> Option<Self> {
        // The name in brackets may have spaces and brackets of its own. What follows are fields 3 and on.
        let (_, fields) = text.rsplit_once(')')?;
        let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Self {
            cpu_ticks: field(14)?.checked_add(field(15)?)?,
            threads: field(20)?,
            started: field(22)?,
            rss_pages: field(24)?,
        })
    }
}

/// Memory with what is shared divided among those who share it.
fn pss_bytes(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kilobytes.checked_mul(1024)
}

/// Since Linux 6.2 the folder's size is their number; before that it is 0, and they are counted.
fn descriptors(pid: u32) -> Option<u64> {
    let folder = format!("/proc/{pid}/fd");
    match fs::metadata(&folder).ok()?.len() {
        0 => u64::try_from(fs::read_dir(&folder).ok()?.count()).ok(),
        count => Some(count),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_takes_memory_threads_and_descriptors() {
        let mut processes = Processes::new();
        let first = processes.measure(&[], 1)["supervisor"];
        assert_eq!(first.cpu_us, 0, "what was before is not counted");
        // The kernel counts resident pages loosely (proc_pid_stat(5)): by some dozens it may be off.
        let slack = 1_000_000;
        assert!(first.pss.max > slack && first.rss.max + slack > first.pss.max, "{first:?}");
        assert!(first.threads.max >= 1 && first.descriptors.max >= 3);
        let opened: Vec<_> = (0..50).map(|_| fs::File::open("/dev/null").unwrap()).collect();
        let second = processes.measure(&[("engine".to_owned(), u32::MAX)], 1);
        assert_eq!(second.len(), 1, "a process that is gone has no figures");
        assert!(second["supervisor"].descriptors.max >= first.descriptors.max + 40);
        drop(opened);
    }

    #[test]
    fn a_child_is_counted_from_its_start_and_those_of_one_name_together() {
        let mut processes = Processes::new();
        processes.measure(&[], 1);
        let busy = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; echo done; read line";
        let mut child = std::process::Command::new("/bin/sh")
            .args(["-c", busy])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = [0; 5];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut said).unwrap();
        let twice = [("blog.1".to_owned(), child.id()), ("blog.1".to_owned(), child.id())];
        let taken = processes.measure(&twice, 2)["blog.1"];
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(taken.cpu_us >= 20_000, "{taken:?}");
        assert_eq!((taken.samples, taken.threads), (2, Gauge { sum: 4, min: 2, max: 2 }));
    }

    #[test]
    fn a_name_may_look_like_fields() {
        let rest = "S 1 1 1 0 -1 0 5 0 0 0 70 30 0 0 20 0 9 0 12345 1000 250 1 2";
        let expected = Stat { cpu_ticks: 100, threads: 9, started: 12_345, rss_pages: 250 };
        for name in ["sh", "a b", ") 1 2 3 (", ""] {
            assert_eq!(Stat::parse(&format!("7 ({name}) {rest}")).as_ref(), Some(&expected));
        }
        for absurd in ["", "7 (sh", "7 (sh) S 1", "7 (sh) S 1 1 1 0 -1 0 5 0 0 0 x"] {
            assert_eq!(Stat::parse(absurd), None);
        }
    }
}
