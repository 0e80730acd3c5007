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

impl<T: Default> Hosts<T> {
    fn entry(&mut self, domain: &str) -> &mut T {
        let domain = domain.trim_end_matches('.').to_ascii_lowercase();
        match domain.strip_prefix("*.") {
            Some(rest) => self.wildcards.entry(rest.to_owned()).or_default(),
            None => self.exact.entry(domain).or_default(),
        }
    }
}

/// What answers to which host and path: of the values that have a host, the one with the longest path counts, and where that host's
/// have none for the path, so do those of the hosts that nobody has.
#[derive(Debug, Clone)]
pub struct Places<T> {
    hosts: Hosts<Vec<Place<T>>>,
}

#[derive(Debug, Clone)]
struct Place<T> {
    /// Without a slash at its end.
    path: String,
    value: T,
}

/// Why nothing answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nobody {
    /// The host is nobody's.
    Host,
    /// What has the host has not this path.
    Path,
}

impl<T> Default for Places<T> {
    fn default() -> Self {
        Self { hosts: Hosts::default() }
    }
}

impl<T> Places<T> {
    /// Gives a value a path of a host, or with `*.` in front of all its subdomains. Who has it keeps it.
    pub fn insert(&mut self, domain: &str, path: &str, value: T) {
        insert(self.hosts.entry(domain), path, value);
    }

    /// Gives a value a path of the hosts that nobody has. Who has it keeps it.
    pub fn insert_anyone(&mut self, path: &str, value: T) {
        insert(self.hosts.anyone.get_or_insert_default(), path, value);
    }

    /// The value of a host, in lower case and without port, and a path, decoded.
    ///
    /// # Errors
    /// [`Nobody`] where there is none.
    pub fn get(&self, host: Option<&str>, path: &[u8]) -> Result<&T, Nobody> {
        let places = self.hosts.get(host).ok_or(Nobody::Host)?;
        let anyones = self.hosts.get(None);
        let found = find(places, path).or_else(|| anyones.and_then(|places| find(places, path)));
        found.ok_or(Nobody::Path)
    }

    /// Whether a host is named, by itself or by a wildcard.
    pub fn names(&self, host: &str) -> bool {
        self.hosts.names(host)
    }
}

/// A path without the mount in front of it; `None` where it is not below it.
pub fn below<'p>(mount: &str, path: &'p [u8]) -> Option<&'p [u8]> {
    let rest = path.strip_prefix(mount.as_bytes())?;
    (mount.is_empty() || matches!(rest, [] | [b'/', ..])).then_some(rest)
}

fn insert<T>(places: &mut Vec<Place<T>>, path: &str, value: T) {
    if places.iter().all(|place| place.path != path) {
        places.push(Place { path: path.to_owned(), value });
        places.sort_by_key(|place| std::cmp::Reverse(place.path.len()));
    }
}

fn find<'p, T>(places: &'p [Place<T>], path: &[u8]) -> Option<&'p T> {
    let place = places.iter().find(|place| below(&place.path, path).is_some())?;
    Some(&place.value)
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
    fn of_one_host_the_longest_path_counts() {
        let mut places = Places::default();
        for (path, value) in [("/blog", 2), ("", 1), ("/blog/archive", 3), ("/blog", 9)] {
            places.insert("a.example", path, value);
        }
        let table: [(&[u8], i32); 7] = [
            (b"/", 1),
            (b"/blogs", 1),
            (b"/blog", 2),
            (b"/blog/", 2),
            (b"/blog/arch", 2),
            (b"/blog/archive/1", 3),
            (b"*", 1),
        ];
        for (path, expected) in table {
            let found = places.get(Some("a.example"), path);
            assert_eq!(found, Ok(&expected), "{}", path.escape_ascii());
        }
        assert_eq!(places.get(Some("b.example"), b"/"), Err(Nobody::Host));
    }

    #[test]
    fn a_path_that_a_hosts_own_have_not_is_anyones() {
        let mut places = Places::default();
        places.insert("a.example", "/blog", 1);
        assert_eq!(places.get(Some("a.example"), b"/"), Err(Nobody::Path));
        places.insert_anyone("", 2);
        places.insert_anyone("/wiki", 3);
        assert_eq!(places.get(Some("a.example"), b"/blog/1"), Ok(&1));
        assert_eq!(places.get(Some("a.example"), b"/"), Ok(&2));
        assert_eq!(places.get(Some("a.example"), b"/wiki"), Ok(&3));
        assert_eq!(places.get(None, b"/blog"), Ok(&2));
        assert!(places.names("a.example") && !places.names("b.example"));
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
