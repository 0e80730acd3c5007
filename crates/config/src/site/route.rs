//! `[[route]]`: what is special about some paths of a site, and what holds for all of them.
//!
//! Source: nginx's `location`, `return`, `rewrite`, `try_files`, `error_page`, `auth_basic` and `add_header`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::cache::{self, CacheRules, Scope};
use super::check::static_folder;
use super::pattern::{Matcher, Pattern, expression};
use super::rules::{self, Rules};
use super::template::{Caught, Filling, Target};
use super::upstream::Upstream;
use crate::section::{Section, Unsupported};
use crate::types::{HostName, Invalid, duration, must_be, number, size, text, truth, url_prefix};
use crate::value::Value;
use crate::{Origin, Problem};

const KB: u64 = 1 << 10;
const TB: u64 = 1 << 40;
const DAY: Duration = Duration::from_secs(86_400);

/// A chain of redirects that is longer than what browsers follow.
const LONGEST_CHAIN: usize = 20;

/// What nginx, Apache and Caddy call things.
const UNSUPPORTED: &Unsupported = &Unsupported {
    later: &[],
    foreign: &[
        ("location", "path", "nginx"),
        ("return", "redirect", "nginx"),
        ("root", "static", "nginx"),
        ("alias", "static", "nginx"),
        ("error-page", "errors", "nginx"),
        ("auth-basic", "auth", "nginx"),
        ("autoindex", "listing", "nginx"),
        ("proxy-pass", "upstream", "nginx"),
        ("proxy-cache", "cache", "nginx"),
        ("uwsgi-cache", "cache", "nginx"),
        ("basic-auth", "auth", "Caddy"),
        ("client-max-body-size", "max-body", "nginx"),
    ],
};

/// How a site's requests are treated before, and instead of, its files, upstreams and application.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Routing {
    /// `canonical-host`: requests for the other domains are sent there.
    pub canonical_host: Option<String>,
    /// `maintenance`: everybody gets 503.
    pub maintenance: bool,
    /// `maintenance-page`: the file that is shown then.
    pub maintenance_page: Option<PathBuf>,
    /// What holds for every request.
    pub rules: Rules,
    /// `[cache]`
    pub cache: CacheRules,
    /// `[[route]]`, in the order of the file.
    pub routes: Vec<Route>,
}

/// One `[[route]]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// `path`, `exact` or `regex`.
    pub pattern: Pattern,
    /// `redirect`, or `status` alone; `None`: the request goes on.
    pub answer: Option<OwnAnswer>,
    /// `rewrite`: the path that whoever answers sees.
    pub rewrite: Option<Target>,
    /// `static`; `None`: as the site says it.
    pub files: Option<RouteFiles>,
    /// `upstream`: the name of the one that answers.
    pub upstream: Option<String>,
    /// `max-body`, bytes
    pub max_body: Option<u64>,
    /// `harakiri`
    pub harakiri: Option<Duration>,
    /// What is added to the site's rules.
    pub rules: Rules,
    /// `cache`: what is added to the site's.
    pub cache: CacheRules,
}

/// What a route answers by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum OwnAnswer {
    /// `redirect` and `status`.
    Redirect(Target, u16),
    /// `status` alone: an error page.
    Status(u16),
}

/// `static` of a route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RouteFiles {
    /// `false`: no files.
    None,
    /// The folder; what follows `path` names the files in it, or for `exact` and `regex` the whole path.
    Folder(PathBuf),
}

impl Routing {
    /// Whether it changes nothing for any request.
    pub fn is_plain(&self) -> bool {
        *self == Self::default()
    }

    /// The same with paths below a site's root.
    #[must_use]
    pub fn resolved(mut self, root: &Path) -> Self {
        let pages = self.maintenance_page.iter_mut();
        for path in pages {
            *path = root.join(&*path);
        }
        self.rules.resolve(root);
        for route in &mut self.routes {
            if let Some(RouteFiles::Folder(folder)) = &mut route.files {
                *folder = root.join(&*folder);
            }
            route.rules.resolve(root);
        }
        self
    }

    /// Whether answers of the site, or of one of its routes, are stored.
    pub fn stores_answers(&self) -> bool {
        let routes = self.routes.iter().map(|route| route.cache.within(&self.cache));
        routes.chain([self.cache.clone()]).any(|rules| rules.is_on())
    }

    /// Finds routes by paths.
    pub fn matcher(&self) -> Matcher {
        Matcher::new(self.routes.iter().map(|route| &route.pattern))
    }
}

