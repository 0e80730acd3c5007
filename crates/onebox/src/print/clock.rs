//! Points in time and spans of it, for people.

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Milliseconds since the epoch, now.
pub(crate) fn now_ms() -> i64 {
    Timestamp::now().as_millisecond()
}

/// `12 s ago`, `3 h ago`; a clock that was set back gives `just now`.
pub(crate) fn ago(at_ms: i64, now_ms: i64) -> String {
    let seconds = now_ms.saturating_sub(at_ms).max(0) / 1000;
    match seconds {
        0 => "just now".to_owned(),
        1..=119 => format!("{seconds} s ago"),
        120..=7199 => format!("{} min ago", seconds / 60),
        7200..=172_799 => format!("{} h ago", seconds / 3600),
        _ => format!("{} days ago", seconds / 86_400),
    }
}

/// `0.3 s`, `12.4 s`, `2 min 5 s`.
pub(crate) fn span(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if seconds < 100 {
        format!("{:.1} s", duration.as_secs_f64())
    } else {
        format!("{} min {} s", seconds / 60, seconds % 60)
    }
}

/// `2026-11-20 11:42:13` in the local time zone.
pub(crate) fn local(at_ms: i64) -> String {
    in_zone(at_ms, TimeZone::system())
}

/// `2026-11-20` in the local time zone.
pub(crate) fn day(at_ms: i64) -> String {
    local(at_ms).chars().take(10).collect()
}

fn in_zone(at_ms: i64, zone: TimeZone) -> String {
    match Timestamp::from_millisecond(at_ms) {
        Ok(timestamp) => timestamp.to_zoned(zone).strftime("%Y-%m-%d %H:%M:%S").to_string(),
        Err(_) => format!("{at_ms} ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_grow_their_unit() {
        let said = |seconds: i64| ago(0, seconds * 1000);
        assert_eq!(said(-5), "just now");
        assert_eq!(said(30), "30 s ago");
        assert_eq!(said(600), "10 min ago");
        assert_eq!(said(3 * 3600), "3 h ago");
        assert_eq!(said(9 * 86_400), "9 days ago");
    }

    #[test]
    fn spans_keep_a_decimal_while_it_matters() {
        assert_eq!(span(Duration::from_millis(1840)), "1.8 s");
        assert_eq!(span(Duration::from_secs(125)), "2 min 5 s");
    }

    #[test]
    fn a_time_out_of_range_is_no_panic() {
        assert_eq!(in_zone(0, TimeZone::UTC), "1970-01-01 00:00:00");
        assert_eq!(in_zone(i64::MAX, TimeZone::UTC), format!("{} ms", i64::MAX));
    }
}
