//! The engine process itself: a proxy, at most one embedded application, and the supervisor's orders.
//!
//! It ends when it has drained, or at once when the control socket closes. Must not know releases or the database. The
//! embedded application runs on threads of its own: no task here ever waits for the GIL.

use std::io;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::time::Duration;

use onebox_app_server::{Embedded, Notice, RuntimeLibrary, StartError, embed};
use onebox_config::Limits;
use onebox_metrics::Registry;
use onebox_proxy::{AccessLog, Proxy, ProxySettings};
use rustix::process::{DumpableBehavior, Resource, getrlimit, set_dumpable_behavior, setrlimit};
use sysinfo::{MemoryRefreshKind, ProcessRefreshKind, ProcessesToUpdate, System};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::signal::unix::SignalKind;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use super::logging;
use super::protocol::{
    CONTROL_FD, EngineStart, FIRST_LISTENER_FD, FromEngine, HeirData, PROBE_FD, SOCKETS_FD,
    ToEngine, UpstreamHealth,
};
use super::routes::{Import, Routes};
use super::sockets::{self, Doors};
use crate::process::take_inherited;
use crate::signals;

/// More threads than this do not make an engine faster: it mostly waits.
const MOST_THREADS: usize = 4;
/// Records of requests that one message has: orders are not held up by one that is large.
const MOST_RECORDS: usize = 200;
/// Messages to the supervisor that may wait; it reads at once.
const OUTBOX: usize = 64;

/// Descriptors for what is no connection: listeners, logs, the runtime.
const OTHER_DESCRIPTORS: u64 = 64;

/// How long an application's exit handlers may take; the supervisor's own patience is longer.
const EXIT_HANDLERS: Duration = Duration::from_secs(3);

/// Why an engine ended early.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// By hand, say.
    #[error("`onebox engine` is started by the appliance: {0}")]
    NotStartedByAppliance(#[source] io::Error),
    /// The operating system, or an order that is not understood.
    #[error("the engine can't go on: {0}")]
    Failed(#[from] io::Error),
}

/// The hidden verb `onebox engine`: serves what the supervisor says until it is told to end.
///
/// # Errors
/// [`EngineError`]; the supervisor starts another one.
pub fn engine_main() -> Result<(), EngineError> {
    let inherited = Inherited::take().map_err(EngineError::NotStartedByAppliance)?;
    logging::start();
    raise_descriptor_limit();
    let threads =
        std::thread::available_parallelism().map_or(2, |cores| cores.get().min(MOST_THREADS));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_name("engine")
        .enable_all()
        .build()?;
    let ended = runtime.block_on(run(inherited));
    // What still runs does not hold the process: there is nobody left who would read its answer.
    runtime.shutdown_background();
    if let Err(error) = &ended {
        tracing::error!(%error, "the engine can't go on");
    }
    Ok(ended?)
}

/// A connection is a descriptor, and the usual soft limit of 1024 is meant for programs that use select(2).
fn raise_descriptor_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the limit of open files could not be raised");
    }
}

/// As many as are wanted, unless descriptors would run out: what is accepted beyond that could not be served.
fn connections_that_fit(wanted: usize) -> usize {
    let descriptors = getrlimit(Resource::Nofile).current;
    let fit = connections_for(descriptors);
    if wanted > fit {
        tracing::warn!(
            wanted,
            fit,
            descriptors,
            "`max-connections` needs more open files than this process may have (ulimit -n, LimitNOFILE=); further clients wait"
        );
    }
    wanted.min(fit)
}

/// Four fifths of the machine's memory, or of what this process's control group has of it; `None`: nobody says how much that is.
fn most_memory() -> Option<u64> {
    let mut system = System::new().ok()?;
    system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
    let own = sysinfo::get_current_pid().ok()?;
    let nothing_more = ProcessRefreshKind::nothing();
    system.refresh_processes_specifics(ProcessesToUpdate::Some(&[own]), false, nothing_more);
    let group = system.process(own).and_then(sysinfo::Process::cgroup_limits);
    let all = system.total_memory();
    let all = group.map_or(all, |group| group.total_memory.min(all));
    (all > 0).then_some(all / 5 * 4)
}

