//! Worker processes of one site: which of them takes a request, and the connections to them.
//!
//! A request waits in a bounded queue until a worker has a thread for it. It goes to the least busy worker over a
//! connection that stays open. It is never run twice: it is sent again only where a worker can't have begun it.

use std::collections::{HashMap, VecDeque};
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use onebox_uwsgi::socket::{Connection, exchange, response};
use onebox_uwsgi::{
    AbortReason, Body, BufferLimits, DispatchError, Request, ResponseSink, ResponseStream,
    Withdrawal,
};
use parking_lot::Mutex;
use rustix::net::{RecvFlags, recv};
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::Notify;
use tokio_util::task::TaskTracker;

/// How long a worker that refused a connection is left alone.
const DOWN_FOR: Duration = Duration::from_millis(50);

/// Where a worker listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerAddress {
    /// As logs name it: `blog.1`.
    pub name: Arc<str>,
    /// Its Unix socket.
    pub socket: PathBuf,
    /// How many requests it serves at the same time; 0: it gets no more and finishes what it has.
    pub threads: u16,
}

/// The workers of a site and the requests that wait for them.
pub struct WorkerGroup {
    queue_size: usize,
    /// Told when a request waits and there is no worker that will take it.
    wanting: Arc<Notify>,
    state: Mutex<State>,
    tasks: TaskTracker,
}

#[derive(Default)]
struct State {
    workers: Vec<Worker>,
    next_id: u64,
    queue: VecDeque<Job>,
    closed: bool,
}

struct Worker {
    /// Not its socket: a later worker may listen on the same one.
    id: u64,
    address: WorkerAddress,
    /// The requests that it has, by the numbers of their assignments.
    in_hand: HashMap<u64, Withdrawal>,
    idle: Vec<UnixStream>,
    down: bool,
}

struct Job {
    request: Request,
    sink: ResponseSink,
}

/// A job with the worker that shall do it.
struct Assignment {
    number: u64,
    job: Job,
    worker: u64,
    socket: PathBuf,
    connection: Option<UnixStream>,
}

impl WorkerGroup {
    /// A group without workers whose queue holds `queue_size` requests; `wanting` is told when [`Self::wants_workers`].
    pub fn new(queue_size: usize, wanting: Arc<Notify>) -> Self {
        Self { queue_size, wanting, state: Mutex::default(), tasks: TaskTracker::new() }
    }

    /// From now on requests go to these workers. Those that are not named any more finish what they have: answers that have
    /// begun whatever that takes, the others within `mercy`. Must be called within a tokio runtime.
    pub fn set_workers(self: &Arc<Self>, addresses: Vec<WorkerAddress>, mercy: Duration) {
        let mut state = self.state.lock();
        let mut old = std::mem::take(&mut state.workers);
        for address in addresses {
            let known = old.iter().position(|worker| worker.address.socket == address.socket);
            let worker = match known {
                Some(index) => Worker { address, down: false, ..old.swap_remove(index) },
                None => Worker::new(state.new_id(), address),
            };
            state.workers.push(worker);
        }
        drop(state);
        self.withdraw_after(mercy, old.into_iter().flat_map(|worker| worker.in_hand.into_values()));
        self.assign();
    }

    /// Hands a request to a worker, or queues it. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`DispatchError`] where the queue is full or the group closed.
    pub fn dispatch(
        self: &Arc<Self>,
        request: Request,
        limits: BufferLimits,
    ) -> Result<ResponseStream, DispatchError> {
        let (sink, stream) = response(limits);
        let mut state = self.state.lock();
        if state.closed {
            return Err(DispatchError::Draining);
        }
        if !state.has_free_worker() && state.queue.len() >= self.queue_size {
            state.queue.retain(|job| !job.sink.is_unwanted());
            if state.queue.len() >= self.queue_size {
                return Err(DispatchError::QueueFull);
            }
        }
        state.queue.push_back(Job { request, sink });
        drop(state);
        self.assign();
        Ok(stream)
    }

    /// Whether requests wait and there is no worker that will take them.
    pub fn wants_workers(&self) -> bool {
        self.state.lock().wants_workers()
    }

    /// How many requests wait for a worker.
    pub fn waiting(&self) -> usize {
        self.state.lock().queue.len()
    }

    /// Takes no more requests; those that wait are still served, and what has no answer after `mercy` gets none. Must be called
    /// within a tokio runtime.
    pub fn close(&self, mercy: Duration) {
        let mut state = self.state.lock();
        state.closed = true;
        let waiting: Vec<_> = state.queue.iter().map(|job| job.sink.withdrawal()).collect();
        let in_hand = state.workers.iter().flat_map(|worker| worker.in_hand.values().cloned());
        let all: Vec<_> = in_hand.chain(waiting).collect();
        drop(state);
        self.withdraw_after(mercy, all.into_iter());
        self.tasks.close();
    }

    fn withdraw_after(&self, mercy: Duration, requests: impl Iterator<Item = Withdrawal>) {
        let requests: Vec<_> = requests.collect();
        if requests.is_empty() {
            return;
        }
        // Not one of the group's own tasks: it holds nothing, and an empty group need not wait for it.
        tokio::spawn(async move {
            tokio::time::sleep(mercy).await;
            for request in requests {
                request.abort_unless_begun(AbortReason::Replaced);
            }
        });
    }

    /// Resolves after [`WorkerGroup::close`], when nothing is being served any more.
    pub async fn closed(&self) {
        self.tasks.wait().await;
    }

