//! A line of a site's log.

use onebox_supervisor::api::LogLine;

use super::{clock, style};

/// `2026-11-20 11:42:13 app     the text`.
pub(crate) fn line(line: &LogLine) -> String {
    let source = format!("{:<7}", line.source);
    let source = match line.source.as_str() {
        "error" => style::bad(source),
        "onebox" => style::address(source),
        _ => style::faint(source),
    };
    format!("{} {source} {}", style::faint(clock::local(line.at_ms)), line.text)
}
