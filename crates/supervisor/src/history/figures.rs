//! What was measured in a second, or in several: data that merges, so that a minute is its seconds added up.

use std::collections::BTreeMap;

use onebox_app_server::GilStalls;
use onebox_metrics::{DropSnapshot, SiteSnapshot, TrafficSnapshot};

/// What can be added up over time.
pub(crate) trait Figures: Clone + Default {
    /// Adds other seconds; where these are later, what there is of something is theirs. None of nothing are no readings.
    fn merge(&mut self, other: &Self);
}

/// Something that is read off and not counted, over the samples of a row.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Gauge {
    pub(crate) sum: u64,
    pub(crate) min: u64,
    pub(crate) max: u64,
}

impl Gauge {
    /// A reading that stands for so many seconds.
    pub(crate) fn over(value: u64, seconds: u64) -> Self {
        Self { sum: value.saturating_mul(seconds), min: value, max: value }
    }

    /// The readings of another row; neither is empty.
    fn merge(&mut self, other: Self) {
        self.sum = self.sum.saturating_add(other.sum);
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }
}

/// What a site did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct SiteFigures {
    /// Seconds in which it did something.
    pub(crate) samples: u64,
    /// What was counted; its `in_flight` means nothing here.
    pub(crate) counted: SiteSnapshot,
    /// Answers of the busiest second.
    pub(crate) answers_max: u64,
    pub(crate) in_flight: Gauge,
}

impl SiteFigures {
    /// What was counted in so many seconds, at least one; `None` where the site did nothing.
    pub(crate) fn over(counted: &SiteSnapshot, seconds: u64) -> Option<Self> {
        if counted.requests() == 0 && counted.in_flight == 0 {
            return None;
        }
        let seconds = seconds.max(1);
        Some(Self {
            samples: seconds,
            answers_max: counted.requests().div_ceil(seconds),
            in_flight: Gauge::over(counted.in_flight, seconds),
            counted: counted.clone(),
        })
    }

    /// The same without what was counted by route and by release, which is most of it.
    pub(crate) fn of_the_whole_site(&self) -> Self {
        let mut whole = self.clone();
        (whole.counted.routes, whole.counted.releases) = Default::default();
        whole
    }
}

impl Figures for SiteFigures {
    fn merge(&mut self, other: &Self) {
        if self.samples == 0 {
            return *self = other.clone();
        }
        self.samples = self.samples.saturating_add(other.samples);
        self.counted.merge(&other.counted);
        self.answers_max = self.answers_max.max(other.answers_max);
        self.in_flight.merge(other.in_flight);
    }
}

impl Figures for TrafficSnapshot {
    fn merge(&mut self, other: &Self) {
        Self::merge(self, other);
    }
}

/// What a process took; several processes of one name are taken together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ProcessFigures {
    pub(crate) samples: u64,
    /// CPU time, microseconds.
    pub(crate) cpu_us: u64,
    /// The same in the busiest second.
    pub(crate) cpu_us_max: u64,
    /// Memory with what is shared divided among those who share it, bytes.
    pub(crate) pss: Gauge,
    /// Memory with all that is shared, bytes.
    pub(crate) rss: Gauge,
    pub(crate) threads: Gauge,
    /// Open file descriptors.
    pub(crate) descriptors: Gauge,
    /// Waits for the GIL that were too long.
    pub(crate) gil_stalls: GilStalls,
}

impl Figures for ProcessFigures {
    fn merge(&mut self, other: &Self) {
        if self.samples == 0 {
            return *self = *other;
        }
        self.samples = self.samples.saturating_add(other.samples);
        self.cpu_us = self.cpu_us.saturating_add(other.cpu_us);
        self.cpu_us_max = self.cpu_us_max.max(other.cpu_us_max);
        self.pss.merge(other.pss);
        self.rss.merge(other.rss);
        self.threads.merge(other.threads);
        self.descriptors.merge(other.descriptors);
        self.gil_stalls.merge(other.gil_stalls);
    }
}

/// What the machine did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct BoxFigures {
    pub(crate) samples: u64,
    /// Busy share of all cores together, millionths.
    pub(crate) cpu_ppm: Gauge,
    /// Memory in use, bytes.
    pub(crate) memory: Gauge,
    /// Memory there is, bytes.
    pub(crate) memory_total: u64,
    /// In use of the file system with the state directory, bytes.
    pub(crate) disk: Gauge,
    /// What that file system holds, bytes.
    pub(crate) disk_total: u64,
    /// Load average of a minute, thousandths.
    pub(crate) load: Gauge,
    /// Bytes received from the network.
    pub(crate) received: u64,
    /// Bytes sent to it.
    pub(crate) sent: u64,
    /// Clients that got to no site.
    pub(crate) drops: DropSnapshot,
}

impl Figures for BoxFigures {
    fn merge(&mut self, other: &Self) {
        if self.samples == 0 {
            return *self = *other;
        }
        self.samples = self.samples.saturating_add(other.samples);
        self.cpu_ppm.merge(other.cpu_ppm);
        self.memory.merge(other.memory);
        self.memory_total = other.memory_total;
        self.disk.merge(other.disk);
        self.disk_total = other.disk_total;
        self.load.merge(other.load);
        self.received = self.received.saturating_add(other.received);
        self.sent = self.sent.saturating_add(other.sent);
        self.drops.merge(&other.drops);
    }
}

/// Everything that was measured in one second.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Tick {
    /// When it began.
    pub(crate) at_ms: i64,
    /// Sites that did something, by name.
    pub(crate) sites: BTreeMap<String, SiteFigures>,
    /// By name: `supervisor`, `engine`, `blog.1`.
    pub(crate) processes: BTreeMap<String, ProcessFigures>,
    pub(crate) the_box: BoxFigures,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_without_a_request_has_no_figures() {
        assert_eq!(SiteFigures::over(&SiteSnapshot::default(), 1), None);
        let waiting = SiteSnapshot { in_flight: 1, ..SiteSnapshot::default() };
        assert!(SiteFigures::over(&waiting, 1).is_some(), "one that still runs is something");
    }

    #[test]
    fn a_minute_knows_its_busiest_and_its_calmest_second() {
        let second = |answers, in_flight| {
            let by_class = [0, 0, answers, 0, 0, 0];
            let counted = SiteSnapshot { by_class, in_flight, ..SiteSnapshot::default() };
            SiteFigures::over(&counted, 1).unwrap()
        };
        let mut minute = second(3, 4);
        minute.merge(&second(9, 1));
        minute.merge(&second(5, 2));
        let mut from_nothing = SiteFigures::default();
        from_nothing.merge(&minute);
        assert_eq!(from_nothing, minute);
        assert_eq!((minute.samples, minute.counted.requests(), minute.answers_max), (3, 17, 9));
        assert_eq!(minute.in_flight, Gauge { sum: 7, min: 1, max: 4 });
    }
}
