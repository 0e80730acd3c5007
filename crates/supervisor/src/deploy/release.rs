//! Releases as folders, and which of them stay.
//!
//! Owns `sites/NAME/releases/` and `staging/`. Must not know which release is live: `state.db` alone decides that, and
//! the caller says it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use onebox_config::Paths;

use super::plan::PLAN_FILE;

/// Where archives are unpacked before the site's name is known; on the file system of the releases.
pub(crate) fn staging_root(paths: &Paths) -> PathBuf {
    paths.state_dir().join("staging")
}

/// A folder that is removed unless it is kept: what a deploy that fails leaves is nothing.
#[derive(Debug)]
pub(crate) struct HalfMade {
    dir: Option<PathBuf>,
}

impl HalfMade {
    /// Creates `dir` with its parents.
    ///
    /// # Errors
    /// When it exists already or cannot be made.
    pub(crate) fn create(dir: PathBuf) -> io::Result<Self> {
        if let Some(parent) = dir.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::create_dir(&dir)?;
        Ok(Self { dir: Some(dir) })
    }

    /// Moves it to `place` with its parents made; it is still removed unless it is kept.
    ///
    /// # Errors
    /// When it cannot be moved; it stays where it was then.
    pub(crate) fn move_to(&mut self, place: &Path) -> io::Result<()> {
        if let Some(parent) = place.parent() {
            fs::create_dir_all(parent)?;
        }
        if let Some(dir) = &mut self.dir {
            fs::rename(&*dir, place)?;
            *dir = place.to_path_buf();
        }
        Ok(())
    }

    /// It is complete: leaves it where it is.
    pub(crate) fn keep(mut self) {
        self.dir = None;
    }
}

impl Drop for HalfMade {
    fn drop(&mut self) {
        if let Some(dir) = self.dir.take()
            && let Err(error) = fs::remove_dir_all(&dir)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %dir.display(), %error, "a half-made release could not be removed");
        }
    }
}

/// Removes what the end of the supervisor cut short: what is in `staging/`, releases without a plan, and the `interrupted` ones,
/// by site and id, which have one already. For start-up, before any deploy runs. What can't be removed stays, and is told.
///
/// # Errors
/// When the state folder cannot be read.
pub(crate) fn clean_half_made(
    paths: &Paths,
    interrupted: &[(String, String)],
) -> io::Result<Vec<PathBuf>> {
    let mut half_made = folders(&staging_root(paths))?;
    for site in folders(&paths.sites_dir())? {
        let releases = folders(&site.join("releases"))?.into_iter();
        half_made.extend(releases.filter(|release| !release.join(PLAN_FILE).exists()));
    }
    half_made.extend(interrupted.iter().map(|(site, id)| paths.releases(site).join(id)));
    half_made.retain(|dir| match fs::remove_dir_all(dir) {
        Ok(()) => true,
        Err(error) => {
            if error.kind() != io::ErrorKind::NotFound {
                tracing::warn!(path = %dir.display(), %error, "a half-made release can't be removed");
            }
            false
        }
    });
    Ok(half_made)
}

/// Removes a folder so that it is gone at once or, where the supervisor is killed meanwhile, at the next start.
///
/// # Errors
/// When it cannot be moved or removed; that there is none is no error.
pub(crate) fn discard(paths: &Paths, dir: &Path) -> io::Result<()> {
    let staging = staging_root(paths);
    fs::create_dir_all(&staging)?;
    let place = tempfile::tempdir_in(&staging)?;
    match fs::rename(dir, place.path()) {
        Ok(()) => place.close(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        // Logs may lie on a disk of their own.
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => fs::remove_dir_all(dir),
        Err(error) => Err(error),
    }
}

/// Removes the complete releases in `releases` but those that `stay`. Returns the ids that are gone.
///
/// # Errors
/// When the folder cannot be read or a release cannot be removed.
pub(crate) fn prune(releases: &Path, stay: &[String]) -> io::Result<Vec<String>> {
    let mut removed = Vec::new();
    for dir in folders(releases)? {
        let Some(id) = dir.file_name().and_then(|name| name.to_str()) else { continue };
        if stay.iter().any(|other| other == id) || !dir.join(PLAN_FILE).exists() {
            continue;
        }
        fs::remove_dir_all(&dir)?;
        removed.push(id.to_owned());
    }
    Ok(removed)
}

/// The folders in `dir`, none where it does not exist.
pub(crate) fn folders(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.push(entry.path());
        }
    }
    found.sort_unstable();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release(releases: &Path, id: &str, complete: bool) {
        fs::create_dir_all(releases.join(id)).unwrap();
        if complete {
            fs::write(releases.join(id).join(PLAN_FILE), "{}").unwrap();
        }
    }

    fn names(releases: &Path) -> Vec<String> {
        let dirs = folders(releases).unwrap();
        dirs.iter().map(|dir| dir.file_name().unwrap().to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn prune_removes_what_is_complete_and_does_not_stay() {
        let folder = tempfile::tempdir().unwrap();
        for id in ["1", "2", "3", "4"] {
            release(folder.path(), id, true);
        }
        release(folder.path(), "5", false);
        let stay = ["1", "3"].map(str::to_owned);
        assert_eq!(prune(folder.path(), &stay).unwrap(), ["2", "4"]);
        assert_eq!(names(folder.path()), ["1", "3", "5"], "5 is being made");
    }

    #[test]
    fn half_made_releases_go_at_start_up() {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths::new(folder.path());
        release(&paths.releases("blog"), "1", true);
        release(&paths.releases("blog"), "2", false);
        release(&paths.releases("blog"), "3", true);
        fs::create_dir_all(staging_root(&paths).join("4")).unwrap();
        let interrupted = [("blog", "3"), ("blog", "2"), ("gone", "1")];
        let interrupted = interrupted.map(|(site, id)| (site.to_owned(), id.to_owned()));
        assert_eq!(clean_half_made(&paths, &interrupted).unwrap().len(), 3);
        assert_eq!(names(&paths.releases("blog")), ["1"]);
        assert!(folders(&staging_root(&paths)).unwrap().is_empty());
    }

    #[test]
    fn a_discarded_folder_is_gone_with_what_is_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths::new(folder.path());
        release(&paths.releases("blog"), "1", true);
        discard(&paths, &paths.site_dir("blog")).unwrap();
        discard(&paths, &paths.site_dir("blog")).unwrap();
        assert!(!paths.site_dir("blog").exists());
        assert!(folders(&staging_root(&paths)).unwrap().is_empty());
    }

    #[test]
    fn a_half_made_folder_is_removed_unless_kept() {
        let folder = tempfile::tempdir().unwrap();
        drop(HalfMade::create(folder.path().join("a/b")).unwrap());
        assert!(!folder.path().join("a/b").exists());
        HalfMade::create(folder.path().join("a/c")).unwrap().keep();
        assert!(folder.path().join("a/c").exists());
    }
}
