//! The supervisor as a process: the state directory and its lock, the sockets, the servers, signals, the end.

use std::fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use onebox_config::{BoxConfig, Paths, SiteConfig};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing_subscriber::EnvFilter;

use crate::admin::{AdminState, control_router, first_password, public_router};
use crate::appliance::{
    Appliance, BootError, Layout, OperationFailure, Setup, SiteRelease, Unsteady,
};
use crate::control::ControlListener;
use crate::listeners::{
    ListenError, SocketFile, bind_tcp, bind_unix, bound_addresses, remove_stale_sockets,
};
use crate::process::keep_inherited_descriptors;
use crate::ready::Ready;
use crate::sampler;
use crate::store::StoreError;

/// How long the servers of the API may take to end after everything else did.
const SERVERS_END: Duration = Duration::from_secs(2);

/// Why the appliance does not run.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Another one has this state directory.
    #[error(
        "an appliance is running already with the state directory {}; \
         stop it with `onebox shutdown`, or choose another --state-dir", .0.display()
    )]
    Locked(PathBuf),
    /// A folder or file of the state directory can't be used.
    #[error("{} can't be used", path.display())]
    StateDir {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// An address.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The database, the runtime library, the engine.
    #[error(transparent)]
    Boot(#[from] BootError),
    /// The folder to serve in place.
    #[error("{reason}")]
    InPlace {
        /// In a sentence or two.
        reason: String,
        /// What was looked for, or output; may be empty.
        detail: String,
        /// What to do about it; may be empty.
        hint: String,
    },
    /// The operating system.
    #[error("the appliance can't run")]
    System(#[from] io::Error),
}

impl From<OperationFailure> for ServeError {
    fn from(failure: OperationFailure) -> Self {
        Self::InPlace { reason: failure.reason, detail: failure.detail, hint: failure.hint }
    }
}

impl From<StoreError> for ServeError {
    fn from(error: StoreError) -> Self {
        Self::Boot(error.into())
    }
}

/// Runs the appliance until a signal or `onebox shutdown` ends it; `on_ready` is called once it answers.
///
/// # Errors
/// [`ServeError`] where it can't start.
pub fn serve(config: BoxConfig, on_ready: impl FnOnce(Ready)) -> Result<(), ServeError> {
    start_logging();
    let runtime = runtime()?;
    let result = runtime.block_on(run(config, Mode::Appliance, on_ready));
    // A thread that waits for a disk does not hold the process.
    runtime.shutdown_background();
    result
}

/// Serves one folder as it is until a signal ends it: nothing is copied, installed or kept.
///
/// # Errors
/// [`ServeError`] where it can't start; [`ServeError::InPlace`] where the folder is no site.
pub fn run_in_place(
    config: BoxConfig,
    root: &Path,
    site: SiteConfig,
    on_ready: impl FnOnce(Ready),
) -> Result<(), ServeError> {
    start_logging();
    let scratch = tempfile::Builder::new()
        .prefix("onebox-run-")
        .permissions(Permissions::from_mode(0o711))
        .tempdir()?;
    let config = BoxConfig { state_dir: scratch.path().to_owned(), admin: Vec::new(), ..config };
    let runtime = runtime()?;
    let mode = Mode::InPlace { root: root.to_owned(), site: Box::new(site) };
    let result = runtime.block_on(run(config, mode, on_ready));
    runtime.shutdown_background();
    result
}

enum Mode {
    Appliance,
    InPlace { root: PathBuf, site: Box<SiteConfig> },
}

fn start_logging() {
    let level = EnvFilter::try_from_env("RUST_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let started = tracing_subscriber::fmt()
        .with_env_filter(level)
        .with_target(false)
        .with_ansi(io::IsTerminal::is_terminal(&io::stderr()))
        .with_writer(io::stderr)
        .try_init();
    // Only fails where a log runs already, which then is the one to use.
    started.ok();
}

/// Two threads: one may hash a password or read a directory while the other answers.
fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(16)
        .thread_name("supervisor")
        .enable_all()
        .build()
}

async fn run(
    config: BoxConfig,
    mode: Mode,
    on_ready: impl FnOnce(Ready),
) -> Result<(), ServeError> {
    keep_inherited_descriptors();
    let mut signals = Signals::new()?;
    let paths = Paths::new(&config.state_dir);
    let _lock = prepare_state_dir(&paths)?;
    let http = bind_tcp(&config.http)?;
    let admin = bind_tcp(&config.admin)?;
    let in_place = matches!(mode, Mode::InPlace { .. });
    let admin_addresses = bound_addresses(&admin);
    let setup = Setup { config, http, admin: admin_addresses.clone(), in_place };
    let appliance = Appliance::open(setup).await?;
    let first_password = if in_place { None } else { first_password(&appliance.store).await? };
    match mode {
        Mode::Appliance => appliance.start().await?,
        Mode::InPlace { root, site } => {
            let release = SiteRelease::in_place(root, *site).await?;
            let layout = Layout::at_any_rate(vec![Arc::new(release)], &Unsteady::new());
            appliance.start_with(layout).await?;
            if let Err(failure) = appliance.loaded().await {
                appliance.shut_down().await;
                // Its traceback is on the terminal already.
                let (detail, hint) = (String::new(), String::new());
                return Err(ServeError::InPlace { reason: failure.summary, detail, hint });
            }
        }
    }
    let control = bind_unix(&paths.control_socket())?;
    let _control_file = SocketFile(paths.control_socket());
    let servers = Servers::start(&appliance, admin, control)?;
    let sampler = tokio::spawn(sampler::run(Arc::clone(&appliance)));

    on_ready(Ready {
        http: appliance.http.iter().map(ToString::to_string).collect(),
        admin: admin_addresses.iter().map(ToString::to_string).collect(),
        first_password,
    });

    signals.wait_for_end(&appliance.shutdown).await;
    tracing::info!("shutting down");
    tokio::spawn(async move { signals.exit_at_the_next().await });
    appliance.shut_down().await;
    servers.end().await;
    sampler.await.ok();
    Ok(())
}

/// Makes what is missing of the state directory and takes it for this process; the lock is given back with the file.
fn prepare_state_dir(paths: &Paths) -> Result<File, ServeError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| ServeError::StateDir { path, source }
    };
    // Sites' users must get through to their releases, and see nothing on the way.
    let folders = [
        (paths.state_dir().to_owned(), 0o711),
        (paths.sites_dir(), 0o711),
        (paths.run_dir(), 0o700),
        (paths.temp_dir(), 0o700),
        (paths.box_logs(), 0o711),
    ];
    for (folder, mode) in folders {
        DirBuilder::new().recursive(true).mode(mode).create(&folder).map_err(failed(&folder))?;
    }
    let path = paths.run_dir().join("lock");
    let lock = OpenOptions::new().create(true).append(true).open(&path).map_err(failed(&path))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(ServeError::Locked(paths.state_dir().to_owned()));
        }
        Err(TryLockError::Error(source)) => return Err(ServeError::StateDir { path, source }),
    }
    remove_stale_sockets(&paths.run_dir()).map_err(failed(&paths.run_dir()))?;
    empty(&paths.temp_dir());
    Ok(lock)
}

