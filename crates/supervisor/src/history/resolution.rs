//! How fine history is, and for how long: 1 s, 10 s, 1 min, 1 h.

use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

/// Points of a chart that says nothing about its step; finer ones could not be told apart.
const POINTS: i64 = 400;
/// What a step may be where nobody asked for one: round, so that the axis is.
const STEPS_S: [i64; 9] = [1, 10, 60, 300, 3600, 7200, 21_600, 86_400, 604_800];

/// What one row of the history stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Resolution {
    /// A sample as it was taken.
    Second,
    /// 10 s
    TenSeconds,
    /// 1 min
    Minute,
    /// 1 h
    Hour,
    /// 24 h of UTC; of routes alone.
    Day,
}

impl Resolution {
    /// Those of curves, the finest first.
    pub(crate) const ALL: [Self; 4] = [Self::Second, Self::TenSeconds, Self::Minute, Self::Hour];

    /// How long a row lasts, seconds.
    pub(crate) fn step_s(self) -> i64 {
        match self {
            Self::Second => 1,
            Self::TenSeconds => 10,
            Self::Minute => 60,
            Self::Hour => 3600,
            Self::Day => 86_400,
        }
    }

    /// How long rows stay, where history as a whole stays for `keep`.
    pub(crate) fn keep(self, keep: Duration) -> Duration {
        match self {
            Self::Second => keep.min(MINUTE * 15),
            Self::TenSeconds => keep.min(HOUR * 3),
            Self::Minute => keep.min(DAY * 2),
            Self::Hour | Self::Day => keep,
        }
    }

    /// When the row began that a moment belongs to; also before 1970.
    pub(crate) fn begin_ms(self, at_ms: i64) -> i64 {
        let step_ms = self.step_s() * 1000;
        at_ms.div_euclid(step_ms).saturating_mul(step_ms)
    }
}

/// How a span of time is told: which rows are read, and how many of them make a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Grid {
    pub(crate) resolution: Resolution,
    /// The beginning of the first point.
    pub(crate) from_ms: i64,
    /// From one point to the next.
    pub(crate) step_ms: i64,
    /// How many points.
    pub(crate) points: usize,
}

/// What a chart asks for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    pub(crate) from_ms: i64,
    pub(crate) to_ms: i64,
    /// `None`: as fits the span.
    pub(crate) step_ms: Option<i64>,
}

impl Grid {
    /// More points than this are not told at once.
    pub(crate) const MOST_POINTS: i64 = 2000;

    /// The finest rows that are as coarse as the step and still there at the beginning of the span. A step that they do not fit
    /// into is made larger. `None` where the span is none, or has too many points.
    pub(crate) fn new(wanted: Wanted, now_ms: i64, keep: Duration) -> Option<Self> {
        let span_ms = wanted.to_ms.checked_sub(wanted.from_ms).filter(|span| *span > 0)?;
        let asked_s = match wanted.step_ms {
            Some(step_ms) if step_ms > 0 => (step_ms - 1) / 1000 + 1,
            Some(_) => return None,
            None => fitting_step(span_ms),
        };
        let age_ms = now_ms.saturating_sub(wanted.from_ms);
        let is_there = |resolution: &Resolution| {
            let keep_ms = resolution.keep(keep).as_millis();
            u128::try_from(age_ms).unwrap_or(0) <= keep_ms
        };
        let coarse_enough =
            Resolution::ALL.into_iter().rev().find(|one| one.step_s() <= asked_s)?;
        let resolution =
            Resolution::ALL.into_iter().filter(|one| *one >= coarse_enough).find(is_there);
        let resolution = resolution.unwrap_or(Resolution::Hour);
        let row_s = resolution.step_s();
        let step_ms = ((asked_s - 1) / row_s + 1).checked_mul(row_s)?.checked_mul(1000)?;
        let from_ms = wanted.from_ms.div_euclid(step_ms).checked_mul(step_ms)?;
        let points = wanted.to_ms.checked_sub(from_ms)?.checked_sub(1)?.div_euclid(step_ms) + 1;
        let points = usize::try_from(points).ok().filter(|_| points <= Self::MOST_POINTS)?;
        Some(Self { resolution, from_ms, step_ms, points })
    }

    /// The end of the last point.
    pub(crate) fn end_ms(self) -> i64 {
        let points = i64::try_from(self.points).unwrap_or(i64::MAX);
        self.from_ms.saturating_add(points.saturating_mul(self.step_ms))
    }

