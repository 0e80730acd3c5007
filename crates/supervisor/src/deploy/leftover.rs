//! What a live release wrote into its own folder: it stays behind there when the next release takes over, which nobody
//! expects of an upload.
//!
//! Owns the finding and the words. Must not move anything, nor stop a deploy: a folder that can't be read is passed over.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::plan::PLAN_FILE;

/// Entries that are looked at; a site with more is told of what was found until then.
const MOST_ENTRIES: usize = 20_000;
/// Paths that are told.
const MOST_TOLD: usize = 3;
/// Folders of caches, which every release makes anew.
const CACHES: [&str; 4] = ["__pycache__", ".cache", ".webassets-cache", "node_modules"];

/// Something that only the live release has.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Leftover {
    /// A file that was written, below the site's folder.
    file: PathBuf,
    /// What `persist` should name: the folder it is in, or the file.
    keep: PathBuf,
}

/// About files that were written into the release in `live` since it was made, and that the files in `app`, the release
/// to come, lack. `persist` is what the release to come keeps. Blocks on the disk.
pub(crate) fn warnings(live: &Path, app: &Path, persist: &[PathBuf]) -> Vec<String> {
    // The plan is written last, after the hooks and before the start.
    let Ok(made) = fs::metadata(live.join(PLAN_FILE)).and_then(|plan| plan.modified()) else {
        return Vec::new();
    };
    let live = live.join("app");
    let mut search = Search { live: &live, app, made, looked_at: 0, found: Vec::new() };
    search.folder(Path::new(""), None);
    let tell = |leftover: &Leftover| {
        let file = leftover.file.display();
        if persist.iter().any(|kept| leftover.file.starts_with(kept)) {
            let place = live.join(&leftover.keep);
            return format!(
                "{file} was written by the release before, which did not keep it: it is not copied from {}",
                place.display()
            );
        }
        let keep = leftover.keep.display();
        format!(
            "{file} was written by the release before and is not kept: add `persist = [\"{keep}\"]`"
        )
    };
    search.found.iter().map(tell).collect()
}

struct Search<'a> {
    live: &'a Path,
    app: &'a Path,
    made: SystemTime,
    looked_at: usize,
    found: Vec<Leftover>,
}

impl Search<'_> {
    /// Looks through a folder below the site's; `missing` is the outermost folder around it that the new release lacks.
    fn folder(&mut self, below: &Path, missing: Option<&Path>) {
        let Ok(entries) = fs::read_dir(self.live.join(below)) else { return };
        for entry in entries.flatten() {
            self.looked_at += 1;
            if self.looked_at > MOST_ENTRIES || self.found.len() >= MOST_TOLD {
                return;
            }
            let path = below.join(entry.file_name());
            // A link is kept already, or the site's own.
            let Ok(metadata) = entry.metadata() else { continue };
            let is_missing = || fs::symlink_metadata(self.app.join(&path)).is_err();
            if metadata.is_dir() && !is_cache(&path) {
                let outermost = match missing {
                    None if is_missing() => Some(path.as_path()),
                    known => known,
                };
                self.folder(&path, outermost);
            } else if metadata.is_file()
                && metadata.modified().is_ok_and(|modified| modified > self.made)
                && is_missing()
            {
                let keep = self.to_keep(&path, missing);
                if !self.found.iter().any(|leftover| leftover.keep == keep) {
                    self.found.push(Leftover { file: path, keep });
                }
            }
        }
    }

    /// The folder of a file, unless code lies in it: code comes with each release.
    fn to_keep(&self, file: &Path, missing: Option<&Path>) -> PathBuf {
        let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty());
        match (missing, parent) {
            (Some(folder), _) => folder.to_path_buf(),
            (None, Some(parent)) if !has_code(&self.app.join(parent)) => parent.to_path_buf(),
            (None, _) => file.to_path_buf(),
        }
    }
}

fn is_cache(path: &Path) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(|name| CACHES.contains(&name))
}

fn has_code(folder: &Path) -> bool {
    let Ok(entries) = fs::read_dir(folder) else { return false };
    let mut names =
        entries.take(MOST_ENTRIES).flatten().map(|entry| PathBuf::from(entry.file_name()));
    names.any(|name| name.extension().is_some_and(|extension| extension == "py"))
}

#[cfg(test)]
mod tests {
    use std::fs::FileTimes;
    use std::os::unix::fs::symlink;
    use std::time::Duration;

    use super::*;

    /// A live release and the files of the one to come.
    struct Releases(tempfile::TempDir);

    impl Releases {
        fn new() -> Self {
            let releases = Self(tempfile::tempdir().unwrap());
            for release in ["live/app", "new/app"] {
                for file in ["app.py", "static/style.css", "pkg/views.py"] {
                    releases.write(&format!("{release}/{file}"), 0);
                }
            }
            releases.write(&format!("live/{PLAN_FILE}"), 100);
            releases
        }

        /// A file of this age, in seconds after the first release's files.
        fn write(&self, path: &str, at_s: u64) {
            let path = self.0.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let file = fs::File::create(path).unwrap();
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + at_s);
            file.set_times(FileTimes::new().set_modified(time)).unwrap();
        }

        fn told(&self, persist: &[&str]) -> Vec<String> {
            let persist: Vec<PathBuf> = persist.iter().map(PathBuf::from).collect();
            let (live, app) = (self.0.path().join("live"), self.0.path().join("new/app"));
            let mut told = warnings(&live, &app, &persist);
            told.sort();
            told
        }
    }

    #[test]
    fn what_only_the_live_release_has_is_told_once_for_each_folder() {
        let releases = Releases::new();
        for file in ["uploads/2026/a.png", "uploads/2026/b.png", "static/thumbnails.json"] {
            releases.write(&format!("live/app/{file}"), 200);
        }
        releases.write("live/app/pkg/cache.json", 200);
        let told = releases.told(&[]);
        assert_eq!(told.len(), 3, "{told:#?}");
        assert!(told[0].ends_with("add `persist = [\"pkg/cache.json\"]`"), "{told:#?}");
        assert!(told[1].ends_with("add `persist = [\"static\"]`"), "{told:#?}");
        assert!(told[2].ends_with("add `persist = [\"uploads\"]`"), "{told:#?}");
    }

    #[test]
    fn what_the_archive_brought_what_hooks_made_and_caches_are_not_told() {
        let releases = Releases::new();
        releases.write("live/app/__pycache__/app.cpython-311.pyc", 200);
        releases.write("live/app/static/made-by-a-hook.css", 50);
        releases.write("live/app/app.py", 200);
        releases.write("shared/data/row.db", 200);
        symlink("../../shared/data", releases.0.path().join("live/app/data")).unwrap();
        assert_eq!(releases.told(&[]), [""; 0]);
    }

    #[test]
    fn a_path_that_is_kept_from_now_on_says_where_its_files_are() {
        let releases = Releases::new();
        releases.write("live/app/uploads/a.png", 200);
        let told = releases.told(&["uploads/"]);
        assert_eq!(told.len(), 1);
        assert!(told[0].ends_with("live/app/uploads"), "{told:?}");
    }

    #[test]
    fn the_search_is_bounded() {
        let releases = Releases::new();
        for number in 0..20 {
            releases.write(&format!("live/app/folder{number}/x"), 200);
        }
        assert_eq!(releases.told(&[]).len(), MOST_TOLD);
    }
}
