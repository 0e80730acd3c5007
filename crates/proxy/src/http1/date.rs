//! The `Date` field, made once a second (RFC 9110 §6.6.1).

use std::cell::RefCell;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The size of a date as RFC 9110 §5.6.7 writes it, in bytes.
const DATE_BYTES: usize = 29;

thread_local! {
    static LAST: RefCell<(u64, String)> = RefCell::new((0, String::with_capacity(DATE_BYTES)));
}

/// Appends the date of now.
pub(crate) fn push_date(out: &mut Vec<u8>) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
    LAST.with_borrow_mut(|(second, text)| {
        if *second != now || text.is_empty() {
            *second = now;
            *text = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(now));
        }
        out.extend_from_slice(text.as_bytes());
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_date_is_of_now_and_in_the_one_format() {
        let mut out = Vec::new();
        push_date(&mut out);
        assert_eq!(out.len(), DATE_BYTES);
        let date = httpdate::parse_http_date(std::str::from_utf8(&out).unwrap()).unwrap();
        assert!(date.elapsed().unwrap() < Duration::from_secs(60));
    }
}
