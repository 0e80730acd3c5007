//! In the engine: from the supervisor's words to the proxy's tables, keeping queues and worker groups across changes.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use onebox_config::site::{Routing, Upstream};
use onebox_metrics::Registry;
use onebox_proxy::{
    Backend, Cache, Clearing, Guard, Https, Purge, Redirect, RouteTable, Site, StaticMount,
    UpstreamGroup, WorkerAddress, WorkerGroup,
};
use onebox_uwsgi::{Backlog, BufferLimits, Connector, channel};
use tokio::sync::Notify;

use super::protocol::{
    AccessData, BackendData, EmbeddedData, EngineConfig, SiteData, UpstreamHealth,
};

/// The embedded application's state.
enum Embedded {
    /// Being imported, or serving: requests go into its queue.
    Open(Connector),
    /// It could not be imported.
    Failed(String),
}

/// An application to import, once in the life of an engine.
pub(super) struct Import {
    pub(super) site: String,
    pub(super) release: String,
    pub(super) data: EmbeddedData,
    pub(super) backlog: Backlog,
}

/// What lasts from one configuration to the next.
pub(super) struct Routes {
    metrics: Arc<Registry>,
    config: EngineConfig,
    embedded: Option<Embedded>,
    /// By site: what everybody sees.
    groups: HashMap<String, Group>,
    /// Told when one of the groups wants workers.
    wanting: Arc<Notify>,
    /// By site: candidates.
    candidate_groups: HashMap<String, Group>,
    /// Of live sites and candidates: what is known about servers, and connections to them, outlive a release.
    upstreams: Vec<KnownUpstream>,
    /// By site: stored answers.
    caches: HashMap<String, KnownCache>,
    /// Where those are that are on the disk.
    cache_dir: PathBuf,
    /// By site: releases that want nothing there.
    clearings: HashMap<String, (String, Clearing)>,
}

/// The answers of one release: the next one begins without any.
struct KnownCache {
    release: String,
    routing: Routing,
    cache: Arc<Cache>,
}

struct KnownUpstream {
    host: String,
    settings: Upstream,
    group: Arc<UpstreamGroup>,
}

struct Group {
    queue_size: u32,
    mercy: Duration,
    workers: Arc<WorkerGroup>,
}

impl Routes {
    pub(super) fn new(metrics: Arc<Registry>, cache_dir: PathBuf) -> Self {
        Self {
            metrics,
            config: EngineConfig::default(),
            embedded: None,
            groups: HashMap::new(),
            wanting: Arc::default(),
            candidate_groups: HashMap::new(),
            upstreams: Vec::new(),
            caches: HashMap::new(),
            cache_dir,
            clearings: HashMap::new(),
        }
    }

    /// Takes answers out of a site's cache: how many there were, and the cache, whose disk may have them for a moment yet.
    pub(super) fn purge(&self, site: &str, what: &Purge) -> Option<(u64, Arc<Cache>)> {
        let cache = &self.caches.get(site)?.cache;
        Some((cache.purge(what), Arc::clone(cache)))
    }

    /// Leaves what is stored on the disk to the next engine.
    pub(super) fn leave_disk(&self) {
        self.caches.values().for_each(|known| known.cache.leave_disk());
        self.clearings.values().for_each(|(_, clearing)| clearing.give_up());
    }

    /// Tells the metrics how much is stored at this moment.
    pub(super) fn measure_caches(&self) {
        for (site, known) in &self.caches {
            self.metrics
                .site(site)
                .cache
                .holds(known.cache.stored_bytes(), known.cache.disk_bytes());
        }
    }

    /// Takes a new configuration; the tables come from [`Self::tables`]. Returns the application to import, the first time
    /// there is one.
    pub(super) fn configure(&mut self, config: EngineConfig) -> Option<Import> {
        let all = || config.sites.iter().chain(&config.candidates);
        self.metrics.retain(|name| all().any(|site| site.name == name));
        close_others(&mut self.groups, &config.sites);
        close_others(&mut self.candidate_groups, &config.candidates);
        let import = self.first_import(&config);
        self.config = config;
        import
    }

    /// From the next tables on these addresses are refused.
    pub(super) fn refuse(&mut self, access: AccessData) {
        self.config.access = access;
    }

    fn first_import(&mut self, config: &EngineConfig) -> Option<Import> {
        if self.embedded.is_some() {
            return None;
        }
        let (site, data) = config.sites.iter().find_map(|site| match &site.backend {
            BackendData::Embedded(data) => Some((site, data)),
            _ => None,
        })?;
        let (connector, backlog) = channel(usize::try_from(site.queue_size).unwrap_or(usize::MAX));
        self.embedded = Some(Embedded::Open(connector));
        Some(Import {
            site: site.name.clone(),
            release: site.release.clone(),
            data: EmbeddedData::clone(data),
            backlog,
        })
    }

