//! The one owner of what shall run and what runs.
//!
//! Operations (deploy, restart, stop …) come one at a time; what happens by itself (an engine dies, a worker comes up) is seen
//! to at once. `state.db` alone decides what is live: [`Running`] is rebuilt from it at start.

mod acme;
mod address_rules;
mod boot;
mod certificates;
mod change;
mod configuration;
mod deploys;
mod develop;
mod explain_url;
mod failure;
mod fallback;
mod fleet;
mod layout;
mod live_since;
mod operations;
mod release;
mod relief;
mod reload;
mod status;
mod variables;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use onebox_app_server::GilStalls;
use onebox_config::{Account, Paths};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::api::Sample;
use crate::certificates::Certificates;
use crate::deploy::ReleaseIds;
use crate::engine::protocol::{EngineConfig, HeirData};
use crate::engine::{EngineContext, Generation, GenerationSpec};
use crate::feed::{Event, Feed};
use crate::history::History;
use crate::journal::Journal;
use crate::logs::Logs;
use crate::process::BackOff;
use crate::site_sockets::SiteSockets;
use crate::store::Store;
use crate::users::SiteDefaults;
use crate::workers::{Crew, Recycles, Veteran, WorkerContext};

pub(crate) use address_rules::Asking;
use address_rules::HeldRules;
pub use boot::BootError;
pub(crate) use boot::{Purpose, Setup};
pub(crate) use configuration::Reader;
pub(crate) use failure::{OperationError, OperationFailure};
pub(crate) use fleet::Fleet;
pub(crate) use layout::Layout;
use layout::{Candidate, Crews, Placed};
use live_since::LiveSince;
pub(crate) use release::{SiteRelease, Unsteady};
pub(crate) use reload::Settings;

/// How long what runs may be in use before the appliance counts as stuck.
const RESPONSIVE: Duration = Duration::from_secs(1);
/// How many draining engines may live beside the current one.
const MOST_DRAINING: usize = 2;

/// The appliance.
#[derive(Debug)]
pub(crate) struct Appliance {
    pub(crate) paths: Paths,
    pub(crate) store: Store,
    pub(crate) logs: Arc<Logs>,
    pub(crate) journal: Arc<Journal>,
    pub(crate) history: Arc<History>,
    pub(crate) feed: Feed,
    /// What the last second came to.
    pub(crate) last_sample: Mutex<Option<Arc<Sample>>>,
    /// Cancelled when the appliance is to end.
    pub(crate) shutdown: CancellationToken,
    /// Whether it serves one folder in place and has no state.
    pub(crate) in_place: bool,
    started_ms: i64,
    /// The last engine that a supervisor before this one started.
    pub(crate) adopted: u64,
    library: PathBuf,
    /// Whom the engine and sites without a `uid` run as; `None`: as this process.
    user: Option<Account>,
    engines: EngineContext,
    sockets: SiteSockets,
    certificates: Arc<Certificates>,
    workers: Arc<WorkerContext>,
    operation: tokio::sync::Mutex<()>,
    tasks: TaskTracker,
    settings: Mutex<Settings>,
    live_since: Mutex<LiveSince>,
    release_ids: Arc<ReleaseIds>,
    rules: HeldRules,
    running: Mutex<Running>,
}

/// What runs now. Locked only for moments, never across an `.await`.
#[derive(Debug, Default)]
struct Running {
    layout: Layout,
    crews: Crews,
    /// Sites whose live release can't be read, and why.
    unreadable: BTreeMap<String, String>,
    engine: Option<Arc<Generation>>,
    draining: Vec<Arc<Generation>>,
    /// Those that became the current one since somebody counted: some may have ended already.
    uncounted: Vec<Arc<Generation>>,
    /// Workers of the supervisor before this one.
    veterans: Vec<Arc<Veteran>>,
    /// What only health checks see.
    candidate: Option<Candidate>,
    generations: u64,
    crashes: u64,
    /// The site that is being deployed.
    deploying: Option<String>,
    /// When engines ended by themselves, with the site that they embedded.
    crash_history: Vec<(Instant, String)>,
    unsteady: Unsteady,
    /// Sites for whose release an earlier one is being tried.
    falling_back: BTreeSet<String>,
    back_off: BackOff,
    /// How long the supervisor before this one would have waited at the end; counts until it is known what is live.
    mercy_before: Option<Duration>,
}

