//! From an archive to a release that is ready to start.

pub(crate) mod archive;
pub(crate) mod command;
pub(crate) mod error;
pub(crate) mod events;
pub(crate) mod health;
pub(crate) mod plan;
pub(crate) mod release;
