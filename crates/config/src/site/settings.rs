//! What an `onebox.toml` sets, key by key as it was typed, and what another one would change.
//!
//! Owns the names of single settings, which of them hold secrets, and who goes by them. Must not know whether a value is right.

use std::collections::BTreeMap;
use std::path::Path;

use crate::value::{Item, Table, Value};
use crate::{ConfigError, document};

use super::SITE_FILE;

/// Sections that there may be any number of.
const LISTS: [&str; 3] = ["limit", "route", "upstream"];
/// What tells such sections apart, the first that is there.
const IDENTITIES: [&str; 5] = ["exact", "path", "regex", "name", "by"];
/// What is read while a release is made and put on line.
const OF_RELEASE: [&str; 5] = ["health", "hooks", "name", "persist", "python"];
/// What is told to an interpreter, or its process, when it starts.
const OF_PROCESSES: [&str; 26] = [
    "add-gid",
    "allow-root",
    "chdir",
    "deadlock-timeout",
    "env",
    "gid",
    "harakiri",
    "harakiri-grace",
    "idle",
    "isolation",
    "limit-as",
    "limit-nofile",
    "limit-nproc",
    "max-lifetime",
    "max-requests",
    "memory-limit",
    "module",
    "nice",
    "processes",
    "read-only-system",
    "reload-mercy",
    "reload-on-rss",
    "threads",
    "uid",
    "umask",
    "wsgi-file",
];

/// Who goes by a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Concern {
    /// onebox itself, for each request and connection.
    Requests,
    /// The site's processes, from their start on.
    Processes,
    /// The making of a release.
    Release,
}

/// One setting of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// As in `threads`, `health.path`, `route[/account].status`.
    pub name: String,
    /// As one could type it.
    pub value: String,
    /// Where it stands.
    pub line: Option<usize>,
    /// Who goes by it.
    pub concern: Concern,
    /// Whether its value may be somebody's secret.
    pub is_secret: bool,
}

/// A setting that two files have different values for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingChange {
    /// The setting.
    pub name: String,
    /// `None`: the old file does not set it.
    pub old: Option<String>,
    /// `None`: the new file does not set it.
    pub new: Option<String>,
    /// Who goes by it.
    pub concern: Concern,
}

/// Every setting of the text of an `onebox.toml`, by name.
///
/// # Errors
/// Where it is not TOML.
pub fn site_settings(text: &str) -> Result<Vec<Setting>, ConfigError> {
    let table = document::parse(text, Path::new(SITE_FILE));
    let table = table.map_err(|problems| ConfigError { problems })?;
    let mut settings = Vec::new();
    for (key, item) in table {
        add(&mut settings, &key, item, concern(&key), key == "env");
    }
    settings.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(settings)
}

/// What differs between two files, by name.
pub fn site_changes(old: &[Setting], new: &[Setting]) -> Vec<SettingChange> {
    let by_name = |settings: &[Setting]| -> BTreeMap<String, Setting> {
        settings.iter().map(|setting| (setting.name.clone(), setting.clone())).collect()
    };
    let (old, mut new) = (by_name(old), by_name(new));
    let mut changes = Vec::new();
    for (name, before) in old {
        let after = new.remove(&name).map(|setting| setting.value);
        if after.as_ref() != Some(&before.value) {
            let (old, concern) = (Some(before.value), before.concern);
            changes.push(SettingChange { name, old, new: after, concern });
        }
    }
    changes.extend(new.into_iter().map(|(name, Setting { value, concern, .. })| SettingChange {
        name,
        old: None,
        new: Some(value),
        concern,
    }));
    changes.sort_by(|one, other| one.name.cmp(&other.name));
    changes
}

fn concern(key: &str) -> Concern {
    if OF_RELEASE.contains(&key) {
        Concern::Release
    } else if OF_PROCESSES.contains(&key) {
        Concern::Processes
    } else {
        Concern::Requests
    }
}

