//! A body that is stored while it is sent to the client who asked first. One that is cut, or left, is not stored.

use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;

use super::stored::Storable;
use super::{Cache, Came, Epoch, Key, Landing, Lead};
use crate::message::{BodyStream, RequestHead, Response, ResponseBody};

/// What is needed to store an answer whose body is on its way.
pub(crate) struct Keeping {
    pub(crate) cache: Arc<Cache>,
    pub(crate) key: Key,
    /// Of the client.
    pub(crate) head: RequestHead,
    pub(crate) storable: Storable,
    pub(crate) came: Came,
    pub(crate) since: Epoch,
    /// Those who wait for it.
    pub(crate) lead: Option<Lead>,
    /// The largest body, in bytes.
    pub(crate) most: usize,
}

impl Keeping {
    /// The stream of an answer's body, which is stored when it has come to its end.
    pub(crate) fn stream(self, answer: &Response, stream: BodyStream) -> BodyStream {
        let mut head = Response::new(answer.status, answer.headers.clone(), ResponseBody::Empty);
        head.reason.clone_from(&answer.reason);
        let state = State { kept: Some((self, BytesMut::new())), head, stream };
        Box::pin(futures_util::stream::unfold(state, |mut state| async move {
            let piece = state.stream.next().await;
            state.keep(piece.as_ref());
            Some((piece?, state))
        }))
    }
}

struct State {
    /// `None`: it is not stored any more.
    kept: Option<(Keeping, BytesMut)>,
    head: Response,
    stream: BodyStream,
}

impl State {
    fn keep<E>(&mut self, piece: Option<&Result<Bytes, E>>) {
        let Some((mut keeping, mut body)) = self.kept.take() else { return };
        match piece {
            Some(Ok(piece)) if body.len() + piece.len() <= keeping.most => {
                body.extend_from_slice(piece);
                self.kept = Some((keeping, body));
            }
            Some(Ok(_)) => {
                keeping.cache.store.pass(keeping.key, &keeping.head, Instant::now());
                land(keeping.lead.take(), Landing::OnlyForOne);
            }
            Some(Err(_)) => {
                land(keeping.lead.take(), Landing::Failed { status: 502, retry_after_s: None });
            }
            None => {
                self.head.body = ResponseBody::Full(body.freeze());
                let stored = Arc::new(keeping.storable.stored(&self.head, keeping.came));
                keeping.cache.put(keeping.key, &keeping.head, stored, keeping.since);
                land(keeping.lead.take(), Landing::Stored);
            }
        }
    }
}

fn land(lead: Option<Lead>, landing: Landing) {
    if let Some(lead) = lead {
        lead.land(landing);
    }
}
