//! The supervisor as a process: the state directory and its lock, the sockets, the servers, signals, the end.

mod box_file;
mod develop;
mod in_place;
mod servers;
mod state_dir;

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::Arc;

use onebox_config::{BoxConfig, ConfigError, Paths};
use tracing_subscriber::EnvFilter;

use crate::activation::{Activation, ActivationError};
use crate::admin::first_password;
use crate::appliance::{
    Appliance, BootError, Fleet, Layout, OperationFailure, Purpose, Settings, Setup, Unsteady,
};
use crate::listeners::{ListenError, ListenerSet, SocketFile, bind_unix};
use crate::process::{keep_inherited_descriptors, take_inherited};
use crate::ready::Ready;
use crate::service_manager::ServiceManager;
use crate::signals::{Blocked, Order, Signals};
use crate::store::StoreError;
use crate::takeover::{Program, Takeover, UpgradeError};
use crate::users::another;
use crate::{mask, sampler};
use box_file::BoxFile;
pub use in_place::{Folder, develop, run_in_place};
use servers::Servers;

/// What the service manager is told while nothing is going on.
const SERVING: &str = "Serving";

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
    /// The configuration wants another user than the one that runs it.
    #[error(
        "box.toml: `user` under [process] is {0}, and only root can run anything as another user; leave it out"
    )]
    NotRoot(String),
    /// The engine's user can't get into the state directory.
    #[error(
        "{user}, who runs the engine and the sites, can't get to {}: {} is closed; open it (chmod o+x {}), choose another \
         --state-dir, or let everything run as root with `user = \"root\"` under [process] in box.toml",
        state_dir.display(), closed.display(), closed.display()
    )]
    Closed {
        /// The user.
        user: String,
        /// What it has to get to.
        state_dir: PathBuf,
        /// The first folder on the way that it may not enter.
        closed: PathBuf,
    },
    /// What systemd opened for us.
    #[error(transparent)]
    Activation(#[from] ActivationError),
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

/// The configuration of the box, and how it is read again on SIGHUP.
pub struct Configuration {
    /// As it is now.
    pub config: BoxConfig,
    /// Reads it anew, from the same flags and variables.
    pub read_again: Box<dyn Fn() -> Result<BoxConfig, ConfigError> + Send + Sync>,
}

/// Runs the appliance until a signal or `onebox shutdown` ends it; `on_ready` is called once it answers.
///
/// # Errors
/// [`ServeError`] where it can't start.
pub fn serve(configuration: Configuration, on_ready: impl FnOnce(Ready)) -> Result<(), ServeError> {
    start_logging();
    mask::open();
    let program = Program::of_this_process()?;
    // Before the answer to a program that asks whether this one would take over.
    check_user(&configuration.config)?;
    let mode = match Takeover::of_this_process()? {
        Some(takeover) => Mode::Upgraded(Box::new(takeover)),
        None => Mode::Appliance(Activation::take()?),
    };
    let signals = Blocked::new()?;
    let runtime = runtime()?;
    let start = Start { configuration, mode, program: Some(program), signals };
    let result = runtime.block_on(run(start, on_ready));
    // A thread that waits for a disk does not hold the process.
    runtime.shutdown_background();
    result
}

/// Whether this process can run the engine as whom the configuration says.
fn check_user(config: &BoxConfig) -> Result<(), ServeError> {
    match another(config.user.as_ref()) {
        Some(engine) => state_dir::check_way(engine, &Paths::new(&config.state_dir)),
        None => Ok(()),
    }
}

/// What it runs with.
struct Start {
    configuration: Configuration,
    mode: Mode,
    /// What it may be upgraded to.
    program: Option<Program>,
    signals: Blocked,
}

enum Mode {
    /// With what systemd opened for it.
    Appliance(Activation),
    /// This process was another program before.
    Upgraded(Box<Takeover>),
    InPlace {
        given: Activation,
        folder: Arc<Folder>,
        purpose: Purpose,
    },
}

/// What a supervisor has from the start to the end.
struct Held {
    lock: File,
    control: UnixListener,
    http: ListenerSet,
    https: ListenerSet,
    admin: ListenerSet,
    /// What is to be started.
    load: Load,
}

enum Load {
    /// What the database says is live.
    Live,
    /// The same, beside what the program before this one left.
    Beside(Box<Fleet>),
    /// A folder as it is.
    InPlace { folder: Arc<Folder>, purpose: Purpose },
}

impl Held {
    fn take(mode: Mode, config: &BoxConfig) -> Result<Self, ServeError> {
        let (paths, engine) = (Paths::new(&config.state_dir), another(config.user.as_ref()));
        let (given, load) = match mode {
            Mode::Upgraded(takeover) => {
                // The version before may have had no engine of another user.
                engine.map_or(Ok(()), |engine| state_dir::let_in(engine, &paths))?;
                let [http, https, admin] = takeover.listeners()?;
                let lock = take_inherited(takeover.lock)?.into();
                let control = take_inherited(takeover.control)?.into();
                let load = Load::Beside(Box::new(takeover.fleet));
                return Ok(Self { lock, control, http, https, admin, load });
            }
            Mode::Appliance(given) => (given, Load::Live),
            Mode::InPlace { given, folder, purpose } => (given, Load::InPlace { folder, purpose }),
        };
        let lock = state_dir::prepare(&paths, engine)?;
        // Who opens sockets for sites says where they are served.
        let is_given = !given.http.is_empty() || !given.https.is_empty();
        let (wanted_http, wanted_https) = match is_given {
            true => (&[][..], &[][..]),
            false => (&config.http[..], &config.https[..]),
        };
        let http = ListenerSet::open(given.http, wanted_http)?;
        let https = ListenerSet::open(given.https, wanted_https)?;
        let admin = ListenerSet::open(given.admin, &config.admin)?;
        let control = bind_unix(&paths.control_socket())?;
        Ok(Self { lock, control, http, https, admin, load })
    }
}

fn start_logging() {
    let level = EnvFilter::try_from_env("RUST_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let started = tracing_subscriber::fmt()
        .with_env_filter(level)
        .with_target(false)
        .with_writer(io::stderr)
        // Telling of a line that nobody takes, on the same stream, would panic.
        .log_internal_errors(false)
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

async fn run(start: Start, on_ready: impl FnOnce(Ready)) -> Result<(), ServeError> {
    keep_inherited_descriptors();
    let Start { configuration, mode, program, signals } = start;
    let signals = Signals::new(&signals)?;
    let manager = Arc::new(ServiceManager::from_environment());
    let Configuration { config, read_again } = configuration;
    let Held { lock, control, http, https, admin, load } = Held::take(mode, &config)?;
    let _control_file = SocketFile(Paths::new(&config.state_dir).control_socket());
    let settings = Settings { config: Arc::new(config), http, https, admin };
    let purpose = match &load {
        Load::InPlace { purpose, .. } => *purpose,
        Load::Live | Load::Beside(_) => Purpose::Sites,
    };
    let fleet = if let Load::Beside(fleet) = &load { Some(fleet.as_ref()) } else { None };
    let appliance = Appliance::open(Setup { settings, fleet, purpose }).await?;
    let first_password = match purpose {
        Purpose::Sites => first_password(&appliance.store).await?,
        Purpose::InPlace | Purpose::Development => None,
    };
    tokio::select! {
        biased;
        // First, so that what an upgrade has left is adopted before anything can end it.
        started = load_all(&appliance, load) => started?,
        () = signals.end() => {
            end(&appliance, &manager, signals).await;
            return Ok(());
        }
    }
    let descriptors = (lock.as_fd(), control.as_fd());
    let control = control.try_clone()?;
    let mut servers = Servers::start(&appliance, control)?;
    let sampler = tokio::spawn(sampler::run(Arc::clone(&appliance)));

    on_ready(ready(&appliance.settings(), first_password));
    let signs_of_life =
        tokio::spawn(give_signs_of_life(Arc::clone(&manager), Arc::clone(&appliance)));
    manager.ready(SERVING);
    let mut box_file = BoxFile::new(&appliance.settings().config.config_dir);
    loop {
        let order = tokio::select! {
            order = signals.next() => order,
            () = box_file.changed() => {
                take_in_access(&appliance, &read_again).await;
                continue;
            }
            () = appliance.shutdown.cancelled() => Order::End,
        };
        match order {
            Order::End => break,
            // Of a terminal that is closed.
            Order::Reload if purpose == Purpose::Development => break,
            Order::Reload => {
                manager.reloading("Reading the configuration");
                tokio::select! {
                    () = reload(&appliance, &mut servers, &read_again) => manager.ready(SERVING),
                    () = signals.end() => break,
                }
            }
            Order::Reopen => appliance.reopen_logs().await,
            Order::Upgrade => {
                manager.reloading("Upgrading");
                let upgraded = async {
                    match &program {
                        Some(program) => appliance.upgrade(program, descriptors).await,
                        None => UpgradeError::InPlace,
                    }
                };
                tokio::select! {
                    error = upgraded => tracing::error!(%error, "the program of before goes on"),
                    () = signals.end() => break,
                }
                manager.ready(SERVING);
            }
        }
    }
    end(&appliance, &manager, signals).await;
    servers.end().await;
    sampler.await.ok();
    signs_of_life.abort();
    Ok(())
}

/// Ends everything that serves, in its time.
async fn end(appliance: &Arc<Appliance>, manager: &ServiceManager, signals: Signals) {
    tracing::info!("shutting down");
    manager.stopping();
    tokio::spawn(exit_at_the_next(signals));
    appliance.shut_down().await;
}

/// Starts what is to be served.
async fn load_all(appliance: &Arc<Appliance>, load: Load) -> Result<(), ServeError> {
    match load {
        Load::Live => appliance.start().await?,
        Load::Beside(fleet) => {
            appliance.adopt(*fleet).await?;
            tracing::info!(version = env!("CARGO_PKG_VERSION"), "upgraded");
        }
        Load::InPlace { folder, purpose: Purpose::Development } => {
            develop::start(appliance, folder).await?;
        }
        Load::InPlace { folder, purpose } => {
            let release = develop::read(&folder, &appliance.site_defaults(), purpose).await?;
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
    Ok(())
}

fn ready(settings: &Settings, first_password: Option<String>) -> Ready {
    let shown =
        |listeners: &ListenerSet| listeners.addresses().iter().map(ToString::to_string).collect();
    Ready {
        http: shown(&settings.http),
        https: shown(&settings.https),
        admin: shown(&settings.admin),
        first_password,
    }
}

/// Takes in the configuration anew. What is wrong with it is told, and everything goes on as it was.
async fn reload(
    appliance: &Arc<Appliance>,
    servers: &mut Servers,
    read: impl Fn() -> Result<BoxConfig, ConfigError>,
) {
    let config = match read() {
        Ok(config) => config,
        Err(error) => {
            for problem in &error.problems {
                tracing::error!(%problem, "the configuration is refused, the one before goes on");
            }
            return;
        }
    };
    let changed = match appliance.reload(config).await {
        Ok(changed) => changed,
        Err(error) => {
            return tracing::error!(%error, "the configuration is refused, the one before goes on");
        }
    };
    if let Err(error) = servers.serve_admin() {
        tracing::error!(%error, "a new address of the dashboard can't be served");
    }
    match changed {
        true => tracing::info!("the configuration was reloaded"),
        false => tracing::info!("the configuration has not changed"),
    }
}

/// Takes in what box.toml says of addresses; the rest of it waits for a reload.
async fn take_in_access(appliance: &Appliance, read: impl Fn() -> Result<BoxConfig, ConfigError>) {
    match read() {
        Ok(config) => match appliance.set_access_lists(config.access).await {
            Ok(true) => tracing::info!("the addresses of box.toml were taken in"),
            Ok(false) => {}
            Err(error) => {
                tracing::error!(%error, "the addresses of box.toml could not be taken in")
            }
        },
        Err(error) => {
            for problem in &error.problems {
                tracing::error!(%problem, "the changed box.toml is wrong, the one before goes on");
            }
        }
    }
}

/// Tells the service manager that this process still works, for as long as it does.
async fn give_signs_of_life(manager: Arc<ServiceManager>, appliance: Arc<Appliance>) {
    let Some(interval) = manager.sign_of_life_interval() else { return };
    let mut due = tokio::time::interval(interval);
    loop {
        due.tick().await;
        if appliance.is_responsive() {
            manager.alive();
        }
    }
}

/// Whoever asks twice does not want to wait; the children end when our ends of their pipes close.
async fn exit_at_the_next(signals: Signals) {
    signals.end().await;
    std::process::exit(1);
}
