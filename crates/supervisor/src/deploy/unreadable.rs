//! Static files that the engine can't read, because it is another user than the site.
//!
//! Owns the finding and the words. Must not stop a deploy: such a file is a 404, and all others are served.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use onebox_config::Account;
use rustix::fs::{Access, AtFlags, CWD, accessat};

use super::statics::Mount;
use crate::users::as_user;

/// Entries that are looked at; a site with more is told of what was found until then.
const MOST_ENTRIES: usize = 20_000;

/// About files in static folders that `engine` can't read. Blocks on the disk.
///
/// # Errors
/// Where nobody can look with that user's eyes.
pub(super) fn warning(engine: &Account, statics: &[Mount]) -> io::Result<Option<String>> {
    let folders = statics.iter().flat_map(|(_, folders)| folders.clone()).collect();
    let search = as_user(engine, move || {
        let mut search = Search { folders, looked_at: 0, closed: Vec::new() };
        search.run();
        Ok(search)
    })?;
    let Some((first, others)) = search.closed.split_first() else { return Ok(None) };
    let more = match others.len() {
        0 => String::new(),
        count => format!(" and {count} more"),
    };
    Ok(Some(format!(
        "{}{more} can't be read by {}, who serves static files: nobody will find it; open it with `chmod o+r`, folders with \
         `chmod o+rx`",
        first.display(),
        engine.shown()
    )))
}

struct Search {
    /// Still to be looked into.
    folders: Vec<PathBuf>,
    looked_at: usize,
    closed: Vec<PathBuf>,
}

impl Search {
    fn run(&mut self) {
        while let Some(folder) = self.folders.pop() {
            match fs::read_dir(&folder) {
                Ok(entries) => entries.flatten().for_each(|entry| self.look_at(&entry)),
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    self.closed.push(folder);
                }
                Err(_) => {}
            }
        }
    }

    fn look_at(&mut self, entry: &fs::DirEntry) {
        self.looked_at += 1;
        // What is hidden is never served; a link leads to what persists, which is a folder of its own here, or nowhere.
        let is_hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        let Some(kind) = entry.file_type().ok().filter(|_| !is_hidden) else { return };
        if self.looked_at > MOST_ENTRIES {
            return;
        }
        if kind.is_dir() {
            self.folders.push(entry.path());
        } else if kind.is_file() && is_closed(&entry.path()) {
            self.closed.push(entry.path());
        }
    }
}

fn is_closed(file: &Path) -> bool {
    accessat(CWD, file, Access::READ_OK, AtFlags::EACCESS) == Err(rustix::io::Errno::ACCESS)
}
