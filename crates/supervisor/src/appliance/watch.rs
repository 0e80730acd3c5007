//! What is seen to by itself: an engine that dies is replaced at once, and the engine learns of workers that come and go.

use std::sync::Arc;
use std::time::{Duration, Instant};

use onebox_metrics::Snapshot;
use tokio::time::timeout;

use super::change::{Change, OBEDIENCE, Renew, nobody};
use super::{Appliance, Layout, Running};
use crate::api::{EventKind, Mode};
use crate::engine::Generation;
use crate::logs::{LogRules, Source};
use crate::workers::{Crew, Load};

/// How long the end of an engine is held against the site that it embedded.
const MEMORY: Duration = Duration::from_secs(600);
/// So many ends in that time are too many: the site gets processes of its own.
const TOO_MANY: usize = 2;
/// How often log files are looked at.
const LOG_CHECKS: Duration = Duration::from_secs(10);

impl Appliance {
    /// Watches the current engine until it is replaced or the appliance ends.
    pub(super) fn watch_engine(self: &Arc<Self>, generation: Arc<Generation>) {
        self.watch_interpreter(Arc::clone(&generation));
        let appliance = Arc::clone(self);
        self.tasks.spawn(async move {
            let exit = tokio::select! {
                exit = generation.exited() => exit,
                () = appliance.shutdown.cancelled() => return,
            };
            let (pause, unsteady) = {
                let mut running = appliance.running.lock();
                if !running.engine.as_ref().is_some_and(|engine| Arc::ptr_eq(engine, &generation)) {
                    return;
                }
                running.engine = None;
                running.crashes += 1;
                let now = Instant::now();
                let site = generation.embedded.as_ref().map(|embedded| embedded.site.clone());
                let unsteady = site.and_then(|site| running.unsteady_after(site, now));
                (running.back_off.after_end(now), unsteady)
            };
            tracing::error!(generation = generation.number, %exit, ?pause, "engine ended by itself");
            let text = format!("the engine {exit}; the next one starts in {pause:?}");
            appliance.journal.the_box(EventKind::EngineCrash, &text);
            if let Some(embedded) = &generation.embedded {
                appliance.logs.write(&embedded.site, Source::Onebox, &text);
            }
            appliance.announce();
            tokio::select! {
                () = tokio::time::sleep(pause) => appliance.replace_engine().await,
                () = appliance.shutdown.cancelled() => return,
            }
            if let Some((site, proof)) = unsteady {
                appliance.isolate(&site, proof).await;
            }
        });
    }

    /// Moves a site out of the engine that it ends again and again.
    pub(super) async fn isolate(self: &Arc<Self>, site: &str, proof: Proof) {
        let _one_at_a_time = self.operation.lock().await;
        let layout = self.layout();
        if !layout.site(site).is_some_and(|placed| placed.mode == Mode::Embedded) {
            return;
        }
        // What its configuration insists on can't be kept.
        let target = Layout::at_any_rate(layout.releases(), &self.unsteady());
        let events = &nobody();
        let change = Change { target, site, renew: Renew::Keep, events };
        let isolated = match proof {
            Proof::Needed => self.change(change, async { Ok(()) }).await,
            Proof::Waived => self.change_unproven(change).await,
        };
        let text = match isolated {
            Ok(()) => {
                "moved to a process of its own: it ended or wedged the engine again and again"
                    .into()
            }
            Err(failure) => format!("can't be moved to a process of its own: {failure}"),
        };
        tracing::warn!(site, text, "unsteady site");
        self.journal.site(EventKind::Isolation, site, None, &text);
        self.logs.write(site, Source::Onebox, &text);
    }

