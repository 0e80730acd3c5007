//! What would happen to a request for a URL: the site, its route, and each step until somebody answers.
//!
//! Asks nobody: it reads the same routing, with the same matchers, that engines go by.

use onebox_config::site::{
    Auth, CacheRules, Caught, Filling, HeaderRules, Otherwise, OwnAnswer, Route, RouteFiles,
    Routing, Rules, Target,
};
use onebox_config::{Hosts, Nobody, Places};
use onebox_proxy::{decode_path, is_read_alike};

use super::layout::Placed;
use super::{Appliance, OperationError, SiteRelease};
use crate::api::{Mode, UrlExplanation};

impl Appliance {
    /// What happens to a GET request for a URL, with or without its scheme.
    ///
    /// # Errors
    /// Where it is no URL.
    pub(crate) fn explain_url(&self, url: &str) -> Result<UrlExplanation, OperationError> {
        let asked = Asked::parse(url).ok_or_else(|| {
            OperationError::Invalid(format!("\"{url}\" is not a URL: http://HOST/PATH"))
        })?;
        let layout = self.layout();
        let mut places = Places::default();
        for placed in layout.sites() {
            let path = &placed.release.config.path;
            for host in placed.release.hosts() {
                places.insert(&host, path, placed);
            }
            if placed.release.catch_all {
                places.insert_anyone(path, placed);
            }
        }
        let refused = match places.get(Some(&asked.host), &asked.path) {
            Ok(placed) => return Ok(asked.explain(placed, places.names(&asked.host))),
            Err(Nobody::Host) => format!("421: no site answers to {}", asked.host),
            Err(Nobody::Path) => format!("404: no site of {} has this path", asked.host),
        };
        let (site, route, other_routes) = (None, None, Vec::new());
        Ok(UrlExplanation { site, route, other_routes, steps: vec![refused] })
    }
}

/// A URL in its parts.
struct Asked {
    scheme: String,
    /// In lower case.
    host: String,
    port: Option<u16>,
    /// Path and query as they are sent.
    target: String,
    query: Option<String>,
    /// Decoded.
    path: Vec<u8>,
}

impl Asked {
    fn parse(url: &str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
        let rest = rest.split('#').next()?;
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at_checked(end)?;
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(port.parse().ok()?)),
            _ => (authority, None),
        };
        if !matches!(scheme, "http" | "https") || host.is_empty() {
            return None;
        }
        let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query.to_owned())),
            None => (target.as_str(), None),
        };
        let path = decode_path(path.as_bytes())?.into_owned();
        let (scheme, host) = (scheme.to_owned(), host.to_ascii_lowercase());
        Some(Self { scheme, host, port, target, query, path })
    }

    fn explain(&self, placed: &Placed, is_named: bool) -> UrlExplanation {
        let release = &placed.release;
        let routing = release.routing();
        let matcher = routing.matcher();
        let mut matching = matcher.all(&self.path);
        let (found, caught) = matching.next().unzip();
        let pattern =
            |index: usize| routing.routes.get(index).map(|route| route.pattern.to_string());
        let others = matching.filter_map(|(index, _)| pattern(index));
        let explaining = Explaining {
            asked: self,
            release,
            routing: &routing,
            route: found.and_then(|index| routing.routes.get(index)),
            caught: caught.unwrap_or_default(),
        };
        let mut steps = Vec::new();
        if !is_named {
            steps.push(format!("{} is nobody's host, and this site answers to those", self.host));
        }
        let is_same = |other: &[u8]| matcher.find(other).map(|(index, _)| index) == found;
        if is_read_alike(&self.path, is_same) {
            explaining.add_steps(placed.mode, &mut steps);
        } else {
            steps.push(
                "400: other servers read this path as another one, which has another route"
                    .to_owned(),
            );
        }
        UrlExplanation {
            site: Some(release.site.clone()),
            route: found.and_then(pattern),
            other_routes: others.collect(),
            steps,
        }
    }
}

/// One request on its way.
struct Explaining<'a> {
    asked: &'a Asked,
    release: &'a SiteRelease,
    routing: &'a Routing,
    route: Option<&'a Route>,
    caught: Caught,
}

