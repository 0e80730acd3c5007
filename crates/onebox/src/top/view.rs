//! How it looks: the box, its sites and what happened, on whatever size the terminal has.

use onebox_supervisor::api::{EventKind, PastEvent, SiteState};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Cell, Paragraph, Row as TableRow, Table, TableState};

use super::look::Look;
use super::rows::{Order, Row, Taken};
use super::screen::{Page, Screen};
use super::{Snapshot, site_view};
use crate::print::clock;
use crate::print::status::{dropped, state};

/// Events that are shown where there is room.
const EVENTS: u16 = 5;
/// Certificates in trouble that are told of above the sites.
const CERTIFICATES: usize = 3;
/// Sites get at least so many lines, their head included, before events get one.
const SITES: u16 = 8;

const COLUMNS: [(&str, Constraint); 9] = [
    (Order::Name.column(), Constraint::Fill(1)),
    ("STATE", Constraint::Length(8)),
    (Order::Requests.column(), Constraint::Length(8)),
    (Order::Latency.column(), Constraint::Length(8)),
    (Order::Errors.column(), Constraint::Length(6)),
    (Order::Cpu.column(), Constraint::Length(6)),
    (Order::Memory.column(), Constraint::Length(8)),
    ("BUSY", Constraint::Length(7)),
    ("OPEN", Constraint::Length(5)),
];

const HELP: [(&str, &str); 15] = [
    ("↑ ↓ k j", "choose a site; Page, Home and End too"),
    ("Enter", "the site, and what its workers serve; Esc goes back"),
    ("s", "order by the next column"),
    ("/", "only sites with this in name or host; Enter keeps it, Esc ends it"),
    ("?", "this page"),
    ("q", "end; Ctrl-C too"),
    ("", ""),
    ("REQ/S", "answers in the last second"),
    ("P95 MS", "the latency that 95 of 100 of them stayed under"),
    ("ERR/S", "those with a status of 500 or above"),
    ("CPU %", "of one core, by the site's processes, or the engine that embeds it"),
    ("MEMORY", "of the same; what processes share is divided among them"),
    ("BUSY", "requests that the workers serve, of those that they can serve at a time"),
    ("OPEN", "requests that wait for an answer, those in the queue too"),
    ("", "`onebox top --json` and `onebox status --json` tell the same as data"),
];

/// Draws all of it.
pub(super) fn draw(
    frame: &mut Frame<'_>,
    screen: &Screen,
    snapshot: &Snapshot,
    now_ms: i64,
    look: Look,
) {
    let head = head(snapshot, now_ms, look);
    let lines = u16::try_from(head.len()).unwrap_or(u16::MAX);
    let parts = [Constraint::Length(lines), Constraint::Min(0), Constraint::Length(1)];
    let [top, middle, bottom] = Layout::vertical(parts).areas(frame.area());
    frame.render_widget(Paragraph::new(head), top);
    match &screen.page {
        Page::Overview => overview(frame, middle, screen, snapshot, now_ms, look),
        Page::Site(name) => site_view::draw(frame, middle, name, snapshot, now_ms, look),
        Page::Help => help(frame, middle, look),
    }
    frame.render_widget(foot(screen, look), bottom);
}

