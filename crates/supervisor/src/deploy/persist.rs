//! What outlives a release: files and folders in `shared/`, linked into each release.
//!
//! Owns the moving and linking. The first release brings what there is; what later ones bring in the same place is left
//! aside, for what is shared is newer and the users' own. Must not know why a path is kept.
//!
//! SQLite resolves links before it names its journal (`unixFullPathname`), so `-journal` and `-wal` lie beside the real
//! file, in `shared/`, where the site may write.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Component, Path, PathBuf};

use super::archive::inside;
use super::error::DeployProblem;
use super::owner;
use crate::users::RunAs;

/// Files that SQLite keeps beside a database.
const COMPANIONS: [&str; 3] = ["-journal", "-wal", "-shm"];

/// What a path is, where neither the release nor `shared/` has it yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Nature {
    /// Told by its look: a folder where it ends with a slash or has no extension.
    ByName,
    /// A folder, to be made.
    Folder,
    /// A file, which the site makes when it first writes.
    File,
}

/// The kept paths of one release.
#[derive(Debug)]
pub(crate) struct Persistence<'a> {
    app: &'a Path,
    shared: &'a Path,
    user: Option<&'a RunAs>,
    kept: Vec<PathBuf>,
}

impl<'a> Persistence<'a> {
    /// Nothing is kept yet; `app` is the release's copy of the site.
    pub(crate) fn new(app: &'a Path, shared: &'a Path, user: Option<&'a RunAs>) -> Self {
        Self { app, shared, user, kept: Vec::new() }
    }

    /// These were linked already.
    pub(crate) fn already(&mut self, kept: Vec<PathBuf>) {
        self.kept = kept;
    }

    /// What is kept, as paths below the site's folder.
    pub(crate) fn into_kept(self) -> Vec<PathBuf> {
        self.kept
    }

    /// Keeps `path`, which is below the site's folder.
    ///
    /// # Errors
    /// When it leaves the folder, or cannot be moved or linked.
    pub(crate) fn keep(&mut self, path: &Path, nature: Nature) -> Result<(), DeployProblem> {
        let clean = inside(path).filter(|clean| !clean.as_os_str().is_empty());
        let Some(clean) = clean else {
            return Err(DeployProblem::PersistOutside(path.to_path_buf()));
        };
        if self.kept.iter().any(|kept| clean.starts_with(kept)) {
            return Ok(());
        }
        let is_folder = match nature {
            Nature::Folder => true,
            Nature::File => false,
            Nature::ByName => {
                path.as_os_str().as_encoded_bytes().ends_with(b"/") || path.extension().is_none()
            }
        };
        self.link(&clean, is_folder).map_err(DeployProblem::file("cannot keep", path))?;
        self.kept.retain(|kept| !kept.starts_with(&clean));
        self.kept.push(clean);
        Ok(())
    }

    /// The path below the site's folder of an absolute one; `None` when it lies elsewhere.
    pub(crate) fn below_app(&self, path: &Path) -> Option<PathBuf> {
        let real = fs::canonicalize(self.app).ok();
        let below = |base: &Path| path.strip_prefix(base).ok().map(Path::to_path_buf);
        below(self.app).or_else(|| below(&real?)).filter(|below| inside(below).is_some())
    }

    /// `db.sqlite3 and media/`; `None` when nothing is kept.
    pub(crate) fn text(&self) -> Option<String> {
        let names: Vec<String> = self
            .kept
            .iter()
            .map(|path| {
                let slash = if self.shared.join(path).is_dir() { "/" } else { "" };
                format!("{}{slash}", path.display())
            })
            .collect();
        match names.as_slice() {
            [] => None,
            [only] => Some(only.clone()),
            [first @ .., last] => Some(format!("{} and {last}", first.join(", "))),
        }
    }

