//! The box's configuration: its sources merged, then each key read and checked.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;

use super::merge::merge;
use super::sources::{Surroundings, User, flag_settings};
use super::{
    AccessLists, AcmeSettings, BOX_FILE, BoxConfig, BoxFlags, ClientHeader, Clients, Limits,
    MetricsSettings,
};
use crate::section::{NONE, Section, Unsupported};
use crate::types::{
    HostName, Invalid, addresses, duration, network, number, size, text, truth, user,
};
use crate::value::{Table, Value};
use crate::{Account, ConfigError, Problem, document};

const KB: u64 = 1 << 10;
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
const YEAR: Duration = Duration::from_secs(365 * 86_400);

/// Sections of later versions.
const UNSUPPORTED: &Unsupported = &Unsupported { later: &["alerts", "backup"], foreign: &[] };

pub(super) fn load(flags: BoxFlags, surroundings: &Surroundings) -> Result<BoxConfig, ConfigError> {
    let state_dir = surroundings.state_dir(&flags)?;
    let config_dir = surroundings.config_dir(&flags)?;
    let file = read_file(&config_dir.join(BOX_FILE))?;
    let merged = merge([file, surroundings.settings(), flag_settings(&flags)]);
    let mut problems = Vec::new();
    let mut top = Section::top(merged);
    let listen = read_listen(top.section("listen"), surroundings, &mut problems);
    let config = BoxConfig {
        state_dir,
        config_dir,
        http: listen.http,
        https: listen.https,
        admin: listen.admin,
        admin_hosts: listen.admin_hosts,
        clients: listen.clients,
        access: read_access(top.section("access"), &mut problems),
        acme: read_acme(top.section("acme"), &mut problems),
        limits: Limits { http2: listen.http2, ..read_limits(top.section("limits"), &mut problems) },
        metrics: read_metrics(top.section("metrics"), &mut problems),
        user: read_user(top.section("process"), surroundings, &mut problems),
        tls_folders: read_tls_folders(top.section("tls"), &mut problems),
        log_budget: read_log_budget(top.section("log"), &mut problems),
        keep_releases: read_keep(top.section("releases"), &mut problems),
    };
    top.finish(UNSUPPORTED, &mut problems);
    if problems.is_empty() {
        return Ok(config);
    }
    problems.sort_by_key(Problem::line);
    Err(ConfigError { problems })
}

fn read_file(path: &Path) -> Result<Table, ConfigError> {
    match document::read(path)? {
        Some(text) => document::parse(&text, path).map_err(|problems| ConfigError { problems }),
        None => Ok(Table::new()),
    }
}

struct Listen {
    clients: Clients,
    http: Vec<SocketAddr>,
    https: Vec<SocketAddr>,
    admin: Vec<SocketAddr>,
    admin_hosts: Vec<String>,
    http2: bool,
}

fn read_listen(
    mut section: Section,
    surroundings: &Surroundings,
    problems: &mut Vec<Problem>,
) -> Listen {
    let addresses = addresses(surroundings.families);
    let parse = |text: &str| if text == NOWHERE { Ok(Vec::new()) } else { addresses(text) };
    // Whoever says where sites are served does not expect them anywhere else.
    let is_moved = section.origin_of("http").is_some();
    let mut read = |key: &'static str, default: &str| {
        let given = section.read_texts(key, parse).map(|lists| lists.concat());
        // The default is an address of ours, which the parser takes.
        given.unwrap_or_else(|| parse(default).unwrap_or_default())
    };
    let http = read("http", default_http(surroundings.user));
    let https = read("https", if is_moved { NOWHERE } else { default_https(surroundings.user) });
    let admin = read("admin", DEFAULT_ADMIN);
    let admin_hosts = section.read_texts("admin-hosts", hosts).unwrap_or_default().concat();
    let http2 = section.read("http2", switch).unwrap_or(Limits::default().http2);
    let clients = read_clients(&mut section);
    section.finish(NONE, problems);
    Listen { http, https, admin, admin_hosts, http2, clients }
}

