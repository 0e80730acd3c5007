//! From a state directory to a running appliance.

use std::sync::Arc;
use std::time::{Duration, Instant};

use onebox_app_server::{LibraryError, RuntimeLibrary};
use onebox_config::Paths;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::address_rules::HeldRules;
use super::layout::Crews;
use super::live_since::LiveSince;
use super::{Appliance, Fleet, Layout, Running, Settings, SiteRelease, Unsteady};
use crate::address_rules::RuleBook;
use crate::api::EventKind;
use crate::certificates::Certificates;
use crate::clock::{EvenClock, now_ms};
use crate::deploy::ReleaseIds;
use crate::deploy::release::clean_half_made;
use crate::engine::{EngineContext, LoadFailure, Terminal};
use crate::feed::Feed;
use crate::history::History;
use crate::journal::Journal;
use crate::logs::{Destination, Logs, Source};
use crate::notices::Books;
use crate::process::LifePipe;
use crate::site_sockets::{SiteSockets, Wanted};
use crate::store::metrics::Retention;
use crate::store::{SiteRow, Store, StoreError};
use crate::users::another;
use crate::workers::{Past, WorkerContext};

/// How long the engine of an appliance that was killed may hold a site's socket.
const PATIENCE: Duration = Duration::from_secs(2);

/// What an appliance is made of.
pub(crate) struct Setup<'f> {
    pub(crate) settings: Settings,
    /// What the supervisor before this one left, at an upgrade.
    pub(crate) fleet: Option<&'f Fleet>,
    pub(crate) purpose: Purpose,
}

/// What an appliance is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// The sites of a box.
    Sites,
    /// One folder in place: it has no state.
    InPlace,
    /// The same for who writes the site: it is loaded anew when it changes, and debugged at the terminal.
    Development,
}

