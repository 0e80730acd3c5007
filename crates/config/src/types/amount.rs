//! Sizes, durations and plain numbers.
//!
//! Units of sizes are binary, as in nginx and uWSGI: `64KB`, `64KiB` and `64k` are all 65,536 bytes.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::{Invalid, must_be};
use crate::value::Value;

const SIZE_UNITS: [(&str, u64); 4] =
    [("TB", 1 << 40), ("GB", 1 << 30), ("MB", 1 << 20), ("KB", 1 << 10)];
const TIME_UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// A number of bytes within a range: `"64KB"`, or a plain number.
pub(crate) fn size(range: RangeInclusive<u64>) -> impl FnOnce(&Value) -> Result<u64, Invalid> {
    move |value| {
        let bytes = match value {
            Value::Text(text) => parse_size(text)?,
            Value::Integer(number) => {
                u64::try_from(*number).map_err(|_| Invalid::new("must not be negative"))?
            }
            other => return Err(must_be("a size", other).hint("write it so: \"64KB\"")),
        };
        if range.contains(&bytes) {
            return Ok(bytes);
        }
        let (least, most) = (size_text(*range.start()), size_text(*range.end()));
        Err(Invalid::new(format!("must be from {least} to {most}, not {}", size_text(bytes))))
    }
}

/// A duration within a range: `"60s"`, `"500ms"`, `"1h30m"`.
pub(crate) fn duration(
    range: RangeInclusive<Duration>,
) -> impl FnOnce(&Value) -> Result<Duration, Invalid> {
    move |value| {
        let lasting = match value {
            Value::Text(text) => parse_duration(text)?,
            Value::Integer(number) => {
                return Err(Invalid::new("must be a duration with its unit, not a bare number")
                    .hint(format!("for seconds write \"{number}s\"")));
            }
            other => return Err(must_be("a duration", other).hint("write it so: \"60s\"")),
        };
        if range.contains(&lasting) {
            return Ok(lasting);
        }
        let (least, most) = (duration_text(*range.start()), duration_text(*range.end()));
        Err(Invalid::new(format!("must be from {least} to {most}, not {}", duration_text(lasting))))
    }
}

/// A whole number within a range. Environment variables are texts, so that digits in quotes count as well.
pub(crate) fn number<T>(range: RangeInclusive<T>) -> impl FnOnce(&Value) -> Result<T, Invalid>
where
    T: TryFrom<i64> + PartialOrd + std::fmt::Display,
{
    move |value| {
        let number = match value {
            Value::Integer(number) => *number,
            Value::Text(text) => {
                text.trim().parse().map_err(|_| must_be("a whole number", value))?
            }
            other => return Err(must_be("a whole number", other)),
        };
        match T::try_from(number) {
            Ok(fitting) if range.contains(&fitting) => Ok(fitting),
            _ => {
                let (least, most) = (range.start(), range.end());
                Err(Invalid::new(format!("must be from {least} to {most}, not {number}")))
            }
        }
    }
}

/// A size as a person would write it, exactly: `64KB`, `65535 bytes`.
pub(crate) fn size_text(bytes: u64) -> String {
    let unit = SIZE_UNITS.iter().find(|(_, size)| bytes >= *size && bytes.is_multiple_of(*size));
    match unit {
        Some((unit, size)) => format!("{}{unit}", bytes / size),
        None => format!("{bytes} bytes"),
    }
}

