//! One site: how it is, its workers and what each is doing, its certificates, and what happened to it.

use onebox_supervisor::api::{Sample, SiteSample, SiteStatus, WorkerStatus};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::Snapshot;
use super::look::Look;
use super::rows::Row;
use super::view::{event_lines, of_state, size};
use crate::print::clock;
use crate::print::status::{certificate_line, mode, state, worker_state};

/// Events that are shown where there is room.
const EVENTS: usize = 6;

/// Draws the site of this name.
pub(super) fn draw(
    frame: &mut Frame<'_>,
    area: Rect,
    name: &str,
    snapshot: &Snapshot,
    now_ms: i64,
    look: Look,
) {
    let status = &snapshot.status;
    let Some(site) = status.sites.iter().find(|site| site.name == name) else {
        let text = format!("{name} was removed");
        return frame.render_widget(Paragraph::new(text).style(look.warning()), area);
    };
    let mut lines = about(&Row::of(site, status.sample.as_ref()), now_ms, look);
    lines.extend(workers(&site.workers, status.sample.as_ref(), now_ms, look));
    lines.push(Line::styled("THE LAST HOUR", look.faint()));
    let events = snapshot.events.iter().filter(|event| event.site.as_deref() == Some(name));
    lines.extend(event_lines(events, EVENTS, now_ms, look));
    frame.render_widget(Paragraph::new(lines), area);
}

fn about(row: &Row<'_>, now_ms: i64, look: Look) -> Vec<Line<'static>> {
    let site = row.site;
    let python = site.python.as_ref().map(|version| format!(", Python {version}"));
    let mut lines = vec![Line::from(vec![
        Span::styled(format!("{}  ", site.name), look.strong()),
        Span::styled(state(site.state), of_state(site.state, look)),
        Span::raw(format!("  {}, {}{}", site.kind, mode(site.mode), python.unwrap_or_default())),
    ])];
    let mut problem = |text: String| lines.push(Line::styled(text, look.bad()));
    if site.maintenance {
        problem("in maintenance: everybody gets 503".to_owned());
    }
    if let Some(text) = &site.problem {
        problem(text.replace('\n', " "));
    }
    lines.extend(figures(row).into_iter().map(Line::raw));
    lines.push(Line::raw(released(site, now_ms)));
    for certificate in &site.certificates {
        let text = certificate_line(certificate);
        let text = anstream::adapter::strip_str(&text).to_string();
        lines.extend(text.lines().map(|line| Line::raw(format!("tls      {}", line.trim()))));
    }
    lines.push(Line::default());
    lines
}

/// What it did in the last second, and what it takes.
fn figures(row: &Row<'_>) -> Vec<String> {
    let did = row.did.map(|did| {
        let SiteSample { requests_per_s, static_per_s, errors_per_s, in_flight, .. } = did;
        let SiteSample { p50_ms, p95_ms, p99_ms, .. } = did;
        [
            format!(
                "did      {requests_per_s:.1} requests/s ({static_per_s:.1} of files), {errors_per_s:.1} errors/s, {in_flight} open"
            ),
            format!("within   {p50_ms:.1} ms (p50), {p95_ms:.1} ms (p95), {p99_ms:.1} ms (p99)"),
        ]
    });
    let taken = row.taken.map(|taken| {
        format!("took     {:.1} % of a core, {}", taken.cpu * 100.0, size(taken.memory_bytes))
    });
    did.into_iter().flatten().chain(taken).collect()
}

fn released(site: &SiteStatus, now_ms: i64) -> String {
    let release = match (&site.release, site.released_ms) {
        (Some(release), Some(at_ms)) => {
            format!("release  {release}, went live {}", clock::ago(at_ms, now_ms))
        }
        (Some(release), None) => format!("release  {release}"),
        (None, _) => "release  none".to_owned(),
    };
    match site.urls.first() {
        Some(url) => format!("{release}, {url}"),
        None => release,
    }
}

/// A line for each, and one below it for the request that it has had for longest; then an empty one.
fn workers(
    workers: &[WorkerStatus],
    sample: Option<&Sample>,
    now_ms: i64,
    look: Look,
) -> Vec<Line<'static>> {
    if workers.is_empty() {
        return Vec::new();
    }
    let width = workers.iter().map(|worker| worker.name.len()).max().unwrap_or(0).max(6);
    let head = format!(
        "{:<width$}  {:>8}  {:<9}  {:>9}  {:>7}  {:>5}  {:>9}  STARTED",
        "WORKER", "PID", "STATE", "REQUESTS", "BUSY", "GIL", "RECYCLED"
    );
    let mut lines = vec![Line::styled(head, look.faint())];
    for worker in workers {
        lines.push(Line::raw(format!(
            "{:<width$}  {:>8}  {:<9}  {:>9}  {:>7}  {:>5}  {:>9}  {}",
            worker.name,
            worker.pid,
            worker_state(worker.state),
            worker.requests,
            format!("{}/{}", worker.running, worker.threads),
            gil_stalled(&worker.name, sample),
            worker.recycles,
            clock::ago(worker.started_ms, now_ms),
        )));
        if let Some(current) = &worker.current {
            let age_s = current.age_ms as f64 / 1000.0;
            let request = format!("{} {}", current.method, current.path.escape_debug());
            lines.push(Line::raw(format!("  {age_s:.1} s  {request}")));
        }
    }
    lines.push(Line::default());
    lines
}

/// How much of the second a thread of the worker was kept from the GIL; an embedded one is the engine.
fn gil_stalled(worker: &str, sample: Option<&Sample>) -> String {
    let process = if worker.starts_with("engine.") { "engine" } else { worker };
    let found =
        sample.and_then(|sample| sample.processes.iter().find(|one| one.process == process));
    found.map_or_else(|| "-".to_owned(), |found| format!("{:.0} %", found.gil_stalled * 100.0))
}
