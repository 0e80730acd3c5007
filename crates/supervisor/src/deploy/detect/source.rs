//! Python source read by lines, never run: the few facts that tell a framework and a callable.
//!
//! Owns the scan. Must not know frameworks. It is not a parser: strings over several lines are skipped, conditions are
//! not followed; what it misses can be said in `onebox.toml`.

use std::fs::File;
use std::io::Read;
use std::path::Path;

/// More of a file is not read: no application's entry point is longer.
const SOURCE_BYTES: u64 = 512 * 1024;

/// One Python file.
#[derive(Debug, Clone, Default)]
pub(super) struct Source {
    lines: Vec<String>,
}

impl Source {
    /// Reads a file; `None` when it is not there or is no text.
    pub(super) fn read(path: &Path) -> Option<Self> {
        let mut text = String::new();
        File::open(path).ok()?.take(SOURCE_BYTES).read_to_string(&mut text).ok()?;
        Some(Self::parse(&text))
    }

    /// Keeps the lines that are code.
    pub(super) fn parse(text: &str) -> Self {
        let mut lines = Vec::new();
        let mut inside: Option<&str> = None;
        for line in text.lines() {
            if let Some(quotes) = inside {
                if line.contains(quotes) {
                    inside = None;
                }
                continue;
            }
            let code = line.trim_start();
            if code.is_empty() || code.starts_with('#') {
                continue;
            }
            inside =
                ["\"\"\"", "'''"].into_iter().find(|quotes| line.matches(quotes).count() % 2 == 1);
            lines.push(line.to_owned());
        }
        Self { lines }
    }

    /// Assignments at the top level: each name, and what it is given.
    pub(super) fn assignments(&self) -> impl Iterator<Item = (&str, &str)> {
        self.top_level().flat_map(|line| {
            let mut parts: Vec<&str> = split_assignment(line);
            let value = parts.pop().unwrap_or_default().trim();
            let names = parts.into_iter().filter_map(|name| {
                let name = name.split(':').next().unwrap_or_default().trim();
                is_name(name).then_some(name)
            });
            names.map(move |name| (name, value)).collect::<Vec<_>>()
        })
    }

    /// Functions at the top level: name, parameters as written, and whether it is `async`.
    pub(super) fn functions(&self) -> impl Iterator<Item = Function<'_>> {
        self.top_level().filter_map(|line| {
            let (is_async, rest) = match line.strip_prefix("async ") {
                Some(rest) => (true, rest.trim_start()),
                None => (false, line),
            };
            let (name, parameters) = rest.strip_prefix("def ")?.split_once('(')?;
            let parameters = parameters.split(')').next().unwrap_or_default();
            Some(Function { name: name.trim(), parameters, is_async })
        })
    }

    /// Names that the top level imports, and from where: `from MODULE import NAME [as ALIAS]`.
    pub(super) fn imported_names(&self) -> impl Iterator<Item = (&str, &str)> {
        self.top_level().flat_map(|line| {
            let pair = line.strip_prefix("from ").and_then(|rest| rest.split_once(" import "));
            let (module, names) = pair.unwrap_or_default();
            let names = names.split('#').next().unwrap_or_default();
            let names = names.trim_matches(|character: char| " ()\\".contains(character));
            names.split(',').filter_map(move |name| {
                let name = name.rsplit(" as ").next().unwrap_or_default().trim();
                is_name(name).then_some((module.trim(), name))
            })
        })
    }

    /// Whether any line, indented or not, imports `package` or something of it.
    pub(super) fn imports(&self, package: &str) -> bool {
        self.lines.iter().map(|line| line.trim_start()).any(|line| {
            let Some(rest) = line.strip_prefix("import ").or_else(|| line.strip_prefix("from "))
            else {
                return false;
            };
            rest.split(" import ").next().unwrap_or_default().split(',').any(|module| {
                let module = module.trim();
                module.strip_prefix(package).is_some_and(|rest| {
                    rest.is_empty() || rest.starts_with('.') || rest.starts_with(' ')
                })
            })
        })
    }

    /// Whether the code, not its comments, has these characters.
    pub(super) fn mentions(&self, text: &str) -> bool {
        self.lines.iter().any(|line| line.contains(text))
    }

    /// The first quoted text after `marker`, on its line or the next: `setdefault("NAME", "value")`.
    pub(super) fn text_after(&self, marker: &str) -> Option<&str> {
        let mut lines = self.lines.iter();
        let line = lines.find(|line| line.contains(marker))?;
        let (_, rest) = line.split_once(marker)?;
        let rest = rest.trim_start_matches(['"', '\'']);
        quoted(rest).next().or_else(|| quoted(lines.next()?).next())
    }

    /// Every quoted text, with the line it stands in.
    pub(super) fn texts(&self) -> impl Iterator<Item = (&str, &str)> {
        self.lines.iter().flat_map(|line| quoted(line).map(move |text| (line.as_str(), text)))
    }

    fn top_level(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().map(String::as_str).filter(|line| !line.starts_with([' ', '\t']))
    }
}

