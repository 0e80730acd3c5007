//! One request and its answer, as they are counted and logged at the end.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use onebox_metrics::{Finished, InFlight, Phase, PhaseClock, ServedBy};

use crate::access_log::{AccessLog, ClientFields, Entry};
use crate::error::{Origin, ProxyError};
use crate::http1::Sent;
use crate::message::{ConnectionInfo, RequestHead, Version};
use crate::path_pattern;
use crate::request_id::RequestId;
use crate::route::RoutedSite;
use crate::rules::Permit;

/// A request that was begun. Dropped without [`Exchange::sent`], it is counted as one that got no answer.
pub(crate) struct Exchange {
    pub(crate) request_id: RequestId,
    pub(crate) clock: PhaseClock,
    status: u16,
    served_by: ServedBy,
    error: Option<String>,
    method: http::Method,
    target: Bytes,
    path: Bytes,
    version: Version,
    fields: ClientFields,
    worker: Option<Arc<str>>,
    peer: Option<SocketAddr>,
    bytes_in: u64,
    site: Option<(Arc<RoutedSite>, InFlight)>,
    body: Option<Arc<BodyOutcome>>,
    /// What it counts under until its end.
    permits: Vec<Permit>,
    log: AccessLog,
    counted: bool,
}

/// What a streamed body reports when it ends, from inside the connection loop.
#[derive(Debug, Default)]
pub(crate) struct BodyOutcome {
    ended_at: OnceLock<Instant>,
    cut: OnceLock<String>,
}

impl BodyOutcome {
    /// The last piece was made.
    pub(crate) fn ended(&self) {
        let _ = self.ended_at.set(Instant::now());
    }

    /// There will be no last piece.
    pub(crate) fn cut(&self, reason: &str) {
        self.ended();
        let _ = self.cut.set(reason.to_owned());
    }
}

impl Exchange {
    /// A request whose head has arrived.
    pub(crate) fn begin(head: &RequestHead, connection: &ConnectionInfo, log: &AccessLog) -> Self {
        let (mut header_bytes, mut fields) = (0, ClientFields::default());
        for (name, value) in &head.headers {
            header_bytes += name.len() + value.len() + 4;
            fields.take(name, value);
        }
        let line_bytes = head.method.as_str().len() + head.target.len() + 14;
        Self {
            request_id: RequestId::random(),
            clock: PhaseClock::new(head.received_at).after_handshake(connection.take_handshake()),
            status: 0,
            served_by: ServedBy::Proxy,
            error: None,
            method: head.method.clone(),
            target: head.target.clone(),
            path: head.path.clone(),
            version: head.version,
            fields,
            worker: None,
            peer: connection.peer,
            bytes_in: (header_bytes + line_bytes) as u64,
            site: None,
            body: None,
            permits: Vec::new(),
            log: log.clone(),
            counted: false,
        }
    }

    /// A message that is no request.
    pub(crate) fn refused(connection: &ConnectionInfo) -> Self {
        Self {
            request_id: RequestId::random(),
            clock: PhaseClock::new(Instant::now()),
            status: 0,
            served_by: ServedBy::Proxy,
            error: None,
            method: http::Method::GET,
            target: Bytes::new(),
            path: Bytes::new(),
            version: Version::Http11,
            fields: ClientFields::default(),
            worker: None,
            peer: connection.peer,
            bytes_in: 0,
            site: None,
            body: None,
            permits: Vec::new(),
            log: AccessLog::disabled(),
            counted: false,
        }
    }

    /// From here on it is a request to this site.
    pub(crate) fn belongs_to(&mut self, site: &Arc<RoutedSite>) {
        self.site = Some((Arc::clone(site), site.site.metrics.begin()));
        self.clock.mark(Phase::Accept);
    }

    /// It counts under limits until its answer is sent.
    pub(crate) fn hold(&mut self, permits: Vec<Permit>) {
        self.permits = permits;
    }

    /// Its body was read.
    pub(crate) fn received(&mut self, body_bytes: u64) {
        self.bytes_in += body_bytes;
        if body_bytes > 0 {
            self.clock.mark(Phase::Accept);
        }
    }

    /// So much of its body went on to a server without being read first.
    pub(crate) fn passed_on(&mut self, body_bytes: u64) {
        self.bytes_in += body_bytes;
    }

    /// The application gave a head, failed, or let its deadline pass; a worker had taken the request at `taken_at`.
    pub(crate) fn application_spoke(&mut self, taken_at: Option<Instant>) {
        match taken_at {
            Some(taken_at) => {
                self.clock.mark_at(Phase::Queue, taken_at);
                self.clock.mark(Phase::App);
            }
            None => self.clock.mark(Phase::Queue),
        }
    }

