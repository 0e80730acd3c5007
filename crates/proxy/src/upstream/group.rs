//! The servers of one `[[upstream]]`: which of them is asked, and which after it when there is no answer.
//!
//! A request goes to a second server only where that can't run it twice, or does not matter: see [`may_repeat`].

use std::sync::Arc;
use std::time::Duration;

use onebox_config::site::{Protocol, Upstream};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::attempt::{Attempt, NoAnswer};
use super::balance::Chooser;
use super::failure::{Failure, Reached};
use super::passed::Passed;
use super::server::{Peer, ServerHealth};
use super::upload::Source;
use super::{health, relayed, script};
use crate::error::ProxyError;
use crate::exchange::Exchange;
use crate::message::{BodyError, Response};
use crate::request_body::RequestBody;
use crate::spool::{self, SpoolLimits};

/// How often idle connections are looked at.
const SWEEP: Duration = Duration::from_secs(10);

/// Servers that share the requests below a path.
pub struct UpstreamGroup {
    settings: Upstream,
    /// Without a slash at its end; empty for every path.
    prefix: String,
    peers: Vec<Arc<Peer>>,
    chooser: Chooser,
    /// Checks and housekeeping; they end with the group.
    _tasks: JoinSet<()>,
}

impl UpstreamGroup {
    /// The group that `settings` describes, all paths absolute; `host` is what active checks ask for. Must be called within a
    /// tokio runtime.
    pub fn new(settings: Upstream, host: &str) -> Arc<Self> {
        let peer = |server: &onebox_config::site::Server| Peer::new(server.clone(), &settings);
        let peers: Vec<_> = settings.servers.iter().map(peer).collect();
        let mut tasks = JoinSet::new();
        for peer in &peers {
            tasks.spawn(sweep(Arc::clone(peer)));
            if settings.active.is_some() {
                tasks.spawn(health::watch(Arc::clone(peer), settings.clone(), host.to_owned()));
            }
        }
        let prefix = settings.path.as_deref().unwrap_or_default().trim_end_matches('/');
        Arc::new(Self {
            prefix: prefix.to_owned(),
            chooser: Chooser::new(settings.balance.clone(), peers.len()),
            settings,
            peers,
            _tasks: tasks,
        })
    }

    /// How its servers are at this moment, in the order of `to`.
    pub fn health(&self) -> Vec<ServerHealth> {
        let now = Instant::now();
        self.peers.iter().map(|peer| peer.health(now)).collect()
    }

    /// What routes call it.
    pub(crate) fn name(&self) -> Option<&str> {
        self.settings.name.as_deref()
    }

    /// Where its paths begin; empty for every path.
    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Whether a path, decoded, is below its own; one without a path has none but what routes give it.
    pub(crate) fn has(&self, path: &[u8]) -> bool {
        let rest =
            path.strip_prefix(self.prefix.as_bytes()).filter(|_| self.settings.path.is_some());
        rest.is_some_and(|rest| matches!(rest, [] | [b'/', ..]) || self.prefix.is_empty())
    }

    /// Whether a path names a script of its servers, whose text is nobody's to read.
    pub(crate) fn runs(&self, path: &[u8]) -> bool {
        self.settings.has_scripts() && script::is_script(&self.settings.script, path)
    }

    /// The answer of one of its servers.
    ///
    /// # Errors
    /// [`ProxyError`] where nothing of an answer can be sent. What fails later cuts the body instead.
    pub(crate) async fn answer(
        &self,
        passed: &Passed<'_>,
        client: &mut RequestBody<'_>,
        limits: &SpoolLimits<'_>,
        exchange: &mut Exchange,
    ) -> Result<Response, ProxyError> {
        let source = self.source(passed, client, limits, exchange).await?;
        let attempt = Attempt { settings: &self.settings, passed, source };
        let key = self.chooser.key(passed.head, passed.connection);
        let (mut tried, mut last) = (Vec::new(), ProxyError::NoServer);
        while let Some(index) = self.chooser.choose(&self.peers, &tried, key) {
            let Some(peer) = self.peers.get(index) else { break };
            let failure = match attempt.ask(peer.lease(), client).await {
                Ok(talk) => {
                    peer.answered();
                    let method = &passed.head.method;
                    return Ok(relayed::into_response(talk, method, &self.settings, exchange));
                }
                Err(NoAnswer::Other(error)) => return Err(error),
                Err(NoAnswer::Server(failure)) => failure,
            };
            let repeat = may_repeat(&failure, passed, &attempt.source);
            if failure.reached != Reached::IdleConnection {
                peer.failed(&failure.error);
                tried.push(index);
            }
            tracing::debug!(server = peer.name, error = %failure.error, "an attempt failed");
            last = ProxyError::Upstream { server: peer.name.clone(), error: failure.error };
            if !repeat {
                break;
            }
        }
        Err(last)
    }

    /// Small bodies are read first: a server never waits for a slow client then, and they can be sent again. Servers that
    /// speak uwsgi or FastCGI must know the size, so that for them every body is.
    async fn source(
        &self,
        passed: &Passed<'_>,
        client: &mut RequestBody<'_>,
        limits: &SpoolLimits<'_>,
        exchange: &mut Exchange,
    ) -> Result<Source, ProxyError> {
        let is_http =
            |peer: &Arc<Peer>| matches!(peer.server.protocol, Protocol::Http | Protocol::Https);
        let length = passed.head.content_length;
        let is_small = length.is_some_and(|length| length <= limits.memory_bytes);
        if !self.peers.iter().all(is_http) || is_small {
            let body = spool::read_whole(client, length, limits).await?;
            exchange.received(body.size());
            return Ok(Source::Whole(body.into()));
        }
        if length.is_some_and(|length| length > limits.max_bytes) {
            return Err(BodyError::TooLarge { limit: limits.max_bytes }.into());
        }
        client.set_limit(limits.max_bytes);
        Ok(Source::Client { size: length })
    }
}

/// Whether a request that got no answer may be sent once more. Nothing of an answer has gone to the client then.
///
/// - Its body must be here: what the client has sent is gone.
/// - Where no connection was made, nobody has seen it.
/// - Otherwise somebody may have begun it: it must be idempotent (RFC 9110 §9.2.2), and must not have used up its time.
fn may_repeat(failure: &Failure, passed: &Passed<'_>, source: &Source) -> bool {
    let is_whole = match (source, failure.reached) {
        (Source::Whole(_), _) | (Source::Client { .. }, Reached::Nothing) => true,
        (Source::Client { .. }, _) => false,
    };
    let is_safe = match failure.reached {
        Reached::Nothing => true,
        Reached::IdleConnection | Reached::Server => {
            passed.is_idempotent() && !failure.error.is_timeout()
        }
    };
    is_whole && is_safe
}

async fn sweep(peer: Arc<Peer>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        peer.sweep();
    }
}