impl Explaining<'_> {
    /// In the order in which the engine goes.
    fn add_steps(&self, mode: Mode, steps: &mut Vec<String>) {
        let rules = match self.route {
            Some(route) => route.rules.within(&self.routing.rules),
            None => self.routing.rules.clone(),
        };
        if self.release.stopped {
            return steps.push("503: the site is stopped".to_owned());
        }
        let is_answered = self.add_gate(&rules, steps);
        if !is_answered {
            let path = self.add_changes(&rules, steps);
            if let Some(path) = path {
                self.add_server(&path, mode, steps);
            }
        }
        add_headers("the answer", &rules.headers, steps);
        for page in &rules.errors {
            let (first, last) = (page.statuses.start(), page.statuses.end());
            let statuses =
                if first == last { first.to_string() } else { format!("{first} to {last}") };
            let file = page.page.strip_prefix(&self.release.plan.root).unwrap_or(&page.page);
            steps.push(format!("an error {statuses} of onebox shows {}", file.display()));
        }
    }

    /// Whether the request goes no further.
    fn add_gate(&self, rules: &Rules, steps: &mut Vec<String>) -> bool {
        let canonical =
            self.routing.canonical_host.as_ref().filter(|host| **host != self.asked.host);
        let mut others = Hosts::default();
        self.release.domains.iter().for_each(|domain| others.insert(domain, ()));
        if let Some(host) = canonical.filter(|_| others.names(&self.asked.host)) {
            let port = self.asked.port.map_or_else(String::new, |port| format!(":{port}"));
            steps.push(format!("308 to {}://{host}{port}{}", self.asked.scheme, self.asked.target));
            return true;
        }
        if let Some(allow) = &rules.allow {
            let networks: Vec<String> = allow.iter().map(ToString::to_string).collect();
            steps.push(format!("403 unless the client is in {}", networks.join(", ")));
        }
        if let Some(deny) = rules.deny.as_ref().filter(|deny| !deny.is_empty()) {
            let networks: Vec<String> = deny.iter().map(ToString::to_string).collect();
            steps.push(format!("403 if the client is in {}", networks.join(", ")));
        }
        for limit in rules.limits.iter().flatten() {
            steps.push(format!("429 beyond {limit}"));
        }
        if self.routing.maintenance {
            steps.push("503: the site is in maintenance".to_owned());
            return true;
        }
        if let Some(Auth::Basic { realm, users }) = &rules.auth {
            let names: Vec<&str> = users.iter().map(|(name, _)| name.as_str()).collect();
            steps.push(format!("401 without the password of {} ({realm})", names.join(", ")));
        }
        match self.route.and_then(|route| route.answer.as_ref()) {
            None => false,
            Some(OwnAnswer::Status(status)) => {
                steps.push(format!("{status}: the route says so"));
                true
            }
            Some(OwnAnswer::Redirect(target, status)) => {
                let location = self.fill(&self.asked.path, |filling| target.to_location(filling));
                steps.push(format!("{status} to {}", String::from_utf8_lossy(&location)));
                true
            }
        }
    }

    /// The path with which the request goes on; `None`: it may not.
    fn add_changes(&self, rules: &Rules, steps: &mut Vec<String>) -> Option<Vec<u8>> {
        add_headers("the request", &rules.request_headers, steps);
        let mut path = self.asked.path.clone();
        if let Some(target) = self.route.and_then(|route| route.rewrite.as_ref()) {
            path = self.go_on(target, &path, steps);
        }
        let Some(try_files) = &rules.try_files else { return Some(path) };
        for template in &try_files.files {
            let file = self.fill(&path, |filling| template.to_path(filling));
            let kind = if template.ends_with_slash() { "folder" } else { "file" };
            steps.push(format!("{} if there is such a {kind}", String::from_utf8_lossy(&file)));
        }
        match &try_files.otherwise {
            Otherwise::Status(status) => {
                steps.push(format!("{status} else"));
                None
            }
            Otherwise::Path(target) => Some(self.go_on(target, &path, steps)),
        }
    }

    fn go_on(&self, target: &Target, path: &[u8], steps: &mut Vec<String>) -> Vec<u8> {
        let (path, query) = self.fill(path, |filling| target.to_rewritten(filling));
        let query =
            query.map_or_else(String::new, |query| format!("?{}", String::from_utf8_lossy(&query)));
        steps.push(format!("goes on as {}{query}", String::from_utf8_lossy(&path)));
        path
    }

    /// Files, upstreams, the application.
    fn add_server(&self, path: &[u8], mode: Mode, steps: &mut Vec<String>) {
        let is_below = |prefix: &str| {
            let rest = path.strip_prefix(prefix.trim_end_matches('/').as_bytes());
            rest.is_some_and(|rest| matches!(rest, [] | [b'/', ..]))
        };
        let upstreams = &self.release.upstreams();
        let named = self.route.and_then(|route| route.upstream.as_ref());
        let upstream = match named {
            Some(name) => upstreams.iter().find(|upstream| upstream.name.as_ref() == Some(name)),
            None => upstreams
                .iter()
                .filter(|upstream| upstream.path.as_deref().is_some_and(is_below))
                .max_by_key(|upstream| upstream.path.as_ref().map(String::len)),
        };
        let prefix =
            upstream.filter(|_| named.is_none()).and_then(|upstream| upstream.path.as_ref());
        let statics = self.release.statics();
        let statics = statics.iter();
        let own = match self.route.and_then(|route| route.files.as_ref()) {
            None => statics
                .filter(|(url, _)| is_below(url))
                .max_by_key(|(url, _)| url.trim_end_matches('/').len())
                .filter(|(url, _)| prefix.is_none_or(|prefix| url.len() >= prefix.len()))
                .and_then(|(_, folders)| folders.first().cloned()),
            Some(RouteFiles::None) => None,
            Some(RouteFiles::Folder(folder)) => Some(folder.clone()),
        };
        if let Some(folder) = own {
            steps.push(format!("a file in {} if there is one", folder.display()));
        }
        if upstream.is_some() || matches!(mode, Mode::Embedded | Mode::Isolated) {
            self.add_cache(steps);
        }
        steps.push(match (upstream, mode) {
            (Some(upstream), _) => {
                let servers: Vec<String> =
                    upstream.servers.iter().map(ToString::to_string).collect();
                format!("asks the upstream {}", servers.join(", "))
            }
            (None, Mode::Embedded | Mode::Isolated) => "asks the application".to_owned(),
            (None, Mode::Static | Mode::Proxied) => "404 else".to_owned(),
        });
    }

    /// What would become of its answer.
    fn add_cache(&self, steps: &mut Vec<String>) {
        let site = &self.routing.cache;
        let (rules, whose) = match self.route {
            Some(route) if route.cache != CacheRules::default() => {
                (route.cache.within(site), "the route")
            }
            _ => (site.clone(), "[cache]"),
        };
        if !rules.is_on() {
            if rules != CacheRules::default() {
                steps.push(format!("no answer is stored: {whose} says so"));
            }
            return;
        }
        let bypass = [
            ("the cookie", &rules.bypass_cookie),
            ("the header", &rules.bypass_header),
            ("the parameter", &rules.bypass_query),
        ];
        for (kind, names) in bypass {
            for name in names.iter().flatten() {
                steps.push(format!("goes past the cache with {kind} {name}"));
            }
        }
        let how_long = match rules.ttl {
            Some(ttl) => format!("for {ttl:?}, whatever it says"),
            None => "for as long as it says (Cache-Control, Expires)".to_owned(),
        };
        steps.push(format!(
            "a stored answer if there is one that is fresh; GET is stored {how_long} ({whose}), unless it is private, sets a cookie or needs a password"
        ));
    }

    fn fill<T>(&self, uri: &[u8], render: impl FnOnce(&Filling<'_>) -> T) -> T {
        let asked = self.asked;
        let host =
            asked.port.map_or_else(|| asked.host.clone(), |port| format!("{}:{port}", asked.host));
        render(&Filling {
            path: &asked.path,
            uri,
            caught: &self.caught,
            request_uri: asked.target.as_bytes(),
            query: asked.query.as_deref().map(str::as_bytes),
            host: &host,
            scheme: &asked.scheme,
        })
    }
}

