//! `[[upstream]]`: what answers below a path in place of the site's own application.
//!
//! Source: nginx's `upstream`, `proxy_*`, `uwsgi_*` and `fastcgi_*`, whose words are kept where the meaning is the same.

mod server;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::section::{NONE, Section, Unsupported};
use crate::types::{Invalid, SiteName, duration, number, text, truth, url_path, url_prefix};
use crate::{Origin, Problem};

pub use server::{Protocol, Server, ServerAddress};

use server::read_servers;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

/// What nginx calls things.
const UNSUPPORTED: &Unsupported = &Unsupported {
    later: &[],
    foreign: &[
        ("server", "to", "nginx"),
        ("proxy-pass", "to", "nginx"),
        ("uwsgi-pass", "to", "nginx"),
        ("fastcgi-pass", "to", "nginx"),
        ("max-conns", "max-connections", "nginx"),
        ("proxy-connect-timeout", "connect-timeout", "nginx"),
        ("proxy-read-timeout", "read-timeout", "nginx"),
        ("proxy-send-timeout", "send-timeout", "nginx"),
        ("fastcgi-index", "index", "nginx"),
    ],
};

/// Servers that share the requests below a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upstream {
    /// `name`, for routes
    pub name: Option<String>,
    /// `path`: the beginning of the URLs, `/` for every one; without a slash at its end; `None`: only routes lead here
    pub path: Option<String>,
    /// `to`; never empty
    pub servers: Vec<Server>,
    /// `balance`
    pub balance: Balance,
    /// `connect-timeout`
    pub connect_timeout: Duration,
    /// `read-timeout`: between two pieces of an answer, and before the first
    pub read_timeout: Duration,
    /// `send-timeout`: between two pieces of a request
    pub send_timeout: Duration,
    /// `upgrade-timeout`: without a byte in either direction of an upgraded connection
    pub upgrade_timeout: Duration,
    /// `max-connections`: at a time, to each server
    pub max_connections: u32,
    /// `keepalive`: idle connections that are kept, to each server
    pub keepalive: u32,
    /// `max-fails` and `fail-timeout`
    pub passive: PassiveCheck,
    /// `slow-start`: how long a server that came back gets less than its share
    pub slow_start: Duration,
    /// `pass-host`: whether servers see the client's `Host`, else their own name
    pub pass_host: bool,
    /// `proxy-protocol`: the version that connections begin with; `None`: they do not
    pub proxy_protocol: Option<ProxyProtocol>,
    /// `root` and `index`
    pub script: Script,
    /// `[upstream.health]`; `None`: servers are not asked
    pub active: Option<ActiveCheck>,
}

/// Which server gets a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Balance {
    /// One after the other, by their weights.
    RoundRobin,
    /// The one with the fewest requests for its weight.
    LeastConn,
    /// The same one for the same client address.
    Client,
    /// The same one for the same value of a header, in lower case.
    Header(String),
    /// The same one for the same value of a cookie.
    Cookie(String),
}

/// When a server is left alone because requests failed there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PassiveCheck {
    /// `max-fails`; 0: never
    pub max_fails: u32,
    /// `fail-timeout`: within which they count, and how long it is left alone then
    pub fail_timeout: Duration,
}

/// A version of the PROXY protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProxyProtocol {
    /// Text.
    V1,
    /// Binary.
    V2,
}

/// What a FastCGI server is told to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Script {
    /// `root`: where the scripts lie; a relative path counts from the site's root, and an empty one is that
    pub root: PathBuf,
    /// `index`: the script of a folder
    pub index: String,
}

/// `[upstream.health]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActiveCheck {
    /// `path`
    pub path: String,
    /// `status`: what is healthy; empty: 200 to 399
    pub status: Vec<u16>,
    /// `interval`: between two questions
    pub interval: Duration,
    /// `timeout`: for one answer
    pub timeout: Duration,
    /// `passes`: good answers in a row that bring a server back
    pub passes: u16,
    /// `fails`: bad ones in a row that take it out
    pub fails: u16,
}

