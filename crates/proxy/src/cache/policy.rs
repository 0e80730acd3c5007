//! What may be stored, for how long it is fresh, and what may be used for whom. Pure: no clock, no memory.
//!
//! Source: RFC 9111 §3 (storing), §4.2 (freshness and age), §4 and §5.2.1 (use), RFC 5861 (stale answers).
//!
//! The crate `http-cache-semantics` was looked at: it knows neither the qualified forms of `no-cache` and `private` nor
//! `must-understand`, targeted fields, HEAD and invalidation, normalises nothing in `Vary`, and wants every request as an
//! `http::HeaderMap`, which costs more than the rest of a hit.

use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http::Method;

use super::directives::{AnswerDirectives, Extent, RequestDirectives, seconds};
use super::settings::Settings;
use crate::conditions::parse_date;
use crate::message::{RequestHead, field, fields};

/// A heuristic lifetime is this part of how long ago the answer was last changed (§4.2.2), and not longer than a day.
const HEURISTIC_PART: u32 = 10;
const HEURISTIC_MOST: Duration = Duration::from_secs(86_400);

/// When an answer came, and when it was asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Came {
    pub(crate) asked_at: Instant,
    pub(crate) at: Instant,
    pub(crate) date: SystemTime,
}

/// Status and fields of an answer.
#[derive(Clone, Copy)]
pub(super) struct Head<'a> {
    pub(super) status: u16,
    pub(super) headers: &'a [(Bytes, Bytes)],
}

/// How long a stored answer may be used, and in which states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Terms {
    pub(super) received_at: Instant,
    /// How old it was then (§4.2.3).
    pub(super) age_then: Duration,
    pub(super) lifetime: Duration,
    /// Never without having been validated.
    pub(super) always_validated: bool,
    /// Not when it is stale, whoever would like to.
    pub(super) forbids_stale: bool,
    pub(super) stale_while_revalidate: Duration,
    pub(super) stale_if_error: Duration,
}

/// Whether a stored answer may be used for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    Fresh,
    /// It is stale, and the client takes it all the same.
    Stale,
    /// It is stale, may be used once more, and is validated meanwhile.
    WhileRevalidating,
    /// Not before it was validated: it is stale, or must always be.
    AfterValidation,
    /// Not before it was validated: the request says so.
    AsTheClientWants,
}

/// The terms on which an answer may be stored; `None`: it may not.
pub(super) fn terms(
    request: &RequestHead,
    asked: &RequestDirectives,
    answer: Head<'_>,
    came: Came,
    settings: &Settings,
) -> Option<Terms> {
    let said = AnswerDirectives::of(answer.headers);
    let is_forced = settings.ttl.is_some();
    let forbids_storing = if said.must_understand && is_understood(answer.status) {
        // §5.2.2.3: whoever knows the status need not mind `no-store`.
        false
    } else {
        said.no_store || said.must_understand
    };
    let is_partial = matches!(answer.status, 100..=199 | 206 | 304);
    let is_for_one = said.private == Extent::All || sets_cookie(&said, answer.headers);
    if request.method != Method::GET
        || forbids_storing
        || is_partial
        || is_for_one
        || forbids(asked, settings)
        || (request.header("authorization").is_some() && !is_for_all(&said))
    {
        return None;
    }
    let date = field(answer.headers, "date").and_then(parse_date).unwrap_or(came.date);
    let age_then = initial_age(answer.headers, date, came);
    let explicit = explicit_lifetime(&said, answer.headers, date);
    let lifetime = match settings.ttl {
        Some(_) if !is_understood(answer.status) => return None,
        Some(ttl) => age_then + ttl,
        None => match explicit {
            Some(lifetime) => lifetime,
            None if !is_understood(answer.status) && !said.public => return None,
            // Somebody's own page may have a date and say nothing: only what was asked for without a name is guessed at.
            None if request.header("cookie").is_some() && !said.public => Duration::ZERO,
            None => heuristic_lifetime(answer.headers, date),
        },
    };
    let may_be_stale = said.stale_while_revalidate.max(said.stale_if_error).is_some();
    let terms = Terms {
        received_at: came.at,
        age_then,
        lifetime,
        always_validated: said.no_cache == Extent::All && !is_forced,
        // What an answer allows by name it allows beside `s-maxage` too: that is how everybody uses the two.
        forbids_stale: said.must_revalidate
            || said.proxy_revalidate
            || (said.forbids_stale() && !may_be_stale),
        stale_while_revalidate: said
            .stale_while_revalidate
            .unwrap_or(settings.stale_while_revalidate),
        stale_if_error: said.stale_if_error.unwrap_or(settings.stale_if_error),
    };
    let can_be_validated = has_validator(answer.headers)
        && (explicit.is_some() || said.no_cache == Extent::All || lifetime > Duration::ZERO);
    (terms.is_of_use() || can_be_validated).then_some(terms)
}

/// Whether what a client gets may be its own because of what it has sent, so that it tells nothing about what others get.
pub(crate) fn may_be_own(
    request: &RequestHead,
    asked: &RequestDirectives,
    settings: &Settings,
) -> bool {
    forbids(asked, settings) || request.header("authorization").is_some()
}

/// Whether a client wants nothing stored (§5.2.1.5).
fn forbids(asked: &RequestDirectives, settings: &Settings) -> bool {
    asked.no_store && !settings.ignore_reload
}

