//! The processes of an isolated site: started, watched, started again with a pause when they end, drained.
//!
//! A [`Crew`] is all workers of one release. Each has a listening socket of its own that the supervisor holds, so that a
//! connection made while a worker is being replaced waits. Must not know which release is live.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use onebox_app_server::{AppSpec, Interpreter, RuntimeLibrary, WorkerReport, worker_command};
use onebox_config::Paths;
use parking_lot::Mutex;
use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::unix::pipe;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::api::{EventKind, WorkerStatus};
use crate::clock::now_ms;
use crate::engine::protocol::WorkerData;
use crate::engine::{LoadFailure, Loaded};
use crate::environment::Environment;
use crate::journal::Journal;
use crate::listeners::{SocketFile, bind_unix};
use crate::logs::{Logs, Source, each_line};
use crate::process::{self, BackOff, Exit, LifePipe, Process, ProcessData};
use crate::takeover::Luggage;

const LISTENER_FD: i32 = 3;
const STATUS_FD: i32 = 4;
const LIFE_FD: i32 = 5;

/// A report is a line with a traceback; more than this is none.
const REPORT_BYTES: u64 = 1024 * 1024;
/// How long a worker may take beyond its limit before it is killed.
const GRACE: Duration = Duration::from_secs(2);
/// Requests wait for a worker that ended where its next start is no further away than this.
const WAITED_FOR: Duration = Duration::from_secs(1);
/// How long its output is read after its end.
const LAST_WORDS: Duration = Duration::from_millis(500);

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
        Self { paths, logs, journal, life, changed, drain_timeout, hurry, sockets }
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
    socket: SocketFile,
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
        let mut listeners = Vec::new();
        let mut workers = Vec::new();
        for number in 1..=spec.processes {
            let path = context.next_socket();
            listeners.push(bind_unix(&path).map_err(io::Error::other)?);
            workers.push(Arc::new(Worker {
                name: format!("{}.{number}", spec.site),
                socket: SocketFile(path),
                loaded: watch::channel(Loaded::Waiting).0,
                current: Mutex::new(None),
                keeps_ending: Mutex::new(None),
            }));
        }
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let crew = Arc::new(Self { spec, workers, stop, tasks });
        for (worker, listener) in crew.workers.iter().zip(listeners) {
            let (context, worker) = (Arc::clone(context), Arc::clone(worker));
            let (spec, stop) = (crew.spec.clone(), crew.stop.clone());
            crew.tasks.spawn(async move {
                Keeper { context: &context, spec: &spec, worker: &worker, listener }
                    .run(&stop)
                    .await;
            });
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

    /// The workers that take requests now.
    pub(crate) fn addresses(&self) -> Vec<WorkerData> {
        let up = self.workers.iter().filter(|worker| *worker.loaded.borrow() == Loaded::Ready);
        up.map(|worker| WorkerData {
            socket: worker.socket.0.clone(),
            threads: self.spec.spec.threads,
        })
        .collect()
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
                socket: worker.socket.0.clone(),
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

/// What a worker is between its end and its next start. One that served a moment ago will soon serve again, and requests wait
/// for it; of one that never came up, or keeps ending, they are told.
fn after_end(loaded: &mut Loaded, reason: &str, pause: Duration) {
    match loaded {
        Loaded::Failed(_) => {}
        Loaded::Ready if pause <= WAITED_FOR => *loaded = Loaded::Waiting,
        Loaded::Ready | Loaded::Waiting => {
            let summary = format!("the worker {reason}");
            *loaded = Loaded::Failed(LoadFailure { summary, traceback: String::new() });
        }
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

/// Keeps one worker running.
struct Keeper<'a> {
    context: &'a WorkerContext,
    spec: &'a CrewSpec,
    worker: &'a Worker,
    listener: UnixListener,
}

impl Keeper<'_> {
    async fn run(&self, stop: &CancellationToken) {
        let mut back_off = BackOff::new();
        loop {
            let ended = self.run_once(stop).await;
            *self.worker.current.lock() = None;
            if stop.is_cancelled() {
                return;
            }
            let reason = match ended {
                Ok(exit) => exit.to_string(),
                Err(error) => format!("could not be started: {error}"),
            };
            let pause = back_off.after_end(Instant::now());
            *self.worker.keeps_ending.lock() =
                back_off.is_a_loop().then(|| format!("the worker {reason}"));
            tracing::warn!(
                site = self.spec.site,
                worker = self.worker.name,
                reason,
                "worker ended"
            );
            let text = format!("worker {} {reason}; next start in {pause:?}", self.worker.name);
            self.log(&text);
            let (site, release) = (&self.spec.site, &self.spec.release);
            self.context.journal.site(EventKind::WorkerCrash, site, Some(release), &text);
            self.set(|loaded| after_end(loaded, &reason, pause));
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    async fn run_once(&self, stop: &CancellationToken) -> io::Result<Exit> {
        let (status, status_writer) = io::pipe()?;
        let (process, output) = process::spawn(
            self.command(),
            &[
                (self.listener.as_fd(), LISTENER_FD),
                (status_writer.as_fd(), STATUS_FD),
                (self.context.life.reader(), LIFE_FD),
            ],
        )?;
        drop(status_writer);
        let process = Arc::new(process);
        *self.worker.current.lock() = Some((Arc::clone(&process), now_ms()));
        let status = pipe::Receiver::from_owned_fd(status.into())?;
        let mut output = std::pin::pin!(async {
            tokio::join!(
                self.capture(output.stdout, Source::App),
                self.capture(output.stderr, Source::Error)
            );
        });
        let mut watched = std::pin::pin!(self.watch(&process, status, stop));
        let mut at_end = false;
        let exit = loop {
            tokio::select! {
                exit = &mut watched => break exit,
                () = &mut output, if !at_end => at_end = true,
            }
        };
        if !at_end {
            // The worker's last words; what it started may hold the pipes open for ever.
            tokio::time::timeout(LAST_WORDS, output).await.ok();
        }
        Ok(exit)
    }

    fn command(&self) -> std::process::Command {
        let library = RuntimeLibrary { path: self.spec.library.clone() };
        let mut command = worker_command(&self.spec.interpreter, &library, &self.spec.spec);
        let own: Vec<_> = command
            .get_envs()
            .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())))
            .collect();
        command
            .env_clear()
            .envs(&self.spec.environment)
            .envs(own)
            .current_dir(&self.spec.spec.root);
        command
    }

    async fn watch(
        &self,
        process: &Process,
        status: pipe::Receiver,
        stop: &CancellationToken,
    ) -> Exit {
        tokio::select! {
            exit = async { self.hear(status).await; process.exited().await } => exit,
            () = stop.cancelled() => {
                drain(process, self.spec.mercy, self.context).await
            }
        }
    }

    /// Reads the report; what a worker that dies without one means is told by its end.
    async fn hear(&self, status: pipe::Receiver) {
        let mut line = String::new();
        BufReader::new(status.take(REPORT_BYTES)).read_line(&mut line).await.ok();
        let Some(report) = WorkerReport::parse(&line) else { return };
        match report {
            WorkerReport::Ready => self.set(|loaded| *loaded = Loaded::Ready),
            WorkerReport::Failed { summary, traceback } => {
                let failure = LoadFailure { summary, traceback };
                self.context.logs.write(&self.spec.site, Source::Error, failure.text());
                self.set(|loaded| *loaded = Loaded::Failed(failure));
            }
        }
    }

    async fn capture(&self, output: pipe::Receiver, source: Source) {
        each_line(output, |line| self.context.logs.write(&self.spec.site, source, line)).await;
    }

    fn log(&self, text: &str) {
        self.context.logs.write(&self.spec.site, Source::Onebox, text);
    }

    fn set(&self, change: impl FnOnce(&mut Loaded)) {
        self.worker.loaded.send_modify(change);
        self.context.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(mut loaded: Loaded, pause_ms: u64) -> Loaded {
        after_end(&mut loaded, "crashed", Duration::from_millis(pause_ms));
        loaded
    }

    #[test]
    fn requests_wait_for_a_worker_that_served_and_will_soon_serve_again() {
        assert_eq!(ended(Loaded::Ready, 100), Loaded::Waiting);
    }

    #[test]
    fn a_worker_that_never_came_up_or_keeps_ending_has_failed() {
        let failure =
            LoadFailure { summary: "the worker crashed".into(), traceback: String::new() };
        assert_eq!(ended(Loaded::Waiting, 100), Loaded::Failed(failure.clone()));
        assert_eq!(ended(Loaded::Ready, 10_000), Loaded::Failed(failure));
        let first = LoadFailure { summary: "no module".into(), traceback: String::new() };
        assert_eq!(ended(Loaded::Failed(first.clone()), 100), Loaded::Failed(first));
    }
}