/// Reads what a site says about its requests; `upstreams` are those of the file.
pub(super) fn read(
    top: &mut Section,
    domains: &[String],
    upstreams: &[Upstream],
    problems: &mut Vec<Problem>,
) -> Routing {
    let canonical_origin = top.origin_of("canonical-host");
    let canonical_host = top.read("canonical-host", text(HostName::parse));
    let canonical_host = canonical_host.map(HostName::into_string);
    if let (Some(host), Some(origin)) = (&canonical_host, canonical_origin)
        && !domains.is_empty()
        && !domains.contains(host)
    {
        let invalid = Invalid::new(format!("\"{host}\" is not one of the `domains`"));
        top.refuse(
            "canonical-host",
            origin,
            invalid.hint("add it there: the site must answer to it"),
        );
    }
    let mut routing = Routing {
        canonical_host,
        maintenance: top.read("maintenance", truth).unwrap_or_default(),
        maintenance_page: top.read("maintenance-page", text(rules::page)),
        rules: rules::read(top, &[], problems),
        cache: cache::read(top, Scope::Site, problems),
        routes: Vec::new(),
    };
    let mut origins = Vec::new();
    for (section, origin) in top.sections("route") {
        let Some(route) = read_route(section, &origin, upstreams, problems) else { continue };
        if routing.routes.iter().any(|earlier| earlier.pattern == route.pattern) {
            let invalid = Invalid::new(format!("there is a route for {} already", route.pattern))
                .hint("write both into one [[route]]");
            top.refuse("route", origin, invalid);
            continue;
        }
        routing.routes.push(route);
        origins.push(origin);
    }
    check_reachable(top, &routing, &origins);
    check_loops(top, &routing, &origins);
    routing
}

fn read_route(
    mut section: Section,
    origin: &Origin,
    upstreams: &[Upstream],
    problems: &mut Vec<Problem>,
) -> Option<Route> {
    let (pattern, groups) = read_pattern(&mut section, origin);
    let target = |value: &Value, starts: &[&str], hint: &str| {
        text(|text: &str| {
            if !starts.iter().any(|start| text.starts_with(start)) {
                return Err(Invalid::new(format!("\"{text}\" leads nowhere")).hint(hint));
            }
            Target::parse(text, &groups)
        })(value)
    };
    let redirect = section.read("redirect", |value| {
        target(
            value,
            &["/", "http://", "https://", "$scheme://", "$uri", "$request_uri"],
            "begin with a slash, with http:// or with https://",
        )
    });
    let status_origin = section.origin_of("status");
    let status = section.read("status", number(300..=599));
    let answer = match (redirect, status) {
        (Some(target), None) => Some(OwnAnswer::Redirect(target, 302)),
        (Some(target), Some(status @ (301 | 302 | 303 | 307 | 308))) => {
            Some(OwnAnswer::Redirect(target, status))
        }
        (None, Some(status @ 400..=599)) => Some(OwnAnswer::Status(status)),
        (None, None) => None,
        (redirect, Some(status)) => {
            let hint = match redirect {
                Some(_) => "301, 302, 303, 307 or 308 beside `redirect`",
                None => "400 to 599, or add `redirect`",
            };
            let invalid = Invalid::new(format!("can't be {status} here")).hint(hint);
            section.refuse("status", status_origin.unwrap_or_else(|| origin.clone()), invalid);
            None
        }
    };
    let rewrite_origin = section.origin_of("rewrite");
    let rewrite = section.read("rewrite", |value| {
        target(value, &["/", "$uri"], "begin with a slash: it is a path of this site")
    });
    if let (Some(origin), true) = (rewrite_origin, answer.is_some()) {
        let invalid = Invalid::new("says nothing beside `redirect` or `status`");
        section.refuse("rewrite", origin, invalid.hint("leave out one of the two"));
    }
    let route = Route {
        pattern: pattern.clone().unwrap_or_else(|| Pattern::Prefix("/".to_owned())),
        answer,
        rewrite,
        files: section.read("static", files),
        upstream: section.read("upstream", text(|name: &str| named(name, upstreams))),
        max_body: section.read("max-body", size(KB..=TB)),
        harakiri: section.read("harakiri", duration(Duration::from_millis(100)..=DAY)),
        rules: rules::read(&mut section, &groups, problems),
        cache: cache::read(&mut section, Scope::Route, problems),
    };
    section.finish(UNSUPPORTED, problems);
    pattern.map(|_| route)
}

/// The pattern, and the names of its groups.
fn read_pattern(section: &mut Section, origin: &Origin) -> (Option<Pattern>, Vec<Option<String>>) {
    let given: Vec<&str> = ["path", "exact", "regex"]
        .into_iter()
        .filter(|key| section.origin_of(key).is_some())
        .collect();
    if given.len() != 1 {
        let message = match given.as_slice() {
            [] => "needs `path`, `exact` or `regex`".to_owned(),
            several => format!(
                "has {}: only one of them can say which paths are meant",
                several.join(" and ")
            ),
        };
        let invalid = Invalid::new(message);
        section.refuse(
            "path",
            origin.clone(),
            invalid.hint("path = \"/admin\" is this path and all below it"),
        );
    }
    let path = section.read("path", text(url_prefix)).map(Pattern::Prefix);
    let exact = section.read("exact", text(exact_path)).map(Pattern::Exact);
    let mut groups = Vec::new();
    let regex = section.read("regex", |value| {
        text(|text: &str| {
            let regex = expression(text)?;
            groups = regex.capture_names().map(|name| name.map(str::to_owned)).collect();
            Ok(Pattern::Regex(text.to_owned()))
        })(value)
    });
    let pattern = path.or(exact).or(regex).filter(|_| given.len() == 1);
    (pattern, groups)
}

