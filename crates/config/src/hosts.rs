//! What answers to which host: a host by its name stands before a wildcard, and of wildcards the longest one counts.
//!
//! nginx's order of `server_name`, without regular expressions.

use std::collections::HashMap;

/// Values by hosts.
#[derive(Debug, Clone)]
pub struct Hosts<T> {
    exact: HashMap<String, T>,
    /// By what follows the `*.`.
    wildcards: HashMap<String, T>,
    anyone: Option<T>,
}

impl<T> Default for Hosts<T> {
    fn default() -> Self {
        Self { exact: HashMap::new(), wildcards: HashMap::new(), anyone: None }
    }
}

impl<T> Hosts<T> {
    /// Gives a value a host, or with `*.` in front all its subdomains. Who has one keeps it.
    pub fn insert(&mut self, domain: &str, value: T) {
        let domain = domain.trim_end_matches('.').to_ascii_lowercase();
        match domain.strip_prefix("*.") {
            Some(rest) => self.wildcards.entry(rest.to_owned()).or_insert(value),
            None => self.exact.entry(domain).or_insert(value),
        };
    }

    /// Gives a value the hosts that nobody has. Who has them keeps them.
    pub fn insert_anyone(&mut self, value: T) {
        self.anyone.get_or_insert(value);
    }

    /// The value of a host, in lower case and without port.
    pub fn get(&self, host: Option<&str>) -> Option<&T> {
        host.and_then(|host| self.named(host.strip_suffix('.').unwrap_or(host)))
            .or(self.anyone.as_ref())
    }

    /// Whether a host is named, by itself or by a wildcard.
    pub fn names(&self, host: &str) -> bool {
        self.named(host.strip_suffix('.').unwrap_or(host)).is_some()
    }

    fn named(&self, host: &str) -> Option<&T> {
        let exact = self.exact.get(host);
        if exact.is_some() || self.wildcards.is_empty() {
            return exact;
        }
        // A.B.C is below B.C, and that below C.
        let mut rest = host;
        while let Some((_, parent)) = rest.split_once('.') {
            if let Some(found) = self.wildcards.get(parent) {
                return Some(found);
            }
            rest = parent;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stands_before_a_wildcard_and_a_long_one_before_a_short_one() {
        let mut hosts = Hosts::default();
        hosts.insert("Example.com", 1);
        hosts.insert("*.example.com", 2);
        hosts.insert("*.eu.example.com.", 3);
        hosts.insert("www.example.com", 4);
        let table = [
            ("example.com", Some(1)),
            ("example.com.", Some(1)),
            ("www.example.com", Some(4)),
            ("shop.example.com", Some(2)),
            ("a.shop.example.com", Some(2)),
            ("eu.example.com", Some(2)),
            ("a.b.eu.example.com", Some(3)),
            ("notexample.com", None),
            ("com", None),
        ];
        for (host, expected) in table {
            assert_eq!(hosts.get(Some(host)).copied(), expected, "{host}");
        }
        hosts.insert_anyone(5);
        hosts.insert_anyone(6);
        assert_eq!((hosts.get(Some("com")), hosts.get(None)), (Some(&5), Some(&5)));
        assert!(!hosts.names("com") && hosts.names("eu.example.com"));
    }

    #[test]
    fn who_has_a_host_keeps_it() {
        let mut hosts = Hosts::default();
        for value in [1, 2] {
            hosts.insert("a.example", value);
            hosts.insert("*.example", value);
        }
        assert_eq!(hosts.get(Some("a.example")), Some(&1));
        assert_eq!(hosts.get(Some("b.example")), Some(&1));
    }
}
