//! Content coding of answers: which one a client takes, and the bytes in it.
//!
//! Source: RFC 9110 §8.4 (codings), §12.5.3 (negotiation). An application's answer is compressed as it comes, with a flush
//! behind each piece; a static file is compressed once and remembered (`static_files::memory`).

mod answer;
mod encoder;
mod negotiate;

pub(crate) use answer::{MIN_BYTES, add_vary, apply, describe, is_compressible, is_eligible};
pub(crate) use encoder::{Effort, encode_whole};
pub(crate) use negotiate::{Coding, choose, choose_among};

#[cfg(test)]
mod tests;
