//! A log-linear histogram of durations: a power of two of microseconds, cut into sixteen equal parts.
//!
//! A part is at most 1/16 of its lower bound wide and stands for its middle, so that a quantile is at most 1/32
//! (3.2 %) off, plus half a microsecond for rounding. Durations of 2^32 µs (71 minutes) and more count as the largest
//! one. Recording is two relaxed additions; histograms of equal shape merge by addition. A power of two takes memory from its first
//! duration on: most histograms know a few of them.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

const SUB_BITS: u32 = 4;
const PARTS: u64 = 1 << SUB_BITS;
const LARGEST_US: u64 = (1 << 32) - 1;
/// Sixteen exact values below 16 µs, then sixteen parts for each of the exponents 4 to 31.
const ROWS: usize = 1 + 28;
/// All parts.
pub(crate) const BUCKETS: usize = ROWS * 16;

/// A histogram that any number of threads record into.
#[derive(Debug, Default)]
pub struct Histogram {
    rows: [OnceLock<Box<[AtomicU64; 16]>>; ROWS],
    sum_us: AtomicU64,
}

impl Histogram {
    /// Counts one duration.
    pub fn record(&self, duration: Duration) {
        let (seconds, below_us) = (duration.as_secs(), u64::from(duration.subsec_micros()));
        let us = seconds.saturating_mul(1_000_000).saturating_add(below_us).min(LARGEST_US);
        let bucket = usize::from(bucket_of(us));
        let row = self.rows.get(bucket / 16).map(|row| row.get_or_init(Box::default));
        if let Some(bucket) = row.and_then(|row| row.get(bucket % 16)) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.sum_us.fetch_add(us, Ordering::Relaxed);
    }

    /// What was recorded so far. Records made meanwhile are in it or in the next one, never in neither.
    pub fn snapshot(&self) -> HistogramSnapshot {
        let sum_us = self.sum_us.load(Ordering::Relaxed);
        let mut buckets = Vec::new();
        let mut count = 0;
        let rows = (0_u16..).step_by(16).zip(&self.rows);
        let known = rows.filter_map(|(first, row)| Some((first, row.get()?)));
        for (index, bucket) in known.flat_map(|(first, row)| (first..).zip(row.iter())) {
            let n = bucket.load(Ordering::Relaxed);
            if n > 0 {
                buckets.push((index, n));
                count += n;
            }
        }
        HistogramSnapshot { buckets, sum_us, count }
    }
}

/// The part that a number of microseconds up to [`LARGEST_US`] belongs to.
fn bucket_of(us: u64) -> u16 {
    if us < PARTS {
        return u16::try_from(us).unwrap_or(0);
    }
    let exponent = us.ilog2();
    let part = (us >> (exponent - SUB_BITS)) & (PARTS - 1);
    let row = u64::from(exponent - SUB_BITS + 1);
    u16::try_from(row * PARTS + part).unwrap_or(u16::MAX)
}

/// The smallest number of microseconds of a part, and how many follow it in the same part.
fn bounds_of(bucket: u16) -> (u64, u64) {
    let bucket = u64::from(bucket);
    let (row, part) = (bucket / PARTS, bucket % PARTS);
    if row == 0 {
        return (part, 1);
    }
    let shift = (row - 1).min(32);
    ((PARTS + part) << shift, 1 << shift)
}

/// A histogram at one moment: only the parts that are not empty, in ascending order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistogramSnapshot {
    /// Part and how many durations fell into it.
    pub buckets: Vec<(u16, u64)>,
    /// The sum of all durations, microseconds.
    pub sum_us: u64,
    /// How many durations there are.
    pub count: u64,
}

impl HistogramSnapshot {
    /// The duration that a share `q` (0 to 1) of all stayed at or under; zero where there is none.
    pub fn quantile(&self, q: f64) -> Duration {
        let rank = rank_of(q, self.count);
        let mut seen = 0_u64;
        for &(bucket, n) in &self.buckets {
            seen = seen.saturating_add(n);
            if seen >= rank {
                let (lowest, width) = bounds_of(bucket);
                return Duration::from_micros(lowest + width / 2);
            }
        }
        Duration::ZERO
    }

