//! What holds for every request of a site, or for those of a route: headers, passwords, addresses, files of folders, pages.
//!
//! A route adds to what its site says: header rules of both apply, the site's first; of everything else the route's own counts
//! where it has one.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::limit::{self, Limit};
use super::password;
use super::template::{Target, Template};
use crate::Problem;
use crate::section::{NONE, Section, Unsupported};
use crate::types::{Invalid, must_be, network, site_path, text, truth};
use crate::value::Value;

/// The rules of a site or of a route.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rules {
    /// `[headers]`: of answers.
    pub headers: HeaderRules,
    /// `[request-headers]`: of requests, as whoever answers sees them.
    pub request_headers: HeaderRules,
    /// `[auth]`; `None`: as the site says it, and a site that says nothing asks for no password.
    pub auth: Option<Auth>,
    /// `allow`: who may ask; `None`: as the site says it, and there everybody.
    pub allow: Option<Vec<IpNet>>,
    /// `deny`: who may not, even where `allow` names them; `None`: as the site says it, and there nobody.
    pub deny: Option<Vec<IpNet>>,
    /// `[[limit]]`; `None`: as the site says it, and there none.
    pub limits: Option<Vec<Limit>>,
    /// `index`: the files shown for a folder; `None`: as the site says it.
    pub index: Option<Vec<String>>,
    /// `listing`: whether folders without such a file list their names.
    pub listing: Option<bool>,
    /// `try-files`
    pub try_files: Option<TryFiles>,
    /// `[errors]`: pages for answers that onebox makes itself.
    pub errors: Vec<ErrorPage>,
}

/// What is done to headers, in this order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeaderRules {
    /// `remove`: names.
    pub remove: Vec<String>,
    /// `set`: instead of what is there.
    pub set: Vec<(String, String)>,
    /// `add`: beside what is there.
    pub add: Vec<(String, String)>,
}

/// Whether a password is needed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Auth {
    /// `auth = false`: none, whatever the site says.
    Open,
    /// Basic authentication (RFC 7617).
    Basic {
        /// `realm`: what browsers show.
        realm: String,
        /// `users`: names and hashed passwords.
        users: Vec<(String, String)>,
    },
}

/// `try-files`: nginx's directive of this name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TryFiles {
    /// Paths; the first one that is a file (or, with a slash at its end, a folder) answers.
    pub files: Vec<Template>,
    /// What happens where none is.
    pub otherwise: Otherwise,
}

/// The last entry of `try-files`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Otherwise {
    /// The request goes on with this path, and perhaps a query of its own.
    Path(Target),
    /// It is answered with this status.
    Status(u16),
}

/// One entry of `[errors]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorPage {
    /// `404`, or `5xx` for all of them.
    pub statuses: RangeInclusive<u16>,
    /// The file below the site's root.
    pub page: PathBuf,
}

impl Rules {
    /// These rules of a route, completed with those of its site.
    #[must_use]
    pub fn within(&self, site: &Self) -> Self {
        let own = self.clone();
        Self {
            headers: site.headers.clone().then(own.headers),
            request_headers: site.request_headers.clone().then(own.request_headers),
            auth: own.auth.or_else(|| site.auth.clone()),
            allow: own.allow.or_else(|| site.allow.clone()),
            deny: own.deny.or_else(|| site.deny.clone()),
            limits: own.limits.or_else(|| site.limits.clone()),
            index: own.index.or_else(|| site.index.clone()),
            listing: own.listing.or(site.listing),
            try_files: own.try_files.or_else(|| site.try_files.clone()),
            // The first one that names a status has it.
            errors: own.errors.into_iter().chain(site.errors.iter().cloned()).collect(),
        }
    }

    /// The same with paths below `root`.
    pub(super) fn resolve(&mut self, root: &Path) {
        for page in &mut self.errors {
            page.page = root.join(&page.page);
        }
    }
}

impl HeaderRules {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty() && self.add.is_empty()
    }

    fn then(mut self, mut later: Self) -> Self {
        let is = |name: &str, other: &str| name.eq_ignore_ascii_case(other);
        self.set.retain(|(name, _)| !later.set.iter().any(|(other, _)| is(name, other)));
        let is_removed = |name: &str| later.remove.iter().any(|other| is(name, other));
        self.set.retain(|(name, _)| !is_removed(name));
        self.add.retain(|(name, _)| !is_removed(name));
        self.remove.append(&mut later.remove);
        self.set.append(&mut later.set);
        self.add.append(&mut later.add);
        self
    }
}

