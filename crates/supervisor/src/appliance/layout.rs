//! What shall run: every site's release with its mode, and from it what an engine is told.
//!
//! A value: it is made from the database, compared, and replaced as a whole.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use onebox_config::site::IsolationChoice;

use super::release::{SiteRelease, Unsteady};
use crate::api::Mode;
use crate::engine::EmbeddedSite;
use crate::engine::Loaded;
use crate::engine::protocol::{AccessData, BackendData, EngineConfig, SiteData};
use crate::isolation::{CannotEmbed, Facts, derive};
use crate::site_sockets::Wanted;
use crate::workers::Crew;

/// Every site with a live release that can be read.
#[derive(Debug, Clone, Default)]
pub(crate) struct Layout {
    sites: BTreeMap<String, Placed>,
}

/// A site and how it runs.
#[derive(Debug, Clone)]
pub(crate) struct Placed {
    pub(crate) release: Arc<SiteRelease>,
    pub(crate) mode: Mode,
    pub(crate) reasons: Vec<String>,
}

/// A release that is being checked, and its workers.
#[derive(Debug, Clone)]
pub(crate) struct Candidate {
    pub(crate) placed: Placed,
    pub(crate) crew: Option<Arc<Crew>>,
}

/// The worker sets by site.
pub(crate) type Crews = BTreeMap<String, Arc<Crew>>;

impl Layout {
    /// Derives every site's mode.
    ///
    /// # Errors
    /// [`CannotEmbed`] where a site insists on what can't be.
    pub(crate) fn new(
        releases: Vec<Arc<SiteRelease>>,
        unsteady: &Unsteady,
    ) -> Result<Self, CannotEmbed> {
        let facts: Vec<Facts> = releases.iter().map(|release| release.facts(unsteady)).collect();
        Self::placed(releases, &facts)
    }

    /// The same where nobody is there to be refused: what can't be kept is derived.
    pub(crate) fn at_any_rate(releases: Vec<Arc<SiteRelease>>, unsteady: &Unsteady) -> Self {
        let mut facts: Vec<Facts> =
            releases.iter().map(|release| release.facts(unsteady)).collect();
        if derive(&facts).is_err() {
            for python in facts.iter_mut().filter_map(|facts| facts.python.as_mut()) {
                python.choice = IsolationChoice::Auto;
            }
        }
        Self::placed(releases, &facts).unwrap_or_default()
    }

    fn placed(releases: Vec<Arc<SiteRelease>>, facts: &[Facts]) -> Result<Self, CannotEmbed> {
        let mut placements = derive(facts)?;
        let sites = releases.into_iter().filter_map(|release| {
            let placement = placements.remove(&release.site)?;
            let placed = Placed {
                mode: placement.mode,
                reasons: placement.reasons,
                release: Arc::clone(&release),
            };
            Some((release.site.clone(), placed))
        });
        Ok(Self { sites: sites.collect() })
    }

    /// Every site, by name.
    pub(crate) fn sites(&self) -> impl Iterator<Item = &Placed> {
        self.sites.values()
    }

    /// The uwsgi sockets of every site.
    pub(crate) fn sockets(&self) -> impl Iterator<Item = Wanted<'_>> {
        self.sites.values().map(|placed| placed.release.wanted_sockets())
    }

    /// One site.
    pub(crate) fn site(&self, name: &str) -> Option<&Placed> {
        self.sites.get(name)
    }

    /// The beginning of a site's URLs.
    pub(crate) fn path_of(&self, name: &str) -> String {
        self.site(name).map(|placed| placed.release.config.path.clone()).unwrap_or_default()
    }

    /// The releases, to make another layout from.
    pub(crate) fn releases(&self) -> Vec<Arc<SiteRelease>> {
        self.sites.values().map(|placed| Arc::clone(&placed.release)).collect()
    }

    /// The site that an engine is to embed; a stopped one is not.
    pub(crate) fn embedded(&self) -> Option<EmbeddedSite> {
        self.sites
            .values()
            .find(|placed| placed.mode == Mode::Embedded && !placed.release.stopped)
            .and_then(|placed| placed.release.embedded_site())
    }

    /// What an engine is told: everything live with the workers of `crews`, and beside it `candidate`, which only health
    /// checks see, with its own workers; and the addresses that are refused.
    pub(crate) fn engine_config(
        &self,
        crews: &Crews,
        library: &Path,
        candidate: Option<&Candidate>,
        access: AccessData,
    ) -> EngineConfig {
        let sites = self.sites.values().map(|placed| {
            placed.site_data(crews.get(&placed.release.site).map(AsRef::as_ref), library)
        });
        let candidates = candidate
            .map(|candidate| candidate.placed.site_data(candidate.crew.as_deref(), library))
            .into_iter();
        let (sites, candidates) = (sites.collect(), candidates.collect());
        EngineConfig { sites, candidates, access }
    }
}

impl Placed {
    /// Whether it has processes of its own now.
    pub(crate) fn wants_crew(&self) -> bool {
        self.mode == Mode::Isolated && !self.release.stopped
    }

    fn site_data(&self, crew: Option<&Crew>, library: &Path) -> SiteData {
        let backend = if self.release.stopped {
            BackendData::Stopped
        } else {
            match self.mode {
                Mode::Static | Mode::Proxied => BackendData::None,
                Mode::Embedded => match self.release.embedded_data(library.to_owned()) {
                    Some(data) => BackendData::Embedded(Box::new(data)),
                    None => BackendData::None,
                },
                Mode::Isolated => workers(crew),
            }
        };
        self.release.site_data(backend)
    }
}

fn workers(crew: Option<&Crew>) -> BackendData {
    match crew.map(|crew| (crew, crew.load_state())) {
        Some((_, Loaded::Failed(failure))) => BackendData::Failed { reason: failure.summary },
        Some((crew, _)) => BackendData::Workers(crew.addresses()),
        None => BackendData::Workers(Vec::new()),
    }
}
