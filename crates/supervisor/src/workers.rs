//! The processes of an isolated site: started, watched, started again with a pause when they end, drained.
//!
//! A [`Crew`] is all workers of one release. Each has a listening socket of its own that the supervisor holds, so that a
//! connection made while a worker is being replaced waits. Must not know which release is live.

mod crew;
mod groups;
mod keeper;
mod life;
mod memory;
mod recycling;
mod scale;
mod veteran;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use onebox_app_server::{AppSpec, Interpreter};
use onebox_config::site::{ProcessLimits, Processes};
use onebox_config::{Account, Paths};
use parking_lot::Mutex;
use rustix::process::Signal;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::confinement::Confinement;
use crate::environment::Environment;
use crate::notices::Books;
use crate::process::{Exit, LifePipe, Process};

pub(crate) use crew::{Crew, Load};
pub(crate) use groups::MemoryGroups;
use life::Door;
pub(crate) use recycling::Recycles;
pub(crate) use veteran::{Veteran, VeteranData};

/// How long a worker may take beyond its limit before it is killed.
const GRACE: Duration = Duration::from_secs(2);

/// What every crew is started with.
#[derive(Debug)]
pub(crate) struct WorkerContext {
    pub(crate) paths: Paths,
    pub(crate) books: Books,
    pub(crate) life: LifePipe,
    /// Told whenever a worker comes or goes.
    pub(crate) changed: Arc<Notify>,
    /// How long answers that have begun may go on in workers that were replaced.
    drain_timeout: Mutex<Duration>,
    /// Cancelled when even those have only their site's mercy: the appliance ends.
    pub(crate) hurry: CancellationToken,
    /// How often it was told that a worker came or went, and up to which one of these changes the engine goes by them.
    changes: AtomicU64,
    settled: watch::Sender<u64>,
    sockets: AtomicU64,
    /// Who connects to workers; `None`: the supervisor's own user.
    engine: Option<Account>,
    /// How often workers were replaced since the appliance started.
    recycles: Mutex<Recycles>,
    /// How `memory-limit` is kept.
    pub(crate) groups: MemoryGroups,
}

impl WorkerContext {
    /// With the life pipe of the workers, old and new; the sockets are counted on from `next_socket`. No worker is started yet.
    pub(crate) fn new(
        paths: Paths,
        books: Books,
        drain_timeout: Duration,
        (life, next_socket): (LifePipe, u64),
        engine: Option<Account>,
    ) -> Self {
        let changed = Arc::new(Notify::new());
        let (hurry, sockets) = (CancellationToken::new(), AtomicU64::new(next_socket));
        let drain_timeout = Mutex::new(drain_timeout);
        let (changes, settled) = (AtomicU64::new(0), watch::channel(0).0);
        Self {
            paths,
            books,
            life,
            changed,
            drain_timeout,
            hurry,
            changes,
            settled,
            sockets,
            engine,
            recycles: Mutex::new(BTreeMap::new()),
            groups: MemoryGroups::find(),
        }
    }

    /// Tells that a worker has come or gone; what this returns is for [`Self::settled`].
    fn tell_change(&self) -> u64 {
        let change = self.changes.fetch_add(1, Ordering::SeqCst) + 1;
        self.changed.notify_one();
        change
    }

    /// The last change so far: what the engine is told from now on has it.
    pub(crate) fn last_change(&self) -> u64 {
        self.changes.load(Ordering::SeqCst)
    }

    /// The engine goes by what it was told of changes up to this one.
    pub(crate) fn settle(&self, change: u64) {
        self.settled.send_modify(|settled| *settled = change.max(*settled));
    }

    /// Waits until the engine goes by a change; `limit` at most.
    async fn settled(&self, change: u64, limit: Duration) {
        let mut settled = self.settled.subscribe();
        tokio::time::timeout(limit, settled.wait_for(|settled| *settled >= change)).await.ok();
    }

    /// How long answers that have begun may go on in workers that are replaced from now on.
    pub(crate) fn set_drain_timeout(&self, limit: Duration) {
        *self.drain_timeout.lock() = limit;
    }

    /// How often workers were replaced since the appliance started, by site and reason.
    pub(crate) fn recycles(&self) -> Recycles {
        self.recycles.lock().clone()
    }

    /// The number of the next worker's socket.
    pub(crate) fn next_socket_number(&self) -> u64 {
        self.sockets.load(Ordering::Relaxed)
    }

    /// A socket for one more worker, that the engine alone can connect to.
    fn open_door(&self) -> io::Result<Door> {
        let number = self.sockets.fetch_add(1, Ordering::Relaxed);
        // Short, since the path of a Unix socket has at most 107 bytes.
        let path = self.paths.run_dir().join(format!("w{number}.sock"));
        Door::open(path, self.engine.as_ref())
    }
}

/// What a crew does.
#[derive(Debug, Clone)]
pub(crate) struct CrewSpec {
    pub(crate) site: String,
    pub(crate) release: String,
    pub(crate) interpreter: Interpreter,
    pub(crate) library: PathBuf,
    pub(crate) spec: AppSpec,
    pub(crate) environment: Environment,
    pub(crate) confinement: Confinement,
    pub(crate) processes: Processes,
    /// Without a request for so long it has no process.
    pub(crate) idle: Option<Duration>,
    pub(crate) limits: ProcessLimits,
    pub(crate) mercy: Duration,
    /// How long a process may take to load the application.
    pub(crate) patience: Duration,
    pub(crate) past: Past,
}

/// What is known of a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Past {
    /// It is being proven.
    Unproven,
    /// It has served: what ends it while it loads is not its code.
    Served,
}

/// Lets a worker finish what it has and end; kills it when that takes too long.
async fn drain(process: &Process, mercy: Duration, context: &WorkerContext) -> Exit {
    process.signal(Signal::TERM);
    let transfers = *context.drain_timeout.lock();
    tokio::select! {
        exit = process.exited_or_killed(transfers + GRACE) => exit,
        () = context.hurry.cancelled() => process.exited_or_killed(mercy + GRACE).await,
    }
}