/// A connection may need a second descriptor: a file, a spooled body, a worker.
fn connections_for(descriptors: Option<u64>) -> usize {
    let Some(descriptors) = descriptors else { return usize::MAX };
    let free = descriptors.saturating_sub(OTHER_DESCRIPTORS) / 2;
    usize::try_from(free).unwrap_or(usize::MAX).max(1)
}

/// The descriptors that were there from the start.
struct Inherited {
    control: UnixStream,
    probe: UnixListener,
    sockets: OwnedFd,
}

impl Inherited {
    fn take() -> io::Result<Self> {
        Ok(Self {
            control: take_inherited(CONTROL_FD)?.into(),
            probe: take_inherited(PROBE_FD)?.into(),
            sockets: take_inherited(SOCKETS_FD)?,
        })
    }
}

/// What the supervisor has not said yet, or that it is gone.
type Orders = tokio::io::Lines<BufReader<OwnedReadHalf>>;

async fn run(inherited: Inherited) -> io::Result<()> {
    ignore_signals()?;
    inherited.control.set_nonblocking(true)?;
    let (reader, writer) = tokio::net::UnixStream::from_std(inherited.control)?.into_split();
    let mut orders = BufReader::new(reader).lines();
    let Some(ToEngine::Start(start)) = next_order(&mut orders).await? else {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the first order is not `Start`"));
    };
    if start.is_shielded {
        // The keys of certificates are in it (PR_SET_DUMPABLE in prctl(2), ptrace(2)).
        set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    }
    // /tmp may be memory, or small. Fails where it was set before, which nobody does.
    tempfile::env::override_temp_dir(&start.temp_dir).ok();
    let mut http = (0..start.http_listeners.saturating_add(start.https_listeners))
        .map(|number| take_inherited(FIRST_LISTENER_FD + i32::from(number)).map(TcpListener::from))
        .collect::<io::Result<Vec<_>>>()?;
    let https = http.split_off(usize::from(start.http_listeners));
    let (outbox, messages) = mpsc::channel(OUTBOX);
    let teller = tokio::spawn(tell(writer, messages));
    let mut engine = Engine::new(&start, (http, https), outbox)?;
    engine.proxy.serve_unix(inherited.probe)?;
    let (given, sockets) = mpsc::channel(1);
    sockets::take_all(inherited.sockets, given)?;
    engine.serve(&mut orders, sockets).await?;
    drop(engine);
    teller.await.ok();
    Ok(())
}

/// The supervisor orders the end; a signal that a terminal, systemd or a script that rotates logs sends to everybody does not.
fn ignore_signals() -> io::Result<()> {
    for kind in [
        SignalKind::terminate(),
        SignalKind::interrupt(),
        SignalKind::hangup(),
        SignalKind::user_defined1(),
        SignalKind::user_defined2(),
    ] {
        signals::outlive(kind)?;
    }
    signals::outlive_large_files()
}

async fn next_order(orders: &mut Orders) -> io::Result<Option<ToEngine>> {
    while let Some(line) = orders.next_line().await? {
        match serde_json::from_str(&line) {
            Ok(order) => return Ok(Some(order)),
            Err(_) if line.is_empty() => {}
            // A supervisor that was upgraded may know orders that this engine does not.
            Err(error) => tracing::warn!(%error, "an order was not understood"),
        }
    }
    Ok(None)
}

async fn tell(mut writer: OwnedWriteHalf, mut messages: mpsc::Receiver<FromEngine>) {
    while let Some(message) = messages.recv().await {
        let mut line = match serde_json::to_vec(&message) {
            Ok(line) => line,
            Err(error) => {
                tracing::error!(%error, "the supervisor could not be told something");
                continue;
            }
        };
        line.push(b'\n');
        if writer.write_all(&line).await.is_err() {
            break;
        }
    }
}

struct Engine {
    proxy: Proxy,
    metrics: Arc<Registry>,
    access_log: AccessLog,
    routes: Routes,
    http: Vec<TcpListener>,
    https: Vec<TcpListener>,
    doors: Doors,
    outbox: mpsc::Sender<FromEngine>,
    /// What the supervisor knows of servers of upstreams.
    told_upstreams: UpstreamHealth,
    /// What importing an application came to.
    imports: (mpsc::Sender<Imported>, mpsc::Receiver<Imported>),
    /// Keeps the interpreter's threads.
    embedded: Option<Embedded>,
}

