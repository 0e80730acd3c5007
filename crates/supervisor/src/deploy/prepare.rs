//! The steps from an archive to a release that is ready to start.
//!
//! Owns their order. Each is one line of [`receive`] or [`derive`], after which the site is known, or of [`prepare`]; whichever
//! fails, nothing is left of the release and what was live was not touched. The caller starts it, checks its health and makes it
//! live.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::Stream;
use onebox_config::procfile::{self, Procfile};
use onebox_config::{HostName, SiteConfig, SiteName};

use super::archive::{self, ArchiveLimits, Unpacked};
use super::copy::copy;
use super::error::{DeployFailure, DeployProblem, Step};
use super::events::EventSink;
use super::plan::RunPlan;
use super::release::{HalfMade, staging_root};
use super::release_id::ReleaseIds;
use super::stage::{Recognised, Stage};
use super::venv::blocking;
use crate::api::DeployQuery;
use crate::users::SiteDefaults;

/// What a deploy needs to know of the box.
#[derive(Debug, Clone)]
pub(crate) struct StageContext {
    /// Where sites live, and as whom.
    pub(crate) defaults: SiteDefaults,
    /// What `onebox env` set, by site: hooks see it as the application will.
    pub(crate) variables: BTreeMap<String, Vec<(String, String)>>,
    /// What an archive may hold.
    pub(crate) limits: ArchiveLimits,
    /// Makes the release's id.
    pub(crate) ids: Arc<ReleaseIds>,
}

/// A complete release that was not started yet.
#[derive(Debug)]
pub(crate) struct Prepared {
    /// The site's name.
    pub(crate) site: String,
    /// The release's id.
    pub(crate) release_id: String,
    /// Its configuration, with the domains of the query.
    pub(crate) config: SiteConfig,
    /// How to run it.
    pub(crate) plan: RunPlan,
}

/// Unpacks the archive in the place of a release of its site.
///
/// # Errors
/// When a step fails; nothing is left then, and no site is known.
pub(crate) async fn receive<E: Display>(
    context: &StageContext,
    archive: impl Stream<Item = Result<Bytes, E>>,
    query: &DeployQuery,
    events: &EventSink,
) -> Result<HalfRelease, DeployFailure> {
    let unpacked = unpack(context, archive).await.map_err(|problem| problem.at(Step::Copy))?;
    let site = identify(&unpacked.app, query).map_err(|problem| problem.at(Step::Detect))?;
    let release = adopt(context, unpacked, site).map_err(|problem| problem.at(Step::Copy))?;
    events.step(Step::Copy, release.text());
    Ok(release)
}

/// A file that takes the place of one in the root of a site.
#[derive(Debug)]
pub(crate) struct NewFile {
    pub(crate) name: &'static str,
    pub(crate) text: String,
}

/// Copies the files of the release in `from` to the place of another one of the same site, but for one file.
///
/// # Errors
/// When a step fails; nothing is left then.
pub(crate) async fn derive(
    context: &StageContext,
    site: &str,
    from: &Path,
    file: NewFile,
    events: &EventSink,
) -> Result<HalfRelease, DeployFailure> {
    let copied = copy_release(context, from, file).await;
    let copied = copied.map_err(|problem| problem.at(Step::Copy))?;
    let query = DeployQuery { name: Some(site.to_owned()), ..DeployQuery::default() };
    let site = identify(&copied.app, &query).map_err(|problem| problem.at(Step::Detect))?;
    let release = adopt(context, copied, site).map_err(|problem| problem.at(Step::Copy))?;
    events.step(Step::Copy, release.text());
    Ok(release)
}

/// What the release in `from` would be with another configuration; nothing is made, run as the site or changed.
///
/// # Errors
/// Where a deploy would fail before it installs anything.
pub(crate) async fn try_out(
    context: &StageContext,
    site: &str,
    from: &Path,
    config: SiteConfig,
) -> Result<Recognised, DeployProblem> {
    let procfile = read_procfile(&from.join("app"));
    let site = Identity { name: site.to_owned(), config, procfile };
    Stage::new(context, from, &site).recognise().await
}

/// Completes a release whose files are in its place.
///
/// # Errors
/// When a step fails; the half-made release is gone then.
pub(crate) async fn prepare(
    context: &StageContext,
    release: HalfRelease,
    events: &EventSink,
) -> Result<Prepared, DeployFailure> {
    let site = &release.site;
    let mut stage = Stage::new(context, &release.dir, site);
    let found = stage.detect(events).await.map_err(|problem| problem.at(Step::Detect))?;
    stage.keep_known(&found).map_err(|problem| problem.at(Step::Persist))?;
    stage.install(&found, events).await.map_err(|problem| problem.at(Step::Install))?;
    stage.ask_django(&found, events).await.map_err(|problem| problem.at(Step::Settings))?;
    stage.keep_answered(events).map_err(|problem| problem.at(Step::Persist))?;
    stage.run_hooks(&found, events).await.map_err(|problem| problem.at(Step::Hooks))?;
    let plan = stage.record(&found, events).map_err(|problem| problem.at(Step::Record))?;

    release.guard.keep();
    let Identity { name, config, .. } = release.site;
    Ok(Prepared { site: name, release_id: release.id, config, plan })
}

/// Who the site is, by its own files and the query.
#[derive(Debug)]
pub(super) struct Identity {
    pub(super) name: String,
    pub(super) config: SiteConfig,
    pub(super) procfile: Procfile,
}

