//! A span of time, as queries say it.

use std::ops::Range;

use super::AdminError;

/// From one moment until before another; an end that nobody names is open.
///
/// # Errors
/// Where it ends before it begins.
pub(super) fn span(from_ms: Option<i64>, to_ms: Option<i64>) -> Result<Range<i64>, AdminError> {
    let span = from_ms.unwrap_or(i64::MIN)..to_ms.unwrap_or(i64::MAX);
    if span.start > span.end {
        return Err(AdminError::Malformed("from_ms is after to_ms".to_owned()));
    }
    Ok(span)
}
