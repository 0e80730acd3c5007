//! What happened, as the admin API says it.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// What kind of thing happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum EventKind {
    /// A release became live.
    Deploy,
    /// A deploy did not get so far.
    DeployFailed,
    /// An earlier release became live again.
    Rollback,
    /// The processes of a site were replaced.
    Restart,
    /// An operator stopped a site.
    Stop,
    /// An operator started a site.
    Start,
    /// A site was removed.
    Remove,
    /// Variables of a site were changed.
    Configuration,
    /// A certificate was obtained, or could not be.
    Certificate,
    /// An engine ended by itself.
    EngineCrash,
    /// A request passed its deadline.
    Deadline,
    /// A process was replaced because its threads did not come back or its GIL was not given back.
    Wedged,
    /// A worker ended by itself.
    WorkerCrash,
    /// A worker was replaced, or killed, because of a limit of its site, or because it was wedged.
    Recycle,
    /// A site that ended or wedged the engine again and again was moved to a process of its own.
    Isolation,
    /// A release did not hold, and an earlier one serves in its place.
    Fallback,
    /// The appliance began to serve.
    ApplianceStart,
    /// The history of samples was begun anew.
    HistoryStart,
}

impl EventKind {
    /// Every kind.
    pub const ALL: [Self; 18] = [
        Self::Deploy,
        Self::DeployFailed,
        Self::Rollback,
        Self::Restart,
        Self::Stop,
        Self::Start,
        Self::Remove,
        Self::Configuration,
        Self::Certificate,
        Self::EngineCrash,
        Self::Deadline,
        Self::Wedged,
        Self::WorkerCrash,
        Self::Recycle,
        Self::Isolation,
        Self::Fallback,
        Self::ApplianceStart,
        Self::HistoryStart,
    ];

    /// As the API and the database write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Deploy => "deploy",
            Self::DeployFailed => "deploy-failed",
            Self::Rollback => "rollback",
            Self::Restart => "restart",
            Self::Stop => "stop",
            Self::Start => "start",
            Self::Remove => "remove",
            Self::Configuration => "configuration",
            Self::Certificate => "certificate",
            Self::EngineCrash => "engine-crash",
            Self::Deadline => "deadline",
            Self::Wedged => "wedged",
            Self::WorkerCrash => "worker-crash",
            Self::Recycle => "recycle",
            Self::Isolation => "isolation",
            Self::Fallback => "fallback",
            Self::ApplianceStart => "appliance-start",
            Self::HistoryStart => "history-start",
        }
    }

    /// The kind of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// `GET /api/v1/events/past`: one thing that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PastEvent {
    /// When.
    pub at_ms: i64,
    /// What.
    pub kind: EventKind,
    /// To which site; `None` for what concerns the whole box.
    pub site: Option<String>,
    /// With which release.
    pub release: Option<String>,
    /// For people, in one line.
    pub text: String,
}

/// The query of `GET /api/v1/events/past`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct EventsQuery {
    /// From this moment on; else a day before the end.
    pub from_ms: Option<i64>,
    /// Until before this one; else now.
    pub to_ms: Option<i64>,
    /// Only those of this site, and those that concern the whole box.
    pub site: Option<String>,
}

/// The query of `GET /api/v1/events`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct WatchQuery {
    /// The id of the last event that was heard: what came since is told first.
    pub last_event_id: Option<String>,
}
