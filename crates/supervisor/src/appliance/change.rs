//! From what runs to what shall run: stage, prove, commit, switch.
//!
//! Every operation is a change of the layout. What needs fresh processes gets them beside the old ones; nothing that serves is
//! touched before the new is proven and the database says that it is live.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use onebox_config::site::Processes;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::layout::{Candidate, Crews, Layout, Placed};
use super::{Appliance, OperationFailure};
use crate::api::{DeployEvent, Mode};
use crate::deploy::events::EventSink;
use crate::deploy::health::{self, Probe};
use crate::engine::{EmbeddedSite, Generation};
use crate::site_sockets::SiteSocket;
use crate::store::StoreError;
use crate::workers::{Crew, Past};

/// How long an engine may take to obey an order that needs no application.
pub(super) const OBEDIENCE: Duration = Duration::from_secs(20);

/// What is to become true.
pub(super) struct Change<'a> {
    pub(super) target: Layout,
    /// The site that the change is about: it is proven before the switch.
    pub(super) site: &'a str,
    /// Whether that site gets fresh processes though its release stays.
    pub(super) renew: Renew,
    pub(super) events: &'a EventSink,
}

/// Whether processes that run the right release already are replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Renew {
    /// They stay.
    Keep,
    /// They are replaced: a restart.
    Replace,
}

/// What was started for a change and serves nobody yet.
struct Staged {
    /// Every site's workers as they shall be, old and fresh.
    crews: Crews,
    fresh: Vec<Arc<Crew>>,
    engine: Option<Arc<Generation>>,
}

impl Appliance {
    /// Carries out a change; `commit` makes it true in the database, after the proof and before the switch.
    ///
    /// # Errors
    /// [`OperationFailure`] with the step that failed; all is as it was before.
    pub(super) async fn change(
        self: &Arc<Self>,
        change: Change<'_>,
        commit: impl Future<Output = Result<(), StoreError>>,
    ) -> Result<(), OperationFailure> {
        self.open_sockets(&change)?;
        let mut staged = match self.stage(&change) {
            Ok(staged) => staged,
            Err(failure) => {
                self.keep_sockets();
                return Err(failure);
            }
        };
        let proven = match self.prove(&change, &mut staged).await {
            Ok(()) => commit.await.map_err(OperationFailure::from),
            Err(failure) => Err(failure),
        };
        if let Err(failure) = proven {
            self.unstage(staged).await;
            return Err(failure);
        }
        self.switch(change, staged).await;
        Ok(())
    }

    /// Carries out a change that leaves nothing behind worth keeping: what is started is not waited for, and the database has
    /// nothing to say.
    ///
    /// # Errors
    /// [`OperationFailure`] where a process can't even be started.
    pub(super) async fn change_unproven(
        self: &Arc<Self>,
        change: Change<'_>,
    ) -> Result<(), OperationFailure> {
        let mut staged = self.stage(&change)?;
        if self.engine_that_can_serve(&change).is_none() {
            let engine = self.start_engine(&change.target, &staged.crews).map_err(|error| {
                OperationFailure::new("start", format!("no engine can be started: {error}"))
            });
            match engine {
                Ok(engine) => staged.engine = Some(engine),
                Err(failure) => {
                    self.unstage(staged).await;
                    return Err(failure);
                }
            }
        }
        self.switch(change, staged).await;
        Ok(())
    }

    /// Opens the uwsgi sockets that are missing; those of other sites are no reason to refuse a change.
    fn open_sockets(&self, change: &Change<'_>) -> Result<(), OperationFailure> {
        for wanted in change.target.sockets() {
            match self.sockets.open(&wanted) {
                Err(error) if wanted.site == change.site => {
                    self.keep_sockets();
                    return Err(OperationFailure::new("start", error.to_string()));
                }
                Err(error) => {
                    tracing::warn!(site = wanted.site, %error, "a uwsgi socket can't be opened");
                }
                Ok(()) => {}
            }
        }
        Ok(())
    }

    /// Lets go of the uwsgi sockets that nothing live wants; dropped, they are closed.
    fn keep_sockets(&self) -> Vec<Arc<SiteSocket>> {
        self.sockets.keep(self.layout().sockets())
    }

