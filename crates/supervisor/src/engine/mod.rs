//! The engine: the process that serves the sites, in generations.
//!
//! [`generation`] is the supervisor's side, [`host`] the engine's own; [`protocol`] is what they say to each other.

mod generation;
mod host;
mod logging;
pub(crate) mod protocol;
mod routes;
mod sockets;
pub(crate) mod tls;

pub(crate) use generation::{
    EmbeddedSite, EngineContext, Generation, GenerationData, GenerationSpec, LoadFailure, Loaded,
    Terminal,
};
pub use host::{EngineError, engine_main};
pub(crate) use sockets::shown as shown_address;