    /// The embedded application will not come: its requests are answered with 503 from the next tables on, those that wait
    /// included.
    pub(super) fn embedding_failed(&mut self, reason: String) {
        if let Some(Embedded::Open(connector)) = &self.embedded {
            connector.close();
        }
        self.embedded = Some(Embedded::Failed(reason));
    }

    /// The embedded application gets no new requests; it ends when it has served those that wait.
    pub(super) fn close_embedded(&self) {
        if let Some(Embedded::Open(connector)) = &self.embedded {
            connector.close();
        }
    }

    /// Waits until requests of some sites wait and no worker will take them: which ones.
    pub(super) async fn wanting(&self) -> Vec<String> {
        self.wanting.notified().await;
        let groups = self.groups.iter().chain(&self.candidate_groups);
        let wanting = groups.filter(|(_, group)| group.workers.wants_workers());
        wanting.map(|(site, _)| site.clone()).collect()
    }

    /// The public table, and the one for health checks. Needs a tokio runtime.
    pub(super) fn tables(&mut self) -> (RouteTable, RouteTable) {
        let config = std::mem::take(&mut self.config);
        let live = config.sites.iter().map(|site| Site {
            guard: guard(&config.access, &site.name),
            ..self.site(site, Entrance::Public)
        });
        let live: Vec<Site> = live.collect();
        let candidates: Vec<Site> =
            config.candidates.iter().map(|site| self.site(site, Entrance::Probe)).collect();
        let used: Vec<_> =
            live.iter().chain(&candidates).flat_map(|site| &site.upstreams).cloned().collect();
        self.caches.retain(|name, known| {
            let stays = live.iter().any(|site| site.name == *name);
            if !stays {
                known.cache.leave_disk();
            }
            stays
        });
        self.clear_disks(&live);
        self.upstreams.retain(|known| used.iter().any(|group| Arc::ptr_eq(group, &known.group)));
        self.config = config;
        // The first site that claims a host has it, so that candidates stand before what is live.
        let probed = candidates.into_iter().chain(live.iter().cloned()).collect();
        (RouteTable::new(live), RouteTable::new(probed))
    }

    fn site(&mut self, data: &SiteData, entrance: Entrance) -> Site {
        let metrics = self.metrics.site(&data.name);
        Site {
            name: data.name.clone(),
            release: data.release.clone(),
            domains: data.hosts.clone(),
            path: data.path.clone(),
            catch_all: data.catch_all,
            statics: mounts(&data.statics),
            sendfile: mounts(&data.sendfile),
            index: data.index,
            routing: Arc::new(data.routing.clone()),
            upstreams: self.upstreams(data),
            cache: match entrance {
                Entrance::Public => self.cache(data),
                Entrance::Probe => None,
            },
            backend: self.backend(data, entrance),
            harakiri: data.harakiri,
            reload_mercy: data.reload_mercy,
            buffer_size: usize::try_from(data.buffer_size).unwrap_or(usize::MAX),
            post_buffering: data.post_buffering,
            max_body: data.max_body,
            response: BufferLimits {
                memory_bytes: usize::try_from(data.response_buffering).unwrap_or(usize::MAX),
                file_bytes: data.max_temp_file,
            },
            https: https(data),
            guard: None,
            log: data.log.clone(),
            traffic: metrics.releases.release(&data.release),
            metrics,
        }
    }

    /// How the servers of live sites are.
    pub(super) fn upstream_health(&self) -> UpstreamHealth {
        let sites = self.config.sites.iter().filter(|data| !data.upstreams.is_empty());
        let health = sites.map(|data| {
            let known = data.upstreams.iter().filter_map(|settings| self.known(data, settings));
            (data.name.clone(), known.map(|group| group.health()).collect())
        });
        health.collect()
    }

    fn known(&self, data: &SiteData, settings: &Upstream) -> Option<&Arc<UpstreamGroup>> {
        let host = upstream_host(data);
        let is_it = |known: &&KnownUpstream| known.host == host && known.settings == *settings;
        self.upstreams.iter().find(is_it).map(|known| &known.group)
    }

    fn upstreams(&mut self, data: &SiteData) -> Vec<Arc<UpstreamGroup>> {
        let host = upstream_host(data);
        let mut groups = Vec::with_capacity(data.upstreams.len());
        for settings in &data.upstreams {
            let group = match self.known(data, settings) {
                Some(known) => Arc::clone(known),
                None => {
                    let group = UpstreamGroup::new(settings.clone(), host);
                    self.upstreams.push(KnownUpstream {
                        host: host.to_owned(),
                        settings: settings.clone(),
                        group: Arc::clone(&group),
                    });
                    group
                }
            };
            groups.push(group);
        }
        groups
    }

