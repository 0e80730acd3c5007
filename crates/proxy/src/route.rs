//! Which site answers to a host, and which of its routes to a path.
//!
//! A table is built when sites change and never altered: requests read it through an `ArcSwap`.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use onebox_config::site::{
    CacheRules, Caught, Matcher, Pattern, Route, RouteFiles, Routing, Rules, SiteLog,
};
use onebox_config::{Nobody, Places};
use onebox_metrics::{SiteMetrics, Traffic};
use onebox_uwsgi::{BufferLimits, Connector};

use crate::cache::{Cache, Cached, Settings};
use crate::rules::{Guard, Ruled};
use crate::static_files::Mount;
use crate::upstream::{UpstreamGroup, WorkerGroup};

/// A site as the proxy sees it.
#[derive(Clone)]
pub struct Site {
    /// Its name.
    pub name: String,
    /// The release that is served.
    pub release: String,
    /// The hosts it answers to, without ports.
    pub domains: Vec<String>,
    /// The beginning of its URLs, without a slash at the end; empty: all of them.
    pub path: String,
    /// Whether it answers to hosts that no site has.
    pub catch_all: bool,
    /// Folders whose files are served without the application.
    pub statics: Vec<StaticMount>,
    /// Folders whose files the application sends by their names, below prefixes of its own.
    pub sendfile: Vec<StaticMount>,
    /// A static site: `index.html`, redirects to the trailing slash, `404.html`.
    pub index: bool,
    /// What its configuration says about requests; all paths absolute.
    pub routing: Arc<Routing>,
    /// Servers that answer below a path in its place, or on a route.
    pub upstreams: Vec<Arc<UpstreamGroup>>,
    /// Its stored answers; `None`: there never are any.
    pub cache: Option<Arc<Cache>>,
    /// Who makes the other answers.
    pub backend: Backend,
    /// How long the application may take for an answer.
    pub harakiri: Duration,
    /// How long a request without an answer has when its interpreter is replaced or stopped.
    pub reload_mercy: Duration,
    /// The largest vars block, in bytes.
    pub buffer_size: usize,
    /// The largest request body that is kept in memory, in bytes.
    pub post_buffering: u64,
    /// The largest request body, in bytes.
    pub max_body: u64,
    /// How much of an answer is held for a slow client.
    pub response: BufferLimits,
    /// What it says to clients without TLS, and about TLS.
    pub https: Https,
    /// Whom the box refuses in its place; `None`: nobody.
    pub guard: Option<Arc<Guard>>,
    /// How its requests are written down.
    pub log: SiteLog,
    /// Its counters.
    pub metrics: Arc<SiteMetrics>,
    /// Those of its release.
    pub traffic: Arc<Traffic>,
}

/// What a site does to have its clients use HTTPS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Https {
    /// Whether requests without TLS are sent there.
    pub redirect: Redirect,
    /// For how long browsers are told to use nothing else (RFC 6797); `None`: they are told nothing.
    pub hsts: Option<Duration>,
}

/// Which requests without TLS are redirected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Redirect {
    /// Those for a host whose certificate the world trusts.
    #[default]
    Trusted,
    /// All of them.
    Always,
    /// None.
    Never,
}

/// A URL prefix and the folders where its files are looked for, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaticMount {
    /// `/static`; a slash at its end says nothing.
    pub url: String,
    /// Absolute paths.
    pub folders: Vec<PathBuf>,
}

/// Who makes the answers that are not files.
#[derive(Clone)]
pub enum Backend {
    /// Nobody: what is no file is not found.
    None,
    /// The interpreter of this process.
    Memory(Connector),
    /// Worker processes.
    Workers(Arc<WorkerGroup>),
    /// Nobody, the site is stopped.
    Stopped,
    /// Nobody, the site does not start.
    Failed {
        /// Why, for the log.
        reason: String,
    },
}

/// Every site by its hosts.
#[derive(Default)]
pub struct RouteTable {
    by_url: Places<Arc<RoutedSite>>,
    by_name: HashMap<String, Arc<RoutedSite>>,
}

/// A site in a table; or one of its routes, which is the same site with settings of its own.
pub(crate) struct RoutedSite {
    pub(crate) site: Site,
    /// Longest prefix first.
    pub(crate) mounts: Vec<Mount>,
    /// The same of files that the application names.
    pub(crate) sendfile: Vec<Mount>,
    /// The files shown for a folder, the first that is there.
    pub(crate) index: Vec<Vec<u8>>,
    /// Whether folders without one show their names.
    pub(crate) listing: bool,
    /// The servers that a route names.
    upstream: Option<Arc<UpstreamGroup>>,
    /// How long the prefix is below which `try-files` holds; upstreams with a longer one have their paths.
    tried_below: usize,
    /// Where its answers are stored; `None`: nowhere.
    pub(crate) cached: Option<Box<Cached>>,
    /// What is to be done besides serving; `None`: nothing.
    pub(crate) ruled: Option<Box<Ruled>>,
    routes: Option<Box<Routes>>,
}