impl Default for Upstream {
    fn default() -> Self {
        Self {
            name: None,
            path: Some("/".to_owned()),
            servers: Vec::new(),
            balance: Balance::RoundRobin,
            connect_timeout: Duration::from_secs(5),
            read_timeout: Duration::from_secs(60),
            send_timeout: Duration::from_secs(60),
            upgrade_timeout: HOUR,
            max_connections: 1024,
            keepalive: 32,
            passive: PassiveCheck { max_fails: 1, fail_timeout: Duration::from_secs(10) },
            slow_start: Duration::ZERO,
            pass_host: true,
            proxy_protocol: None,
            script: Script { root: PathBuf::new(), index: "index.php".to_owned() },
            active: None,
        }
    }
}

impl Default for ActiveCheck {
    fn default() -> Self {
        Self {
            path: "/".to_owned(),
            status: Vec::new(),
            interval: Duration::from_secs(10),
            timeout: Duration::from_secs(5),
            passes: 2,
            fails: 3,
        }
    }
}

impl Upstream {
    /// Whether one of its servers speaks FastCGI.
    pub fn has_scripts(&self) -> bool {
        self.servers.iter().any(|server| server.protocol == Protocol::FastCgi)
    }

    /// The same with the paths that count from a folder below these two.
    #[must_use]
    pub fn resolved(mut self, root: &Path, shared: &Path) -> Self {
        for server in &mut self.servers {
            if let ServerAddress::Unix(path) = &mut server.address {
                *path = shared.join(&path);
            }
            server.ca_file = server.ca_file.take().map(|file| root.join(file));
        }
        self.script.root = root.join(&self.script.root);
        self
    }
}

/// Reads one `[[upstream]]`, which stands at `origin`; `None` where it has no server.
pub(super) fn read(
    mut section: Section,
    origin: &Origin,
    problems: &mut Vec<Problem>,
) -> Option<Upstream> {
    let default = Upstream::default();
    let of_scripts =
        ["root", "index"].map(|key| section.origin_of(key).map(|origin| (key, origin)));
    let name = section.read("name", text(SiteName::parse)).map(|name| name.to_string());
    let path = section.read("path", text(url_prefix));
    let upstream = Upstream {
        // What has a name waits to be called.
        path: path.or(if name.is_none() { default.path } else { None }),
        name,
        servers: read_servers(&mut section, origin, problems),
        balance: section.read("balance", text(balance)).unwrap_or(default.balance),
        connect_timeout: section
            .read("connect-timeout", duration(10 * MS..=HOUR))
            .unwrap_or(default.connect_timeout),
        read_timeout: section
            .read("read-timeout", duration(10 * MS..=DAY))
            .unwrap_or(default.read_timeout),
        send_timeout: section
            .read("send-timeout", duration(10 * MS..=DAY))
            .unwrap_or(default.send_timeout),
        upgrade_timeout: section
            .read("upgrade-timeout", duration(SECOND..=30 * DAY))
            .unwrap_or(default.upgrade_timeout),
        max_connections: section
            .read("max-connections", number(1..=1_000_000))
            .unwrap_or(default.max_connections),
        keepalive: section.read("keepalive", number(0..=65_535)).unwrap_or(default.keepalive),
        passive: PassiveCheck {
            max_fails: section
                .read("max-fails", number(0..=1_000_000))
                .unwrap_or(default.passive.max_fails),
            fail_timeout: section
                .read("fail-timeout", duration(10 * MS..=DAY))
                .unwrap_or(default.passive.fail_timeout),
        },
        slow_start: section
            .read("slow-start", duration(Duration::ZERO..=DAY))
            .unwrap_or(default.slow_start),
        pass_host: section.read("pass-host", truth).unwrap_or(default.pass_host),
        proxy_protocol: section.read("proxy-protocol", text(proxy_protocol)),
        script: Script {
            root: section.read("root", text(script_root)).unwrap_or(default.script.root),
            index: section.read("index", text(script_name)).unwrap_or(default.script.index),
        },
        active: read_health(&mut section, problems),
    };
    let is_without_scripts = !upstream.servers.is_empty() && !upstream.has_scripts();
    for (key, origin) in of_scripts.into_iter().flatten().filter(|_| is_without_scripts) {
        let invalid = Invalid::new("says nothing without a fastcgi:// server")
            .hint("other servers find their files themselves: leave it out");
        section.refuse(key, origin, invalid);
    }
    section.finish(UNSUPPORTED, problems);
    (!upstream.servers.is_empty()).then_some(upstream)
}