    /// The answers of the site's release as it is configured now.
    fn cache(&mut self, data: &SiteData) -> Option<Arc<Cache>> {
        let known = self.caches.get(&data.name);
        // Maintenance comes and goes, and says nothing about answers.
        let is_same = |known: &&KnownCache| {
            known.release == data.release
                && known.routing.cache == data.routing.cache
                && known.routing.routes == data.routing.routes
        };
        if let Some(known) = known.filter(is_same) {
            return Some(Arc::clone(&known.cache));
        }
        // Requests under way may hold it for a while yet.
        if let Some(old) = self.caches.remove(&data.name) {
            old.cache.leave_disk();
        }
        let folder = || self.cache_dir.join(&data.name).join(&data.release);
        let cache = Cache::new(&data.routing, folder)?;
        let known = KnownCache {
            release: data.release.clone(),
            routing: data.routing.clone(),
            cache: Arc::clone(&cache),
        };
        self.caches.insert(data.name.clone(), known);
        Some(cache)
    }

    /// Removes what sites have on the disk that want nothing there any more.
    fn clear_disks(&mut self, live: &[Site]) {
        let has_disk = |site: &Site| site.cache.as_ref().is_some_and(|cache| cache.has_disk());
        let without = || live.iter().filter(|site| !has_disk(site));
        self.clearings.retain(|name, (release, _)| {
            without().any(|site| site.name == *name && site.release == *release)
        });
        for site in without() {
            self.clearings.entry(site.name.clone()).or_insert_with(|| {
                let clearing = Clearing::begin(self.cache_dir.join(&site.name));
                (site.release.clone(), clearing)
            });
        }
    }

    fn backend(&mut self, data: &SiteData, entrance: Entrance) -> Backend {
        match &data.backend {
            BackendData::None => Backend::None,
            BackendData::Stopped => Backend::Stopped,
            BackendData::Failed { reason } => Backend::Failed { reason: reason.clone() },
            BackendData::Embedded(_) => match &self.embedded {
                Some(Embedded::Open(connector)) => Backend::Memory(connector.clone()),
                Some(Embedded::Failed(reason)) => Backend::Failed { reason: reason.clone() },
                None => Backend::Failed { reason: "this engine has no interpreter".into() },
            },
            BackendData::Workers(workers) => {
                let groups = match entrance {
                    Entrance::Public => &mut self.groups,
                    Entrance::Probe => &mut self.candidate_groups,
                };
                let group = group(groups, data, &self.wanting);
                let addresses = workers.iter().map(|worker| WorkerAddress {
                    name: worker.name.as_str().into(),
                    socket: worker.socket.clone(),
                    threads: worker.threads,
                });
                group.set_workers(addresses.collect(), data.reload_mercy);
                Backend::Workers(group)
            }
        }
    }
}

/// Whom the box refuses in the place of a site.
fn guard(access: &AccessData, site: &str) -> Option<Arc<Guard>> {
    let lists: Vec<_> = std::iter::once(&access.everywhere).chain(access.sites.get(site)).collect();
    Guard::of(&lists)
}

/// The host that active checks ask for.
fn upstream_host(data: &SiteData) -> &str {
    data.hosts.first().map_or("localhost", String::as_str)
}

fn https(data: &SiteData) -> Https {
    let redirect = match data.redirect {
        None => Redirect::Trusted,
        Some(true) => Redirect::Always,
        Some(false) => Redirect::Never,
    };
    Https { redirect, hsts: data.hsts }
}

#[derive(Clone, Copy)]
enum Entrance {
    Public,
    Probe,
}

/// The site's group; requests that wait in it stay in it whatever release its workers have.
fn group(
    groups: &mut HashMap<String, Group>,
    data: &SiteData,
    wanting: &Arc<Notify>,
) -> Arc<WorkerGroup> {
    let known = groups.get_mut(&data.name).filter(|group| group.queue_size == data.queue_size);
    if let Some(group) = known {
        group.mercy = data.reload_mercy;
        return Arc::clone(&group.workers);
    }
    let capacity = usize::try_from(data.queue_size).unwrap_or(usize::MAX);
    let workers = Arc::new(WorkerGroup::new(capacity, Arc::clone(wanting)));
    let (queue_size, mercy) = (data.queue_size, data.reload_mercy);
    let group = Group { queue_size, mercy, workers: Arc::clone(&workers) };
    if let Some(old) = groups.insert(data.name.clone(), group) {
        old.workers.close(old.mercy);
    }
    workers
}

/// Closes the groups of sites that have no workers any more.
fn close_others(groups: &mut HashMap<String, Group>, sites: &[SiteData]) {
    groups.retain(|name, group| {
        let stays = sites
            .iter()
            .any(|site| site.name == *name && matches!(site.backend, BackendData::Workers(_)));
        if !stays {
            group.workers.close(group.mercy);
        }
        stays
    });
}
fn mounts(data: &[(String, Vec<PathBuf>)]) -> Vec<StaticMount> {
    let mount = |(url, folders): &(String, Vec<PathBuf>)| StaticMount {
        url: url.clone(),
        folders: folders.clone(),
    };
    data.iter().map(mount).collect()
}
