//! A deploy: prepare, start, health, commit, switch, drain, prune.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures_util::Stream;

use super::certificates;
use super::change::{Change, Renew, step};
use super::release::{Place, resolve};
use super::{Appliance, OperationError, OperationFailure, SiteRelease};
use crate::api::{CertificateSource, DeployEvent, DeployQuery, EventKind, ReleaseState};
use crate::deploy::archive::ArchiveLimits;
use crate::deploy::events::EventSink;
use crate::deploy::leftover;
use crate::deploy::release::prune;
use crate::deploy::{HalfRelease, Prepared, StageContext, prepare, receive};
use crate::logs::Source;
use crate::store::Commit;

/// Whom a site answers to.
#[derive(Debug, Clone)]
pub(super) struct Hosts {
    pub(super) domains: Vec<String>,
    /// Everybody whom no site names, too: the first site without domains does.
    pub(super) catch_all: bool,
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
        self.store.fail_interrupted_releases().await?;
        let context = self.stage_context().await?;
        let release = receive(&context, archive, &query, events)
            .await
            .map_err(|failure| OperationFailure::from(&failure))?;
        self.complete(&context, release, begun, events).await
    }

    /// From the files of a release to its end, good or bad.
    pub(super) async fn complete(
        self: &Arc<Self>,
        context: &StageContext,
        release: HalfRelease,
        begun: Instant,
        events: &EventSink,
    ) -> Result<DeployEvent, OperationError> {
        let (site, id) = (release.site().to_owned(), release.id().to_owned());
        // From here on whatever fails is on record, and `rm` finds the site.
        self.running.lock().deploying = Some(site.clone());
        let result = self.make_and_go_live(context, release, events).await;
        self.running.lock().deploying = None;
        if let Err(error) = &result {
            // A full disk is a reason for both; the next deploy makes up for it.
            if let Err(unwritten) = self.store.fail_release(&site, &id, &error.to_string()).await {
                tracing::warn!(site, release = id, error = %unwritten, "a failed deploy could not be put on record");
            }
            let text = format!("deploy of {id} failed: {error}");
            self.tell(EventKind::DeployFailed, &site, Some(&id), &text);
            self.logs.write(&site, Source::Onebox, error.detail());
        }
        self.prune(&site, events).await;
        self.announce();
        result?;
        self.tell(EventKind::Deploy, &site, Some(&id), &format!("release {id} is live"));
        Ok(self.done(&site, &id, begun))
    }

    async fn make_and_go_live(
        self: &Arc<Self>,
        context: &StageContext,
        release: HalfRelease,
        events: &EventSink,
    ) -> Result<(), OperationError> {
        let site = release.site().to_owned();
        self.store.add_site(&site).await?;
        self.store.add_release(&site, release.id()).await?;
        self.announce();
        let hosts = self.hosts(&site, release.domains(), release.url_path()).await?;
        self.warn_of_leftovers(&release, events).await?;
        let is_only_local = hosts.domains.is_empty() && !hosts.catch_all;
        let prepared = prepare(context, release, events)
            .await
            .map_err(|failure| OperationFailure::from(&failure))?;
        self.go_live(prepared, hosts, events).await?;
        for certificate in self.certificates.status(&site) {
            // What an authority says comes later.
            if let (CertificateSource::Internal, Some(problem)) =
                (certificate.source, certificate.problem)
            {
                events.warning(problem);
            }
        }
        if is_only_local {
            events.warning(format!(
                "{site} is found only on this machine, as {site}.localhost: give it `domains = [\"…\"]` in onebox.toml, \
                 or deploy it with `--domain HOST`"
            ));
        }
        Ok(())
    }

    /// Tells what the live release wrote that the new one will not have.
    async fn warn_of_leftovers(
        &self,
        release: &HalfRelease,
        events: &EventSink,
    ) -> Result<(), OperationError> {
        let site = release.site();
        let Some(live) = self.row(site).await?.live_release else { return Ok(()) };
        let live = self.paths.releases(site).join(live);
        let (app, persist) = release.files();
        let persist = persist.to_vec();
        let warnings =
            tokio::task::spawn_blocking(move || leftover::warnings(&live, &app, &persist));
        for warning in warnings.await.map_err(std::io::Error::other)? {
            events.warning(warning);
        }
        Ok(())
    }

    pub(super) async fn stage_context(&self) -> Result<StageContext, OperationError> {
        let mut variables = BTreeMap::new();
        for row in self.store.sites().await? {
            let of_site = self.store.variables(&row.name).await?;
            variables.insert(row.name, of_site);
        }
        Ok(StageContext {
            defaults: self.site_defaults(),
            variables,
            ids: Arc::clone(&self.release_ids),
            limits: ArchiveLimits::default(),
        })
    }

    async fn go_live(
        self: &Arc<Self>,
        prepared: Prepared,
        hosts: Hosts,
        events: &EventSink,
    ) -> Result<(), OperationError> {
        let Hosts { domains, catch_all } = hosts.clone();
        let release = self.as_release(prepared, hosts).await?;
        let (site, id) = (release.site.clone(), release.release.clone());
        let path = release.config.path.clone();
        // New code has a clean record.
        self.running.lock().forgive(&site);
        let target = self.layout_with_release(release)?;
        let commit =
            Commit { site: &site, release: &id, domains: &domains, path: &path, catch_all };
        let change = Change { target, site: &site, renew: Renew::Keep, events };
        self.change(change, self.store.make_live(&commit)).await?;
        Ok(())
    }

    /// A release as it shall run.
    ///
    /// # Errors
    /// Where a certificate or an authority that its configuration names can't be used.
    pub(super) async fn as_release(
        &self,
        prepared: Prepared,
        hosts: Hosts,
    ) -> Result<SiteRelease, OperationError> {
        let Prepared { site, release_id, mut config, plan } = prepared;
        let place = Place::of(&self.site_defaults(), &site, &release_id, &config);
        resolve(&mut config, &place);
        let folders = self.settings().config.tls_folders.clone();
        let (own, routing) = (place.own_files(&config, &folders), config.routing.clone());
        let (upstreams, run_plan, user) =
            (config.upstreams.clone(), plan.clone(), self.user.clone());
        let check = move || {
            certificates::check_authorities(&upstreams, user.as_ref())?;
            own.map_or(Ok(()), |files| certificates::check(&files, &routing, &run_plan))
        };
        tokio::task::spawn_blocking(check).await.map_err(std::io::Error::other)??;
        Ok(SiteRelease {
            maintenance: self.store.site(&site).await?.is_some_and(|row| row.maintenance),
            variables: self.store.variables(&site).await?,
            place,
            site,
            release: release_id,
            config,
            plan,
            domains: hosts.domains,
            catch_all: hosts.catch_all,
            stopped: false,
            development: false,
        })
    }

    /// The hosts of a site: those that its deploy names, else those it has.
    ///
    /// # Errors
    /// Where another site has one of them.
    pub(super) async fn hosts(
        &self,
        site: &str,
        wanted: &[String],
        path: &str,
    ) -> Result<Hosts, OperationError> {
        let rows = self.store.sites().await?;
        let domains = match rows.iter().find(|row| row.name == site) {
            Some(known) if wanted.is_empty() => known.domains.clone(),
            _ => wanted.to_vec(),
        };
        self.store
            .check_hosts(site, &domains, path)
            .await
            .map_err(|error| OperationFailure::new("check", error.to_string()))?;
        let is_taken = rows.iter().any(|row| row.catch_all && row.name != site && row.path == path);
        Ok(Hosts { catch_all: domains.is_empty() && !is_taken, domains })
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
        let live = row.live_release.unwrap_or_default();
        let keep = self.settings().config.keep_releases;
        let of_state = |state: ReleaseState| rows.iter().filter(move |row| row.state == state);
        // Of those that failed the record stays, of as many.
        let failed = of_state(ReleaseState::Failed).skip(keep);
        let old: Vec<_> =
            of_state(ReleaseState::Ready).skip(keep).filter(|old| old.id != live).collect();
        // The rows first: what is killed in between leaves a folder that the next deploy removes, and no release without files.
        for gone in failed.chain(old.iter().copied()) {
            self.store.remove_release(site, &gone.id).await?;
        }
        let is_old = |id: &String| old.iter().any(|old| old.id == *id);
        let ready = of_state(ReleaseState::Ready).map(|row| row.id.clone());
        let stay: Vec<String> = ready.filter(|id| !is_old(id)).collect();
        let releases = self.paths.releases(site);
        tokio::task::spawn_blocking(move || prune(&releases, &stay))
            .await
            .map_err(std::io::Error::other)??;
        Ok(old.len())
    }
}
