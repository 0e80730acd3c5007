//! The engine's own log among what applications write: both come through one pipe, and a mark at the line's start tells them apart.
//!
//! What concerns one site goes to that site's log too, so that its operator finds it there.

use std::io::{self, Write};

use serde::Deserialize;
use serde_json::{Map, Value};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::logs::{Logs, Source};

/// Begins each line of the engine's own log; a control character that no program prints by accident.
const MARK: &str = "\u{1e}onebox ";

/// An event that the engine itself wrote.
#[derive(Debug, Deserialize)]
pub(super) struct Told {
    level: String,
    fields: Map<String, Value>,
}

impl Told {
    /// The event of a line; `None`: an application wrote it.
    pub(super) fn by_engine(line: &str) -> Option<Self> {
        serde_json::from_str(line.strip_prefix(MARK)?).ok()
    }

    /// In the supervisor: into our own log, and into the site's where it names one.
    pub(super) fn pass_on(&self, generation: u64, logs: &Logs) {
        let text = self.text();
        if let Some(Value::String(site)) = self.fields.get("site") {
            logs.write(site, Source::Onebox, &text);
        }
        match self.level.as_str() {
            "ERROR" => tracing::error!(generation, "{text}"),
            "WARN" => tracing::warn!(generation, "{text}"),
            "INFO" => tracing::info!(generation, "{text}"),
            _ => tracing::debug!(generation, "{text}"),
        }
    }

    /// The message, then what belongs to it: `no answer method=GET path=/slow`.
    fn text(&self) -> String {
        let message = self.fields.get("message").and_then(Value::as_str).unwrap_or_default();
        let mut text = message.to_owned();
        for (name, value) in &self.fields {
            match (name.as_str(), value) {
                ("message" | "site", _) => {}
                (_, Value::String(value)) => text.push_str(&format!(" {name}={value}")),
                (_, value) => text.push_str(&format!(" {name}={value}")),
            }
        }
        text
    }
}

/// Sends the engine's log to its standard error, marked.
pub(super) fn start() {
    // h2 warns of every connection that floods; the proxy counts them and tells of some.
    let level =
        EnvFilter::try_from_env("RUST_LOG").unwrap_or_else(|_| EnvFilter::new("info,h2=error"));
    let started = tracing_subscriber::fmt()
        .json()
        .with_env_filter(level)
        .with_target(false)
        .with_current_span(false)
        .with_span_list(false)
        .with_writer(Marked)
        .try_init();
    // Only fails where a log runs already, which then is the one to use.
    started.ok();
}

struct Marked;

/// One event; it is written whole, so that no line of an application comes between.
struct Line(Vec<u8>);

impl<'a> MakeWriter<'a> for Marked {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line(MARK.as_bytes().to_vec())
    }
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        io::stderr().lock().write_all(&self.0).ok();
    }
}

#[cfg(test)]
mod tests {
    use onebox_config::Paths;

    use super::*;
    use crate::logs::{Destination, LineFilter};

    const EVENT: &str = r#"{"timestamp":"t","level":"WARN","fields":{"message":"no answer","site":"blog","method":"GET","age_ms":7}}"#;

    #[test]
    fn a_marked_line_is_the_engines() {
        let told = Told::by_engine(&format!("{MARK}{EVENT}")).unwrap();
        assert_eq!(told.text(), "no answer age_ms=7 method=GET");
        assert!(Told::by_engine(EVENT).is_none());
    }

    #[test]
    fn what_concerns_a_site_is_in_its_log() {
        let state = tempfile::tempdir().unwrap();
        let logs = Logs::new(Paths::new(state.path()), Destination::Files);
        Told::by_engine(&format!("{MARK}{EVENT}")).unwrap().pass_on(1, &logs);
        let lines = logs.tail("blog", 10, &LineFilter::default()).unwrap();
        assert_eq!(lines.last().unwrap().text, "no answer age_ms=7 method=GET");
    }
}
