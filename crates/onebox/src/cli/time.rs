//! Moments and spans as people type them.

use std::time::Duration;

use jiff::civil::{Date, DateTime, Time};
use jiff::{Timestamp, Zoned};

/// `10m` ago, or a time; without a zone it is the machine's own, without a date today.
pub(super) fn moment(text: &str) -> Result<Timestamp, String> {
    moment_before(text, &Zoned::now())
}

fn moment_before(text: &str, now: &Zoned) -> Result<Timestamp, String> {
    let unknown =
        || format!("`{text}` is neither a span (10m, 2d) nor a time (04:30, 2026-11-22 04:30)");
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(at);
    }
    let civil = if let Ok(span) = span(text) {
        return now.timestamp().checked_sub(span).map_err(|_| unknown());
    } else if let Ok(at) = text.parse::<DateTime>() {
        at
    } else if let Ok(date) = text.parse::<Date>() {
        date.into()
    } else {
        let time = text.parse::<Time>().ok().filter(|_| text.contains(':'));
        now.date().to_datetime(time.ok_or_else(unknown)?)
    };
    let zoned = civil.to_zoned(now.time_zone().clone()).map_err(|_| unknown())?;
    Ok(zoned.timestamp())
}

/// `90s`, `10m`, `1h30m`, `2d`; never negative, and a day has 24 hours.
pub(crate) fn span(text: &str) -> Result<Duration, String> {
    let unknown = || format!("`{text}` is no span: write 90s, 10m, 1h30m or 7d");
    let (mut total, mut rest) = (0_u64, text);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(unknown)?;
        let (number, behind) = rest.split_at(digits);
        let mut units = behind.chars();
        let seconds = match units.next() {
            Some('s') => 1,
            Some('m') => 60,
            Some('h') => 3600,
            Some('d') => 86_400,
            Some('w') => 7 * 86_400,
            _ => return Err(unknown()),
        };
        let number: u64 = number.parse().map_err(|_| unknown())?;
        let part = number.checked_mul(seconds);
        total = part.and_then(|part| total.checked_add(part)).ok_or_else(unknown)?;
        rest = units.as_str();
    }
    if total == 0 { Err(unknown()) } else { Ok(Duration::from_secs(total)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Zoned {
        "2026-11-22T04:52:23+01:00[Europe/Berlin]".parse().unwrap()
    }

    #[test]
    fn a_moment_is_a_span_ago_or_a_time() {
        for (text, expected) in [
            ("10m", "2026-11-22T03:42:23Z"),
            ("1h30m", "2026-11-22T02:22:23Z"),
            ("2d", "2026-11-20T03:52:23Z"),
            ("04:30", "2026-11-22T03:30:00Z"),
            ("2026-11-22", "2026-11-21T23:00:00Z"),
            ("2026-11-22 04:30", "2026-11-22T03:30:00Z"),
            ("2026-11-22T04:30:05", "2026-11-22T03:30:05Z"),
            ("2026-11-22T04:30:00Z", "2026-11-22T04:30:00Z"),
        ] {
            let expected: Timestamp = expected.parse().unwrap();
            assert_eq!(moment_before(text, &now()), Ok(expected), "{text}");
        }
    }

    #[test]
    fn anything_else_is_told() {
        for text in ["", "10", "m", "-10m", "10y", "yesterday", "2026-13-01", "25:00", "0s"] {
            assert!(moment_before(text, &now()).is_err(), "{text}");
        }
        for text in ["", "0m", "18446744073709551615d", "99999999999999999999s", "1h 30m"] {
            assert!(span(text).is_err(), "{text}");
        }
        assert!(moment_before("18446744073709551615s", &now()).is_err());
    }
}