/// The box in a few lines, and an empty one.
fn head(snapshot: &Snapshot, now_ms: i64, look: Look) -> Vec<Line<'static>> {
    let status = &snapshot.status;
    let engine = match &status.engine {
        Some(engine) if engine.crashes > 0 => {
            format!("engine {}, after {} crashes", engine.generation, engine.crashes)
        }
        Some(engine) => format!("engine {}", engine.generation),
        None => "no engine".to_owned(),
    };
    let started = clock::ago(status.started_ms, now_ms);
    let mut lines = vec![Line::from(vec![
        Span::styled(format!("onebox {}", status.version), look.strong()),
        Span::raw(format!("  started {started}  {engine}")),
    ])];
    match &status.sample {
        None => lines.push(Line::styled("nothing was measured yet", look.faint())),
        Some(sample) => {
            let machine = &sample.machine;
            lines.push(Line::raw(format!(
                "box     CPU {:>5.1} %  load {:.2}  memory {} of {}",
                machine.cpu * 100.0,
                machine.load,
                size(machine.memory_bytes),
                size(machine.memory_total_bytes),
            )));
            let taken = |name: &str| {
                let process = sample.processes.iter().find(|one| one.process == name);
                process.map_or_else(|| "–".to_owned(), |one| size(one.memory_bytes))
            };
            lines.push(Line::raw(format!(
                "onebox  CPU {:>5.1} %  memory {}: engine {}, supervisor {}",
                sample.cpu * 100.0,
                size(sample.memory_bytes),
                taken("engine"),
                taken("supervisor"),
            )));
        }
    }
    if let Some(dropped) = dropped(&status.dropped) {
        lines.push(Line::styled(format!("sent away  {dropped}"), look.warning()));
    }
    let certificates = status.sites.iter().flat_map(|site| &site.certificates);
    let in_trouble =
        certificates.filter_map(|one| Some((one.names.join(", "), one.problem.as_ref()?)));
    for (names, problem) in in_trouble.take(CERTIFICATES) {
        let problem = problem.replace('\n', " ");
        lines.push(Line::styled(format!("certificate of {names}: {problem}"), look.bad()));
    }
    lines.push(Line::default());
    lines
}

fn overview(
    frame: &mut Frame<'_>,
    area: Rect,
    screen: &Screen,
    snapshot: &Snapshot,
    now_ms: i64,
    look: Look,
) {
    let told = u16::try_from(snapshot.events.len()).unwrap_or(u16::MAX).clamp(1, EVENTS);
    // With their title, and a line above that.
    let events = area.height.saturating_sub(SITES).min(told + 2);
    let parts = [Constraint::Min(0), Constraint::Length(events)];
    let [above, below] = Layout::vertical(parts).areas(area);
    let rows = screen.rows(snapshot);
    if rows.is_empty() {
        let text = match screen.filter.as_str() {
            "" => "no site yet; `onebox deploy PATH` makes one",
            _ => "no site has that in its name or hosts",
        };
        frame.render_widget(Paragraph::new(text).style(look.faint()), above);
    } else {
        let chosen = screen.chosen_of(&rows);
        let table =
            Table::new(rows.iter().map(|row| cells(row, look)), COLUMNS.map(|(_, width)| width))
                .header(table_head(screen.order, look))
                .row_highlight_style(look.chosen());
        frame.render_stateful_widget(table, above, &mut TableState::new().with_selected(chosen));
    }
    let room = usize::from(events.saturating_sub(2));
    if room > 0 {
        let mut lines = vec![Line::default(), Line::styled("THE LAST HOUR", look.faint())];
        lines.extend(event_lines(snapshot.events.iter(), room, now_ms, look));
        frame.render_widget(Paragraph::new(lines), below);
    }
}

fn table_head(order: Order, look: Look) -> TableRow<'static> {
    let head = COLUMNS.iter().enumerate().map(|(index, (name, _))| {
        let style = if *name == order.column() { look.strong() } else { look.faint() };
        let line = Line::styled(*name, style);
        Cell::from(if index < 2 { line } else { line.right_aligned() })
    });
    TableRow::new(head)
}

