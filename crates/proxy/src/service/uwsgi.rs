//! The pipeline for a request that came as a uwsgi packet: its site is known, and compression is the web server's in front.

use super::{Service, error_response, last_page, name_request, own_answer, passed};
use crate::error::ProxyError;
use crate::exchange::Exchange;
use crate::http1::RequestBody;
use crate::message::{ConnectionInfo, Response};
use crate::upstream::{self, AppRequest, Passed, Upgrades};
use crate::uwsgi_server::PacketRequest;
use onebox_uwsgi::Request;

impl Service {
    /// The answer to a request for `site`.
    pub(crate) async fn handle_packet(
        &self,
        site: &str,
        request: &PacketRequest,
        body: &mut RequestBody<'_>,
    ) -> (Response, Exchange) {
        let mut exchange = Exchange::begin(&request.head, &request.connection, &self.access_log);
        let mut response = match self.answer_packet(site, request, body, &mut exchange).await {
            Ok(response) => response,
            Err(error) => error_response(&error, &request.head, &mut exchange),
        };
        name_request(&mut response, &exchange);
        (response, exchange)
    }

    /// The steps of [`Service::answer`], as far as they are not done by the web server in front.
    async fn answer_packet(
        &self,
        site: &str,
        request: &PacketRequest,
        body: &mut RequestBody<'_>,
        exchange: &mut Exchange,
    ) -> Result<Response, ProxyError> {
        let (head, path) = (&request.head, &request.path);
        let routed = self.routes.load().site_named(site).cloned().ok_or(ProxyError::Stopped)?;
        exchange.belongs_to(&routed);
        if let Some(own) = own_answer(head, exchange) {
            return Ok(own);
        }
        if let Some(file) = self.static_files.answer(&routed, head, path, exchange).await? {
            return Ok(file);
        }
        if let Some(group) = routed.upstream(path) {
            let passed = passed(&routed.site, head, path, &request.connection, exchange);
            let passed = Passed { upgrades: Upgrades::Refused, ..passed };
            return group.answer(&passed, body, &self.spool_limits(&routed.site), exchange).await;
        }
        upstream::check_open(&routed.site)?;
        let body = self.read_body(&routed.site, head, body, exchange).await?;
        let vars = request.vars(body.size(), exchange.request_id, routed.site.buffer_size)?;
        let request = Request { vars, body, deadline: None };
        let asked = AppRequest { request, method: &head.method, lifecycle: &self.lifecycle };
        upstream::answer(&routed.site, asked, exchange).await
    }

    /// The answer to a packet that describes no request.
    pub(crate) fn refuse_packet(
        &self,
        error: &ProxyError,
        connection: &ConnectionInfo,
    ) -> (Response, Exchange) {
        let mut exchange = Exchange::refused(connection);
        exchange.failed(error);
        (last_page(&exchange, error.status(), &error.sentence()), exchange)
    }
}
