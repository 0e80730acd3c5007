//! What goes wrong between the proxy and a server of an upstream.

use std::io;
use std::time::Duration;

/// Why a server gave no answer, or not all of it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UpstreamError {
    /// Nobody accepts, or the handshake failed.
    #[error("no connection: {0}")]
    Connect(#[source] io::Error),
    /// `connect-timeout`
    #[error("no connection within {0:?} (connect-timeout)")]
    ConnectTimedOut(Duration),
    /// The request could not be written.
    #[error("the request was not taken: {0}")]
    Send(#[source] io::Error),
    /// `send-timeout`
    #[error("the server took nothing of the request for {0:?} (send-timeout)")]
    SendTimedOut(Duration),
    /// The connection failed.
    #[error("the connection was lost: {0}")]
    Read(#[source] io::Error),
    /// `read-timeout`
    #[error("nothing came for {0:?} (read-timeout)")]
    ReadTimedOut(Duration),
    /// The connection ended before the answer did.
    #[error("the connection ended {0}")]
    Ended(&'static str),
    /// It is no answer.
    #[error("not a valid answer: {0}")]
    Malformed(&'static str),
    /// A FastCGI server had no room for the request, or knows nothing of it.
    #[error("the FastCGI server refused the request: {0}")]
    Refused(&'static str),
}

impl UpstreamError {
    /// Whether a time limit was passed: 504 where others are 502.
    pub(crate) fn is_timeout(&self) -> bool {
        matches!(self, Self::ConnectTimedOut(_) | Self::SendTimedOut(_) | Self::ReadTimedOut(_))
    }
}

/// Why one attempt failed, and how far it had come.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) error: UpstreamError,
    pub(super) reached: Reached,
}

/// How much of a request a server can know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reached {
    /// Nothing: there was no connection.
    Nothing,
    /// Perhaps nothing: it went over a connection that had been idle, which ended without a byte of an answer.
    IdleConnection,
    /// It may have begun.
    Server,
}
