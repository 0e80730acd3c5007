//! Who may do what, as the admin API says and takes it: users, roles, scopes, tokens, the audit log.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// What a route needs and a credential may be for. A role has some of them, a token those that it was made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// The figures for Prometheus.
    Metrics,
    /// Everything that is shown: sites, logs, requests, events.
    Read,
    /// A new release, of a known site or of a new one.
    Deploy,
    /// Restart, stop, start, rollback, maintenance, renewal of certificates, rules for addresses.
    Operate,
    /// Users, tokens, the audit log, variables of sites, the removal of sites, the end of the appliance.
    Admin,
}

impl Scope {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Metrics, Self::Read, Self::Deploy, Self::Operate, Self::Admin];

    /// As the API and the database write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Metrics => "metrics",
            Self::Read => "read",
            Self::Deploy => "deploy",
            Self::Operate => "operate",
            Self::Admin => "admin",
        }
    }
}

/// What a user may do; each role may do everything that those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Sees everything but secrets.
    Viewer,
    /// Deploys, restarts, rolls back.
    Operator,
    /// Everything.
    Admin,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Viewer, Self::Operator, Self::Admin];

    /// As the API and the database write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }

    /// What somebody with this role may do.
    pub fn scopes(self) -> &'static [Scope] {
        use Scope::{Admin, Deploy, Metrics, Operate, Read};
        match self {
            Self::Viewer => &[Metrics, Read],
            Self::Operator => &[Metrics, Read, Deploy, Operate],
            Self::Admin => &[Metrics, Read, Deploy, Operate, Admin],
        }
    }
}

/// A word that is none of those that may stand there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{given}\" is none of {known}")]
pub struct UnknownName {
    given: String,
    known: String,
}

pub(super) fn named<T: Copy>(
    given: &str,
    all: &[T],
    name: fn(T) -> &'static str,
) -> Result<T, UnknownName> {
    all.iter().copied().find(|one| name(*one) == given).ok_or_else(|| {
        let known: Vec<_> = all.iter().map(|one| name(*one)).collect();
        UnknownName { given: given.to_owned(), known: known.join(", ") }
    })
}

impl FromStr for Scope {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        named(text, &Self::ALL, Self::name)
    }
}

impl FromStr for Role {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        named(text, &Self::ALL, Self::name)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl fmt::Display for Role {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// Body of `POST /api/v1/login`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Login {
    /// The user's name.
    pub user: String,
    /// The password.
    pub password: String,
}

/// Answer of `POST /api/v1/login` and `GET /api/v1/session`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Session {
    /// Who is logged in.
    pub user: String,
    /// The user's role.
    pub role: Role,
    /// What this credential may do.
    pub scopes: Vec<Scope>,
    /// To be sent as `X-CSRF-Token` with every request that changes something; empty where no cookie is the credential.
    pub csrf_token: String,
}

/// Body of `POST /api/v1/session/password`: every other session of the user ends.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct OwnPassword {
    /// The password of now.
    pub current: String,
    /// The one that takes its place.
    pub new: String,
}

/// `GET /api/v1/users`: a user of the dashboard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct User {
    /// The name to log in with.
    pub name: String,
    /// What the user may do.
    pub role: Role,
    /// When the account was made.
    pub created_ms: i64,
    /// Logins that are still good.
    pub sessions: u32,
}

/// Body of `POST /api/v1/users`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewUser {
    /// 1 to 63 of the characters `a-z`, `0-9`, `.`, `_`, `-`, beginning with a letter.
    pub name: String,
    /// What the user may do.
    pub role: Role,
    /// 12 characters or more; none: one is made up.
    pub password: Option<String>,
}

/// Body of `PATCH /api/v1/users/{user}`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RoleChange {
    /// What the user may do from now on.
    pub role: Role,
}

/// Body of `POST /api/v1/users/{user}/password`: every session of the user ends.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PasswordChange {
    /// 12 characters or more; none: one is made up.
    pub password: Option<String>,
}

/// A password that was set; `POST /api/v1/users`, `…/{user}/password` and `/api/v1/password` answer with it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct NewPassword {
    /// Whose it is.
    pub user: String,
    /// The one that was made up, which is kept nowhere; `None`: it was given.
    pub password: Option<String>,
}

/// `GET /api/v1/tokens`: a credential for programs, sent as `Authorization: Bearer …`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Token {
    /// What it is called.
    pub name: String,
    /// For whom it acts; it may do no more than this user.
    pub user: String,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// When it was made.
    pub created_ms: i64,
    /// From when on it is worth nothing; `None`: never.
    pub expires_ms: Option<i64>,
    /// When a request last used it, to the minute.
    pub used_ms: Option<i64>,
}

/// Body of `POST /api/v1/tokens`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// As a user's name.
    pub name: String,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// How long it is good, seconds; none: until it is revoked.
    pub lasts_s: Option<u32>,
    /// For whom it acts; else for whoever asks, and over the control socket for `admin`.
    pub user: Option<String>,
}

/// Answer of `POST /api/v1/tokens`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct CreatedToken {
    /// What it is called.
    pub name: String,
    /// The token itself, which is kept nowhere.
    pub token: String,
    /// From when on it is worth nothing; `None`: never.
    pub expires_ms: Option<i64>,
}

/// `GET /api/v1/audit`: a change that somebody asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditEntry {
    /// Counts up.
    pub id: i64,
    /// When.
    pub at_ms: i64,
    /// The user, or `cli` for who came over the control socket.
    pub who: String,
    /// The token that was used.
    pub token: Option<String>,
    /// The address that it came from; over the control socket `uid 1000`.
    pub client: String,
    /// What was asked for: `restart`, `deploy`, `add-user` and so on.
    pub action: String,
    /// The site or user that it is about.
    pub target: Option<String>,
    /// What else there is to know.
    pub detail: Option<String>,
    /// The status of the answer; `None`: it was never answered. A deploy's 200 says that it began: how it ended is an event.
    pub status: Option<u16>,
}

/// The query of `GET /api/v1/audit`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AuditQuery {
    /// Only entries before this one.
    pub before_id: Option<i64>,
    /// How many at most, up to 1000; else 100.
    pub limit: Option<u32>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_role_may_do_what_the_one_before_it_may_and_more() {
        for pair in Role::ALL.windows(2) {
            let (less, more) = (pair[0].scopes(), pair[1].scopes());
            assert!(less.iter().all(|scope| more.contains(scope)) && more.len() > less.len());
        }
        assert_eq!(Role::Admin.scopes(), Scope::ALL);
    }

    #[test]
    fn names_are_the_same_in_the_api_and_in_the_database() {
        for role in Role::ALL {
            assert_eq!(role.name().parse(), Ok(role));
            assert_eq!(serde_json::to_value(role).unwrap(), role.name());
        }
        for scope in Scope::ALL {
            assert_eq!(scope.name().parse(), Ok(scope));
            assert_eq!(serde_json::to_value(scope).unwrap(), scope.name());
        }
        let error = "root".parse::<Role>().unwrap_err();
        assert_eq!(error.to_string(), "\"root\" is none of viewer, operator, admin");
    }
}
