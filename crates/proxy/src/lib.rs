//! The proxy: listeners, HTTP, routes, static files and upstreams.

#![allow(dead_code, reason = "the connection loop and the pipeline are joined in the next commits")]

mod http1;
mod lifecycle;
mod listener;
mod message;
mod service;

#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub use http1::fuzzing::parse_request_head;
