//! A site's configuration as it is read, tried out and changed.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `GET /api/v1/sites/{name}/configuration`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SiteConfiguration {
    /// The live release, which it is part of.
    pub release: String,
    /// The text of its `onebox.toml`, empty where there is none; `None` for who may not deploy: it may hold secrets.
    pub text: Option<String>,
    /// What it sets, by name.
    pub settings: Vec<SiteSetting>,
}

/// A setting of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SiteSetting {
    /// As in `threads`, `health.path`, `route[/account].status`.
    pub name: String,
    /// As one could type it; `None`: it may be a secret.
    pub value: Option<String>,
}

/// Body of `POST /api/v1/sites/{name}/configuration`, and of `…/configuration/check`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewConfiguration {
    /// The live release whose configuration was changed into this one; where another one is live by now, nothing is done.
    pub release: String,
    /// The text of the new `onebox.toml`.
    pub text: String,
}

/// `POST /api/v1/sites/{name}/configuration/check`: what would become of a configuration. Nothing is changed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ConfigurationCheck {
    /// Why it can't be applied; empty: it can.
    pub problems: Vec<ConfigurationProblem>,
    /// What differs from the live release's.
    pub changes: Vec<SettingChange>,
    /// What follows from it, a sentence each.
    pub outcome: Vec<String>,
    /// What one should know although it can be applied.
    pub warnings: Vec<String>,
}

/// Something that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ConfigurationProblem {
    /// Where, from 1 on; `None`: it is no single line.
    pub line: Option<usize>,
    /// The key; empty where it is not one key's.
    pub key: String,
    /// What is wrong, in one sentence.
    pub message: String,
    /// What to do about it; may be empty.
    pub hint: String,
}

/// A setting that would change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SettingChange {
    /// The setting.
    pub name: String,
    /// `None`: it is not set now.
    pub old: Option<String>,
    /// `None`: it would not be set.
    pub new: Option<String>,
    /// Who goes by it.
    pub concern: SettingConcern,
}

/// Who goes by a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SettingConcern {
    /// onebox itself, for each request and connection.
    Requests,
    /// The site's processes, from their start on.
    Processes,
    /// The making of a release.
    Release,
}