fn hosts(text: &str) -> Result<Vec<String>, Invalid> {
    text.split(',').map(|host| HostName::parse(host.trim()).map(HostName::into_string)).collect()
}

/// No address at all.
const NOWHERE: &str = "none";
const DEFAULT_ADMIN: &str = "127.0.0.1:8081";

fn read_clients(section: &mut Section) -> Clients {
    let default = Clients::default();
    let details = ["client-header", "proxy-protocol"]
        .map(|key| section.origin_of(key).map(|origin| (key, origin)));
    let trusted_proxies = read_networks(section, "trusted-proxies");
    let clients = Clients {
        trusted_proxies,
        header: section.read("client-header", text(client_header)).unwrap_or(default.header),
        proxy_protocol: section.read("proxy-protocol", switch).unwrap_or(default.proxy_protocol),
    };
    if clients.trusted_proxies.is_empty() {
        for (key, origin) in details.into_iter().flatten() {
            let invalid = Invalid::new("says nothing without `trusted-proxies`");
            section.refuse(key, origin, invalid.hint("name the proxies that are believed"));
        }
    }
    clients
}

fn read_networks(section: &mut Section, key: &'static str) -> Vec<IpNet> {
    let networks = |text: &str| text.split(',').map(|part| network(part.trim())).collect();
    let lists: Option<Vec<Vec<IpNet>>> = section.read_texts(key, networks);
    lists.unwrap_or_default().concat()
}

fn read_access(mut section: Section, problems: &mut Vec<Problem>) -> AccessLists {
    let access = AccessLists {
        allow: read_networks(&mut section, "allow"),
        deny: read_networks(&mut section, "deny"),
    };
    section.finish(NONE, problems);
    access
}

/// `true` or `false`; a variable of the environment can only be a text.
fn switch(value: &Value) -> Result<bool, Invalid> {
    match value {
        Value::Text(text) if text == "true" => Ok(true),
        Value::Text(text) if text == "false" => Ok(false),
        other => truth(other),
    }
}

fn client_header(text: &str) -> Result<ClientHeader, Invalid> {
    match text.to_ascii_lowercase().as_str() {
        "x-forwarded" => Ok(ClientHeader::XForwarded),
        "forwarded" => Ok(ClientHeader::Forwarded),
        _ => Err(Invalid::new(format!("must be \"x-forwarded\" or \"forwarded\", not \"{text}\""))),
    }
}

fn default_http(user: User) -> &'static str {
    match user {
        User::Root => ":80",
        User::Other => ":8080",
    }
}

fn default_https(user: User) -> &'static str {
    match user {
        User::Root => ":443",
        User::Other => ":8443",
    }
}

fn read_acme(mut section: Section, problems: &mut Vec<Problem>) -> AcmeSettings {
    let default = AcmeSettings::default();
    let settings = AcmeSettings {
        directory: section.read("directory", text(directory)).unwrap_or(default.directory),
        email: section.read("email", text(email)),
        ca_file: section.read("ca-file", text(absolute)),
        retry: section.read("retry", duration(SECOND..=24 * HOUR)).unwrap_or(default.retry),
    };
    section.finish(NONE, problems);
    settings
}

fn directory(text: &str) -> Result<Option<String>, Invalid> {
    let is_address =
        text.starts_with("https://") && text.bytes().all(|byte| byte.is_ascii_graphic());
    match text {
        NOWHERE => Ok(None),
        _ if is_address => Ok(Some(text.to_owned())),
        _ => Err(Invalid::new(format!("\"{text}\" is not the address of an ACME directory"))
            .hint("it begins with https://; \"none\" asks no authority")),
    }
}

fn email(text: &str) -> Result<String, Invalid> {
    let is_address = text.split_once('@').is_some_and(|(user, host)| {
        !user.is_empty() && host.contains('.') && text.bytes().all(|byte| byte.is_ascii_graphic())
    });
    match is_address {
        true => Ok(text.to_owned()),
        false => Err(Invalid::new(format!("\"{text}\" is not an e-mail address"))),
    }
}

