//! Plain tables: aligned columns, no lines, never wider than the terminal.

use comfy_table::{Cell, ContentArrangement, Table};

use super::{style, terminal_width};

/// Where output is not a terminal, lines may be this long before they are folded.
const WIDTH_OF_A_FILE: u16 = 400;

/// A table with one header line.
pub(crate) struct Columns {
    table: Table,
}

impl Columns {
    /// An empty one.
    pub(crate) fn new(header: &[&str]) -> Self {
        let mut table = Table::new();
        table.load_style(comfy_table::presets::NOTHING);
        table.set_content_arrangement(ContentArrangement::Dynamic);
        table.set_width(terminal_width().unwrap_or(WIDTH_OF_A_FILE));
        table.set_header(header.iter().map(|name| Cell::new(name.to_uppercase())));
        Self { table }
    }

    /// Adds a row; cells hold no colours, which would be counted as characters.
    pub(crate) fn row<T: ToString>(&mut self, cells: impl IntoIterator<Item = T>) {
        self.table.add_row(cells.into_iter().map(|cell| Cell::new(cell.to_string())));
    }

    /// The lines, the header faint, without the blanks that pad them.
    pub(crate) fn render(&self) -> String {
        let mut lines = Vec::new();
        for (number, line) in self.table.lines().enumerate() {
            let line = line.trim_end();
            let line = line.strip_prefix(' ').unwrap_or(line);
            lines.push(if number == 0 { style::faint(line) } else { line.to_owned() });
        }
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_without_padding_at_the_end() {
        let mut table = Columns::new(&["site", "state"]);
        table.row(["blog", "running"]);
        table.row(["a-longer-name", "ok"]);
        let text = anstream::adapter::strip_str(&table.render()).to_string();
        assert_eq!(text, "SITE           STATE\nblog           running\na-longer-name  ok");
    }
}
