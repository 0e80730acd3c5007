//! Requests to the applications behind the proxy: over memory, or to worker processes over Unix sockets.

mod answer_body;
mod uwsgi;
mod workers;

pub(crate) use uwsgi::{AppRequest, answer, check_open};
pub use workers::{WorkerAddress, WorkerGroup};
