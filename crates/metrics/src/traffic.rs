//! Counters of some of a site's requests: those on a route, or those that a release served.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use crate::{Finished, Histogram, HistogramSnapshot, Phase, pack, unpack};

/// The live counters: relaxed atomics and nothing else.
#[derive(Debug, Default)]
pub struct Traffic {
    by_class: [AtomicU64; 6],
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    phases: [Histogram; Phase::ALL.len()],
    total: Histogram,
}

/// The same at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TrafficSnapshot {
    /// Answers by the first digit of their status; at 0 those without a proper one.
    pub by_class: [u64; 6],
    /// Bytes received.
    pub bytes_in: u64,
    /// Bytes sent.
    pub bytes_out: u64,
    /// How long each phase lasted, in the order of [`Phase::ALL`].
    #[serde(with = "packed_phases")]
    pub phases: [HistogramSnapshot; Phase::ALL.len()],
    /// From the first byte to the last.
    pub total: HistogramSnapshot,
}

impl Traffic {
    /// Counts an answer.
    pub fn count(&self, finished: &Finished) {
        if let Some(counter) = self.by_class.get(finished.class()) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        self.bytes_in.fetch_add(finished.bytes_in, Ordering::Relaxed);
        self.bytes_out.fetch_add(finished.bytes_out, Ordering::Relaxed);
        for (histogram, phase) in self.phases.iter().zip(Phase::ALL) {
            if let Some(lasted) = finished.phases.get(phase) {
                histogram.record(lasted);
            }
        }
        self.total.record(finished.phases.total);
    }

    /// What was counted so far.
    pub(crate) fn snapshot(&self) -> TrafficSnapshot {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        TrafficSnapshot {
            by_class: self.by_class.each_ref().map(load),
            bytes_in: load(&self.bytes_in),
            bytes_out: load(&self.bytes_out),
            phases: self.phases.each_ref().map(Histogram::snapshot),
            total: self.total.snapshot(),
        }
    }
}

impl TrafficSnapshot {
    /// All answers.
    pub fn requests(&self) -> u64 {
        self.by_class.iter().sum()
    }

    /// Answers with a status from 500 to 599.
    pub fn errors(&self) -> u64 {
        let [_, _, _, _, _, errors] = self.by_class;
        errors
    }

    /// How long a phase lasted.
    pub fn phase(&mut self, phase: Phase) -> &mut HistogramSnapshot {
        let [tls, accept, queue, app, body, send] = &mut self.phases;
        match phase {
            Phase::Tls => tls,
            Phase::Accept => accept,
            Phase::Queue => queue,
            Phase::App => app,
            Phase::Body => body,
            Phase::Send => send,
        }
    }

    /// What happened between `earlier` and this one.
    fn delta(&self, earlier: &Self) -> Self {
        let mut phases = self.phases.clone();
        for (phase, earlier) in phases.iter_mut().zip(&earlier.phases) {
            *phase = phase.delta(earlier);
        }
        Self {
            by_class: combined(self.by_class, earlier.by_class, u64::saturating_sub),
            bytes_in: self.bytes_in.saturating_sub(earlier.bytes_in),
            bytes_out: self.bytes_out.saturating_sub(earlier.bytes_out),
            phases,
            total: self.total.delta(&earlier.total),
        }
    }

    /// Adds what was counted elsewhere.
    pub fn merge(&mut self, other: &Self) {
        self.by_class = combined(self.by_class, other.by_class, u64::saturating_add);
        self.bytes_in = self.bytes_in.saturating_add(other.bytes_in);
        self.bytes_out = self.bytes_out.saturating_add(other.bytes_out);
        for (mine, other) in self.phases.iter_mut().zip(&other.phases) {
            mine.merge(other);
        }
        self.total.merge(&other.total);
    }
}

/// Phases on the way to the supervisor: as numbers in JSON they would be most of what an engine says.
mod packed_phases {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD_NO_PAD;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    use super::{HistogramSnapshot, Phase, pack, unpack};

    type Phases = [HistogramSnapshot; Phase::ALL.len()];

    pub(super) fn serialize<S: Serializer>(phases: &Phases, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&STANDARD_NO_PAD.encode(pack(phases)))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Phases, D::Error> {
        let bytes = STANDARD_NO_PAD.decode(String::deserialize(from)?).map_err(D::Error::custom)?;
        let phases = unpack(&bytes, Phase::ALL.len()).and_then(|all| all.try_into().ok());
        phases.ok_or_else(|| D::Error::custom("these are no histograms"))
    }
}

/// Two arrays, element by element.
pub(crate) fn combined<const N: usize>(
    mut mine: [u64; N],
    others: [u64; N],
    combine: impl Fn(u64, u64) -> u64,
) -> [u64; N] {
    for (mine, other) in mine.iter_mut().zip(others) {
        *mine = combine(*mine, other);
    }
    mine
}

/// What happened by name; names under which nothing did are left out.
pub(crate) fn delta(
    now: &BTreeMap<String, TrafficSnapshot>,
    earlier: &BTreeMap<String, TrafficSnapshot>,
) -> BTreeMap<String, TrafficSnapshot> {
    let nothing = TrafficSnapshot::default();
    let all = now.iter().map(|(name, traffic)| {
        (name.clone(), traffic.delta(earlier.get(name).unwrap_or(&nothing)))
    });
    all.filter(|(_, traffic)| traffic.requests() > 0).collect()
}

pub(crate) fn merge(
    mine: &mut BTreeMap<String, TrafficSnapshot>,
    other: &BTreeMap<String, TrafficSnapshot>,
) {
    for (name, traffic) in other {
        match mine.get_mut(name) {
            Some(known) => known.merge(traffic),
            None => drop(mine.insert(name.clone(), traffic.clone())),
        }
    }
}