    /// Starts the workers that are missing.
    fn stage(&self, change: &Change<'_>) -> Result<Staged, OperationFailure> {
        let running = self.running.lock().crews.clone();
        let mut staged = Staged { crews: Crews::new(), fresh: Vec::new(), engine: None };
        for placed in change.target.sites().filter(|placed| placed.wants_crew()) {
            let site = &placed.release.site;
            let known = running.get(site).filter(|crew| {
                crew.release() == placed.release.release
                    && !(change.renew == Renew::Replace && site == change.site)
            });
            let crew = match known {
                Some(crew) => Arc::clone(crew),
                None => {
                    let crew = self.start_crew(placed, Past::Unproven).map_err(|error| {
                        OperationFailure::new("start", format!("{site} can't be started: {error}"))
                    })?;
                    staged.fresh.push(Arc::clone(&crew));
                    crew
                }
            };
            staged.crews.insert(site.clone(), crew);
        }
        Ok(staged)
    }

    pub(super) fn start_crew(&self, placed: &Placed, past: Past) -> io::Result<Arc<Crew>> {
        Crew::start(&self.workers, placed.release.crew_spec(self.library.clone(), past)?)
    }

    /// Waits until what was started is ready, and checks the site's health through the engine that is to serve it.
    async fn prove(
        self: &Arc<Self>,
        change: &Change<'_>,
        staged: &mut Staged,
    ) -> Result<(), OperationFailure> {
        let placed = change.target.site(change.site).filter(|placed| !placed.release.stopped);
        if let Some(placed) = placed {
            step(change.events, "start", starting(placed));
        }
        for crew in &staged.fresh {
            crew.ready(self.patience(change, crew.site())).await?;
        }
        let engine = match self.engine_that_can_serve(change) {
            Some(engine) => engine,
            None => {
                let engine = self.start_engine(&change.target, &staged.crews).map_err(|error| {
                    OperationFailure::new("start", format!("no engine can be started: {error}"))
                })?;
                staged.engine = Some(Arc::clone(&engine));
                obeyed(&engine, 1).await?;
                let site = engine.embedded.as_ref().map_or(change.site, |embedded| &embedded.site);
                engine.loaded(self.patience(change, site)).await?;
                engine
            }
        };
        let Some(placed) = placed else { return Ok(()) };
        if staged.engine.is_none() {
            let crew = staged.crews.get(change.site).cloned();
            self.running.lock().candidate = Some(Candidate { placed: placed.clone(), crew });
            let told = self.publish();
            let told = told.map_err(|error| OperationFailure::new("start", error.to_string()))?;
            if let Some((engine, sequence)) = told {
                obeyed(&engine, sequence).await?;
            }
        }
        let release = &placed.release;
        let (host, check) = (release.probe_host(), release.health());
        step(change.events, "health", format!("Asking for {} as {host}", check.path));
        let probe = Probe {
            socket: engine.probe(),
            host: &host,
            kind: release.plan.kind,
            site: change.site,
        };
        Ok(health::check(&probe, &check).await?)
    }

    /// The current engine, unless the change needs a fresh interpreter or there is none.
    fn engine_that_can_serve(&self, change: &Change<'_>) -> Option<Arc<Generation>> {
        let engine = self.running.lock().engine.clone()?;
        let embeds = |embedded: &EmbeddedSite| (embedded.site.clone(), embedded.release.clone());
        let (has, wants) = (engine.embedded.as_ref().map(embeds), change.target.embedded());
        let is_renewed = change.renew == Renew::Replace
            && wants.as_ref().is_some_and(|embedded| embedded.site == change.site);
        let suits = has == wants.as_ref().map(embeds) && !is_renewed && engine.exit().is_none();
        suits.then_some(engine)
    }

    fn patience(&self, change: &Change<'_>, site: &str) -> Duration {
        change.target.site(site).map_or(OBEDIENCE, |placed| placed.release.patience())
    }

    async fn unstage(self: &Arc<Self>, staged: Staged) {
        let had_candidate = self.running.lock().candidate.take().is_some();
        if had_candidate && let Ok(Some((engine, sequence))) = self.publish() {
            obeyed(&engine, sequence).await.ok();
        }
        if let Some(engine) = staged.engine {
            engine.kill().await;
        }
        for crew in staged.fresh {
            self.dismiss(crew);
        }
        self.keep_sockets();
    }