    /// The worker that had it, where the application has some.
    pub(crate) fn was_at(&mut self, worker: Option<Arc<str>>) {
        self.worker = worker;
    }

    /// Where the body of a streamed answer reports its end.
    pub(crate) fn watch_body(&mut self) -> Arc<BodyOutcome> {
        Arc::clone(self.body.get_or_insert_default())
    }

    /// There is an answer.
    pub(crate) fn answered(&mut self, status: u16, served_by: ServedBy) {
        (self.status, self.served_by) = (status, served_by);
    }

    /// The answer has another status than whoever made it said.
    pub(crate) fn restated(&mut self, status: u16) {
        self.status = status;
    }

    /// The message is no request.
    pub(crate) fn refuse(&mut self, status: u16, reason: &str) {
        self.answered(status, ServedBy::Proxy);
        tracing::debug!(status, reason, "message refused");
    }

    /// There is an error page.
    pub(crate) fn failed(&mut self, error: &ProxyError) {
        self.answered(error.status(), ServedBy::Proxy);
        if let (ProxyError::TooMany { .. }, Some(routed)) = (error, self.site()) {
            routed.site.metrics.refused_by_limit();
        }
        self.error = Some(error.to_string());
        let site = self.site_name();
        let request_id = self.request_id.as_str();
        let (method, path) = (self.method.as_str(), self.path.escape_ascii());
        match error.origin() {
            Origin::Internal => {
                tracing::error!(site, request_id, method, %path, %error, "request failed");
            }
            Origin::Upstream if error.is_surprising() => {
                tracing::warn!(site, request_id, method, %path, %error, "no answer");
            }
            Origin::Upstream | Origin::Downstream => {
                tracing::debug!(site, request_id, %error, "request refused");
            }
        }
    }

    /// Which site it is a request to, once that is known.
    pub(crate) fn site(&self) -> Option<&Arc<RoutedSite>> {
        self.site.as_ref().map(|(routed, _)| routed)
    }

    fn site_name(&self) -> Option<&str> {
        self.site.as_ref().map(|(routed, _)| routed.site.name.as_str())
    }

    /// The last byte went out, or never will.
    pub(crate) fn sent(mut self, outcome: Sent) {
        self.count(outcome);
    }

    fn count(&mut self, outcome: Sent) {
        self.counted = true;
        if let Some(body) = &self.body {
            if let Some(ended_at) = body.ended_at.get() {
                self.clock.mark_at(Phase::Body, *ended_at);
            }
            if let Some(reason) = body.cut.get() {
                let site = self.site_name();
                let request_id = self.request_id.as_str();
                let (method, path) = (self.method.as_str(), self.path.escape_ascii());
                tracing::warn!(site, request_id, method, %path, error = reason, "answer cut");
                self.error.get_or_insert_with(|| reason.clone());
            }
        }
        self.clock.mark(Phase::Send);
        if !outcome.complete {
            self.error.get_or_insert_with(|| "the client left before the answer's end".into());
        }
        let Some((routed, _in_flight)) = self.site.take() else { return };
        let finished = Finished {
            status: self.status,
            served_by: self.served_by,
            bytes_in: self.bytes_in,
            bytes_out: outcome.bytes,
            phases: self.clock.durations(),
        };
        let metrics = &routed.site.metrics;
        metrics.finish(&path_pattern::of(&self.path, self.served_by), &finished);
        routed.site.traffic.count(&finished);
        if self.log.is_enabled() {
            let entry = self.entry(routed, outcome);
            self.log.write(entry);
        }
    }

    fn entry(&mut self, routed: Arc<RoutedSite>, outcome: Sent) -> Entry {
        Entry {
            routed,
            ended_at: SystemTime::now(),
            request_id: self.request_id,
            method: self.method.clone(),
            target: std::mem::take(&mut self.target),
            path: std::mem::take(&mut self.path),
            version: self.version,
            status: self.status,
            bytes_in: self.bytes_in,
            bytes_out: outcome.bytes,
            body_bytes_out: outcome.bytes.saturating_sub(outcome.head_bytes),
            phases: self.clock.durations(),
            client: self.peer,
            fields: std::mem::take(&mut self.fields),
            worker: self.worker.take(),
            served_by: self.served_by,
            error: self.error.take(),
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if !self.counted {
            self.status = 0;
            self.count(Sent::NOTHING);
        }
    }
}