fn proxy_protocol(text: &str) -> Result<ProxyProtocol, Invalid> {
    match text {
        "v1" => Ok(ProxyProtocol::V1),
        "v2" => Ok(ProxyProtocol::V2),
        _ => Err(Invalid::new(format!("must be \"v1\" or \"v2\", not \"{text}\""))),
    }
}

/// Written or not is the switch.
fn read_health(upstream: &mut Section, problems: &mut Vec<Problem>) -> Option<ActiveCheck> {
    let was_given = upstream.origin_of("health").is_some();
    let mut section = upstream.section("health");
    let default = ActiveCheck::default();
    let check = ActiveCheck {
        path: section.read("path", text(url_path)).unwrap_or(default.path),
        status: section.read("status", super::check::statuses).unwrap_or(default.status),
        interval: section.read("interval", duration(100 * MS..=HOUR)).unwrap_or(default.interval),
        timeout: section.read("timeout", duration(10 * MS..=HOUR)).unwrap_or(default.timeout),
        passes: section.read("passes", number(1..=100)).unwrap_or(default.passes),
        fails: section.read("fails", number(1..=100)).unwrap_or(default.fails),
    };
    section.finish(NONE, problems);
    was_given.then_some(check)
}

fn balance(text: &str) -> Result<Balance, Invalid> {
    let refused = || {
        Invalid::new(format!("\"{text}\" is not a way to choose a server")).hint(
            "write \"round-robin\", \"least-conn\", \"client\", \"header:NAME\" or \"cookie:NAME\"",
        )
    };
    let is_token = |name: &str| {
        let inside = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        !name.is_empty() && name.bytes().all(inside)
    };
    match text.split_once(':') {
        None if text == "round-robin" => Ok(Balance::RoundRobin),
        None if text == "least-conn" => Ok(Balance::LeastConn),
        None if text == "client" => Ok(Balance::Client),
        Some(("header", name)) if is_token(name) => Ok(Balance::Header(name.to_ascii_lowercase())),
        Some(("cookie", name)) if is_token(name) => Ok(Balance::Cookie(name.to_owned())),
        _ => Err(refused()),
    }
}

/// `public`, or `/srv/www/public`: where that is on another machine nobody here can look.
fn script_root(text: &str) -> Result<PathBuf, Invalid> {
    if !text.starts_with('/') {
        return crate::types::site_path(text);
    }
    if text.contains('\0') || Path::new(text).components().any(|part| part.as_os_str() == "..") {
        return Err(Invalid::new(format!("\"{text}\" is not the path of a folder"))
            .hint("write it without .. and the like"));
    }
    Ok(PathBuf::from(text))
}

