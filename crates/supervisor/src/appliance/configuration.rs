//! The configuration of a site on line: read, tried out, and changed by a release of the same files.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use onebox_config::site::{Concern, SITE_FILE, Setting, site_changes, site_settings};
use onebox_config::{ConfigError, Problem, SiteConfig, parse_site};

use super::deploys::Hosts;
use super::operations::live_release;
use super::{Appliance, OperationError, SiteRelease};
use crate::api::{
    ConfigurationCheck, ConfigurationProblem, DeployEvent, EventKind, Mode, NewConfiguration,
    SettingChange, SettingConcern, SiteConfiguration, SiteSetting,
};
use crate::certificates::about_unorderable;
use crate::deploy::error::DeployProblem;
use crate::deploy::events::EventSink;
use crate::deploy::plan::RunPlan;
use crate::deploy::{NewFile, Prepared, derive, try_out};
use crate::store::SiteRow;

/// How much of a configuration is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reader {
    /// Who may read secrets.
    Trusted,
    /// Everybody else.
    Public,
}

/// The configuration that is live.
struct Live {
    row: SiteRow,
    release: String,
    /// The release's folder.
    dir: PathBuf,
    text: String,
    settings: Vec<Setting>,
}

impl Appliance {
    /// What the live release of a site is configured by.
    ///
    /// # Errors
    /// [`OperationError`] where there is no such site or release, or its file can't be read.
    pub(crate) async fn configuration(
        &self,
        site: &str,
        reader: Reader,
    ) -> Result<SiteConfiguration, OperationError> {
        let live = self.live_configuration(site).await?;
        let setting = |setting: Setting| SiteSetting {
            value: Some(setting.value).filter(|_| reader == Reader::Trusted || !setting.is_secret),
            name: setting.name,
        };
        Ok(SiteConfiguration {
            release: live.release,
            text: Some(live.text).filter(|_| reader == Reader::Trusted),
            settings: live.settings.into_iter().map(setting).collect(),
        })
    }

    /// What would become of another configuration, by everything that a deploy looks at before it installs anything.
    ///
    /// # Errors
    /// [`OperationError`] where there is no such site, or the configuration is not the live one's successor.
    pub(crate) async fn check_configuration(
        &self,
        site: &str,
        wanted: &NewConfiguration,
    ) -> Result<ConfigurationCheck, OperationError> {
        let live = self.live_configuration(site).await?;
        live.check_base(&wanted.release)?;
        let (config, settings) = match read(&wanted.text) {
            Ok(read) => read,
            Err(error) => {
                let problems = error.problems.into_iter().map(problem).collect();
                return Ok(ConfigurationCheck { problems, ..ConfigurationCheck::default() });
            }
        };
        let mut check = ConfigurationCheck {
            changes: changes(&live.settings, &settings),
            warnings: warnings(&live, &config),
            ..ConfigurationCheck::default()
        };
        let context = self.stage_context().await?;
        let tried = try_out(&context, site, &live.dir, config.clone()).await;
        let hosts = self.hosts(site, &config.domains, &config.path).await;
        match (tried, hosts) {
            (Ok(recognised), Ok(hosts)) => {
                let known = RunPlan::read(&live.dir)?;
                check.warnings.extend(
                    recognised
                        .warnings
                        .iter()
                        .filter(|told| !known.warnings.contains(told))
                        .cloned(),
                );
                check.outcome.push(recognised.text());
                let plan = RunPlan {
                    kind: recognised.found.kind,
                    application: recognised.found.application,
                    interpreter: recognised.python,
                    ..known
                };
                let release_id = live.release.clone();
                let prepared = Prepared { site: site.to_owned(), release_id, config, plan };
                match self.try_running(&live, prepared, hosts).await {
                    Ok(outcome) => check.outcome.extend(outcome),
                    Err(error) => check.problems.push(of_operation(error, "")),
                }
            }
            (tried, hosts) => {
                check.problems.extend(tried.err().map(of_deploy));
                check.problems.extend(hosts.err().map(|error| of_operation(error, "domains")));
            }
        }
        for problem in &mut check.problems {
            let setting = settings.iter().find(|setting| setting.name == problem.key);
            problem.line = setting.and_then(|setting| setting.line);
        }
        check.problems.sort_by_key(|problem| problem.line);
        Ok(check)
    }