    /// Gives waiting requests to free workers.
    fn assign(self: &Arc<Self>) {
        loop {
            let mut state = self.state.lock();
            let Some(assignment) = state.next_assignment() else {
                if state.wants_workers() {
                    self.wanting.notify_one();
                }
                return;
            };
            drop(state);
            let group = Arc::clone(self);
            self.tasks.spawn(async move { group.serve(assignment).await });
        }
    }

    async fn serve(self: Arc<Self>, assignment: Assignment) {
        let Assignment { number, job, worker: id, socket, connection } = assignment;
        let served = match connection {
            Some(connection) => over_open_connection(connection, job).await,
            None => Served::NotSent(job),
        };
        let served = match served {
            Served::NotSent(job) => over_new_connection(&socket, job).await,
            served => served,
        };
        let mut state = self.state.lock();
        if let Some(worker) = state.worker(id) {
            worker.in_hand.remove(&number);
            match served {
                Served::Done(Some(connection)) => worker.idle.push(connection),
                Served::Done(None) => {}
                Served::NotSent(job) => {
                    worker.idle.clear();
                    worker.down = true;
                    self.tasks.spawn(Arc::clone(&self).raise(id));
                    state.queue.push_front(job);
                }
            }
        } else if let Served::NotSent(job) = served {
            state.queue.push_front(job);
        }
        drop(state);
        self.assign();
    }

    /// Tries a worker again that refused a connection.
    async fn raise(self: Arc<Self>, id: u64) {
        tokio::time::sleep(DOWN_FOR).await;
        let mut state = self.state.lock();
        if let Some(worker) = state.worker(id) {
            worker.down = false;
        }
        drop(state);
        self.assign();
    }
}

impl State {
    fn new_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    fn worker(&mut self, id: u64) -> Option<&mut Worker> {
        self.workers.iter_mut().find(|worker| worker.id == id)
    }

    fn wants_workers(&self) -> bool {
        !self.queue.is_empty() && self.workers.iter().all(|worker| worker.address.threads == 0)
    }

    fn has_free_worker(&self) -> bool {
        self.workers.iter().any(Worker::is_free)
    }

    fn next_assignment(&mut self) -> Option<Assignment> {
        while self.queue.front().is_some_and(|job| job.sink.is_unwanted()) {
            self.queue.pop_front();
        }
        let number = self.new_id();
        let free = self.workers.iter_mut().filter(|worker| worker.is_free());
        let worker = free.min_by_key(|worker| worker.in_hand.len())?;
        let job = self.queue.pop_front()?;
        worker.in_hand.insert(number, job.sink.withdrawal());
        job.sink.assign_to(Arc::clone(&worker.address.name));
        Some(Assignment {
            number,
            worker: worker.id,
            socket: worker.address.socket.clone(),
            connection: worker.open_connection(&job.request.body),
            job,
        })
    }
}

impl Worker {
    fn new(id: u64, address: WorkerAddress) -> Self {
        Self { id, address, in_hand: HashMap::new(), idle: Vec::new(), down: false }
    }

    fn is_free(&self) -> bool {
        !self.down && self.in_hand.len() < usize::from(self.address.threads)
    }

    /// The connection used last that is still open and has nothing to say.
    fn open_connection(&mut self, body: &Body) -> Option<UnixStream> {
        while let Some(connection) = self.idle.pop() {
            if is_quiet(&connection, body) {
                return Some(connection);
            }
        }
        None
    }
}

/// Whether the worker has neither closed a connection nor said anything out of turn. The kernel is asked where the runtime has seen
/// something; and for a request with a body, which is not sent a second time: the runtime learns of a close only when it polls.
fn is_quiet(connection: &UnixStream, body: &Body) -> bool {
    let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
    let look = || Ok(recv(connection, &mut [0; 1], flags)?);
    let seen = match body {
        Body::Empty => connection.try_io(Interest::READABLE, look),
        Body::Memory(_) | Body::File { .. } => look(),
    };
    seen.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

/// What became of a job.
enum Served {
    /// It has its answer, or knows that it gets none; the connection where it can be used again.
    Done(Option<UnixStream>),
    /// No worker can have begun it: it may be sent again.
    NotSent(Job),
}

/// A worker may have closed the connection meanwhile. It runs a request once it has all of its vars, so only one without a
/// body, of which it did not get the vars whole, may be sent once more.
async fn over_open_connection(connection: UnixStream, job: Job) -> Served {
    let deadline = job.request.deadline;
    let copy = matches!(job.request.body, Body::Empty).then(|| Request {
        vars: job.request.vars.clone(),
        body: Body::Empty,
        deadline,
    });
    job.sink.mark_taken();
    match (exchange(&connection, job.request, job.sink).await, copy) {
        (Ok(Connection::Reusable), _) => Served::Done(Some(connection)),
        (Err((_, sink)), Some(request)) => Served::NotSent(Job { request, sink }),
        (Ok(Connection::Spent) | Err(_), _) => Served::Done(None),
    }
}

async fn over_new_connection(socket: &PathBuf, job: Job) -> Served {
    let Ok(connection) = UnixStream::connect(socket).await else { return Served::NotSent(job) };
    job.sink.mark_taken();
    match exchange(&connection, job.request, job.sink).await {
        Ok(Connection::Reusable) => Served::Done(Some(connection)),
        // A sink that is given back and dropped says that the worker was lost.
        Ok(Connection::Spent) | Err(_) => Served::Done(None),
    }
}

#[cfg(test)]
mod tests;
