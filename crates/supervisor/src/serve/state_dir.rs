//! The state directory: what is missing of it, and the lock that makes it this process's.

use std::fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError, set_permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, lchown};
use std::path::Path;
use std::time::{Duration, Instant};

use onebox_config::{Account, Paths};

use super::ServeError;
use crate::listeners::remove_stale_sockets;
use crate::users::closed_to;

/// How long a lock may be held by what is left of an appliance that was killed.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);
/// Between two tries to take it.
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// Makes what is missing of the state directory and takes it for this process; the lock is given back with the file. `engine` is
/// its user where that is another one.
pub(super) fn prepare(paths: &Paths, engine: Option<&Account>) -> Result<File, ServeError> {
    // Sites' users must get through to their releases, and see nothing on the way.
    let folders = [
        (paths.state_dir().to_owned(), 0o711),
        (paths.sites_dir(), 0o711),
        (paths.run_dir(), 0o700),
        (paths.temp_dir(), 0o700),
        (paths.cache_dir(), 0o700),
        (paths.box_logs(), 0o711),
    ];
    for (folder, mode) in folders {
        DirBuilder::new().recursive(true).mode(mode).create(&folder).map_err(failed(&folder))?;
    }
    let path = paths.run_dir().join("lock");
    let lock = OpenOptions::new().create(true).append(true).open(&path).map_err(failed(&path))?;
    // Whoever can open it can take it.
    lock.set_permissions(Permissions::from_mode(0o600)).map_err(failed(&path))?;
    take(&lock).map_err(|error| match error {
        TryLockError::WouldBlock => ServeError::Locked(paths.state_dir().to_owned()),
        TryLockError::Error(source) => ServeError::StateDir { path, source },
    })?;
    remove_stale_sockets(&paths.run_dir()).map_err(failed(&paths.run_dir()))?;
    empty(&paths.temp_dir());
    if let Some(engine) = engine {
        let_in(engine, paths)?;
    }
    Ok(lock)
}

/// Lets an engine of another user in where it has to work; nothing on the way can be listed by it.
pub(super) fn let_in(engine: &Account, paths: &Paths) -> Result<(), ServeError> {
    for folder in
        [paths.state_dir().to_owned(), paths.sites_dir(), paths.run_dir(), paths.box_logs()]
    {
        let open = || -> io::Result<()> {
            let mode = std::fs::metadata(&folder)?.mode() & 0o7777;
            set_permissions(&folder, Permissions::from_mode(mode | 0o011))
        };
        open().map_err(failed(&folder))?;
    }
    let cache = paths.cache_dir();
    // What engines of another user have stored is of no use to this one.
    if std::fs::symlink_metadata(&cache).is_ok_and(|known| known.uid() != engine.uid) {
        std::fs::remove_dir_all(&cache).map_err(failed(&cache))?;
    }
    // An appliance of before may not have had it.
    DirBuilder::new().recursive(true).mode(0o700).create(&cache).map_err(failed(&cache))?;
    [paths.temp_dir(), cache]
        .into_iter()
        .try_for_each(|own| lchown(&own, Some(engine.uid), Some(engine.gid)).map_err(failed(&own)))
}

/// Whether an engine of another user could get to the state directory.
///
/// # Errors
/// [`ServeError::NotRoot`] and [`ServeError::Closed`] where it could not.
pub(super) fn check_way(engine: &Account, paths: &Paths) -> Result<(), ServeError> {
    if !rustix::process::geteuid().is_root() {
        return Err(ServeError::NotRoot(engine.shown()));
    }
    let state_dir = std::path::absolute(paths.state_dir()).map_err(failed(paths.state_dir()))?;
    // The state directory itself is ours to open.
    let way = state_dir.parent().unwrap_or(&state_dir);
    match closed_to(engine, way).map_err(failed(way))? {
        Some(closed) => Err(ServeError::Closed { user: engine.shown(), state_dir, closed }),
        None => Ok(()),
    }
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> ServeError + use<> {
    let path = path.to_owned();
    move |source| ServeError::StateDir { path, source }
}

/// Takes the lock. One that was killed a moment ago holds it until the last child that it had forked begins its own program.
fn take(lock: &File) -> Result<(), TryLockError> {
    let patience = Instant::now() + LOCK_PATIENCE;
    loop {
        match lock.try_lock() {
            Err(TryLockError::WouldBlock) if Instant::now() < patience => {
                std::thread::sleep(LOCK_PAUSE);
            }
            taken => return taken,
        }
    }
}

/// Removes what is in a folder of temporary files; most never had a name, and what stays does no harm.
fn empty(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if let Err(error) = std::fs::remove_file(entry.path()) {
            tracing::warn!(path = %entry.path().display(), %error, "a temporary file can't be removed");
        }
    }
}
