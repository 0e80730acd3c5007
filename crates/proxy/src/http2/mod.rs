//! HTTP/2 towards clients.
//!
//! Owns the loop of a connection (`conn`), one request and its answer (`stream`), the reading of a head (`head`) and of a body
//! (`body`), the sending of answers (`answer`, `send`), and what is too much of a client (`conduct`). Must not know routes, files or
//! applications: it calls the same [`Handler`](crate::http1::Handler) as `http1`, whose rules for heads and answers apply.
//!
//! Frames, header compression and flow control are h2's, the library that hyper's HTTP/2 is made of, without hyper's server
//! around it: that one waits without limit for a client that opens no window, has no interim answers and no GOAWAY with a reason,
//! and wants a task for each request. Here the requests of a connection live in its one task, and end with it.
//!
//! Source: RFC 9113 (HTTP/2), RFC 9110 (semantics). Upgrades (RFC 8441) and server push are not offered, priorities are ignored.

mod answer;
mod body;
mod conduct;
mod conn;
mod head;
mod io;
mod send;
mod stream;

#[cfg(test)]
mod conn_test;

pub(crate) use body::Incoming;
pub(crate) use conn::{Client, serve};

/// What a client says first, as far as it looks like a head of HTTP/1 (RFC 9113 §3.4).
pub(crate) const PREFACE_HEAD: &[u8] = b"PRI * HTTP/2.0\r\n\r\n";
