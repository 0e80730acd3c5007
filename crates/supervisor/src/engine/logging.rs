//! The engine's own log among what applications write: both come through one pipe, and a mark at the line's start tells them apart.

use std::io::{self, Write};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// Begins each line of the engine's own log; a control character that no program prints by accident.
const MARK: &str = "\u{1e}onebox ";

/// The text of a line that the engine itself wrote; `None`: an application wrote it.
pub(super) fn told_by_engine(line: &str) -> Option<&str> {
    line.strip_prefix(MARK)
}

/// In the supervisor: passes a line of the engine's log on to our own, which has the same form.
pub(super) fn pass_on(text: &str) {
    // Where nobody reads our log there is nobody to tell.
    writeln!(io::stderr().lock(), "{text}").ok();
}

/// Sends the engine's log to its standard error, marked.
pub(super) fn start() {
    let level = EnvFilter::try_from_env("RUST_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let started = tracing_subscriber::fmt()
        .with_env_filter(level)
        .with_ansi(false)
        .with_target(false)
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
    use super::*;

    #[test]
    fn a_marked_line_is_the_engines() {
        let mut line = Line(MARK.as_bytes().to_vec());
        line.write_all(b" INFO ready").unwrap();
        let text = String::from_utf8(std::mem::take(&mut line.0)).unwrap();
        assert_eq!(told_by_engine(&text), Some(" INFO ready"));
        assert_eq!(told_by_engine("INFO ready"), None);
    }
}
