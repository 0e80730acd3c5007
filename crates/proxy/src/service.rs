//! The pipeline: what happens to a request between its head and its answer, one line a step.
//!
//! Must not know connections, framing or keep-alive: those are `http1`'s and `http2`'s.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Weak};

use arc_swap::{ArcSwap, ArcSwapOption};
use bytes::Bytes;
use onebox_config::{Clients, Limits, Nobody};
use onebox_metrics::{Dropped, Registry, ServedBy};
use onebox_uwsgi::{Body, Request, Vars};

use crate::access_log::AccessLog;
use crate::clients;
use crate::compress;
use crate::drops::Drops;
use crate::error::ProxyError;
use crate::error_page::ErrorPage;
pub(crate) use crate::exchange::Exchange;
use crate::http1::Refusal;
use crate::lifecycle::Lifecycle;
use crate::message::{ConnectionInfo, Entrance, RequestHead, Response, field};
use crate::request_body::RequestBody;
use crate::route::{RouteTable, RoutedSite, Site};
use crate::rules::{Buckets, Passwords};
use crate::spool::{self, SpoolLimits};
use crate::static_files::StaticFiles;
use crate::tls::Tls;
use crate::upstream::{AppRequest, Dashboard, Passed, Upgrades};
use crate::uwsgi_server::{PacketRequest, Seen};
use crate::{ProxySettings, path, secure, server_method, upstream, vars};

/// Everything that answers need and connections share.
pub(crate) struct Service {
    /// For requests that no client waits for.
    this: Weak<Self>,
    limits: Limits,
    clients: Clients,
    admin_hosts: Vec<String>,
    temp_dir: Option<PathBuf>,
    routes: ArcSwap<RouteTable>,
    probe_routes: ArcSwapOption<RouteTable>,
    static_files: StaticFiles,
    passwords: Passwords,
    buckets: Buckets,
    access_log: AccessLog,
    metrics: Arc<Registry>,
    pub(crate) drops: Drops,
    lifecycle: Arc<Lifecycle>,
    pub(crate) tls: Arc<Tls>,
    /// Where HTTPS is served; 0: nowhere.
    https_port: AtomicU16,
}

impl Service {
    pub(crate) fn new(
        settings: ProxySettings,
        metrics: Arc<Registry>,
        access_log: AccessLog,
        (lifecycle, tls): (Arc<Lifecycle>, Arc<Tls>),
    ) -> Self {
        Self {
            this: Weak::new(),
            limits: settings.limits,
            clients: settings.clients,
            admin_hosts: settings.admin_hosts,
            temp_dir: settings.temp_dir,
            routes: ArcSwap::default(),
            probe_routes: ArcSwapOption::default(),
            static_files: StaticFiles::default(),
            passwords: Passwords::default(),
            buckets: Buckets::new(),
            access_log,
            drops: Drops::new(Arc::clone(&metrics)),
            metrics,
            lifecycle,
            tls,
            https_port: AtomicU16::new(0),
        }
    }

