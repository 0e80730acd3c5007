//! From `onebox.toml` as typed to [`SiteConfig`]: each key read, checked, and every problem collected.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::log;
use super::process;
use super::route;
use super::tls;
use super::upstream::{self, Upstream};
use super::{
    Application, HealthCheck, IsolationChoice, ProcessLimits, Processes, PythonChoice, SiteConfig,
    SocketAddress, UwsgiSockets,
};
use crate::ConfigError;
use crate::Problem;
use crate::section::{NONE, Section, Unsupported};
use crate::types::{
    Families, HostName, Invalid, SiteName, duration, mode, module, must_be, network, number, owner,
    site_path, size, size_text, socket, text, unprotected, url_path, url_prefix, wsgi_file,
};
use crate::value::{Table, Value};

/// What the length field of a uwsgi packet can say: `buffer-size = "64KB"` ends one byte earlier.
pub(super) const LARGEST_PACKET_BYTES: u64 = 65_535;

const KB: u64 = 1 << 10;
const MB: u64 = 1 << 20;
const GB: u64 = 1 << 30;
const TB: u64 = 1 << 40;
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

/// Keys of later versions, and what uWSGI, gunicorn and nginx call things.
const UNSUPPORTED: &Unsupported = &Unsupported {
    later: &["chroot", "cron"],
    foreign: &[
        ("listen", "queue-size", "uWSGI"),
        ("backlog", "queue-size", "gunicorn"),
        ("workers", "processes", "gunicorn"),
        ("timeout", "harakiri", "gunicorn"),
        ("max-worker-lifetime", "max-lifetime", "uWSGI"),
        ("max-requests-delta", "max-requests", "uWSGI"),
        ("max-requests-jitter", "max-requests", "gunicorn"),
        ("evil-reload-on-rss", "memory-limit", "uWSGI"),
        ("graceful-timeout", "reload-mercy", "gunicorn"),
        ("worker-reload-mercy", "reload-mercy", "uWSGI"),
        ("static-map", "[static]", "uWSGI"),
        ("client-max-body-size", "max-body", "nginx"),
        ("limit-post", "max-body", "uWSGI"),
        ("client-body-buffer-size", "post-buffering", "nginx"),
        ("server-name", "domains", "nginx"),
        ("virtualenv", "python", "uWSGI"),
        ("home", "python", "uWSGI"),
        ("location", "[[route]]", "nginx"),
        ("rewrite", "[[route]]", "nginx"),
        ("error-page", "[errors]", "nginx"),
        ("auth-basic", "[auth]", "nginx"),
        ("autoindex", "listing", "nginx"),
        ("proxy-cache", "[cache]", "nginx"),
        ("uwsgi-cache", "[cache]", "nginx"),
        ("add-header", "[headers]", "nginx"),
        ("access-log", "[log]", "nginx"),
        ("accesslog", "[log]", "gunicorn"),
        ("log-format", "format under [log]", "uWSGI"),
        ("user", "uid", "gunicorn"),
        ("group", "gid", "gunicorn"),
        ("max-fd", "limit-nofile", "uWSGI"),
        ("prio", "nice", "uWSGI"),
        ("callable", "module = \"package.module:callable\"", "uWSGI"),
    ],
};

/// Checks everything a site's file says.
pub(super) fn check(table: Table) -> Result<SiteConfig, ConfigError> {
    let mut problems = Vec::new();
    let config = read_site(Section::top(table), &mut problems);
    if problems.is_empty() {
        return Ok(config);
    }
    problems.sort_by_key(Problem::line);
    Err(ConfigError { problems })
}