/// Files in `staging/`, before they are a site's.
struct StagedFiles {
    guard: HalfMade,
    dir: PathBuf,
    app: PathBuf,
    id: String,
    unpacked: Unpacked,
}

impl StagedFiles {
    /// None yet.
    fn create(context: &StageContext) -> Result<Self, DeployProblem> {
        let id = context.ids.next();
        let dir = staging_root(&context.defaults.paths).join(&id);
        let app = dir.join("app");
        let guard = HalfMade::create(dir.clone());
        let guard = guard.map_err(DeployProblem::file("cannot make", &dir))?;
        fs::create_dir(&app).map_err(DeployProblem::file("cannot make", &app))?;
        Ok(Self { guard, dir, app, id, unpacked: Unpacked::default() })
    }
}

/// A release in its place, not complete yet; it is removed unless it is completed.
#[derive(Debug)]
pub(crate) struct HalfRelease {
    guard: HalfMade,
    dir: PathBuf,
    id: String,
    site: Identity,
    unpacked: Unpacked,
}

impl HalfRelease {
    /// The site's name.
    pub(crate) fn site(&self) -> &str {
        &self.site.name
    }

    /// The release's id.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// Its files, and what of them is kept across releases.
    pub(crate) fn files(&self) -> (PathBuf, &[PathBuf]) {
        (self.dir.join("app"), &self.site.config.persist)
    }

    /// The hosts that the deploy names.
    pub(crate) fn domains(&self) -> &[String] {
        &self.site.config.domains
    }

    /// The beginning of its URLs; empty: all of them.
    pub(crate) fn url_path(&self) -> &str {
        &self.site.config.path
    }

    fn text(&self) -> String {
        let Unpacked { files, bytes } = self.unpacked;
        let kilobytes = bytes.div_ceil(1024);
        let content = match files {
            0 => "no files".to_owned(),
            1 => format!("1 file, {kilobytes} KB"),
            files => format!("{files} files, {kilobytes} KB"),
        };
        format!("Release {} of {}: {content}", self.id, self.site.name)
    }
}

async fn unpack<E: Display>(
    context: &StageContext,
    archive: impl Stream<Item = Result<Bytes, E>>,
) -> Result<StagedFiles, DeployProblem> {
    let staged = StagedFiles::create(context)?;
    let file = archive::receive(archive, &staged.dir, context.limits).await?;
    let (target, limits) = (staged.app.clone(), context.limits);
    let unpacked = blocking(move || archive::unpack(file, &target, limits)).await??;
    Ok(StagedFiles { unpacked, ..staged })
}

async fn copy_release(
    context: &StageContext,
    from: &Path,
    file: NewFile,
) -> Result<StagedFiles, DeployProblem> {
    let staged = StagedFiles::create(context)?;
    let (from, to, limits) = (from.join("app"), staged.app.clone(), context.limits);
    let copy = move || {
        let copied = copy(&from, &to, file.name, limits)?;
        let place = to.join(file.name);
        fs::write(&place, &file.text).map_err(DeployProblem::file("cannot write", &place))?;
        Ok(Unpacked {
            files: copied.files.saturating_add(1),
            bytes: copied.bytes.saturating_add(file.text.len() as u64),
        })
    };
    let unpacked = blocking(copy).await??;
    Ok(StagedFiles { unpacked, ..staged })
}

fn identify(app: &Path, query: &DeployQuery) -> Result<Identity, DeployProblem> {
    let mut config = onebox_config::load_site(app, None).map_err(DeployProblem::Configuration)?;
    let procfile = read_procfile(app);
    let name = match (&query.name, &config.name, &query.default_name) {
        (Some(name), _, _) | (None, Some(name), _) => {
            SiteName::parse(name).map_err(|error| DeployProblem::Name(error.message))?
        }
        (None, None, Some(folder)) if !folder.contains(|c: char| c.is_ascii_alphanumeric()) => {
            // A name for all such folders would make the second a release of the first.
            let reason = format!("the folder's name \"{folder}\" has neither a-z nor 0-9");
            return Err(DeployProblem::Name(reason));
        }
        (None, None, Some(folder)) => SiteName::from_folder(folder),
        (None, None, None) => return Err(DeployProblem::Name("none was given".to_owned())),
    };
    if let Some(domains) = &query.domains {
        let hosts = domains.split(',').map(str::trim).filter(|host| !host.is_empty());
        let hosts: Result<Vec<String>, _> =
            hosts.map(|host| HostName::parse_domain(host).map(|host| host.to_string())).collect();
        config.domains = hosts.map_err(|error| DeployProblem::Domain(error.message))?;
    }
    Ok(Identity { name: name.to_string(), config, procfile })
}

/// What the site's `Procfile` says; nothing where there is none.
pub(super) fn read_procfile(folder: &Path) -> Procfile {
    fs::read_to_string(folder.join("Procfile"))
        .map(|text| procfile::parse(&text))
        .unwrap_or_default()
}

fn adopt(
    context: &StageContext,
    staged: StagedFiles,
    site: Identity,
) -> Result<HalfRelease, DeployProblem> {
    let StagedFiles { mut guard, id, unpacked, .. } = staged;
    let dir = context.defaults.paths.releases(&site.name).join(&id);
    guard.move_to(&dir).map_err(DeployProblem::file("cannot move the release to", &dir))?;
    Ok(HalfRelease { guard, dir, id, site, unpacked })
}
