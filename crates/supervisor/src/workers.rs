//! The processes of an isolated site: started, watched, started again with a pause when they end, drained.
//!
//! A [`Crew`] is all workers of one release. Each has a listening socket of its own that the supervisor holds, so that a
//! connection made while a worker is being replaced waits. Must not know which release is live.

mod keeper;
mod life;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use onebox_app_server::{AppSpec, Interpreter};
use onebox_config::Paths;
use parking_lot::Mutex;
use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::api::WorkerStatus;
use crate::engine::protocol::WorkerData;
use crate::engine::{LoadFailure, Loaded};
use crate::environment::Environment;
use crate::journal::Journal;
use crate::listeners::SocketFile;
use crate::logs::{Logs, Source, each_line};
use crate::process::{Exit, LifePipe, Process, ProcessData};
use crate::takeover::Luggage;
use keeper::Keeper;
use life::Door;

/// How long a worker may take beyond its limit before it is killed.
const GRACE: Duration = Duration::from_secs(2);

/// What every crew is started with.
#[derive(Debug)]
pub(crate) struct WorkerContext {
    pub(crate) paths: Paths,
    pub(crate) logs: Arc<Logs>,
    pub(crate) journal: Arc<Journal>,
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
}

impl WorkerContext {
    /// With the life pipe of the workers, old and new; the sockets are counted on from `next_socket`. No worker is started yet.
    pub(crate) fn new(
        paths: Paths,
        logs: Arc<Logs>,
        journal: Arc<Journal>,
        drain_timeout: Duration,
        (life, next_socket): (LifePipe, u64),
    ) -> Self {
        let changed = Arc::new(Notify::new());
        let (hurry, sockets) = (CancellationToken::new(), AtomicU64::new(next_socket));
        let drain_timeout = Mutex::new(drain_timeout);
        let (changes, settled) = (AtomicU64::new(0), watch::channel(0).0);
        Self {
            paths,
            logs,
            journal,
            life,
            changed,
            drain_timeout,
            hurry,
            changes,
            settled,
            sockets,
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

    /// The number of the next worker's socket.
    pub(crate) fn next_socket_number(&self) -> u64 {
        self.sockets.load(Ordering::Relaxed)
    }

    /// Short, since the path of a Unix socket has at most 107 bytes.
    fn next_socket(&self) -> PathBuf {
        let number = self.sockets.fetch_add(1, Ordering::Relaxed);
        self.paths.run_dir().join(format!("w{number}.sock"))
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
    pub(crate) processes: u16,
    pub(crate) mercy: Duration,
    /// How long a process may take to load the application.
    pub(crate) patience: Duration,
}

/// The workers of one release of one site.
#[derive(Debug)]
pub(crate) struct Crew {
    spec: CrewSpec,
    workers: Vec<Arc<Worker>>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

#[derive(Debug)]
struct Worker {
    name: String,
    /// Where the process listens that takes requests now.
    socket: Mutex<PathBuf>,
    /// Where processes listen that only finish what they have.
    left: Mutex<Vec<PathBuf>>,
    loaded: watch::Sender<Loaded>,
    current: Mutex<Option<(Arc<Process>, i64)>>,
    /// How it ended last, where it does nothing else.
    keeps_ending: Mutex<Option<String>>,
}

/// A worker of the supervisor before this one: it finishes what it has, and is not started again.
#[derive(Debug)]
pub(crate) struct Veteran {
    site: String,
    mercy: Duration,
    socket: SocketFile,
    process: Process,
}

/// A [`Veteran`], or a worker that becomes one: descriptors by their numbers.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct VeteranData {
    site: String,
    mercy: Duration,
    socket: PathBuf,
    process: ProcessData,
}

impl Veteran {
    /// The site that it serves.
    pub(crate) fn site(&self) -> &str {
        &self.site
    }

    /// Takes it over with what it prints.
    ///
    /// # Errors
    /// Where its descriptors are not there.
    pub(crate) fn adopt(context: &Arc<WorkerContext>, data: &VeteranData) -> io::Result<Arc<Self>> {
        let (process, output) = Process::adopt(&data.process)?;
        for (pipe, source) in [(output.stdout, Source::App), (output.stderr, Source::Error)] {
            let (logs, site) = (Arc::clone(&context.logs), data.site.clone());
            tokio::spawn(each_line(pipe, move |line| logs.write(&site, source, line)));
        }
        let (site, socket) = (data.site.clone(), SocketFile(data.socket.clone()));
        Ok(Arc::new(Self { site, mercy: data.mercy, socket, process }))
    }

    /// For the process that this one becomes.
    ///
    /// # Errors
    /// Where there are no more descriptors.
    pub(crate) fn pack(&self, luggage: &mut Luggage) -> io::Result<VeteranData> {
        let (site, socket) = (self.site.clone(), self.socket.0.clone());
        Ok(VeteranData { site, mercy: self.mercy, socket, process: self.process.pack(luggage)? })
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Lets it finish what it has and end; kills it when it takes too long.
    pub(crate) async fn drain(&self, context: &WorkerContext) {
        drain(&self.process, self.mercy, context).await;
    }
}

impl Crew {
    /// Starts all workers; whether they come up is told by [`Self::ready`].
    ///
    /// # Errors
    /// Where a socket can't be made.
    pub(crate) fn start(context: &Arc<WorkerContext>, spec: CrewSpec) -> io::Result<Arc<Self>> {
        let mut doors = Vec::new();
        let mut workers = Vec::new();
        for number in 1..=spec.processes {
            let door = Door::open(context.next_socket())?;
            let socket = Mutex::new(door.path().to_owned());
            doors.push(door);
            workers.push(Arc::new(Worker {
                name: format!("{}.{number}", spec.site),
                socket,
                left: Mutex::default(),
                loaded: watch::channel(Loaded::Waiting).0,
                current: Mutex::new(None),
                keeps_ending: Mutex::new(None),
            }));
        }
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let crew = Arc::new(Self { spec, workers, stop, tasks });
        for (worker, door) in crew.workers.iter().zip(doors) {
            let keeper = Keeper {
                context: Arc::clone(context),
                spec: crew.spec.clone(),
                worker: Arc::clone(worker),
                stop: crew.stop.clone(),
                tasks: crew.tasks.clone(),
            };
            crew.tasks.spawn(keeper.run(door));
        }
        crew.tasks.close();
        Ok(crew)
    }

    /// The site whose workers these are.
    pub(crate) fn site(&self) -> &str {
        &self.spec.site
    }

    /// The release that these workers run.
    pub(crate) fn release(&self) -> &str {
        &self.spec.release
    }

    /// Waits until every worker takes requests.
    ///
    /// # Errors
    /// With the first worker that can't, or when the limit is over.
    pub(crate) async fn ready(&self, limit: Duration) -> Result<(), LoadFailure> {
        let all = async {
            for worker in &self.workers {
                let mut loaded = worker.loaded.subscribe();
                let ended = loaded.wait_for(|loaded| *loaded != Loaded::Waiting).await;
                if let Ok(Loaded::Failed(failure)) = ended.as_deref() {
                    return Err(failure.clone());
                }
            }
            Ok(())
        };
        tokio::time::timeout(limit, all).await.unwrap_or_else(|_| Err(LoadFailure::too_late(limit)))
    }

    /// The workers that take requests now, and those that finish what they have.
    pub(crate) fn addresses(&self) -> Vec<WorkerData> {
        let up = self.workers.iter().filter(|worker| *worker.loaded.borrow() == Loaded::Ready);
        let up = up.map(|worker| WorkerData {
            socket: worker.socket.lock().clone(),
            threads: self.spec.spec.threads,
        });
        // Without a thread they get nothing new, and what they have is not withdrawn from them.
        let left = self.workers.iter().flat_map(|worker| worker.left.lock().clone());
        up.chain(left.map(|socket| WorkerData { socket, threads: 0 })).collect()
    }

    /// How the whole is: ready with one worker that takes requests, failed when one failed and none does.
    pub(crate) fn load_state(&self) -> Loaded {
        let mut state = Loaded::Waiting;
        for worker in &self.workers {
            match &*worker.loaded.borrow() {
                Loaded::Ready => return Loaded::Ready,
                failed @ Loaded::Failed(_) => state = failed.clone(),
                Loaded::Waiting => {}
            }
        }
        state
    }

    /// How its workers end, where none takes requests and one ended again and again.
    pub(crate) fn keeps_ending(&self) -> Option<String> {
        let Loaded::Failed(failure) = self.load_state() else { return None };
        let ended = self.workers.iter().find_map(|worker| worker.keeps_ending.lock().clone())?;
        // An exception tells more than the exit that followed it.
        Some(if failure.traceback.is_empty() { ended } else { failure.summary })
    }

    /// The processes that run now.
    pub(crate) fn status(&self) -> Vec<WorkerStatus> {
        let running = self.workers.iter().filter_map(|worker| {
            let (process, started_ms) = worker.current.lock().clone()?;
            Some(WorkerStatus {
                name: worker.name.clone(),
                pid: process.pid(),
                release: self.spec.release.clone(),
                started_ms,
                threads: self.spec.spec.threads,
            })
        });
        running.collect()
    }

    /// The processes that run now, for the process that this one becomes.
    ///
    /// # Errors
    /// Where there are no more descriptors.
    pub(crate) fn pack(&self, luggage: &mut Luggage) -> io::Result<Vec<VeteranData>> {
        let mut all = Vec::new();
        for worker in &self.workers {
            let Some((process, _)) = worker.current.lock().clone() else { continue };
            all.push(VeteranData {
                site: self.spec.site.clone(),
                mercy: self.spec.mercy,
                socket: worker.socket.lock().clone(),
                process: process.pack(luggage)?,
            });
        }
        Ok(all)
    }

    /// Lets every worker finish what it has and end; kills what takes too long.
    pub(crate) async fn drain(&self) {
        self.stop.cancel();
        self.tasks.wait().await;
    }
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
