//! One release being made: what is known so far, and the work of each step.
//!
//! Owns what passes from one step to the next. Must not know their order: that is `prepare`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use onebox_app_server::Interpreter;
use onebox_config::Account;
use onebox_config::site::{ProcessProperties, PythonChoice};

use super::closed::close;
use super::command::Job;
use super::detect::{self, Found};
use super::error::{DeployProblem, Step};
use super::events::EventSink;
use super::hooks::{self, Collect, Django};
use super::packages::Requirements;
use super::persist::{Nature, Persistence};
use super::plan::{Kind, RunPlan};
use super::prepare::{Identity, StageContext};
use super::settings::{self, DjangoSettings, Question};
use super::statics;
use super::venv::{Environment, blocking};
use super::{owner, unreadable, warnings};
use crate::environment;
use crate::users::{self, RunAs, SiteDefaults};

/// How long the site's own files may take to be compiled; it goes on without.
const COMPILE_LIMIT: Duration = Duration::from_secs(60);

/// What a site is.
#[derive(Debug)]
pub(crate) struct Recognised {
    pub(crate) found: Found,
    /// The Python that its environment is made with; `None` for a site without Python.
    pub(crate) python: Option<Interpreter>,
    /// What its owner should know.
    pub(crate) warnings: Vec<String>,
}

impl Recognised {
    /// In a line.
    pub(crate) fn text(&self) -> String {
        let version = |python: &Interpreter| format!(", Python {}", python.version_text());
        let python = self.python.as_ref().map(version).unwrap_or_default();
        format!("{}{python}", self.found.text)
    }
}

/// A release being made.
pub(super) struct Stage<'a> {
    release: &'a Path,
    app: PathBuf,
    site: &'a Identity,
    /// Where it lives.
    defaults: &'a SiteDefaults,
    /// Who runs its commands; `None`: the supervisor's own user.
    user: Option<RunAs>,
    /// Who serves its static files, where that is another one.
    engine: Option<&'a Account>,
    variables: Vec<(String, String)>,
    shared: PathBuf,
    /// The Python that was found, then that of the environment.
    python: Option<Interpreter>,
    settings: Option<DjangoSettings>,
    collect: Collect,
    /// Paths below the site's folder that are kept.
    kept: Vec<PathBuf>,
    kept_text: Option<String>,
    warnings: Vec<String>,
}

impl<'a> Stage<'a> {
    /// A release whose files are in `release/app`.
    pub(super) fn new(context: &'a StageContext, release: &'a Path, site: &'a Identity) -> Self {
        // The variables of the box lie over those of the release, as they will when it runs.
        let own = site.config.env.iter().map(|(name, value)| (name.clone(), value.clone()));
        let of_box = context.variables.get(&site.name).into_iter().flatten().cloned();
        let user = RunAs::of_site(&site.config.process, &context.defaults, &site.name);
        let engine = users::another(context.defaults.user.as_ref());
        Self {
            release,
            app: release.join("app"),
            site,
            defaults: &context.defaults,
            engine: engine
                .filter(|engine| user.as_ref().is_some_and(|user| user.account != **engine)),
            user,
            variables: own.chain(of_box).collect(),
            shared: context.defaults.paths.shared(&site.name),
            python: None,
            settings: None,
            collect: Collect::Nowhere,
            kept: Vec::new(),
            kept_text: None,
            warnings: Vec::new(),
        }
    }

    /// Says what the site is, and with which Python it will run.
    pub(super) async fn detect(&mut self, events: &EventSink) -> Result<Found, DeployProblem> {
        // Only then there are its user's folders to make.
        users::check_rights(&self.site.config.process).map_err(DeployProblem::NotAllowed)?;
        close(self.defaults, &self.site.name, &self.site.config, self.user.as_ref())?;
        if let Some(user) = &self.user {
            owner::settle(user)?;
            owner::inherit(&self.shared, user)?;
        }
        let recognised = self.recognise().await?;
        events.step(Step::Detect, recognised.text());
        let Recognised { found, python, warnings } = recognised;
        self.python = python;
        self.warnings = warnings;
        Ok(found)
    }

    /// The same without a trace.
    pub(super) async fn recognise(&self) -> Result<Recognised, DeployProblem> {
        let (config, procfile) = (&self.site.config, &self.site.procfile);
        users::check_rights(&config.process).map_err(DeployProblem::NotAllowed)?;
        check_working_folder(&self.app, &config.process)?;
        if let Some(user) = &self.user {
            // What lies in it is opened to its user in a deploy.
            check_way(user, &self.defaults.paths.sites_dir())?;
        }
        let found = detect::detect(&self.app, config, procfile.web.as_deref())?;
        let mut python = None;
        if found.application.is_some() {
            let (choice, app) = (config.python.clone(), self.app.clone());
            let account = self.user.as_ref().map(|user| user.account.clone());
            let find = move || Interpreter::find(choice.as_ref(), &app, account.as_ref());
            python = Some(blocking(find).await?.map_err(DeployProblem::Python)?);
        }
        let variables = self.variables.iter().map(|(name, value)| (name, value));
        let mut told = warnings::of_procfile(procfile);
        told.extend(warnings::of_debugging(&found, variables));
        Ok(Recognised { found, python, warnings: told })
    }