/// Reads the keys that sites and routes share; `groups` are those of the route's regular expression.
pub(super) fn read(
    section: &mut Section,
    groups: &[Option<String>],
    problems: &mut Vec<Problem>,
) -> Rules {
    Rules {
        headers: read_headers(section.section("headers"), problems),
        request_headers: read_headers(section.section("request-headers"), problems),
        auth: read_auth(section, problems),
        allow: read_allow(section),
        deny: section.read_texts("deny", network).map(in_order),
        limits: limit::read(section, problems),
        index: section.read("index", index),
        listing: section.read("listing", truth),
        try_files: section.read("try-files", |value| try_files(value, groups)),
        errors: read_errors(section.section("errors"), problems),
    }
}

fn read_headers(mut section: Section, problems: &mut Vec<Problem>) -> HeaderRules {
    let rules = HeaderRules {
        remove: section.read_texts("remove", header_name).unwrap_or_default(),
        set: read_fields(section.section("set"), problems),
        add: read_fields(section.section("add"), problems),
    };
    section.finish(
        &Unsupported {
            later: &[],
            foreign: &[("add-header", "add", "nginx"), ("header", "set", "Caddy")],
        },
        problems,
    );
    rules
}

/// Names and values; a list is several fields of one name.
fn read_fields(mut section: Section, problems: &mut Vec<Problem>) -> Vec<(String, String)> {
    let read = section.read_all(|name, value| {
        let name = header_name(name)?;
        let values = match value {
            Value::List(items) => items.iter().map(|item| &item.value).collect(),
            one => vec![one],
        };
        let fields = values.into_iter().map(|value| Ok((name.clone(), text(header_value)(value)?)));
        fields.collect::<Result<Vec<_>, Invalid>>()
    });
    section.finish(NONE, problems);
    read.into_iter().flat_map(|(_, fields)| fields).collect()
}