fn add(settings: &mut Vec<Setting>, name: &str, item: Item, concern: Concern, is_secret: bool) {
    let last = name.rsplit('.').next().unwrap_or(name);
    match item.value {
        Value::Table(table) if LISTS.contains(&last) => {
            add_list(settings, name, vec![(table, item.origin.line())], concern, is_secret);
        }
        Value::List(items) if LISTS.contains(&last) && items.iter().all(is_table) => {
            let tables = items.into_iter().filter_map(|item| match item.value {
                Value::Table(table) => Some((table, item.origin.line())),
                _ => None,
            });
            add_list(settings, name, tables.collect(), concern, is_secret);
        }
        Value::Table(table) => add_table(settings, name, table, concern, is_secret),
        value => settings.push(Setting {
            name: name.to_owned(),
            value: shown(&value),
            line: item.origin.line(),
            concern,
            is_secret,
        }),
    }
}

fn add_table(
    settings: &mut Vec<Setting>,
    name: &str,
    table: Table,
    concern: Concern,
    is_secret: bool,
) {
    for (key, item) in table {
        // Hashes of passwords, and what is told to the application or to other servers.
        let is_secret = is_secret
            || (key == "users" && name.ends_with("auth"))
            || name.ends_with("request-headers");
        add(settings, &format!("{name}.{}", bare(&key)), item, concern, is_secret);
    }
}

/// Of such sections the order counts, too: it is a setting of its own.
fn add_list(
    settings: &mut Vec<Setting>,
    name: &str,
    tables: Vec<(Table, Option<usize>)>,
    concern: Concern,
    is_secret: bool,
) {
    let line = tables.first().and_then(|(_, line)| *line);
    let mut identities: Vec<String> = Vec::new();
    for (index, (table, _)) in tables.into_iter().enumerate() {
        let identity = identity(&table).unwrap_or_else(|| (index + 1).to_string());
        let count = identities.iter().filter(|known| **known == identity).count();
        identities.push(identity.clone());
        let nth = if count > 0 { format!("#{}", count + 1) } else { String::new() };
        add_table(settings, &format!("{name}[{identity}{nth}]"), table, concern, is_secret);
    }
    let value = format!("[{}]", identities.join(", "));
    settings.push(Setting { name: name.to_owned(), value, line, concern, is_secret: false });
}

fn identity(table: &Table) -> Option<String> {
    let text = |key: &&str| match table.get(*key).map(|item| &item.value) {
        Some(Value::Text(text)) => Some(text.clone()),
        _ => None,
    };
    IDENTITIES.iter().find_map(text)
}

fn is_table(item: &Item) -> bool {
    matches!(item.value, Value::Table(_))
}