    /// Links what is kept as far as it is known before anything runs.
    pub(super) fn keep_known(&mut self, found: &Found) -> Result<(), DeployProblem> {
        let configured = self.site.config.persist.iter().map(|path| (path.clone(), Nature::ByName));
        let detected = found.persistent.iter().map(|path| (path.clone(), Nature::ByName));
        self.keep(configured.chain(detected).collect())?;
        owner::give(&self.app, self.user.as_ref())
    }

    /// Makes the environment, unless the site brings one.
    pub(super) async fn install(
        &mut self,
        found: &Found,
        events: &EventSink,
    ) -> Result<(), DeployProblem> {
        let Some(python) = self.python.clone() else { return Ok(()) };
        let requirements = Requirements::find(&self.app, &found.root)
            .inspect_err(|_| events.step(Step::Install, "Reading the requirements"))?;
        let is_named = matches!(self.site.config.python, Some(PythonChoice::Path(_)));
        let is_environment = python.prefix != python.base_prefix;
        if is_named && (is_environment || requirements.is_none()) {
            let text = format!("Using {} as it is", python.executable.display());
            events.step(Step::Install, text);
            return Ok(());
        }
        self.warnings.extend(warnings::of_project(&self.app, requirements.as_ref(), &python));
        events.step(
            Step::Install,
            match &requirements {
                Some(requirements) => format!("Packages of {}", requirements.source),
                None => "No requirements: an environment without packages".to_owned(),
            },
        );
        if requirements.is_none() {
            check_requirements(found)?;
        }
        let environment = Environment {
            release: self.release,
            app: &self.app,
            python: &python,
            requirements: requirements.as_ref(),
            user: self.user.as_ref(),
        };
        self.python = Some(environment.make(events).await?);
        Ok(())
    }

    /// Asks a Django project for its settings.
    pub(super) async fn ask_django(
        &mut self,
        found: &Found,
        events: &EventSink,
    ) -> Result<(), DeployProblem> {
        let (Some(project), Some(python)) = (&found.django, &self.python) else { return Ok(()) };
        events.step(Step::Settings, format!("Settings {}", project.settings));
        let what = format!("importing {}", project.settings);
        let job = self.job(found, &what, &python.executable, settings::LIMIT);
        let job = job.env("DJANGO_SETTINGS_MODULE", &project.settings);
        let answer = settings::ask(job, Question::Settings).await?;
        self.warnings.extend(warnings::of_django(&answer, &self.site.config.domains, &self.app));
        self.collect = Collect::choose(&answer, self.release);
        self.settings = Some(answer);
        Ok(())
    }

    /// Links what Django said, and tells everything that is kept.
    pub(super) fn keep_answered(&mut self, events: &EventSink) -> Result<(), DeployProblem> {
        if let Some(settings) = &self.settings {
            let persistence = Persistence::new(&self.app, &self.shared, self.user.as_ref());
            let below = |path: &PathBuf| persistence.below_app(path);
            let databases =
                settings.sqlite.iter().filter_map(below).map(|path| (path, Nature::File));
            let media =
                settings.media_root.iter().filter_map(below).map(|path| (path, Nature::Folder));
            let paths = databases.chain(media).collect();
            self.keep(paths)?;
        }
        if let Some(text) = &self.kept_text {
            events.step(Step::Persist, format!("Keeps {text} across releases"));
        }
        Ok(())
    }

    /// Runs the commands of the release.
    pub(super) async fn run_hooks(
        &mut self,
        found: &Found,
        events: &EventSink,
    ) -> Result<(), DeployProblem> {
        let django = found.django.as_ref().zip(self.settings.as_ref());
        let django =
            django.map(|(project, settings)| Django { project, settings, collect: &self.collect });
        if let Some(django) = django {
            self.collect.prepare(&django.project.settings)?;
        }
        if let Collect::Ours { root, .. } = &self.collect {
            owner::give(root, self.user.as_ref())?;
        }
        let configured = self.site.config.release_hooks.as_deref();
        for hook in hooks::choose(configured, self.site.procfile.release.as_deref(), django) {
            events.step(Step::Hooks, hook.text.clone());
            let python =
                self.python.as_ref().map_or(Path::new("python3"), |python| &python.executable);
            let job =
                hook.job(python, |what, program, limit| self.job(found, what, program, limit));
            job.stream(events).await.map_err(|problem| {
                problem.or_hint("mend it and deploy again; what was live before still is")
            })?;
        }
        self.compile(found).await
    }