/// A field that a rule may touch (RFC 9110 §5.1): not those that frame messages or belong to connections.
fn header_name(name: &str) -> Result<String, Invalid> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^`|~".contains(&byte);
    if name.contains('_') {
        return Err(Invalid::new(format!(
            "\"{name}\" has an underscore: such headers are dropped"
        ))
        .hint(format!("write it with a dash: \"{}\"", name.replace('_', "-"))));
    }
    if name.is_empty() || !name.bytes().all(is_token) {
        return Err(Invalid::new(format!("\"{name}\" is not the name of a header")));
    }
    const OURS: [&str; 11] = [
        "connection",
        "content-length",
        "date",
        "expect",
        "host",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ];
    if OURS.contains(&name.to_ascii_lowercase().as_str()) {
        return Err(
            Invalid::new(format!("\"{name}\" is written by onebox itself")).hint("leave it out")
        );
    }
    Ok(name.to_owned())
}

/// RFC 9110 §5.5, without what has no meaning there.
fn header_value(value: &str) -> Result<String, Invalid> {
    if value.bytes().all(|byte| byte == b' ' || byte == b'\t' || byte.is_ascii_graphic()) {
        return Ok(value.trim().to_owned());
    }
    Err(Invalid::new("holds a character that no header can")
        .hint("only printable ASCII can be sent"))
}

fn read_auth(section: &mut Section, problems: &mut Vec<Problem>) -> Option<Auth> {
    let item = section.items("auth").into_iter().next()?;
    let (mut auth, origin) = match item.value {
        Value::Bool(false) => return Some(Auth::Open),
        Value::Table(_) => section.as_section("auth", item)?,
        other => {
            let invalid = must_be("a table, or false", &other).hint("for no password write false");
            section.refuse("auth", item.origin, invalid);
            return None;
        }
    };
    let realm = auth.read("realm", text(realm)).unwrap_or_else(|| "Restricted".to_owned());
    let were_given = auth.origin_of("users").is_some();
    let mut named = auth.section("users");
    let users = named.read_all(|name, value| {
        if name.is_empty() || name.contains(':') || name.contains(char::is_control) {
            return Err(Invalid::new("is not a name for a user").hint("it must not hold a colon"));
        }
        text(password::hashed)(value)
    });
    named.finish(NONE, problems);
    if !were_given {
        let invalid = Invalid::new("is missing: nobody could pass");
        auth.refuse(
            "users",
            origin,
            invalid.hint("users = { ann = \"…\" }, with what `onebox hash-password` prints"),
        );
    }
    auth.finish(NONE, problems);
    Some(Auth::Basic { realm, users })
}

fn realm(text: &str) -> Result<String, Invalid> {
    let text = header_value(text)?;
    if text.contains(['"', '\\']) {
        return Err(Invalid::new("must hold neither quotes nor backslashes"));
    }
    Ok(text)
}

fn read_allow(section: &mut Section) -> Option<Vec<IpNet>> {
    let is_empty = |value: &Value| matches!(value, Value::List(items) if items.is_empty());
    let closed = section.origin_of("allow").filter(|_| section.holds("allow", is_empty));
    let allow = section.read_texts("allow", network);
    if let Some(origin) = closed {
        let invalid = Invalid::new("lets nobody in");
        let hint =
            "for everybody write [\"0.0.0.0/0\", \"::/0\"], for nobody a route with status = 403";
        section.refuse("allow", origin, invalid.hint(hint));
    }
    allow.map(in_order)
}

fn in_order(mut networks: Vec<IpNet>) -> Vec<IpNet> {
    networks.sort();
    networks.dedup();
    networks
}

/// The names of index files: one, a list, or `false` for none.
fn index(value: &Value) -> Result<Vec<String>, Invalid> {
    let name = |value: &Value| {
        text(|name: &str| match name {
            "" => Err(Invalid::new("names no file").hint("for none write index = false")),
            name if name.contains('/') || name.starts_with('.') => {
                Err(Invalid::new(format!("\"{name}\" is not the name of a file in a folder")))
            }
            name => Ok(name.to_owned()),
        })(value)
    };
    match value {
        Value::Bool(false) => Ok(Vec::new()),
        Value::List(items) => items.iter().map(|item| name(&item.value)).collect(),
        one => Ok(vec![name(one)?]),
    }
}

fn try_files(value: &Value, groups: &[Option<String>]) -> Result<TryFiles, Invalid> {
    let Value::List(items) = value else { return Err(must_be("a list of texts", value)) };
    let texts: Result<Vec<String>, Invalid> =
        items.iter().map(|item| text(|text: &str| Ok(text.to_owned()))(&item.value)).collect();
    let texts = texts?;
    let [files @ .., last] = texts.as_slice() else {
        return Err(Invalid::new("names no file").hint("try-files = [\"$uri\", \"/index.html\"]"));
    };
    let begins = |text: &str| match text.starts_with('/') || text.starts_with("$uri") {
        true => Ok(()),
        false => Err(Invalid::new(format!("\"{text}\" is not the path of a URL"))
            .hint("begin with a slash or with $uri; only the last entry may be \"=404\"")),
    };
    let path = |text: &String| begins(text).and_then(|()| Template::parse(text, groups));
    let otherwise = match last.strip_prefix('=') {
        Some(digits) => match digits.parse() {
            Ok(status @ 400..=599) => Otherwise::Status(status),
            _ => {
                return Err(Invalid::new(format!("\"{last}\" is not a status of an error"))
                    .hint("400 to 599: \"=404\""));
            }
        },
        None => {
            begins(last)?;
            Otherwise::Path(Target::parse(last, groups)?)
        }
    };
    Ok(TryFiles { files: files.iter().map(path).collect::<Result<_, _>>()?, otherwise })
}

fn read_errors(mut section: Section, problems: &mut Vec<Problem>) -> Vec<ErrorPage> {
    let read = section.read_all(|key, value| {
        let statuses = match key {
            "4xx" => 400..=499,
            "5xx" => 500..=599,
            digits => match digits.parse() {
                Ok(status @ 400..=599) => status..=status,
                _ => {
                    return Err(Invalid::new("is not the status of an error")
                        .hint("400 to 599, or \"4xx\" or \"5xx\" for all of them"));
                }
            },
        };
        Ok(ErrorPage { statuses, page: text(page)(value)? })
    });
    section.finish(NONE, problems);
    read.into_iter().map(|(_, page)| page).collect()
}

/// A page below the site's root.
pub(super) fn page(text: &str) -> Result<PathBuf, Invalid> {
    let path = site_path(text)?;
    if path.iter().any(|part| part.as_encoded_bytes().starts_with(b".")) {
        return Err(Invalid::new(format!(
            "\"{text}\" is hidden: names with a dot in front are never served"
        )));
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn a_routes_headers_come_after_its_sites_and_win() {
        let site = HeaderRules {
            remove: vec!["Server".into()],
            set: vec![field("X-Frame-Options", "DENY"), field("X-A", "1")],
            add: vec![field("Link", "a")],
        };
        let route = HeaderRules {
            remove: vec!["x-a".into()],
            set: vec![field("x-frame-options", "SAMEORIGIN")],
            add: vec![field("Link", "b")],
        };
        let both = site.then(route);
        assert_eq!(both.set, [field("x-frame-options", "SAMEORIGIN")]);
        assert_eq!(both.add, [field("Link", "a"), field("Link", "b")]);
        assert_eq!(both.remove, ["Server", "x-a"]);
    }
}
