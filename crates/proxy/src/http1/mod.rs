//! HTTP/1.1 towards clients: our own connection loop, and the rules for requests and answers that HTTP/2 shares.
//!
//! Owns the parser (`scan`, `parse`, `target`, `framing`, `singleton`), the bodies (`chunked`, `body`), the answers (`answer`, `send`) and
//! the loop of a connection (`conn`). Must not know routes, files or applications: it calls a [`Handler`].
//!
//! Source: RFC 9112 (messages), RFC 9110 (semantics), RFC 3986 (targets). Strict where they leave a choice: what two parsers
//! could read in two ways is refused, and the connection closed.

mod answer;
mod body;
mod chunked;
mod conn;
mod date;
mod file_pipe;
mod framing;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod handler;
mod linger;
mod parse;
mod refusal;
mod scan;
mod send;
mod singleton;
mod socket;
mod target;

#[cfg(test)]
mod conn_test;
#[cfg(test)]
mod corpus_test;
#[cfg(test)]
pub(crate) mod responder_test;

pub(crate) use answer::{Asked, content_length, forbids_body, is_safe_field, prepare};
pub(crate) use body::{BodyPatience, Incoming, Rest};
pub(crate) use chunked::{ChunkDecoder, Piece};
pub(crate) use conn::serve;
pub(crate) use date::push_date;
pub(crate) use framing::{Fields, Framing, is_token, read_fields};
pub(crate) use handler::Handler;
pub(crate) use linger::close as close_carefully;
pub(crate) use parse::{MAX_FIELDS, Parsed};
pub(crate) use refusal::Refusal;
pub(crate) use scan::{HeadLimits, HeadScan};
pub(crate) use send::{Gathered, Sender, Sent, beside, gather};
pub(crate) use singleton::check_singletons;
pub(crate) use socket::{Reader, Socket, Writer};
pub(crate) use target::{parse_host, parse_target};