/// Removes what is in a folder of temporary files; most never had a name, and what stays does no harm.
fn empty(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if let Err(error) = std::fs::remove_file(entry.path()) {
            tracing::warn!(path = %entry.path().display(), %error, "a temporary file can't be removed");
        }
    }
}

/// The servers of the admin API.
struct Servers {
    tasks: TaskTracker,
}

impl Servers {
    fn start(
        appliance: &Arc<Appliance>,
        admin: Vec<std::net::TcpListener>,
        control: UnixListener,
    ) -> io::Result<Self> {
        let state = AdminState::new(Arc::clone(appliance));
        let tasks = TaskTracker::new();
        let until = &appliance.shutdown;
        for listener in admin {
            let listener = TcpListener::from_std(listener)?;
            let service =
                public_router(state.clone()).into_make_service_with_connect_info::<SocketAddr>();
            let server = axum::serve(listener, service);
            let server = server.with_graceful_shutdown(until.clone().cancelled_owned());
            tasks.spawn(async move { server.await.ok() });
        }
        tasks.spawn(serve_control(control_router(state), control, until.clone())?);
        tasks.close();
        Ok(Self { tasks })
    }

    /// Waits for answers that are being sent.
    async fn end(self) {
        // Whoever still reads then reads too slowly.
        tokio::time::timeout(SERVERS_END, self.tasks.wait()).await.ok();
    }
}

fn serve_control(
    router: Router,
    listener: UnixListener,
    until: CancellationToken,
) -> io::Result<impl Future<Output = ()>> {
    let server = axum::serve(ControlListener::new(listener)?, router);
    let server = server.with_graceful_shutdown(until.cancelled_owned());
    Ok(async move {
        server.await.ok();
    })
}

/// The signals that concern the supervisor.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// Taken so that they do not end the process: a terminal sends the first, scripts that rotate logs the others.
    _harmless: [Signal; 3],
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            _harmless: [
                signal(SignalKind::hangup())?,
                signal(SignalKind::user_defined1())?,
                signal(SignalKind::user_defined2())?,
            ],
        })
    }

    async fn wait_for_end(&mut self, shutdown: &CancellationToken) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            () = shutdown.cancelled() => {}
        }
    }

    /// Whoever asks twice does not want to wait; the children end when our ends of their pipes close.
    async fn exit_at_the_next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
        std::process::exit(1);
    }
}
