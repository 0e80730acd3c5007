//! What an operator asks for, one at a time: restart, rollback, stop, start, remove.

use std::sync::Arc;
use std::time::Instant;

use onebox_proxy::Purge;
use tokio::time::timeout;

use super::change::{Change, OBEDIENCE, Renew, nobody, obeyed};
use super::{Appliance, Layout, OperationError, OperationFailure, SiteRelease, Unsteady};
use crate::api::{DeployEvent, EventKind, ReleaseState};
use crate::deploy::events::EventSink;
use crate::deploy::release::discard;
use crate::logs::Source;
use crate::store::{Commit, SiteRow};

impl Appliance {
    /// Replaces the processes of a site that run its live release; a stopped site is started. A release that did not hold is tried
    /// again.
    ///
    /// # Errors
    /// [`OperationError`]; the old processes go on then.
    pub(crate) async fn restart(
        self: &Arc<Self>,
        site: &str,
        events: &EventSink,
    ) -> Result<DeployEvent, OperationError> {
        let _one_at_a_time = self.operation.lock().await;
        self.restart_locked(site, events).await
    }

    pub(super) async fn restart_locked(
        self: &Arc<Self>,
        site: &str,
        events: &EventSink,
    ) -> Result<DeployEvent, OperationError> {
        let begun = Instant::now();
        let row = self.row(site).await?;
        let live = live_release(&row)?;
        let release =
            row.fallback.as_ref().map_or_else(|| live.clone(), |from| from.release.clone());
        let (domains, catch_all) = (row.domains.clone(), row.catch_all);
        let target = self.layout_with(SiteRow { stopped: false, ..row }, &release).await?;
        let path = target.path_of(site);
        let change = Change { target, site, renew: Renew::Replace, events };
        let commit = Commit { site, release: &release, domains: &domains, path: &path, catch_all };
        if release == live {
            self.change(change, self.store.set_stopped(site, false)).await?;
        } else {
            self.change(change, self.store.make_live(&commit)).await?;
        }
        self.tell(EventKind::Restart, site, Some(&release), "restarted");
        Ok(self.done(site, &release, begun))
    }

    /// Makes an earlier release live again: the given one, else the one before the live one.
    ///
    /// # Errors
    /// [`OperationError`]; the live release goes on then.
    pub(crate) async fn rollback(
        self: &Arc<Self>,
        site: &str,
        wanted: Option<&str>,
        events: &EventSink,
    ) -> Result<DeployEvent, OperationError> {
        let _one_at_a_time = self.operation.lock().await;
        let begun = Instant::now();
        let row = self.row(site).await?;
        let release = self.release_to_go_back_to(&row, wanted).await?;
        let (domains, catch_all) = (row.domains.clone(), row.catch_all);
        let target = self.layout_with(SiteRow { stopped: false, ..row }, &release).await?;
        let path = target.path_of(site);
        let commit = Commit { site, release: &release, domains: &domains, path: &path, catch_all };
        let change = Change { target, site, renew: Renew::Keep, events };
        self.change(change, self.store.make_live(&commit)).await?;
        let text = format!("rolled back to release {release}");
        self.tell(EventKind::Rollback, site, Some(&release), &text);
        Ok(self.done(site, &release, begun))
    }

    pub(super) async fn release_to_go_back_to(
        &self,
        row: &SiteRow,
        wanted: Option<&str>,
    ) -> Result<String, OperationError> {
        let live = live_release(row)?;
        let releases = self.store.releases(&row.name).await?;
        let mut ready = releases.iter().filter(|release| release.state == ReleaseState::Ready);
        let found = match wanted {
            Some(wanted) => ready.find(|release| release.id == wanted),
            None => ready.find(|release| release.id < live),
        };
        found.map(|release| release.id.clone()).ok_or_else(|| {
            let site = row.name.clone();
            match wanted {
                Some(wanted) => OperationError::NotServable { site, release: wanted.to_owned() },
                None => OperationError::NoRelease(format!(
                    "{site} has no release before the live one ({live})"
                )),
            }
        })
    }

    /// Takes a site off line; it stays so over restarts of the appliance.
    ///
    /// # Errors
    /// [`OperationError`]; the site goes on then.
    pub(crate) async fn stop(self: &Arc<Self>, site: &str) -> Result<(), OperationError> {
        self.set_stopped(site, true).await
    }

    /// Puts a stopped site back on line.
    ///
    /// # Errors
    /// [`OperationError`]; the site stays stopped then.
    pub(crate) async fn start_site(self: &Arc<Self>, site: &str) -> Result<(), OperationError> {
        self.set_stopped(site, false).await
    }

    async fn set_stopped(
        self: &Arc<Self>,
        site: &str,
        stopped: bool,
    ) -> Result<(), OperationError> {
        let _one_at_a_time = self.operation.lock().await;
        let row = self.row(site).await?;
        let release = live_release(&row)?;
        if row.stopped == stopped {
            return Ok(());
        }
        let target = self.layout_with(SiteRow { stopped, ..row }, &release).await?;
        let events = &nobody();
        let change = Change { target, site, renew: Renew::Keep, events };
        self.change(change, self.store.set_stopped(site, stopped)).await?;
        match stopped {
            true => self.tell(EventKind::Stop, site, None, "stopped"),
            false => self.tell(EventKind::Start, site, None, "started"),
        }
        Ok(())
    }

