//! Everything that is known of one request, as text.

use onebox_supervisor::api::{After, Autopsy, FailureKind, FailureReport, Raised};

use super::{clock, log, style};

/// The failures of a request with their tracebacks, as Python prints them, and the lines that belong to it.
pub(crate) fn text(autopsy: &Autopsy) -> String {
    let mut text = String::new();
    for failure in &autopsy.failures {
        text.push_str(&head(failure));
        for raised in &failure.raised {
            text.push('\n');
            text.push_str(&traceback(raised));
        }
        section(&mut text, "printed by its thread", failure.printed.lines().map(str::to_owned));
    }
    section(&mut text, "lines of the log that name it", autopsy.log.iter().map(log::line));
    text
}

/// `GET /a failed after 12 ms` and who served it.
fn head(failure: &FailureReport) -> String {
    let FailureReport { method, path, age_ms, site, release, .. } = failure;
    let what = match failure.kind {
        FailureKind::Exception => "failed",
        FailureKind::Deadline => "passed its deadline",
        FailureKind::Answer => "was answered with an error, and no exception was seen,",
    };
    let title = format!("{method} {} {what} after {age_ms} ms", path.escape_debug());
    let worker = failure.worker.as_deref().unwrap_or("the embedded interpreter");
    let served = format!("{}  {site}, release {release}, {worker}", clock::local(failure.at_ms));
    format!("{}\n{}\n", style::strong(title), style::faint(served))
}

fn traceback(raised: &Raised) -> String {
    let mut text = match raised.after {
        None => String::new(),
        Some(After::Cause) => "It was the cause of this:\n\n".to_owned(),
        Some(After::Context) => "While that was handled:\n\n".to_owned(),
    };
    for frame in &raised.frames {
        let place = format!("{}:{} in {}", frame.file, frame.line, frame.function);
        text.push_str(&format!("  {}\n", style::faint(place)));
        if let Some(source) = &frame.source {
            text.push_str(&format!("    {source}\n"));
        }
    }
    let what = match raised.message.as_str() {
        "" => raised.kind.clone(),
        message => format!("{}: {message}", raised.kind),
    };
    text.push_str(&format!("{}\n", style::bad(what)));
    text
}

fn section(text: &mut String, title: &str, lines: impl Iterator<Item = String>) {
    let mut lines = lines.peekable();
    if lines.peek().is_none() {
        return;
    }
    text.push_str(&format!("\n{}\n", style::strong(title)));
    for line in lines {
        text.push_str(&format!("  {line}\n"));
    }
}

#[cfg(test)]
mod tests {
    use onebox_supervisor::api::Frame;

    use super::*;

    fn raised(kind: &str, after: Option<After>) -> Raised {
        let (file, function, source) = ("app.py".into(), "f".into(), Some("x[0]".into()));
        let frames = vec![Frame { file, line: 3, function, source }];
        Raised { kind: kind.into(), message: "why".into(), after, frames }
    }

    #[test]
    fn a_chain_reads_from_the_first_exception_to_the_last() {
        let failure = FailureReport {
            at_ms: 0,
            kind: FailureKind::Exception,
            site: "blog".into(),
            release: "r1".into(),
            worker: None,
            request_id: "7".into(),
            method: "GET".into(),
            path: "/a".into(),
            age_ms: 12,
            fingerprint: String::new(),
            place: None,
            raised: vec![raised("KeyError", None), raised("LookupError", Some(After::Cause))],
            printed: "one\ntwo\n".into(),
        };
        let autopsy = Autopsy { request_id: "7".into(), failures: vec![failure], log: Vec::new() };
        let text = anstream::adapter::strip_str(&text(&autopsy)).to_string();
        let lines: Vec<_> = text.lines().enumerate().filter(|(at, _)| *at != 1).collect();
        let lines: Vec<_> = lines.into_iter().map(|(_, line)| line).collect();
        assert_eq!(
            lines,
            [
                "GET /a failed after 12 ms",
                "",
                "  app.py:3 in f",
                "    x[0]",
                "KeyError: why",
                "",
                "It was the cause of this:",
                "",
                "  app.py:3 in f",
                "    x[0]",
                "LookupError: why",
                "",
                "printed by its thread",
                "  one",
                "  two",
            ]
        );
    }
}
