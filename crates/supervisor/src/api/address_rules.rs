//! Addresses that are refused or let in, as the admin API says and takes it.

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::UnknownName;
use super::access::named;

/// What becomes of requests from an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RuleAction {
    /// They go on, whatever denies them.
    Allow,
    /// They get 403.
    Deny,
}

impl RuleAction {
    /// As the API and the database write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        }
    }
}

impl FromStr for RuleAction {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        named(text, &[Self::Allow, Self::Deny], Self::name)
    }
}

/// Where a rule stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RuleSource {
    /// In the appliance: it was asked for, and can be removed.
    Live,
    /// In box.toml.
    File,
}

/// `GET /api/v1/address-rules`: one rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AddressRule {
    /// Its id; `None`: it stands in box.toml.
    pub id: Option<i64>,
    /// Where it stands.
    pub source: RuleSource,
    /// What becomes of requests from there.
    pub action: RuleAction,
    /// An address, or a network in CIDR notation.
    pub network: String,
    /// The site that it holds for; `None`: all.
    pub site: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// Who made it.
    pub who: String,
    /// When it was made; 0: it stands in box.toml.
    pub created_ms: i64,
    /// From when on it holds no longer; `None`: never.
    pub expires_ms: Option<i64>,
}

/// Body of `POST /api/v1/address-rules`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewAddressRule {
    /// What shall become of requests from there.
    pub action: RuleAction,
    /// An address, or a network in CIDR notation.
    pub network: String,
    /// The site that it shall hold for; all where there is none.
    pub site: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// How long, in seconds; without end where there is none.
    pub lasts_s: Option<u32>,
}

/// The answer to `POST /api/v1/address-rules`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AddedAddressRule {
    /// The rule; engines go by it.
    pub rule: AddressRule,
    /// What whoever made it should know, a sentence each.
    pub warnings: Vec<String>,
}

/// Query of `GET /api/v1/address-rules/trial`.
#[derive(Debug, Clone, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct RuleTrialQuery {
    /// What would become of requests from there.
    #[param(inline)]
    pub action: RuleAction,
    /// An address, or a network in CIDR notation.
    pub network: String,
    /// Only requests to this site.
    pub site: Option<String>,
}

/// What a rule would have done.
///
/// Read from the access logs, which have every request; the request log of the dashboard is a sample and is not used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RuleTrial {
    /// From then to now.
    pub from_ms: i64,
    /// Requests that it would have refused, or let in.
    pub requests: u64,
    /// From so many addresses.
    pub addresses: u64,
    /// By site, those with the most first.
    pub sites: Vec<SiteRequests>,
    /// The last ones, the newest first.
    pub examples: Vec<TriedRequest>,
    /// Whether it names the address that asks for this.
    pub is_own_address: bool,
}

/// Requests to a site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SiteRequests {
    /// The site.
    pub site: String,
    /// How many.
    pub requests: u64,
}

/// A request that a rule would have been about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TriedRequest {
    /// When it came.
    pub at_ms: i64,
    /// Its site.
    pub site: String,
    /// Whose it was.
    pub client: String,
    /// Its method.
    pub method: String,
    /// Its path, without the query.
    pub path: String,
    /// What it was answered with.
    pub status: u16,
}

/// `GET /api/v1/address-rules/suggestions`: who looks for holes.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RuleSuggestions {
    /// From then to now.
    pub from_ms: i64,
    /// Who is named has asked for so many different pages that only scanners ask for, and that are not there.
    pub least_probes: u64,
    /// And such requests are at least this part of all of theirs, in percent: others behind the same address are not locked out.
    pub least_percent: u64,
    /// Those with the most such pages first.
    pub found: Vec<RuleSuggestion>,
}

/// An address that looks for holes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RuleSuggestion {
    /// The address; of IPv6 its /64.
    pub network: String,
    /// All its requests.
    pub requests: u64,
    /// Different pages that only scanners ask for, and that are not there.
    pub probes: u64,
    /// Some of these pages.
    pub examples: Vec<String>,
    /// The sites that were asked.
    pub sites: Vec<String>,
    /// When its last request came.
    pub last_ms: i64,
}
