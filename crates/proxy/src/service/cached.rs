//! The pipeline for a site or route with a cache: what stands between a request and whoever would answer it.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::Method;
use onebox_metrics::{CacheOutcome, Phase, ServedBy};
use tokio::time::timeout_at;

use super::{Asked, Service};
use crate::cache::{
    self, Cached, Fetching, Forward, Found, Key, Landing, Outcome, RequestDirectives, Role, Stored,
    Terms, Tier, Use,
};
use crate::compress::{self, Coding};
use crate::error::ProxyError;
use crate::exchange::Exchange;
use crate::message::{Entrance, RequestHead, Response};
use crate::request_body::RequestBody;
use crate::route::RoutedSite;

/// A request in front of a cache.
pub(super) struct CacheVisit<'a> {
    routed: &'a Arc<RoutedSite>,
    cached: &'a Cached,
    asked: Asked<'a>,
    key: Key,
    directives: RequestDirectives,
    /// Why it can't be answered from what is stored.
    past: Option<Forward>,
}

/// What is stored for a request.
enum Looked {
    /// It may have it.
    Usable(Arc<Stored>, Use),
    /// The source is to be asked first.
    Forward(Asking),
}

/// Why, and with what in hand, the source is asked.
struct Asking {
    stored: Option<Arc<Stored>>,
    why: Forward,
    /// Whether others may wait for the answer.
    is_for_several: bool,
}

/// What came of asking the source.
enum Fetched {
    /// An answer of the source.
    Made(Response),
    /// What is stored, with or without the source's word.
    Remade(Response),
    /// What is stored is not what the source speaks of: to be asked again without conditions.
    Again,
}

impl<'a> CacheVisit<'a> {
    /// `None`: its answers are never stored. Neither are those to health checks, nor those that a web server in front asks for:
    /// it has a cache of its own.
    pub(super) fn begin(routed: &'a Arc<RoutedSite>, asked: Asked<'a>) -> Option<Self> {
        let cached = routed.cached.as_deref()?;
        if asked.packet.is_some() || asked.connection.entrance == Entrance::Probe {
            return None;
        }
        let head = asked.head;
        Some(Self {
            routed,
            cached,
            asked,
            key: Key::of(head, asked.connection),
            directives: RequestDirectives::of(head),
            past: past(head, cached),
        })
    }

    /// The answer from memory, where that takes no work.
    pub(super) fn hit(&self, exchange: &mut Exchange) -> Option<Response> {
        if self.past.is_some() {
            return None;
        }
        let now = Instant::now();
        let Looked::Usable(stored, Use::Fresh) = self.look(now, None) else { return None };
        let coded = stored.coded_already(self.coding())?;
        let outcome = Outcome::Hit { ttl_s: stored.terms.remaining_s(now), tier: Tier::Memory };
        let response = stored.response(self.asked.head, coded, Some(stored.terms.age(now)));
        Some(self.told(response, outcome, &stored, exchange))
    }

    /// What the disk has for it and memory has not.
    async fn load(&self) -> Option<Arc<Stored>> {
        if !self.cached.cache.store.has_disk() {
            return None;
        }
        let fetching = Fetching::begin(&self.cached.cache, &self.key);
        let (routed, directives) = (Arc::clone(self.routed), self.directives.clone());
        let is_fresh = move |terms: &Terms| {
            let settings = routed.cached.as_ref().map(|cached| &cached.settings);
            let usage = settings.map(|known| terms.for_request(&directives, Instant::now(), known));
            usage == Some(Use::Fresh)
        };
        fetching.load(self.asked.head, is_fresh).await
    }