fn absolute(text: &str) -> Result<PathBuf, Invalid> {
    let path = Path::new(text);
    match path.is_absolute() {
        true => Ok(path.to_owned()),
        false => Err(Invalid::new(format!("\"{text}\" is not an absolute path"))
            .hint("the appliance may run in any folder")),
    }
}

fn read_limits(mut section: Section, problems: &mut Vec<Problem>) -> Limits {
    let default = Limits::default();
    let waiting = || duration(SECOND..=HOUR);
    let bytes = |section: &mut Section, key, default: usize| {
        let read = section.read(key, size(KB..=1024 * KB));
        read.map_or(default, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX))
    };
    let limits = Limits {
        max_connections: section
            .read("max-connections", connections)
            .unwrap_or(default.max_connections),
        max_connections_per_client: section.read("max-connections-per-client", connections),
        max_memory_bytes: section.read("max-memory", size(64 * 1024 * KB..=1 << 40)),
        header_timeout: section.read("header-timeout", waiting()).unwrap_or(default.header_timeout),
        body_timeout: section.read("body-timeout", waiting()).unwrap_or(default.body_timeout),
        idle_timeout: section.read("idle-timeout", waiting()).unwrap_or(default.idle_timeout),
        send_timeout: section.read("send-timeout", waiting()).unwrap_or(default.send_timeout),
        drain_timeout: section
            .read("drain-timeout", duration(Duration::ZERO..=24 * HOUR))
            .unwrap_or(default.drain_timeout),
        max_head_bytes: bytes(&mut section, "max-head", default.max_head_bytes),
        max_target_bytes: bytes(&mut section, "max-target", default.max_target_bytes),
        http2: default.http2,
        max_streams: section
            .read("max-streams", number(1_u32..=1000))
            .unwrap_or(default.max_streams),
    };
    section.finish(NONE, problems);
    limits
}

fn read_metrics(mut section: Section, problems: &mut Vec<Problem>) -> MetricsSettings {
    let default = MetricsSettings::default();
    let sizes = 4 * 1024 * KB..=1 << 40;
    let metrics = MetricsSettings {
        keep: section.read("keep", duration(HOUR..=10 * YEAR)).unwrap_or(default.keep),
        max_bytes: section.read("max-size", size(sizes)).unwrap_or(default.max_bytes),
    };
    section.finish(NONE, problems);
    metrics
}

fn connections(value: &Value) -> Result<usize, Invalid> {
    number(1_u32..=1_000_000)(value).map(|count| usize::try_from(count).unwrap_or(usize::MAX))
}

/// Whom root's appliance runs its engine and sites as, where the machine knows it.
const USER: &str = "onebox";
/// Else this number, which neither Debian nor systemd gives to anybody (Debian Policy §9.2.2; systemd, "Users, Groups, UIDs
/// and GIDs").
const UNNAMED: u32 = 65_530;

/// An appliance that is not root's can't make anything run as another user.
fn read_user(
    mut section: Section,
    surroundings: &Surroundings,
    problems: &mut Vec<Problem>,
) -> Option<Account> {
    let given = section.read("user", user);
    section.finish(NONE, problems);
    let default = || match surroundings.user {
        User::Root => {
            let unnamed = || Account::of_numbers(UNNAMED, UNNAMED);
            Some(Account::find(USER).unwrap_or_else(unnamed))
        }
        User::Other => None,
    };
    given.or_else(default)
}

fn read_tls_folders(mut section: Section, problems: &mut Vec<Problem>) -> Vec<PathBuf> {
    let folders = |text: &str| text.split(',').map(|part| absolute(part.trim())).collect();
    let lists: Option<Vec<Vec<PathBuf>>> = section.read_texts("folders", folders);
    section.finish(NONE, problems);
    lists.unwrap_or_default().concat()
}

