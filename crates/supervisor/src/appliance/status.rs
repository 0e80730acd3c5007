//! What runs, as the API says it.

use std::collections::BTreeMap;

use onebox_config::Hosts;

use super::fallback::fallback_of;
use super::{Appliance, OperationError, Running, Settings, SiteRelease};
use crate::api::{
    ApplianceStatus, CacheStatus, CommandPlace, CurrentRequest, DroppedClients, EngineStatus,
    Explanation, Mode, Release, SiteState, SiteStatus, UpstreamRoute, WorkerState, WorkerStatus,
};
use crate::engine::{Generation, Loaded};
use crate::listeners::ListenerSet;
use crate::store::SiteRow;

impl Appliance {
    /// The whole appliance.
    pub(crate) async fn status(&self) -> Result<ApplianceStatus, OperationError> {
        let rows = self.store.sites().await?;
        let Settings { http, https, admin, .. } = self.settings();
        let shown = |listeners: &ListenerSet| -> Vec<String> {
            listeners.addresses().iter().map(ToString::to_string).collect()
        };
        let running = self.running.lock();
        let mut sites: Vec<SiteStatus> =
            rows.into_iter().map(|row| self.site_status_of(&running, row)).collect();
        if self.in_place {
            let placed = running.layout.sites().map(|placed| row_of(&placed.release));
            sites = placed.map(|row| self.site_status_of(&running, row)).collect();
        }
        Ok(ApplianceStatus {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            started_ms: self.started_ms,
            state_dir: self.paths.state_dir().display().to_string(),
            http: shown(&http),
            https: shown(&https),
            admin: shown(&admin),
            engine: running.engine.as_ref().map(|engine| EngineStatus {
                generation: engine.number,
                pid: engine.pid(),
                started_ms: engine.started_ms,
                crashes: running.crashes,
            }),
            sites,
            dropped: self.dropped(),
            sample: self.last_sample.lock().as_deref().cloned(),
        })
    }

    /// One site.
    pub(crate) async fn site_status(&self, site: &str) -> Result<SiteStatus, OperationError> {
        let sites = self.status().await?.sites;
        let found = sites.into_iter().find(|status| status.name == site);
        found.ok_or_else(|| OperationError::NoSite(site.to_owned()))
    }

    /// The releases of a site, the newest first.
    pub(crate) async fn releases(&self, site: &str) -> Result<Vec<Release>, OperationError> {
        let row = self.row(site).await?;
        let rows = self.store.releases(site).await?.into_iter();
        // Which there are, and the way back to one, must not hang on history.
        let traffic = self.history.releases(site).await.unwrap_or_else(|error| {
            tracing::warn!(site, %error, "what releases answered can't be read");
            BTreeMap::new()
        });
        let releases = rows.map(|release| Release {
            traffic: traffic.get(&release.id).copied(),
            live: row.live_release.as_ref() == Some(&release.id),
            id: release.id,
            created_ms: release.created_ms,
            state: release.state,
            problem: release.problem,
        });
        Ok(releases.collect())
    }

    /// How a site runs, and why.
    pub(crate) async fn explain(&self, site: &str) -> Result<Explanation, OperationError> {
        self.site_status(site).await?;
        let running = self.running.lock();
        let placed = running.live(site)?;
        let plan = &placed.release.plan;
        let mut reasons = vec![plan.found.clone()];
        reasons.extend(placed.reasons.iter().cloned());
        if placed.release.config.process_limits.memory_limit.is_some() {
            reasons.push(self.workers.groups.sentence());
        }
        reasons.extend(plan.warnings.iter().map(|warning| format!("Warning: {warning}")));
        let folders = placed.release.statics().into_iter().flat_map(|(url, folders)| {
            let folders = folders.into_iter();
            folders.map(move |folder| (url.clone(), folder.display().to_string()))
        });
        Ok(Explanation {
            mode: placed.mode,
            reasons,
            static_folders: folders.collect(),
            upstreams: upstreams(&running, &placed.release),
            persistent: plan.persistent.iter().map(|path| path.display().to_string()).collect(),
        })
    }