    /// One that runs requests of its own, too.
    pub(crate) fn shared(
        settings: ProxySettings,
        metrics: Arc<Registry>,
        access_log: AccessLog,
        shared: (Arc<Lifecycle>, Arc<Tls>),
    ) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            this: Weak::clone(this),
            ..Self::new(settings, metrics, access_log, shared)
        })
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(crate) fn clients(&self) -> &Clients {
        &self.clients
    }

    pub(crate) fn metrics(&self) -> &Arc<Registry> {
        &self.metrics
    }

    pub(crate) fn set_routes(&self, table: RouteTable) {
        self.routes.store(Arc::new(table));
    }

    /// The first listener with TLS is where clients are redirected to.
    pub(crate) fn set_https_port(&self, port: u16) {
        self.https_port.compare_exchange(0, port, Ordering::AcqRel, Ordering::Acquire).ok();
    }

    pub(crate) fn https_port(&self) -> Option<u16> {
        Some(self.https_port.load(Ordering::Acquire)).filter(|port| *port != 0)
    }

    pub(crate) fn set_probe_routes(&self, table: RouteTable) {
        self.probe_routes.store(Some(Arc::new(table)));
    }

    /// The answer to a request.
    pub(crate) async fn handle(
        &self,
        head: &RequestHead,
        body: &mut RequestBody<'_>,
        connection: &ConnectionInfo,
    ) -> (Response, Exchange) {
        let understood = clients::understood(&self.clients, head, connection);
        let (head, connection) = match &understood {
            Some(understood) => (&understood.head, &understood.connection),
            None => (head, connection),
        };
        let mut exchange = Exchange::begin(head, connection, &self.access_log);
        let mut response = match self.answer(head, body, connection, &mut exchange).await {
            Ok(response) => response,
            Err(error) => error_response(&error, head, &mut exchange),
        };
        secure::demand_https(&mut response, exchange.site(), connection);
        name_request(&mut response, &exchange);
        (response, exchange)
    }

    /// The steps of the walk (ARCHITECTURE.md, "A request").
    async fn answer(
        &self,
        head: &RequestHead,
        body: &mut RequestBody<'_>,
        connection: &ConnectionInfo,
        exchange: &mut Exchange,
    ) -> Result<Response, ProxyError> {
        if connection.entrance == Entrance::Overflow {
            return Err(ProxyError::NoRoom);
        }
        if let Some(token) = secure::token(self, head, exchange) {
            return Ok(token);
        }
        let path = path::decode(&head.path);
        let site = self.site(head, path.as_deref().unwrap_or(b"/"), connection)?;
        exchange.belongs_to(&site);
        self.let_in(&site.site, connection)?;
        if let Some(redirect) = secure::redirect(self, &site.site, head, connection, exchange) {
            return Ok(redirect);
        }
        if let Some(own) = own_answer(head, exchange) {
            return Ok(own);
        }
        let path = path?;
        let asked = Asked { head, path: &path, connection, packet: None };
        if site.is_plain() {
            return self.serve(&site, asked, body, exchange).await;
        }
        // Boxed, so that sites without rules do not carry the room for them.
        Box::pin(self.serve_by_rules(&site, asked, body, exchange)).await
    }

    /// The steps that find whoever answers: files, stored answers, upstreams, the application.
    async fn serve(
        &self,
        routed: &Arc<RoutedSite>,
        asked: Asked<'_>,
        body: &mut RequestBody<'_>,
        exchange: &mut Exchange,
    ) -> Result<Response, ProxyError> {
        let Asked { head, path, .. } = asked;
        if let Some(file) = self.static_files.answer(routed, head, path, exchange).await? {
            return Ok(file);
        }
        if let Some(visit) = CacheVisit::begin(routed, asked) {
            return match visit.hit(exchange) {
                Some(hit) => Ok(hit),
                // Boxed, so that other requests do not carry the room for it.
                None => Box::pin(self.serve_cached(&visit, body, exchange)).await,
            };
        }
        let response = self.source(routed, asked, body, exchange).await?;
        Ok(asked.compressed(response).await)
    }

    /// The answer of an upstream or of the application.
    async fn source(
        &self,
        routed: &RoutedSite,
        asked: Asked<'_>,
        body: &mut RequestBody<'_>,
        exchange: &mut Exchange,
    ) -> Result<Response, ProxyError> {
        let Asked { head, path, .. } = asked;
        if let Some(group) = routed.upstream(path) {
            let is_same = |other: &Arc<_>| Arc::ptr_eq(other, group);
            path::check_readings(path, |other| routed.upstream(other).is_some_and(is_same))?;
            let passed = asked.passed(&routed.site, self.dashboard(head), exchange);
            let limits = self.spool_limits(&routed.site);
            // Boxed, so that requests to applications do not carry the room for it.
            let response = Box::pin(group.answer(&passed, body, &limits, exchange)).await?;
            return self.static_files.instead(routed, head, response, exchange).await;
        }
        upstream::check_open(&routed.site)?;
        let body = self.read_body(&routed.site, head, body, exchange).await?;
        let vars = asked.vars(&routed.site, &body, exchange)?;
        let request = Request { vars, body, deadline: None };
        let request = AppRequest { request, method: &head.method, lifecycle: &self.lifecycle };
        let response = upstream::answer(&routed.site, request, exchange).await?;
        self.static_files.instead(routed, head, response, exchange).await
    }

    /// Lets half of the stored answers and of the remembered files go.
    pub(crate) fn let_go(&self) {
        self.routes.load().caches().for_each(|cache| cache.halve());
        self.static_files.halve();
    }

    /// The answer to a message that is no request: it was refused, and the connection ends.
    pub(crate) fn refuse(
        &self,
        refusal: &Refusal,
        connection: &ConnectionInfo,
    ) -> (Response, Exchange) {
        let mut exchange = Exchange::refused(connection);
        exchange.refuse(refusal.status, refusal.reason);
        let is_late = *refusal == Refusal::HEAD_TIMED_OUT;
        let why = if is_late { Dropped::Slow } else { Dropped::Malformed };
        self.drops.count(why, connection.peer.map(|peer| peer.ip()));
        (last_page(&exchange, refusal.status, refusal.reason), exchange)
    }

    fn site(
        &self,
        head: &RequestHead,
        path: &[u8],
        connection: &ConnectionInfo,
    ) -> Result<Arc<RoutedSite>, ProxyError> {
        let host = head.host.as_deref();
        let site = match (connection.entrance, self.probe_routes.load().as_ref()) {
            (Entrance::Probe, Some(table)) => table.site(host, path).cloned(),
            _ => self.routes.load().site(host, path).cloned(),
        };
        site.map_err(|nobody| match nobody {
            Nobody::Host => ProxyError::UnknownHost,
            Nobody::Path => ProxyError::NotFound,
        })
    }

    /// Whether the box has nothing against the client's address; health checks have none.
    fn let_in(&self, site: &Site, connection: &ConnectionInfo) -> Result<(), ProxyError> {
        let Some(guard) = site.guard.as_ref().filter(|_| connection.entrance == Entrance::Public)
        else {
            return Ok(());
        };
        let client = connection.client();
        if !guard.refuses(client) {
            return Ok(());
        }
        self.drops.count(Dropped::Refused, Some(client));
        Err(ProxyError::Refused)
    }

    /// Where servers that are asked by this name lead.
    fn dashboard(&self, head: &RequestHead) -> Dashboard {
        match &head.host {
            Some(host) if self.admin_hosts.contains(host) => Dashboard::Here,
            _ => Dashboard::Elsewhere,
        }
    }

    async fn read_body(
        &self,
        site: &Site,
        head: &RequestHead,
        body: &mut RequestBody<'_>,
        exchange: &mut Exchange,
    ) -> Result<Body, ProxyError> {
        let limits = self.spool_limits(site);
        let body = spool::read_whole(body, head.content_length, &limits).await?;
        exchange.received(body.size());
        Ok(body)
    }

    fn spool_limits(&self, site: &Site) -> SpoolLimits<'_> {
        SpoolLimits {
            memory_bytes: site.post_buffering,
            max_bytes: site.max_body,
            folder: self.temp_dir.as_ref(),
        }
    }
}

