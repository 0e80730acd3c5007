//! Reading one table of settings: each key on its own, so that every problem is told at once.

use crate::types::Invalid;
use crate::value::{Item, Table, Value};
use crate::{Origin, Problem};

/// Keys of onebox that this version does not have, and names that other programs have for ours.
pub(crate) struct Unsupported {
    /// Refused as not supported, instead of as unknown.
    pub(crate) later: &'static [&'static str],
    /// Their name, our name, and who calls it so.
    pub(crate) foreign: &'static [(&'static str, &'static str, &'static str)],
}

/// A section without any.
pub(crate) const NONE: &Unsupported = &Unsupported { later: &[], foreign: &[] };

/// A table that is being read. What nobody asked for is reported by [`Section::finish`].
pub(crate) struct Section {
    name: String,
    table: Table,
    known: Vec<&'static str>,
    problems: Vec<Problem>,
}

impl Section {
    /// The top of a file.
    pub(crate) fn top(table: Table) -> Self {
        Self { name: String::new(), table, known: Vec::new(), problems: Vec::new() }
    }

    /// The table below `key`; an empty one where there is none.
    pub(crate) fn section(&mut self, key: &'static str) -> Self {
        let name = self.full_key(key);
        let table = match self.take(key) {
            Some(Item { value: Value::Table(table), .. }) => table,
            Some(Item { value, origin }) => {
                let message = format!("must be a table, not {}", value.kind());
                let hint = Some(format!("begin a section: [{name}]"));
                self.problems.push(Problem { key: name.clone(), origin, message, hint });
                Table::new()
            }
            None => Table::new(),
        };
        Self { name, table, known: Vec::new(), problems: Vec::new() }
    }

    /// The tables of `key`, one or a list of them (`[[key]]`), each with its place.
    pub(crate) fn sections(&mut self, key: &'static str) -> Vec<(Self, Origin)> {
        let items = self.items(key);
        items.into_iter().filter_map(|item| self.as_section(key, item)).collect()
    }

    /// The values of `key`, one or a list of them.
    pub(crate) fn items(&mut self, key: &'static str) -> Vec<Item> {
        match self.take(key) {
            Some(Item { value: Value::List(items), .. }) => items,
            Some(item) => vec![item],
            None => Vec::new(),
        }
    }

    /// An item below `key` that must be a table; `None` where it is not, and that is noted.
    pub(crate) fn as_section(&mut self, key: &str, item: Item) -> Option<(Self, Origin)> {
        let Item { value, origin } = item;
        match value {
            Value::Table(table) => {
                let section = Self {
                    name: self.full_key(key),
                    table,
                    known: Vec::new(),
                    problems: Vec::new(),
                };
                Some((section, origin))
            }
            other => {
                let invalid = Invalid::new(format!("must be a table, not {}", other.kind()))
                    .hint(format!("begin a section: [[{}]]", self.full_key(key)));
                self.note(key, &origin, Err(invalid))
            }
        }
    }