    /// What a command has in common with a site.
    ///
    /// # Errors
    /// Where there is no such site, or no live release of it.
    pub(crate) async fn command_place(&self, site: &str) -> Result<CommandPlace, OperationError> {
        self.site_status(site).await?;
        Ok(self.running.lock().live(site)?.release.command_place())
    }

    /// Whether a site answers to a host by name.
    pub(crate) fn has_site_named(&self, host: &str) -> bool {
        let mut hosts = Hosts::default();
        for placed in self.layout().sites() {
            placed.release.hosts().iter().for_each(|host| hosts.insert(host, ()));
        }
        hosts.names(host)
    }

    /// A site's addresses, the best first.
    pub(super) fn urls(&self, site: &str) -> Vec<String> {
        let layout = self.layout();
        let Some(placed) = layout.site(site) else { return Vec::new() };
        self.urls_of(&row_of(&placed.release))
    }

    fn urls_of(&self, row: &SiteRow) -> Vec<String> {
        let Settings { http, https, .. } = self.settings();
        let port = |listeners: &ListenerSet| Some(listeners.addresses().first()?.port());
        let (http, https) = (port(&http), port(&https));
        let mut hosts = row.domains.clone();
        if row.catch_all {
            hosts.push("localhost".to_owned());
        }
        hosts.push(format!("{}.localhost", row.name));
        // A pattern is no address.
        hosts.retain(|host| !host.starts_with("*."));
        let best = |host: String| {
            let https = https.filter(|_| http.is_none() || self.certificates.is_trusted(&host));
            let origin = match (https, http) {
                (Some(port), _) => url("https", &host, port),
                (None, port) => url("http", &host, port?),
            };
            Some(format!("{origin}{}", row.path))
        };
        hosts.into_iter().filter_map(best).collect()
    }

    fn site_status_of(&self, running: &Running, row: SiteRow) -> SiteStatus {
        let placed = running.layout.site(&row.name);
        let release = placed.map(|placed| &placed.release);
        let mode = placed.map_or(Mode::Static, |placed| placed.mode);
        let (state, problem) = if row.stopped {
            (SiteState::Stopped, None)
        } else if placed.is_some() && is_asleep(running, &row.name) {
            (SiteState::Idle, fallback_of(&row))
        } else if placed.is_some() {
            let (state, problem) = to_state(load_state(running, &row.name, mode));
            (state, problem.or_else(|| fallback_of(&row)))
        } else if running.deploying.as_ref() == Some(&row.name) {
            (SiteState::Starting, None)
        } else {
            let reason = running.unreadable.get(&row.name).cloned();
            let reason = reason.unwrap_or_else(|| "its first deploy has not succeeded".to_owned());
            (SiteState::Failed, Some(reason))
        };
        let interpreter = release.and_then(|release| release.plan.interpreter.as_ref());
        SiteStatus {
            state,
            maintenance: row.maintenance
                || release.is_some_and(|release| release.config.routing.maintenance),
            problem,
            mode,
            urls: self.urls_of(&row),
            release: row.live_release,
            released_ms: row.live_ms,
            domains: row.domains,
            catch_all: row.catch_all,
            kind: release
                .map_or_else(|| "unknown".to_owned(), |release| release.plan.kind.to_string()),
            python: interpreter.map(|python| {
                let (major, minor, patch) = python.version;
                format!("{major}.{minor}.{patch}")
            }),
            upstreams: release.map_or_else(Vec::new, |release| upstreams(running, release)),
            certificates: self.certificates.status(&row.name),
            workers: release.map_or_else(Vec::new, |release| workers(running, release, mode)),
            cache: release
                .filter(|release| release.config.routing.stores_answers())
                .map(|_| self.cache_status(&row.name)),
            name: row.name,
        }
    }

    fn dropped(&self) -> DroppedClients {
        let drops = self.history.totals().the_box.drops;
        DroppedClients {
            malformed: drops.malformed,
            slow: drops.slow,
            handshake: drops.handshake,
            flood: drops.flood,
            crowd: drops.crowd,
            in_the_way: drops.in_the_way,
            no_room: drops.no_room,
            no_memory: drops.no_memory,
            refused: drops.refused,
        }
    }

