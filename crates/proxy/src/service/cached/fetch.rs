//! Asking the source for an answer, for one client or several, or for nobody; and what is stored of it.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use futures_util::StreamExt;
use http::Method;
use onebox_metrics::CacheOutcome;

use super::super::{Asked, Service};
use super::{Asking, CacheVisit, Fetched, is_condition};
use crate::access_log::AccessLog;
use crate::cache::{
    self, Cached, Came, Fetching, Forward, Keeping, Landing, Lead, Outcome, Role, Stored,
};
use crate::error::{Origin, ProxyError};
use crate::exchange::Exchange;
use crate::message::{ConnectionInfo, RequestHead, Response, ResponseBody};
use crate::request_body::RequestBody;

impl Service {
    /// Asks the source, stores what it says where that may be, and tells those who wait.
    pub(super) async fn fetch(
        &self,
        visit: &CacheVisit<'_>,
        asking: Asking,
        lead: Option<Lead>,
        exchange: &mut Exchange,
    ) -> Result<Fetched, ProxyError> {
        let CacheVisit { routed, cached: Cached { cache, settings }, asked, key, .. } = visit;
        let for_source = visit.for_source(&asking);
        let is_validation = asking.stored.is_some() && matches!(for_source, Cow::Owned(_));
        let (fetching, asked_at) = (Fetching::begin(cache, key), Instant::now());
        let for_source = Asked { head: &for_source, ..*asked };
        let answer = self.source(routed, for_source, &mut RequestBody::nothing(), exchange).await;
        let came = Came { asked_at, at: Instant::now(), date: SystemTime::now() };

        let failure = failure(&answer);
        if let Some(failure) = failure
            && let Some(stored) = visit.stand_in(asking.stored.as_ref())
        {
            land(lead, failure.landing());
            tracing::warn!(
                site = routed.site.name,
                status = failure.status,
                "a stale answer is used in place of an error"
            );
            let outcome = |ttl_s| Outcome::StoodIn { ttl_s, status: failure.status };
            return Ok(Fetched::Remade(visit.answer_stored(stored, outcome, exchange).await));
        }
        let mut answer = match (answer, failure) {
            (Ok(answer), _) => answer,
            (Err(error), Some(failure)) => {
                land(lead, failure.landing());
                return Err(error);
            }
            // It is the client's own fault: the next one leads.
            (Err(error), None) => return Err(error),
        };

        if let (304, true, Some(stored)) = (answer.status, is_validation, &asking.stored) {
            let Some(fresh) = stored.freshened(asked.head, &answer, came, settings) else {
                cache.store.forget(key, asked.head);
                return Ok(Fetched::Again);
            };
            let fresh = Arc::new(fresh);
            fetching.put(asked.head, Arc::clone(&fresh));
            land(lead, Landing::Stored);
            let outcome =
                Outcome::Forwarded { why: asking.why, status: Some(304), is_stored: true };
            let response = visit.response(&fresh, None).await;
            return Ok(Fetched::Remade(visit.told(response, outcome, &fresh, exchange)));
        }

        routed.site.metrics.cache.count(CacheOutcome::Miss, 0);
        if asked.head.method == Method::HEAD
            && let (Some(stored), 200) = (&asking.stored, answer.status)
        {
            match stored.updated_by_head(asked.head, &answer, came, settings) {
                Some(updated) => fetching.put(asked.head, Arc::new(updated)),
                None => cache.store.invalidate(key),
            }
        }
        let storable = cache::storable(asked.head, &visit.directives, &answer, came, settings)
            .filter(|_| fits(&answer.body, settings.max_object));
        let outcome =
            Outcome::Forwarded { why: asking.why, status: None, is_stored: storable.is_some() };
        match storable {
            None => {
                let is_known = asking.stored.is_some() && asked.head.method == Method::GET;
                let is_own = cache::may_be_own(asked.head, &visit.directives, settings);
                if failure.is_none() && is_known && !is_own {
                    cache.store.forget(key, asked.head);
                }
                if failure.is_none() && lead.is_some() {
                    cache.store.pass(key, came.at);
                }
                land(lead, failure.map_or(Landing::OnlyForOne, |failure| failure.landing()));
            }
            Some(storable) => match answer.body {
                ResponseBody::Stream { stream, size } => {
                    answer.body = ResponseBody::Empty;
                    let keeping = Keeping {
                        fetching,
                        head: asked.head.clone(),
                        storable,
                        came,
                        lead,
                        most: settings.max_object,
                    };
                    let stream = keeping.stream(&answer, stream, size);
                    answer.body = ResponseBody::Stream { stream, size };
                }
                _ => {
                    fetching.put(asked.head, Arc::new(storable.stored(&answer, came)));
                    land(lead, Landing::Stored);
                }
            },
        }
        cache::hide_tags(&mut answer.headers);
        outcome.tell(&mut answer);
        let answer = match asking.is_for_several {
            // Its conditions were kept from the source.
            true => cache::conditional(asked.head, answer),
            false => answer,
        };
        exchange.restated(answer.status);
        Ok(Fetched::Made(answer))
    }