    /// The value of `key`, read by `parse`; `None` where it is missing or wrong, and the latter is noted.
    pub(crate) fn read<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&Value) -> Result<T, Invalid>,
    ) -> Option<T> {
        let item = self.take(key)?;
        self.note(key, &item.origin, parse(&item.value))
    }

    /// The texts of `key`, one or a list of them, each read by `parse`.
    pub(crate) fn read_texts<T>(
        &mut self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, Invalid>,
    ) -> Option<Vec<T>> {
        let was_given = self.origin_of(key).is_some();
        let items = self.items(key);
        let texts = items.into_iter().filter_map(|item| {
            let parsed = match &item.value {
                Value::Text(text) => parse(text),
                other => {
                    Err(Invalid::new(format!("must be a list of texts, not {}", other.kind())))
                }
            };
            self.note(key, &item.origin, parsed)
        });
        let texts = texts.collect();
        was_given.then_some(texts)
    }

    /// Takes every setting that is left: the table's keys are the user's own.
    pub(crate) fn read_all<T>(
        &mut self,
        parse: impl Fn(&str, &Value) -> Result<T, Invalid>,
    ) -> Vec<(String, T)> {
        let mut all = Vec::new();
        for (key, item) in std::mem::take(&mut self.table) {
            let parsed = parse(&key, &item.value);
            if let Some(value) = self.note(&key, &item.origin, parsed) {
                all.push((key, value));
            }
        }
        all
    }

    /// Where `key` was given, as long as it was not read.
    pub(crate) fn origin_of(&self, key: &str) -> Option<Origin> {
        self.table.get(key).map(|item| item.origin.clone())
    }

    /// Whether `key` has a value like this, as long as it was not read.
    pub(crate) fn holds(&self, key: &str, is_it: impl FnOnce(&Value) -> bool) -> bool {
        self.table.get(key).is_some_and(|item| is_it(&item.value))
    }

    /// Notes a problem that is not one value's alone.
    pub(crate) fn refuse(&mut self, key: &str, origin: Origin, invalid: Invalid) {
        self.note::<()>(key, &origin, Err(invalid));
    }

    /// Reports what nobody asked for, and hands over every problem.
    pub(crate) fn finish(mut self, unsupported: &Unsupported, problems: &mut Vec<Problem>) {
        for (key, item) in std::mem::take(&mut self.table) {
            let invalid = self.explain_unknown(&key, unsupported);
            self.note::<()>(&key, &item.origin, Err(invalid));
        }
        problems.append(&mut self.problems);
    }

    fn take(&mut self, key: &'static str) -> Option<Item> {
        self.known.push(key);
        self.table.remove(key)
    }

    /// Notes whether a value was right, and hands it on.
    pub(crate) fn note<T>(
        &mut self,
        key: &str,
        origin: &Origin,
        parsed: Result<T, Invalid>,
    ) -> Option<T> {
        match parsed {
            Ok(value) => Some(value),
            Err(Invalid { message, hint }) => {
                let key = self.full_key(key);
                self.problems.push(Problem { key, origin: origin.clone(), message, hint });
                None
            }
        }
    }

    fn full_key(&self, key: &str) -> String {
        // As TOML would have it: what is not a bare key stands in quotes.
        let bare =
            key.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        let key = if bare { key.to_owned() } else { format!("{key:?}") };
        if self.name.is_empty() { key } else { format!("{}.{key}", self.name) }
    }

    fn explain_unknown(&self, key: &str, unsupported: &Unsupported) -> Invalid {
        if unsupported.later.contains(&key) {
            return Invalid::new("is not supported by this version of onebox")
                .hint("leave it out; this version would do nothing about it");
        }
        let foreign =
            unsupported.foreign.iter().find(|(theirs, ..)| *theirs == key.replace('_', "-"));
        if let Some((_, ours, who)) = foreign {
            return Invalid::new("is not a key of onebox")
                .hint(format!("what {who} calls `{key}` is `{ours}` in onebox"));
        }
        let place = if self.name.is_empty() {
            "is not a key of onebox".to_owned()
        } else {
            format!("is not a key of [{}]", self.name)
        };
        match nearest(key, &self.known) {
            Some(meant) => Invalid::new(place).hint(format!("did you mean `{meant}`?")),
            None => {
                Invalid::new(place).hint(format!("the keys here are: {}", self.known.join(", ")))
            }
        }
    }
}

/// The known key that a misspelt one most likely means.
fn nearest<'a>(key: &str, known: &[&'a str]) -> Option<&'a str> {
    let key = key.to_ascii_lowercase().replace('_', "-");
    let distances = known.iter().map(|known| (strsim::damerau_levenshtein(&key, known), *known));
    let (distance, meant) = distances.min()?;
    (distance <= 1.max(meant.len() / 3)).then_some(meant)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_key_is_recognised_and_a_foreign_word_is_not() {
        let known = ["harakiri", "threads", "post-buffering", "env"];
        assert_eq!(nearest("harakri", &known), Some("harakiri"));
        assert_eq!(nearest("Threads", &known), Some("threads"));
        assert_eq!(nearest("post_buffering", &known), Some("post-buffering"));
        assert_eq!(nearest("evn", &known), Some("env"));
        assert_eq!(nearest("colour", &known), None);
        assert_eq!(nearest("x", &[]), None);
    }
}
