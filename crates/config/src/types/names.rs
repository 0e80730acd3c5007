//! Names of sites and of hosts.

use std::fmt;

use super::Invalid;

/// The name of a site: 1 to 63 of `a-z`, `0-9` and `-`, beginning and ending with a letter or digit.
///
/// So it is also a folder, a host label (`NAME.localhost`) and a word on a command line.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SiteName(String);

impl SiteName {
    /// Checks a name.
    ///
    /// # Errors
    /// When it breaks the rule; the hint is the nearest name that keeps it.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        if is_label(text) && !text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Ok(Self(text.to_owned()));
        }
        let near = Self::from_folder(text);
        Err(Invalid::new(format!(
            "\"{text}\" is not a name for a site: use a-z, 0-9 and -, 63 at most"
        ))
        .hint(format!("for example \"{near}\"")))
    }

    /// The name that a folder's name gives; `site` where nothing of it can be used.
    pub fn from_folder(folder: &str) -> Self {
        let mut name = String::new();
        for c in folder.chars() {
            match c {
                'a'..='z' | '0'..='9' => name.push(c),
                'A'..='Z' => name.push(c.to_ascii_lowercase()),
                _ if !name.is_empty() && !name.ends_with('-') => name.push('-'),
                _ => {}
            }
        }
        name.truncate(63);
        let name = name.trim_end_matches('-');
        Self(if name.is_empty() { "site" } else { name }.to_owned())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SiteName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A host that a site answers to, lower case, without port: `www.example.com`, `192.0.2.1`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostName(String);

impl HostName {
    /// Checks a host name (RFC 1123, section 2.1); a dot at its end is dropped.
    ///
    /// # Errors
    /// When it is not one, with a hint for the usual slips.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let refused = Invalid::new(format!("\"{text}\" is not a host name"));
        if text.contains("://") || text.contains('/') {
            return Err(refused.hint("write the host alone: \"www.example.com\""));
        }
        if text.starts_with('*') {
            return Err(
                refused.hint("write \"*.example.com\" for its subdomains, or name each host")
            );
        }
        if text.contains(':') {
            return Err(refused
                .hint("leave out the port: a site answers on every port that is listened on"));
        }
        if !text.is_ascii() {
            return Err(refused.hint("write it in its ASCII form, which begins with xn--"));
        }
        let host = text.strip_suffix('.').unwrap_or(text);
        if host.len() > 253 || !host.split('.').all(is_label) {
            return Err(refused.hint("labels of a-z, 0-9 and -, separated by dots"));
        }
        Ok(Self(host.to_ascii_lowercase()))
    }

    /// Checks a host name, or `*.` and the host name whose subdomains are meant, at whatever depth.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn parse_domain(text: &str) -> Result<Self, Invalid> {
        match text.strip_prefix("*.") {
            Some(rest) if rest.contains('.') || rest == "localhost" => {
                Ok(Self(format!("*.{}", Self::parse(rest)?)))
            }
            _ => Self::parse(text),
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as text.
    pub fn into_string(self) -> String {
        self.0
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_label(text: &str) -> bool {
    let inside = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    (1..=63).contains(&text.len())
        && text.bytes().all(inside)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_of_sites_are_host_labels() {
        for name in ["a", "blog", "my-site-2", "0", &"x".repeat(63)] {
            assert!(SiteName::parse(name).is_ok(), "{name}");
        }
        for name in ["", "-a", "a-", "Blog", "my_site", "a.b", "ä", "..", &"x".repeat(64)] {
            assert!(SiteName::parse(name).is_err(), "{name}");
        }
    }

    #[test]
    fn a_folder_gives_the_nearest_name() {
        for (folder, name) in [
            ("My Site", "my-site"),
            ("blog_v2", "blog-v2"),
            ("__", "site"),
            ("Ünder", "nder"),
            ("-a-", "a"),
        ] {
            assert_eq!(SiteName::from_folder(folder).as_str(), name);
        }
    }

    #[test]
    fn hosts_are_lower_cased_and_lose_their_last_dot() {
        assert_eq!(HostName::parse("WWW.Example.com.").unwrap().as_str(), "www.example.com");
        assert_eq!(HostName::parse("192.0.2.1").unwrap().as_str(), "192.0.2.1");
    }

    #[test]
    fn a_wildcard_stands_for_whole_labels_in_front() {
        let domain = |text| HostName::parse_domain(text).map(HostName::into_string);
        assert_eq!(domain("*.Example.com.").as_deref(), Ok("*.example.com"));
        assert_eq!(domain("example.com").as_deref(), Ok("example.com"));
        for text in ["*", "*.", "*.com", "a*.example.com", "*a.example.com", "a.*.com", "*.*.com"] {
            assert!(domain(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_host_is_refused() {
        let long = format!("{}.com", "a.".repeat(130));
        for text in [
            "",
            ".",
            "a..b",
            "http://a",
            "a:80",
            "*.a.com",
            "a b",
            "-a.com",
            "münchen.de",
            "a_b.com",
            &long,
        ] {
            assert!(HostName::parse(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_folder_always_gives_a_proper_name(folder in ".{0,100}") {
            let name = SiteName::from_folder(&folder);
            prop_assert_eq!(SiteName::parse(name.as_str()), Ok(name.clone()));
        }
    }
}
