//! The pipeline: from a request to its answer.

use std::sync::Arc;

use onebox_config::Limits;

use crate::http1::{Refusal, RequestBody, Sent};
use crate::message::{ConnectionInfo, RequestHead, Response, ResponseBody};

/// Answers requests.
#[derive(Clone)]
pub(crate) struct Service {
    limits: Arc<Limits>,
}

/// What is kept of a request until its answer was sent.
pub(crate) struct Exchange;

impl Service {
    pub(crate) async fn handle(
        &self,
        _head: &RequestHead,
        _body: &mut RequestBody<'_>,
        _connection: &ConnectionInfo,
    ) -> (Response, Exchange) {
        (Self::empty(421), Exchange)
    }

    pub(crate) fn refuse(
        &self,
        refusal: &Refusal,
        _connection: &ConnectionInfo,
    ) -> (Response, Exchange) {
        (Self::empty(refusal.status), Exchange)
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    fn empty(status: u16) -> Response {
        Response {
            status,
            reason: None,
            headers: Vec::new(),
            declared_length: None,
            body: ResponseBody::Empty,
            close: false,
        }
    }
}

impl Exchange {
    pub(crate) fn sent(self, _outcome: Sent) {}
}