/// A value as one could type it in one line.
fn shown(value: &Value) -> String {
    match value {
        Value::Text(text) => quoted(text),
        Value::Integer(number) => number.to_string(),
        Value::Float(text) | Value::Date(text) => text.clone(),
        Value::Bool(truth) => truth.to_string(),
        Value::List(items) => {
            let items: Vec<_> = items.iter().map(|item| shown(&item.value)).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Table(table) => {
            let pair =
                |(key, item): (&String, &Item)| format!("{} = {}", bare(key), shown(&item.value));
            let pairs: Vec<_> = table.iter().map(pair).collect();
            format!("{{ {} }}", pairs.join(", "))
        }
    }
}

/// A key as it stands in a file: in quotes where it has to. <https://toml.io/en/v1.1.0#keys>
fn bare(key: &str) -> String {
    let is_bare = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if !key.is_empty() && key.bytes().all(is_bare) { key.to_owned() } else { quoted(key) }
}

/// A basic string. <https://toml.io/en/v1.1.0#string>
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            control if control.is_control() => {
                quoted.push_str(&format!("\\u{:04X}", u32::from(control)));
            }
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(old: &str, new: &str) -> Vec<String> {
        let (old, new) = (site_settings(old).unwrap(), site_settings(new).unwrap());
        let text = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
        site_changes(&old, &new)
            .into_iter()
            .map(|change| {
                format!(
                    "{}: {} > {} ({:?})",
                    change.name,
                    text(change.old),
                    text(change.new),
                    change.concern
                )
            })
            .collect()
    }

    #[test]
    fn what_is_set_changed_and_taken_away_is_told_by_name() {
        let old = "threads = 4\ndomains = ['a.example']\n[health]\npath = '/'\n[hooks]\nrelease = ['x']\n";
        let new = "# more\nthreads = 8\ndomains = [\n  \"a.example\",\n]\n[health]\npath = '/up'\n[env]\nA = '1'\n";
        let expected = [
            "env.A: - > \"1\" (Processes)",
            "health.path: \"/\" > \"/up\" (Release)",
            "hooks.release: [\"x\"] > - (Release)",
            "threads: 4 > 8 (Processes)",
        ];
        assert_eq!(changes(old, new), expected);
        assert!(changes(old, &format!("# only this\n{old}")).is_empty());
    }

    #[test]
    fn sections_of_a_list_are_told_apart_and_their_order_counts() {
        let route = |path: &str, rest: &str| format!("[[route]]\npath = '{path}'\n{rest}\n");
        let (a, b) = (route("/a", "status = 404"), route("/b", "limit = { rate = '1/s' }"));
        let told = changes(&format!("{a}{b}"), &format!("{b}{a}"));
        assert_eq!(told, ["route: [/a, /b] > [/b, /a] (Requests)"]);
        let told = changes(&a, &format!("{a}{b}"));
        let expected = [
            "route: [/a] > [/a, /b] (Requests)",
            "route[/b].limit: - > [1] (Requests)",
            "route[/b].limit[1].rate: - > \"1/s\" (Requests)",
            "route[/b].path: - > \"/b\" (Requests)",
        ];
        assert_eq!(told, expected);
        let told = changes(&format!("{a}{a}"), &format!("{a}{}", a.replace("404", "410")));
        assert_eq!(told, ["route[/a#2].status: 404 > 410 (Requests)"]);
    }

    #[test]
    fn values_that_may_be_secrets_are_known() {
        let text = "threads = 2\n[env]\nKEY = 'x'\n[auth]\nrealm = 'r'\nusers = { ann = 'hash' }\n\
                    [request-headers]\nset = { Authorization = 'y' }\n[headers]\nset = { A = 'b' }\n\
                    [[route]]\npath = '/a'\nauth = { users = { bob = 'hash' } }\n";
        let settings = site_settings(text).unwrap();
        let secret: Vec<_> =
            settings.iter().filter(|setting| setting.is_secret).map(|s| s.name.as_str()).collect();
        let expected = [
            "auth.users.ann",
            "env.KEY",
            "request-headers.set.Authorization",
            "route[/a].auth.users.bob",
        ];
        assert_eq!(secret, expected);
        assert_eq!(settings.iter().find(|s| s.name == "threads").unwrap().line, Some(1));
        assert_eq!(settings.iter().find(|s| s.name == "env.KEY").unwrap().line, Some(3));
    }

    #[test]
    fn any_text_is_shown_in_one_line_of_toml() {
        let text = "a = \"x\\ny\\t\\u0007\\\"\"\nb = { 'c d' = [1, 2.5, true, 2020-01-01] }\n";
        let settings = site_settings(text).unwrap();
        let shown: Vec<_> = settings.iter().map(|s| format!("{} = {}", s.name, s.value)).collect();
        let expected = ["a = \"x\\ny\\t\\u0007\\\"\"", "b.\"c d\" = [1, 2.5, true, 2020-01-01]"];
        assert_eq!(shown, expected);
        site_settings(&shown[0]).unwrap();
        assert!(site_settings("a = ").is_err());
    }
}
