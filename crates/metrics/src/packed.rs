//! Histograms in few bytes: a bit or two for each part that is empty, four to eight for one that is not.
//!
//! The counts of neighbouring parts are alike: what is written is how far each is from those before it, in a Golomb-Rice code whose
//! parameter follows these differences. Source: R. F. Rice, "Some Practical Universal Noiseless Coding Techniques", JPL 79-22.

use crate::HistogramSnapshot;
use crate::histogram::BUCKETS;

/// The bits of the number of a part, and of a number of bits.
const PART_BITS: u32 = 9;
const WIDTH_BITS: u32 = 7;
/// A quotient of so many ones is none: the number follows as it is.
const LONGEST_UNARY: u64 = 12;

/// Writes histograms one after the other; [`unpack`] must be told how many there are.
pub fn pack<'a>(histograms: impl IntoIterator<Item = &'a HistogramSnapshot>) -> Vec<u8> {
    let mut bits = BitWriter::default();
    for histogram in histograms {
        bits.write_number(histogram.sum_us);
        let ends = (histogram.buckets.first(), histogram.buckets.last());
        let (Some(&(first, _)), Some(&(last, _))) = ends else {
            bits.write(0, PART_BITS);
            continue;
        };
        bits.write(u64::from(last.saturating_sub(first)) + 1, PART_BITS);
        bits.write(u64::from(first), PART_BITS);
        let mut counts = histogram.buckets.iter().copied().peekable();
        let mut neighbours = Neighbours::default();
        for part in first..=last {
            let count = counts.next_if(|&(bucket, _)| bucket == part).map_or(0, |(_, n)| n);
            let difference = neighbours.difference(count);
            bits.write_rice(difference, neighbours.parameter());
            neighbours.follow(count, difference);
        }
    }
    bits.bytes
}

/// What [`pack`] made of so many histograms; `None` where something else did.
pub fn unpack(bytes: &[u8], histograms: usize) -> Option<Vec<HistogramSnapshot>> {
    let mut bits = BitReader { bytes, at: 0 };
    let all = (0..histograms).map(|_| unpack_one(&mut bits)).collect::<Option<Vec<_>>>()?;
    // What is left fills the last byte.
    (bits.at.div_ceil(8) == bytes.len()).then_some(all)
}

fn unpack_one(bits: &mut BitReader<'_>) -> Option<HistogramSnapshot> {
    let mut read =
        HistogramSnapshot { sum_us: bits.read_number()?, ..HistogramSnapshot::default() };
    let parts = u16::try_from(bits.read(PART_BITS)?).ok()?;
    if parts == 0 {
        return Some(read);
    }
    let first = u16::try_from(bits.read(PART_BITS)?).ok()?;
    let end = first.checked_add(parts).filter(|end| usize::from(*end) <= BUCKETS)?;
    let mut neighbours = Neighbours::default();
    for part in first..end {
        let difference = bits.read_rice(neighbours.parameter())?;
        let count = neighbours.count(difference);
        neighbours.follow(count, difference);
        if count > 0 {
            read.buckets.push((part, count));
            read.count = read.count.checked_add(count)?;
        }
    }
    Some(read)
}

/// What the counts before say of the next one.
struct Neighbours {
    /// The last two counts.
    last: [u64; 2],
    /// How large the differences are: four times their mean, the last one a quarter of it.
    level: u64,
}

impl Default for Neighbours {
    fn default() -> Self {
        Self { last: [0; 2], level: 8 }
    }
}

impl Neighbours {
    /// Its double must fit.
    fn expected(&self) -> u64 {
        let [one, other] = self.last;
        (one / 2).saturating_add(other / 2).min(u64::MAX >> 2)
    }

    /// How far a count is from what is expected, without a sign: even above it, odd below it, and from where only those above are
    /// left, the count itself.
    fn difference(&self, count: u64) -> u64 {
        let expected = self.expected();
        if count > 2 * expected {
            count
        } else if count >= expected {
            2 * (count - expected)
        } else {
            2 * (expected - count) - 1
        }
    }

    /// The count that has this difference.
    fn count(&self, difference: u64) -> u64 {
        let expected = self.expected();
        if difference > 2 * expected {
            difference
        } else if difference.is_multiple_of(2) {
            expected + difference / 2
        } else {
            expected - difference / 2 - 1
        }
    }

    fn follow(&mut self, count: u64, difference: u64) {
        let [_, newer] = self.last;
        self.last = [newer, count];
        self.level = (self.level - self.level / 4).saturating_add(difference);
    }

    /// Of the code: how many of the low bits are written as they are.
    fn parameter(&self) -> u32 {
        (self.level / 4).checked_ilog2().unwrap_or(0)
    }
}

/// Bits, the highest of a byte first.
#[derive(Default)]
struct BitWriter {
    bytes: Vec<u8>,
    /// Bits of the last byte that are not written.
    free: u32,
}

impl BitWriter {
    /// The lowest `width` bits of a value.
    fn write(&mut self, value: u64, mut width: u32) {
        while width > 0 {
            if self.free == 0 {
                self.bytes.push(0);
                self.free = 8;
            }
            let taken = width.min(self.free);
            let [piece, ..] = (value >> (width - taken) & ((1 << taken) - 1)).to_le_bytes();
            width -= taken;
            self.free -= taken;
            if let Some(last) = self.bytes.last_mut() {
                *last |= piece << self.free;
            }
        }
    }