fn cells(row: &Row<'_>, look: Look) -> TableRow<'static> {
    let figure = |value: Option<String>| {
        Cell::from(Line::raw(value.unwrap_or_else(|| "–".to_owned())).right_aligned())
    };
    let errors = row.did.map_or(0.0, |did| did.errors_per_s);
    let shown_errors = figure(row.did.map(|did| format!("{:.1}", did.errors_per_s)));
    let latency = row.did.filter(|did| did.requests_per_s > 0.0);
    let busy = match row.busy() {
        (_, 0) => None,
        (serving, threads) => Some(format!("{serving}/{threads}")),
    };
    let site = row.site;
    let shown = if site.maintenance { "closed" } else { state(site.state) };
    let style = if site.maintenance { look.warning() } else { of_state(site.state, look) };
    TableRow::new([
        Cell::from(site.name.clone()),
        Cell::from(Span::styled(shown, style)),
        figure(row.did.map(|did| format!("{:.1}", did.requests_per_s))),
        figure(latency.map(|did| format!("{:.1}", did.p95_ms))),
        if errors > 0.0 { shown_errors.style(look.bad()) } else { shown_errors },
        figure(row.taken.map(|Taken { cpu, .. }| format!("{:.1}", cpu * 100.0))),
        figure(row.taken.map(|Taken { memory_bytes, .. }| size(memory_bytes))),
        figure(busy),
        figure(row.did.map(|did| did.in_flight.to_string())),
    ])
}

/// The newest of these events, the newest first.
pub(super) fn event_lines<'e>(
    events: impl DoubleEndedIterator<Item = &'e PastEvent>,
    room: usize,
    now_ms: i64,
    look: Look,
) -> Vec<Line<'static>> {
    let line = |event: &PastEvent| {
        let site = event.site.as_deref().unwrap_or("box");
        Line::from(vec![
            Span::styled(format!("{:>11}  ", clock::ago(event.at_ms, now_ms)), look.faint()),
            Span::styled(event.kind.name(), of_event(event.kind, look)),
            Span::raw(format!("  {site}: {}", event.text.replace('\n', " "))),
        ])
    };
    let lines: Vec<_> = events.rev().take(room).map(line).collect();
    if lines.is_empty() { vec![Line::styled("nothing happened", look.faint())] } else { lines }
}

fn of_event(kind: EventKind, look: Look) -> Style {
    match kind {
        EventKind::DeployFailed
        | EventKind::EngineCrash
        | EventKind::WorkerCrash
        | EventKind::Deadline
        | EventKind::Wedged
        | EventKind::Fallback => look.bad(),
        EventKind::Deploy | EventKind::Rollback => look.good(),
        _ => Style::new(),
    }
}

/// How a site's state is shown.
pub(super) fn of_state(state: SiteState, look: Look) -> Style {
    match state {
        SiteState::Running => look.good(),
        SiteState::Failed => look.bad(),
        SiteState::Starting | SiteState::Idle | SiteState::Stopped => look.warning(),
    }
}

fn help(frame: &mut Frame<'_>, area: Rect, look: Look) {
    let line = |(key, text): (&str, &str)| {
        Line::from(vec![
            Span::styled(format!("{key:<9}"), look.strong()),
            Span::raw(text.to_owned()),
        ])
    };
    frame.render_widget(Paragraph::new(HELP.map(line).to_vec()), area);
}

fn foot(screen: &Screen, look: Look) -> Line<'static> {
    if screen.is_typing {
        return Line::styled(format!("/{}_", screen.filter), look.strong());
    }
    if let Some(trouble) = &screen.trouble {
        return Line::styled(format!("this is not of now: {trouble}"), look.bad());
    }
    let keys = match &screen.page {
        Page::Overview if screen.filter.is_empty() => {
            "q end  ↑↓ choose  Enter open  s order  / filter  ? help".to_owned()
        }
        Page::Overview => format!("only sites with {:?}: Esc shows all  ? help", screen.filter),
        Page::Site(_) => "Esc all sites  ? help  q end".to_owned(),
        Page::Help => "any key goes back  q end".to_owned(),
    };
    Line::styled(keys, look.faint())
}

/// `57 MB`, `1.2 GB`.
pub(super) fn size(bytes: u64) -> String {
    const MB: u64 = 1 << 20;
    let megabytes = bytes.div_ceil(MB);
    if megabytes < 1000 {
        format!("{megabytes} MB")
    } else {
        format!("{:.1} GB", megabytes as f64 / 1024.0)
    }
}

#[cfg(test)]
mod tests;