    /// Starts an engine where there is none; it accepts at once, and requests of a site that is still loading wait.
    async fn replace_engine(self: &Arc<Self>) {
        loop {
            let (layout, crews) = {
                let running = self.running.lock();
                if running.engine.is_some() {
                    return;
                }
                (running.layout.clone(), running.crews.clone())
            };
            let error = match self.start_engine(&layout, &crews) {
                Ok(engine) => return self.install(engine).await,
                Err(error) => error,
            };
            let pause = self.running.lock().back_off.after_end(Instant::now());
            tracing::error!(%error, ?pause, "no engine can be started");
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.shutdown.cancelled() => return,
            }
        }
    }

    /// Makes a fresh engine the current one, unless an operation was faster.
    pub(super) async fn install(self: &Arc<Self>, engine: Arc<Generation>) {
        let is_current = {
            let mut running = self.running.lock();
            let is_free = running.engine.is_none() && !self.shutdown.is_cancelled();
            if is_free {
                running.replace_engine(&engine);
            }
            is_free
        };
        if !is_current {
            return engine.kill().await;
        }
        engine.accept();
        // What changed since its configuration was made.
        self.publish().ok();
        self.watch_load(&engine);
        self.watch_engine(engine);
    }

    /// What holds for log files at this moment.
    fn log_rules(&self) -> LogRules {
        let layout = self.layout();
        let sites = layout.sites().map(|placed| &placed.release);
        LogRules {
            sites: sites
                .map(|release| (release.site.clone(), release.config.log.clone()))
                .collect(),
            budget: self.settings().config.log_budget,
            engine: self.user.clone(),
        }
    }

    async fn look_after_logs(&self) {
        let (logs, rules) = (Arc::clone(&self.logs), self.log_rules());
        let looked = tokio::task::spawn_blocking(move || logs.look_after(&rules)).await;
        if let Ok(Err(error)) = looked {
            tracing::warn!(%error, "log files could not be looked after");
        }
    }

    /// Has all log files opened anew, because somebody has put them aside; what else is due for them is done, too.
    pub(crate) async fn reopen_logs(&self) {
        if self.in_place {
            return;
        }
        self.logs.reopen();
        // First, so that an engine of another user finds files that it may write.
        self.look_after_logs().await;
        if let Some(engine) = self.generations().first() {
            engine.reopen_logs();
        }
        tracing::info!("the log files were opened anew");
    }

    /// Looks now and then whether something is due for log files.
    pub(super) fn watch_logs(self: &Arc<Self>) {
        let appliance = Arc::clone(self);
        self.tasks.spawn(async move {
            loop {
                tokio::select! {
                    () = tokio::time::sleep(LOG_CHECKS) => {}
                    () = appliance.shutdown.cancelled() => return,
                }
                appliance.look_after_logs().await;
            }
        });
    }

    /// Keeps the copy of the database what it should be.
    pub(super) fn watch_store(self: &Arc<Self>) {
        if self.in_place {
            return;
        }
        let appliance = Arc::clone(self);
        self.tasks.spawn(async move {
            loop {
                tokio::select! {
                    () = appliance.store.changed() => {}
                    () = appliance.shutdown.cancelled() => return,
                }
                if let Err(error) = appliance.store.copy().await {
                    tracing::warn!(%error, "state.db could not be copied; its last copy stays");
                }
            }
        });
    }

    /// Tells the engine which workers there are, and whoever waits for it that the engine goes by it.
    async fn publish_workers(&self) {
        let change = self.workers.last_change();
        if let Ok(Some((engine, sequence))) = self.publish() {
            // An engine that is stuck is seen to elsewhere.
            timeout(OBEDIENCE, engine.configured(sequence)).await.ok();
        }
        self.workers.settle(change);
    }

    fn crew(&self, site: &str) -> Option<Arc<Crew>> {
        self.running.lock().crews.get(site).cloned()
    }

    /// Gives every site as many processes as it shall have after a second in which this was counted.
    pub(crate) fn adapt_crews(&self, counted: &Snapshot, memory_available: u64) {
        let crews: Vec<_> = self.running.lock().crews.values().cloned().collect();
        for crew in crews {
            let in_flight = counted.sites.get(crew.site()).map_or(0, |site| site.in_flight);
            crew.adapt(Load { in_flight, memory_available });
        }
    }

    /// Passes on to the engine which workers there are, whenever one comes or goes; wakes sites that sleep.
    pub(super) fn watch_workers(self: &Arc<Self>) {
        let appliance = Arc::clone(self);
        self.tasks.spawn(async move {
            loop {
                tokio::select! {
                    () = appliance.workers.changed.notified() => {
                        appliance.publish_workers().await;
                        appliance.fall_back_where_due();
                    }
                    sites = appliance.engines.wanted.taken() => {
                        for crew in sites.iter().filter_map(|site| appliance.crew(site)) {
                            crew.wake();
                        }
                    }
                    () = appliance.shutdown.cancelled() => return,
                }
            }
        });
    }
}

/// Whether workers are looked at before the engine is freed of a site.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Proof {
    /// The engine may hold on yet.
    Needed,
    /// It does not.
    Waived,
}

impl Running {
    /// Remembers that an engine with this site ended by itself or was wedged; whether that makes the site unsteady.
    pub(super) fn unsteady_after(&mut self, site: String, now: Instant) -> Option<(String, Proof)> {
        self.crash_history.retain(|(at, _)| now.duration_since(*at) < MEMORY);
        self.crash_history.push((now, site.clone()));
        let ends = self.crash_history.iter().filter(|(_, other)| *other == site).count();
        let proof = match ends {
            ..TOO_MANY => return None,
            TOO_MANY => Proof::Needed,
            _ => Proof::Waived,
        };
        self.unsteady.insert(site.clone());
        Some((site, proof))
    }

    /// Gives a site a clean record, for another release; whether it was unsteady.
    pub(super) fn forgive(&mut self, site: &str) -> bool {
        self.crash_history.retain(|(_, other)| other != site);
        self.unsteady.remove(site)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_ends_within_ten_minutes_make_a_site_unsteady() {
        let (mut running, start) = (Running::default(), Instant::now());
        let mut after = |site: &str, at: Instant| {
            running.unsteady_after(site.to_owned(), at).map(|(_, proof)| proof)
        };
        assert_eq!(after("blog", start), None);
        assert_eq!(after("shop", start), None);
        assert_eq!(after("blog", start + MEMORY), None);
        assert_eq!(after("blog", start + MEMORY * 3 / 2), Some(Proof::Needed));
        assert_eq!(after("blog", start + MEMORY * 3 / 2), Some(Proof::Waived));
        assert!(running.forgive("blog") && !running.forgive("blog"));
        assert_eq!(running.unsteady_after("blog".to_owned(), start + MEMORY * 3 / 2), None);
    }
}