fn read_site(mut top: Section, problems: &mut Vec<Problem>) -> SiteConfig {
    let default = SiteConfig::default();
    let isolation_origin = top.origin_of("isolation");
    let application_origin = top.origin_of("module").or_else(|| top.origin_of("wsgi-file"));
    let domains = read_domains(&mut top);
    let upstreams = read_upstreams(&mut top, problems);
    let config = SiteConfig {
        name: top.read("name", text(SiteName::parse)).map(|name| name.to_string()),
        application: read_application(&mut top),
        python: top.read("python", python),
        isolation: top.read("isolation", text(isolation)).unwrap_or_default(),
        processes: top.read("processes", processes).unwrap_or(default.processes),
        threads: top.read("threads", number(1..=1000)).unwrap_or(default.threads),
        idle: top.read("idle", duration(SECOND..=30 * DAY)),
        process_limits: read_process_limits(&mut top),
        harakiri: top.read("harakiri", duration(SECOND / 10..=DAY)).unwrap_or(default.harakiri),
        harakiri_grace: top
            .read("harakiri-grace", duration(Duration::ZERO..=HOUR))
            .unwrap_or(default.harakiri_grace),
        deadlock_timeout: top
            .read("deadlock-timeout", duration(SECOND..=HOUR))
            .unwrap_or(default.deadlock_timeout),
        reload_mercy: top
            .read("reload-mercy", duration(Duration::ZERO..=HOUR))
            .unwrap_or(default.reload_mercy),
        queue_size: top.read("queue-size", number(1..=65_535)).unwrap_or(default.queue_size),
        buffer_size: top
            .read("buffer-size", size(4 * KB..=64 * KB))
            .map_or(default.buffer_size, |bytes| bytes.min(LARGEST_PACKET_BYTES)),
        post_buffering: top.read("post-buffering", size(KB..=GB)).unwrap_or(default.post_buffering),
        max_body: top.read("max-body", size(KB..=TB)).unwrap_or(default.max_body),
        response_buffering: top
            .read("response-buffering", size(4 * KB..=GB))
            .unwrap_or(default.response_buffering),
        max_temp_file: top.read("max-temp-file", size(0..=TB)).unwrap_or(default.max_temp_file),
        sockets: read_sockets(&mut top),
        persist: read_persist(&mut top),
        sendfile: read_static(top.section("sendfile"), problems),
        process: process::read(&mut top),
        static_folders: read_static(top.section("static"), problems),
        env: read_env(top.section("env"), problems),
        health: read_health(top.section("health"), problems),
        release_hooks: read_hooks(top.section("hooks"), problems),
        routing: route::read(&mut top, &domains, &upstreams, problems),
        upstreams,
        domains,
        tls: tls::read(top.section("tls"), problems),
        log: log::read(top.section("log"), problems),
        path: top.read("path", text(mount)).unwrap_or_default(),
    };
    if let (Some(origin), true) = (
        application_origin,
        config.upstreams.iter().any(|upstream| upstream.path.as_deref() == Some("/")),
    ) {
        let invalid = Invalid::new("would never be asked: an upstream has every path")
            .hint("give the upstream a `path` of its own, or leave out the application");
        top.refuse("module", origin, invalid);
    }
    if let (IsolationChoice::Embedded, Some(setting), Some(origin)) =
        (config.isolation, config.own_processes().first(), isolation_origin)
    {
        let invalid = Invalid::new(format!(
            "can't be \"embedded\" beside {setting}: it needs a process of the site's own"
        ))
        .hint("leave out one of the two");
        top.refuse("isolation", origin, invalid);
    }
    top.finish(UNSUPPORTED, problems);
    config
}

/// In the order of the file; of two with the same path or name only one could ever answer.
fn read_upstreams(top: &mut Section, problems: &mut Vec<Problem>) -> Vec<Upstream> {
    let mut upstreams: Vec<Upstream> = Vec::new();
    for (section, origin) in top.sections("upstream") {
        let Some(upstream) = upstream::read(section, &origin, problems) else { continue };
        let is_new = |earlier: &Upstream| {
            (earlier.path.is_none() || earlier.path != upstream.path)
                && (earlier.name.is_none() || earlier.name != upstream.name)
        };
        if !upstreams.iter().all(is_new) {
            let shown = upstream.path.as_ref().or(upstream.name.as_ref());
            let shown = shown.map_or("/", String::as_str);
            let invalid = Invalid::new(format!("\"{shown}\" has an upstream already"))
                .hint("name all servers in one `to`: they share the work");
            top.refuse("upstream", origin, invalid);
            continue;
        }
        upstreams.push(upstream);
    }
    upstreams
}

fn read_domains(top: &mut Section) -> Vec<String> {
    let mut domains: Vec<String> = Vec::new();
    let hosts = top.read_texts("domains", HostName::parse_domain).unwrap_or_default();
    for host in hosts.into_iter().map(HostName::into_string) {
        if !domains.contains(&host) {
            domains.push(host);
        }
    }
    domains
}

