//! From what went wrong to an answer: a status and an [`ApiError`].

use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::api::{ApiError, Scope};
use crate::appliance::OperationError;
use crate::history::HistoryError;
use crate::logs::BadFilter;
use crate::store::StoreError;

/// Why a request to the admin API was not served.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AdminError {
    /// Nobody is logged in.
    #[error("log in first")]
    Unauthorized,
    /// The name or the password is wrong; which of them is not told.
    #[error("user or password is wrong")]
    WrongPassword,
    /// The CSRF token is missing or another session's.
    #[error("the request does not carry this session's X-CSRF-Token")]
    Csrf,
    /// Sent by a page, or to a name, that is not the dashboard's.
    #[error("this is the dashboard of onebox, and {0} is no name or page of it")]
    Foreign(String),
    /// The credential is good, but not for this.
    #[error("{user} may not do this: it needs {scope}")]
    Forbidden {
        /// Who asks.
        user: String,
        /// What the route needs.
        scope: Scope,
    },
    /// A program's token asks for what only a person does.
    #[error("only who is logged in with a password can change it")]
    SessionOnly,
    /// Too many wait for something that is done one at a time.
    #[error("the appliance is busy; try again")]
    Busy,
    /// A session asks for what only the machine's own user may have.
    #[error("only `onebox password` on the machine itself sets a new password")]
    ControlSocketOnly,
    /// Too many wrong passwords.
    #[error("too many attempts; try again in {0} seconds")]
    TooManyAttempts(u64),
    /// No such address.
    #[error("there is nothing at this address")]
    NotFound,
    /// A request of which nothing is known.
    #[error("nothing is known of a request {0}")]
    NoRequest(String),
    /// A body or query that is not understood.
    #[error("{0}")]
    Malformed(String),
    /// The appliance said no.
    #[error(transparent)]
    Operation(#[from] OperationError),
    /// What was measured can't be told.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// Something of ours failed.
    #[error("{0}")]
    Internal(String),
}

impl AdminError {
    /// Something of ours failed.
    pub(super) fn internal(error: &dyn std::error::Error) -> Self {
        Self::Internal(error.to_string())
    }

    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Unauthorized | Self::WrongPassword => StatusCode::UNAUTHORIZED,
            Self::Csrf | Self::Forbidden { .. } | Self::SessionOnly | Self::ControlSocketOnly => {
                StatusCode::FORBIDDEN
            }
            Self::Foreign(_) => StatusCode::MISDIRECTED_REQUEST,
            Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Self::TooManyAttempts(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::NotFound | Self::NoRequest(_) => StatusCode::NOT_FOUND,
            Self::Malformed(_) | Self::History(HistoryError::Span) => StatusCode::BAD_REQUEST,
            Self::History(HistoryError::Metrics(_)) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Operation(error) => match error {
                OperationError::NoSite(_)
                | OperationError::NoRelease(_)
                | OperationError::NotServable { .. } => StatusCode::NOT_FOUND,
                OperationError::Invalid(_) => StatusCode::BAD_REQUEST,
                OperationError::Failed(_)
                | OperationError::InPlace
                | OperationError::Outdated { .. } => StatusCode::CONFLICT,
                OperationError::Store(StoreError::NoSuch { .. }) => StatusCode::NOT_FOUND,
                OperationError::Store(
                    StoreError::NameTaken { .. } | StoreError::LastAdmin { .. },
                ) => StatusCode::CONFLICT,
                OperationError::Store(_) | OperationError::File(_) => {
                    StatusCode::INTERNAL_SERVER_ERROR
                }
            },
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::Operation(OperationError::Store(StoreError::LastAdmin { .. })) => {
                "make somebody else an admin first".to_owned()
            }
            Self::Operation(error) => error.hint(),
            Self::Forbidden { .. } => {
                "an admin can give the role that has it, or a token with it".to_owned()
            }
            Self::Foreign(_) => {
                "a name beside localhost and the machine's own goes into `admin-hosts` under [listen] in box.toml".to_owned()
            }
            Self::NoRequest(_) => "an id has 16 digits and letters; requests that failed are kept, up to a number for each site".to_owned(),
            _ => String::new(),
        }
    }
}

impl From<StoreError> for AdminError {
    fn from(error: StoreError) -> Self {
        Self::Operation(error.into())
    }
}

impl From<BadFilter> for AdminError {
    fn from(error: BadFilter) -> Self {
        Self::Malformed(error.to_string())
    }
}

impl From<JsonRejection> for AdminError {
    fn from(rejection: JsonRejection) -> Self {
        Self::Malformed(rejection.body_text())
    }
}

impl From<QueryRejection> for AdminError {
    fn from(rejection: QueryRejection) -> Self {
        Self::Malformed(rejection.body_text())
    }
}

impl IntoResponse for AdminError {
    fn into_response(self) -> Response {
        let status = self.status();
        if status.is_server_error() {
            tracing::error!(error = %self, "an admin request failed");
        }
        let body = ApiError { error: self.to_string(), hint: self.hint() };
        let mut response = (status, Json(body)).into_response();
        if let Self::TooManyAttempts(seconds) = self {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// The answer to an address that does not exist.
pub(super) async fn not_found() -> AdminError {
    AdminError::NotFound
}