impl Terms {
    /// How old the answer is (§4.2.3).
    pub(crate) fn age(&self, now: Instant) -> Duration {
        self.age_then + now.saturating_duration_since(self.received_at)
    }

    /// How long it stays fresh, in whole seconds; below zero: for how long it has been stale.
    pub(crate) fn remaining_s(&self, now: Instant) -> i64 {
        let seconds = |time: Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        seconds(self.lifetime).saturating_sub(seconds(self.age(now)))
    }

    /// Whether a request may have it.
    pub(crate) fn for_request(
        &self,
        asked: &RequestDirectives,
        now: Instant,
        settings: &Settings,
    ) -> Use {
        let age = self.age(now);
        let minds = !settings.ignore_reload;
        if minds && (asked.no_cache || asked.max_age.is_some_and(|most| age > most)) {
            return Use::AsTheClientWants;
        }
        if self.always_validated {
            return Use::AfterValidation;
        }
        if let Some(remaining) = self.lifetime.checked_sub(age).filter(|rest| !rest.is_zero()) {
            let is_enough = !minds || asked.min_fresh.is_none_or(|least| remaining >= least);
            return if is_enough { Use::Fresh } else { Use::AsTheClientWants };
        }
        let stale_for = age.saturating_sub(self.lifetime);
        if self.forbids_stale {
            Use::AfterValidation
        } else if minds && asked.max_stale.is_some_and(|most| stale_for <= most) {
            Use::Stale
        } else if stale_for < self.stale_while_revalidate {
            Use::WhileRevalidating
        } else {
            Use::AfterValidation
        }
    }

    /// Whether it may be used where its source fails (RFC 5861 §4).
    pub(crate) fn may_stand_in(&self, asked: &RequestDirectives, now: Instant) -> bool {
        let most = asked.stale_if_error.unwrap_or_default().max(self.stale_if_error);
        let stale_for = self.age(now).saturating_sub(self.lifetime);
        !self.forbids_stale && !self.always_validated && !most.is_zero() && stale_for <= most
    }

    /// Whether it will be used without being validated at all, fresh or not.
    fn is_of_use(&self) -> bool {
        let longest = self.stale_while_revalidate.max(self.stale_if_error);
        !self.always_validated
            && (self.lifetime > self.age_then || (!self.forbids_stale && !longest.is_zero()))
    }

    /// Whether somebody who asked at the same time could have it.
    pub(crate) fn is_for_several(&self) -> bool {
        !self.always_validated && self.lifetime > self.age_then
    }

    /// From now on it must be validated (§4.4).
    pub(super) fn expired(self) -> Self {
        Self { lifetime: Duration::ZERO, forbids_stale: true, ..self }
    }
}

/// §3.5: what an answer to a request with credentials must say.
fn is_for_all(said: &AnswerDirectives) -> bool {
    said.public || said.s_maxage.is_some() || said.must_revalidate
}

/// Whether the answer gives its client a cookie that others would get as well. RFC 9111 §7.3 leaves it to the server to forbid
/// that; applications do not, so that every cache of the field is careful here.
fn sets_cookie(said: &AnswerDirectives, headers: &[(Bytes, Bytes)]) -> bool {
    let is_left_out = said.no_cache.names(b"set-cookie") || said.private.names(b"set-cookie");
    !is_left_out && field(headers, "set-cookie").is_some()
}

/// Statuses whose answers may be stored without being told to (RFC 9110 §15.1); those that this cache understands.
fn is_understood(status: u16) -> bool {
    matches!(status, 200 | 203 | 204 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501)
}

/// What the answer itself says (§4.2.1).
fn explicit_lifetime(
    said: &AnswerDirectives,
    headers: &[(Bytes, Bytes)],
    date: SystemTime,
) -> Option<Duration> {
    said.s_maxage.or(said.max_age).or_else(|| {
        let mut expires = fields(headers, "expires").map(parse_date);
        let first = expires.next()?;
        // What is no date lies in the past (§5.3); of several the first one to pass counts.
        let earliest = expires.fold(first, |one, other| one.zip(other).map(|(a, b)| a.min(b)));
        Some(earliest.and_then(|at| at.duration_since(date).ok()).unwrap_or_default())
    })
}

fn heuristic_lifetime(headers: &[(Bytes, Bytes)], date: SystemTime) -> Duration {
    let modified = field(headers, "last-modified").and_then(parse_date);
    let unchanged_for = modified.and_then(|at| date.duration_since(at).ok()).unwrap_or_default();
    (unchanged_for / HEURISTIC_PART).min(HEURISTIC_MOST)
}

/// §4.2.3.
fn initial_age(headers: &[(Bytes, Bytes)], date: SystemTime, came: Came) -> Duration {
    let apparent = came.date.duration_since(date).unwrap_or_default();
    let first = field(headers, "age").and_then(|value| value.split(|byte| *byte == b',').next());
    let told = first.and_then(|value| seconds(value.trim_ascii())).unwrap_or_default();
    apparent.max(told + came.at.saturating_duration_since(came.asked_at))
}

fn has_validator(headers: &[(Bytes, Bytes)]) -> bool {
    field(headers, "etag").is_some() || field(headers, "last-modified").is_some()
}

#[cfg(test)]
mod tests;