/// A function of a [`Source`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Function<'a> {
    pub(super) name: &'a str,
    pub(super) parameters: &'a str,
    pub(super) is_async: bool,
}

/// `a = b = value` as its parts; one part where nothing is assigned.
fn split_assignment(line: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = line;
    while let Some((name, value)) = rest.split_once('=') {
        let target = name.split(':').next().unwrap_or_default().trim();
        if value.starts_with('=') || !is_name(target) {
            break;
        }
        parts.push(name);
        rest = value.trim_start();
    }
    parts.push(rest);
    parts
}

fn is_name(text: &str) -> bool {
    let mut characters = text.chars();
    characters.next().is_some_and(|first| first.is_alphabetic() || first == '_')
        && characters.all(|character| character.is_alphanumeric() || character == '_')
}

fn quoted(line: &str) -> impl Iterator<Item = &str> {
    let mut rest = line;
    std::iter::from_fn(move || {
        let start = rest.find(['"', '\''])?;
        let (_, from) = rest.split_at(start);
        let quote = from.chars().next()?;
        let body = from.strip_prefix(quote)?;
        let (text, after) = body.split_once(quote)?;
        rest = after;
        Some(text)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assignments_with_several_targets_and_types_are_seen() {
        let source = Source::parse(
            "app: Flask = Flask(__name__)\na = b = make()\nif x == 1:\n    hidden = 1\nconfig['k'] = 2\ncall(app=1)\n",
        );
        let found: Vec<_> = source.assignments().collect();
        assert_eq!(found, [("app", "Flask(__name__)"), ("a", "make()"), ("b", "make()")]);
    }

    #[test]
    fn docstrings_and_comments_are_no_code() {
        let source = Source::parse(
            "\"\"\"Docs.\n\nfrom flask import Flask\napp = Flask(__name__)\n\"\"\"\n# import flask\nx = 1\n",
        );
        assert!(!source.imports("flask"));
        assert_eq!(source.assignments().collect::<Vec<_>>(), [("x", "1")]);
    }

    #[test]
    fn imports_are_of_packages_not_of_prefixes() {
        let source = Source::parse("import os, flask_login\n    from django.core import wsgi\n");
        assert!(source.imports("django") && source.imports("os") && source.imports("flask_login"));
        assert!(!source.imports("flask") && !source.imports("djang"));
    }

    #[test]
    fn imported_names_follow_their_alias() {
        let source = Source::parse("from site.web import app as application, other  # noqa\n");
        let found: Vec<_> = source.imported_names().collect();
        assert_eq!(found, [("site.web", "application"), ("site.web", "other")]);
    }

    #[test]
    fn functions_have_parameters() {
        let source = Source::parse(
            "def application(environ, start_response):\n    pass\nasync def app(scope, receive, send): ...\n",
        );
        let found: Vec<_> =
            source.functions().map(|function| (function.name, function.is_async)).collect();
        assert_eq!(found, [("application", false), ("app", true)]);
    }

    #[test]
    fn the_text_after_a_marker_may_be_on_the_next_line() {
        let one = Source::parse("os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'a.settings')\n");
        assert_eq!(one.text_after("DJANGO_SETTINGS_MODULE"), Some("a.settings"));
        let two =
            Source::parse("setdefault(\n    \"DJANGO_SETTINGS_MODULE\",\n    \"b.settings\",\n)\n");
        assert_eq!(two.text_after("DJANGO_SETTINGS_MODULE"), Some("b.settings"));
        let three = Source::parse("os.environ[\"DJANGO_SETTINGS_MODULE\"] = \"c.settings\"\n");
        assert_eq!(three.text_after("DJANGO_SETTINGS_MODULE"), Some("c.settings"));
    }
}