    /// Writes the plan, which makes the release complete.
    pub(super) fn record(
        &mut self,
        found: &Found,
        events: &EventSink,
    ) -> Result<RunPlan, DeployProblem> {
        let venv = self.release.join("venv");
        let static_files = self.collect.root().filter(|root| !root.starts_with(&self.app));
        let folders = [Some(self.app.as_path()), Some(venv.as_path()), static_files];
        for folder in folders.into_iter().flatten().filter(|folder| folder.exists()) {
            owner::take_back(folder, self.user.as_ref())?;
        }
        let statics = self.statics(found)?;
        if let Some(engine) = self.engine {
            let warning = unreadable::warning(engine, &statics);
            self.warnings.extend(warning.unwrap_or_else(|error| Some(error.to_string())));
        }
        for warning in &self.warnings {
            events.warning(warning.clone());
        }
        let python =
            self.python.as_ref().map(|python| format!(", Python {}", python.version_text()));
        let plan = RunPlan {
            kind: found.kind,
            found: format!("{}{}", found.text, python.unwrap_or_default()),
            interpreter: self.python.clone(),
            application: found.application.clone(),
            root: found.root.clone(),
            python_path: found.python_path.clone(),
            env: self.site.config.env.clone().into_iter().collect(),
            statics,
            persistent: self.kept.iter().map(|path| self.shared.join(path)).collect(),
            warnings: self.warnings.clone(),
        };
        plan.write(self.release)
            .map_err(DeployProblem::file("cannot write the plan in", self.release))?;
        Ok(plan)
    }

    fn statics(&self, found: &Found) -> Result<Vec<statics::Mount>, DeployProblem> {
        let detected = match (&self.settings, &found.static_folder) {
            _ if found.kind == Kind::Static => {
                return Ok(vec![("/".to_owned(), vec![self.app.clone()])]);
            }
            (Some(settings), _) => statics::of_django(settings, &self.collect, &self.app),
            (None, Some((url, folder))) => vec![(url.clone(), vec![folder.clone()])],
            (None, None) => Vec::new(),
        };
        let kept: Vec<(PathBuf, PathBuf)> =
            self.kept.iter().map(|path| (path.clone(), self.shared.join(path))).collect();
        Ok(statics::merge(detected, &self.site.config.static_folders, &self.app, &kept))
    }

    fn keep(&mut self, paths: Vec<(PathBuf, Nature)>) -> Result<(), DeployProblem> {
        let mut persistence = Persistence::new(&self.app, &self.shared, self.user.as_ref());
        persistence.already(std::mem::take(&mut self.kept));
        for (path, nature) in paths {
            persistence.keep(&path, nature)?;
        }
        self.kept_text = persistence.text();
        self.kept = persistence.into_kept();
        Ok(())
    }

    /// A command in the site's folder with the site's environment.
    fn job(&self, found: &Found, what: &str, program: &Path, limit: Duration) -> Job {
        let mut job = Job::new(what, program, &found.root, limit);
        job = match &self.python {
            Some(python) => job.environment(environment::for_site(
                &python.executable,
                self.user.as_ref(),
                &self.variables,
            )),
            None => {
                let user = self.user.iter().flat_map(RunAs::variables);
                job.envs(user).envs(self.variables.iter().map(|(name, value)| (name, value)))
            }
        };
        if !found.python_path.is_empty() {
            let path = std::env::join_paths(&found.python_path).unwrap_or_default();
            job = job.env("PYTHONPATH", path);
        }
        job.run_as(self.user.as_ref())
    }

    /// Compiles the site's own files where the application itself may not write beside them; faults are Python's to
    /// tell when it imports them.
    async fn compile(&self, found: &Found) -> Result<(), DeployProblem> {
        if let (Some(python), Some(_)) = (&self.python, self.user.as_ref()) {
            let job = self.job(found, "compiling", &python.executable, COMPILE_LIMIT);
            let job = job.args(["-m", "compileall", "-q"]).args([&self.app]);
            if let Err(problem) = job.capture().await {
                tracing::debug!(%problem, "not every file of a site could be compiled");
            }
        }
        Ok(())
    }
}

/// The working folder must be there when the release starts.
pub(super) fn check_working_folder(
    app: &Path,
    properties: &ProcessProperties,
) -> Result<(), DeployProblem> {
    match properties.chdir.as_ref().map(|folder| app.join(folder)) {
        Some(folder) if !folder.is_dir() => Err(DeployProblem::NoWorkingFolder(folder)),
        _ => Ok(()),
    }
}

/// The site's user must get through to its release.
pub(super) fn check_way(user: &RunAs, place: &Path) -> Result<(), DeployProblem> {
    let closed = users::closed_to(&user.account, place)
        .map_err(DeployProblem::file("cannot enter", place))?;
    match closed {
        Some(closed) => Err(DeployProblem::Closed {
            user: user.account.shown(),
            place: place.to_owned(),
            closed,
        }),
        None => Ok(()),
    }
}

/// A framework that nothing would install is told now, not as a failed import later.
fn check_requirements(found: &Found) -> Result<(), DeployProblem> {
    let (package, folder) = match found.kind {
        Kind::Flask => ("Flask", "flask"),
        Kind::Django => ("Django", "django"),
        Kind::Wsgi | Kind::Static | Kind::Proxied => return Ok(()),
    };
    if found.root.join(folder).is_dir() {
        return Ok(());
    }
    Err(DeployProblem::NoRequirements { package })
}
