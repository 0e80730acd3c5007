//! What a server sends, without the records that FastCGI puts around it.

use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, ReadHalf};
use tokio::time::timeout;

use super::dial::Connection;
use super::failure::UpstreamError;
use super::fastcgi::Records;

/// The least room for a read, in bytes.
const READ_BYTES: usize = 16 << 10;

/// The reading half of a connection.
pub(super) struct Wire {
    pub(super) reader: ReadHalf<Connection>,
    /// What came and was not yet used.
    pub(super) content: BytesMut,
    records: Option<Records>,
    ended: bool,
    /// Whether nothing came at all.
    pub(super) is_untouched: bool,
}

impl Wire {
    /// Bytes as they are.
    pub(super) fn plain(reader: ReadHalf<Connection>) -> Self {
        Self { reader, content: BytesMut::new(), records: None, ended: false, is_untouched: true }
    }

    /// Bytes in records.
    pub(super) fn in_records(reader: ReadHalf<Connection>, records: Records) -> Self {
        Self { records: Some(records), ..Self::plain(reader) }
    }

    /// Waits for more; `false` where there is no more. Cancel safe.
    pub(super) async fn more(&mut self) -> Result<bool, UpstreamError> {
        let before = self.content.len();
        while !self.ended {
            let buf = match &mut self.records {
                Some(records) => &mut records.raw,
                None => &mut self.content,
            };
            buf.reserve(READ_BYTES);
            let size = self.reader.read_buf(buf).await.map_err(UpstreamError::Read)?;
            self.is_untouched &= size == 0;
            match &mut self.records {
                Some(records) => self.ended = records.unwrap_into(&mut self.content)?,
                None => self.ended = size == 0,
            }
            if size == 0 && !self.ended {
                return Err(UpstreamError::Ended("in the middle of the answer"));
            }
            if self.content.len() > before {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The same within a limit.
    pub(super) async fn more_within(&mut self, patience: Duration) -> Result<bool, UpstreamError> {
        match timeout(patience, self.more()).await {
            Ok(outcome) => outcome,
            Err(_) => Err(UpstreamError::ReadTimedOut(patience)),
        }
    }

    /// What a FastCGI server complained about, once.
    pub(super) fn take_complaints(&mut self) -> Option<String> {
        self.records.as_mut().and_then(Records::take_complaints)
    }
}
