//! What can go wrong with a request, whose fault it is, and the status that says so: one `match`.

use std::io;
use std::time::Duration;

use onebox_uwsgi::{AbortReason, DispatchError, EncodeError};

use crate::message::BodyError;
use crate::upstream::UpstreamError;
use crate::uwsgi_server::PacketRefusal;

/// A request that gets an error page instead of an answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProxyError {
    /// No site has this host.
    #[error("no site answers to this host")]
    UnknownHost,
    /// The path can't be decoded.
    #[error("the path is not valid percent-encoding")]
    BadPath,
    /// What came over uwsgi is no HTTP request.
    #[error("the request that came over uwsgi is not complete: {0}")]
    BadPacket(&'static str),
    /// What came over uwsgi is no packet of a WSGI request.
    #[error(transparent)]
    Packet(#[from] PacketRefusal),
    /// There is no such file, and no application to ask.
    #[error("no such file")]
    NotFound,
    /// The configuration lets nothing but this status out.
    #[error("answered with {0} by the configuration")]
    Configured(u16),
    /// A rule of the box refuses the client's address.
    #[error("the address is refused by a rule of the box")]
    Refused,
    /// A name and a password are needed.
    #[error("no right name and password for {realm:?}")]
    Unauthorized {
        /// What browsers show.
        realm: String,
    },
    /// The client has reached a limit of the configuration.
    #[error("more requests than [[limit]] allows")]
    TooMany {
        /// When there is room again, in seconds.
        retry_after_s: u32,
    },
    /// More passwords wait for their check than ever should.
    #[error("too many passwords to check")]
    TooManyChecks,
    /// There are as many connections as there may be (`max-connections`).
    #[error("no room for another connection")]
    NoRoom,
    /// The site is being worked on.
    #[error("the site is in maintenance")]
    Maintenance,
    /// The request's body could not be read.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// The request's variables don't fit into a packet.
    #[error(transparent)]
    VarsTooLarge(#[from] EncodeError),
    /// The queue is full or draining.
    #[error(transparent)]
    NotTaken(#[from] DispatchError),
    /// The site was stopped on purpose.
    #[error("the site is stopped")]
    Stopped,
    /// The site's release does not start.
    #[error("the site failed to start: {0}")]
    Failed(String),
    /// The application raised before its head, or its worker was lost.
    #[error("no answer: {0}")]
    Aborted(AbortReason),
    /// The worker ended the answer before its head.
    #[error("the answer ended without a head")]
    NoHead,
    /// Its interpreter is being replaced or stopped, and it had `reload-mercy`.
    #[error("no answer within {0:?} of the end of its process (reload-mercy)")]
    Replaced(Duration),
    /// The application took longer than `harakiri`.
    #[error("no answer within {0:?} (harakiri)")]
    DeadlineExceeded(Duration),
    /// A server of an upstream gave no answer.
    #[error("{server}: {error}")]
    Upstream {
        /// As it stands in the configuration.
        server: String,
        /// Why.
        #[source]
        error: UpstreamError,
    },
    /// Every server of an upstream is full or not well.
    #[error("no server of the upstream can be asked")]
    NoServer,
    /// The request that this one waited for got no answer.
    #[error("the request for the same answer that this one waited for failed with {status}")]
    Collapsed {
        /// What it got.
        status: u16,
        /// When to try again.
        retry_after_s: Option<u32>,
    },
    /// The client wants nothing but a stored answer, and there is none.
    #[error("no stored answer (only-if-cached)")]
    NotStored,
    /// A temporary file for a request's body could not be written.
    #[error("the request's body could not be spooled: {0}")]
    Spool(#[source] io::Error),
    /// A static file could not be read.
    #[error("a static file could not be read: {0}")]
    File(#[source] io::Error),
    /// A task of ours ended early.
    #[error("a task was lost")]
    TaskLost,
}

/// Whose fault an error is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The client's.
    Downstream,
    /// The application's or its worker's.
    Upstream,
    /// Ours or the machine's.
    Internal,
}

impl ProxyError {
    /// The status of the error page.
    pub(crate) fn status(&self) -> u16 {
        match self {
            Self::UnknownHost => 421,
            Self::BadPath
            | Self::BadPacket(_)
            | Self::Packet(PacketRefusal::Truncated | PacketRefusal::Malformed(_))
            | Self::Body(BodyError::Malformed | BodyError::ClientGone) => 400,
            Self::NotFound => 404,
            Self::Refused => 403,
            Self::Configured(status) | Self::Collapsed { status, .. } => *status,
            Self::Unauthorized { .. } => 401,
            Self::Body(BodyError::TimedOut) | Self::Packet(PacketRefusal::TooSlow) => 408,
            Self::Body(BodyError::TooLarge { .. }) => 413,
            Self::TooMany { .. } => 429,
            Self::VarsTooLarge(_) => 431,
            Self::NotTaken(_)
            | Self::Stopped
            | Self::Failed(_)
            | Self::Replaced(_)
            | Self::NoServer
            | Self::TooManyChecks
            | Self::NoRoom
            | Self::Maintenance => 503,
            Self::Aborted(AbortReason::Application(_)) => 500,
            Self::Aborted(_) | Self::NoHead => 502,
            Self::Upstream { error, .. } if error.is_timeout() => 504,
            Self::Upstream { .. } => 502,
            Self::Packet(PacketRefusal::Modifier { .. }) => 501,
            Self::DeadlineExceeded(_) | Self::NotStored => 504,
            Self::Spool(error) if is_full(error) => 507,
            Self::Spool(_) | Self::File(_) | Self::TaskLost => 500,
        }
    }

    /// Whose fault it is.
    pub(crate) fn origin(&self) -> Origin {
        match self {
            Self::Spool(_)
            | Self::File(_)
            | Self::TaskLost
            | Self::NoRoom
            | Self::Aborted(AbortReason::BufferFailed) => Origin::Internal,
            Self::Packet(_) | Self::NotStored => Origin::Downstream,
            _ if self.status() < 500 => Origin::Downstream,
            _ => Origin::Upstream,
        }
    }

    /// Whether a person should look at it each time: what is stopped, failed or full says so elsewhere.
    pub(crate) fn is_surprising(&self) -> bool {
        matches!(
            self,
            Self::Aborted(_)
                | Self::NoHead
                | Self::DeadlineExceeded(_)
                | Self::Replaced(_)
                | Self::Upstream { .. }
        )
    }

    /// What the visitor is told: one sentence, without a secret of the site.
    pub(crate) fn sentence(&self) -> String {
        match self {
            Self::UnknownHost => "No site on this server answers to this address.".into(),
            Self::BadPath => "The address is not valid.".into(),
            Self::BadPacket(_) => "The request is not complete.".into(),
            Self::Packet(refusal) => format!("What came over uwsgi can't be served: {refusal}."),
            Self::NotFound => "There is no page at this address.".into(),
            Self::Refused | Self::Configured(403) => "This page is not for you.".into(),
            Self::Configured(404) => "There is no page at this address.".into(),
            Self::Configured(410) => "This page is gone for good.".into(),
            Self::Configured(_) => "This page is not shown.".into(),
            Self::Unauthorized { .. } => "This page needs a name and a password.".into(),
            Self::TooMany { retry_after_s } => {
                format!("These are too many requests; please try again in {retry_after_s} s.")
            }
            Self::TooManyChecks | Self::NoRoom => {
                "The server is busy; please try again in a moment.".into()
            }
            Self::Maintenance => "This site is being worked on; please come back later.".into(),
            Self::Body(BodyError::TooLarge { limit }) => {
                format!("The request is larger than the {limit} bytes this site takes.")
            }
            Self::Body(BodyError::TimedOut) => "The request was sent too slowly.".into(),
            Self::Body(_) => "The request was not complete.".into(),
            Self::VarsTooLarge(EncodeError::BlockTooLarge { limit, largest, largest_bytes }) => {
                format!(
                    "The request's headers are larger than buffer-size ({limit} bytes); the largest is {} ({largest_bytes} bytes).",
                    header_name(largest)
                )
            }
            Self::VarsTooLarge(EncodeError::FieldTooLong { name }) => {
                format!("The header {} is longer than 65535 bytes.", header_name(name))
            }
            Self::Upstream { error, .. } if error.is_timeout() => {
                "The server behind this one took too long to answer.".into()
            }
            Self::Upstream { .. } => "The server behind this one gave no valid answer.".into(),
            Self::NotTaken(_) | Self::NoServer => {
                "The site is busy; please try again in a moment.".into()
            }
            Self::Replaced(_) => {
                "The site is being restarted, and this request took too long; please try again."
                    .into()
            }
            Self::Collapsed { .. } => "The site failed to answer this request.".into(),
            Self::NotStored => "This page is not stored here.".into(),
            Self::Stopped => "This site is stopped.".into(),
            Self::Failed(_) => "This site could not be started.".into(),
            Self::DeadlineExceeded(_) => "The application took too long to answer.".into(),
            Self::Aborted(AbortReason::Application(_)) => {
                "The application failed to answer this request.".into()
            }
            Self::Aborted(_) | Self::NoHead => "The application gave no valid answer.".into(),
            Self::Spool(error) if is_full(error) => {
                "The server has no room for the body of this request.".into()
            }
            Self::Spool(_) | Self::File(_) | Self::TaskLost => {
                "The server failed to answer this request.".into()
            }
        }
    }

    /// Seconds after which the client may try again.
    pub(crate) fn retry_after_s(&self) -> Option<u32> {
        match self {
            Self::NotTaken(_) | Self::Replaced(_) | Self::NoServer | Self::TooManyChecks => Some(1),
            Self::NoRoom => Some(10),
            Self::Maintenance => Some(60),
            Self::TooMany { retry_after_s } => Some(*retry_after_s),
            Self::Collapsed { retry_after_s, .. } => *retry_after_s,
            _ => None,
        }
    }

    /// What the client is to prove, for `WWW-Authenticate` (RFC 7617 §2).
    pub(crate) fn challenge(&self) -> Option<String> {
        let Self::Unauthorized { realm } = self else { return None };
        Some(format!("Basic realm=\"{realm}\", charset=\"UTF-8\""))
    }

    /// Whether the connection ends with it: the rest of the request can't be read, or others need its place.
    pub(crate) fn breaks_connection(&self) -> bool {
        matches!(self, Self::Body(_) | Self::NoRoom)
    }
}

/// Whether a disk has no room, or we have no right to more of it.
fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

/// `HTTP_X_NAME` as the client wrote it: `X-Name`.
fn header_name(variable: &str) -> String {
    let name = variable.strip_prefix("HTTP_").unwrap_or(variable);
    let words = name.split('_').map(|word| {
        let (first, rest) = word.split_at_checked(1).unwrap_or((word, ""));
        format!("{first}{}", rest.to_ascii_lowercase())
    });
    words.collect::<Vec<_>>().join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upstream(error: UpstreamError) -> ProxyError {
        ProxyError::Upstream { server: "http://10.0.0.7:80".into(), error }
    }

    #[test]
    fn where_servers_stand_is_not_told_to_visitors() {
        let error = upstream(UpstreamError::Ended("x"));
        assert!(!error.sentence().contains("10.0.0.7") && error.to_string().contains("10.0.0.7"));
    }

    #[test]
    fn every_failure_has_the_status_that_the_design_names() {
        let table = [
            (ProxyError::UnknownHost, 421, Origin::Downstream),
            (ProxyError::BadPath, 400, Origin::Downstream),
            (ProxyError::Body(BodyError::TooLarge { limit: 1 }), 413, Origin::Downstream),
            (ProxyError::Body(BodyError::TimedOut), 408, Origin::Downstream),
            (ProxyError::Packet(PacketRefusal::Modifier { modifier1: 5 }), 501, Origin::Downstream),
            (ProxyError::NotTaken(DispatchError::QueueFull), 503, Origin::Upstream),
            (ProxyError::NotTaken(DispatchError::Draining), 503, Origin::Upstream),
            (ProxyError::Aborted(AbortReason::Application("x".into())), 500, Origin::Upstream),
            (ProxyError::Aborted(AbortReason::WorkerLost), 502, Origin::Upstream),
            (ProxyError::Aborted(AbortReason::Protocol), 502, Origin::Upstream),
            (ProxyError::Aborted(AbortReason::BufferFailed), 502, Origin::Internal),
            (ProxyError::NoHead, 502, Origin::Upstream),
            (ProxyError::DeadlineExceeded(Duration::from_secs(1)), 504, Origin::Upstream),
            (ProxyError::Replaced(Duration::from_secs(1)), 503, Origin::Upstream),
            (ProxyError::TaskLost, 500, Origin::Internal),
            (ProxyError::Configured(403), 403, Origin::Downstream),
            (ProxyError::Refused, 403, Origin::Downstream),
            (ProxyError::Unauthorized { realm: "x".into() }, 401, Origin::Downstream),
            (ProxyError::TooManyChecks, 503, Origin::Upstream),
            (ProxyError::TooMany { retry_after_s: 1 }, 429, Origin::Downstream),
            (ProxyError::Maintenance, 503, Origin::Upstream),
            (ProxyError::NoRoom, 503, Origin::Internal),
            (ProxyError::NoServer, 503, Origin::Upstream),
            (ProxyError::Collapsed { status: 502, retry_after_s: None }, 502, Origin::Upstream),
            (ProxyError::NotStored, 504, Origin::Downstream),
            (upstream(UpstreamError::Malformed("x")), 502, Origin::Upstream),
            (upstream(UpstreamError::Ended("x")), 502, Origin::Upstream),
            (upstream(UpstreamError::ReadTimedOut(Duration::ZERO)), 504, Origin::Upstream),
            (upstream(UpstreamError::ConnectTimedOut(Duration::ZERO)), 504, Origin::Upstream),
            (ProxyError::Spool(io::ErrorKind::StorageFull.into()), 507, Origin::Internal),
            (ProxyError::Spool(io::ErrorKind::PermissionDenied.into()), 500, Origin::Internal),
        ];
        for (error, status, origin) in table {
            assert_eq!((error.status(), error.origin()), (status, origin), "{error}");
        }
    }

    #[test]
    fn a_431_names_the_limit_and_the_header_as_the_client_wrote_it() {
        let error = ProxyError::VarsTooLarge(EncodeError::BlockTooLarge {
            limit: 4096,
            largest: "HTTP_X_LONG_STORY".into(),
            largest_bytes: 5000,
        });
        let sentence = error.sentence();
        assert!(sentence.contains("4096") && sentence.contains("X-Long-Story (5000 bytes)"));
    }

    #[test]
    fn what_the_application_raised_is_not_told_to_visitors() {
        let error = ProxyError::Aborted(AbortReason::Application("KeyError: 'password'".into()));
        assert!(!error.sentence().contains("password"));
    }
}
