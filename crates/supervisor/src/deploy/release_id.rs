//! The ids of releases: they sort by when the releases were made, also where the clock went back between two of them.
//!
//! `20261120-114213-3f2a` (UTC): the last part is the fraction of the second in 65536ths, a *tick*.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use parking_lot::Mutex;

const TICKS_PER_S: i64 = 65_536;
/// Of the part that says the second.
const TIME: &str = "%Y%m%d-%H%M%S";
/// How long that part is, in bytes.
const TIME_BYTES: usize = 15;

/// Makes ids; each sorts behind all before it.
#[derive(Debug)]
pub(crate) struct ReleaseIds {
    /// Ticks since the Unix epoch of the last one.
    last: Mutex<i64>,
}

impl ReleaseIds {
    /// Ids behind all of these, which other programs may have made.
    pub(crate) fn behind<'a>(known: impl IntoIterator<Item = &'a str>) -> Self {
        let last = known.into_iter().filter_map(ticks_of).max().unwrap_or(0);
        Self { last: Mutex::new(last) }
    }

    /// The next one.
    pub(crate) fn next(&self) -> String {
        self.next_at(Timestamp::now())
    }

    fn next_at(&self, now: Timestamp) -> String {
        let fraction = i64::from(now.subsec_nanosecond().max(0)) * TICKS_PER_S / 1_000_000_000;
        let now = now.as_second().saturating_mul(TICKS_PER_S).saturating_add(fraction);
        let mut last = self.last.lock();
        *last = now.max(last.saturating_add(1));
        id_of(*last)
    }
}

fn id_of(ticks: i64) -> String {
    let (seconds, fraction) = (ticks.div_euclid(TICKS_PER_S), ticks.rem_euclid(TICKS_PER_S));
    let time = Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX).to_zoned(TimeZone::UTC);
    format!("{}-{fraction:04x}", time.strftime(TIME))
}

/// `None`: it is no such id.
fn ticks_of(id: &str) -> Option<i64> {
    let (time, fraction) = (id.get(..TIME_BYTES)?, id.get(TIME_BYTES..)?.strip_prefix('-')?);
    let time = DateTime::strptime(TIME, time).ok()?.to_zoned(TimeZone::UTC).ok()?;
    let fraction = i64::from(u16::from_str_radix(fraction, 16).ok()?);
    time.timestamp().as_second().checked_mul(TICKS_PER_S)?.checked_add(fraction)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64, nanosecond: i32) -> Timestamp {
        Timestamp::new(second, nanosecond).unwrap()
    }

    const NOW: i64 = 1_795_174_933;
    const YEAR: i64 = 365 * 86_400;

    #[test]
    fn ids_of_one_second_sort_by_time() {
        let ids = ReleaseIds::behind([]);
        let ids = [0, 20_000, 500_000_000, 999_999_999].map(|part| ids.next_at(at(NOW, part)));
        assert!(ids.is_sorted_by(|left, right| left < right), "{ids:?}");
        assert_eq!((ids[0].as_str(), &ids[3][15..]), ("20261120-114213-0000", "-ffff"));
    }

    #[test]
    fn a_clock_that_jumps_a_year_back_or_stands_still_repeats_no_id_and_keeps_their_order() {
        let made = ReleaseIds::behind([]);
        let moments = [
            at(NOW, 0),
            at(NOW, 0),
            at(NOW - YEAR, 7),
            at(NOW - YEAR, 8),
            at(NOW + YEAR, 0),
            at(NOW, 0),
        ];
        let ids = moments.map(|moment| made.next_at(moment));
        assert!(ids.is_sorted_by(|left, right| left < right), "{ids:?}");
        // The same by what another program made, at a later start.
        let again = ReleaseIds::behind(ids.iter().map(String::as_str));
        assert!(again.next_at(at(NOW, 0)) > ids[5]);
    }

    #[test]
    fn ids_are_read_as_they_are_written_and_other_names_are_none() {
        for id in ["20261120-114213-0000", "20261120-114213-ffff", "19700101-000000-0001"] {
            assert_eq!(id_of(ticks_of(id).unwrap()), id);
        }
        for other in [
            "",
            "in-place",
            "20261120-114213",
            "20261320-114213-0000",
            "20261120-114213-10000",
            "2026112é-114213-0000",
        ] {
            assert_eq!(ticks_of(other), None, "{other}");
        }
    }
}