    /// The point that a row belongs to.
    pub(crate) fn point(&self, at_ms: i64) -> Option<usize> {
        let after_ms = at_ms.checked_sub(self.from_ms)?;
        let point = usize::try_from(after_ms.div_euclid(self.step_ms)).ok()?;
        (point < self.points).then_some(point)
    }
}

fn fitting_step(span_ms: i64) -> i64 {
    let longest = STEPS_S.last().copied().unwrap_or(1);
    STEPS_S.into_iter().find(|step_s| span_ms / (step_s * 1000) <= POINTS).unwrap_or(longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: i64 = 1_800_000_000_000;
    const KEEP: Duration = Duration::from_secs(30 * 86_400);

    fn grid(ago: Duration, lasting: Duration, step_ms: Option<i64>) -> Option<Grid> {
        let from_ms = NOW_MS - i64::try_from(ago.as_millis()).unwrap();
        let to_ms = from_ms + i64::try_from(lasting.as_millis()).unwrap();
        Grid::new(Wanted { from_ms, to_ms, step_ms }, NOW_MS, KEEP)
    }

    #[test]
    fn each_span_of_the_dashboard_has_its_rows_and_its_step() {
        let expected = [
            (MINUTE * 5, Resolution::Second, 1),
            (HOUR, Resolution::TenSeconds, 10),
            (DAY, Resolution::Minute, 300),
            (DAY * 7, Resolution::Hour, 3600),
            (DAY * 30, Resolution::Hour, 7200),
        ];
        for (span, resolution, step_s) in expected {
            let grid = grid(span, span, None).unwrap();
            assert_eq!((grid.resolution, grid.step_ms), (resolution, step_s * 1000), "{span:?}");
            assert!((160..=402).contains(&grid.points), "{} points for {span:?}", grid.points);
            assert!(grid.end_ms() >= NOW_MS && grid.from_ms <= NOW_MS - 1000);
        }
    }

    #[test]
    fn what_is_older_than_the_fine_rows_is_told_from_coarser_ones() {
        let minutes = grid(DAY * 2, MINUTE * 5, None).unwrap();
        assert_eq!((minutes.resolution, minutes.step_ms), (Resolution::Minute, 60_000));
        let hours = grid(DAY * 20, HOUR * 2, Some(1000)).unwrap();
        assert_eq!((hours.resolution, hours.step_ms), (Resolution::Hour, 3_600_000));
        let before_everything = grid(DAY * 90, DAY, None).unwrap();
        assert_eq!(before_everything.resolution, Resolution::Hour);
    }

    #[test]
    fn a_step_is_made_to_fit_whole_rows() {
        let odd = grid(DAY, DAY, Some(90_000)).unwrap();
        assert_eq!((odd.resolution, odd.step_ms), (Resolution::Minute, 120_000));
        assert_eq!(odd.from_ms % odd.step_ms, 0);
        assert_eq!(odd.point(odd.from_ms - 1), None);
        assert_eq!(odd.point(odd.from_ms + 119_999), Some(0));
        assert_eq!(odd.point(odd.end_ms()), None);
    }

    #[test]
    fn what_is_no_span_or_too_much_has_no_grid() {
        for (lasting, step_ms) in [(Duration::ZERO, None), (HOUR, Some(0)), (HOUR, Some(-5))] {
            assert_eq!(grid(HOUR, lasting, step_ms), None);
        }
        assert_eq!(grid(MINUTE * 10, HOUR, Some(1)), None, "3600 points are too many");
        let ends = [i64::MIN, i64::MIN + 1, -1, 0, 1, NOW_MS, i64::MAX];
        let mut seen = 0;
        for (from_ms, to_ms) in ends.into_iter().flat_map(|from| ends.map(|to| (from, to))) {
            for step_ms in [None, Some(1), Some(i64::MAX)] {
                seen += 1;
                // Must not overflow.
                Grid::new(Wanted { from_ms, to_ms, step_ms }, NOW_MS, KEEP);
            }
        }
        assert_eq!(seen, 147);
    }

    #[test]
    fn rows_begin_at_round_times_also_before_1970() {
        assert_eq!(Resolution::Minute.begin_ms(119_999), 60_000);
        assert_eq!(Resolution::Minute.begin_ms(-1), -60_000);
    }
}