    /// What is stored; `loaded` is from the disk, and counts where memory has nothing.
    fn look(&self, now: Instant, loaded: Option<&Arc<Stored>>) -> Looked {
        let head = self.asked.head;
        let found = match (self.cached.cache.store.find(&self.key, head, now), loaded) {
            (Found::Stored(stored), _) => Found::Stored(stored),
            (_, Some(loaded)) => Found::Stored(Arc::clone(loaded)),
            (found, None) => found,
        };
        let (stored, why, is_passing) = match found {
            Found::Stored(stored) => {
                let why =
                    match stored.terms.for_request(&self.directives, now, &self.cached.settings) {
                        Use::AfterValidation => Forward::Stale,
                        Use::AsTheClientWants => Forward::Request,
                        usable => return Looked::Usable(stored, usable),
                    };
                (Some(stored), why, false)
            }
            Found::OtherVariants => (None, Forward::VaryMiss, false),
            Found::Nothing => (None, Forward::UriMiss, false),
            Found::Passing => (None, Forward::UriMiss, true),
        };
        // A part, a head and an answer that each client must have validated serve nobody else.
        let is_for_several = !is_passing
            && why != Forward::Request
            && head.method == Method::GET
            && stored
                .as_ref()
                .map_or_else(|| !has_range(head), |stored| stored.terms.is_for_several());
        Looked::Forward(Asking { stored, why, is_for_several })
    }

    fn is_stored(&self) -> bool {
        matches!(self.look(Instant::now(), None), Looked::Usable(..))
    }

    fn join(&self) -> Role {
        let Cached { cache, .. } = self.cached;
        cache.flights.join(cache.store.flight(&self.key, self.asked.head))
    }

    /// The request for the source. Conditions of the client's are answered here, since what it has need not be what is stored;
    /// where nothing can be stored they go on.
    fn for_source(&self, asking: &Asking) -> Cow<'a, RequestHead> {
        let head = self.asked.head;
        let conditions = asking.stored.as_ref().map(|stored| stored.conditions());
        let conditions = conditions.unwrap_or_default();
        if conditions.is_empty() && !asking.is_for_several {
            return Cow::Borrowed(head);
        }
        let mut head = head.clone();
        head.headers.retain(|(name, _)| !is_condition(name));
        head.headers.extend(conditions);
        Cow::Owned(head)
    }

    fn coding(&self) -> Coding {
        match has_range(self.asked.head) {
            // Offsets count in the plain bytes.
            true => Coding::Identity,
            false => compress::choose(self.asked.head),
        }
    }

    /// The answer from what is stored.
    async fn response(&self, stored: &Arc<Stored>, age: Option<Duration>) -> Response {
        let coded = stored.coded(self.coding()).await;
        if coded.is_new {
            self.cached.cache.store.recount(&self.key);
        }
        stored.response(self.asked.head, coded, age)
    }

    /// The answer from what is stored, as it is; `outcome` is told the time that it has left.
    async fn answer_stored(
        &self,
        stored: &Arc<Stored>,
        outcome: impl FnOnce(i64) -> Outcome,
        exchange: &mut Exchange,
    ) -> Response {
        let now = Instant::now();
        let response = self.response(stored, Some(stored.terms.age(now))).await;
        self.told(response, outcome(stored.terms.remaining_s(now)), stored, exchange)
    }

    /// What may be used in place of an error.
    fn stand_in<'s>(&self, stored: Option<&'s Arc<Stored>>) -> Option<&'s Arc<Stored>> {
        stored.filter(|stored| stored.terms.may_stand_in(&self.directives, Instant::now()))
    }

    /// Counts an answer from memory, and says what it is.
    fn told(
        &self,
        mut response: Response,
        outcome: Outcome,
        stored: &Stored,
        exchange: &mut Exchange,
    ) -> Response {
        let counted = match outcome {
            Outcome::Hit { ttl_s: ..0, .. } | Outcome::StoodIn { .. } => CacheOutcome::Stale,
            Outcome::Forwarded { .. } => CacheOutcome::Revalidated,
            Outcome::Hit { .. } | Outcome::Collapsed => CacheOutcome::Hit,
        };
        if counted == CacheOutcome::Revalidated {
            exchange.restated(response.status);
        } else {
            exchange.clock.mark(Phase::App);
            exchange.answered(response.status, ServedBy::Cache);
        }
        self.routed.site.metrics.cache.count(counted, stored.body_bytes());
        if matches!(outcome, Outcome::Hit { tier: Tier::Disk, .. }) {
            self.routed.site.metrics.cache.came_from_disk();
        }
        outcome.tell(&mut response);
        response
    }
}

