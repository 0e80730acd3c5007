//! What answers requests: the seam between connections and the pipeline.

use onebox_config::{Clients, Limits};
use onebox_metrics::Dropped;

use super::refusal::Refusal;
use super::send::Sent;
use crate::exchange::Exchange;
use crate::message::{ConnectionInfo, RequestHead, Response};
use crate::request_body::RequestBody;
use crate::service::Service;

/// Answers requests. There are two: the pipeline, and the fixture of this module's tests.
pub(crate) trait Handler: Send + Sync + 'static {
    /// What is kept until the answer was sent.
    type Exchange: Send;

    /// What clients may do.
    fn limits(&self) -> &Limits;

    /// Which proxies in front of them are believed.
    fn clients(&self) -> &Clients;

    /// Answers a request; may leave its body unread.
    fn handle(
        &self,
        head: &RequestHead,
        body: &mut RequestBody<'_>,
        connection: &ConnectionInfo,
    ) -> impl Future<Output = (Response, Self::Exchange)> + Send;

    /// Answers a message that is no request.
    fn refuse(&self, refusal: &Refusal, connection: &ConnectionInfo) -> (Response, Self::Exchange);

    /// An answer was sent, or was cut.
    fn sent(&self, exchange: Self::Exchange, outcome: Sent);

    /// A client was sent away without an answer.
    fn sent_away(&self, why: Dropped, connection: &ConnectionInfo);

    /// Memory is short: half of what is only kept to be quicker goes.
    fn let_go(&self);
}

impl Handler for Service {
    type Exchange = Exchange;

    fn limits(&self) -> &Limits {
        self.limits()
    }

    fn clients(&self) -> &Clients {
        self.clients()
    }

    async fn handle(
        &self,
        head: &RequestHead,
        body: &mut RequestBody<'_>,
        connection: &ConnectionInfo,
    ) -> (Response, Exchange) {
        self.handle(head, body, connection).await
    }

    fn refuse(&self, refusal: &Refusal, connection: &ConnectionInfo) -> (Response, Exchange) {
        self.refuse(refusal, connection)
    }

    fn sent(&self, exchange: Exchange, outcome: Sent) {
        exchange.sent(outcome);
    }

    fn sent_away(&self, why: Dropped, connection: &ConnectionInfo) {
        self.drops.count(why, connection.peer.map(|peer| peer.ip()));
    }

    fn let_go(&self) {
        self.let_go();
    }
}
