//! The proxy: listeners, HTTP, routes, static files and upstreams.

#![allow(dead_code, reason = "the connection loop and the pipeline are joined in the next commits")]

mod message;