    /// Fetches a fresh answer while the client has a stale one, unless somebody does already.
    pub(super) fn revalidate_behind(&self, visit: &CacheVisit<'_>, stored: &Arc<Stored>) {
        let Role::Leads(lead) = visit.join() else { return };
        let Some(service) = self.this.upgrade() else { return };
        let routed = Arc::clone(visit.routed);
        let mut head = RequestHead { method: Method::GET, ..visit.asked.head.clone() };
        head.headers.retain(|(name, _)| !is_condition(name));
        let path = visit.asked.path.to_vec();
        let connection: ConnectionInfo = visit.asked.connection.clone();
        let stored = Some(Arc::clone(stored));
        visit.cached.cache.run_behind(async move {
            let asked = Asked { head: &head, path: &path, connection: &connection, packet: None };
            let Some(visit) = CacheVisit::begin(&routed, asked) else { return };
            // Counted nowhere: no client has sent it.
            let mut exchange = Exchange::begin(&head, &connection, &AccessLog::disabled());
            let asking = Asking { stored, why: Forward::Stale, is_for_several: true };
            match service.fetch(&visit, asking, Some(lead), &mut exchange).await {
                Ok(Fetched::Made(Response { body: ResponseBody::Stream { mut stream, .. }, .. })) => {
                    while stream.next().await.is_some() {}
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(site = routed.site.name, %error, "a stale answer could not be replaced");
                }
            }
        });
    }
}

/// An answer that is none.
#[derive(Clone, Copy)]
struct Failure {
    status: u16,
    retry_after_s: Option<u32>,
}

impl Failure {
    fn landing(self) -> Landing {
        Landing::Failed { status: self.status, retry_after_s: self.retry_after_s }
    }
}

/// RFC 5861 §4: these statuses, or nothing at all.
fn failure(answer: &Result<Response, ProxyError>) -> Option<Failure> {
    match answer {
        Ok(answer) if matches!(answer.status, 500 | 502 | 503 | 504) => {
            Some(Failure { status: answer.status, retry_after_s: None })
        }
        Err(error) if error.status() >= 500 && error.origin() != Origin::Downstream => {
            Some(Failure { status: error.status(), retry_after_s: error.retry_after_s() })
        }
        _ => None,
    }
}

/// Whether a body may be stored as far as that is known; a file has a memory of its own.
fn fits(body: &ResponseBody, most: usize) -> bool {
    let size = match body {
        ResponseBody::Empty => Some(0),
        ResponseBody::Full(bytes) => Some(bytes.len() as u64),
        ResponseBody::Stream { size, .. } => *size,
        ResponseBody::File { .. } => return false,
    };
    size.is_none_or(|size| size <= most as u64)
}

fn land(lead: Option<Lead>, landing: Landing) {
    if let Some(lead) = lead {
        lead.land(landing);
    }
}