/// The routes of a site.
struct Routes {
    matcher: Matcher,
    /// By the matcher's numbers.
    sites: Vec<Arc<RoutedSite>>,
}

impl RoutedSite {
    fn new(mut site: Site) -> Arc<Self> {
        site.upstreams.sort_by_key(|group| std::cmp::Reverse(group.prefix().len()));
        let routing = Arc::clone(&site.routing);
        let sites = routing.routes.iter().map(|route| Arc::new(Self::of_route(&site, route)));
        let sites: Vec<_> = sites.collect();
        let routes = Routes { matcher: routing.matcher(), sites };
        let routes = (!routes.sites.is_empty()).then(|| Box::new(routes));
        let ruled = Ruled::of_site(&site);
        let cached = cached(&site, &routing.cache);
        Arc::new(Self { routes, cached, ..Self::with_rules(site, ruled, &routing.rules) })
    }

    /// The site as a route has it.
    fn of_route(site: &Site, route: &Route) -> Self {
        let routing = Arc::clone(&site.routing);
        let mut site = site.clone();
        site.max_body = route.max_body.unwrap_or(site.max_body);
        site.harakiri = route.harakiri.unwrap_or(site.harakiri);
        match &route.files {
            None => {}
            Some(RouteFiles::None) => site.statics.clear(),
            Some(RouteFiles::Folder(folder)) => {
                let url = match &route.pattern {
                    Pattern::Prefix(path) => path.clone(),
                    Pattern::Exact(_) | Pattern::Regex(_) => "/".to_owned(),
                };
                site.statics = vec![StaticMount { url, folders: vec![folder.clone()] }];
            }
        }
        let named = |group: &&Arc<UpstreamGroup>| {
            route.upstream.is_some() && group.name() == route.upstream.as_deref()
        };
        let upstream = site.upstreams.iter().find(named).cloned();
        let mut rules = route.rules.within(&routing.rules);
        if upstream.is_some() {
            // Whoever names the servers did not mean the site's files.
            rules.try_files = route.rules.try_files.clone();
        }
        let tried_below = match (&route.rules.try_files, &route.pattern) {
            (None, _) => 0,
            (Some(_), Pattern::Prefix(path)) => path.trim_end_matches('/').len(),
            (Some(_), Pattern::Exact(_) | Pattern::Regex(_)) => usize::MAX,
        };
        let ruled = Ruled::of_route(&site, route, &rules);
        let cached = cached(&site, &route.cache.within(&routing.cache));
        Self { upstream, tried_below, cached, ..Self::with_rules(site, ruled, &rules) }
    }

    fn with_rules(site: Site, ruled: Option<Ruled>, rules: &Rules) -> Self {
        let (mounts, sendfile) = (by_length(&site.statics), by_length(&site.sendfile));
        let index = match &rules.index {
            Some(names) => names.iter().map(|name| name.clone().into_bytes()).collect(),
            None if site.index => vec![b"index.html".to_vec()],
            None => Vec::new(),
        };
        Self {
            mounts,
            sendfile,
            index,
            listing: rules.listing.unwrap_or_default(),
            upstream: None,
            tried_below: 0,
            cached: None,
            ruled: ruled.map(Box::new),
            routes: None,
            site,
        }
    }

    /// Whether every request is simply served.
    pub(crate) fn is_plain(&self) -> bool {
        self.ruled.is_none() && self.routes.is_none()
    }

    /// The route of a path, decoded, with what its pattern has caught; else the site itself.
    pub(crate) fn at(self: &Arc<Self>, path: &[u8]) -> (Arc<Self>, Caught) {
        let found = self.routes.as_ref().and_then(|routes| {
            let (index, caught) = routes.matcher.find(path)?;
            Some((Arc::clone(routes.sites.get(index)?), caught))
        });
        found.unwrap_or_else(|| (Arc::clone(self), Caught::default()))
    }

    /// The servers for a path, decoded: the route's own, else those with the longest prefix.
    pub(crate) fn upstream(&self, path: &[u8]) -> Option<&Arc<UpstreamGroup>> {
        self.upstream.as_ref().or_else(|| self.site.upstreams.iter().find(|group| group.has(path)))
    }

    /// Whether a path below this mount is an upstream's all the same: its prefix is longer, or the path is a script.
    pub(crate) fn gives_way(&self, mount: &Mount, path: &[u8]) -> bool {
        self.upstream(path)
            .is_some_and(|group| group.prefix().len() > mount.prefix().len() || group.runs(path))
    }

