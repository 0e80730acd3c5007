//! One request and its answer.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{Method, Request};
use parking_lot::Mutex;

use super::answer::{Wanted, prepare};
use super::body::{Incoming, Ready};
use super::conduct::Conduct;
use super::head::{self, Follows};
use super::send::{Cut, Sender};
use crate::http1::{Handler, Parsed, beside};
use crate::lifecycle::Lifecycle;
use crate::message::{ConnectionInfo, Onward};
use crate::request_body::RequestBody;

/// What the requests of a connection share.
pub(super) struct Visit<'c, H> {
    pub(super) connection: &'c ConnectionInfo,
    pub(super) handler: &'c H,
    pub(super) lifecycle: &'c Lifecycle,
    pub(super) conduct: Arc<Conduct>,
}

impl<H: Handler> Visit<'_, H> {
    /// Has one request answered, and sends the answer.
    pub(super) async fn exchange(
        &self,
        request: Request<RecvStream>,
        respond: SendResponse<Bytes>,
    ) {
        match self.answer(request, respond).await {
            Err(Cut::ByClient) => self.conduct.taken_back(),
            Err(Cut::TooSlow | Cut::Broken) | Ok(()) => self.conduct.answered(),
        }
    }

    async fn answer(
        &self,
        request: Request<RecvStream>,
        respond: SendResponse<Bytes>,
    ) -> Result<(), Cut> {
        let busy = self.lifecycle.begin();
        let received_at = Instant::now();
        let limits = self.handler.limits();
        let respond = Mutex::new(respond);
        let (respond, conduct) = (&respond, &*self.conduct);
        let sender = Sender { respond, conduct, patience: limits.send_timeout };
        let (parts, stream) = request.into_parts();
        conduct.carried(head::size(&parts));
        let wanted = match parts.method {
            Method::HEAD => Wanted::Head,
            _ => Wanted::HeadAndBody,
        };
        let follows = if stream.is_end_stream() { Follows::Nothing } else { Follows::Body };
        let Parsed { head, fields } = match head::read(parts, follows, limits, received_at) {
            Ok(parsed) => parsed,
            Err(refusal) => {
                let (response, exchange) = self.handler.refuse(&refusal, self.connection);
                let (sent, outcome) = sender.send(prepare(response, wanted)).await;
                self.handler.sent(exchange, sent);
                return outcome;
            }
        };
        let mut body = RequestBody::from(Incoming {
            stream,
            respond,
            conduct,
            continue_is_due: fields.expects_continue,
            patience: limits.body_timeout,
            ready: Ready::Nothing,
        });
        let (mut response, exchange) = tokio::select! {
            biased;
            answer = self.handler.handle(&head, &mut body, self.connection) => answer,
            _ = std::future::poll_fn(|cx| respond.lock().poll_reset(cx)) => return Err(Cut::ByClient),
        };
        let onward = response.onward.take();
        let answer = prepare(response, wanted);
        // From here on it is a transfer.
        drop(busy);
        let (sent, outcome) = match onward {
            None => sender.send(answer).await,
            Some(Onward::Body(upload)) => {
                Box::pin(beside(sender.send(answer), upload.go_on(&mut body))).await
            }
            // Nobody can ask for one: `Upgrade` is no field of HTTP/2.
            Some(Onward::Tunnel(_)) => {
                respond.lock().send_reset(Reason::INTERNAL_ERROR);
                return Err(Cut::Broken);
            }
        };
        self.handler.sent(exchange, sent);
        if outcome.is_ok() {
            body.seen_out().await;
        }
        outcome
    }
}
