//! A deploy as it happens: one line for each finished step, without spinners.
//!
//! On a terminal the running step stands at the bottom and is written over by its result; elsewhere only results are printed.

use std::collections::VecDeque;
use std::io::{IsTerminal, Write};
use std::time::Instant;

use super::{clock, style};

/// Where a step's name ends.
const NAME_WIDTH: usize = 8;
/// Printed lines of output that are remembered: more than a failure repeats.
const REMEMBERED: usize = 100;

/// The steps of one operation on the terminal.
#[derive(Debug)]
pub(crate) struct Progress {
    live: bool,
    running: Option<Running>,
    /// The last lines of output that were printed.
    printed: VecDeque<String>,
}

#[derive(Debug)]
struct Running {
    step: String,
    text: String,
    since: Instant,
}

impl Progress {
    /// Nothing is running yet.
    pub(crate) fn new() -> Self {
        Self { live: std::io::stdout().is_terminal(), running: None, printed: VecDeque::new() }
    }

    /// A step begins, which ends the one before; the same step again only says something new.
    pub(crate) fn step(&mut self, step: &str, text: &str) {
        match &mut self.running {
            Some(running) if running.step == step => text.clone_into(&mut running.text),
            _ => {
                self.finish();
                self.running = Some(Running {
                    step: step.to_owned(),
                    text: text.to_owned(),
                    since: Instant::now(),
                });
            }
        }
        self.show();
    }

    /// A line of output; shown where it is the user's own commands that speak.
    pub(crate) fn output(&mut self, line: &str) {
        if self.running.as_ref().is_some_and(|running| running.step == "hooks") {
            self.erase();
            anstream::println!("  {:NAME_WIDTH$} {}", "", style::faint(line));
            self.show();
            self.printed.truncate(REMEMBERED - 1);
            self.printed.push_front(line.to_owned());
        }
    }

    /// Something to know; the operation goes on.
    pub(crate) fn warning(&mut self, text: &str) {
        self.erase();
        anstream::println!("{} {text}", style::warning(format!("! {:NAME_WIDTH$}", "warning")));
        self.show();
    }

    /// All went well.
    pub(crate) fn finish(&mut self) {
        self.erase();
        if let Some(running) = self.running.take() {
            let took = clock::span(running.since.elapsed());
            anstream::println!(
                "{} {:NAME_WIDTH$} {} {}",
                style::good("✓"),
                running.step,
                running.text,
                style::faint(format!("({took})"))
            );
        }
    }

    /// Whether every line of a text was printed, as the last lines of output.
    pub(crate) fn has_printed(&self, text: &str) -> bool {
        let mut printed = self.printed.iter();
        let is_next = |line: &str| printed.next().is_some_and(|printed| printed == line);
        text.trim_end().lines().rev().all(is_next)
    }

    /// The step failed: its line says what it was doing, or why it failed where it never said what it does. Nothing is said
    /// here of an operation that was refused before it began.
    pub(crate) fn fail(&mut self, step: &str, reason: &str) {
        self.erase();
        let text = match self.running.take() {
            None => return,
            Some(running) if running.step == step => running.text,
            Some(before) => {
                self.running = Some(before);
                self.finish();
                reason.lines().next().unwrap_or_default().to_owned()
            }
        };
        anstream::println!("{} {step:NAME_WIDTH$} {text}", style::bad("✗"));
    }

    fn show(&self) {
        if let (true, Some(running)) = (self.live, &self.running) {
            // A line that folds could not be written over.
            let room =
                usize::from(super::terminal_width().unwrap_or(80)).saturating_sub(NAME_WIDTH + 4);
            let text: String = running.text.chars().take(room).collect();
            anstream::print!("{} {:NAME_WIDTH$} {text}", style::faint("·"), running.step);
            std::io::stdout().flush().ok();
        }
    }

    fn erase(&self) {
        if self.live && self.running.is_some() {
            anstream::print!("\r\x1b[2K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_lines_of_output_count_as_printed() {
        let mut progress = Progress::new();
        progress.output("of an installer: not printed");
        progress.step("hooks", "python migrate.py");
        for line in ["Traceback (most recent call last):", "  File", "KeyError: 'x'"] {
            progress.output(line);
        }
        assert!(progress.has_printed("  File\nKeyError: 'x'\n"));
        assert!(progress.has_printed(""));
        assert!(!progress.has_printed("KeyError: 'x'\nanother line"));
        assert!(!progress.has_printed("of an installer: not printed"));
    }
}