    /// How many bits it has, and these.
    fn write_number(&mut self, number: u64) {
        let width = u64::BITS - number.leading_zeros();
        self.write(u64::from(width), WIDTH_BITS);
        self.write(number, width);
    }

    fn write_rice(&mut self, value: u64, parameter: u32) {
        let quotient = value >> parameter;
        for _ in 0..quotient.min(LONGEST_UNARY) {
            self.write(1, 1);
        }
        if quotient < LONGEST_UNARY {
            self.write(0, 1);
            self.write(value, parameter);
        } else {
            self.write_number(value);
        }
    }
}

struct BitReader<'a> {
    bytes: &'a [u8],
    /// In bits.
    at: usize,
}

impl BitReader<'_> {
    fn read(&mut self, mut width: u32) -> Option<u64> {
        let mut value = 0;
        while width > 0 {
            let byte = *self.bytes.get(self.at / 8)?;
            let left = 8 - u32::try_from(self.at % 8).ok()?;
            let taken = width.min(left);
            value = value << taken | u64::from(byte) >> (left - taken) & ((1 << taken) - 1);
            width -= taken;
            self.at += usize::try_from(taken).ok()?;
        }
        Some(value)
    }

    fn read_number(&mut self) -> Option<u64> {
        let width =
            u32::try_from(self.read(WIDTH_BITS)?).ok().filter(|width| *width <= u64::BITS)?;
        self.read(width)
    }

    fn read_rice(&mut self, parameter: u32) -> Option<u64> {
        let mut quotient = 0_u64;
        while quotient < LONGEST_UNARY && self.read(1)? == 1 {
            quotient += 1;
        }
        if quotient == LONGEST_UNARY {
            return self.read_number();
        }
        let high = quotient.checked_mul(1_u64.checked_shl(parameter)?)?;
        high.checked_add(self.read(parameter)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Histogram;
    use proptest::prelude::*;
    use std::time::Duration;

    fn histogram(buckets: &[(u16, u64)], sum_us: u64) -> HistogramSnapshot {
        let count = buckets.iter().map(|&(_, n)| n).sum();
        HistogramSnapshot { buckets: buckets.to_vec(), sum_us, count }
    }

    fn recorded(durations_us: &[u64]) -> HistogramSnapshot {
        let histogram = Histogram::default();
        durations_us.iter().for_each(|us| histogram.record(Duration::from_micros(*us)));
        histogram.snapshot()
    }

    #[test]
    fn neighbours_that_are_alike_take_few_bits() {
        let (empty, one) = (HistogramSnapshot::default(), recorded(&[3]));
        assert_eq!(pack(&[empty]).len(), 2);
        assert_eq!(pack(&[one]).len(), 4);
        let alike: Vec<_> = (100..200).map(|part| (part, 40 + u64::from(part % 7))).collect();
        let bytes = pack(&[histogram(&alike, 1_000_000)]);
        assert!(bytes.len() < 70, "{} bytes for 100 parts", bytes.len());
    }

    #[test]
    fn a_count_that_nothing_announced_is_kept() {
        let all = [
            histogram(&[(0, u64::MAX)], u64::MAX),
            histogram(&[(0, 1), (1, u64::MAX >> 1), (463, 1)], 0),
        ];
        assert_eq!(unpack(&pack(&all), 2), Some(all.to_vec()));
    }

    #[test]
    fn bytes_that_are_no_histograms_are_refused() {
        let whole = pack(&[recorded(&[1, 20, 300]), recorded(&[7])]);
        assert_eq!(unpack(&[], 0), Some(vec![]));
        assert_eq!(unpack(&whole, 3), None, "there are two");
        assert_eq!(unpack(&[&whole[..], &[0]].concat(), 2), None, "more follows");
        for end in 0..whole.len() {
            assert_eq!(unpack(&whole[..end], 2), None, "cut after {end} bytes");
        }
        assert_eq!(unpack(&[0xff; 40], 1), None, "a number of 127 bits");
        // No sum, 464 parts from the first one on, and from the second one on.
        assert!(unpack(&[&[0x01, 0xd0, 0x00][..], &[0; 200]].concat(), 1).is_none());
        assert_eq!(unpack(&[0x01, 0xd0, 0x00, 0x80], 1), None);
    }

    proptest! {
        #[test]
        fn bytes_bring_everything_back(
            all in prop::collection::vec(prop::collection::vec(any::<u64>(), 0..100), 0..8),
        ) {
            let all: Vec<_> = all.iter().map(|durations| recorded(durations)).collect();
            prop_assert_eq!(unpack(&pack(&all), all.len()), Some(all));
        }

        #[test]
        fn counts_of_any_size_come_back(
            counts in prop::collection::btree_map(0_u16..464, 1_u64..u64::MAX >> 10, 0..60),
            sum_us in any::<u64>(),
        ) {
            let all = [histogram(&counts.into_iter().collect::<Vec<_>>(), sum_us)];
            prop_assert_eq!(unpack(&pack(&all), 1), Some(all.to_vec()));
        }

        #[test]
        fn what_is_read_from_any_bytes_is_written_so_again(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            if let Some(all) = unpack(&bytes, 3) {
                prop_assert_eq!(unpack(&pack(&all), 3), Some(all));
            }
        }
    }
}
