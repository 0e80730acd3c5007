//! What this process takes of memory, beside what it may take.
//!
//! It is looked at when a connection comes, and not more often than [`TRUST`] says: an idle process looks at nothing.
//! Source: proc_pid_statm(5). Only what no file backs counts: resident without shared.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// How long what was seen is taken to hold.
pub(crate) const TRUST: Duration = Duration::from_millis(100);

/// The memory of a process, and its budget.
#[derive(Debug)]
pub(crate) struct Memory {
    budget_bytes: u64,
    /// `None`: nobody says how much it is, so that it is never too much.
    statm: Option<File>,
    last_look: Mutex<Option<Look>>,
}

#[derive(Debug, Clone, Copy)]
struct Look {
    at: Instant,
    taken_bytes: u64,
}

impl Memory {
    /// Of this process, which may take so much.
    pub(crate) fn of_this_process(budget_bytes: u64) -> Self {
        Self::new(budget_bytes, "/proc/self/statm".as_ref())
    }

    fn new(budget_bytes: u64, statm: &Path) -> Self {
        let statm = File::open(statm);
        if let Err(error) = &statm {
            tracing::warn!(%error, "`max-memory` does not hold: nobody says what this process takes");
        }
        Self { budget_bytes, statm: statm.ok(), last_look: Mutex::default() }
    }

    /// Whether it is more than it may be. `let_go` is called where it is nearly that, once for each look.
    pub(crate) fn is_over(&self, let_go: impl FnOnce()) -> bool {
        let (look, is_new) = self.look();
        if is_new && look.taken_bytes > self.budget_bytes / 10 * 9 {
            let_go();
        }
        look.taken_bytes > self.budget_bytes
    }

    fn look(&self) -> (Look, bool) {
        let mut last = self.last_look.lock();
        let now = Instant::now();
        if let Some(look) = last.filter(|look| now < look.at + TRUST) {
            return (look, false);
        }
        let taken_bytes = self.statm.as_ref().and_then(anonymous_bytes).unwrap_or_default();
        (*last.insert(Look { at: now, taken_bytes }), true)
    }
}

fn anonymous_bytes(statm: &File) -> Option<u64> {
    let mut buffer = [0; 160];
    let size = statm.read_at(&mut buffer, 0).ok()?;
    let text = std::str::from_utf8(buffer.get(..size)?).ok()?;
    let mut pages = text.split_ascii_whitespace().skip(1).map(|field| field.parse::<u64>().ok());
    let (resident, shared) = (pages.next()??, pages.next()??);
    let anonymous = resident.saturating_sub(shared);
    anonymous.checked_mul(u64::try_from(rustix::param::page_size()).ok()?)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn what_is_held_and_no_file_backs_counts() {
        let statm = File::open("/proc/self/statm").unwrap();
        let before = anonymous_bytes(&statm).unwrap();
        let held = vec![1_u8; 32 << 20];
        let with = anonymous_bytes(&statm).unwrap();
        assert!(with > before + (24 << 20), "{before} {with} {}", held.len());
    }

    #[test]
    fn what_can_be_made_again_goes_first_and_a_look_holds_for_a_while() {
        let pages = |taken: usize| 1000 * taken / rustix::param::page_size();
        let mut statm = tempfile::NamedTempFile::new().unwrap();
        let memory = Memory::new(1_000_000, statm.path());
        let mut look = |taken| {
            let text = format!("99999 {} 50 1 0 9 0\n", pages(taken) + 50);
            statm.as_file_mut().set_len(0).unwrap();
            statm.as_file().write_all_at(text.as_bytes(), 0).unwrap();
            statm.flush().unwrap();
            *memory.last_look.lock() = None;
            let (mut times, mut is_over) = (0, false);
            for _ in 0..3 {
                is_over = memory.is_over(|| times += 1);
            }
            // Where this took longer than a look holds, there was another one.
            (times > 0, is_over)
        };
        assert_eq!(look(800), (false, false));
        assert_eq!(look(950), (true, false));
        assert_eq!(look(1100), (true, true));
        assert_eq!(look(100), (false, false));
        let last = memory.look().0;
        assert!(memory.look().0.at == last.at || last.at.elapsed() >= TRUST);
    }

    #[test]
    fn where_nobody_says_how_much_it_is_it_is_never_too_much() {
        for text in ["", "1", "1 2", "a b c", "1 -2 3"] {
            let mut statm = tempfile::NamedTempFile::new().unwrap();
            statm.write_all(text.as_bytes()).unwrap();
            assert!(!Memory::new(0, statm.path()).is_over(|| ()), "{text:?}");
        }
        assert!(!Memory::new(0, "/nonexistent".as_ref()).is_over(|| ()));
    }
}
