//! A deploy: prepare, start, health, commit, switch, drain, prune.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures_util::Stream;

use super::change::{Change, Renew, step};
use super::{Appliance, OperationError, OperationFailure, SiteRelease};
use crate::api::{DeployEvent, DeployQuery, ReleaseState};
use crate::deploy::archive::ArchiveLimits;
use crate::deploy::events::EventSink;
use crate::deploy::release::prune;
use crate::deploy::{Prepared, StageContext, prepare};
use crate::logs::Source;
use crate::store::Commit;

/// Whom a site answers to.
struct Hosts {
    domains: Vec<String>,
    /// Everybody whom no site names, too: the first site without domains does.
    catch_all: bool,
}

impl Appliance {
    /// Makes a release of an archive and puts it on line.
    ///
    /// # Errors
    /// [`OperationError`]; what was live before still is.
    pub(crate) async fn deploy<E: Display>(
        self: &Arc<Self>,
        query: DeployQuery,
        archive: impl Stream<Item = Result<Bytes, E>>,
        events: &EventSink,
    ) -> Result<DeployEvent, OperationError> {
        if self.in_place {
            return Err(OperationError::InPlace);
        }
        let _one_at_a_time = self.operation.lock().await;
        let begun = Instant::now();
        let context = self.stage_context().await?;
        let prepared = prepare(&context, archive, &query, events)
            .await
            .map_err(|failure| OperationFailure::from(&failure))?;
        let (site, release) = (prepared.site.clone(), prepared.release_id.clone());
        let hosts = match self.hosts(&site, &prepared.config.domains).await {
            Ok(hosts) => hosts,
            Err(error) => {
                self.discard(&site, &release).await;
                return Err(error);
            }
        };
        self.store.add_site(&site).await?;
        self.store.add_release(&site, &release).await?;
        self.running.lock().deploying = Some(site.clone());
        self.announce();
        let result = self.go_live(prepared, hosts, events).await;
        self.running.lock().deploying = None;
        if let Err(error) = &result {
            self.store.fail_release(&site, &release, &error.to_string()).await?;
            self.logs.write(&site, Source::Onebox, &format!("deploy of {release} failed: {error}"));
        }
        self.prune(&site, events).await;
        self.announce();
        result?;
        self.logs.write(&site, Source::Onebox, &format!("release {release} is live"));
        Ok(self.done(&site, &release, begun))
    }

    async fn stage_context(&self) -> Result<StageContext, OperationError> {
        let mut variables = BTreeMap::new();
        for row in self.store.sites().await? {
            let of_site = self.store.variables(&row.name).await?;
            variables.insert(row.name, of_site);
        }
        Ok(StageContext {
            paths: self.paths.clone(),
            user: None,
            variables,
            limits: ArchiveLimits::default(),
        })
    }

    async fn go_live(
        self: &Arc<Self>,
        prepared: Prepared,
        hosts: Hosts,
        events: &EventSink,
    ) -> Result<(), OperationError> {
        let Prepared { site, release_id, config, plan } = prepared;
        let Hosts { domains, catch_all } = hosts;
        let release = SiteRelease {
            site: site.clone(),
            release: release_id.clone(),
            config,
            plan,
            domains: domains.clone(),
            catch_all,
            stopped: false,
            variables: self.store.variables(&site).await?,
        };
        // New code has a clean record.
        self.running.lock().unsteady.remove(&site);
        let target = self.layout_with_release(release)?;
        let commit = Commit { site: &site, release: &release_id, domains: &domains, catch_all };
        let change = Change { target, site: &site, renew: Renew::Keep, events };
        self.change(change, self.store.make_live(&commit)).await?;
        Ok(())
    }

    /// The hosts of a site: those that its deploy names, else those it has.
    ///
    /// # Errors
    /// Where another site has one of them.
    async fn hosts(&self, site: &str, wanted: &[String]) -> Result<Hosts, OperationError> {
        let rows = self.store.sites().await?;
        let domains = match rows.iter().find(|row| row.name == site) {
            Some(known) if wanted.is_empty() => known.domains.clone(),
            _ => wanted.to_vec(),
        };
        self.store
            .check_hosts(site, &domains)
            .await
            .map_err(|error| OperationFailure::new("check", error.to_string()))?;
        let is_taken = rows.iter().any(|row| row.catch_all && row.name != site);
        Ok(Hosts { catch_all: domains.is_empty() && !is_taken, domains })
    }

    /// Removes a release that the database never knew.
    async fn discard(&self, site: &str, release: &str) {
        let folder = self.paths.releases(site).join(release);
        let removed = tokio::task::spawn_blocking(move || std::fs::remove_dir_all(folder)).await;
        if let Ok(Err(error)) = removed {
            tracing::warn!(%error, site, release, "a refused release could not be removed");
        }
    }

    /// Removes releases that are too old to go back to, and failed ones. What can't be removed is told and left.
    async fn prune(&self, site: &str, events: &EventSink) {
        match self.try_prune(site).await {
            Ok(0) => {}
            Ok(1) => step(events, "prune", "Removed an old release".to_owned()),
            Ok(count) => step(events, "prune", format!("Removed {count} old releases")),
            Err(error) => events.warning(format!("Old releases could not be removed: {error}")),
        }
    }

    async fn try_prune(&self, site: &str) -> Result<usize, OperationError> {
        let row = self.row(site).await?;
        let rows = self.store.releases(site).await?;
        let is_ready = |id: &str| {
            rows.iter().any(|release| release.id == id && release.state == ReleaseState::Ready)
        };
        let ready: Vec<String> =
            rows.iter().map(|release| release.id.clone()).filter(|id| is_ready(id)).collect();
        let (releases, keep) = (self.paths.releases(site), self.config.keep_releases);
        let live = row.live_release.unwrap_or_default();
        let removed = tokio::task::spawn_blocking(move || prune(&releases, &ready, &live, keep))
            .await
            .map_err(std::io::Error::other)??;
        let old: Vec<&String> = removed.iter().filter(|id| is_ready(id)).collect();
        for id in &old {
            self.store.remove_release(site, id).await?;
        }
        Ok(old.len())
    }
}