fn read_log_budget(mut section: Section, problems: &mut Vec<Problem>) -> u64 {
    let sizes = 10 * 1024 * KB..=1 << 40;
    let budget = section.read("budget", size(sizes)).unwrap_or(1 << 30);
    section.finish(NONE, problems);
    budget
}

fn read_keep(mut section: Section, problems: &mut Vec<Problem>) -> usize {
    let keep = section.read("keep", number(1_u16..=1000)).map_or(5, usize::from);
    section.finish(NONE, problems);
    keep
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Origin;
    use crate::types::Families;

    fn surroundings(user: User, variables: &[(&str, &str)]) -> Surroundings {
        let variables =
            variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Surroundings { variables: variables.collect(), user, families: Families::Both }
    }

    fn shown(addresses: &[SocketAddr]) -> Vec<String> {
        addresses.iter().map(ToString::to_string).collect()
    }

    /// A folder with a `box.toml`, and the flag that names it.
    fn folder_with(text: &str) -> (tempfile::TempDir, BoxFlags) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(BOX_FILE), text).unwrap();
        let config_dir = Some(folder.path().to_owned());
        (folder, BoxFlags { config_dir, ..BoxFlags::default() })
    }

    #[test]
    fn root_gets_the_folders_and_the_port_of_the_system() {
        let folder = tempfile::tempdir().unwrap();
        let flags = BoxFlags { config_dir: Some(folder.path().to_owned()), ..BoxFlags::default() };
        let config = load(flags, &surroundings(User::Root, &[("HOME", "/root")])).unwrap();
        assert_eq!(config.state_dir, Path::new("/var/lib/onebox"));
        assert_eq!(shown(&config.http), ["[::]:80"]);
        assert_eq!(shown(&config.https), ["[::]:443"]);
        assert_eq!(shown(&config.admin), ["127.0.0.1:8081"]);
        assert_eq!(config.keep_releases, 5);
        assert!(config.user.is_some_and(|user| user.uid != 0), "nothing of a site runs as root");
    }

    #[test]
    fn anyone_else_gets_folders_below_home_and_a_port_above_1024() {
        let config =
            load(BoxFlags::default(), &surroundings(User::Other, &[("HOME", "/nonexistent")]))
                .unwrap();
        assert_eq!(config.state_dir, Path::new("/nonexistent/.local/state/onebox"));
        assert_eq!(config.config_dir, Path::new("/nonexistent/.config/onebox"));
        assert_eq!(shown(&config.http), ["[::]:8080"]);
        assert_eq!(shown(&config.https), ["[::]:8443"]);
        assert_eq!(config.user, None);
    }

    #[test]
    fn xdg_variables_move_the_folders_unless_they_are_relative() {
        let set = [
            ("HOME", "/nonexistent"),
            ("XDG_STATE_HOME", "/state"),
            ("XDG_CONFIG_HOME", "relative"),
        ];
        let config = load(BoxFlags::default(), &surroundings(User::Other, &set)).unwrap();
        assert_eq!(config.state_dir, Path::new("/state/onebox"));
        assert_eq!(config.config_dir, Path::new("/nonexistent/.config/onebox"));
    }

    #[test]
    fn without_any_folder_the_error_says_what_to_set() {
        let error = load(BoxFlags::default(), &surroundings(User::Other, &[])).unwrap_err();
        assert_eq!(error.problems[0].hint.as_deref(), Some("set ONEBOX_STATE_DIR"));
    }

    #[test]
    fn a_flag_wins_over_a_variable_and_a_variable_over_the_file() {
        let (_folder, mut flags) = folder_with("[listen]\nhttp = ':1'\nadmin = '127.0.0.1:1'\n");
        let set = [
            ("HOME", "/nonexistent"),
            ("ONEBOX_HTTP", "127.0.0.1:2"),
            ("ONEBOX_ADMIN", "127.0.0.1:2"),
        ];
        let surroundings = surroundings(User::Other, &set);
        let config = load(flags.clone(), &surroundings).unwrap();
        assert_eq!(shown(&config.http), ["127.0.0.1:2"]);
        flags.http = Some("127.0.0.1:3".to_owned());
        let config = load(flags, &surroundings).unwrap();
        assert_eq!(shown(&config.http), ["127.0.0.1:3"]);
        assert_eq!(shown(&config.admin), ["127.0.0.1:2"]);
    }

    #[test]
    fn a_variable_of_one_key_leaves_the_files_other_keys() {
        let (_folder, flags) = folder_with("[limits]\nmax-head = '8KB'\nmax-target = '4KB'\n");
        let set = [
            ("HOME", "/nonexistent"),
            ("ONEBOX_LIMITS__MAX_HEAD", "16384"),
            ("ONEBOX_LIMITS__MAX_CONNECTIONS", "7"),
        ];
        let limits = load(flags, &surroundings(User::Other, &set)).unwrap().limits;
        assert_eq!(
            (limits.max_head_bytes, limits.max_target_bytes, limits.max_connections),
            (16_384, 4096, 7)
        );
    }

    #[test]
    fn http_2_is_spoken_unless_it_is_switched_off() {
        let limits = |text: &str| {
            let (_folder, flags) = folder_with(text);
            load(flags, &surroundings(User::Root, &[])).map(|config| config.limits)
        };
        let default = limits("").unwrap();
        assert_eq!((default.http2, default.max_streams), (true, 128));
        let set = limits("[listen]\nhttp2 = false\n[limits]\nmax-streams = 7\n").unwrap();
        assert_eq!((set.http2, set.max_streams), (false, 7));
        let error = limits("[listen]\nhttp2 = 'on'\n[limits]\nmax-streams = 0\n").unwrap_err();
        let keys: Vec<_> = error.problems.iter().map(|problem| problem.key.as_str()).collect();
        assert_eq!(keys, ["listen.http2", "limits.max-streams"], "{error}");
    }

    #[test]
    fn who_says_where_sites_are_served_has_them_nowhere_else() {
        for (text, https) in [
            ("http = ':1'", &[][..]),
            ("http = ':1'\nhttps = '127.0.0.1:2'", &["127.0.0.1:2"]),
            ("https = 'none'", &[]),
            ("https = []", &[]),
            ("admin = 'none'", &["[::]:8443"]),
        ] {
            let (_folder, flags) = folder_with(&format!("[listen]\n{text}"));
            let surroundings = surroundings(User::Other, &[("HOME", "/nonexistent")]);
            assert_eq!(shown(&load(flags, &surroundings).unwrap().https), https, "{text}");
        }
    }

    #[test]
    fn addresses_may_be_a_list() {
        let (_folder, flags) =
            folder_with("[listen]\nhttp = ['127.0.0.1:1', '127.0.0.1:2,[::1]:3']\n");
        let config = load(flags, &surroundings(User::Root, &[])).unwrap();
        assert_eq!(shown(&config.http), ["127.0.0.1:1", "127.0.0.1:2", "[::1]:3"]);
    }

    #[test]
    fn names_of_the_dashboard_are_host_names() {
        let (_folder, flags) =
            folder_with("[listen]\nadmin-hosts = 'Admin.example.com, box.lan'\n");
        let config = load(flags, &surroundings(User::Root, &[])).unwrap();
        assert_eq!(config.admin_hosts, ["admin.example.com", "box.lan"]);
        let (_folder, flags) =
            folder_with("[listen]\nadmin-hosts = ['https://a.example', 'b:1']\n");
        let error = load(flags, &surroundings(User::Root, &[])).unwrap_err();
        let keys: Vec<_> = error.problems.iter().map(|problem| problem.key.as_str()).collect();
        assert_eq!(keys, ["listen.admin-hosts"; 2], "{error}");
    }

    #[test]
    fn problems_of_every_source_are_told_at_once_each_with_its_place() {
        let (_folder, mut flags) =
            folder_with("[limits]\nmax-head = '1B'\n\n[relases]\nkeep = 3\n");
        flags.admin = Some("nowhere".to_owned());
        let set =
            [("HOME", "/nonexistent"), ("ONEBOX_LIMITS__IDLE_TIMEOUT", "75"), ("ONEBOX_FDS", "{}")];
        let error = load(flags, &surroundings(User::Other, &set)).unwrap_err();
        let told: Vec<_> =
            error.problems.iter().map(|problem| (problem.key.as_str(), problem.line())).collect();
        let expected = [
            ("listen.admin", None),
            ("limits.idle-timeout", None),
            ("limits.max-head", Some(2)),
            ("relases", Some(4)),
        ];
        assert_eq!(told, expected, "{error}");
        assert_eq!(error.problems[0].origin, Origin::Flag("--admin".to_owned()));
        assert_eq!(
            error.problems[1].origin,
            Origin::Variable("ONEBOX_LIMITS__IDLE_TIMEOUT".to_owned())
        );
        assert_eq!(error.problems[3].hint.as_deref(), Some("did you mean `releases`?"));
    }

    #[test]
    fn an_authority_is_an_address_or_none() {
        let acme = |text: &str| {
            let (_folder, flags) = folder_with(&format!("[acme]\n{text}"));
            load(flags, &surroundings(User::Root, &[])).map(|config| config.acme)
        };
        assert_eq!(acme("").unwrap(), AcmeSettings::default());
        assert_eq!(acme("directory = 'none'").unwrap().directory, None);
        for wrong in
            ["directory = 'http://a.org'", "email = 'a.org'", "ca-file = 'a.pem'", "retry = '0s'"]
        {
            acme(wrong).unwrap_err();
        }
    }

    #[test]
    fn whom_sites_run_as_is_a_user_that_can_be() {
        let user = |text: &str| {
            let (_folder, flags) = folder_with(&format!("[process]\nuser = {text}"));
            load(flags, &surroundings(User::Root, &[])).map(|config| config.user)
        };
        assert_eq!(user("'root'").unwrap(), Account::find("root"));
        assert_eq!(user("4711000").unwrap(), Some(Account::of_numbers(4_711_000, 4_711_000)));
        for wrong in ["'nobody-has-this-name'", "-1", "'4294967295'", "true", "''"] {
            assert_eq!(user(wrong).unwrap_err().problems[0].line(), Some(2), "{wrong}");
        }
    }

    #[test]
    fn folders_of_certificates_are_absolute() {
        let folders = |text: &str| {
            let (_folder, flags) = folder_with(&format!("[tls]\nfolders = {text}"));
            load(flags, &surroundings(User::Root, &[])).map(|config| config.tls_folders)
        };
        assert_eq!(folders("['/a', '/b']").unwrap(), [Path::new("/a"), Path::new("/b")]);
        assert_eq!(folders("'a'").unwrap_err().problems[0].key, "tls.folders");
    }

    #[test]
    fn what_is_kept_of_the_past_has_limits() {
        let (_folder, flags) = folder_with("[metrics]\nkeep = '2d'\nmax-size = '8MB'\n");
        let metrics = load(flags, &surroundings(User::Root, &[])).unwrap().metrics;
        let expected = MetricsSettings { keep: 48 * HOUR, max_bytes: 8 << 20 };
        assert_eq!(metrics, expected);
        let (_folder, flags) = folder_with("[metrics]\nkeep = '59m'\nmax-size = '3MB'\n");
        let error = load(flags, &surroundings(User::Root, &[])).unwrap_err();
        let keys: Vec<_> = error.problems.iter().map(|problem| problem.key.as_str()).collect();
        assert_eq!(keys, ["metrics.keep", "metrics.max-size"], "{error}");
    }

    #[test]
    fn sections_of_later_versions_are_refused() {
        let (_folder, flags) =
            folder_with("[backup]\nto = '/mnt'\n[alerts]\nemail = 'me@example.com'\n");
        let error = load(flags, &surroundings(User::Root, &[])).unwrap_err();
        assert_eq!(error.problems.len(), 2);
        assert!(
            error
                .problems
                .iter()
                .all(|problem| problem.message.contains("not supported by this version"))
        );
    }
}