/// A path as it is compared: decoded, so that it may hold anything but what can't come.
fn exact_path(text: &str) -> Result<String, Invalid> {
    if !text.starts_with('/') || text.contains(['?', '#', '\0']) {
        return Err(Invalid::new(format!("\"{text}\" is not a path"))
            .hint("begin with a slash; the query has no part in it"));
    }
    Ok(text.to_owned())
}

fn files(value: &Value) -> Result<RouteFiles, Invalid> {
    match value {
        Value::Bool(false) => Ok(RouteFiles::None),
        Value::Text(folder) => Ok(RouteFiles::Folder(static_folder(folder)?)),
        other => Err(must_be("the text of a folder, or false", other)),
    }
}

fn named(name: &str, upstreams: &[Upstream]) -> Result<String, Invalid> {
    if upstreams.iter().any(|upstream| upstream.name.as_deref() == Some(name)) {
        return Ok(name.to_owned());
    }
    let known: Vec<&str> =
        upstreams.iter().filter_map(|upstream| upstream.name.as_deref()).collect();
    let invalid = Invalid::new(format!("no [[upstream]] has the name \"{name}\""));
    Err(match known.as_slice() {
        [] => invalid.hint("give it one: name = \"…\" below [[upstream]]"),
        known => invalid.hint(format!("the names are: {}", known.join(", "))),
    })
}

/// A route for every path leaves nothing for expressions.
fn check_reachable(top: &mut Section, routing: &Routing, origins: &[Origin]) {
    let has_every_path = |route: &Route| route.pattern == Pattern::Prefix("/".to_owned());
    if !routing.routes.iter().any(has_every_path) {
        return;
    }
    for (route, origin) in routing.routes.iter().zip(origins) {
        if let Pattern::Regex(_) = route.pattern {
            let invalid = Invalid::new(
                "would never be asked: the route of \"/\" has every path, and prefixes come first",
            );
            let hint = "write what holds for every path at the top of the file, without a route";
            top.refuse("route", origin.clone(), invalid.hint(hint));
        }
    }
}

/// Follows redirects within the site. Where a route's own pattern can't be turned into a path, its target is where it begins.
fn check_loops(top: &mut Section, routing: &Routing, origins: &[Origin]) {
    let matcher = routing.matcher();
    for (route, origin) in routing.routes.iter().zip(origins) {
        let Some(OwnAnswer::Redirect(target, _)) = &route.answer else { continue };
        let samples = match &route.pattern {
            Pattern::Exact(path) => vec![path.clone()],
            Pattern::Prefix(path) => {
                vec![path.clone(), format!("{}/x", path.trim_end_matches('/'))]
            }
            Pattern::Regex(_) if target.as_str().contains('$') => continue,
            Pattern::Regex(_) => vec![target.as_str().to_owned()],
        };
        if let Some(sample) =
            samples.into_iter().find(|sample| goes_round(routing, &matcher, sample))
        {
            let invalid = Invalid::new(format!("would send {sample} round and round"));
            let hint = "let it lead to a path that no redirect has";
            top.refuse("route", origin.clone(), invalid.hint(hint));
        }
    }
}

fn goes_round(routing: &Routing, matcher: &Matcher, from: &str) -> bool {
    let mut path = from.as_bytes().to_vec();
    for _ in 0..LONGEST_CHAIN {
        let Some((index, caught)) = matcher.find(&path) else { return false };
        let answer = routing.routes.get(index).and_then(|route| route.answer.as_ref());
        let Some(OwnAnswer::Redirect(target, _)) = answer else { return false };
        path = match next_path(target, &path, &caught) {
            Some(next) => next,
            None => return false,
        };
    }
    true
}

/// Where a redirect leads, decoded; `None`: to another host.
fn next_path(target: &Target, path: &[u8], caught: &Caught) -> Option<Vec<u8>> {
    if !target.as_str().starts_with(['/', '$']) || target.as_str().starts_with("$scheme") {
        return None;
    }
    let filling =
        Filling { path, uri: path, caught, request_uri: path, query: None, host: "", scheme: "" };
    Some(target.to_rewritten(&filling).0).filter(|next| !next.starts_with(b"//"))
}
