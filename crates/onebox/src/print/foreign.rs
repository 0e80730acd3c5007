//! Text of applications and their clients, of which a terminal must obey nothing but colours.

use std::fmt::Write;

/// What begins a sequence that a terminal obeys (ECMA-48 §5.4).
const SEQUENCE: &str = "\u{1b}[";
const NO_COLOUR: &str = "\u{1b}[0m";

/// Without control characters: they are shown as escapes, so that none moves the cursor, names the window or begins a line.
pub(crate) fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\t' => plain.push('\t'),
            other if other.is_control() => {
                // A `String` takes everything.
                let _ = write!(plain, "{}", other.escape_debug());
            }
            other => plain.push(other),
        }
    }
    plain
}

/// The same for a line that a program has printed: its colours stay, and end with it.
pub(crate) fn coloured(line: &str) -> String {
    let mut pieces = line.split(SEQUENCE);
    let mut shown = plain(pieces.next().unwrap_or_default());
    let mut has_colours = false;
    for piece in pieces {
        let end = piece.find(|c: char| !c.is_ascii_digit() && c != ';').unwrap_or(piece.len());
        let (colours, rest) = piece.split_at(end);
        let is_colour = rest.starts_with('m');
        shown.push_str(if is_colour { SEQUENCE } else { "\\u{1b}[" });
        shown.push_str(colours);
        shown.push_str(&plain(rest));
        has_colours |= is_colour;
    }
    if has_colours {
        shown.push_str(NO_COLOUR);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_that_a_terminal_obeys() {
        for (text, expected) in [
            ("plain\ttext, é 日本", "plain\ttext, é 日本"),
            ("\u{1b}]0;title\u{7}", "\\u{1b}]0;title\\u{7}"),
            ("a\r\nGET / 200", "a\\r\\nGET / 200"),
            ("\u{9b}2J\u{7f}\u{0}", "\\u{9b}2J\\u{7f}\\0"),
            ("\u{1b}[31mred", "\\u{1b}[31mred"),
        ] {
            assert_eq!(plain(text), expected);
        }
    }

    #[test]
    fn colours_of_a_program_stay_and_end_with_its_line() {
        for (line, expected) in [
            ("no colour", "no colour"),
            ("\u{1b}[1;31mred\u{1b}[0m", "\u{1b}[1;31mred\u{1b}[0m\u{1b}[0m"),
            ("\u{1b}[mx\u{1b}[2J", "\u{1b}[mx\\u{1b}[2J\u{1b}[0m"),
            ("\u{1b}[31", "\\u{1b}[31"),
            ("\u{1b}[\u{1b}]52;c;eA==\u{7}", "\\u{1b}[\\u{1b}]52;c;eA==\\u{7}"),
            ("\u{1b}[?25lm", "\\u{1b}[?25lm"),
        ] {
            assert_eq!(coloured(line), expected, "{line:?}");
        }
    }
}
