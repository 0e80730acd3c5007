//! Opening a file so that nothing outside the declared folders is ever opened.
//!
//! The kernel does the work: `openat2` below the folder's own descriptor, refusing every symbolic link. A link is then
//! followed by hand: its end must lie in a declared folder, under names without a leading dot. Releases link what persists
//! into themselves, and those folders are declared too.
//!
//! Source: openat2(2), `RESOLVE_BENEATH`, `RESOLVE_NO_SYMLINKS`.

use std::ffi::OsStr;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::Errno;

/// What a name below the folders is.
pub(super) enum Found {
    File(File, Metadata),
    /// Open, for the names in it.
    Folder(File),
    Nothing,
}

/// The first of the folders that has `relative` decides.
///
/// # Errors
/// Where the file system fails, not where the file is missing or may not be read.
pub(super) fn find(folders: &[PathBuf], relative: &[u8]) -> io::Result<Found> {
    let relative = Path::new(OsStr::from_bytes(relative));
    for folder in folders {
        let opened = match open_below(folder, relative) {
            Err(Errno::LOOP | Errno::NOSYS | Errno::PERM) => {
                follow(folders, &folder.join(relative))
            }
            opened => opened,
        };
        match opened {
            Ok(file) => {
                let metadata = file.metadata()?;
                if metadata.is_file() {
                    return Ok(Found::File(file, metadata));
                }
                if metadata.is_dir() {
                    return Ok(Found::Folder(file));
                }
            }
            Err(Errno::NOENT | Errno::NOTDIR | Errno::NAMETOOLONG | Errno::LOOP | Errno::NXIO) => {}
            Err(Errno::ACCESS) => {
                tracing::warn!(path = %folder.join(relative).display(), "a static file may not be read");
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Found::Nothing)
}

/// Not blocking: a FIFO would wait for its writer.
const FLAGS: OFlags =
    OFlags::RDONLY.union(OFlags::CLOEXEC).union(OFlags::NONBLOCK).union(OFlags::NOCTTY);
const FOLDER_FLAGS: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

fn open_below(folder: &Path, relative: &Path) -> Result<File, Errno> {
    // Opened anew each time: a folder may be replaced by another one of its name.
    let folder = openat(CWD, folder, FOLDER_FLAGS, Mode::empty())?;
    let relative = if relative.as_os_str().is_empty() { Path::new(".") } else { relative };
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    openat2(&folder, relative, FLAGS, Mode::empty(), resolve).map(File::from)
}

/// Opens what `path` leads to through its links.
fn follow(folders: &[PathBuf], path: &Path) -> Result<File, Errno> {
    let missing = |error: io::Error| Errno::from_io_error(&error).unwrap_or(Errno::NOENT);
    let real = path.canonicalize().map_err(missing)?;
    for folder in folders.iter().filter_map(|folder| folder.canonicalize().ok()) {
        let Ok(rest) = real.strip_prefix(&folder) else { continue };
        if !rest.components().all(is_visible) {
            continue;
        }
        return match open_below(&folder, rest) {
            // A kernel older than 5.6, or a sandbox that hides the call. What was a link is resolved; one that replaced a
            // folder this very moment is not seen.
            Err(Errno::NOSYS | Errno::PERM) => {
                openat(CWD, &real, FLAGS | OFlags::NOFOLLOW, Mode::empty()).map(File::from)
            }
            opened => opened,
        };
    }
    Err(Errno::NOENT)
}

fn is_visible(component: Component<'_>) -> bool {
    matches!(component, Component::Normal(name) if !name.as_bytes().starts_with(b"."))
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::fs::symlink;

    use super::*;

    fn text(folders: &[PathBuf], relative: &str) -> Option<String> {
        match find(folders, relative.as_bytes()).unwrap() {
            Found::File(mut file, _) => {
                let mut text = String::new();
                file.read_to_string(&mut text).unwrap();
                Some(text)
            }
            Found::Folder(_) => Some("folder".into()),
            Found::Nothing => None,
        }
    }

    /// `static`, `shared/media` and `secret` beside each other.
    fn folders() -> (tempfile::TempDir, PathBuf, PathBuf) {
        let root = tempfile::tempdir().unwrap();
        let (files, media) = (root.path().join("static"), root.path().join("shared/media"));
        std::fs::create_dir_all(files.join("css")).unwrap();
        std::fs::create_dir_all(media.join("in")).unwrap();
        std::fs::write(files.join("css/a.css"), "a").unwrap();
        std::fs::write(media.join("in/photo"), "photo").unwrap();
        std::fs::write(root.path().join("secret"), "secret").unwrap();
        (root, files, media)
    }

    #[test]
    fn the_first_folder_that_has_a_file_decides() {
        let (_root, files, media) = folders();
        std::fs::write(media.join("b"), "media").unwrap();
        let both = [files.clone(), media];
        assert_eq!(text(&both, "css/a.css").as_deref(), Some("a"));
        assert_eq!(text(&both, "b").as_deref(), Some("media"));
        std::fs::write(files.join("b"), "static").unwrap();
        assert_eq!(text(&both, "b").as_deref(), Some("static"));
        assert_eq!(text(&both, "css").as_deref(), Some("folder"));
        assert_eq!(text(&both, "").as_deref(), Some("folder"));
        assert_eq!(text(&both, "css/a.css/x"), None);
        assert_eq!(text(&both, &"x".repeat(300)), None);
    }

    #[test]
    fn a_link_out_of_the_declared_folders_leads_nowhere() {
        let (root, files, _media) = folders();
        symlink(root.path().join("secret"), files.join("absolute")).unwrap();
        symlink("../secret", files.join("relative")).unwrap();
        symlink(root.path(), files.join("up")).unwrap();
        symlink("loop", files.join("loop")).unwrap();
        symlink("/proc/self/environ", files.join("magic")).unwrap();
        let folders = [files];
        for name in
            ["absolute", "relative", "up/secret", "up", "loop", "magic", "up/static/css/a.css"]
        {
            let found = text(&folders, name);
            // Through `up` and back down is a declared folder again.
            let expected = if name.ends_with("a.css") { Some("a") } else { None };
            assert_eq!(found.as_deref(), expected, "{name}");
        }
    }

    #[test]
    fn a_link_into_another_declared_folder_is_followed() {
        let (_root, files, media) = folders();
        symlink(&media, files.join("uploads")).unwrap();
        symlink("css/a.css", files.join("current.css")).unwrap();
        assert_eq!(text(&[files.clone(), media], "uploads/in/photo").as_deref(), Some("photo"));
        assert_eq!(text(std::slice::from_ref(&files), "uploads/in/photo"), None);
        assert_eq!(text(&[files], "current.css").as_deref(), Some("a"));
    }

    #[test]
    fn a_link_to_a_hidden_file_leads_nowhere() {
        let (_root, files, _media) = folders();
        std::fs::write(files.join(".env"), "secret").unwrap();
        symlink(".env", files.join("env")).unwrap();
        assert_eq!(text(&[files], "env"), None);
    }

    #[test]
    fn a_declared_folder_may_itself_be_a_link_and_may_appear_later() {
        let (root, _files, media) = folders();
        let link = root.path().join("media");
        assert_eq!(text(std::slice::from_ref(&link), "in/photo"), None);
        symlink(&media, &link).unwrap();
        assert_eq!(text(&[link], "in/photo").as_deref(), Some("photo"));
    }

    #[test]
    fn what_is_neither_file_nor_folder_is_nothing() {
        let (_root, files, _media) = folders();
        let _socket = std::os::unix::net::UnixListener::bind(files.join("sock")).unwrap();
        assert_eq!(text(&[files], "sock"), None);
    }
}
