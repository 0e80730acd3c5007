//! Which part of a file a request wants.
//!
//! Source: RFC 9110 §14. One range is answered; several are answered with the whole file, which §14.2 allows.

/// What a Range header means for a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Range {
    /// All of it: no range, several ones, or a header that is not understood.
    Whole,
    /// `size` bytes from `offset`.
    Part { offset: u64, size: u64 },
    /// Nothing of the file lies in the range: 416.
    Unsatisfiable,
}

/// The range that `header` wants of a file of `total` bytes.
pub(super) fn parse(header: Option<&[u8]>, total: u64) -> Range {
    header.and_then(|header| single(header, total)).unwrap_or(Range::Whole)
}

fn single(header: &[u8], total: u64) -> Option<Range> {
    let (unit, set) = header.split_at_checked(6)?;
    if !unit.eq_ignore_ascii_case(b"bytes=") || memchr::memchr(b',', set).is_some() {
        return None;
    }
    let set = std::str::from_utf8(set).ok()?.trim();
    let (first, last) = set.split_once('-')?;
    Some(match (number(first)?, number(last)?) {
        (None, None) => return None,
        (None, Some(suffix)) => {
            let size = suffix.min(total);
            part(total - size, size)
        }
        (Some(first), _) if first >= total => match number(last)? {
            Some(last) if last < first => return None,
            _ => Range::Unsatisfiable,
        },
        (Some(first), None) => part(first, total - first),
        (Some(first), Some(last)) if last < first => return None,
        (Some(first), Some(last)) => part(first, last.min(total - 1) - first + 1),
    })
}

fn part(offset: u64, size: u64) -> Range {
    if size == 0 { Range::Unsatisfiable } else { Range::Part { offset, size } }
}

/// Outer `None`: no number; inner: empty. One that is too large for 64 bits stands for the largest.
fn number(text: &str) -> Option<Option<u64>> {
    if text.is_empty() {
        return Some(None);
    }
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| Some(text.parse().unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ranges_follow_the_rfcs_examples() {
        use Range::{Part, Unsatisfiable, Whole};
        let table = [
            ("bytes=0-499", Part { offset: 0, size: 500 }),
            ("bytes=500-999", Part { offset: 500, size: 500 }),
            ("Bytes=500-", Part { offset: 500, size: 9500 }),
            ("bytes=-500", Part { offset: 9500, size: 500 }),
            ("bytes=-20000", Part { offset: 0, size: 10_000 }),
            ("bytes=9999-20000", Part { offset: 9999, size: 1 }),
            ("bytes=0-99999999999999999999999", Part { offset: 0, size: 10_000 }),
            ("bytes=10000-", Unsatisfiable),
            ("bytes=99999999999999999999999-", Unsatisfiable),
            ("bytes=-0", Unsatisfiable),
            ("bytes=0-0,-1", Whole),
            ("bytes=5-4", Whole),
            ("bytes=20000-19999", Whole),
            ("bytes=-", Whole),
            ("bytes=a-b", Whole),
            ("bytes=+1-2", Whole),
            ("bytes", Whole),
            ("lines=0-1", Whole),
        ];
        for (header, expected) in table {
            assert_eq!(parse(Some(header.as_bytes()), 10_000), expected, "{header}");
        }
        assert_eq!(parse(None, 10_000), Whole);
        assert_eq!(parse(Some(b"bytes=0-"), 0), Unsatisfiable);
    }

    proptest! {
        #[test]
        fn a_part_is_never_outside_the_file(header in "bytes=[0-9]{0,21}-[0-9]{0,21}", total in any::<u64>()) {
            if let Range::Part { offset, size } = parse(Some(header.as_bytes()), total) {
                prop_assert!(size > 0 && offset.checked_add(size).is_some_and(|end| end <= total));
            }
        }
    }
}
