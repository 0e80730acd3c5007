//! All workers of one release: as many as are wanted now, each kept by a task of its own.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use onebox_app_server::GilStalls;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::keeper::Keeper;
use super::life::About;
use super::memory::resident_bytes;
use super::scale::{Scale, Second};
use super::{CrewSpec, Past, VeteranData, WorkerContext};
use crate::api::{CurrentRequest, WorkerState, WorkerStatus};
use crate::engine::protocol::WorkerData;
use crate::engine::{LoadFailure, Loaded};
use crate::logs::Source;
use crate::takeover::Luggage;

/// One more process is started where the machine has so often the memory that the largest of the site takes.
const ROOM: u64 = 2;

/// The workers of one release of one site.
#[derive(Debug)]
pub(crate) struct Crew {
    context: Arc<WorkerContext>,
    spec: CrewSpec,
    state: Mutex<CrewState>,
    stop: CancellationToken,
    tasks: TaskTracker,
    /// Held while a worker is replaced that could have waited.
    turn: Arc<tokio::sync::Mutex<()>>,
    /// Whether one of its processes has taken requests, or those of an earlier start have.
    past: Arc<Mutex<Past>>,
}

#[derive(Debug)]
struct CrewState {
    workers: Vec<Arc<Worker>>,
    scale: Scale,
}

/// A place in a crew: one process after the other has it.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) name: String,
    number: u16,
    pub(super) loaded: watch::Sender<Loaded>,
    pub(super) now: Mutex<WorkerNow>,
    /// Cancelled when the crew has one worker too many, and at the crew's end.
    pub(super) dismissed: CancellationToken,
}

/// What changes in a worker.
#[derive(Debug)]
pub(super) struct WorkerNow {
    /// Where the process listens that takes requests.
    pub(super) socket: PathBuf,
    pub(super) process: Option<About>,
    /// Processes that only finish what they have, and where they listen.
    pub(super) left: Vec<(PathBuf, About)>,
    /// How it ended last, where it does nothing else.
    pub(super) keeps_ending: Option<String>,
    pub(super) recycles: u64,
    pub(super) last_recycle: Option<String>,
}

/// What a crew can't see itself of the second that is over.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    /// Requests of its site that wait for an answer.
    pub(crate) in_flight: u64,
    /// What the machine could still give, in bytes.
    pub(crate) memory_available: u64,
}