struct Imported {
    site: String,
    release: String,
    result: Result<Embedded, StartError>,
}

impl Engine {
    fn new(
        start: &EngineStart,
        (http, https): (Vec<TcpListener>, Vec<TcpListener>),
        outbox: mpsc::Sender<FromEngine>,
    ) -> io::Result<Self> {
        let metrics = Arc::new(Registry::new());
        let access_log = match &start.access_logs {
            Some(folder) => AccessLog::to_folder(folder.clone())?,
            None => AccessLog::disabled(),
        };
        let mut limits = Limits::from(start.limits.clone());
        limits.max_connections = connections_that_fit(limits.max_connections);
        limits.max_memory_bytes = limits.max_memory_bytes.or_else(most_memory);
        let settings = ProxySettings {
            limits,
            clients: start.clients.clone(),
            admin_hosts: start.admin_hosts.clone(),
            temp_dir: Some(start.temp_dir.clone()),
        };
        Ok(Self {
            proxy: Proxy::new(settings, Arc::clone(&metrics), access_log.clone())
                .map_err(io::Error::other)?,
            routes: Routes::new(Arc::clone(&metrics), start.cache_dir.clone()),
            metrics,
            access_log,
            http,
            https,
            doors: Doors::default(),
            outbox,
            told_upstreams: UpstreamHealth::new(),
            imports: mpsc::channel(1),
            embedded: None,
        })
    }

    /// Obeys until the supervisor is gone or an order to drain was carried out.
    async fn serve(
        &mut self,
        orders: &mut Orders,
        mut sockets: mpsc::Receiver<(sockets::Offer, OwnedFd)>,
    ) -> io::Result<()> {
        let mut second = tokio::time::interval(Duration::from_secs(1));
        second.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut draining: Option<tokio::task::JoinHandle<()>> = None;
        loop {
            tokio::select! {
                order = next_order(orders) => match order? {
                    None => return Ok(()),
                    Some(ToEngine::Drain { limit, heir, given_up }) => {
                        self.doors.give_up(&given_up);
                        self.drain(limit, heir).await;
                        let proxy = self.proxy.clone();
                        draining.get_or_insert_with(|| {
                            tokio::spawn(async move { proxy.drained().await })
                        });
                    }
                    Some(order) => self.obey(order).await,
                },
                Some(given) = sockets.recv() => self.doors.take(&self.proxy, given),
                Some(imported) = self.imports.1.recv() => self.imported(imported).await,
                sites = self.routes.wanting() => {
                    for site in sites {
                        self.say(FromEngine::Wanted { site }).await;
                    }
                }
                _ = second.tick() => {
                    self.tell_second().await;
                    self.tell_upstreams().await;
                }
                () = ended(&mut draining) => {
                    self.routes.close_embedded();
                    self.run_exit_handlers().await;
                    self.access_log.flush();
                    self.tell_second().await;
                    return Ok(());
                }
            }
        }
    }

    async fn tell_upstreams(&mut self) {
        let health = self.routes.upstream_health();
        if self.told_upstreams != health {
            self.told_upstreams.clone_from(&health);
            self.say(FromEngine::Upstreams(health)).await;
        }
    }

    async fn drain(&mut self, limit: Duration, heir: HeirData) {
        self.proxy.drain(limit, heir.into());
        self.routes.leave_disk();
        if heir == HeirData::Successor {
            self.doors = Doors::default();
            self.proxy.stopped_accepting().await;
            self.say(FromEngine::Draining).await;
        }
    }

