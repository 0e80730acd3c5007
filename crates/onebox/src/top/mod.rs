//! A box on a terminal, second by second: what `onebox status --json` tells, drawn.
//!
//! [`screen`] knows what the keys do, [`rows`] what sites come to, [`view`] and [`site_view`] how it looks: none of them asks the
//! appliance or touches the terminal.

mod look;
mod rows;
mod screen;
mod site_view;
mod view;

use std::io;
use std::time::Duration;

use onebox_supervisor::api::{ApplianceStatus, PastEvent};
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyEventKind};
use serde::{Deserialize, Serialize};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::client::{Client, ClientError};
use crate::print::clock;
use crate::report::Failure;
use look::Look;
use screen::{Next, Screen};

const SECOND: Duration = Duration::from_secs(1);
/// How far back events are shown.
const EVENTS_MS: i64 = 3_600_000;
/// Keys that may wait to be looked at: who types faster waits.
const KEYS: usize = 16;

/// What there is to see at one moment.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Snapshot {
    /// What `onebox status` shows.
    #[serde(flatten)]
    pub(crate) status: ApplianceStatus,
    /// What happened in the last hour, the oldest first.
    pub(crate) events: Vec<PastEvent>,
}

impl Snapshot {
    /// Of now.
    pub(crate) async fn of(client: &Client) -> Result<Self, ClientError> {
        let from_ms = clock::now_ms().saturating_sub(EVENTS_MS);
        let events = format!("/api/v1/events/past?from_ms={from_ms}");
        Ok(Self { status: client.get("/api/v1/status").await?, events: client.get(&events).await? })
    }

    /// Of a second later.
    async fn next(client: &Client) -> Result<Self, ClientError> {
        tokio::time::sleep(SECOND).await;
        Self::of(client).await
    }
}

/// Shows the appliance until somebody has seen enough, or the process is asked to end.
pub(crate) async fn watch(client: &Client, mut snapshot: Snapshot) -> Result<(), Failure> {
    let mut ends = Ends::new().map_err(Failure::Terminal)?;
    let mut terminal = Terminal::take().map_err(Failure::Terminal)?;
    let mut typed = typed().map_err(Failure::Terminal)?;
    let (mut screen, look) = (Screen::default(), Look::of_environment());
    let mut coming = Box::pin(Snapshot::next(client));
    loop {
        let now_ms = clock::now_ms();
        let drawn = terminal.0.draw(|frame| view::draw(frame, &screen, &snapshot, now_ms, look));
        drawn.map_err(Failure::Terminal)?;
        tokio::select! {
            event = typed.recv() => match event {
                Some(Event::Key(key)) if key.kind == KeyEventKind::Press => {
                    if screen.press(key, &snapshot) == Next::Quit {
                        return Ok(());
                    }
                }
                // Another size is drawn for by the loop.
                Some(_) => {}
                None => return Ok(()),
            },
            told = &mut coming => {
                coming.set(Snapshot::next(client));
                screen.trouble = told.as_ref().err().map(ToString::to_string);
                snapshot = told.unwrap_or(snapshot);
            }
            () = ends.come() => return Ok(()),
        }
    }
}

/// The terminal while it is ours: every key is told at once, and what was on it comes back when this is dropped, or at a panic.
struct Terminal(DefaultTerminal);

impl Terminal {
    fn take() -> io::Result<Self> {
        ratatui::try_init().map(Self)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

/// Keys and other sizes, read by a thread that ends with the process.
fn typed() -> io::Result<mpsc::Receiver<Event>> {
    let (sender, receiver) = mpsc::channel(KEYS);
    std::thread::Builder::new().name("onebox-keys".into()).spawn(move || {
        while let Ok(event) = event::read() {
            if sender.blocking_send(event).is_err() {
                break;
            }
        }
    })?;
    Ok(receiver)
}

/// The signals that ask a process to end.
struct Ends([tokio::signal::unix::Signal; 3]);

impl Ends {
    fn new() -> io::Result<Self> {
        let [terminate, hangup, interrupt] =
            [SignalKind::terminate(), SignalKind::hangup(), SignalKind::interrupt()].map(signal);
        Ok(Self([terminate?, hangup?, interrupt?]))
    }

    async fn come(&mut self) {
        let [terminate, hangup, interrupt] = &mut self.0;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
            _ = interrupt.recv() => {}
        }
    }
}