    /// Makes a release of the live one's files and another configuration, and puts it on line.
    ///
    /// # Errors
    /// [`OperationError`]; what was live before still is.
    pub(crate) async fn apply_configuration(
        self: &Arc<Self>,
        site: &str,
        wanted: NewConfiguration,
        events: &EventSink,
    ) -> Result<DeployEvent, OperationError> {
        let _one_at_a_time = self.operation.lock().await;
        let begun = Instant::now();
        self.store.fail_interrupted_releases().await?;
        let live = self.live_configuration(site).await?;
        live.check_base(&wanted.release)?;
        let changed = read(&wanted.text).map(|(_, settings)| changes(&live.settings, &settings));
        let context = self.stage_context().await?;
        let file = NewFile { name: SITE_FILE, text: wanted.text };
        let release = derive(&context, site, &live.dir, file, events)
            .await
            .map_err(|failure| super::OperationFailure::from(&failure))?;
        let done = self.complete(&context, release, begun, events).await?;
        let names: Vec<_> = changed.iter().flatten().map(|change| change.name.as_str()).collect();
        let text = match names.as_slice() {
            [] => "onebox.toml was rewritten; no setting changed".to_owned(),
            names => format!("onebox.toml changed: {}", names.join(", ")),
        };
        self.tell(EventKind::Configuration, site, None, &text);
        Ok(done)
    }

    async fn live_configuration(&self, site: &str) -> Result<Live, OperationError> {
        let row = self.row(site).await?;
        let release = live_release(&row)?;
        let dir = self.paths.releases(site).join(&release);
        let app = dir.join("app");
        let text = tokio::task::spawn_blocking(move || read_text(&app));
        let text = text.await.map_err(io::Error::other)??;
        // What an earlier version wrote may be no TOML for this one; then everything is new.
        let settings = site_settings(&text).unwrap_or_default();
        Ok(Live { row, release, dir, text, settings })
    }

    /// How a release would run, in sentences.
    async fn try_running(
        &self,
        live: &Live,
        prepared: Prepared,
        hosts: Hosts,
    ) -> Result<Vec<String>, OperationError> {
        let release = self.as_release(prepared, hosts.clone()).await?;
        let site = release.site.clone();
        let target = self.layout_with_release(release)?;
        let mut outcome = Vec::new();
        let Some(placed) = target.site(&site) else { return Ok(outcome) };
        let layout = self.layout();
        if layout.site(&site).is_some_and(|now| now.mode != placed.mode) {
            outcome.push(format!("It will run another way. {}", placed.reasons.join(" ")));
        }
        if hosts.domains != live.row.domains || hosts.catch_all != live.row.catch_all {
            outcome.push(format!("It will answer to {}.", answers_to(&hosts)));
        }
        if live.row.stopped {
            outcome.push("It is stopped, and will be started.".to_owned());
        }
        outcome.push(started(placed.mode, &placed.release));
        Ok(outcome)
    }
}

impl Live {
    fn check_base(&self, known: &str) -> Result<(), OperationError> {
        match self.release == known {
            true => Ok(()),
            false => Err(OperationError::Outdated {
                site: self.row.name.clone(),
                live: self.release.clone(),
                known: known.to_owned(),
            }),
        }
    }
}

fn read(text: &str) -> Result<(SiteConfig, Vec<Setting>), ConfigError> {
    Ok((parse_site(text, Path::new(SITE_FILE))?, site_settings(text)?))
}

/// The file of the release whose files are in `app`. A link may lead to another one there, and nowhere else: whoever made it
/// would have it shown what only root can read.
fn read_text(app: &Path) -> io::Result<String> {
    let file = match app.join(SITE_FILE).canonicalize() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(String::new()),
        file => file?,
    };
    if !file.starts_with(app.canonicalize()?) {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!("{SITE_FILE} is a link that leaves the site's folder"),
        ));
    }
    std::fs::read_to_string(file)
}

