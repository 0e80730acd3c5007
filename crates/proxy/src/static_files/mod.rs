//! Files that are served without Python: from declared folders, and never one that is hidden.
//!
//! `mount` says which part of a path names a file, `open` opens it and nothing else, `facts` describes it, `memory` remembers
//! small ones. Must not know applications: a name that is no file goes on to the next step of the pipeline.

mod answer;
mod facts;
mod hashed_name;
mod instead;
mod listing;
mod load;
mod memory;
mod mount;
mod multipart;
mod open;
mod serve;

pub(crate) use mount::Mount;
pub(crate) use serve::{Page, StaticFiles, Tried};

#[cfg(test)]
mod tests;
