//! One release of one site as it shall run: what `state.db`, its plan and its configuration say together.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use onebox_app_server::{AppSpec, Deadlines, Interpreter};
use onebox_config::site::{HealthCheck, Routing, SocketAddress, Upstream};
use onebox_config::{Account, SiteConfig, SiteName};

use super::{OperationFailure, Purpose, develop};
use crate::api::{CommandPlace, CommandUser, ServerHealth, ServerState, UpstreamRoute};
use crate::certificates;
use crate::certificates::own::OwnFiles;
use crate::confinement::Confinement;
use crate::deploy::plan::{Kind, RunPlan};
use crate::deploy::{close, inherit, open_to, plan_in_place, settle};
use crate::engine::protocol::{BackendData, EmbeddedData, SiteData, SocketData};
use crate::engine::{EmbeddedSite, shown_address};
use crate::environment::{self, Environment};
use crate::isolation::{Facts, PythonFacts};
use crate::site_sockets::Wanted;
use crate::store::SiteRow;
use crate::users::{RunAs, SiteDefaults, another};
use crate::workers::{CrewSpec, Past};

/// The release of a folder that is served as it is; no other has this name.
const IN_PLACE: &str = "in-place";

/// A release that can be run.
#[derive(Debug, Clone)]
pub(crate) struct SiteRelease {
    pub(crate) site: String,
    pub(crate) release: String,
    pub(crate) config: SiteConfig,
    pub(crate) plan: RunPlan,
    /// The hosts it answers to, the first one first; without `NAME.localhost`.
    pub(crate) domains: Vec<String>,
    pub(crate) catch_all: bool,
    pub(crate) stopped: bool,
    pub(crate) maintenance: bool,
    /// What `onebox env` says.
    pub(crate) variables: Vec<(String, String)>,
    pub(crate) place: Place,
    /// Whether whoever asks is shown why it fails: `onebox dev`.
    pub(super) development: bool,
}

/// Where a site lives, and as whom.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// The release's own folder.
    app: PathBuf,
    /// What lives across releases.
    shared: PathBuf,
    /// `None`: the supervisor's own user.
    user: Option<RunAs>,
    /// The engine's user.
    engine: Option<Account>,
}

impl Place {
    /// The place of a deployed release.
    pub(super) fn of(
        defaults: &SiteDefaults,
        site: &str,
        release: &str,
        config: &SiteConfig,
    ) -> Self {
        Self {
            app: defaults.paths.releases(site).join(release).join("app"),
            shared: defaults.paths.shared(site),
            user: RunAs::of_site(&config.process, defaults, site),
            engine: defaults.user.clone(),
        }
    }

    /// Whom it runs as, where that is not the engine's user.
    fn user_of_its_own(&self) -> Option<String> {
        let account = self.user.as_ref().map(|user| &user.account);
        let key = |account: Option<&Account>| {
            account.map(|account| (account.uid, account.gid, account.groups.clone()))
        };
        let own = key(account) != key(another(self.engine.as_ref()));
        own.then(|| account.map_or_else(|| "the appliance's own user".to_owned(), Account::shown))
    }

    /// The certificate that the site brings along; in `folders` it may name what only root can read.
    pub(super) fn own_files(&self, config: &SiteConfig, folders: &[PathBuf]) -> Option<OwnFiles> {
        let user = self.user.as_ref().map(|user| user.account.clone());
        let files = config.tls.own.clone()?;
        Some(OwnFiles { files, user, folders: folders.to_vec() })
    }

    /// What the application may write to where the system is read-only for it.
    fn own_folders(&self) -> Vec<PathBuf> {
        let home = match &self.user {
            Some(user) => Some(user.home.clone()),
            None => std::env::home_dir(),
        };
        [self.app.clone(), self.shared.clone()].into_iter().chain(home).collect()
    }
}

/// Sites that ended engines again and again, by name.
pub(crate) type Unsteady = BTreeSet<String>;

/// A live release whose files can't be read.
#[derive(Debug, Clone, thiserror::Error)]
#[error("release {release} can't be read: {reason}")]
pub(crate) struct UnreadableRelease {
    pub(crate) release: String,
    pub(crate) reason: String,
}

