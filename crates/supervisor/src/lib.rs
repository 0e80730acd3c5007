//! Skeleton.

pub mod api;
pub(crate) mod deploy;