fn script_name(text: &str) -> Result<String, Invalid> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    match text.rsplit_once('.') {
        Some((name, extension))
            if !name.is_empty() && !extension.is_empty() && text.chars().all(is_plain) =>
        {
            Ok(text.to_owned())
        }
        _ => Err(Invalid::new(format!("\"{text}\" is not the name of a script"))
            .hint("write the name of a file, with its extension: \"index.php\"")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse_site;
    use proptest::prelude::*;

    fn parsed(text: &str) -> Vec<Upstream> {
        parse_site(text, Path::new("onebox.toml")).unwrap().upstreams
    }

    fn refused(text: &str) -> String {
        parse_site(text, Path::new("onebox.toml")).unwrap_err().to_string()
    }

    #[test]
    fn a_server_alone_has_the_defaults() {
        let servers = vec![Server {
            protocol: Protocol::Http,
            address: ServerAddress::Tcp("127.0.0.1".into(), 3000),
            weight: 1,
            backup: false,
            ca_file: None,
        }];
        let upstream = Upstream { servers, ..Upstream::default() };
        assert_eq!(parsed("[[upstream]]\nto = 'http://127.0.0.1:3000'"), [upstream]);
    }

    #[test]
    fn servers_have_weights_and_backups() {
        let text = "[[upstream]]\nto = ['uwsgi://unix:run/a.sock', { server = 'http://b:1', weight = 3, backup = true }]";
        let servers = &parsed(text)[0].servers;
        assert_eq!(servers[0].address, ServerAddress::Unix("run/a.sock".into()));
        assert_eq!((servers[1].weight, servers[1].backup), (3, true));
    }

    #[test]
    fn a_health_section_switches_active_checks_on() {
        let text = "[[upstream]]\nto = 'http://a'\n[upstream.health]\npath = '/up'\n[[upstream]]\npath = '/b'\nto = 'http://b'";
        let [first, second] = &parsed(text)[..] else { panic!("two") };
        assert_eq!(first.active.as_ref().map(|check| check.path.as_str()), Some("/up"));
        assert_eq!(second.active, None);
    }

    #[test]
    fn relative_sockets_count_from_the_shared_folder_and_scripts_from_the_root() {
        let text = "[[upstream]]\nto = ['fastcgi://unix:run/php.sock', 'fastcgi://unix:/run/php.sock']\nroot = 'public'";
        let upstream = parsed(text).remove(0).resolved(Path::new("/app"), Path::new("/shared"));
        let shown: Vec<_> = upstream.servers.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["fastcgi://unix:/shared/run/php.sock", "fastcgi://unix:/run/php.sock"]);
        assert_eq!(upstream.script.root, Path::new("/app/public"));
    }

    #[test]
    fn a_file_of_authorities_is_for_all_https_servers_without_one_of_their_own() {
        let text = "[[upstream]]\nto = ['https://a', { server = 'https://b', ca-file = '/etc/b.pem' }, 'http://c']\nca-file = 'ca.pem'";
        let upstream = parsed(text).remove(0).resolved(Path::new("/app"), Path::new("/shared"));
        let files: Vec<_> = upstream.servers.iter().map(|server| server.ca_file.clone()).collect();
        assert_eq!(files, [Some("/app/ca.pem".into()), Some("/etc/b.pem".into()), None]);
    }

    #[test]
    fn what_can_not_be_is_told() {
        for (text, part) in [
            ("[[upstream]]\npath = '/a'", "`upstream.to`: is missing"),
            ("[[upstream]]\nto = []", "names no server"),
            ("[[upstream]]\nto = 'http://a'\nca-file = 'ca.pem'", "without an https://"),
            (
                "[[upstream]]\nto = [{ server = 'http://a', ca-file = 'ca.pem' }]",
                "without an https://",
            ),
            ("[[upstream]]\nto = 'https://a'\nca-file = '../ca.pem'", "leads out"),
            ("[[upstream]]\nto = 'http://a'\nroot = 'public'", "without a fastcgi://"),
            ("[[upstream]]\nto = ['http://a', 'http://a:80']", "twice"),
            ("[[upstream]]\nto = [{ server = 'http://a', backup = true }]", "nothing but backups"),
            ("[[upstream]]\nto = [{ weight = 2 }]", "`upstream.to.server`: is missing"),
            ("[[upstream]]\nto = 'http://a'\n[[upstream]]\nto = 'http://b'", "already"),
            ("[upstream]\nto = 7", "must be a list of texts or tables"),
            ("upstream = 'http://a'", "must be a table"),
            ("module = 'a:b'\n[[upstream]]\nto = 'http://a'", "never be asked"),
        ] {
            let told = refused(text);
            assert!(told.contains(part), "{text}\n{told}");
        }
    }

    proptest! {
        #[test]
        fn no_value_of_any_key_makes_the_reader_panic(
            key in "path|to|ca-file|balance|connect-timeout|max-fails|pass-host|root|index|health|keepalive",
            value in "-?[0-9]{1,19}|\"[^\"\\\\\n]{0,20}\"|true|\\[(1|\"http://a\"|\\[\\]|\\{ server = 1 \\})\\]|\\{ a = 1 \\}",
        ) {
            let _ = parse_site(&format!("[[upstream]]\n{key} = {value}\n"), Path::new("f"));
        }
    }
}
