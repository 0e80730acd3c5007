//! A span of time, as queries say it.

use std::ops::Range;

use super::AdminError;

/// From one moment until before another.
///
/// # Errors
/// Where it ends before it begins.
pub(super) fn span(from_ms: i64, to_ms: i64) -> Result<Range<i64>, AdminError> {
    if from_ms > to_ms {
        return Err(AdminError::Malformed("from_ms is after to_ms".to_owned()));
    }
    Ok(from_ms..to_ms)
}
