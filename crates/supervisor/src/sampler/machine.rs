//! What the whole machine does: CPU, memory, disk, load, network.

use std::fs;
use std::path::PathBuf;

use sysinfo::{MemoryRefreshKind, System};

use crate::history::figures::{BoxFigures, Gauge};

/// Interfaces that carry what others carry already: the loopback, and the inner ends of containers and bridges.
const NOT_COUNTED: [&str; 6] = ["lo", "veth", "docker", "br-", "virbr", "bond"];

/// The machine, as it was last looked at.
pub(super) struct Machine {
    /// `None` where the system does not say.
    system: Option<System>,
    /// The disk that matters is the one that this is on.
    state_dir: PathBuf,
    /// Bytes received and sent since the machine started.
    network: Option<(u64, u64)>,
}

impl Machine {
    pub(super) fn new(state_dir: PathBuf) -> Self {
        let mut machine = Self { system: System::new().ok(), state_dir, network: network_bytes() };
        // CPU time is told as a difference: this is what the first one is to.
        machine.system.iter_mut().for_each(System::refresh_cpu_usage);
        machine
    }

    /// What it does now, over so many seconds. What the system does not say is zero.
    pub(super) fn measure(&mut self, seconds: u64) -> BoxFigures {
        let mut figures = BoxFigures { samples: seconds, ..BoxFigures::default() };
        if let Some(system) = &mut self.system {
            system.refresh_cpu_usage();
            system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
            let share = f64::from(system.global_cpu_usage()) / 100.0;
            figures.cpu_ppm = Gauge::over(to_integer(share.min(1.0) * 1e6), seconds);
            let total = system.total_memory();
            let used = total.saturating_sub(system.available_memory());
            (figures.memory, figures.memory_total) = (Gauge::over(used, seconds), total);
        }
        if let Ok(load) = System::load_average() {
            figures.load = Gauge::over(to_integer(load.one * 1000.0), seconds);
        }
        if let Ok(disk) = rustix::fs::statvfs(&self.state_dir) {
            // As df(1) has it: what only root may use is neither used nor there.
            let used = disk.f_blocks.saturating_sub(disk.f_bfree).saturating_mul(disk.f_frsize);
            let free = disk.f_bavail.saturating_mul(disk.f_frsize);
            figures.disk = Gauge::over(used, seconds);
            figures.disk_total = used.saturating_add(free);
        }
        let now = network_bytes();
        if let (Some((received, sent)), Some((before_received, before_sent))) = (now, self.network)
        {
            // An interface that is gone takes its count with it.
            figures.received = received.saturating_sub(before_received);
            figures.sent = sent.saturating_sub(before_sent);
        }
        self.network = now;
        figures
    }
}

/// Bytes received and sent since the machine started: proc_pid_net(5).
fn network_bytes() -> Option<(u64, u64)> {
    Some(parse_network(&fs::read_to_string("/proc/net/dev").ok()?))
}

fn parse_network(text: &str) -> (u64, u64) {
    let interfaces = text.lines().filter_map(|line| {
        let (name, counts) = line.split_once(':')?;
        if NOT_COUNTED.iter().any(|beginning| name.trim().starts_with(beginning)) {
            return None;
        }
        let mut counts = counts.split_ascii_whitespace().map(str::parse::<u64>);
        let received = counts.next()?.ok()?;
        Some((received, counts.nth(7)?.ok()?))
    });
    interfaces.fold((0, 0), |(received, sent), (more_received, more_sent)| {
        (received.saturating_add(more_received), sent.saturating_add(more_sent))
    })
}

/// Float to integer conversion saturates: below zero and not a number are 0.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
fn to_integer(value: f64) -> u64 {
    value.round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_has_memory_and_a_disk_of_which_some_is_used() {
        let figures = Machine::new("/".into()).measure(3);
        assert_eq!(figures.samples, 3);
        assert!(figures.memory.max > 0 && figures.memory.max < figures.memory_total, "{figures:?}");
        assert!(figures.disk.max > 0 && figures.disk.max <= figures.disk_total, "{figures:?}");
        assert_eq!(figures.disk.sum, figures.disk.max * 3);
        assert!(figures.cpu_ppm.max <= 1_000_000);
    }

    #[test]
    fn a_disk_that_cannot_be_asked_is_zero() {
        assert_eq!(Machine::new("/nonexistent".into()).measure(1).disk_total, 0);
    }

    #[test]
    fn only_the_outer_interfaces_count() {
        let text = "Inter-|   Receive                |  Transmit\n face |bytes    packets errs drop fifo frame \
                    compressed multicast|bytes\n    lo: 900 1 0 0 0 0 0 0 900 1 0 0 0 0 0 0\n  eth0: 100 2 0 0 0 0 0 0 \
                    50 1 0 0 0 0 0 0\n wlan0:7 2 0 0 0 0 0 0 3 1 0 0 0 0 0 0\nveth12: 5 2 0 0 0 0 0 0 5 1 0 0 0 0 0 0\n x: y\n";
        assert_eq!(parse_network(text), (107, 53));
        assert_eq!(parse_network(""), (0, 0));
    }
}
