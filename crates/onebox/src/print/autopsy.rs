//! Everything that is known of one request, as text.

use onebox_supervisor::api::{After, Autopsy, FailureKind, FailureReport, Raised, RequestRecord};

use super::{clock, foreign, log, style};

/// The failures of a request with their tracebacks, as Python prints them, and the lines that belong to it.
pub(crate) fn text(autopsy: &Autopsy) -> String {
    let mut text = autopsy.request.as_ref().map(request).unwrap_or_default();
    for failure in &autopsy.failures {
        text.push_str(&head(failure));
        for raised in &failure.raised {
            text.push('\n');
            text.push_str(&traceback(raised));
        }
        section(&mut text, "printed by its thread", failure.printed.lines().map(foreign::coloured));
    }
    section(&mut text, "what to do", autopsy.advice.iter().map(|text| foreign::plain(text)));
    section(&mut text, "lines of the log that name it", autopsy.log.iter().map(log::line));
    text
}

/// `GET /a 500`, from whom, and where its time went.
fn request(request: &RequestRecord) -> String {
    let RequestRecord { method, path, status, .. } = request;
    let mut text =
        format!("{}\n", style::strong(format!("{method} {} {status}", path.escape_debug())));
    let when = clock::local(request.at_ms);
    let client = request.client.as_deref().unwrap_or("a Unix socket");
    // A worker's name begins with its site's.
    let place = request.worker.as_ref().unwrap_or(&request.site);
    let mut about = format!("{when}  {place}, release {}, from {client}", request.release);
    if let Some(agent) = &request.user_agent {
        about.push_str(&format!(", {}", agent.escape_debug()));
    }
    text.push_str(&format!("{}\n", style::faint(about)));
    if let Some(error) = &request.error {
        text.push_str(&format!("{}\n", style::bad(foreign::plain(error))));
    }
    let phases = [
        ("tls", request.tls_us),
        ("accept", request.accept_us),
        ("queue", request.queue_us),
        ("app", request.app_us),
        ("body", request.body_us),
        ("send", request.send_us),
        ("total", Some(request.total_us)),
    ];
    let lasted = phases.iter().filter_map(|(name, lasted_us)| {
        lasted_us.map(|us| format!("{name} {}.{} ms", us / 1000, us % 1000 / 100))
    });
    text.push_str(&format!("{}\n", lasted.collect::<Vec<_>>().join(", ")));
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
        message => {
            let lines: Vec<_> = message.lines().map(foreign::plain).collect();
            format!("{}: {}", raised.kind, lines.join("\n"))
        }
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
        Raised { kind: kind.into(), message: "why\u{7}".into(), after, frames }
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
            printed: "one\ntwo\r\u{7}\n".into(),
        };
        let autopsy = Autopsy {
            request_id: "7".into(),
            request: None,
            failures: vec![failure],
            advice: Some("Mend it.".into()),
            log: Vec::new(),
        };
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
                "KeyError: why\\u{7}",
                "",
                "It was the cause of this:",
                "",
                "  app.py:3 in f",
                "    x[0]",
                "LookupError: why\\u{7}",
                "",
                "printed by its thread",
                "  one",
                "  two\\r\\u{7}",
                "",
                "what to do",
                "  Mend it.",
            ]
        );
    }
}
