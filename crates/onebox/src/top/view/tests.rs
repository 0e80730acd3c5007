//! What is drawn, on terminals of several sizes, of documents as `onebox status --json` prints them.

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::style::Color;
use serde_json::{Value, json};

use super::super::screen::Next;
use super::*;

const NOW_MS: i64 = 7_200_000;

fn site(name: &str, mode: &str, workers: &[Value]) -> Value {
    json!({
        "name": name, "state": "running", "maintenance": false, "problem": null, "mode": mode,
        "release": "20261120-114213-3f2a", "released_ms": 3_600_000, "domains": [format!("{name}.example")],
        "catch_all": false, "urls": [format!("https://{name}.example")], "kind": "Flask", "python": "3.11.7",
        "upstreams": [], "workers": workers,
        "certificates": [{
            "source": "acme", "names": [format!("{name}.example")], "issuer": "An Authority", "not_before_ms": 0,
            "not_after_ms": 129_600_000, "renews_ms": null, "is_ordering": false, "problem": (name == "blog").then_some("it is refused"),
            "next_try_ms": null
        }],
    })
}

fn worker(name: &str, running: u64, current: Value) -> Value {
    json!({
        "name": name, "pid": 4711, "release": "20261120-114213-3f2a", "started_ms": 3_600_000, "threads": 4,
        "state": "running", "requests": 12_345, "running": running, "current": current, "recycles": 3,
        "last_recycle": null,
    })
}

fn did(site: &str, requests_per_s: f64, p95_ms: f64, errors_per_s: f64) -> Value {
    json!({
        "site": site, "requests_per_s": requests_per_s, "static_per_s": 1.0, "errors_per_s": errors_per_s,
        "p50_ms": 1.0, "p95_ms": p95_ms, "p99_ms": 99.0, "in_flight": 5, "gil_wait_ms": 0,
    })
}

/// Three sites of a busy box.
fn snapshot() -> Snapshot {
    let current = json!({"method": "GET", "path": "/reports/\u{1b}[2J2026", "age_ms": 3_200});
    let process = |process: &str, cpu: f64, mb: u64| json!({"process": process, "cpu": cpu, "memory_bytes": mb << 20, "gil_stalled": cpu * 0.2});
    let mut snapshot: Snapshot = serde_json::from_value(json!({
        "version": "0.1.0", "pid": 7, "started_ms": 0, "state_dir": "/var/lib/onebox",
        "http": ["0.0.0.0:80"], "https": ["0.0.0.0:443"], "admin": ["127.0.0.1:8081"],
        "engine": {"generation": 2, "pid": 8, "started_ms": 0, "crashes": 0},
        "sites": [
            site("blog", "isolated", &[worker("blog.1", 4, current), worker("blog.2", 1, Value::Null)]),
            site("files", "static", &[]),
            site("shop", "embedded", &[worker("engine.2", 0, Value::Null)]),
        ],
        "sample": {
            "at_ms": NOW_MS, "memory_bytes": 310_u64 << 20, "cpu": 1.25,
            "sites": [did("blog", 120.0, 48.6, 0.5), did("shop", 1203.4, 12.3, 0.0)],
            "processes": [process("blog.1", 0.5, 120), process("blog.2", 0.25, 100), process("engine", 0.4, 70), process("supervisor", 0.1, 20)],
            "machine": {"cpu": 0.625, "memory_bytes": 3_u64 << 30, "memory_total_bytes": 24_u64 << 30, "load": 1.5},
        },
        "events": [
            {"at_ms": 3_600_000, "kind": "deploy", "site": "blog", "release": "20261120-114213-3f2a", "text": "20261120-114213-3f2a went live"},
            {"at_ms": 7_100_000, "kind": "worker-crash", "site": "shop", "release": null, "text": "shop.1 ended:\nsignal 11"},
        ],
    }))
    .unwrap();
    snapshot.status.dropped.malformed = 3;
    snapshot
}

fn press(screen: &mut Screen, keys: &[KeyCode]) -> Next {
    let press =
        |_, key: &KeyCode| screen.press(KeyEvent::new(*key, KeyModifiers::NONE), &snapshot());
    keys.iter().fold(Next::Stay, press)
}

/// The screen as text, and whether it has any colour.
fn drawn(
    screen: &Screen,
    snapshot: &Snapshot,
    (width, height): (u16, u16),
    look: Look,
) -> (String, bool) {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, screen, snapshot, NOW_MS, look)).unwrap();
    let buffer = terminal.backend().buffer();
    let text: Vec<_> = buffer
        .content()
        .chunks(usize::from(width))
        .map(|line| line.iter().map(|cell| cell.symbol()).collect::<String>().trim_end().to_owned())
        .collect();
    let is_coloured =
        buffer.content().iter().any(|cell| (cell.fg, cell.bg) != (Color::Reset, Color::Reset));
    (text.join("\n"), is_coloured)
}

fn shown(screen: &Screen) -> String {
    drawn(screen, &snapshot(), (80, 24), Look::Coloured).0
}

#[test]
fn all_sites_fit_an_old_terminal() {
    insta::assert_snapshot!(shown(&Screen::default()));
}

