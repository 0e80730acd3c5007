//! Why an operation did not happen, told so that a person can mend it.

use crate::api::DeployEvent;
use crate::deploy::error::DeployFailure;
use crate::deploy::health::HealthFailure;
use crate::engine::LoadFailure;
use crate::isolation::CannotEmbed;
use crate::store::StoreError;

/// A step of a long operation failed; what was live before still is.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{reason}")]
pub(crate) struct OperationFailure {
    /// The step, in the words of [`DeployEvent::Step`].
    pub(crate) step: &'static str,
    /// In a sentence or two.
    pub(crate) reason: String,
    /// A traceback or output; may be empty.
    pub(crate) detail: String,
    /// What to do; may be empty.
    pub(crate) hint: String,
}

impl OperationFailure {
    /// One that has nothing to add to its reason.
    pub(crate) fn new(step: &'static str, reason: impl Into<String>) -> Self {
        Self { step, reason: reason.into(), detail: String::new(), hint: String::new() }
    }

    /// The last line of the answer.
    pub(crate) fn to_event(&self) -> DeployEvent {
        DeployEvent::Failed {
            step: self.step.to_owned(),
            reason: self.reason.clone(),
            detail: self.detail.clone(),
            hint: self.hint.clone(),
        }
    }
}

impl From<&DeployFailure> for OperationFailure {
    fn from(failure: &DeployFailure) -> Self {
        Self {
            step: failure.step.name(),
            reason: failure.problem.to_string(),
            detail: failure.problem.detail(),
            hint: failure.problem.hint(),
        }
    }
}

impl From<LoadFailure> for OperationFailure {
    fn from(failure: LoadFailure) -> Self {
        Self {
            step: "start",
            reason: failure.summary,
            detail: failure.traceback,
            hint: String::new(),
        }
    }
}

impl From<HealthFailure> for OperationFailure {
    fn from(failure: HealthFailure) -> Self {
        Self { step: "health", reason: failure.reason, detail: String::new(), hint: failure.hint }
    }
}

impl From<CannotEmbed> for OperationFailure {
    fn from(error: CannotEmbed) -> Self {
        Self {
            hint: "Leave `isolation` out of onebox.toml: it is derived then.".into(),
            ..Self::new("start", error.to_string())
        }
    }
}

impl From<StoreError> for OperationFailure {
    fn from(error: StoreError) -> Self {
        Self::new("switch", error.to_string())
    }
}

/// Why an operation on a site was refused at once.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OperationError {
    /// No such site.
    #[error("there is no site {0}")]
    NoSite(String),
    /// No such release, or none that could be served.
    #[error("{0}")]
    NoRelease(String),
    /// A name or value that can't be used.
    #[error("{0}")]
    Invalid(String),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file.
    #[error("{0}")]
    File(#[from] std::io::Error),
    /// No release of that name that could be served.
    #[error("{site} has no release {release} that could be served")]
    NotServable {
        /// The site.
        site: String,
        /// As it was asked for.
        release: String,
    },
    /// What was changed is not what is live by now.
    #[error("the live release of {site} is {live} by now, and no longer {known}")]
    Outdated {
        /// The site.
        site: String,
        /// Its live release.
        live: String,
        /// The one that was known to who asks.
        known: String,
    },
    /// A step failed.
    #[error("{0}")]
    Failed(OperationFailure),
    /// This appliance serves one folder in place.
    #[error("this appliance serves a folder in place: nothing can be deployed or changed")]
    InPlace,
}

impl OperationError {
    /// The last line of the answer of a long operation.
    pub(crate) fn to_event(&self) -> DeployEvent {
        match self {
            Self::Failed(failure) => failure.to_event(),
            refused => OperationFailure {
                hint: refused.hint(),
                ..OperationFailure::new("check", refused.to_string())
            }
            .to_event(),
        }
    }

    /// A traceback or output; may be empty.
    pub(crate) fn detail(&self) -> &str {
        match self {
            Self::Failed(failure) => &failure.detail,
            _ => "",
        }
    }

    /// What to do; may be empty.
    pub(crate) fn hint(&self) -> String {
        match self {
            Self::Failed(failure) => failure.hint.clone(),
            Self::NoSite(_) => "`onebox status` lists the sites there are.".to_owned(),
            Self::Outdated { .. } => "Begin with the configuration of that release.".to_owned(),
            Self::NotServable { site, .. } => format!("`onebox releases {site}` lists them."),
            _ => String::new(),
        }
    }
}

impl From<OperationFailure> for OperationError {
    fn from(failure: OperationFailure) -> Self {
        Self::Failed(failure)
    }
}
