//! The answer to a message that is no request.

/// Why a message is refused; its connection is closed after the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// The status of the answer.
    pub(crate) status: u16,
    /// One sentence, for the client and the log.
    pub(crate) reason: &'static str,
}

impl Refusal {
    /// 400.
    pub(crate) const fn bad_request(reason: &'static str) -> Self {
        Self { status: 400, reason }
    }

    /// The head did not come within `header-timeout`.
    pub(crate) const HEAD_TIMED_OUT: Self =
        Self { status: 408, reason: "The request's head came too slowly." };
    /// The target is longer than `max-target`.
    pub(crate) const TARGET_TOO_LONG: Self =
        Self { status: 414, reason: "The request's target is too long." };
    /// The head is longer than `max-head`.
    pub(crate) const HEAD_TOO_LARGE: Self =
        Self { status: 431, reason: "The request's head is too large." };
    /// An expectation other than `100-continue`.
    pub(crate) const EXPECTATION_FAILED: Self =
        Self { status: 417, reason: "The only expectation that can be met is 100-continue." };
    /// `CONNECT`.
    pub(crate) const NO_TUNNELS: Self = Self { status: 501, reason: "CONNECT is not supported." };
    /// A transfer coding other than `chunked`.
    pub(crate) const UNKNOWN_CODING: Self =
        Self { status: 501, reason: "The only transfer coding that is understood is chunked." };
    /// Neither HTTP/1.0 nor HTTP/1.1.
    pub(crate) const UNKNOWN_VERSION: Self =
        Self { status: 505, reason: "Only HTTP/1.0 and HTTP/1.1 are spoken here." };
}
