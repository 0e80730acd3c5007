//! Which part of a file, or of a stored answer, a request wants.
//!
//! Source: RFC 9110 §14. Of several ranges those that can be satisfied are answered, unless that would be more than the file.

/// More ranges than this are an attack (RFC 9110 §17.15), and answered with the whole file.
const MOST_RANGES: usize = 64;

/// What a Range header means for a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Range {
    /// All of it: no range, or a header that is not understood.
    Whole,
    /// `size` bytes from `offset`.
    Part { offset: u64, size: u64 },
    /// Several of them, as offsets and sizes.
    Several(Vec<(u64, u64)>),
    /// Nothing of the file lies in the range: 416.
    Unsatisfiable,
}

/// The range that `header` wants of a file of `total` bytes.
pub(crate) fn parse(header: Option<&[u8]>, total: u64) -> Range {
    header.and_then(|header| ranges(header, total)).unwrap_or(Range::Whole)
}

fn ranges(header: &[u8], total: u64) -> Option<Range> {
    let (unit, set) = header.split_at_checked(6)?;
    if !unit.eq_ignore_ascii_case(b"bytes=") {
        return None;
    }
    let set = std::str::from_utf8(set).ok()?;
    let mut parts = Vec::new();
    // RFC 9110 §5.6.1: empty elements of a list count as none.
    let specs = set.split(',').map(str::trim).filter(|spec| !spec.is_empty());
    for (count, spec) in specs.enumerate() {
        if count >= MOST_RANGES {
            return None;
        }
        parts.extend(single(spec, total)?);
    }
    let wanted: u64 = parts.iter().fold(0, |sum, (_, size)| sum.saturating_add(*size));
    Some(match parts.as_slice() {
        [] if set.trim().is_empty() => return None,
        [] => Range::Unsatisfiable,
        [(offset, size)] => Range::Part { offset: *offset, size: *size },
        _ if wanted > total => Range::Whole,
        _ => Range::Several(parts),
    })
}

/// Outer `None`: not understood; inner: nothing of the file.
fn single(spec: &str, total: u64) -> Option<Option<(u64, u64)>> {
    let (first, last) = spec.split_once('-')?;
    Some(match (number(first)?, number(last)?) {
        (None, None) => return None,
        (None, Some(suffix)) => {
            let size = suffix.min(total);
            part(total - size, size)
        }
        (Some(first), Some(last)) if last < first => return None,
        (Some(first), _) if first >= total => None,
        (Some(first), None) => part(first, total - first),
        (Some(first), Some(last)) => part(first, last.min(total - 1) - first + 1),
    })
}

fn part(offset: u64, size: u64) -> Option<(u64, u64)> {
    (size > 0).then_some((offset, size))
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
        use Range::{Part, Several, Unsatisfiable, Whole};
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
            ("bytes=0-0,-1", Several(vec![(0, 1), (9999, 1)])),
            ("bytes= 500-600 ,, 601-999,", Several(vec![(500, 101), (601, 399)])),
            ("bytes=0-1,10000-", Part { offset: 0, size: 2 }),
            ("bytes=10000-,20000-", Unsatisfiable),
            ("bytes=0-,0-,0-", Whole),
            ("bytes=0-1,x", Whole),
            ("bytes=,", Unsatisfiable),
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
        fn a_part_is_never_outside_the_file(header in "bytes=([0-9]{0,21}-[0-9]{0,21},?){1,3}", total in any::<u64>()) {
            let parts = match parse(Some(header.as_bytes()), total) {
                Range::Part { offset, size } => vec![(offset, size)],
                Range::Several(parts) => parts,
                Range::Whole | Range::Unsatisfiable => Vec::new(),
            };
            for (offset, size) in parts {
                prop_assert!(size > 0 && offset.checked_add(size).is_some_and(|end| end <= total));
            }
        }
    }
}
