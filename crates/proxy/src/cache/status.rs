//! What became of a request, for `Cache-Status` and for the counters.
//!
//! Source: RFC 9211.

use std::fmt::Write;

use bytes::Bytes;

use crate::message::Response;

/// Why a request went on to its source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Forward {
    /// A rule, or something about it that no stored answer could serve.
    Bypass,
    /// Its method is neither GET nor HEAD.
    Method,
    /// Nothing is stored for its URL.
    UriMiss,
    /// What is stored is for others.
    VaryMiss,
    /// What is stored must be validated.
    Stale,
    /// The client wants it.
    Request,
}

impl Forward {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Bypass => "bypass",
            Self::Method => "method",
            Self::UriMiss => "uri-miss",
            Self::VaryMiss => "vary-miss",
            Self::Stale => "stale",
            Self::Request => "request",
        }
    }
}

/// Where a stored answer was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tier {
    Memory,
    Disk,
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It was answered from what is stored.
    Hit { ttl_s: i64, tier: Tier },
    /// It was answered from what another one has brought meanwhile.
    Collapsed,
    /// It was answered by its source; `status` is what that said where it is not what the client gets.
    Forwarded { why: Forward, status: Option<u16>, is_stored: bool },
    /// It was answered from what is stored in place of an error.
    StoodIn { ttl_s: i64, status: u16 },
}

impl Outcome {
    /// Says it to the client.
    pub(crate) fn tell(self, response: &mut Response) {
        let mut text = String::with_capacity(40);
        text.push_str("onebox");
        // Writing to a string does not fail.
        let _ = match self {
            Self::Hit { ttl_s, tier: Tier::Memory } => write!(text, "; hit; ttl={ttl_s}"),
            Self::Hit { ttl_s, tier: Tier::Disk } => {
                write!(text, "; hit; ttl={ttl_s}; detail=disk")
            }
            Self::Collapsed => write!(text, "; fwd=uri-miss; collapsed"),
            Self::StoodIn { ttl_s, status } => {
                write!(text, "; hit; ttl={ttl_s}; fwd=stale; fwd-status={status}")
            }
            Self::Forwarded { why, status, is_stored } => {
                let _ = write!(text, "; fwd={}", why.as_str());
                if let Some(status) = status {
                    let _ = write!(text, "; fwd-status={status}");
                }
                if is_stored {
                    text.push_str("; stored");
                }
                Ok(())
            }
        };
        response.headers.push((Bytes::from_static(b"Cache-Status"), text.into()));
    }
}