fn read_application(top: &mut Section) -> Option<Application> {
    let both = top.origin_of("module").and(top.origin_of("wsgi-file"));
    let module = top.read("module", text(module)).map(Application::Module);
    let file = top
        .read("wsgi-file", text(wsgi_file))
        .map(|(file, callable)| Application::File(file, callable));
    if let Some(origin) = both {
        let invalid = Invalid::new("can't stand beside `module`: both name the application");
        top.refuse("wsgi-file", origin, invalid.hint("leave out one of the two"));
    }
    module.or(file)
}

fn read_process_limits(top: &mut Section) -> ProcessLimits {
    let origin = top.origin_of("reload-on-rss");
    let limits = ProcessLimits {
        max_requests: top.read("max-requests", number(1..=1_000_000_000)),
        max_lifetime: top.read("max-lifetime", duration(SECOND..=30 * DAY)),
        reload_on_rss: top.read("reload-on-rss", size(MB..=TB)),
        memory_limit: top.read("memory-limit", size(MB..=TB)),
    };
    if let (Some(soft), Some(hard), Some(origin)) =
        (limits.reload_on_rss, limits.memory_limit, origin)
        && soft >= hard
    {
        let message = format!(
            "is never reached: at {} the process is killed (`memory-limit`)",
            size_text(hard)
        );
        let hint = "let it be smaller than `memory-limit`, or leave out one of the two";
        top.refuse("reload-on-rss", origin, Invalid::new(message).hint(hint));
    }
    limits
}

