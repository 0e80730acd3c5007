//! What an engine is told: one line of JSON for each order, in their order.

use std::io;

use tokio::io::AsyncWriteExt;
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::mpsc;

use super::super::protocol::ToEngine;

/// Orders that may wait for an engine; it takes them at once unless it is stuck.
const WAITING: usize = 256;

/// Why an order does not reach the engine.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unsaid {
    /// As one with a path that is no UTF-8.
    #[error("an order can't be written for the engine: {0}")]
    Unwritable(#[from] serde_json::Error),
    /// It takes nothing from its socket: it will not recover, and its successor starts with everything.
    #[error("the engine does not take orders")]
    Stuck,
}

impl From<Unsaid> for io::Error {
    fn from(unsaid: Unsaid) -> Self {
        Self::other(unsaid)
    }
}

/// The orders to one engine.
#[derive(Debug)]
pub(super) struct Orders(mpsc::Sender<Vec<u8>>);

impl Orders {
    /// Says them over its control socket, on a task that ends with either side.
    pub(super) fn over(writer: OwnedWriteHalf) -> Self {
        let (sender, waiting) = mpsc::channel(WAITING);
        tokio::spawn(say(writer, waiting));
        Self(sender)
    }

    /// Says one. That the engine is gone is no failure: its process tells that.
    ///
    /// # Errors
    /// [`Unsaid`].
    pub(super) fn give(&self, order: &ToEngine) -> Result<(), Unsaid> {
        let mut line = serde_json::to_vec(order)?;
        line.push(b'\n');
        match self.0.try_send(line) {
            Err(mpsc::error::TrySendError::Full(_)) => Err(Unsaid::Stuck),
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => Ok(()),
        }
    }
}

async fn say(mut writer: OwnedWriteHalf, mut lines: mpsc::Receiver<Vec<u8>>) {
    // The supervisor of before may have been broken off in the middle of a line.
    if writer.write_all(b"\n").await.is_err() {
        return;
    }
    while let Some(line) = lines.recv().await {
        if writer.write_all(&line).await.is_err() {
            break;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::path::PathBuf;

    use onebox_config::Limits;
    use tokio::io::{AsyncBufReadExt, BufReader};

    use super::super::super::protocol::{EngineStart, LimitsData};
    use super::*;

    #[tokio::test]
    async fn an_order_that_cannot_be_written_is_an_error_and_those_after_it_are_said() {
        let (ours, theirs) = tokio::net::UnixStream::pair().unwrap();
        let orders = Orders::over(ours.into_split().1);
        let start = ToEngine::Start(EngineStart {
            http_listeners: 0,
            https_listeners: 0,
            limits: LimitsData::from(&Limits::default()),
            clients: onebox_config::Clients::default(),
            admin_hosts: Vec::new(),
            access_logs: None,
            temp_dir: PathBuf::from(OsStr::from_bytes(b"/tmp/\xff")),
            cache_dir: PathBuf::new(),
            is_shielded: false,
        });
        let error = orders.give(&start).unwrap_err();
        assert!(error.to_string().contains("UTF-8"), "{error}");
        orders.give(&ToEngine::Accept).unwrap();
        let mut said = BufReader::new(theirs).lines();
        assert_eq!(said.next_line().await.unwrap().unwrap(), "");
        assert_eq!(said.next_line().await.unwrap().unwrap(), "\"Accept\"");
    }

    #[tokio::test]
    async fn an_engine_that_takes_nothing_is_stuck() {
        let (ours, _theirs) = tokio::net::UnixStream::pair().unwrap();
        let orders = Orders::over(ours.into_split().1);
        let said = std::iter::repeat_with(|| orders.give(&ToEngine::Accept));
        assert_eq!(said.take_while(Result::is_ok).take(WAITING + 1).count(), WAITING);
    }
}