impl SiteRelease {
    /// Reads a release from its folder. Blocks on the disk.
    ///
    /// # Errors
    /// [`UnreadableRelease`] where its plan or its configuration is not there or broken.
    pub(crate) fn read(
        defaults: &SiteDefaults,
        row: &SiteRow,
        release: &str,
        variables: Vec<(String, String)>,
    ) -> Result<Self, UnreadableRelease> {
        let dir = defaults.paths.releases(&row.name).join(release);
        let failed = |reason: String| UnreadableRelease { release: release.to_owned(), reason };
        let plan = RunPlan::read(&dir).map_err(|error| failed(error.to_string()))?;
        let mut config = onebox_config::load_site(&dir.join("app"), None)
            .map_err(|error| failed(error.to_string()))?;
        let place = Place::of(defaults, &row.name, release, &config);
        resolve(&mut config, &place);
        close(defaults, &row.name, &config, place.user.as_ref())
            .map_err(|problem| failed(problem.to_string()))?;
        if let Some(user) = &place.user {
            settle(user)
                .and_then(|()| inherit(&place.shared, user))
                .and_then(|()| open_to(&dir, user))
                .map_err(|problem| failed(problem.to_string()))?;
        }
        Ok(Self {
            place,
            site: row.name.clone(),
            release: release.to_owned(),
            config,
            plan,
            domains: row.domains.clone(),
            catch_all: row.catch_all,
            stopped: row.stopped,
            maintenance: row.maintenance,
            variables,
            development: false,
        })
    }

    /// A folder as it is, without a release of its own; it answers to every host.
    ///
    /// # Errors
    /// Where the folder is no site, or there is no Python for it.
    pub(crate) async fn in_place(
        root: PathBuf,
        mut config: SiteConfig,
        defaults: &SiteDefaults,
        purpose: Purpose,
    ) -> Result<Self, OperationFailure> {
        let development = purpose == Purpose::Development;
        let variables = if development { develop::settings(&mut config) } else { Vec::new() };
        let name = match &config.name {
            Some(name) => name.clone(),
            None => {
                let folder = root.file_name().unwrap_or_default().to_string_lossy();
                SiteName::from_folder(&folder).to_string()
            }
        };
        let user = RunAs::of_site(&config.process, defaults, &name);
        let plan = plan_in_place(&root, &config, user.as_ref()).await;
        let plan = plan.map_err(|problem| OperationFailure {
            detail: problem.detail(),
            hint: problem.hint(),
            ..OperationFailure::new("detect", problem.to_string())
        })?;
        let engine = defaults.user.clone();
        let place = Place { app: root.clone(), shared: root, user, engine };
        resolve(&mut config, &place);
        Ok(Self {
            place,
            site: name,
            release: IN_PLACE.to_owned(),
            domains: config.domains.clone(),
            config,
            plan,
            catch_all: true,
            stopped: false,
            maintenance: false,
            variables,
            development,
        })
    }

    /// What the derivation of its mode looks at.
    pub(crate) fn facts(&self, unsteady: &Unsteady) -> Facts {
        let python = self.plan.interpreter.as_ref().map(|interpreter| PythonFacts {
            choice: self.config.isolation,
            own_processes: self.config.own_processes(),
            runs_as: self.place.user_of_its_own(),
            can_be_loaded: interpreter.libpython.is_some(),
            ends_engines: unsteady.contains(&self.site),
        });
        Facts { site: self.site.clone(), python, is_proxied: self.plan.kind == Kind::Proxied }
    }

    /// The host that health checks ask for: the first domain, else the one it surely answers to.
    pub(crate) fn probe_host(&self) -> String {
        match self.domains.first() {
            Some(domain) => match domain.strip_prefix("*.") {
                // One of those that the pattern means.
                Some(rest) => format!("onebox.{rest}"),
                None => domain.clone(),
            },
            None if self.catch_all => "localhost".to_owned(),
            None => format!("{}.localhost", self.site),
        }
    }

    /// How long its application may take to load.
    pub(crate) fn patience(&self) -> Duration {
        self.config.health.timeout
    }

    /// What other servers answer; how they are is for `heard` to say, an engine's word in the same order.
    pub(crate) fn upstream_routes(&self, heard: &[Vec<ServerHealth>]) -> Vec<UpstreamRoute> {
        let heard = heard.iter().map(Vec::as_slice).chain(std::iter::repeat(&[][..]));
        let routes = self.upstreams().into_iter().zip(heard).map(|(upstream, heard)| {
            let servers = upstream.servers.iter().map(|server| {
                let address = server.to_string();
                // It may still speak of the release before.
                let known = heard.iter().find(|known| known.address == address).cloned();
                known.unwrap_or(ServerHealth {
                    address,
                    state: ServerState::Unknown,
                    requests: 0,
                    problem: None,
                })
            });
            UpstreamRoute {
                servers: servers.collect(),
                path: upstream.path.clone(),
                name: upstream.name.clone(),
            }
        });
        routes.collect()
    }

