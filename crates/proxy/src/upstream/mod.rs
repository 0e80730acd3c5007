//! Requests to what is behind the proxy: the site's own application, and servers beside it.
//!
//! The application is asked over uwsgi (`uwsgi`, `answer_body`), in memory or at worker processes (`workers`). A `group` is the
//! servers of one `[[upstream]]`: `balance` chooses a `server`, `attempt` asks it once (`dial`, `passed`, `upload`, `wire`,
//! `answer_head`), and `relayed` or `tunnel` passes on what it says. HTTP, uwsgi and FastCGI differ in how a request is written
//! and in what stands around the answer's bytes (`fastcgi`), and in nothing else.
//!
//! The HTTP/1.1 client is our own, as the server is: hyper's takes an answer with a bare line feed, with `Transfer-Encoding`
//! beside `Content-Length`, and with two equal `Content-Length`s, wants a task for each connection, and its bodies can't
//! borrow from the client's connection. The strict head reader is needed for uwsgi all the same.

mod answer_body;
mod answer_head;
mod attempt;
mod balance;
mod dial;
mod failure;
mod fastcgi;
mod group;
mod health;
mod passed;
mod relayed;
mod script;
mod server;
mod trust;
mod tunnel;
mod upload;
mod uwsgi;
mod wire;
mod workers;

pub(crate) use failure::UpstreamError;
pub use group::UpstreamGroup;
pub(crate) use passed::{Dashboard, Passed, Upgrades};
pub use server::{ServerHealth, ServerState};
pub(crate) use tunnel::Tunnel;
pub(crate) use upload::Upload;
pub(crate) use uwsgi::{AppRequest, answer, check_open};
pub use workers::{WorkerAddress, WorkerGroup};