    /// Whether a path is an upstream's whatever files there are: as a longer `location` has it in nginx.
    pub(crate) fn passes_files(&self, path: &[u8]) -> bool {
        let other = self.upstream(path).filter(|_| self.upstream.is_none());
        other.is_some_and(|group| group.prefix().len() > self.tried_below)
    }

    /// Whether somebody can be asked for what is no file. Stopped and failed applications count: their pages say so.
    pub(crate) fn has_answer(&self, path: &[u8]) -> bool {
        !matches!(self.site.backend, Backend::None) || self.upstream(path).is_some()
    }
}

impl RouteTable {
    /// The table of these sites. Of two that claim a path of a host, or of every host, the first one has it.
    pub fn new(sites: Vec<Site>) -> Self {
        let mut table = Self::default();
        for site in sites {
            let routed = RoutedSite::new(site);
            table.by_name.entry(routed.site.name.clone()).or_insert_with(|| Arc::clone(&routed));
            for domain in &routed.site.domains {
                table.by_url.insert(domain, &routed.site.path, Arc::clone(&routed));
            }
            if routed.site.catch_all {
                table.by_url.insert_anyone(&routed.site.path, Arc::clone(&routed));
            }
        }
        table
    }

    /// The stored answers of each site that has any.
    pub(crate) fn caches(&self) -> impl Iterator<Item = &Arc<Cache>> {
        self.by_name.values().filter_map(|routed| routed.site.cache.as_ref())
    }

    /// The site of this name, for sockets that belong to one site.
    pub(crate) fn site_named(&self, name: &str) -> Option<&Arc<RoutedSite>> {
        self.by_name.get(name)
    }

    /// The site that answers to `host` (lower case, without port) at `path` (decoded): its own, else the one that takes every host.
    ///
    /// # Errors
    /// [`Nobody`] where there is none.
    pub(crate) fn site(&self, host: Option<&str>, path: &[u8]) -> Result<&Arc<RoutedSite>, Nobody> {
        self.by_url.get(host, path)
    }
}

fn cached(site: &Site, rules: &CacheRules) -> Option<Box<Cached>> {
    let (cache, settings) = site.cache.clone().zip(Settings::of(rules))?;
    Some(Box::new(Cached { cache, settings }))
}

fn by_length(mounts: &[StaticMount]) -> Vec<Mount> {
    let mut mounts: Vec<Mount> = mounts.iter().map(Mount::new).collect();
    mounts.sort_by_key(|mount| std::cmp::Reverse(mount.prefix().len()));
    mounts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn name(table: &RouteTable, host: Option<&str>) -> Option<String> {
        table.site(host, b"/").ok().map(|routed| routed.site.name.clone())
    }

    #[test]
    fn an_exact_host_stands_before_the_catch_all() {
        let blog = Site { domains: vec!["Blog.example".into()], ..testing::site("blog") };
        let other = Site { catch_all: true, ..testing::site("other") };
        let table = RouteTable::new(vec![blog, other]);
        assert_eq!(name(&table, Some("blog.example")).as_deref(), Some("blog"));
        assert_eq!(name(&table, Some("blog.example.")).as_deref(), Some("blog"));
        assert_eq!(name(&table, Some("else.example")).as_deref(), Some("other"));
        assert_eq!(name(&table, None).as_deref(), Some("other"));
    }

    #[test]
    fn an_unknown_host_has_no_site_where_none_takes_every_host() {
        let blog = Site { domains: vec!["blog.example".into()], ..testing::site("blog") };
        let table = RouteTable::new(vec![blog]);
        assert_eq!(name(&table, Some("sub.blog.example")), None);
        assert_eq!(name(&table, None), None);
    }

    #[test]
    fn the_first_of_two_sites_keeps_a_host() {
        let site = |name| Site { domains: vec!["a.example".into()], ..testing::site(name) };
        let table = RouteTable::new(vec![site("first"), site("second")]);
        assert_eq!(name(&table, Some("a.example")).as_deref(), Some("first"));
    }

    #[test]
    fn the_longest_mount_comes_first() {
        let mount = |url: &str| StaticMount { url: url.into(), folders: Vec::new() };
        let statics = vec![mount("/"), mount("/static/admin/"), mount("/static")];
        let site = Site { statics, catch_all: true, ..testing::site("a") };
        let table = RouteTable::new(vec![site]);
        let routed = table.site(None, b"/").unwrap();
        let prefixes: Vec<_> = routed.mounts.iter().map(Mount::prefix).collect();
        assert_eq!(prefixes, ["/static/admin", "/static", ""]);
    }
}
