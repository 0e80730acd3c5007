//! A file from the disk, whole where it is small. Blocking: called on a blocking thread.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::facts::{Facts, Identity};
use super::memory::is_memorable;
use super::open::{Found, find};

/// What is at a name.
pub(super) enum Loaded {
    /// A small file.
    Whole(Facts, Bytes),
    /// A large one, or one that is being written.
    Open(Facts, File),
    /// The state that is known already.
    Unchanged,
    Folder(File),
    Nothing,
}

/// Looks a name up; reads the file unless it is in the `known` state.
///
/// # Errors
/// Where the file system fails.
pub(super) fn load(
    folders: &[PathBuf],
    relative: &[u8],
    known: Option<Identity>,
) -> io::Result<Loaded> {
    let (mut file, metadata) = match find(folders, relative)? {
        Found::File(file, metadata) => (file, metadata),
        Found::Folder(folder) => return Ok(Loaded::Folder(folder)),
        Found::Nothing => return Ok(Loaded::Nothing),
    };
    if known == Some(Identity::of(&metadata)) {
        return Ok(Loaded::Unchanged);
    }
    let facts = Facts::new(Path::new(OsStr::from_bytes(relative)), &metadata);
    if !is_memorable(&facts) {
        return Ok(Loaded::Open(facts, file));
    }
    let mut content = Vec::with_capacity(usize::try_from(facts.size).unwrap_or(0));
    (&mut file).take(facts.size).read_to_end(&mut content)?;
    // Bytes of two states must not be remembered as one.
    let is_steady = Identity::of(&file.metadata()?) == facts.identity;
    if is_steady && content.len() as u64 == facts.size {
        Ok(Loaded::Whole(facts, content.into()))
    } else {
        Ok(Loaded::Open(facts, file))
    }
}