    /// Whether its files are all it has.
    pub(crate) fn is_static(&self) -> bool {
        self.plan.kind == Kind::Static
    }

    fn all_variables(&self) -> Vec<(String, String)> {
        self.plan.env.iter().chain(&self.variables).cloned().collect()
    }

    fn environment(&self, interpreter: &Interpreter) -> Environment {
        let user = self.place.user.as_ref();
        environment::for_site(&interpreter.executable, user, &self.all_variables())
    }

    /// What a command for it is run with.
    pub(crate) fn command_place(&self) -> CommandPlace {
        let python = self.plan.interpreter.as_ref().map(|python| python.executable.as_path());
        let user = self.place.user.as_ref();
        let environment =
            environment::for_site(python.unwrap_or(Path::new("")), user, &self.all_variables());
        // What is no text can't be said in JSON, and no variable of a site is.
        let text = |(name, value): (OsString, OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        CommandPlace {
            release: self.release.clone(),
            folder: self.plan.root.display().to_string(),
            environment: environment.into_iter().filter_map(text).collect(),
            user: user.map(|user| CommandUser {
                uid: user.account.uid,
                gid: user.account.gid,
                groups: user.account.groups.clone(),
            }),
            umask: self.config.process.umask,
        }
    }

    fn confinement(&self) -> Confinement {
        let account = self.place.user.as_ref().map(|user| user.account.clone());
        Confinement::of_site(account, &self.config.process, self.place.own_folders())
    }

    fn app_spec(&self, multiprocess: bool) -> Option<AppSpec> {
        Some(AppSpec {
            site: self.site.clone(),
            application: self.plan.application.clone()?,
            root: self.plan.root.clone(),
            chdir: self.config.process.chdir.clone(),
            python_path: self.plan.python_path.clone(),
            threads: self.config.threads,
            multiprocess,
            development: self.development,
            deadlines: Deadlines {
                harakiri: self.config.harakiri,
                grace: self.config.harakiri_grace,
                deadlock: self.config.deadlock_timeout,
            },
        })
    }

    /// What an engine is started with to embed it; `None` for a static site.
    pub(crate) fn embedded_site(&self) -> Option<EmbeddedSite> {
        let interpreter = self.plan.interpreter.as_ref()?;
        Some(EmbeddedSite {
            site: self.site.clone(),
            release: self.release.clone(),
            root: self.plan.root.clone(),
            environment: self.environment(interpreter),
        })
    }

    /// What the engine's interpreter is to load; `None` for a static site.
    pub(crate) fn embedded_data(&self, library: PathBuf) -> Option<EmbeddedData> {
        let interpreter = self.plan.interpreter.clone()?;
        Some(EmbeddedData { interpreter, library, spec: self.app_spec(false)? })
    }

    /// What its workers are started with.
    ///
    /// # Errors
    /// Where it has no Python.
    pub(crate) fn crew_spec(&self, library: PathBuf, past: Past) -> io::Result<CrewSpec> {
        let (Some(interpreter), Some(spec)) =
            (self.plan.interpreter.clone(), self.app_spec(self.config.processes.may_be_several()))
        else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the site has no Python"));
        };
        Ok(CrewSpec {
            site: self.site.clone(),
            release: self.release.clone(),
            environment: self.environment(&interpreter),
            confinement: self.confinement(),
            interpreter,
            library,
            spec,
            processes: self.config.processes,
            idle: self.config.idle,
            limits: self.config.process_limits,
            mercy: self.config.reload_mercy,
            patience: self.patience(),
            past,
        })
    }

    /// The folders whose files the application may name, by either way to what is kept in `shared/`.
    fn sendfile(&self) -> Vec<(String, Vec<PathBuf>)> {
        let Place { app, shared, .. } = &self.place;
        let mounts = self.config.sendfile.iter();
        mounts
            .map(|(url, folder)| (url.clone(), vec![app.join(folder), shared.join(folder)]))
            .collect()
    }

