//! A site's folder on the disk: one folder for each release, the lock of whoever uses them, and what is removed of them.
//!
//! Only what the cache has made is ever removed, and no symbolic link is followed.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::OFlags;

/// Held by who uses the folder.
const LOCK: &str = "lock";
/// What a file is called until it is whole.
pub(super) const UNFINISHED: &str = "unfinished";

/// What a site has on the disk though it does not want that any more: removed as soon as nobody uses it, unless that is given up
/// before.
pub struct Clearing {
    is_given_up: Arc<AtomicBool>,
}

impl Clearing {
    /// Begins to remove a site's folder, where there is one.
    pub fn begin(site: PathBuf) -> Self {
        let is_given_up = Arc::new(AtomicBool::new(false));
        if is_folder(&site) {
            let flag = Arc::clone(&is_given_up);
            let run = move || {
                if let Err(error) = clear(&site, &flag) {
                    not_removed(&site, &error);
                }
            };
            let started = std::thread::Builder::new().name("cache".to_owned()).spawn(run);
            if let Err(error) = started {
                tracing::warn!(%error, "stored answers can't be removed from the disk");
            }
        }
        Self { is_given_up }
    }

    /// Leaves what is there to whoever comes next.
    pub fn give_up(&self) {
        self.is_given_up.store(true, Ordering::Release);
    }
}

impl Drop for Clearing {
    fn drop(&mut self) {
        self.give_up();
    }
}

/// Waits until nobody uses a site's folder; as long as the lock is held nobody does.
pub(super) fn lock(site: &Path) -> io::Result<File> {
    loop {
        make(site)?;
        if let Some(lock) = lock_once(site)? {
            return Ok(lock);
        }
    }
}

/// The same; `None`: it was cleared in between.
fn lock_once(site: &Path) -> io::Result<Option<File>> {
    let path = site.join(LOCK);
    let mut options = OpenOptions::new();
    options.create(true).append(true).mode(0o600);
    options.custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
    let lock = match options.open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    lock.lock()?;
    // Who clears the folder takes the lock away with it.
    let held = lock.metadata()?;
    let is_there = fs::symlink_metadata(&path).is_ok_and(|now| now.ino() == held.ino());
    Ok(is_there.then_some(lock))
}

/// Makes a folder that is nobody else's.
pub(super) fn make(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Removes the answers of all releases, or of all but one; the lock must be held.
pub(super) fn remove_releases(site: &Path, but: Option<&Path>) {
    for entry in fs::read_dir(site).into_iter().flatten().flatten() {
        let path = entry.path();
        let is_meant = entry.file_type().is_ok_and(|kind| kind.is_dir()) && Some(&*path) != but;
        if is_meant && let Err(error) = remove_release(&path) {
            not_removed(&path, &error);
        }
    }
}

/// The number of the file of an answer.
pub(super) fn id_of(path: &Path) -> Option<u64> {
    let name = path.file_name()?.to_str().filter(|name| name.len() == 16)?;
    u64::from_str_radix(name, 16).ok()
}

/// Removes a site's folder, unless that is given up or somebody else has done it.
pub(super) fn clear(site: &Path, is_given_up: &AtomicBool) -> io::Result<()> {
    let mut lock = None;
    while lock.is_none() {
        if is_given_up.load(Ordering::Acquire) || !is_folder(site) {
            return Ok(());
        }
        lock = lock_once(site)?;
    }
    if is_given_up.load(Ordering::Acquire) {
        return Ok(());
    }
    remove_releases(site, None);
    fs::remove_file(site.join(LOCK))?;
    fs::remove_dir(site)
}

fn remove_release(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if id_of(&path).is_some() || path.file_name().is_some_and(|name| name == UNFINISHED) {
            fs::remove_file(path)?;
        }
    }
    fs::remove_dir(folder)
}

pub(super) fn is_folder(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.is_dir())
}

fn not_removed(path: &Path, error: &io::Error) {
    tracing::warn!(path = %path.display(), %error, "stored answers can't be removed from the disk");
}
