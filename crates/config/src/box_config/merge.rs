//! Merging sources key by key. figment decides which one wins, and remembers whose value it is.
//!
//! What is merged is the shape: the value itself is then taken from the winner, with its place. Reading is not
//! figment's: its extraction stops at a section's first type error, and its environment provider types values by
//! their looks.

use figment::value::{Dict, Map, Value as Merged};
use figment::{Figment, Metadata, Profile, Provider};

use crate::value::{Item, Table, Value};

/// Merges sources into one; where several have a key, the last one wins.
pub(super) fn merge<const N: usize>(sources: [Table; N]) -> Table {
    let mut figment = Figment::new();
    for (index, table) in sources.iter().enumerate() {
        figment = figment.merge(Source { index, table });
    }
    // The only error there can be is a provider's own, and ours has none.
    let mut merged = figment.data().unwrap_or_default();
    let shape = merged.remove(&Profile::Default).unwrap_or_default();
    let tables: Vec<&Table> = sources.iter().collect();
    winners(&figment, shape, &tables)
}

/// One source, as figment wants it.
struct Source<'a> {
    index: usize,
    table: &'a Table,
}

impl Provider for Source<'_> {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.index.to_string())
    }

    fn data(&self) -> figment::Result<Map<Profile, Dict>> {
        Ok(Profile::Default.collect(shape_of(self.table)))
    }
}

fn shape_of(table: &Table) -> Dict {
    let entries = table.iter().map(|(key, item)| {
        let shape = match &item.value {
            Value::Table(inner) => Merged::from(shape_of(inner)),
            other => Merged::from(other.scalar_text().unwrap_or_default()),
        };
        (key.clone(), shape)
    });
    entries.collect()
}

/// The settings that `shape` names, each from the source that won; `tables` are the sources at this level.
fn winners(figment: &Figment, shape: Dict, tables: &[&Table]) -> Table {
    let mut merged = Table::new();
    for (key, value) in shape {
        let given: Vec<Option<&Item>> = tables.iter().map(|table| table.get(&key)).collect();
        let winner = figment
            .get_metadata(value.tag())
            .and_then(|source| source.name.parse::<usize>().ok())
            .and_then(|index| given.get(index).copied().flatten())
            .or_else(|| given.iter().rev().copied().flatten().next());
        let Some(winner) = winner else { continue };
        let item = match value {
            Merged::Dict(_, inner) => {
                let below: Vec<&Table> = given.iter().map(|item| table_in(*item)).collect();
                Item {
                    value: Value::Table(winners(figment, inner, &below)),
                    origin: winner.origin.clone(),
                }
            }
            _ => winner.clone(),
        };
        merged.insert(key, item);
    }
    merged
}

fn table_in(item: Option<&Item>) -> &Table {
    static NOTHING: Table = Table::new();
    match item {
        Some(Item { value: Value::Table(table), .. }) => table,
        _ => &NOTHING,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Origin;
    use proptest::prelude::*;

    fn table(source: &str, keys: &[(u8, u8)]) -> Table {
        let mut table = Table::new();
        let origin = Origin::Variable(source.to_owned());
        for (section, key) in keys {
            let empty = || Item { value: Value::Table(Table::new()), origin: origin.clone() };
            let entry = table.entry(format!("s{section}")).or_insert_with(empty);
            let Value::Table(inner) = &mut entry.value else { unreachable!("made above") };
            let value = Value::Text(source.to_owned());
            inner.insert(format!("k{key}"), Item { value, origin: origin.clone() });
        }
        table
    }

    fn flat(table: &Table) -> Vec<(String, Value)> {
        let inner = |(section, item): (&String, &Item)| {
            let section = section.clone();
            let keys = table_in(Some(item)).clone().into_iter();
            keys.map(move |(key, item)| (format!("{section}.{key}"), item.value))
                .collect::<Vec<_>>()
        };
        table.iter().flat_map(inner).collect()
    }

    fn keys() -> impl Strategy<Value = Vec<(u8, u8)>> {
        prop::collection::vec((0_u8..3, 0_u8..4), 0..8)
    }

    proptest! {
        #[test]
        fn each_key_comes_from_the_last_source_that_has_it(a in keys(), b in keys(), c in keys()) {
            let sources = [table("a", &a), table("b", &b), table("c", &c)];
            let mut expected = std::collections::BTreeMap::new();
            for source in &sources {
                expected.extend(flat(source));
            }
            let merged = merge(sources);
            prop_assert_eq!(flat(&merged), expected.into_iter().collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_list_is_replaced_as_a_whole_and_keeps_its_items_places() {
        let item =
            |text: &str| Item { value: Value::Text(text.to_owned()), origin: Origin::System };
        let list = |texts: &[&str]| {
            let value = Value::List(texts.iter().map(|text| item(text)).collect());
            Table::from([("a".to_owned(), Item { value, origin: Origin::System })])
        };
        assert_eq!(merge([list(&["1", "2", "3"]), list(&["4"])]), list(&["4"]));
    }
}