    /// What `socket` and its companions say; relative paths of a folder in place count from it.
    pub(crate) fn wanted_sockets(&self) -> Wanted<'_> {
        let folder = (self.release == IN_PLACE).then(|| self.plan.root.clone());
        Wanted { site: &self.site, sockets: &self.config.sockets, folder }
    }

    fn socket_data(&self) -> Vec<SocketData> {
        let sockets = &self.config.sockets;
        let data = |address| SocketData {
            address: shown_address(address),
            is_tcp: matches!(address, SocketAddress::Tcp(_)),
            allow: sockets.allow.clone(),
        };
        sockets.addresses.iter().map(data).collect()
    }

    /// What holds for its requests now.
    pub(crate) fn routing(&self) -> Routing {
        if self.stopped {
            return Routing::default();
        }
        let mut routing = self.config.routing.clone();
        routing.maintenance |= self.maintenance;
        routing
    }

    /// Its static folders by their URLs.
    pub(crate) fn statics(&self) -> Vec<(String, Vec<PathBuf>)> {
        let statics = self.plan.statics.iter();
        statics.map(|(url, folders)| (self.mounted(url), folders.clone())).collect()
    }

    /// Its upstreams, each with the beginning of its URLs.
    pub(crate) fn upstreams(&self) -> Vec<Upstream> {
        let mut upstreams = self.config.upstreams.clone();
        for path in upstreams.iter_mut().filter_map(|upstream| upstream.path.as_mut()) {
            *path = self.mounted(path);
        }
        upstreams
    }

    /// The request that it has to answer before it is live.
    pub(crate) fn health(&self) -> HealthCheck {
        let HealthCheck { path, status, timeout } = self.config.health.clone();
        HealthCheck { path: format!("{}{path}", self.config.path), status, timeout }
    }

    /// A path of the site as it is in URLs.
    fn mounted(&self, path: &str) -> String {
        match path {
            "/" if !self.config.path.is_empty() => self.config.path.clone(),
            path => format!("{}{path}", self.config.path),
        }
    }

    /// Every host it answers to, but those that nobody has.
    pub(crate) fn hosts(&self) -> Vec<String> {
        let mut hosts = self.domains.clone();
        hosts.push(format!("{}.localhost", self.site));
        hosts
    }

    /// What it wants of certificates.
    pub(crate) fn wanted_certificates(&self, folders: &[PathBuf]) -> certificates::Wanted {
        certificates::Wanted {
            site: self.site.clone(),
            hosts: self.hosts(),
            catch_all: self.catch_all,
            own: self.place.own_files(&self.config, folders),
        }
    }

    /// What the engine needs to route to it.
    pub(crate) fn site_data(&self, backend: BackendData) -> SiteData {
        SiteData {
            name: self.site.clone(),
            release: self.release.clone(),
            hosts: self.hosts(),
            path: self.config.path.clone(),
            catch_all: self.catch_all,
            // A stopped site is off line with all it has.
            statics: if self.stopped { Vec::new() } else { self.statics() },
            sendfile: self.sendfile(),
            index: self.is_static(),
            routing: self.routing(),
            upstreams: if self.stopped { Vec::new() } else { self.upstreams() },
            backend,
            sockets: self.socket_data(),
            redirect: self.config.tls.redirect,
            hsts: self.config.tls.hsts,
            harakiri: self.config.harakiri,
            reload_mercy: self.config.reload_mercy,
            queue_size: self.config.queue_size,
            buffer_size: self.config.buffer_size,
            post_buffering: self.config.post_buffering,
            max_body: self.config.max_body,
            response_buffering: self.config.response_buffering,
            max_temp_file: self.config.max_temp_file,
            log: self.config.log.clone(),
        }
    }
}

/// From here on no path of the configuration counts from a folder that only the release knows.
pub(super) fn resolve(config: &mut SiteConfig, place: &Place) {
    let upstreams = std::mem::take(&mut config.upstreams).into_iter();
    config.upstreams =
        upstreams.map(|upstream| upstream.resolved(&place.app, &place.shared)).collect();
    let folder = config.process.chdir.take();
    config.process.chdir = folder.map(|folder| place.app.join(folder));
    config.routing = std::mem::take(&mut config.routing).resolved(&place.app);
    config.tls.own = config.tls.own.take().map(|own| own.resolved(&place.app));
}