#[test]
fn a_site_shows_what_its_workers_do() {
    let mut screen = Screen::default();
    press(&mut screen, &[KeyCode::Enter]);
    insta::assert_snapshot!(shown(&screen));
    press(&mut screen, &[KeyCode::Esc]);
    assert_eq!(screen.page, Page::Overview);
    screen.page = Page::Site("gone".to_owned());
    assert!(shown(&screen).contains("gone was removed"));
}

#[test]
fn the_keys_are_explained() {
    let mut screen = Screen::default();
    press(&mut screen, &[KeyCode::Char('?')]);
    insta::assert_snapshot!(shown(&screen));
    press(&mut screen, &[KeyCode::Char('x')]);
    assert_eq!(screen.page, Page::Overview);
}

/// The names of the sites from above, the chosen one last.
fn order(screen: &Screen) -> Vec<String> {
    let snapshot = snapshot();
    let rows = screen.rows(&snapshot);
    let chosen = screen.chosen_of(&rows);
    let mut names: Vec<_> = rows.iter().map(|row| row.site.name.clone()).collect();
    names.extend(chosen.map(|index| names[index].clone()));
    names
}

#[test]
fn sites_are_ordered_by_each_column_and_the_chosen_one_stays_chosen() {
    let mut screen = Screen::default();
    press(&mut screen, &[KeyCode::Down]);
    let mut seen = Vec::new();
    for _ in 0..7 {
        seen.push((screen.order.column(), order(&screen).join(" ")));
        press(&mut screen, &[KeyCode::Char('s')]);
    }
    let by_name = "blog files shop files";
    let expected = [
        ("SITE", by_name),
        ("REQ/S", "shop blog files files"),
        ("P95 MS", "blog shop files files"),
        ("ERR/S", "blog files shop files"),
        ("CPU %", "blog shop files files"),
        ("MEMORY", "blog shop files files"),
        ("SITE", by_name),
    ];
    assert_eq!(seen, expected.map(|(column, names)| (column, names.to_owned())));
}

#[test]
fn a_site_is_chosen_by_keys_that_never_leave_the_list() {
    let mut screen = Screen::default();
    for (key, chosen) in [
        (KeyCode::Up, "blog"),
        (KeyCode::End, "shop"),
        (KeyCode::Down, "shop"),
        (KeyCode::Char('k'), "files"),
        (KeyCode::PageUp, "blog"),
        (KeyCode::PageDown, "shop"),
        (KeyCode::Home, "blog"),
        (KeyCode::Char('j'), "files"),
    ] {
        press(&mut screen, &[key]);
        assert_eq!(order(&screen).last().unwrap(), chosen, "{key:?}");
    }
}

#[test]
fn what_is_typed_narrows_the_list() {
    let mut screen = Screen::default();
    // `q` is a letter here, and no end.
    assert_eq!(press(&mut screen, &['/', 'S', 'q'].map(KeyCode::Char)), Next::Stay);
    assert!(shown(&screen).contains("no site has that") && shown(&screen).ends_with("/Sq_"));
    press(&mut screen, &[KeyCode::Backspace, KeyCode::Char('h'), KeyCode::Enter]);
    assert_eq!(order(&screen), ["shop", "shop"]);
    assert!(shown(&screen).ends_with("only sites with \"Sh\": Esc shows all  ? help"));
    press(&mut screen, &[KeyCode::Esc]);
    assert_eq!(order(&screen).len(), 4);
    press(&mut screen, &['/', 'x'].map(KeyCode::Char));
    press(&mut screen, &[KeyCode::Esc]);
    assert_eq!((order(&screen).len(), screen.is_typing), (4, false));
}

#[test]
fn two_keys_end_it() {
    let mut screen = Screen::default();
    assert_eq!(press(&mut screen, &[KeyCode::Char('q')]), Next::Quit);
    screen.is_typing = true;
    let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert_eq!(screen.press(interrupt, &snapshot()), Next::Quit);
}

#[test]
fn no_size_of_a_terminal_is_too_small_and_none_too_large() {
    let mut empty = snapshot();
    (empty.status.sites, empty.status.sample, empty.status.engine) = (Vec::new(), None, None);
    let pages = [Page::Overview, Page::Site("blog".to_owned()), Page::Help];
    for page in pages {
        let screen = Screen { page, ..Screen::default() };
        for size in [(1, 1), (7, 3), (40, 12), (80, 24), (400, 200)] {
            for snapshot in [&snapshot(), &empty] {
                drawn(&screen, snapshot, size, Look::Coloured);
            }
        }
    }
    let (text, _) = drawn(&Screen::default(), &empty, (80, 24), Look::Coloured);
    for told in ["no engine", "nothing was measured yet", "no site yet"] {
        assert!(text.contains(told), "{told}: {text}");
    }
}

#[test]
fn without_colours_the_same_is_told() {
    let screen = Screen::default();
    let (coloured, has_colours) = drawn(&screen, &snapshot(), (80, 24), Look::Coloured);
    let (plain, has_none) = drawn(&screen, &snapshot(), (80, 24), Look::Plain);
    assert_eq!((coloured == plain, has_colours, has_none), (true, true, false));
}

#[test]
fn what_is_old_says_so() {
    let screen =
        Screen { trouble: Some("no appliance is running".to_owned()), ..Screen::default() };
    assert!(shown(&screen).ends_with("this is not of now: no appliance is running"));
}
