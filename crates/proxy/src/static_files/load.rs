//! A file from the disk, whole where it is small. Blocking: called on a blocking thread.

use std::ffi::OsStr;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::answer::has_codings;
use super::facts::{Facts, Identity};
use super::memory::fits_into_memory;
use super::open::{Found, find};
use crate::compress::Coding;

/// What is at a name.
pub(super) enum Loaded {
    /// A small file.
    Whole(Facts, Bytes),
    /// A large one.
    Large(Facts, File),
    /// One that is being written.
    Unsteady(Facts, File),
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
    known: Option<&Facts>,
) -> io::Result<Loaded> {
    let (mut file, metadata) = match find(folders, relative)? {
        Found::File(file, metadata) => (file, metadata),
        Found::Folder(folder) => return Ok(Loaded::Folder(folder)),
        Found::Nothing => return Ok(Loaded::Nothing),
    };
    let mut facts = Facts::new(Path::new(OsStr::from_bytes(relative)), &metadata);
    if has_codings(&facts) {
        facts.precompressed = precompressed(folders, relative, &metadata)?;
    }
    let is_known = |known: &Facts| {
        known.identity == facts.identity && known.precompressed == facts.precompressed
    };
    if known.is_some_and(is_known) {
        return Ok(Loaded::Unchanged);
    }
    if !fits_into_memory(&facts) {
        return Ok(Loaded::Large(facts, file));
    }
    let mut content = Vec::with_capacity(usize::try_from(facts.size).unwrap_or(0));
    (&mut file).take(facts.size).read_to_end(&mut content)?;
    // Bytes of two states must not be remembered as one.
    let is_steady = Identity::of(&file.metadata()?) == facts.identity;
    if is_steady && content.len() as u64 == facts.size {
        Ok(Loaded::Whole(facts, content.into()))
    } else {
        Ok(Loaded::Unsteady(facts, file))
    }
}

/// The codings in which a file lies beside itself; one that is older than the file is of an earlier state of it.
fn precompressed(
    folders: &[PathBuf],
    relative: &[u8],
    original: &Metadata,
) -> io::Result<Vec<Coding>> {
    let mut codings = Vec::new();
    for coding in Coding::ALL {
        let name = [relative, coding.extension().as_bytes()].concat();
        let Found::File(_, metadata) = find(folders, &name)? else { continue };
        if metadata.modified()? >= original.modified()? {
            codings.push(coding);
        }
    }
    Ok(codings)
}