    /// The mean duration; zero where there is none.
    pub fn mean(&self) -> Duration {
        Duration::from_micros(self.sum_us.checked_div(self.count).unwrap_or(0))
    }

    /// What was recorded between `earlier` and this one.
    pub fn delta(&self, earlier: &Self) -> Self {
        let mut before = earlier.buckets.iter().copied().peekable();
        let mut buckets = Vec::new();
        for &(bucket, n) in &self.buckets {
            while before.next_if(|&(b, _)| b < bucket).is_some() {}
            let old = before.next_if(|&(b, _)| b == bucket).map_or(0, |(_, old)| old);
            let new = n.saturating_sub(old);
            if new > 0 {
                buckets.push((bucket, new));
            }
        }
        let count = buckets.iter().map(|&(_, n)| n).sum();
        Self { buckets, sum_us: self.sum_us.saturating_sub(earlier.sum_us), count }
    }

    /// How many durations are shorter than 2^`exponent` microseconds: exact, since no part lies on both sides.
    pub fn count_below(&self, exponent: u32) -> u64 {
        let limit = 1_u64.checked_shl(exponent).unwrap_or(u64::MAX);
        let below = self.buckets.iter().take_while(|&&(bucket, _)| bounds_of(bucket).0 < limit);
        below.map(|&(_, n)| n).sum()
    }

    /// What was written before [`pack`](crate::pack) was, all LEB128: the sum, then for each part twice its count, and one more where
    /// empty parts are before it, whose number follows. `None` where the bytes say something else.
    pub fn from_bytes(mut bytes: &[u8]) -> Option<Self> {
        let mut read = Self { sum_us: read_leb128(&mut bytes)?, ..Self::default() };
        let mut next = 0_u64;
        while !bytes.is_empty() {
            let token = read_leb128(&mut bytes)?;
            let gap = if token & 1 == 1 { read_leb128(&mut bytes)? } else { 0 };
            let (bucket, n) = (next.checked_add(gap)?, token >> 1);
            let part = u16::try_from(bucket).ok().filter(|part| usize::from(*part) < BUCKETS)?;
            read.buckets.push((part, n));
            read.count = read.count.checked_add(n)?;
            next = bucket + 1;
        }
        Some(read)
    }

    /// Adds what `other` recorded.
    pub fn merge(&mut self, other: &Self) {
        for &(bucket, n) in &other.buckets {
            match self.buckets.binary_search_by_key(&bucket, |&(b, _)| b) {
                Ok(at) => {
                    if let Some((_, mine)) = self.buckets.get_mut(at) {
                        *mine = mine.saturating_add(n);
                    }
                }
                Err(at) => self.buckets.insert(at, (bucket, n)),
            }
        }
        self.sum_us = self.sum_us.saturating_add(other.sum_us);
        self.count = self.count.saturating_add(other.count);
    }
}

