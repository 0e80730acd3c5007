//! The bytes of a request's body, from its frames; their window opens again as they are taken.

use std::time::Duration;

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::{Response, StatusCode};
use parking_lot::Mutex;
use tokio::time::timeout;

use super::answer::fields;
use super::conduct::Conduct;
use crate::http1::Piece;
use crate::message::{BodyError, Interim};

/// How long a client may take to see an answer that came before the end of its request.
const SEEN_OUT: Duration = Duration::from_secs(1);

/// The body of one request.
pub(crate) struct Incoming<'c> {
    pub(super) stream: RecvStream,
    /// Where `100 Continue` is said, and what else comes before an answer.
    pub(super) respond: &'c Mutex<SendResponse<Bytes>>,
    pub(super) conduct: &'c Conduct,
    pub(super) continue_is_due: bool,
    /// How long the client may send nothing.
    pub(crate) patience: Duration,
    pub(super) ready: Ready,
}

/// What was received and not taken.
pub(super) enum Ready {
    Nothing,
    Data(Bytes),
    End,
}

impl Incoming<'_> {
    /// The next piece of what was received already.
    pub(crate) fn buffered(&mut self) -> Piece {
        match std::mem::replace(&mut self.ready, Ready::Nothing) {
            Ready::Nothing => Piece::NeedMore,
            Ready::Data(data) => Piece::Data(data),
            Ready::End => {
                self.ready = Ready::End;
                Piece::End
            }
        }
    }

    /// Waits for more within `patience`, after saying `100 Continue` where that is due. Trailers are not looked at. Cancel safe.
    pub(crate) async fn fill(&mut self, patience: Duration) -> Result<(), BodyError> {
        if std::mem::take(&mut self.continue_is_due) {
            self.say(&Interim { status: 100, reason: None, headers: &[] })?;
        }
        let data = std::future::poll_fn(|cx| self.stream.poll_data(cx));
        self.ready = match timeout(patience, data).await {
            Err(_) => return Err(BodyError::TimedOut),
            Ok(Some(Err(error))) => {
                tracing::debug!(%error, "a request's body broke off");
                return Err(BodyError::ClientGone);
            }
            Ok(Some(Ok(data))) => {
                self.conduct.carried(data.len());
                // What was received can always be released.
                self.stream.flow_control().release_capacity(data.len()).ok();
                Ready::Data(data)
            }
            Ok(None) => Ready::End,
        };
        Ok(())
    }

    /// Waits until the client, which has its answer, ends what it still sends or takes it back. Where the stream was reset at once
    /// (RFC 9113 §8.1), a client that is busy sending may see the reset and not the answer: curl does. Its window stays as it is.
    pub(crate) async fn seen_out(&mut self) {
        let rest = async {
            while let Some(Ok(_)) = std::future::poll_fn(|cx| self.stream.poll_data(cx)).await {}
        };
        // Then it is reset.
        let _ = timeout(SEEN_OUT, rest).await;
    }

    /// Passes on what is said before the answer.
    pub(crate) fn say(&self, interim: &Interim<'_>) -> Result<(), BodyError> {
        let mut head = Response::new(());
        *head.status_mut() = StatusCode::from_u16(interim.status).unwrap_or(StatusCode::CONTINUE);
        *head.headers_mut() = fields(interim.headers);
        self.respond.lock().send_informational(head).map_err(|_| BodyError::ClientGone)
    }
}