/// A duration as a person would write it, to the millisecond: `1h30m`.
pub(crate) fn duration_text(duration: Duration) -> String {
    let mut left = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut text = String::new();
    for (unit, ms) in TIME_UNITS {
        if left >= ms {
            text.push_str(&format!("{}{unit}", left / ms));
            left %= ms;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

fn parse_size(text: &str) -> Result<u64, Invalid> {
    let not_a_size = || {
        Invalid::new(format!("\"{text}\" is not a size"))
            .hint("write a whole number and B, KB, MB or GB: \"64KB\"")
    };
    let (digits, unit) = split_number(text.trim());
    let number: u64 = digits.parse().map_err(|_| not_a_size())?;
    let factor = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" | "byte" | "bytes" => 1,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        "t" | "tb" | "tib" => 1 << 40,
        _ => return Err(not_a_size()),
    };
    number.checked_mul(factor).ok_or_else(|| Invalid::new(format!("\"{text}\" is too large")))
}

fn parse_duration(text: &str) -> Result<Duration, Invalid> {
    let not_a_duration = || {
        Invalid::new(format!("\"{text}\" is not a duration"))
            .hint("write whole numbers with ms, s, m, h or d: \"60s\", \"1h30m\"")
    };
    let mut rest = text.trim();
    let mut total_ms = 0_u64;
    let mut smaller_than = u64::MAX;
    while !rest.is_empty() {
        let (digits, after) = split_number(rest);
        let unit_end = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        let number: u64 = digits.parse().map_err(|_| not_a_duration())?;
        let known = TIME_UNITS.iter().find(|(name, _)| *name == unit);
        // Each unit once, the largest first: "30m1h" is a slip of the hand.
        let ms =
            known.map(|(_, ms)| *ms).filter(|ms| *ms < smaller_than).ok_or_else(not_a_duration)?;
        let part = number.checked_mul(ms).and_then(|part| total_ms.checked_add(part));
        total_ms = part.ok_or_else(|| Invalid::new(format!("\"{text}\" is too long")))?;
        smaller_than = ms;
        rest = after;
    }
    if smaller_than == u64::MAX {
        Err(not_a_duration())
    } else {
        Ok(Duration::from_millis(total_ms))
    }
}

fn split_number(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_are_binary_in_every_spelling() {
        for text in ["64KB", "64kb", "64 KiB", "64k", "65536", "65536 bytes", "65536b"] {
            assert_eq!(parse_size(text), Ok(65_536), "{text}");
        }
        assert_eq!(parse_size("1GiB"), Ok(1 << 30));
        assert_eq!(parse_size("512MB"), Ok(512 << 20));
    }

    #[test]
    fn what_is_not_a_size_is_refused() {
        for text in ["", "KB", "1.5GB", "-1", "64XB", "64 K B", "99999999999TB", "1e3", "６４KB"]
        {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_are_read_by_their_units() {
        let cases = [
            ("60s", 60_000),
            ("500ms", 500),
            ("10m", 600_000),
            ("1h30m", 5_400_000),
            ("1d", 86_400_000),
        ];
        for (text, ms) in cases {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_duration_is_refused() {
        for text in
            ["", " ", "60", "s", "30m1h", "1h1h", "1.5s", "-1s", "1 s", "1y", "99999999999999999d"]
        {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_value_outside_of_its_range_is_told_with_the_range() {
        let refused = size(1024..=1 << 20)(&Value::Text("2MB".to_owned())).unwrap_err();
        assert_eq!(refused.message, "must be from 1KB to 1MB, not 2MB");
        let refused = number(1_u16..=256)(&Value::Integer(0)).unwrap_err();
        assert_eq!(refused.message, "must be from 1 to 256, not 0");
        assert!(number(1_u16..=256)(&Value::Integer(70_000)).is_err());
    }

    #[test]
    fn a_bare_number_is_not_a_duration_and_the_hint_shows_the_unit() {
        let refused = duration(Duration::ZERO..=Duration::MAX)(&Value::Integer(60)).unwrap_err();
        assert_eq!(refused.hint.as_deref(), Some("for seconds write \"60s\""));
    }

    proptest! {
        #[test]
        fn a_size_survives_being_written(bytes in any::<u64>()) {
            prop_assert_eq!(parse_size(&size_text(bytes)), Ok(bytes));
        }

        #[test]
        fn a_duration_survives_being_written(ms in 0_u64..1 << 50) {
            let duration = Duration::from_millis(ms);
            prop_assert_eq!(parse_duration(&duration_text(duration)), Ok(duration));
        }

        #[test]
        fn no_text_makes_the_parsers_panic(text in ".{0,20}") {
            let _ = parse_size(&text);
            let _ = parse_duration(&text);
        }
    }
}
