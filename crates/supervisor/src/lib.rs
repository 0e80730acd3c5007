//! Processes, generations, deploys, the databases and the admin API.

pub mod api;
pub mod ready;
