//! The servers of an `[[upstream]]`: what `to` says.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::section::{NONE, Section};
use crate::site::tls::file;
use crate::types::{Invalid, must_be, number, server, text, truth};
use crate::value::Value;
use crate::{Origin, Problem};

/// One entry of `to`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    /// What it speaks.
    pub protocol: Protocol,
    /// Where it listens.
    pub address: ServerAddress,
    /// `weight`: its share beside the others
    pub weight: u16,
    /// `backup`: asked only where no other can be
    pub backup: bool,
    /// `ca-file`: whose certificates an https server is believed by; `None`: those that this machine trusts
    pub ca_file: Option<PathBuf>,
}

/// What a server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Protocol {
    /// HTTP/1.1.
    Http,
    /// HTTP/1.1 over TLS.
    Https,
    /// uwsgi.
    Uwsgi,
    /// FastCGI.
    FastCgi,
}

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ServerAddress {
    /// A name or an address (IPv6 without brackets), and a port.
    Tcp(String, u16),
    /// A Unix socket; a relative path counts from the site's shared folder.
    Unix(PathBuf),
}

/// As it stands in `to`.
impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.protocol {
            Protocol::Http => "http",
            Protocol::Https => "https",
            Protocol::Uwsgi => "uwsgi",
            Protocol::FastCgi => "fastcgi",
        };
        match &self.address {
            ServerAddress::Tcp(host, port) if host.contains(':') => {
                write!(f, "{scheme}://[{host}]:{port}")
            }
            ServerAddress::Tcp(host, port) => write!(f, "{scheme}://{host}:{port}"),
            ServerAddress::Unix(path) => write!(f, "{scheme}://unix:{}", path.display()),
        }
    }
}

/// Reads `to`, and what stands beside it for all of its servers.
pub(super) fn read_servers(
    section: &mut Section,
    origin: &Origin,
    problems: &mut Vec<Problem>,
) -> Vec<Server> {
    let was_given = section.origin_of("to").is_some();
    let of_ca_file = section.origin_of("ca-file");
    let ca_file = section.read("ca-file", text(file));
    let mut servers: Vec<Server> = Vec::new();
    let items = section.items("to");
    let is_empty = items.is_empty();
    for item in items {
        let place = item.origin.clone();
        let read = match &item.value {
            Value::Text(text) => section.note("to", &place, server(text)),
            Value::Table(_) => section
                .as_section("to", item)
                .and_then(|(table, origin)| read_server(table, &origin, problems)),
            other => {
                let refused = must_be("a list of texts or tables", other);
                section.note("to", &place, Err(refused))
            }
        };
        match read {
            Some(server) if servers.iter().any(|other| other.address == server.address) => {
                let invalid = Invalid::new(format!("names {server} twice"))
                    .hint("a server gets more of the requests by its weight");
                section.refuse("to", place, invalid);
            }
            Some(server) => servers.push(server),
            None => {}
        }
    }
    let is_plain = |server: &Server| server.protocol != Protocol::Https;
    match of_ca_file {
        Some(place) if !servers.is_empty() && servers.iter().all(is_plain) => {
            section.refuse("ca-file", place, without_tls());
        }
        _ => {
            for server in servers.iter_mut().filter(|server| !is_plain(server)) {
                server.ca_file = server.ca_file.take().or_else(|| ca_file.clone());
            }
        }
    }
    if is_empty {
        let invalid = Invalid::new(if was_given { "names no server" } else { "is missing" })
            .hint("name at least one: to = [\"http://127.0.0.1:3000\"]");
        section.refuse("to", origin.clone(), invalid);
    } else if !servers.is_empty() && servers.iter().all(|server| server.backup) {
        let invalid = Invalid::new("names nothing but backups")
            .hint("leave out `backup` where there is nothing to back up");
        section.refuse("to", origin.clone(), invalid);
    }
    servers
}

fn read_server(
    mut section: Section,
    origin: &Origin,
    problems: &mut Vec<Problem>,
) -> Option<Server> {
    let was_given = section.origin_of("server").is_some();
    let server = section.read("server", text(server));
    let weight = section.read("weight", number(1..=1000)).unwrap_or(1);
    let backup = section.read("backup", truth).unwrap_or(false);
    let of_ca_file = section.origin_of("ca-file");
    let ca_file = section.read("ca-file", text(file));
    if let (Some(Server { protocol, .. }), Some(place)) = (&server, of_ca_file)
        && *protocol != Protocol::Https
    {
        section.refuse("ca-file", place, without_tls());
    }
    if !was_given {
        let invalid = Invalid::new("is missing")
            .hint("write it so: { server = \"http://127.0.0.1:3000\", weight = 2 }");
        section.refuse("server", origin.clone(), invalid);
    }
    section.finish(NONE, problems);
    server.map(|server| Server { weight, backup, ca_file, ..server })
}

fn without_tls() -> Invalid {
    Invalid::new("says nothing without an https:// server")
        .hint("nobody shows a certificate there: leave it out")
}
