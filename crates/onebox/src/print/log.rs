//! A line of a site's log.

use onebox_supervisor::api::LogLine;
use serde::Deserialize;

use super::{clock, foreign, style};

/// `2026-11-20 11:42:13 app     the text`.
pub(crate) fn line(line: &LogLine) -> String {
    let source = format!("{:<7}", line.source);
    let source = match line.source.as_str() {
        "error" => style::bad(source),
        "onebox" => style::address(source),
        _ => style::faint(source),
    };
    format!("{} {source} {}", style::faint(clock::local(line.at_ms)), text(line))
}

/// What of an access log's line a person looks for.
#[derive(Debug, Deserialize)]
struct Access {
    method: String,
    path: String,
    status: u16,
    total_ms: f64,
    client: Option<String>,
    error: Option<String>,
}

/// `GET /about 200 3.2 ms 192.0.2.7` for a line of the access log; others are their own text.
fn text(line: &LogLine) -> String {
    if line.source != "access" {
        return foreign::coloured(&line.text);
    }
    let Ok(access) = serde_json::from_str::<Access>(&line.text) else {
        return foreign::plain(&line.text);
    };
    let Access { method, path, status, total_ms, .. } = access;
    let mut text = format!("{method} {} {status} {total_ms:.1} ms", path.escape_debug());
    for more in access.client.into_iter().chain(access.error) {
        text.push(' ');
        text.push_str(&foreign::plain(&more));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_access_log_is_readable() {
        let shown = |source: &str, text_of: &str| {
            text(&LogLine { at_ms: 0, source: source.into(), text: text_of.into() })
        };
        let json = r#"{"at_ms":1,"method":"GET","path":"/a","status":200,"total_ms":3.214,"client":"192.0.2.7","error":null}"#;
        assert_eq!(shown("access", json), "GET /a 200 3.2 ms 192.0.2.7");
        assert_eq!(shown("app", json), json);
        assert_eq!(shown("access", "{}"), "{}");
        let escape = r#"{"method":"GET","path":"/\u001b[2J","status":404,"total_ms":1.0,"client":null,"error":null}"#;
        assert_eq!(shown("access", escape), "GET /\\u{1b}[2J 404 1.0 ms");
        let error = r#"{"method":"GET","path":"/","status":500,"total_ms":1.0,"client":null,"error":"KeyError: \u001b]0;x\u0007\nGET / 200"}"#;
        let expected = "GET / 500 1.0 ms KeyError: \\u{1b}]0;x\\u{7}\\nGET / 200";
        assert_eq!(shown("access", error), expected);
        assert_eq!(shown("app", "\u{1b}[31mred \u{1b}[2J"), "\u{1b}[31mred \\u{1b}[2J\u{1b}[0m");
    }
}