    fn link(&self, path: &Path, is_folder: bool) -> io::Result<()> {
        let place = self.app.join(path);
        let target = self.shared.join(path);
        self.make_parents(path)?;
        contained(&target, self.shared)?;
        if let Some(parent) = place.parent() {
            fs::create_dir_all(parent)?;
        }
        contained(&place, self.app)?;
        match (fs::symlink_metadata(&target).is_ok(), fs::symlink_metadata(&place).is_ok()) {
            (true, true) => remove(&place)?,
            (false, true) => {
                fs::rename(&place, &target)?;
                for companion in COMPANIONS {
                    move_if_there(&beside(&place, companion), &beside(&target, companion))?;
                }
                owner::give(&target, self.user).map_err(io::Error::other)?;
            }
            (false, false) if is_folder => self.make_shared(&target)?,
            (_, false) => {}
        }
        symlink(relative(path, &self.way_to_shared()), &place)
    }

    /// From the release's folder to `shared/`: relative, so that a state directory can be moved.
    fn way_to_shared(&self) -> PathBuf {
        // sites/NAME/releases/ID/app and sites/NAME/shared
        let is_usual = self.shared.parent() == self.app.ancestors().nth(3);
        if is_usual { PathBuf::from("../../../shared") } else { self.shared.to_path_buf() }
    }

    fn make_parents(&self, path: &Path) -> io::Result<()> {
        if !self.shared.is_dir() {
            fs::create_dir_all(self.shared)?;
            owner::give(self.shared, self.user).map_err(io::Error::other)?;
        }
        let mut place = self.shared.to_path_buf();
        for component in path.parent().unwrap_or(Path::new("")).components() {
            place.push(component);
            if !place.is_dir() {
                self.make_shared(&place)?;
            }
        }
        Ok(())
    }

    fn make_shared(&self, place: &Path) -> io::Result<()> {
        fs::create_dir(place)?;
        owner::give(place, self.user).map_err(io::Error::other)
    }
}

/// The text of a link at `path` below `app`, where `way` leads from `app` to `shared/`.
fn relative(path: &Path, way: &Path) -> PathBuf {
    if way.is_absolute() {
        return way.join(path);
    }
    let depth = path.components().count().saturating_sub(1);
    let climb: PathBuf = std::iter::repeat_n(Component::ParentDir, depth).collect();
    climb.join(way).join(path)
}

/// Refuses a place that a link of the site leads out of `root`: what is done here may be done by root.
fn contained(place: &Path, root: &Path) -> io::Result<()> {
    let parent = fs::canonicalize(place.parent().unwrap_or(root))?;
    if parent.starts_with(fs::canonicalize(root)?) {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::PermissionDenied, "a link leads out of the site"))
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

