//! Processes, generations, deploys, the databases and the admin API.

mod access_follower;
mod admin;
pub mod api;
mod appliance;
mod clock;
mod control;
mod deploy;
mod engine;
mod environment;
mod isolation;
mod journal;
mod listeners;
mod logs;
mod process;
pub mod ready;
mod sampler;
mod serve;
mod site_sockets;
mod store;
mod workers;

pub use appliance::BootError;
pub use engine::{EngineError, engine_main};
pub use listeners::ListenError;
pub use serve::{ServeError, run_in_place, serve};
pub use store::StoreError;