fn changes(old: &[Setting], new: &[Setting]) -> Vec<SettingChange> {
    let change = |change: onebox_config::site::SettingChange| SettingChange {
        name: change.name,
        old: change.old,
        new: change.new,
        concern: match change.concern {
            Concern::Requests => SettingConcern::Requests,
            Concern::Processes => SettingConcern::Processes,
            Concern::Release => SettingConcern::Release,
        },
    };
    site_changes(old, new).into_iter().map(change).collect()
}

/// What is allowed, and not what one may expect.
fn warnings(live: &Live, config: &SiteConfig) -> Vec<String> {
    let site = &live.row.name;
    let mut warnings = Vec::new();
    if let Some(name) = config.name.as_ref().filter(|name| *name != site) {
        warnings.push(format!(
            "`name` is {name}, and this site stays {site}: a folder with it would be deployed as another site"
        ));
    }
    let before = live.settings.iter().find(|setting| setting.name == "domains");
    if before.is_none() && !config.domains.is_empty() && !live.row.domains.is_empty() {
        warnings.push(format!(
            "`domains` takes the place of the hosts that it was deployed with: {}",
            live.row.domains.join(", ")
        ));
    }
    let kept = parse_site(&live.text, Path::new(SITE_FILE)).map(|config| config.persist);
    for path in kept.into_iter().flatten().filter(|path| !config.persist.contains(path)) {
        warnings.push(format!(
            "`persist` lacks {0}: unless it is found by itself the release has none, and what is in shared/{0} stays there",
            path.display()
        ));
    }
    warnings.extend(
        Some(about_unorderable(&config.domains)).filter(|_| config.tls.own.is_none()).flatten(),
    );
    warnings
}

fn answers_to(hosts: &Hosts) -> String {
    match (hosts.domains.as_slice(), hosts.catch_all) {
        (_, true) => "every host that no other site has".to_owned(),
        ([], false) => "no public host, only to its name below .localhost".to_owned(),
        (domains, false) => domains.join(", "),
    }
}

fn started(mode: Mode, release: &SiteRelease) -> String {
    let begins = match mode {
        Mode::Static | Mode::Proxied => "Nothing is started for it".to_owned(),
        Mode::Embedded => "A fresh engine is started beside the one that serves".to_owned(),
        Mode::Isolated => format!(
            "Fresh processes (`processes = {}`) are started beside those that serve",
            release.config.processes
        ),
    };
    format!(
        "{begins}; packages, hooks and its health check are tried when it is applied, and where one fails everything stays as it is."
    )
}

fn problem(problem: Problem) -> ConfigurationProblem {
    ConfigurationProblem {
        line: problem.line(),
        key: problem.key,
        message: problem.message,
        hint: problem.hint.unwrap_or_default(),
    }
}

fn of_deploy(problem: DeployProblem) -> ConfigurationProblem {
    let key = match &problem {
        DeployProblem::NoWorkingFolder(_) => "chdir",
        DeployProblem::Python(_) => "python",
        DeployProblem::ApplicationMissing { key, .. } => key,
        _ => "",
    };
    ConfigurationProblem {
        line: None,
        key: key.to_owned(),
        message: problem.to_string(),
        hint: problem.hint(),
    }
}

fn of_operation(error: OperationError, key: &str) -> ConfigurationProblem {
    ConfigurationProblem {
        line: None,
        key: key.to_owned(),
        message: error.to_string(),
        hint: error.hint(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_configuration_is_read_where_it_is_and_nowhere_else() {
        let root = tempfile::tempdir().unwrap();
        let app = root.path().join("app");
        fs::create_dir_all(app.join("deploy")).unwrap();
        assert_eq!(read_text(&app).unwrap(), "");
        fs::write(app.join("deploy/production.toml"), "threads = 2\n").unwrap();
        symlink("deploy/production.toml", app.join(SITE_FILE)).unwrap();
        assert_eq!(read_text(&app).unwrap(), "threads = 2\n");
        fs::write(root.path().join("secret"), "").unwrap();
        fs::remove_file(app.join(SITE_FILE)).unwrap();
        symlink("../secret", app.join(SITE_FILE)).unwrap();
        assert!(read_text(&app).is_err());
    }
}
