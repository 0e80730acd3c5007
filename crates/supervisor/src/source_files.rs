//! The source files of a folder, watched for changes.
//!
//! Source: inotify(7). Data that an application writes beside its code is no source: what it is told by, is the file's extension.

use std::ffi::OsStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ignore::WalkBuilder;
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// What an application is made of; Python and its settings, and templates.
const EXTENSIONS: [&str; 13] = [
    "py", "toml", "ini", "cfg", "env", "yaml", "yml", "html", "jinja", "jinja2", "j2", "mako", "mo",
];
/// Folders that hold what others wrote.
const FOREIGN: [&str; 2] = ["__pycache__", "node_modules"];
/// An editor that saves several files, or one in several steps, is done when nothing happens for so long.
const QUIET: Duration = Duration::from_millis(100);

/// Changes that may wait to be heard; the kernel keeps more.
const WAITING: usize = 16;

/// The source files of a folder and of all that is below it, but for hidden folders and virtual environments.
#[derive(Debug)]
pub(crate) struct SourceFiles {
    changes: mpsc::Receiver<String>,
}

impl SourceFiles {
    /// Watches a folder from now on, with a thread that ends with the process or, once nobody listens, with the next change.
    ///
    /// # Errors
    /// Where the kernel watches no more files (`fs.inotify.max_user_watches`).
    pub(crate) fn watch(root: &Path) -> io::Result<Self> {
        let inotify = inotify::init(CreateFlags::CLOEXEC)?;
        let watched = Watched { root: root.to_owned(), inotify };
        watched.add_folders()?;
        let (told, changes) = mpsc::channel(WAITING);
        std::thread::Builder::new()
            .name("source-files".into())
            .spawn(move || watched.follow(&told))?;
        Ok(Self { changes })
    }

    /// Waits until a source file has changed, and until nothing changes any more: the name of one. `None`: changes can't be seen
    /// any more.
    pub(crate) async fn changed(&mut self) -> Option<String> {
        let mut changed = self.changes.recv().await?;
        while let Ok(Some(more)) = timeout(QUIET, self.changes.recv()).await {
            changed = more;
        }
        Some(changed)
    }
}

/// What the thread has.
struct Watched {
    root: PathBuf,
    inotify: OwnedFd,
}

impl Watched {
    fn follow(&self, told: &mpsc::Sender<String>) {
        loop {
            match self.next() {
                Ok(Some(name)) => {
                    if told.blocking_send(name).is_err() {
                        return;
                    }
                }
                Ok(None) => {}
                Err(error) => return tracing::error!(%error, "changes can't be seen any more"),
            }
        }
    }

    /// Waits for some changes: the last source file among them.
    fn next(&self) -> io::Result<Option<String>> {
        let (mut changed, mut has_new_folder) = (None, false);
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut events = Reader::new(&self.inotify, &mut buffer);
        loop {
            match events.next() {
                Ok(event) => {
                    // Of a folder, or of more than the kernel keeps, it is not known which files.
                    has_new_folder |=
                        event.events().intersects(ReadFlags::ISDIR | ReadFlags::QUEUE_OVERFLOW);
                    let name = event.file_name().map(|name| name.to_string_lossy().into_owned());
                    changed = name.filter(|name| is_source(name)).or(changed);
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            if events.is_buffer_empty() {
                break;
            }
        }
        if has_new_folder {
            changed = changed.or(self.add_folders()?);
        }
        Ok(changed)
    }

    /// Watches the folders that there are; what was watched already stays. The name of a source file in one of the new ones.
    fn add_folders(&self) -> io::Result<Option<String>> {
        let mut walk = WalkBuilder::new(&self.root);
        walk.standard_filters(false).hidden(true).filter_entry(|entry| {
            let is_foreign = FOREIGN.iter().any(|name| entry.file_name() == *name);
            !is_foreign && !entry.path().join("pyvenv.cfg").is_file()
        });
        let mut found = None;
        for entry in walk.build().filter_map(Result::ok) {
            if entry.file_type().is_some_and(|kind| kind.is_dir()) {
                self.add(entry.path())?;
            } else if is_source(&entry.file_name().to_string_lossy()) {
                found = Some(entry.file_name().to_string_lossy().into_owned());
            }
        }
        Ok(found)
    }

    fn add(&self, folder: &Path) -> io::Result<()> {
        let of = WatchFlags::CLOSE_WRITE
            | WatchFlags::CREATE
            | WatchFlags::MOVED_TO
            | WatchFlags::MOVED_FROM
            | WatchFlags::DELETE
            | WatchFlags::ONLYDIR;
        match inotify::add_watch(&self.inotify, folder, of) {
            // It is gone again.
            Ok(_) | Err(rustix::io::Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

fn is_source(name: &str) -> bool {
    let extension = Path::new(name).extension().and_then(OsStr::to_str).unwrap_or_default();
    let is_hidden = name.starts_with('.');
    name == ".env" || !is_hidden && EXTENSIONS.contains(&extension)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn code_and_templates_are_sources_and_data_is_not() {
        for name in ["views.py", "index.html", "onebox.toml", ".env", "dev.env"] {
            assert!(is_source(name), "{name}");
        }
        for name in [
            "db.sqlite3",
            "db.sqlite3-journal",
            "a.log",
            ".views.py.swp",
            ".#views.py",
            "4913",
            "a.pyc",
            "py",
        ] {
            assert!(!is_source(name), "{name}");
        }
    }

    async fn soon(changed: impl Future<Output = Option<String>>) -> String {
        timeout(Duration::from_secs(20), changed).await.unwrap().unwrap()
    }

    #[tokio::test]
    async fn changes_are_told_once_they_are_over_in_old_folders_and_new() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs::create_dir(root.join("blog")).unwrap();
        let mut sources = SourceFiles::watch(root).unwrap();
        fs::write(root.join("data.sqlite3"), "x").unwrap();
        fs::write(root.join("blog/views.py"), "x").unwrap();
        assert_eq!(soon(sources.changed()).await, "views.py");
        fs::write(root.join("temporary"), "x").unwrap();
        fs::rename(root.join("temporary"), root.join("blog/models.py")).unwrap();
        assert_eq!(soon(sources.changed()).await, "models.py");
        fs::create_dir(root.join("shop")).unwrap();
        fs::write(root.join("shop/urls.py"), "x").unwrap();
        assert!(soon(sources.changed()).await.ends_with(".py"));
        fs::write(root.join("shop/views.py"), "y").unwrap();
        assert_eq!(soon(sources.changed()).await, "views.py");
    }

    #[tokio::test]
    async fn what_lies_in_an_environment_is_not_watched() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        for name in ["env/lib", "__pycache__", ".git"] {
            fs::create_dir_all(root.join(name)).unwrap();
        }
        fs::write(root.join("env/pyvenv.cfg"), "").unwrap();
        let mut sources = SourceFiles::watch(root).unwrap();
        for name in ["env/lib/a.py", "__pycache__/b.py", ".git/c.py", "own.py"] {
            fs::write(root.join(name), "x").unwrap();
        }
        // The last one is told, and nothing before it was.
        assert_eq!(soon(sources.changes.recv()).await, "own.py");
    }
}