impl Running {
    /// The live release of a site.
    fn live(&self, site: &str) -> Result<&Placed, OperationError> {
        self.layout.site(site).ok_or_else(|| {
            OperationError::NoRelease(match self.unreadable.get(site) {
                Some(reason) => reason.clone(),
                None => format!("{site} has no live release"),
            })
        })
    }

    /// Every engine that lives: the current one first.
    fn engines(&self) -> impl Iterator<Item = &Arc<Generation>> {
        self.engine.iter().chain(&self.draining)
    }

    /// Makes a fresh engine the current one. The one before, which this returns, is to be retired.
    fn replace_engine(&mut self, fresh: &Arc<Generation>) -> Option<Arc<Generation>> {
        let old = self.engine.replace(Arc::clone(fresh));
        self.uncounted.push(Arc::clone(fresh));
        // From now on, so that it is told what all engines are told at any moment.
        self.draining.extend(old.clone());
        old
    }

    /// How long what is in flight may take when the appliance ends: as long as the most patient site says.
    fn mercy(&self) -> Duration {
        let longest = self.layout.sites().map(|placed| placed.release.config.reload_mercy).max();
        longest.or(self.mercy_before).unwrap_or(Duration::from_secs(10))
    }
}

impl Appliance {
    /// What holds for sites that say nothing else.
    pub(crate) fn site_defaults(&self) -> SiteDefaults {
        SiteDefaults { paths: self.paths.clone(), user: self.user.clone() }
    }

    /// Makes the access logs that the engine may not make itself.
    fn make_access_logs(&self, config: &EngineConfig) {
        let Some(user) = self.user.as_ref().filter(|_| !self.in_place) else { return };
        for site in config.sites.iter().chain(&config.candidates) {
            if let Err(error) = self.logs.make_access_log(&site.name, user) {
                tracing::warn!(site = site.name, %error, "the access log can't be made");
            }
        }
    }

    /// Starts an engine for the layout; it does not accept yet. Its number is the next one.
    fn start_engine(&self, layout: &Layout, crews: &Crews) -> io::Result<Arc<Generation>> {
        let number = {
            let mut running = self.running.lock();
            running.generations += 1;
            running.generations
        };
        let Settings { config, http, https, .. } = self.settings();
        let access = self.access_data(layout);
        let engine_config = layout.engine_config(crews, &self.library, None, access);
        self.make_access_logs(&engine_config);
        let spec = GenerationSpec {
            number,
            limits: config.limits.clone(),
            clients: config.clients.clone(),
            admin_hosts: config.admin_hosts.clone(),
            http,
            https,
            tls: self.certificates.data(),
            config: engine_config,
            embedded: layout.embedded(),
            sockets: &self.sockets.all(),
        };
        let generation = Generation::start(&self.engines, spec)?;
        tracing::info!(generation = number, pid = generation.pid(), "engine started");
        Ok(generation)
    }

    /// Tells the current engine what is live now; it and the order's number are for whoever waits until that is in force.
    /// `None`: there is no engine, and the next one starts with it.
    ///
    /// # Errors
    /// Where it can't be told, which is in the log then.
    fn publish(&self) -> io::Result<Option<(Arc<Generation>, u64)>> {
        let running = self.running.lock();
        let Some(engine) = running.engine.clone() else { return Ok(None) };
        let (layout, access) = (&running.layout, self.access_data(&running.layout));
        let candidate = running.candidate.as_ref();
        let config = layout.engine_config(&running.crews, &self.library, candidate, access);
        self.make_access_logs(&config);
        let sequence = engine.configure(config, &self.sockets.all())?;
        drop(running);
        self.announce();
        Ok(Some((engine, sequence)))
    }

    /// What it was told to be like.
    pub(crate) fn settings(&self) -> Settings {
        self.settings.lock().clone()
    }

    /// Whether it can do anything: what everybody needs is not held for longer than a moment.
    pub(crate) fn is_responsive(&self) -> bool {
        self.running.try_lock_for(RESPONSIVE).is_some()
    }

    /// Tells who watches that something changed.
    fn announce(&self) {
        self.feed.send(Event::Changed);
    }

