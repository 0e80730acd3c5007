//! What happens to a site whose live release does not hold: it is tried again and again, and the release before it serves in its
//! place where it went live only a while ago.
//!
//! Source: DESIGN section 1.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::change::{Change, Renew, nobody};
use super::{Appliance, OperationError};
use crate::api::EventKind;
use crate::engine::{Generation, Loaded};
use crate::logs::Source;
use crate::process::BackOff;
use crate::store::{Commit, FallbackRow, SiteRow};

/// A release that went live so long ago has held: what ends it now is not its code, and an older one would not help.
const NEW: Duration = Duration::from_secs(3600);

impl Appliance {
    /// Gives up releases whose workers keep ending.
    pub(super) fn fall_back_where_due(self: &Arc<Self>) {
        let mut running = self.running.lock();
        let due: Vec<_> = running
            .crews
            .values()
            .filter_map(|crew| {
                Some((crew.site().to_owned(), crew.release().to_owned(), crew.keeps_ending()?))
            })
            .collect();
        for (site, release, problem) in due {
            // One attempt at a time; the next end of a worker brings the next.
            if running.falling_back.insert(site.clone()) {
                let appliance = Arc::clone(self);
                self.tasks.spawn(async move {
                    appliance.fall_back(&site, FallbackRow { release, problem }).await;
                    appliance.running.lock().falling_back.remove(&site);
                });
            }
        }
    }

    async fn fall_back(self: &Arc<Self>, site: &str, from: FallbackRow) {
        let _one_at_a_time = self.operation.lock().await;
        self.fall_back_locked(site, &from).await;
    }

    /// Whether an earlier release is live now.
    async fn fall_back_locked(self: &Arc<Self>, site: &str, from: &FallbackRow) -> bool {
        if self.in_place || self.shutdown.is_cancelled() {
            return false;
        }
        let was_unsteady = self.running.lock().forgive(site);
        let text = match self.try_to_fall_back(site, from).await {
            Ok(None) => None,
            Ok(Some(release)) => Some(fallback_text(from, &release)),
            Err(error) => Some(format!(
                "release {} keeps ending ({}), and the one before it can't take its place: {error}",
                from.release, from.problem
            )),
        };
        let row = self.row(site).await.ok();
        let fell_back = row.is_some_and(|row| row.live_release.as_ref() != Some(&from.release));
        if !fell_back && was_unsteady {
            self.running.lock().unsteady.insert(site.to_owned());
        }
        if let Some(text) = text {
            tracing::error!(site, text, "a release does not hold");
            self.tell(EventKind::Fallback, site, Some(&from.release), &text);
        }
        fell_back
    }

    /// The release that serves now; `None` where none shall.
    async fn try_to_fall_back(
        self: &Arc<Self>,
        site: &str,
        from: &FallbackRow,
    ) -> Result<Option<String>, OperationError> {
        let row = self.row(site).await?;
        let is_it = row.live_release.as_ref() == Some(&from.release) && !row.stopped;
        let now = Instant::now();
        let age = self.live_since.lock().age(site, &from.release, row.live_ms, now);
        if !is_it || age.is_none_or(|age| age >= NEW) {
            return Ok(None);
        }
        let Ok(release) = self.release_to_go_back_to(&row, None).await else { return Ok(None) };
        let (domains, catch_all) = (row.domains.clone(), row.catch_all);
        let target = self.layout_with(row, &release).await?;
        let path = target.path_of(site);
        let commit = Commit { site, release: &release, domains: &domains, path: &path, catch_all };
        let events = &nobody();
        let change = Change { target, site, renew: Renew::Keep, events };
        self.change(change, self.store.fall_back(&commit, from)).await?;
        Ok(Some(release))
    }

    /// Tries again and again to load what an engine could not load: what it misses may come back.
    pub(super) fn watch_load(self: &Arc<Self>, engine: &Arc<Generation>) {
        let Some(embedded) = engine.embedded.clone() else { return };
        let (appliance, engine) = (Arc::clone(self), Arc::clone(engine));
        self.tasks.spawn(async move {
            let mut back_off = BackOff::new();
            loop {
                let failure = tokio::select! {
                    // No limit: it may load as long as it likes.
                    loaded = engine.loaded(Duration::MAX) => loaded,
                    () = appliance.shutdown.cancelled() => return,
                };
                if failure.is_ok() {
                    return;
                }
                tokio::select! {
                    () = tokio::time::sleep(back_off.after_end(Instant::now())) => {}
                    () = appliance.shutdown.cancelled() => return,
                }
                let _one_at_a_time = appliance.operation.lock().await;
                let Some(problem) = appliance.still_failed(&engine) else { return };
                let (site, release) = (&embedded.site, embedded.release.clone());
                let from = FallbackRow { release, problem };
                if back_off.is_a_loop() && appliance.fall_back_locked(site, &from).await {
                    return;
                }
                let (target, events) = (appliance.layout(), &nobody());
                let change = Change { target, site, renew: Renew::Replace, events };
                if appliance.change(change, async { Ok(()) }).await.is_ok() {
                    appliance.logs.write(site, Source::Onebox, "loaded at last");
                    return;
                }
            }
        });
    }

    /// Why the engine serves its site's failure; `None` where it is not the current one any more.
    fn still_failed(&self, engine: &Arc<Generation>) -> Option<String> {
        let running = self.running.lock();
        running.engine.as_ref().filter(|current| Arc::ptr_eq(current, engine))?;
        match engine.load_state() {
            Loaded::Failed(failure) => Some(failure.summary),
            Loaded::Waiting | Loaded::Ready => None,
        }
    }
}

/// What is said of a site that an earlier release serves.
pub(super) fn fallback_text(from: &FallbackRow, live: &str) -> String {
    let FallbackRow { release, problem } = from;
    format!(
        "release {release} did not hold ({problem}): {live} serves in its place; `onebox restart` tries {release} again"
    )
}

/// The same for what the database knows.
pub(super) fn fallback_of(row: &SiteRow) -> Option<String> {
    row.fallback
        .as_ref()
        .map(|from| fallback_text(from, row.live_release.as_deref().unwrap_or("none")))
}