    async fn obey(&mut self, order: ToEngine) {
        match order {
            ToEngine::Configure { sequence, config } => {
                let sockets = config.clone();
                if let Some(import) = self.routes.configure(config) {
                    self.import(import);
                }
                self.apply_routes();
                self.doors.configure(&self.proxy, &sockets, sequence);
                self.say(FromEngine::Configured { sequence }).await;
            }
            ToEngine::Access { sequence, access } => {
                self.routes.refuse(access);
                self.apply_routes();
                self.say(FromEngine::Configured { sequence }).await;
            }
            ToEngine::Purge { sequence, site, what } => {
                let Some((answers, cache)) = self.routes.purge(&site, &what) else {
                    return self.say(FromEngine::Purged { sequence, answers: 0 }).await;
                };
                let outbox = self.outbox.clone();
                tokio::spawn(async move {
                    cache.settled().await;
                    // Where the supervisor is gone there is nobody to tell.
                    outbox.send(FromEngine::Purged { sequence, answers }).await.ok();
                });
            }
            ToEngine::Accept => {
                self.doors.accept(&self.proxy);
                let http = self.http.drain(..).map(|listener| self.proxy.serve_tcp(listener));
                let https = self.https.drain(..).map(|listener| self.proxy.serve_tls(listener));
                for error in http.chain(https).filter_map(Result::err) {
                    tracing::error!(%error, "a listener can't be used");
                }
            }
            ToEngine::ReopenLogs => self.access_log.reopen(),
            ToEngine::Tls(data) => data.apply(&self.proxy),
            ToEngine::Start(_) | ToEngine::Drain { .. } => {
                tracing::warn!("an order came out of its turn");
            }
        }
    }

    fn apply_routes(&mut self) {
        let (public, probe) = self.routes.tables();
        self.proxy.set_probe_routes(probe);
        self.proxy.set_routes(public);
    }

    fn import(&self, import: Import) {
        let done = self.imports.0.clone();
        let Import { site, release, data, backlog } = import;
        // The listener lives as long as the process, which ends when nobody can say anything any more.
        let (outbox, about) = (self.outbox.downgrade(), (site.clone(), release.clone()));
        let metrics = self.metrics.site(&about.0);
        let listener = Box::new(move |notice| {
            match &notice {
                Notice::Stalled { waited_ms } => metrics.waits_for_gil(*waited_ms),
                Notice::Unstalled { .. } => metrics.waits_for_gil(0),
                _ => {}
            }
            let (site, release) = about.clone();
            // Called on a thread of its own; where the supervisor is gone there is nobody to tell.
            if let Some(outbox) = outbox.upgrade() {
                outbox.blocking_send(FromEngine::Notice { site, release, notice }).ok();
            }
        });
        tokio::task::spawn_blocking(move || {
            let library = RuntimeLibrary { path: data.library };
            let result = embed(&data.interpreter, &library, &data.spec, backlog, listener);
            done.blocking_send(Imported { site, release, result }).ok();
        });
    }

    async fn imported(&mut self, imported: Imported) {
        let Imported { site, release, result } = imported;
        let message = match result {
            Ok(embedded) => {
                self.embedded = Some(embedded);
                FromEngine::SiteReady { site, release }
            }
            Err(error) => {
                let (summary, traceback) = match error {
                    StartError::Application { summary, traceback } => (summary, traceback),
                    other => (other.to_string(), String::new()),
                };
                self.routes.embedding_failed(summary.clone());
                self.apply_routes();
                FromEngine::SiteFailed { site, release, summary, traceback }
            }
        };
        self.say(message).await;
    }

    /// Lets Python end as it does on its own: `atexit`, flushed output.
    async fn run_exit_handlers(&mut self) {
        let Some(embedded) = self.embedded.take() else { return };
        let stopped = tokio::task::spawn_blocking(move || embedded.stop(EXIT_HANDLERS)).await;
        if !matches!(stopped, Ok(true)) {
            tracing::warn!("the exit handlers of the application took too long and were cut off");
        }
    }

    /// What was counted, and which requests there were.
    async fn tell_second(&self) {
        self.routes.measure_caches();
        self.say(FromEngine::Sample(self.metrics.snapshot())).await;
        let mut records = self.access_log.take_records();
        while !records.is_empty() {
            let rest = records.split_off(records.len().min(MOST_RECORDS));
            self.say(FromEngine::Requests(std::mem::replace(&mut records, rest))).await;
        }
    }

    async fn say(&self, message: FromEngine) {
        // Where the supervisor is gone, the next order says so.
        self.outbox.send(message).await.ok();
    }
}

async fn ended(task: &mut Option<tokio::task::JoinHandle<()>>) {
    match task {
        Some(task) => {
            task.await.ok();
        }
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_descriptors_that_are_left_are_for_connections() {
        assert_eq!(connections_for(None), usize::MAX);
        assert_eq!(connections_for(Some(1024)), 480);
        assert_eq!((connections_for(Some(64)), connections_for(Some(3))), (1, 1));
    }
}
