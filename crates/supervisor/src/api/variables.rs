//! A site's environment variables as they are listed, tried out and changed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `GET /api/v1/sites/{name}/env`: one environment variable that was given to a site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EnvVariable {
    /// Its name.
    pub name: String,
    /// Its value; may be a secret.
    pub value: String,
}

/// Body of `PATCH /api/v1/sites/{name}/env`, and of `POST …/env/check`: names and values; `null` takes one away (RFC 7396).
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = BTreeMap<String, Option<String>>)]
pub struct VariableChanges(pub BTreeMap<String, Option<String>>);

/// `POST /api/v1/sites/{name}/env/check`: what changes of variables would do. Nothing is changed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VariablesCheck {
    /// Why they can't be made; empty: they can.
    pub problems: Vec<VariableProblem>,
    /// What becomes of each.
    pub changes: Vec<VariableChange>,
    /// What one should know although they can be made.
    pub warnings: Vec<String>,
    /// Whether the site's processes are replaced.
    pub restarts: bool,
}

/// A variable that can't be changed so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VariableProblem {
    /// Its name.
    pub name: String,
    /// What is wrong, in one sentence.
    pub message: String,
}

/// What becomes of a variable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VariableChange {
    /// Its name.
    pub name: String,
    /// What becomes of it.
    pub becomes: VariableFate,
}

/// What becomes of a variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum VariableFate {
    /// It is new.
    Added,
    /// It gets another value.
    Changed,
    /// It has this value already.
    Unchanged,
    /// It is taken away.
    Removed,
}