impl Service {
    /// The answer to a request that is not one from memory at once.
    pub(super) async fn serve_cached(
        &self,
        visit: &CacheVisit<'_>,
        body: &mut RequestBody<'_>,
        exchange: &mut Exchange,
    ) -> Result<Response, ProxyError> {
        if let Some(why) = visit.past {
            return self.go_past(visit, why, body, exchange).await;
        }
        let until = tokio::time::Instant::now() + visit.cached.settings.lock_timeout;
        let mut has_waited = false;
        let mut loaded = visit.load().await;
        loop {
            let asking = match visit.look(Instant::now(), loaded.as_ref()) {
                Looked::Usable(stored, usage) => {
                    if usage == Use::WhileRevalidating {
                        self.revalidate_behind(visit, &stored);
                    }
                    let is_loaded = loaded.as_ref().is_some_and(|one| Arc::ptr_eq(one, &stored));
                    let tier = if is_loaded { Tier::Disk } else { Tier::Memory };
                    let outcome = |ttl_s| match has_waited {
                        true => Outcome::Collapsed,
                        false => Outcome::Hit { ttl_s, tier },
                    };
                    return Ok(visit.answer_stored(&stored, outcome, exchange).await);
                }
                Looked::Forward(asking) => asking,
            };
            if visit.directives.only_if_cached() {
                return Err(ProxyError::NotStored);
            }
            let lead = match asking.is_for_several.then(|| visit.join()) {
                None => None,
                // Another one may have landed since it was looked for.
                Some(Role::Leads(_)) if visit.is_stored() => continue,
                Some(Role::Leads(lead)) => Some(lead),
                Some(Role::Follows(other)) => match timeout_at(until, other.landing()).await {
                    Ok(Landing::Stored | Landing::Left) => {
                        has_waited = true;
                        continue;
                    }
                    Ok(Landing::Failed { status, retry_after_s }) => {
                        let Some(stored) = visit.stand_in(asking.stored.as_ref()) else {
                            return Err(ProxyError::Collapsed { status, retry_after_s });
                        };
                        let outcome = |ttl_s| Outcome::StoodIn { ttl_s, status };
                        return Ok(visit.answer_stored(stored, outcome, exchange).await);
                    }
                    Ok(Landing::OnlyForOne) | Err(_) => None,
                },
            };
            match self.fetch(visit, asking, lead, exchange).await? {
                Fetched::Made(response) => return Ok(visit.asked.compressed(response).await),
                Fetched::Remade(response) => return Ok(response),
                Fetched::Again => loaded = None,
            }
        }
    }

    /// The answer to a request that no stored answer could serve.
    async fn go_past(
        &self,
        visit: &CacheVisit<'_>,
        why: Forward,
        body: &mut RequestBody<'_>,
        exchange: &mut Exchange,
    ) -> Result<Response, ProxyError> {
        let asked = visit.asked;
        let mut response = self.source(visit.routed, asked, body, exchange).await?;
        visit.cached.cache.invalidate(&asked.head.method, &visit.key, &response);
        visit.routed.site.metrics.cache.count(CacheOutcome::Bypass, 0);
        cache::hide_tags(&mut response.headers);
        Outcome::Forwarded { why, status: None, is_stored: false }.tell(&mut response);
        Ok(asked.compressed(response).await)
    }
}

/// Why a request goes past the cache: its method, a rule, or something about it that no stored answer knows of.
fn past(head: &RequestHead, cached: &Cached) -> Option<Forward> {
    if !matches!(head.method, Method::GET | Method::HEAD) {
        return Some(Forward::Method);
    }
    let is_special = head.content_length != Some(0)
        || head.headers.iter().any(|(name, _)| {
            matches!(&name[..], b"upgrade" | b"if-match" | b"if-unmodified-since")
        });
    (is_special || cached.settings.bypasses(head)).then_some(Forward::Bypass)
}

fn has_range(head: &RequestHead) -> bool {
    head.header("range").is_some()
}

/// Fields that are about what the client has, not about what it wants.
fn is_condition(name: &[u8]) -> bool {
    matches!(name, b"if-none-match" | b"if-modified-since" | b"range" | b"if-range")
}

mod fetch;

#[cfg(test)]
mod tests;
