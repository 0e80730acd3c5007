//! Processes, generations, deploys, the databases and the admin API.

mod access_follower;
mod activation;
mod admin;
pub mod api;
mod appliance;
mod clock;
mod control;
mod deadlines;
mod deploy;
mod engine;
mod environment;
mod first_process;
mod history;
mod holders;
mod isolation;
mod journal;
mod listeners;
mod logs;
mod process;
pub mod ready;
mod sampler;
mod serve;
mod service_manager;
mod signals;
mod site_sockets;
mod store;
mod takeover;
mod workers;

pub use activation::ActivationError;
pub use admin::hash_password;
pub use appliance::BootError;
pub use engine::{EngineError, engine_main};
pub use first_process::leave_orphans_to_another;
pub use listeners::ListenError;
pub use serve::{Configuration, ServeError, run_in_place, serve};
pub use store::StoreError;