    /// Begins or ends the maintenance of a site; it stays so over deploys and restarts of the appliance. Nothing is started or
    /// asked: a site may be out of order then.
    ///
    /// # Errors
    /// [`OperationError`] where there is no such site.
    pub(crate) async fn set_maintenance(
        self: &Arc<Self>,
        site: &str,
        maintenance: bool,
    ) -> Result<(), OperationError> {
        let _one_at_a_time = self.operation.lock().await;
        self.row(site).await?;
        self.store.set_maintenance(site, maintenance).await?;
        let releases = self.layout().releases().into_iter().map(|release| {
            if release.site == site {
                Arc::new(SiteRelease { maintenance, ..SiteRelease::clone(&release) })
            } else {
                release
            }
        });
        let target = Layout::at_any_rate(releases.collect(), &self.unsteady());
        self.running.lock().layout = target;
        if let Some((engine, sequence)) = self.publish()? {
            obeyed(&engine, sequence).await?;
        }
        let text = if maintenance { "maintenance began" } else { "maintenance ended" };
        self.tell(EventKind::Configuration, site, None, text);
        Ok(())
    }

    /// Takes stored answers out of a site's cache; how many there were.
    ///
    /// # Errors
    /// [`OperationError`] where there is no such site, or nothing of it is stored.
    pub(crate) async fn purge(&self, site: &str, what: &Purge) -> Result<u64, OperationError> {
        let stores = self
            .layout()
            .releases()
            .into_iter()
            .any(|release| release.site == site && release.config.routing.stores_answers());
        if !stores {
            self.row(site).await?;
            return Err(OperationError::Invalid(format!(
                "{site} stores no answers: write `cache = true` into its onebox.toml"
            )));
        }
        let mut answers = 0;
        // Engines that drain still answer on open connections.
        for engine in self.generations() {
            let purged = timeout(OBEDIENCE, engine.purge(site, what)).await;
            let late = || OperationFailure::new("purge", "the engine does not take orders");
            answers += purged.map_err(|_| late())??.unwrap_or_default();
        }
        Ok(answers)
    }

    /// Removes a site with its releases, its shared files and its logs.
    ///
    /// # Errors
    /// [`OperationError`] where another site can't be brought into its new place, or files can't be removed.
    pub(crate) async fn remove(self: &Arc<Self>, site: &str) -> Result<(), OperationError> {
        let _one_at_a_time = self.operation.lock().await;
        self.row(site).await?;
        let releases = self.layout().releases().into_iter().filter(|other| other.site != site);
        let target = Layout::at_any_rate(releases.collect(), &self.unsteady());
        let events = &nobody();
        let change = Change { target, site, renew: Renew::Keep, events };
        self.change(change, self.store.remove_site(site)).await?;
        self.journal.site(EventKind::Remove, site, None, "removed");
        self.running.lock().unreadable.remove(site);
        self.logs.forget(site);
        // Those that held for it are gone with it.
        self.take_in_rules().await?;
        let (paths, site) = (self.paths.clone(), site.to_owned());
        let certificates = Arc::clone(&self.certificates);
        let discarded = tokio::task::spawn_blocking(move || {
            certificates.forget(&site, &paths.certificates())?;
            discard(&paths, &paths.site_dir(&site))?;
            discard(&paths, &paths.cache_dir().join(&site))?;
            discard(&paths, &paths.logs(&site))
        });
        Ok(discarded.await.map_err(std::io::Error::other)??)
    }

    /// Tells what happened to a site, in its log and in the list of events.
    pub(super) fn tell(&self, kind: EventKind, site: &str, release: Option<&str>, text: &str) {
        self.logs.write(site, Source::Onebox, text);
        self.journal.site(kind, site, release, text);
    }

    /// What the database knows of a site.
    pub(super) async fn row(&self, site: &str) -> Result<SiteRow, OperationError> {
        if self.in_place {
            return Err(OperationError::InPlace);
        }
        self.store.site(site).await?.ok_or_else(|| OperationError::NoSite(site.to_owned()))
    }

    /// The layout as it is, with this release in place of the site's live one.
    pub(super) async fn layout_with(
        &self,
        row: SiteRow,
        release: &str,
    ) -> Result<Layout, OperationError> {
        let release = self.read_release(&row, release).await.map_err(OperationError::NoRelease)?;
        self.layout_with_release(release)
    }

    /// The same with a release that was read already.
    pub(super) fn layout_with_release(
        &self,
        release: SiteRelease,
    ) -> Result<Layout, OperationError> {
        let others =
            self.layout().releases().into_iter().filter(|other| other.site != release.site);
        let mut releases: Vec<_> = others.collect();
        releases.push(Arc::new(release));
        let layout = Layout::new(releases, &self.unsteady());
        layout.map_err(|error| OperationError::Failed(error.into()))
    }

    /// What shall run now.
    pub(super) fn layout(&self) -> Layout {
        self.running.lock().layout.clone()
    }

    pub(super) fn unsteady(&self) -> Unsteady {
        self.running.lock().unsteady.clone()
    }

    /// The last event of an operation that went well.
    pub(super) fn done(&self, site: &str, release: &str, begun: Instant) -> DeployEvent {
        DeployEvent::Done {
            site: site.to_owned(),
            release: release.to_owned(),
            urls: self.urls(site),
            total_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
        }
    }
}

pub(super) fn live_release(row: &SiteRow) -> Result<String, OperationError> {
    row.live_release.clone().ok_or_else(|| {
        OperationError::NoRelease(format!(
            "{} has no live release: its deploy never succeeded",
            row.name
        ))
    })
}