impl Crew {
    /// Starts all workers; whether they come up is told by [`Self::ready`].
    ///
    /// # Errors
    /// Where a socket can't be made.
    pub(crate) fn start(context: &Arc<WorkerContext>, spec: CrewSpec) -> io::Result<Arc<Self>> {
        let cores = available_parallelism().map_or(1, |cores| cores.get());
        let cores = u16::try_from(cores).unwrap_or(u16::MAX);
        let scale = Scale::new(spec.processes, spec.idle, cores, Instant::now());
        let wanted = scale.at_start();
        let past = Arc::new(Mutex::new(spec.past));
        let crew = Arc::new(Self {
            past,
            context: Arc::clone(context),
            spec,
            state: Mutex::new(CrewState { workers: Vec::new(), scale }),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            turn: Arc::default(),
        });
        crew.tasks.close();
        let started = crew.resize(wanted);
        if started.is_err() {
            crew.stop.cancel();
        }
        started.map(|()| crew)
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
        let workers = self.staying();
        let all = async {
            for worker in &workers {
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
        let workers = self.state.lock().workers.clone();
        let mut addresses = Vec::new();
        for worker in &workers {
            let is_up = *worker.loaded.borrow() == Loaded::Ready;
            let now = worker.now.lock();
            let data = |socket: &Path, threads| {
                let name = worker.name.clone();
                WorkerData { name, socket: socket.to_owned(), threads }
            };
            if is_up {
                addresses.push(data(&now.socket, self.spec.spec.threads));
            }
            // Without a thread they get nothing new, and what they have is not withdrawn from them.
            addresses.extend(now.left.iter().map(|(socket, _)| data(socket, 0)));
        }
        addresses
    }

    /// How the whole is: ready with one worker that takes requests, failed when one failed and none does.
    pub(crate) fn load_state(&self) -> Loaded {
        let mut state = Loaded::Waiting;
        for worker in &self.staying() {
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
        let workers = self.staying();
        let ended = workers.iter().find_map(|worker| worker.now.lock().keeps_ending.clone())?;
        // An exception tells more than the exit that followed it.
        Some(if failure.traceback.is_empty() { ended } else { failure.summary })
    }

    /// The processes that run now: those that finish what they have come last.
    pub(crate) fn status(&self) -> Vec<WorkerStatus> {
        let workers = self.state.lock().workers.clone();
        let (mut serving, mut finishing) = (Vec::new(), Vec::new());
        for worker in &workers {
            let state = match &*worker.loaded.borrow() {
                Loaded::Ready => WorkerState::Running,
                Loaded::Waiting | Loaded::Failed(_) => WorkerState::Starting,
            };
            let now = worker.now.lock();
            let status = |about: &About, state| {
                let usage = about.heard.borrow().usage.clone();
                WorkerStatus {
                    name: worker.name.clone(),
                    pid: about.process.pid(),
                    release: self.spec.release.clone(),
                    started_ms: about.started_ms,
                    threads: self.spec.spec.threads,
                    state,
                    requests: usage.requests,
                    running: usage.running,
                    current: usage.oldest.map(CurrentRequest::from),
                    recycles: now.recycles,
                    last_recycle: now.last_recycle.clone(),
                }
            };
            serving.extend(now.process.iter().map(|about| status(about, state)));
            let left = now.left.iter();
            finishing.extend(left.map(|(_, about)| status(about, WorkerState::Finishing)));
        }
        serving.extend(finishing);
        serving
    }

    /// By worker: what its processes told of their waits for the GIL since the last call.
    pub(crate) fn take_gil_stalls(&self) -> Vec<(String, GilStalls)> {
        let workers = self.state.lock().workers.clone();
        let all = workers.iter().flat_map(|worker| {
            let now = worker.now.lock();
            let processes = now.process.iter().chain(now.left.iter().map(|(_, about)| about));
            let stalls = processes.map(|about| about.heard.borrow().stalls.take());
            stalls.map(|stalls| (worker.name.clone(), stalls)).collect::<Vec<_>>()
        });
        all.collect()
    }

    /// The processes that run now, also those that finish what they have, for the process that this one becomes.
    ///
    /// # Errors
    /// Where there are no more descriptors.
    pub(crate) fn pack(&self, luggage: &mut Luggage) -> io::Result<Vec<VeteranData>> {
        let mut all = Vec::new();
        for worker in &self.state.lock().workers {
            let now = worker.now.lock();
            let serving = now.process.iter().map(|about| (&now.socket, about));
            let left = now.left.iter().map(|(socket, about)| (socket, about));
            for (socket, about) in serving.chain(left) {
                all.push(about.pack(&self.spec, socket.clone(), luggage)?);
            }
        }
        Ok(all)
    }

    /// Whether it has no process because nobody asked for anything.
    pub(crate) fn is_asleep(&self) -> bool {
        self.spec.idle.is_some() && self.staying().is_empty()
    }

    /// Somebody waits: starts workers where there are none.
    pub(crate) fn wake(self: &Arc<Self>) {
        if !self.is_asleep() {
            return;
        }
        let wanted = {
            let mut state = self.state.lock();
            state.scale.wake(Instant::now());
            state.scale.at_start()
        };
        self.log("a request wakes the site");
        self.change_to(wanted);
    }

    /// A second is over: starts or ends workers where that is due.
    pub(crate) fn adapt(self: &Arc<Self>, load: Load) {
        let workers = self.staying();
        let mut second = Second {
            at: Instant::now(),
            processes: u16::try_from(workers.len()).unwrap_or(u16::MAX),
            begun: 0,
            running: 0,
            in_flight: load.in_flight,
            gil_wait: Duration::ZERO,
            busy_percent: 0,
            has_room: true,
        };
        let mut largest = 0;
        for worker in &workers {
            let now = worker.now.lock();
            let Some(about) = &now.process else { continue };
            let usage = &about.heard.borrow().usage;
            second.begun += usage.requests;
            second.running += usage.running;
            second.gil_wait += Duration::from_micros(usage.gil_wait_us);
            second.busy_percent += usage.busy_percent;
            largest = largest.max(resident_bytes(about.process.pid()).unwrap_or(0));
        }
        second.gil_wait =
            second.gil_wait.checked_div(workers.len().try_into().unwrap_or(1)).unwrap_or_default();
        second.has_room = load.memory_available >= largest.saturating_mul(ROOM);
        let wanted = self.state.lock().scale.after(&second);
        if wanted == second.processes {
            return;
        }
        self.log(&match wanted {
            0 => "the site sleeps until the next request".to_owned(),
            more if more > second.processes => {
                format!("its interpreters have no more to give: {more} processes from now on")
            }
            1 => "one process is enough from now on".to_owned(),
            fewer => format!("{fewer} processes are enough from now on"),
        });
        self.change_to(wanted);
    }

    /// Lets every worker finish what it has and end; kills what takes too long.
    pub(crate) async fn drain(&self) {
        self.stop.cancel();
        self.tasks.wait().await;
    }

    /// The workers that are there to stay.
    fn staying(&self) -> Vec<Arc<Worker>> {
        let state = self.state.lock();
        let stays = |worker: &&Arc<Worker>| !worker.dismissed.is_cancelled();
        state.workers.iter().filter(stays).cloned().collect()
    }

    fn change_to(self: &Arc<Self>, wanted: u16) {
        if let Err(error) = self.resize(wanted) {
            tracing::error!(site = self.spec.site, %error, "a worker can't be started");
            self.log(&format!("a worker can't be started: {error}"));
        }
    }

    /// From now on there are so many workers.
    fn resize(self: &Arc<Self>, wanted: u16) -> io::Result<()> {
        let staying = self.staying();
        for surplus in staying.iter().skip(usize::from(wanted)) {
            surplus.dismissed.cancel();
        }
        for _ in staying.len()..usize::from(wanted) {
            self.add_worker()?;
        }
        Ok(())
    }

    fn add_worker(self: &Arc<Self>) -> io::Result<()> {
        let door = self.context.open_door()?;
        let mut state = self.state.lock();
        let is_free = |number: &u16| state.workers.iter().all(|worker| worker.number != *number);
        let number = (1..=u16::MAX).find(is_free).unwrap_or(u16::MAX);
        let worker = Arc::new(Worker {
            name: format!("{}.{number}", self.spec.site),
            number,
            loaded: watch::channel(Loaded::Waiting).0,
            now: Mutex::new(WorkerNow {
                socket: door.path().to_owned(),
                process: None,
                left: Vec::new(),
                keeps_ending: None,
                recycles: 0,
                last_recycle: None,
            }),
            dismissed: self.stop.child_token(),
        });
        state.workers.push(Arc::clone(&worker));
        drop(state);
        let keeper = Keeper {
            context: Arc::clone(&self.context),
            spec: self.spec.clone(),
            worker: Arc::clone(&worker),
            stop: self.stop.clone(),
            tasks: self.tasks.clone(),
            turn: Arc::clone(&self.turn),
            past: Arc::clone(&self.past),
        };
        let crew = Arc::clone(self);
        self.tasks.spawn(async move {
            keeper.run(door).await;
            crew.state.lock().workers.retain(|other| !Arc::ptr_eq(other, &worker));
            crew.context.tell_change();
        });
        Ok(())
    }

    fn log(&self, text: &str) {
        tracing::info!(site = self.spec.site, text, "workers");
        self.context.books.logs.write(&self.spec.site, Source::Onebox, text);
    }
}