/// A request, as whoever answers shall see it.
#[derive(Clone, Copy)]
struct Asked<'a> {
    head: &'a RequestHead,
    /// The path, decoded.
    path: &'a [u8],
    connection: &'a ConnectionInfo,
    /// Where it came over uwsgi: the packet, and whether the head is still what it says.
    packet: Option<(&'a PacketRequest, Head)>,
}

/// Whether rules have changed a head.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Head {
    AsItCame,
    Altered,
}

impl<'a> Asked<'a> {
    /// The request for servers of an upstream.
    fn passed(&self, site: &Site, dashboard: Dashboard, exchange: &Exchange) -> Passed<'a> {
        Passed {
            head: self.head,
            path: self.path,
            connection: self.connection,
            request_id: exchange.request_id,
            buffer_size: site.buffer_size,
            upgrades: if self.packet.is_some() { Upgrades::Refused } else { Upgrades::Allowed },
            dashboard,
        }
    }

    /// The variables for the application.
    fn vars(&self, site: &Site, body: &Body, exchange: &Exchange) -> Result<Vars, ProxyError> {
        let (request_id, body_bytes) = (exchange.request_id, body.size());
        if let Some((packet, head)) = self.packet {
            let altered = (head == Head::Altered).then_some(self.head);
            let seen = Seen { mount: &site.path, path: self.path, altered };
            return Ok(packet.vars(&seen, body_bytes, request_id, site.buffer_size)?);
        }
        let (head, path, connection) = (self.head, self.path, self.connection);
        let (script_name, path) = vars::split(&site.path, path);
        let parts = vars::Parts { head, script_name, path, body_bytes, connection, request_id };
        Ok(vars::build(&parts, site.buffer_size)?)
    }

    /// The answer in the coding that the client prefers; of a web server in front that is its own business.
    async fn compressed(&self, response: Response) -> Response {
        match self.packet {
            None => compress::apply(self.head, response).await,
            Some(_) => response,
        }
    }
}

fn own_answer(head: &RequestHead, exchange: &mut Exchange) -> Option<Response> {
    let response = server_method::answer(head)?;
    exchange.answered(response.status, ServedBy::Proxy);
    Some(response)
}

fn error_response(error: &ProxyError, head: &RequestHead, exchange: &mut Exchange) -> Response {
    exchange.failed(error);
    let page = ErrorPage {
        status: error.status(),
        sentence: &error.sentence(),
        request_id: exchange.request_id,
        retry_after_s: error.retry_after_s(),
        close: error.breaks_connection(),
    };
    let mut response = page.into_response(Some(head));
    challenge(&mut response, error);
    response
}

/// A 401 says what would be right (RFC 9110 §15.5.2).
fn challenge(response: &mut Response, error: &ProxyError) {
    if let Some(challenge) = error.challenge() {
        response.headers.push((Bytes::from_static(b"WWW-Authenticate"), challenge.into()));
    }
}

/// The page for what is no request; the connection ends with it.
fn last_page(exchange: &Exchange, status: u16, sentence: &str) -> Response {
    let request_id = exchange.request_id;
    let page = ErrorPage { status, sentence, request_id, retry_after_s: None, close: true };
    let mut response = page.into_response(None);
    name_request(&mut response, exchange);
    response
}

/// The identity that logs and vars have, for whoever reports a problem. An application may have named it already.
fn name_request(response: &mut Response, exchange: &Exchange) {
    const NAME: &[u8] = b"X-Request-Id";
    if field(&response.headers, NAME).is_none() {
        let id = Bytes::copy_from_slice(exchange.request_id.as_bytes());
        response.headers.push((Bytes::from_static(NAME), id));
    }
}

mod by_rules;
mod cached;
mod uwsgi;

use cached::CacheVisit;

#[cfg(test)]
mod tests;