fn add_headers(whose: &str, rules: &HeaderRules, steps: &mut Vec<String>) {
    for name in &rules.remove {
        steps.push(format!("{whose} loses {name}"));
    }
    for (name, value) in &rules.set {
        steps.push(format!("{whose} has {name}: {value}"));
    }
    for (name, value) in &rules.add {
        steps.push(format!("{whose} has also {name}: {value}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart_with_or_without_its_scheme() {
        let parse = |url: &str| {
            let asked = Asked::parse(url)?;
            let path = String::from_utf8(asked.path).unwrap();
            Some((asked.scheme, asked.host, asked.port, path, asked.query))
        };
        let parts = |scheme: &str, port, path: &str, query: Option<&str>| {
            Some((scheme.into(), "a.example".into(), port, path.into(), query.map(Into::into)))
        };
        assert_eq!(
            parse("https://A.example:81/a%20b?c#d"),
            parts("https", Some(81), "/a b", Some("c"))
        );
        assert_eq!(parse("a.example"), parts("http", None, "/", None));
        assert_eq!(parse("a.example?x"), parts("http", None, "/", Some("x")));
        for none in ["", "/a", "ftp://a/", "a:port/", "http://", "a.example/%zz"] {
            assert_eq!(parse(none), None, "{none}");
        }
    }
}