    /// Lets an engine that was replaced finish and end, in the background, then the workers it went to; too many engines at once are cut short.
    fn retire(
        self: &Arc<Self>,
        generation: Arc<Generation>,
        crews: Vec<Arc<Crew>>,
        limit: Duration,
    ) {
        let running = self.running.lock();
        let surplus = running.draining.len().saturating_sub(MOST_DRAINING);
        let cut_short: Vec<_> = running.draining.iter().take(surplus).cloned().collect();
        drop(running);
        for old in cut_short {
            tracing::warn!(
                generation = old.number,
                "too many engines drain at once; the oldest is ended"
            );
            self.tasks.spawn(async move { old.kill().await });
        }
        let appliance = Arc::clone(self);
        self.tasks.spawn(async move {
            let exit = generation.drain(limit, HeirData::Successor).await;
            tracing::info!(generation = generation.number, %exit, "engine drained");
            let mut running = appliance.running.lock();
            running.draining.retain(|other| !Arc::ptr_eq(other, &generation));
            drop(running);
            crews.into_iter().for_each(|crew| appliance.dismiss(crew));
        });
    }

    /// Lets workers finish and end, in the background.
    fn dismiss(&self, crew: Arc<Crew>) {
        self.tasks.spawn(async move { crew.drain().await });
    }

    /// Every engine that lives: the current one first.
    pub(crate) fn generations(&self) -> Vec<Arc<Generation>> {
        self.running.lock().engines().cloned().collect()
    }

    /// Every engine that lives, or has lived since the last call.
    pub(crate) fn generations_to_count(&self) -> Vec<Arc<Generation>> {
        let mut running = self.running.lock();
        let mut all = std::mem::take(&mut running.uncounted);
        let is_new = |one: &&Arc<Generation>| !all.iter().any(|other| Arc::ptr_eq(one, other));
        let others: Vec<_> = running.engines().filter(is_new).cloned().collect();
        all.extend(others);
        all
    }

    /// Engines and workers: what they are, and their process ids.
    pub(crate) fn processes(&self) -> Vec<(String, u32)> {
        let running = self.running.lock();
        let engines = running.engines().map(|engine| ("engine".to_owned(), engine.pid()));
        let workers = running.crews.values().flat_map(|crew| crew.status());
        let workers = workers.map(|worker| (worker.name, worker.pid));
        let veterans = running.veterans.iter();
        let veterans =
            veterans.map(|veteran| (format!("{}.veteran", veteran.site()), veteran.pid()));
        engines.chain(workers).chain(veterans).collect()
    }

    /// What processes told of their waits for the GIL since the last call, by the names of [`Self::processes`].
    pub(crate) fn take_gil_stalls(&self) -> Vec<(String, GilStalls)> {
        let running = self.running.lock();
        let engines = running.engines();
        let engines = engines.map(|engine| ("engine".to_owned(), engine.take_gil_stalls()));
        let workers = running.crews.values().flat_map(|crew| crew.take_gil_stalls());
        engines.chain(workers).collect()
    }

    /// How often workers were replaced since the appliance started.
    pub(crate) fn recycles(&self) -> Recycles {
        self.workers.recycles()
    }

    /// Ends everything: what is in flight, transfers too, is finished within the mercy of the most patient site.
    pub(crate) async fn shut_down(self: &Arc<Self>) {
        self.shutdown.cancel();
        let (engine, draining, crews, veterans, mercy) = {
            let mut running = self.running.lock();
            let crews = std::mem::take(&mut running.crews);
            let veterans = running.veterans.clone();
            let mercy = running.mercy();
            (running.engine.take(), running.draining.clone(), crews, veterans, mercy)
        };
        // Sockets that systemd holds stay open, and who waits in them is the next appliance's.
        let Settings { http, https, .. } = self.settings();
        let is_left = http.is_given() || https.is_given();
        let heir = if is_left { HeirData::Successor } else { HeirData::Nobody };
        for generation in draining {
            self.tasks.spawn(async move { generation.drain(mercy, heir).await });
        }
        if let Some(engine) = engine {
            let exit = engine.drain(mercy, heir).await;
            tracing::info!(generation = engine.number, %exit, "engine drained");
        }
        self.workers.hurry.cancel();
        for crew in crews.into_values() {
            self.dismiss(crew);
        }
        for veteran in veterans {
            let appliance = Arc::clone(self);
            self.tasks.spawn(async move { veteran.drain(&appliance.workers).await });
        }
        self.tasks.close();
        self.tasks.wait().await;
        self.sockets.keep(std::iter::empty());
        self.history.close().await;
        self.journal.close().await;
        self.store.close().await;
    }
}
