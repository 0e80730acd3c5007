//! Commands that are run beside a site.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What shall be run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CommandQuery {
    /// The program's name, for the audit log; its arguments may be secrets.
    pub program: String,
}

/// What a command has in common with the site that it is run for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CommandPlace {
    /// The live release.
    pub release: String,
    /// The folder that its application is loaded from.
    pub folder: String,
    /// Every variable, secrets too: the site's Python comes first on `PATH`.
    pub environment: BTreeMap<String, String>,
    /// Whom it runs as; `null`: the appliance's own user.
    pub user: Option<CommandUser>,
    /// The file mode creation mask; `null`: the appliance's.
    pub umask: Option<u32>,
}

/// A user by its numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CommandUser {
    /// Its own.
    pub uid: u32,
    /// Its first group's.
    pub gid: u32,
    /// Those of all its groups.
    pub groups: Vec<u32>,
}
