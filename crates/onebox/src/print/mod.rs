//! How results look on a terminal. Data comes in, text goes out; nothing here talks to the appliance.
//!
//! Colours appear on a terminal only and never with `NO_COLOR`: `anstream` takes them out elsewhere.

pub(crate) mod autopsy;
pub(crate) mod clock;
pub(crate) mod foreign;
pub(crate) mod log;
pub(crate) mod progress;
pub(crate) mod status;
pub(crate) mod style;
pub(crate) mod table;

use std::io::IsTerminal;

use onebox_supervisor::api::UpstreamRoute;
use serde::Serialize;

use crate::report::Failure;

/// How wide the terminal is; `None` where standard output is none.
pub(crate) fn terminal_width() -> Option<u16> {
    let stdout = std::io::stdout();
    let size = stdout.is_terminal().then(|| rustix::termios::tcgetwinsize(stdout))?;
    let columns = size.map_or(0, |size| size.ws_col);
    Some(if columns == 0 { 80 } else { columns.max(40) })
}

/// Where an upstream's requests come from: its path, else the routes that name it.
pub(crate) fn upstream_place(upstream: &UpstreamRoute) -> &str {
    upstream.path.as_deref().or(upstream.name.as_deref()).unwrap_or_default()
}

/// Prints what has been done.
pub(crate) fn done(text: &str) {
    anstream::println!("{} {text}", style::good("✓"));
}

/// Prints a value as indented JSON.
pub(crate) fn json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).map_err(Failure::Json)?;
    anstream::println!("{text}");
    Ok(())
}

/// Prints a value as one line of JSON.
pub(crate) fn json_line(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string(value).map_err(Failure::Json)?;
    anstream::println!("{text}");
    Ok(())
}