    fn cache_status(&self, site: &str) -> CacheStatus {
        let totals = self.history.totals();
        let counted = totals.sites.get(site).map(|site| site.counted.cache).unwrap_or_default();
        CacheStatus {
            hits: counted.hits,
            stale: counted.stale,
            revalidated: counted.revalidated,
            misses: counted.misses,
            bypassed: counted.bypassed,
            hit_ratio: counted.hit_ratio(),
            saved_bytes: counted.saved_bytes,
            stored_bytes: counted.stored_bytes,
            from_disk: counted.from_disk,
            disk_bytes: counted.disk_bytes,
        }
    }
}

/// A release as a database would know it that is live.
fn row_of(release: &SiteRelease) -> SiteRow {
    SiteRow {
        name: release.site.clone(),
        live_release: Some(release.release.clone()),
        live_ms: None,
        stopped: false,
        maintenance: release.maintenance,
        catch_all: release.catch_all,
        path: release.config.path.clone(),
        domains: release.domains.clone(),
        fallback: None,
    }
}

fn load_state(running: &Running, site: &str, mode: Mode) -> Loaded {
    let crew = running.crews.get(site);
    match mode {
        Mode::Isolated => crew.map_or(Loaded::Waiting, |crew| crew.load_state()),
        Mode::Embedded | Mode::Static | Mode::Proxied => {
            running.engine.as_ref().map_or(Loaded::Waiting, |engine| match mode {
                Mode::Static | Mode::Proxied => Loaded::Ready,
                _ => engine.load_state(),
            })
        }
    }
}

fn is_asleep(running: &Running, site: &str) -> bool {
    running.crews.get(site).is_some_and(|crew| crew.is_asleep())
}

fn to_state(loaded: Loaded) -> (SiteState, Option<String>) {
    match loaded {
        Loaded::Waiting => (SiteState::Starting, None),
        Loaded::Ready => (SiteState::Running, None),
        Loaded::Failed(failure) => (SiteState::Failed, Some(failure.summary)),
    }
}

fn upstreams(running: &Running, release: &SiteRelease) -> Vec<UpstreamRoute> {
    let engine = running.engine.as_ref();
    release.upstream_routes(&engine.map_or_else(Vec::new, |engine| engine.upstreams(&release.site)))
}

fn workers(running: &Running, release: &SiteRelease, mode: Mode) -> Vec<WorkerStatus> {
    if mode == Mode::Isolated {
        return running.crews.get(&release.site).map_or_else(Vec::new, |crew| crew.status());
    }
    let embeds = |engine: &&std::sync::Arc<Generation>| {
        engine.embedded.as_ref().is_some_and(|embedded| embedded.site == release.site)
    };
    let engine = running.engine.iter().find(embeds);
    let worker = engine.map(|engine| {
        let usage = engine.usage();
        WorkerStatus {
            name: format!("engine.{}", engine.number),
            pid: engine.pid(),
            release: release.release.clone(),
            started_ms: engine.started_ms,
            threads: release.config.threads,
            state: match engine.load_state() {
                Loaded::Ready => WorkerState::Running,
                Loaded::Waiting | Loaded::Failed(_) => WorkerState::Starting,
            },
            requests: usage.requests,
            running: usage.running,
            current: usage.oldest.map(CurrentRequest::from),
            recycles: 0,
            last_recycle: None,
        }
    });
    worker.into_iter().collect()
}

fn url(scheme: &str, host: &str, port: u16) -> String {
    match (scheme, port) {
        ("http", 80) | ("https", 443) => format!("{scheme}://{host}"),
        _ => format!("{scheme}://{host}:{port}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_port_goes_without_saying() {
        assert_eq!(url("http", "a.example", 80), "http://a.example");
        assert_eq!(url("https", "a.example", 443), "https://a.example");
        assert_eq!(url("http", "a.example", 443), "http://a.example:443");
    }
}
