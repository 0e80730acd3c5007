//! A TOML file as a tree of settings, each with its line. Source: <https://toml.io/en/v1.1.0>.

use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::value::{Item, Table, Value};
use crate::{Origin, Problem};

/// What a configuration file may hold: more than that is a mistake.
const LARGEST_FILE_BYTES: u64 = 1 << 20;

/// Reads a file; `None` where there is none.
pub(crate) fn read(path: &Path) -> Result<Option<String>, Problem> {
    let unreadable = |message: String| Problem {
        key: String::new(),
        origin: Origin::File { path: path.to_owned(), line: None },
        message,
        hint: None,
    };
    match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(format!("can't be read: {error}"))),
        Ok(about) if !about.is_file() => return Err(unreadable("is not a file".to_owned())),
        Ok(about) if about.len() > LARGEST_FILE_BYTES => {
            return Err(unreadable("is larger than 1 MB".to_owned()));
        }
        Ok(_) => {}
    }
    let bytes =
        std::fs::read(path).map_err(|error| unreadable(format!("can't be read: {error}")))?;
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Some(text)),
        Err(_) => Err(unreadable("is not UTF-8 text".to_owned())),
    }
}

/// Parses a file's text; `shown_as` names the file in problems.
///
/// # Errors
/// Every place that is not TOML.
pub(crate) fn parse(text: &str, shown_as: &Path) -> Result<Table, Vec<Problem>> {
    let lines = Lines::new(text, shown_as);
    let (table, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        return Ok(table_of(table.into_inner(), &lines));
    }
    let problems = errors.iter().map(|error| Problem {
        key: String::new(),
        origin: lines.origin(error.span().unwrap_or_default()),
        message: format!("is not TOML: {}", error.message()),
        hint: None,
    });
    Err(problems.collect())
}

fn table_of(table: DeTable<'_>, lines: &Lines) -> Table {
    let entries = table.into_iter().map(|(key, value)| {
        // A table of its own is told at its key's line, which is its header.
        let origin = lines.origin(key.span());
        (key.into_inner().into_owned(), Item { value: value_of(value.into_inner(), lines), origin })
    });
    entries.collect()
}

fn value_of(value: DeValue<'_>, lines: &Lines) -> Value {
    match value {
        DeValue::String(text) => Value::Text(text.into_owned()),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Value::Integer(number),
            // Beyond 64 bits: no key takes it, and the message shows it.
            Err(_) => Value::Float(number.as_str().to_owned()),
        },
        DeValue::Float(number) => Value::Float(number.as_str().to_owned()),
        DeValue::Boolean(truth) => Value::Bool(truth),
        DeValue::Datetime(date) => Value::Date(date.to_string()),
        DeValue::Array(items) => {
            let items = items.into_iter().map(|item: Spanned<DeValue<'_>>| {
                let origin = lines.origin(item.span());
                Item { value: value_of(item.into_inner(), lines), origin }
            });
            Value::List(items.collect())
        }
        DeValue::Table(table) => Value::Table(table_of(table, lines)),
    }
}

/// Where the lines of a file begin.
struct Lines {
    path: PathBuf,
    starts: Vec<usize>,
}

impl Lines {
    fn new(text: &str, path: &Path) -> Self {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1));
        Self { path: path.to_owned(), starts: starts.collect() }
    }

    fn origin(&self, span: Range<usize>) -> Origin {
        let line = self.starts.partition_point(|start| *start <= span.start);
        Origin::File { path: self.path.clone(), line: Some(line) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line_of(item: &Item) -> usize {
        match &item.origin {
            Origin::File { line: Some(line), .. } => *line,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_setting_knows_its_line() {
        let text = "a = 1\n\n[b]\nc = [\n  'x',\n  'y',\n]\nd.e = true\n";
        let table = parse(text, Path::new("onebox.toml")).unwrap();
        assert_eq!(line_of(&table["a"]), 1);
        let Value::Table(b) = &table["b"].value else { panic!("b is a table") };
        assert_eq!(line_of(&table["b"]), 3);
        let Value::List(items) = &b["c"].value else { panic!("c is a list") };
        assert_eq!(items.iter().map(line_of).collect::<Vec<_>>(), [5, 6]);
        assert_eq!(line_of(&b["d"]), 8);
    }

    #[test]
    fn what_is_not_toml_is_told_with_its_line() {
        let problems = parse("a = 1\nb = \n", Path::new("onebox.toml")).unwrap_err();
        assert!(
            problems[0].to_string().starts_with("onebox.toml:2: is not TOML: "),
            "{problems:?}"
        );
    }

    #[test]
    fn a_number_beyond_64_bits_is_kept_as_its_text() {
        let table = parse("a = 99999999999999999999", Path::new("f")).unwrap();
        assert_eq!(table["a"].value, Value::Float("99999999999999999999".to_owned()));
    }

    #[test]
    fn a_file_that_is_not_there_is_no_problem() {
        assert_eq!(read(Path::new("/nonexistent/onebox.toml")), Ok(None));
    }
}
