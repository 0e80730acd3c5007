//! A body that is stored while it is sent to the client who asked first. One that is cut, or left, is not stored.

use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;

use super::stored::Storable;
use super::{Came, Fetching, Landing, Lead};
use crate::message::{BodyStream, RequestHead, Response, ResponseBody};

/// What is needed to store an answer whose body is on its way.
pub(crate) struct Keeping {
    pub(crate) fetching: Fetching,
    /// Of the client.
    pub(crate) head: RequestHead,
    pub(crate) storable: Storable,
    pub(crate) came: Came,
    /// Those who wait for it.
    pub(crate) lead: Option<Lead>,
    /// The largest body, in bytes.
    pub(crate) most: usize,
}

impl Keeping {
    /// The stream of an answer's body of `size` bytes, which is stored when it is whole: where its size is known before its last
    /// piece goes on, so that a client that has it finds it stored.
    pub(crate) fn stream(
        self,
        answer: &Response,
        stream: BodyStream,
        size: Option<u64>,
    ) -> BodyStream {
        let mut head = Response::new(answer.status, answer.headers.clone(), ResponseBody::Empty);
        head.reason.clone_from(&answer.reason);
        let state = State { kept: Some((self, BytesMut::new())), head, stream, size };
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
    size: Option<u64>,
}

impl State {
    fn keep<E>(&mut self, piece: Option<&Result<Bytes, E>>) {
        let Some((mut keeping, mut body)) = self.kept.take() else { return };
        match piece {
            Some(Ok(piece)) if body.len() + piece.len() <= keeping.most => {
                body.extend_from_slice(piece);
                match self.size == Some(body.len() as u64) {
                    true => self.store(keeping, body),
                    false => self.kept = Some((keeping, body)),
                }
            }
            Some(Ok(_)) => {
                let (store, key) = (&keeping.fetching.cache().store, keeping.fetching.key());
                store.forget(key, &keeping.head);
                store.pass(key, Instant::now());
                land(keeping.lead.take(), Landing::OnlyForOne);
            }
            Some(Err(_)) => {
                land(keeping.lead.take(), Landing::Failed { status: 502, retry_after_s: None });
            }
            None => self.store(keeping, body),
        }
    }

    fn store(&mut self, mut keeping: Keeping, body: BytesMut) {
        self.head.body = ResponseBody::Full(body.freeze());
        let stored = Arc::new(keeping.storable.stored(&self.head, keeping.came));
        keeping.fetching.put(&keeping.head, stored);
        land(keeping.lead.take(), Landing::Stored);
    }
}

fn land(lead: Option<Lead>, landing: Landing) {
    if let Some(lead) = lead {
        lead.land(landing);
    }
}
