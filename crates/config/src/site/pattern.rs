//! Which route has a path: the exact one, else the longest prefix, else the first regular expression.
//!
//! nginx's order (`location =`, `location ^~`, `location ~`), with prefixes that end where a segment does.

use std::collections::HashMap;
use std::fmt;

use regex::bytes::{Regex, RegexBuilder};
use serde::{Deserialize, Serialize};

use super::template::Caught;
use crate::types::Invalid;

/// What a compiled expression may take, in bytes.
const LARGEST_EXPRESSION_BYTES: usize = 1 << 20;

/// The paths of a route.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Pattern {
    /// `exact`: this path alone.
    Exact(String),
    /// `path`: this one and everything below it; without a slash at its end, `/` is every path.
    Prefix(String),
    /// `regex`: where the expression matches.
    Regex(String),
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(path) => write!(f, "exact {path}"),
            Self::Prefix(path) => write!(f, "path {path}"),
            Self::Regex(expression) => write!(f, "regex {expression}"),
        }
    }
}

/// Finds the route of a path.
#[derive(Debug, Default)]
pub struct Matcher {
    exact: HashMap<Vec<u8>, usize>,
    /// The longest first, without slashes at their ends.
    prefixes: Vec<(Vec<u8>, usize)>,
    /// In the order of the file.
    expressions: Vec<(Regex, usize)>,
}

impl Matcher {
    /// The matcher of these patterns, which routes are known by the numbers of. What is no expression matches nothing: the
    /// check of the file has refused it.
    pub fn new<'p>(patterns: impl IntoIterator<Item = &'p Pattern>) -> Self {
        let mut matcher = Self::default();
        for (index, pattern) in patterns.into_iter().enumerate() {
            match pattern {
                Pattern::Exact(path) => {
                    matcher.exact.insert(path.clone().into_bytes(), index);
                }
                Pattern::Prefix(path) => {
                    let prefix = path.trim_end_matches('/').as_bytes().to_vec();
                    matcher.prefixes.push((prefix, index));
                }
                Pattern::Regex(text) => {
                    matcher.expressions.extend(expression(text).ok().map(|regex| (regex, index)));
                }
            }
        }
        matcher.prefixes.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
        matcher
    }

    /// The number of the route that has a path, decoded, and what its pattern has caught.
    pub fn find(&self, path: &[u8]) -> Option<(usize, Caught)> {
        self.all(path).next()
    }

    /// Every route whose pattern matches; the first one has the path.
    pub fn all<'a>(&'a self, path: &'a [u8]) -> impl Iterator<Item = (usize, Caught)> + 'a {
        let exact = self.exact.get(path).map(|index| (*index, Caught::default()));
        let prefixes = self.prefixes.iter().filter_map(move |(prefix, index)| {
            let rest = path.strip_prefix(prefix.as_slice())?;
            let is_below = matches!(rest, [] | [b'/', ..]);
            is_below.then(|| (*index, Caught { rest: prefix.len(), ..Caught::default() }))
        });
        let expressions = self.expressions.iter().filter_map(move |(regex, index)| {
            let captures = regex.captures(path)?;
            let groups =
                captures.iter().map(|group| group.map(|found| (found.start(), found.end())));
            Some((*index, Caught { groups: groups.collect(), rest: path.len() }))
        });
        exact.into_iter().chain(prefixes).chain(expressions)
    }
}

/// The compiled expression.
pub(super) fn expression(text: &str) -> Result<Regex, Invalid> {
    let built = RegexBuilder::new(text).size_limit(LARGEST_EXPRESSION_BYTES).build();
    built.map_err(|error| {
        // The last line says what is wrong; those before it draw the place.
        let told = error.to_string();
        let reason = told.lines().last().unwrap_or_default().trim_start_matches("error: ");
        Invalid::new(format!("\"{text}\" is not a regular expression: {reason}")).hint(
            "write it in single quotes, '^/u/([0-9]+)$'; there are neither look-around nor back-references",
        )
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn patterns() -> Vec<Pattern> {
        vec![
            Pattern::Regex("^/(?<kind>a|b)/([0-9]+)$".into()),
            Pattern::Regex("[.]php$".into()),
            Pattern::Prefix("/static".into()),
            Pattern::Prefix("/static/admin".into()),
            Pattern::Exact("/static/admin/x.php".into()),
        ]
    }

    #[test]
    fn exact_stands_before_the_longest_prefix_and_that_before_expressions() {
        let patterns = patterns();
        let matcher = Matcher::new(&patterns);
        let found = |path: &str| matcher.find(path.as_bytes()).map(|(index, _)| index);
        assert_eq!(found("/static/admin/x.php"), Some(4));
        assert_eq!(found("/static/admin/y.php"), Some(3));
        assert_eq!(found("/static/admin"), Some(3));
        assert_eq!(found("/static/administrator"), Some(2));
        assert_eq!(found("/statics/y.php"), Some(1));
        assert_eq!(found("/b/12"), Some(0));
        assert_eq!(found("/b/12/"), None);
        let all: Vec<_> = matcher.all(b"/static/admin/x.php").map(|(index, _)| index).collect();
        assert_eq!(all, [4, 3, 2, 1]);
    }

    #[test]
    fn groups_and_the_rest_are_caught() {
        let patterns = patterns();
        let matcher = Matcher::new(&patterns);
        let (_, caught) = matcher.find(b"/b/12").unwrap();
        assert_eq!(caught.groups, [Some((0, 5)), Some((1, 2)), Some((3, 5))]);
        assert_eq!(matcher.find(b"/static/x").unwrap().1.rest, 7);
    }

    #[test]
    fn a_wrong_expression_is_told_in_one_line() {
        let invalid = expression("/(a").unwrap_err();
        assert_eq!(invalid.message, "\"/(a\" is not a regular expression: unclosed group");
        assert!(expression("a{1000}{1000}").is_err(), "too large");
    }

    proptest! {
        #[test]
        fn the_route_of_a_path_is_one_whose_pattern_matches(path in "/[ab/.0-9]{0,12}") {
            let patterns = patterns();
            let matcher = Matcher::new(&patterns);
            if let Some((index, _)) = matcher.find(path.as_bytes()) {
                let matches = match &patterns[index] {
                    Pattern::Exact(exact) => *exact == path,
                    Pattern::Prefix(prefix) => path.starts_with(prefix.as_str()),
                    Pattern::Regex(text) => Regex::new(text).unwrap().is_match(path.as_bytes()),
                };
                prop_assert!(matches);
            }
        }
    }
}
