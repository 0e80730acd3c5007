//! `[log]`: how requests are written down, and how long the files stay.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Problem;
use crate::section::{NONE, Section};
use crate::types::{Invalid, duration, size, size_text, text, truth};

const MB: u64 = 1 << 20;
const GB: u64 = 1 << 30;
const TB: u64 = 1 << 40;
const HOUR: Duration = Duration::from_secs(3600);
const YEAR: Duration = Duration::from_secs(365 * 86_400);

/// `[log]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteLog {
    /// `format`: how a line of the access log is written
    pub format: LogFormat,
    /// `query`: whether the query of a request and of its referrer is written
    pub query: bool,
    /// `rotate-size`, bytes: a file of this size is put aside
    pub rotate_size: u64,
    /// `rotate-age`: so is one whose first line is this old; `None`: at any age it stays
    pub rotate_age: Option<Duration>,
    /// `budget`, bytes: what all log files of the site may take
    pub budget: u64,
}

impl Default for SiteLog {
    fn default() -> Self {
        Self {
            format: LogFormat::default(),
            query: false,
            rotate_size: 10 * MB,
            rotate_age: None,
            budget: 100 * MB,
        }
    }
}

/// `log.format`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// An object a line.
    #[default]
    Json,
    /// Apache's and nginx's.
    Combined,
}

/// Reads the section.
pub(super) fn read(mut section: Section, problems: &mut Vec<Problem>) -> SiteLog {
    let default = SiteLog::default();
    let budget_origin = section.origin_of("budget").or_else(|| section.origin_of("rotate-size"));
    let log = SiteLog {
        format: section.read("format", text(format)).unwrap_or(default.format),
        query: section.read("query", truth).unwrap_or(default.query),
        rotate_size: section.read("rotate-size", size(MB..=GB)).unwrap_or(default.rotate_size),
        rotate_age: section.read("rotate-age", duration(HOUR..=YEAR)),
        budget: section.read("budget", size(MB..=TB)).unwrap_or(default.budget),
    };
    if let Some(origin) = budget_origin.filter(|_| log.budget < log.rotate_size) {
        let message = format!("is less than one file may have ({})", size_text(log.rotate_size));
        let invalid = Invalid::new(message).hint("let it be larger than `rotate-size`");
        section.refuse("budget", origin, invalid);
    }
    section.finish(NONE, problems);
    log
}

fn format(text: &str) -> Result<LogFormat, Invalid> {
    match text {
        "json" => Ok(LogFormat::Json),
        "combined" => Ok(LogFormat::Combined),
        _ => Err(Invalid::new(format!("must be \"json\" or \"combined\", not \"{text}\""))),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn parsed(text: &str) -> Result<SiteLog, String> {
        let parsed = crate::parse_site(&format!("[log]\n{text}"), Path::new("onebox.toml"));
        parsed.map(|config| config.log).map_err(|error| error.to_string())
    }

    #[test]
    fn a_log_is_json_until_somebody_wants_the_format_of_web_servers() {
        assert_eq!(parsed(""), Ok(SiteLog::default()));
        let combined = parsed("format = 'combined'\nquery = true\nrotate-age = '1d'").unwrap();
        let expected = SiteLog {
            format: LogFormat::Combined,
            query: true,
            rotate_age: Some(Duration::from_secs(86_400)),
            ..SiteLog::default()
        };
        assert_eq!(combined, expected);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (wrong, says) in [
            ("format = 'common'", "must be \"json\" or \"combined\""),
            ("query = 'yes'", "query"),
            ("rotate-size = '1KB'", "from 1MB to 1GB"),
            ("rotate-age = '1m'", "from 1h to 365d"),
            ("budget = '5MB'", "less than one file may have (10MB)"),
            ("rotate-size = '200MB'", "less than one file may have (200MB)"),
            ("access = 'off'", "access"),
        ] {
            let error = parsed(wrong).unwrap_err();
            assert!(error.contains(says), "{wrong}: {error}");
        }
    }
}
