//! Bytes in a coding, piece by piece or at once.

use std::io;

use async_compression::tokio::write::{BrotliEncoder, GzipEncoder, ZstdEncoder};
use async_compression::{Level, brotli, zstd};
use bytes::Bytes;
use futures_util::FutureExt;
use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::Coding;

/// The window of a stream, as a power of two: 256 KiB, so that many streams at once stay cheap.
const STREAM_WINDOW: u32 = 18;

/// How much work an answer is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effort {
    /// It is compressed for one client.
    Once,
    /// It is remembered for many.
    Remembered,
}

/// Compresses a stream of bytes.
pub(super) enum Encoder {
    Zstd(Box<ZstdEncoder<Vec<u8>>>),
    Brotli(Box<BrotliEncoder<Vec<u8>>>),
    Gzip(Box<GzipEncoder<Vec<u8>>>),
}

impl Encoder {
    /// `None` for [`Coding::Identity`].
    pub(super) fn new(coding: Coding, effort: Effort) -> Option<Self> {
        let level = |once, remembered| match effort {
            Effort::Once => Level::Precise(once),
            Effort::Remembered => Level::Precise(remembered),
        };
        Some(match coding {
            Coding::Zstd => {
                let window = [zstd::CParameter::window_log(STREAM_WINDOW)];
                let params: &[_] = if effort == Effort::Once { &window } else { &[] };
                Self::Zstd(Box::new(ZstdEncoder::with_quality_and_params(
                    Vec::new(),
                    level(3, 12),
                    params,
                )))
            }
            Coding::Brotli => {
                let window = if effort == Effort::Once { STREAM_WINDOW } else { 22 };
                let params = brotli::EncoderParams::default()
                    .quality(level(4, 9))
                    .window_size(i32::try_from(window).unwrap_or(18));
                Self::Brotli(Box::new(BrotliEncoder::with_params(Vec::new(), params)))
            }
            Coding::Gzip => {
                Self::Gzip(Box::new(GzipEncoder::with_quality(Vec::new(), level(5, 9))))
            }
            Coding::Identity => return None,
        })
    }

    /// What a client can decode `piece` from, as soon as it is sent.
    pub(super) fn push(&mut self, piece: &[u8]) -> io::Result<Bytes> {
        at_once(self.writer().write_all(piece))?;
        at_once(self.writer().flush())?;
        Ok(self.take())
    }

    /// The end of the coding.
    pub(super) fn finish(&mut self) -> io::Result<Bytes> {
        at_once(self.writer().shutdown())?;
        Ok(self.take())
    }

    fn writer(&mut self) -> &mut (dyn AsyncWrite + Unpin + Send) {
        match self {
            Self::Zstd(encoder) => encoder,
            Self::Brotli(encoder) => encoder,
            Self::Gzip(encoder) => encoder,
        }
    }

    fn take(&mut self) -> Bytes {
        let written = match self {
            Self::Zstd(encoder) => encoder.get_mut(),
            Self::Brotli(encoder) => encoder.get_mut(),
            Self::Gzip(encoder) => encoder.get_mut(),
        };
        std::mem::take(written).into()
    }
}

/// `bytes` in a coding; `None` where that is not smaller.
pub(crate) fn encode_whole(coding: Coding, effort: Effort, bytes: &[u8]) -> Option<Bytes> {
    let mut encoder = Encoder::new(coding, effort)?;
    at_once(encoder.writer().write_all(bytes)).ok()?;
    encoder.finish().ok().filter(|encoded| encoded.len() < bytes.len())
}

/// A `Vec` takes everything it is given, so no write to one ever waits.
fn at_once(write: impl Future<Output = io::Result<()>>) -> io::Result<()> {
    write.now_or_never().unwrap_or_else(|| Err(io::ErrorKind::WouldBlock.into()))
}