fn read_leb128(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        let part = u64::from(first & 0x7f);
        if part.leading_zeros() < shift {
            return None;
        }
        value |= part << shift;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// The rank, from 1, of the duration that a share `q` stays at or under.
fn rank_of(q: f64, count: u64) -> u64 {
    // Float to integer conversion saturates: NaN is 0, infinity the maximum.
    #[expect(clippy::cast_possible_truncation, reason = "saturates, and is clamped")]
    let rank = (q * count as f64).ceil() as u64;
    rank.clamp(1, count.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn recorded(durations_us: &[u64]) -> HistogramSnapshot {
        let histogram = Histogram::default();
        for &us in durations_us {
            histogram.record(Duration::from_micros(us));
        }
        histogram.snapshot()
    }

    #[test]
    fn every_part_begins_where_the_one_before_ends() {
        let mut next = 0;
        for bucket in 0..u16::try_from(BUCKETS).unwrap() {
            let (lowest, width) = bounds_of(bucket);
            assert_eq!(lowest, next);
            assert_eq!(bucket_of(lowest), bucket);
            assert_eq!(bucket_of(lowest + width - 1), bucket);
            next = lowest + width;
        }
        assert_eq!(next, LARGEST_US + 1);
    }

    #[test]
    fn a_duration_beyond_the_range_counts_as_the_largest() {
        let snapshot = recorded(&[u64::MAX, LARGEST_US + 1]);
        assert_eq!(snapshot.buckets, [(463, 2)]);
    }

    #[test]
    fn bytes_that_are_no_histogram_are_refused() {
        let absurd: [&[u8]; 5] = [&[], &[0x80], &[1, 3], &[0, 3, 0xd0, 0x03], &[0xff; 10]];
        for bytes in absurd {
            assert_eq!(HistogramSnapshot::from_bytes(bytes), None, "{bytes:?}");
        }
    }

    #[test]
    fn what_was_written_before_is_understood() {
        assert_eq!(HistogramSnapshot::from_bytes(&[0]), Some(HistogramSnapshot::default()));
        assert_eq!(HistogramSnapshot::from_bytes(&[3, 3, 3]), Some(recorded(&[3])));
        assert_eq!(HistogramSnapshot::from_bytes(&[11, 3, 3, 4]), Some(recorded(&[3, 4, 4])));
        let late = [0xa8, 0xc3, 0x01, 3, 0xb8, 0x01];
        assert_eq!(HistogramSnapshot::from_bytes(&late), Some(recorded(&[25_000])));
    }

    #[test]
    fn an_octave_takes_memory_from_its_first_duration_on() {
        let histogram = Histogram::default();
        let taken = || histogram.rows.iter().filter(|row| row.get().is_some()).count();
        assert_eq!(taken(), 0);
        for us in [1, 2, 1000, 1001, 1002] {
            histogram.record(Duration::from_micros(us));
        }
        assert_eq!((taken(), histogram.snapshot().count), (2, 5));
    }

    #[test]
    fn an_empty_histogram_has_zero_quantiles() {
        assert_eq!(HistogramSnapshot::default().quantile(0.5), Duration::ZERO);
        assert_eq!(HistogramSnapshot::default().mean(), Duration::ZERO);
    }

    #[test]
    fn an_absurd_share_is_answered_with_an_end_of_the_range() {
        let snapshot = recorded(&[1, 2, 3]);
        assert_eq!(snapshot.quantile(f64::NAN), Duration::from_micros(1));
        assert_eq!(snapshot.quantile(-4.0), Duration::from_micros(1));
        assert_eq!(snapshot.quantile(f64::INFINITY), Duration::from_micros(3));
    }

    proptest! {
        #[test]
        fn quantiles_are_at_most_five_percent_off(
            mut durations in prop::collection::vec(1_u64..3_600_000_000, 1..200),
            q in 0.0_f64..=1.0,
        ) {
            let snapshot = recorded(&durations);
            durations.sort_unstable();
            let rank = rank_of(q, durations.len() as u64);
            let exact = durations[usize::try_from(rank).unwrap() - 1] as f64;
            let told = snapshot.quantile(q).as_micros() as f64;
            prop_assert!((told - exact).abs() <= exact * 0.05 + 0.5, "{told} for {exact}");
        }

        #[test]
        fn merging_is_recording_everything_in_one(
            a in prop::collection::vec(0_u64..10_000_000_000, 0..100),
            b in prop::collection::vec(0_u64..10_000_000_000, 0..100),
        ) {
            let mut merged = recorded(&a);
            merged.merge(&recorded(&b));
            prop_assert_eq!(merged, recorded(&[a, b].concat()));
        }

        #[test]
        fn what_is_below_a_power_of_two_is_counted_exactly(
            durations in prop::collection::vec(0_u64..LARGEST_US, 0..100),
            exponent in 0_u32..40,
        ) {
            let below = durations.iter().filter(|us| **us < 1 << exponent).count();
            prop_assert_eq!(recorded(&durations).count_below(exponent), below as u64);
        }

        #[test]
        fn a_delta_is_what_was_recorded_in_between(
            a in prop::collection::vec(0_u64..10_000_000, 0..100),
            b in prop::collection::vec(0_u64..10_000_000, 0..100),
        ) {
            let later = recorded(&[a.clone(), b.clone()].concat());
            prop_assert_eq!(later.delta(&recorded(&a)), recorded(&b));
        }
    }
}