    /// The database has said it: from here on nothing can fail, only what serves can die and be started again.
    async fn switch(self: &Arc<Self>, change: Change<'_>, staged: Staged) {
        step(change.events, "switch", "Moving the traffic".to_owned());
        let (old_engine, old_crews) = {
            let mut running = self.running.lock();
            let release = |layout: &Layout| {
                layout.site(change.site).map(|placed| placed.release.release.clone())
            };
            let (before, now) = (release(&running.layout), release(&change.target));
            if let Some(now) = now.filter(|now| before.as_ref() != Some(now)) {
                self.live_since.lock().note(change.site, &now, Instant::now());
            }
            running.candidate = None;
            running.unreadable.retain(|site, _| change.target.site(site).is_none());
            running.layout = change.target;
            let kept =
                |crew: &Arc<Crew>| staged.crews.values().any(|other| Arc::ptr_eq(other, crew));
            let old_crews: Vec<Arc<Crew>> =
                running.crews.values().filter(|crew| !kept(crew)).cloned().collect();
            running.crews = staged.crews;
            let old_engine = match &staged.engine {
                Some(engine) => running.replace_engine(engine),
                None => None,
            };
            (old_engine, old_crews)
        };
        let given_up = self.keep_sockets();
        self.renew_certificates(&self.layout()).await;
        match (staged.engine, old_engine) {
            (Some(fresh), Some(old)) => self.hand_over(fresh, old, old_crews, &given_up).await,
            (fresh, _) => {
                self.take_over(fresh).await;
                old_crews.into_iter().for_each(|crew| self.dismiss(crew));
            }
        }
    }

    /// Lets a fresh engine, which is the current one already, serve in the place of another one.
    pub(super) async fn hand_over(
        self: &Arc<Self>,
        fresh: Arc<Generation>,
        old: Arc<Generation>,
        old_crews: Vec<Arc<Crew>>,
        given_up: &[Arc<SiteSocket>],
    ) {
        self.take_over(Some(fresh)).await;
        // Whoever connects after the operation is served by the new; what is queued meanwhile is the new engine's too.
        let limit = self.settings().config.limits.drain_timeout;
        timeout(OBEDIENCE, old.stop_accepting(limit, given_up)).await.ok();
        // What its requests went to must not go before it.
        self.retire(old, old_crews, limit);
    }

    /// Tells the current engine what is live, and where it is a fresh one lets it accept.
    async fn take_over(self: &Arc<Self>, fresh: Option<Arc<Generation>>) {
        let published = self.publish();
        if let Some(engine) = fresh {
            engine.accept();
            self.watch_engine(engine);
        }
        if let Ok(Some((engine, sequence))) = published {
            obeyed(&engine, sequence).await.ok();
        }
    }
}

/// Events of an operation that nobody follows.
pub(super) fn nobody() -> EventSink {
    EventSink::new(mpsc::channel(1).0)
}

/// Sends a step's event.
pub(super) fn step(events: &EventSink, step: &str, text: String) {
    events.send(DeployEvent::Step { step: step.to_owned(), text });
}

fn starting(placed: &Placed) -> String {
    let release = &placed.release;
    match placed.mode {
        Mode::Static => format!("Serving the files of {}", release.site),
        Mode::Proxied => format!("Passing on the requests for {}", release.site),
        Mode::Embedded => format!("Loading {} in a new engine", release.site),
        Mode::Isolated => match release.config.processes {
            Processes::Fixed(1) | Processes::Auto => {
                format!("Starting a process of {}", release.site)
            }
            several => format!("Starting {several} processes of {}", release.site),
        },
    }
}

/// Waits until an engine has obeyed.
pub(super) async fn obeyed(engine: &Generation, sequence: u64) -> Result<(), OperationFailure> {
    match timeout(OBEDIENCE, engine.configured(sequence)).await {
        Ok(true) => Ok(()),
        Ok(false) => {
            let reason = format!("the engine {}", engine.exited().await);
            Err(OperationFailure::new("start", reason))
        }
        Err(_) => Err(OperationFailure::new("start", "the engine does not take orders")),
    }
}
