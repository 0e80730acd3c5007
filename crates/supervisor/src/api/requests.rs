//! Requests one by one, and what they failed with, as the admin API says it. Query values, cookies and bodies are in none of it.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

pub use onebox_app_server::{After, Frame, Raised};
pub use onebox_proxy::RequestRecord;

use super::LogLine;

/// How a request failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FailureKind {
    /// The application raised an exception.
    Exception,
    /// It passed its deadline.
    Deadline,
    /// The application answered with a status of 500 or above, and no exception was seen.
    Answer,
}

impl FailureKind {
    const ALL: [Self; 3] = [Self::Exception, Self::Deadline, Self::Answer];

    /// As the API and the database write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Exception => "exception",
            Self::Deadline => "deadline",
            Self::Answer => "answer",
        }
    }

    /// The kind of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// What was told of one request that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FailureReport {
    /// When.
    pub at_ms: i64,
    /// How it failed.
    pub kind: FailureKind,
    /// Its site.
    pub site: String,
    /// The release that served it.
    pub release: String,
    /// The worker; `None`: the embedded interpreter.
    pub worker: Option<String>,
    /// Its identity in logs and error pages.
    pub request_id: String,
    /// Its method.
    pub method: String,
    /// Its path, without the query.
    pub path: String,
    /// How long it had been served.
    pub age_ms: u64,
    /// The same for failures with the same traceback; empty where no exception was seen.
    pub fingerprint: String,
    /// The innermost call in the site's own files, as `views.py:12 in index`.
    pub place: Option<String>,
    /// The chain of exceptions, the first one first. Of a request past its deadline, where its thread was. Files of the release
    /// are named from its root, its packages from `venv`.
    pub raised: Vec<Raised>,
    /// What its thread printed meanwhile: the end of it, where it is long.
    pub printed: String,
}

/// `GET /api/v1/sites/{site}/errors`: failures with the same traceback.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ErrorGroup {
    /// What they have in common.
    pub fingerprint: String,
    /// How they failed.
    pub kind: FailureKind,
    /// The exception's class.
    #[serde(rename = "type")]
    pub exception: String,
    /// What the last one said.
    pub message: String,
    /// Where the last one was, as `views.py:12 in index`.
    pub place: Option<String>,
    /// The release of the last one.
    pub release: String,
    /// The id of the last request.
    pub request_id: String,
    /// How many there were.
    pub count: u64,
    /// When the first one was.
    pub first_ms: i64,
    /// When the last one was.
    pub last_ms: i64,
}

/// Query of `GET /api/v1/requests`, which answers with [`RequestRecord`]s, the last first: every request that failed or took a
/// second, and some of the others.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct RequestsQuery {
    /// Its whole identity.
    pub id: Option<String>,
    /// Only of this site.
    pub site: Option<String>,
    /// A part of the path.
    pub path: Option<String>,
    /// `404`, or a class: `5xx`.
    pub status: Option<String>,
    /// It took so many milliseconds at least.
    pub slower_ms: Option<u64>,
    /// It came at this moment or later.
    pub from_ms: Option<i64>,
    /// It came before this one.
    pub to_ms: Option<i64>,
    /// At most so many; else 100, at most 1000.
    pub limit: Option<u32>,
}

/// `GET /api/v1/requests/{id}`: everything that is known of one request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Autopsy {
    /// Its identity.
    pub request_id: String,
    /// The request itself; `None`: it is not over, or was not kept.
    pub request: Option<RequestRecord>,
    /// What it failed with, the first first.
    pub failures: Vec<FailureReport>,
    /// What to do about it, where that is known.
    #[serde(default)]
    pub advice: Option<String>,
    /// The lines of its site's log that name it, the oldest first.
    pub log: Vec<LogLine>,
}
