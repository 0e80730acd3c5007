//! The pipeline for a request that came as a uwsgi packet: its site is known, and compression is the web server's in front.

use super::{Asked, Head, Service, error_response, last_page, name_request, own_answer};
use crate::error::ProxyError;
use crate::exchange::Exchange;
use crate::message::{ConnectionInfo, Entrance, Response};
use crate::request_body::RequestBody;
use crate::uwsgi_server::PacketRequest;

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
        if request.connection.entrance == Entrance::Overflow {
            return Err(ProxyError::NoRoom);
        }
        let site = self.routes.load().site_named(site).cloned().ok_or(ProxyError::Stopped)?;
        exchange.belongs_to(&site);
        self.let_in(&site.site, &request.connection)?;
        if let Some(own) = own_answer(&request.head, exchange) {
            return Ok(own);
        }
        let asked = Asked {
            head: &request.head,
            path: &request.path,
            connection: &request.connection,
            packet: Some((request, Head::AsItCame)),
        };
        if site.is_plain() {
            return self.serve(&site, asked, body, exchange).await;
        }
        Box::pin(self.serve_by_rules(&site, asked, body, exchange)).await
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