/// Why there is no appliance.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The runtime library can't be put in place.
    #[error(transparent)]
    Library(#[from] LibraryError),
    /// A file, a socket or a process.
    #[error("the appliance can't be started: {0}")]
    System(#[from] std::io::Error),
}

impl Appliance {
    /// Opens the state; nothing runs yet.
    ///
    /// # Errors
    /// [`BootError`] with what can't be opened.
    pub(crate) async fn open(setup: Setup<'_>) -> Result<Arc<Self>, BootError> {
        let config = Arc::clone(&setup.settings.config);
        let paths = Paths::new(&config.state_dir);
        let store = Store::open(&paths.state_db()).await?;
        let rule_book = RuleBook::new(store.address_rules(now_ms()).await?, &config.access);
        let known = store.release_ids().await?;
        let release_ids = Arc::new(ReleaseIds::behind(known.iter().map(String::as_str)));
        let runtime_dir = paths.runtime_dir();
        let library = tokio::task::spawn_blocking(move || RuntimeLibrary::install(&runtime_dir))
            .await
            .map_err(std::io::Error::other)??;
        let life = setup.fleet.and_then(|fleet| fleet.life.as_ref());
        let life = life.map_or_else(LifePipe::new, LifePipe::adopt)?;
        let next_socket = setup.fleet.map_or(1, |fleet| fleet.next_socket);
        let user = another(config.user.as_ref()).cloned();
        let in_place = setup.purpose != Purpose::Sites;
        let destination = if in_place { Destination::Terminal } else { Destination::Files };
        let logs = Arc::new(Logs::new(paths.clone(), destination));
        let journal = Arc::new(Journal::new(store.clone()));
        let retention = Retention::from(&config.metrics);
        let history = Arc::new(History::new(paths.metrics_db(), retention, Arc::clone(&journal)));
        let books = Books {
            logs: Arc::clone(&logs),
            journal: Arc::clone(&journal),
            history: Arc::clone(&history),
        };
        let engines = EngineContext {
            paths: paths.clone(),
            access_logs: (!in_place).then(|| paths.box_logs()),
            books: books.clone(),
            user: user.clone(),
            terminal: match setup.purpose {
                Purpose::Development => Terminal::Shared,
                Purpose::Sites | Purpose::InPlace => Terminal::Ours,
            },
            wanted: Arc::default(),
        };
        Ok(Arc::new(Self {
            in_place,
            workers: Arc::new(WorkerContext::new(
                paths.clone(),
                books,
                config.limits.drain_timeout,
                (life, next_socket),
                user.clone(),
            )),
            user,
            engines,
            sockets: SiteSockets::new(paths.clone()),
            certificates: Arc::new(Certificates::new(paths.authority())),
            library: library.path,
            paths,
            store,
            logs,
            history,
            journal,
            feed: Feed::new(now_ms()),
            last_sample: Mutex::default(),
            shutdown: CancellationToken::new(),
            adopted: setup.fleet.map_or(0, |fleet| fleet.generations),
            started_ms: setup.fleet.map_or_else(now_ms, |fleet| fleet.started_ms),
            operation: tokio::sync::Mutex::new(()),
            tasks: TaskTracker::new(),
            settings: Mutex::new(setup.settings),
            live_since: Mutex::new(LiveSince::new(EvenClock::set(Instant::now(), now_ms()))),
            release_ids,
            rules: HeldRules::new(rule_book),
            running: Mutex::new(Running::default()),
        }))
    }

    /// Starts everything that the database says is live. The engine accepts at once; requests of sites that load wait.
    ///
    /// # Errors
    /// [`BootError`] where the database can't be read or no engine can be started.
    pub(crate) async fn start(self: &Arc<Self>) -> Result<(), BootError> {
        let interrupted = self.store.fail_interrupted_releases().await?;
        let paths = self.paths.clone();
        tokio::task::spawn_blocking(move || clean_half_made(&paths, &interrupted))
            .await
            .map_err(std::io::Error::other)??;
        let releases = self.live_releases().await?;
        self.start_with(Layout::at_any_rate(releases, &Unsteady::new())).await
    }

    /// The live releases that can be read; of the others it is told why.
    pub(super) async fn live_releases(&self) -> Result<Vec<Arc<SiteRelease>>, StoreError> {
        let mut releases = Vec::new();
        for row in self.store.sites().await? {
            let Some(release) = row.live_release.clone() else { continue };
            match self.read_release(&row, &release).await {
                Ok(release) => releases.push(Arc::new(release)),
                Err(reason) => {
                    tracing::error!(site = row.name, reason, "a live release can't be served");
                    self.logs.write(&row.name, Source::Onebox, &reason);
                    self.running.lock().unreadable.insert(row.name, reason);
                }
            }
        }
        Ok(releases)
    }

    /// Starts what a layout says.
    ///
    /// # Errors
    /// [`BootError`] where no engine can be started.
    pub(crate) async fn start_with(self: &Arc<Self>, layout: Layout) -> Result<(), BootError> {
        let mut crews = Crews::new();
        let past = if self.in_place { Past::Unproven } else { Past::Served };
        for placed in layout.sites().filter(|placed| placed.wants_crew()) {
            crews.insert(placed.release.site.clone(), self.start_crew(placed, past)?);
        }
        for wanted in layout.sockets() {
            self.open_at_start(&wanted).await;
        }
        self.renew_certificates(&layout).await;
        let engine = self.start_engine(&layout, &crews)?;
        {
            let mut running = self.running.lock();
            running.layout = layout;
            running.crews = crews;
        }
        self.install(engine).await;
        let version = env!("CARGO_PKG_VERSION");
        self.journal.the_box(EventKind::ApplianceStart, &format!("onebox {version} started"));
        self.watch_workers();
        self.watch_logs();
        self.watch_store();
        self.watch_certificates();
        self.watch_orders();
        self.watch_address_rules();
        Ok(())
    }

    /// Opens a site's uwsgi sockets. Where that can't be the site is still served over HTTP.
    pub(super) async fn open_at_start(&self, wanted: &Wanted<'_>) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            match self.sockets.open(wanted) {
                Ok(()) => return,
                Err(error) if error.is_taken() && tokio::time::Instant::now() < deadline => {
                    tokio::time::sleep(PATIENCE / 20).await;
                }
                Err(error) => {
                    tracing::error!(site = wanted.site, %error, "a uwsgi socket can't be opened");
                    return self.logs.write(wanted.site, Source::Onebox, &error.to_string());
                }
            }
        }
    }

    /// Waits until every site was loaded once.
    ///
    /// # Errors
    /// [`LoadFailure`] of the first site that can't be.
    pub(crate) async fn loaded(&self) -> Result<(), LoadFailure> {
        let (engine, crews, patience) = {
            let running = self.running.lock();
            let patience = running.layout.sites().map(|placed| placed.release.patience()).max();
            (running.engine.clone(), running.crews.clone(), patience.unwrap_or_default())
        };
        for crew in crews.values() {
            crew.ready(patience).await?;
        }
        match engine {
            Some(engine) => engine.loaded(patience).await,
            None => Ok(()),
        }
    }

    /// Reads a release and what the database says of its site.
    pub(super) async fn read_release(
        &self,
        row: &SiteRow,
        release: &str,
    ) -> Result<SiteRelease, String> {
        let variables = self.store.variables(&row.name).await.map_err(|error| error.to_string())?;
        let (defaults, row, release) = (self.site_defaults(), row.clone(), release.to_owned());
        tokio::task::spawn_blocking(move || SiteRelease::read(&defaults, &row, &release, variables))
            .await
            .map_err(|error| error.to_string())?
            .map_err(|error| error.to_string())
    }
}
