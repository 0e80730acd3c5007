//! What each site did in the last second and what it takes, in the order that is asked for.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use onebox_supervisor::api::{ApplianceStatus, Mode, Sample, SiteSample, SiteStatus};

/// What sites are ordered by: the largest first, but names from A on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Order {
    #[default]
    Name,
    Requests,
    Latency,
    Errors,
    Cpu,
    Memory,
}

impl Order {
    const ALL: [Self; 6] =
        [Self::Name, Self::Requests, Self::Latency, Self::Errors, Self::Cpu, Self::Memory];

    /// The one after it; the first after the last.
    pub(super) fn next(self) -> Self {
        let after = Self::ALL.into_iter().skip_while(|order| *order != self).nth(1);
        after.unwrap_or_default()
    }

    /// As the column's head says it.
    pub(super) const fn column(self) -> &'static str {
        match self {
            Self::Name => "SITE",
            Self::Requests => "REQ/S",
            Self::Latency => "P95 MS",
            Self::Errors => "ERR/S",
            Self::Cpu => "CPU %",
            Self::Memory => "MEMORY",
        }
    }
}

/// What processes take.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Taken {
    /// A share of one core.
    pub(super) cpu: f64,
    pub(super) memory_bytes: u64,
}

/// A site.
#[derive(Debug, Clone)]
pub(super) struct Row<'s> {
    pub(super) site: &'s SiteStatus,
    /// `None`: nothing was measured yet.
    pub(super) did: Option<&'s SiteSample>,
    /// What its processes take, for an embedded site the engine; `None`: it has none, or nothing was measured yet.
    pub(super) taken: Option<Taken>,
}

/// The sites whose name or host has `filter` in it.
pub(super) fn rows<'s>(status: &'s ApplianceStatus, order: Order, filter: &str) -> Vec<Row<'s>> {
    let filter = filter.to_lowercase();
    let is_meant = |site: &&SiteStatus| {
        let mut names = std::iter::once(&site.name).chain(&site.domains);
        names.any(|name| name.to_lowercase().contains(&filter))
    };
    let row = |site| Row::of(site, status.sample.as_ref());
    let mut rows: Vec<_> = status.sites.iter().filter(is_meant).map(row).collect();
    // A stable sort: what is equal stays in the order of its names.
    rows.sort_by(|one, other| one.compare(other, order));
    rows
}

impl<'s> Row<'s> {
    /// What a sample says of a site.
    pub(super) fn of(site: &'s SiteStatus, sample: Option<&'s Sample>) -> Self {
        let did = sample.and_then(|sample| sample.sites.iter().find(|did| did.site == site.name));
        let taken = sample.and_then(|sample| taken(site, sample));
        Self { site, did, taken }
    }

    /// Requests that its workers serve, and how many they can.
    pub(super) fn busy(&self) -> (u64, u64) {
        let workers = self.site.workers.iter();
        let busy = workers.map(|worker| (worker.running, u64::from(worker.threads)));
        busy.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
    }

    fn compare(&self, other: &Self, order: Order) -> Ordering {
        let figure = |row: &Self| match order {
            Order::Name => 0.0,
            Order::Requests => row.did.map_or(0.0, |did| did.requests_per_s),
            Order::Latency => row.did.map_or(0.0, |did| did.p95_ms),
            Order::Errors => row.did.map_or(0.0, |did| did.errors_per_s),
            Order::Cpu => row.taken.map_or(0.0, |taken| taken.cpu),
            Order::Memory => row.taken.map_or(0.0, |taken| taken.memory_bytes as f64),
        };
        figure(other).total_cmp(&figure(self)).then_with(|| self.site.name.cmp(&other.site.name))
    }
}

fn taken(site: &SiteStatus, sample: &Sample) -> Option<Taken> {
    let names: BTreeSet<&str> = match site.mode {
        Mode::Embedded => ["engine"].into(),
        Mode::Isolated => site.workers.iter().map(|worker| worker.name.as_str()).collect(),
        Mode::Static | Mode::Proxied => return None,
    };
    let measured = sample.processes.iter().filter(|one| names.contains(one.process.as_str()));
    measured.fold(None, |sum, one| {
        let Taken { cpu, memory_bytes } = sum.unwrap_or_default();
        Some(Taken { cpu: cpu + one.cpu, memory_bytes: memory_bytes + one.memory_bytes })
    })
}