fn read_sockets(top: &mut Section) -> UwsgiSockets {
    let default = UwsgiSockets::default();
    let origin = top.origin_of("socket");
    let details = ["chmod-socket", "chown-socket", "socket-allow"]
        .map(|key| top.origin_of(key).map(|origin| (key, origin)));
    let mut addresses = Vec::new();
    for address in top
        .read_texts("socket", socket(Families::of_this_machine()))
        .unwrap_or_default()
        .into_iter()
        .flatten()
    {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    let mode = top.read("chmod-socket", mode).unwrap_or(default.mode);
    let owner = top.read("chown-socket", text(owner));
    let mut allow = top.read_texts("socket-allow", network).unwrap_or_default();
    allow.sort();
    allow.dedup();
    match origin {
        None => {
            for (key, origin) in details.into_iter().flatten() {
                let invalid = Invalid::new("says nothing without `socket`");
                top.refuse(key, origin, invalid.hint("add `socket`, or leave it out"));
            }
        }
        Some(origin) if allow.is_empty() => {
            let mut open = addresses.iter().filter_map(|address| match address {
                SocketAddress::Tcp(address) if !address.ip().is_loopback() => Some(*address),
                _ => None,
            });
            if let Some(address) = open.next() {
                top.refuse("socket", origin, unprotected(address));
            }
        }
        Some(_) => {}
    }
    UwsgiSockets { addresses, mode, owner, allow }
}

fn read_persist(top: &mut Section) -> Vec<PathBuf> {
    let origin = top.origin_of("persist");
    let mut paths = top.read_texts("persist", site_path).unwrap_or_default();
    paths.sort();
    paths.dedup();
    // Sorted, so that what lies inside of a path follows it.
    let nested =
        paths.iter().zip(paths.iter().skip(1)).find(|(outer, inner)| inner.starts_with(outer));
    if let (Some((outer, inner)), Some(origin)) = (nested, origin) {
        let message = format!(
            "\"{}\" lies in \"{}\", which persists as a whole",
            inner.display(),
            outer.display()
        );
        top.refuse("persist", origin, Invalid::new(message).hint("leave out the inner one"));
    }
    paths
}

fn read_static(mut section: Section, problems: &mut Vec<Problem>) -> Vec<(String, PathBuf)> {
    let read =
        section.read_all(|prefix, value| Ok((url_prefix(prefix)?, text(static_folder)(value)?)));
    section.finish(NONE, problems);
    let mut folders: BTreeMap<String, PathBuf> = BTreeMap::new();
    for (_, (prefix, folder)) in read {
        folders.insert(prefix, folder);
    }
    folders.into_iter().collect()
}

pub(super) fn static_folder(text: &str) -> Result<PathBuf, Invalid> {
    let folder = site_path(text)?;
    let hidden = |path: &Path| path.iter().any(|part| part.as_encoded_bytes().starts_with(b"."));
    if hidden(&folder) {
        return Err(Invalid::new(format!(
            "\"{text}\" is hidden: names with a dot in front are never served"
        )));
    }
    Ok(folder)
}

fn read_env(mut section: Section, problems: &mut Vec<Problem>) -> BTreeMap<String, String> {
    let read = section.read_all(|name, value| {
        if name.is_empty() || name.contains(['=', '\0']) {
            return Err(Invalid::new("is not a name for an environment variable"));
        }
        // Neither `1` nor `true` has one obvious text (Python's is `True`): the user says which.
        text(|value: &str| {
            if value.contains('\0') {
                Err(Invalid::new("must not hold a NUL byte"))
            } else {
                Ok(value.to_owned())
            }
        })(value)
    });
    section.finish(NONE, problems);
    read.into_iter().collect()
}

fn read_health(mut section: Section, problems: &mut Vec<Problem>) -> HealthCheck {
    let default = HealthCheck::default();
    let health = HealthCheck {
        path: section.read("path", text(url_path)).unwrap_or(default.path),
        status: section.read("status", statuses).unwrap_or(default.status),
        timeout: section.read("timeout", duration(SECOND..=HOUR)).unwrap_or(default.timeout),
    };
    section.finish(NONE, problems);
    health
}

fn read_hooks(mut section: Section, problems: &mut Vec<Problem>) -> Option<Vec<String>> {
    let release = section.read_texts("release", |command| match command.trim() {
        "" => Err(Invalid::new("holds an empty command").hint("for no hooks at all write []")),
        command => Ok(command.to_owned()),
    });
    section.finish(NONE, problems);
    release
}

fn python(value: &Value) -> Result<PythonChoice, Invalid> {
    let text = match value {
        Value::Text(text) => text.trim(),
        Value::Float(_) | Value::Integer(_) => {
            return Err(must_be("a text", value).hint(format!(
                "write it in quotes, or 3.10 would be 3.1: \"{}\"",
                value.scalar_text().unwrap_or_default()
            )));
        }
        other => return Err(must_be("a text", other)),
    };
    if text.contains('/') {
        return Ok(PythonChoice::Path(PathBuf::from(text)));
    }
    let parts: Option<Vec<u16>> = text.split('.').map(|part| part.parse().ok()).collect();
    match parts.as_deref() {
        Some([3]) => Ok(PythonChoice::Version(text.to_owned())),
        Some([3, minor] | [3, minor, _]) if *minor >= 9 => {
            Ok(PythonChoice::Version(text.to_owned()))
        }
        Some([_] | [_, _] | [_, _, _]) => {
            Err(Invalid::new(format!("Python {text} is not supported"))
                .hint("onebox runs Python 3.9 and later"))
        }
        _ => Err(Invalid::new(format!("\"{text}\" is neither a version nor a path"))
            .hint("write a version, \"3.11\", or the path of a python or venv, \"/srv/venv\"")),
    }
}

fn isolation(text: &str) -> Result<IsolationChoice, Invalid> {
    match text {
        "auto" => Ok(IsolationChoice::Auto),
        "embedded" => Ok(IsolationChoice::Embedded),
        "process" => Ok(IsolationChoice::Process),
        _ => Err(Invalid::new(format!(
            "must be \"auto\", \"embedded\" or \"process\", not \"{text}\""
        ))),
    }
}

/// `/blog`; what has every path is empty.
fn mount(text: &str) -> Result<String, Invalid> {
    url_prefix(text).map(|path| path.trim_end_matches('/').to_owned())
}

fn processes(value: &Value) -> Result<Processes, Invalid> {
    match value {
        Value::Text(text) if text == "auto" => Ok(Processes::Auto),
        other => number(1..=256)(other)
            .map(Processes::Fixed)
            .map_err(|invalid| invalid.hint("write a number of processes, or \"auto\"")),
    }
}

/// One status or a list of them.
pub(super) fn statuses(value: &Value) -> Result<Vec<u16>, Invalid> {
    match value {
        Value::List(items) => items.iter().map(|item| number(100..=599)(&item.value)).collect(),
        other => Ok(vec![number(100..=599)(other)?]),
    }
}