fn move_if_there(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn remove(path: &Path) -> io::Result<()> {
    if fs::symlink_metadata(path)?.is_dir() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Site {
        root: tempfile::TempDir,
    }

    impl Site {
        fn new() -> Self {
            Self { root: tempfile::tempdir().unwrap() }
        }

        fn shared(&self) -> PathBuf {
            self.root.path().join("blog/shared")
        }

        /// A release with these files, keeping these paths.
        fn release(&self, id: &str, files: &[(&str, &str)], keep: &[&str]) -> PathBuf {
            let app = self.root.path().join("blog/releases").join(id).join("app");
            fs::create_dir_all(&app).unwrap();
            for (name, text) in files {
                fs::create_dir_all(app.join(name).parent().unwrap()).unwrap();
                fs::write(app.join(name), text).unwrap();
            }
            let shared = self.shared();
            let mut persistence = Persistence::new(&app, &shared, None);
            for path in keep {
                persistence.keep(Path::new(path), Nature::ByName).unwrap();
            }
            app
        }
    }

    #[test]
    fn what_the_first_release_brings_is_what_the_second_one_sees() {
        let site = Site::new();
        let keep = ["db.sqlite3", "media/", "data/deep/x.db"];
        let first = site.release(
            "1",
            &[
                ("db.sqlite3", "first"),
                ("db.sqlite3-wal", "log"),
                ("media/a.png", "a"),
                ("data/deep/x.db", "x"),
            ],
            &keep,
        );
        fs::write(first.join("media/upload.png"), "upload").unwrap();
        fs::write(first.join("db.sqlite3"), "a row more").unwrap();
        let second =
            site.release("2", &[("db.sqlite3", "of the laptop"), ("media/b.png", "b")], &keep);
        assert_eq!(fs::read_to_string(second.join("db.sqlite3")).unwrap(), "a row more");
        assert_eq!(fs::read_to_string(second.join("media/upload.png")).unwrap(), "upload");
        assert_eq!(fs::read_to_string(second.join("data/deep/x.db")).unwrap(), "x");
        assert!(!second.join("media/b.png").exists());
        assert_eq!(fs::read_to_string(site.shared().join("db.sqlite3-wal")).unwrap(), "log");
        // A rollback sees the same.
        assert_eq!(fs::read_to_string(first.join("db.sqlite3")).unwrap(), "a row more");
    }

    #[test]
    fn what_nobody_brought_is_a_folder_or_is_made_by_the_site() {
        let site = Site::new();
        let app = site.release("1", &[], &["uploads", "notes.db", "media/"]);
        assert!(app.join("uploads").is_dir() && app.join("media").is_dir());
        assert!(!app.join("notes.db").exists());
        fs::write(app.join("notes.db"), "made").unwrap();
        assert_eq!(fs::read_to_string(site.shared().join("notes.db")).unwrap(), "made");
    }

    #[test]
    fn the_state_directory_can_be_moved() {
        let site = Site::new();
        site.release("1", &[("a/b.db", "row")], &["a/b.db"]);
        let moved = site.root.path().join("elsewhere");
        fs::rename(site.root.path().join("blog"), &moved).unwrap();
        assert_eq!(fs::read_to_string(moved.join("releases/1/app/a/b.db")).unwrap(), "row");
    }

    #[test]
    fn a_folder_swallows_what_is_kept_below_it() {
        let site = Site::new();
        let app = site.release(
            "1",
            &[("instance/x.db", "row")],
            &["instance/x.db", "instance", "instance/y.db"],
        );
        assert_eq!(fs::read_to_string(app.join("instance/x.db")).unwrap(), "row");
        assert!(fs::symlink_metadata(app.join("instance")).unwrap().is_symlink());
    }

    #[test]
    fn a_link_that_leads_out_is_not_followed() {
        let site = Site::new();
        let outside = site.root.path().join("outside");
        fs::create_dir(&outside).unwrap();
        let app = site.release("1", &[], &["data/x.db"]);
        fs::remove_dir_all(site.shared().join("data")).unwrap();
        symlink(&outside, site.shared().join("data")).unwrap();
        let shared = site.shared();
        let mut persistence = Persistence::new(&app, &shared, None);
        assert!(persistence.keep(Path::new("data/y.db"), Nature::File).is_err());
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    }

    #[test]
    fn paths_that_leave_the_site_are_refused() {
        let site = Site::new();
        let app = site.release("1", &[], &[]);
        let shared = site.shared();
        let mut persistence = Persistence::new(&app, &shared, None);
        for path in ["../x", "/etc/passwd", ".", ""] {
            assert!(persistence.keep(Path::new(path), Nature::ByName).is_err(), "{path}");
        }
        assert_eq!(persistence.text(), None);
        persistence.keep(Path::new("media"), Nature::Folder).unwrap();
        persistence.keep(Path::new("x.db"), Nature::File).unwrap();
        assert_eq!(persistence.text().as_deref(), Some("media/ and x.db"));
    }

    #[test]
    fn sqlite_keeps_its_journal_beside_the_real_file() {
        let site = Site::new();
        let app = site.release("1", &[], &["book.db"]);
        let script = "import sqlite3, os\n\
            c = sqlite3.connect('book.db'); c.execute('pragma journal_mode=wal')\n\
            c.execute('create table t (x)'); c.execute('insert into t values (1)'); c.commit()\n\
            print(sorted(os.listdir('.')))\n";
        let output = std::process::Command::new("/usr/bin/python3")
            .args(["-c", script])
            .current_dir(&app)
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "['book.db']");
        assert!(site.shared().join("book.db").metadata().unwrap().len() > 0);
    }
}
