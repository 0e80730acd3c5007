//! What is being looked at, and what the keys do to that.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::Snapshot;
use super::rows::{Order, Row, rows};

/// How far a page key goes, in rows.
const PAGE: isize = 10;

/// What is shown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum Page {
    /// All sites.
    #[default]
    Overview,
    /// One of them, by its name.
    Site(String),
    /// What the keys do.
    Help,
}

/// What becomes of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    Stay,
    Quit,
}

/// What somebody looks at.
#[derive(Debug, Default)]
pub(super) struct Screen {
    pub(super) page: Page,
    pub(super) order: Order,
    pub(super) filter: String,
    /// Whether keys go into the filter.
    pub(super) is_typing: bool,
    /// Why what is shown is not of now.
    pub(super) trouble: Option<String>,
    /// By its name, so that it stays when the order changes; the first where there is none.
    pub(super) chosen: Option<String>,
}

impl Screen {
    /// The sites that are shown.
    pub(super) fn rows<'s>(&self, snapshot: &'s Snapshot) -> Vec<Row<'s>> {
        rows(&snapshot.status, self.order, &self.filter)
    }

    /// Which of them is chosen; `None` where there is none.
    pub(super) fn chosen_of(&self, rows: &[Row<'_>]) -> Option<usize> {
        let index = rows.iter().position(|row| Some(&row.site.name) == self.chosen.as_ref());
        index.or(if rows.is_empty() { None } else { Some(0) })
    }

    /// A key was pressed.
    pub(super) fn press(&mut self, key: KeyEvent, snapshot: &Snapshot) -> Next {
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return if key.code == KeyCode::Char('c') { Next::Quit } else { Next::Stay };
        }
        if self.is_typing {
            self.type_into_filter(key.code);
            return Next::Stay;
        }
        match (key.code, &self.page) {
            (KeyCode::Char('q'), _) => return Next::Quit,
            (KeyCode::Char('?' | 'h'), Page::Overview | Page::Site(_)) => self.page = Page::Help,
            (KeyCode::Esc, Page::Overview) => self.filter.clear(),
            (KeyCode::Esc | KeyCode::Enter | KeyCode::Backspace | KeyCode::Left, Page::Site(_))
            | (_, Page::Help) => self.page = Page::Overview,
            (KeyCode::Char('s'), Page::Overview) => self.order = self.order.next(),
            (KeyCode::Char('/'), Page::Overview) => self.is_typing = true,
            (KeyCode::Enter | KeyCode::Right, Page::Overview) => self.open(snapshot),
            (KeyCode::Up | KeyCode::Char('k'), Page::Overview) => self.go(-1, snapshot),
            (KeyCode::Down | KeyCode::Char('j'), Page::Overview) => self.go(1, snapshot),
            (KeyCode::PageUp, Page::Overview) => self.go(-PAGE, snapshot),
            (KeyCode::PageDown, Page::Overview) => self.go(PAGE, snapshot),
            (KeyCode::Home, Page::Overview) => self.go(isize::MIN, snapshot),
            (KeyCode::End, Page::Overview) => self.go(isize::MAX, snapshot),
            _ => {}
        }
        Next::Stay
    }

    fn type_into_filter(&mut self, code: KeyCode) {
        match code {
            KeyCode::Char(letter) => self.filter.push(letter),
            KeyCode::Backspace => drop(self.filter.pop()),
            KeyCode::Enter => self.is_typing = false,
            KeyCode::Esc => {
                self.filter.clear();
                self.is_typing = false;
            }
            _ => {}
        }
    }

    fn open(&mut self, snapshot: &Snapshot) {
        let rows = self.rows(snapshot);
        let chosen = self.chosen_of(&rows).and_then(|index| rows.get(index));
        if let Some(row) = chosen {
            let name = row.site.name.clone();
            (self.chosen, self.page) = (Some(name.clone()), Page::Site(name));
        }
    }

    /// Chooses the site so many rows further down, or the last one before the end.
    fn go(&mut self, by: isize, snapshot: &Snapshot) {
        let rows = self.rows(snapshot);
        let Some(index) = self.chosen_of(&rows) else { return };
        let last = rows.len().saturating_sub(1);
        let row = rows.get(index.saturating_add_signed(by).min(last));
        self.chosen = row.map(|row| row.site.name.clone());
    }
}
