//! A copy of a virtual environment that shares its files: what makes a redeploy with unchanged packages quick.
//!
//! Owns which files of an environment name its own place. Must not know whether the packages are the right ones.
//! Releases are immutable, and Python replaces its `.pyc` files rather than writing into them, so files can be shared by
//! hard links; folders, links and the few files that hold the environment's path are made anew.

use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// Longer files hold no path of the environment, and are not read to see.
const TEXT_BYTES: u64 = 1024 * 1024;

/// Copies the environment at `from` to `to`, which does not exist, with the path changed wherever it is written down.
///
/// # Errors
/// When something cannot be read or written; what was made until then is left.
pub(crate) fn clone_environment(from: &Path, to: &Path) -> io::Result<()> {
    copy_folder(from, to, &Move { from, to })
}

/// Where to where.
struct Move<'a> {
    from: &'a Path,
    to: &'a Path,
}

fn copy_folder(from: &Path, to: &Path, moved: &Move<'_>) -> io::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type()?;
        if kind.is_dir() {
            copy_folder(&source, &target, moved)?;
        } else if kind.is_symlink() {
            symlink(moved.path(&fs::read_link(&source)?), &target)?;
        } else if kind.is_file() {
            copy_file(&source, &target, moved)?;
        }
    }
    Ok(())
}

fn copy_file(source: &Path, target: &Path, moved: &Move<'_>) -> io::Result<()> {
    if may_hold_path(source) && fs::metadata(source)?.len() <= TEXT_BYTES {
        let old = fs::read(source)?;
        let new = moved.text(&old);
        if new != old {
            fs::write(target, new)?;
            return fs::set_permissions(target, fs::metadata(source)?.permissions());
        }
    }
    // Another file system, or a file with too many links.
    fs::hard_link(source, target).or_else(|_| fs::copy(source, target).map(|_| ()))
}

/// Scripts, `pyvenv.cfg`, `.pth` files: where installers write the environment's path.
fn may_hold_path(file: &Path) -> bool {
    let is_script = file.parent().and_then(Path::file_name).is_some_and(|folder| folder == "bin");
    let is_config = file.file_name().is_some_and(|name| name == "pyvenv.cfg");
    is_script || is_config || file.extension().is_some_and(|ending| ending == "pth")
}

impl Move<'_> {
    fn path(&self, path: &Path) -> PathBuf {
        PathBuf::from(std::ffi::OsString::from_vec(self.text(path.as_os_str().as_bytes())))
    }

    fn text(&self, text: &[u8]) -> Vec<u8> {
        let from = self.from.as_os_str().as_bytes();
        let to = self.to.as_os_str().as_bytes();
        let mut new = Vec::with_capacity(text.len());
        let mut rest = text;
        for place in memchr::memmem::find_iter(text, from) {
            let done = text.len().saturating_sub(rest.len());
            let (before, at) = rest.split_at(place.saturating_sub(done));
            new.extend_from_slice(before);
            new.extend_from_slice(to);
            rest = at.get(from.len()..).unwrap_or_default();
        }
        new.extend_from_slice(rest);
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::process::Command;

    #[test]
    fn a_clone_works_in_its_own_place_and_shares_its_files() {
        let root = tempfile::tempdir().unwrap();
        let (old, new) = (root.path().join("1/venv"), root.path().join("2/venv"));
        fs::create_dir(root.path().join("2")).unwrap();
        let made = Command::new("/usr/bin/python3")
            .args(["-m", "venv", "--without-pip"])
            .arg(&old)
            .status()
            .unwrap();
        assert!(made.success());
        let script = old.join("bin/tool");
        fs::write(
            &script,
            format!("#!{}/bin/python\nimport sys; print(sys.prefix)\n", old.display()),
        )
        .unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(old.join("lib/shared.py"), "x = 1\n").unwrap();

        clone_environment(&old, &new).unwrap();
        fs::remove_dir_all(&old).unwrap();
        let output = Command::new(new.join("bin/tool")).output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), new.to_str().unwrap());
        assert!(new.join("lib/shared.py").exists());
    }

    #[test]
    fn files_without_a_path_are_hard_links() {
        let root = tempfile::tempdir().unwrap();
        let (old, new) = (root.path().join("old"), root.path().join("new"));
        fs::create_dir_all(old.join("lib")).unwrap();
        fs::write(old.join("lib/a.py"), "").unwrap();
        clone_environment(&old, &new).unwrap();
        let inode = |path: &Path| fs::metadata(path.join("lib/a.py")).unwrap().ino();
        assert_eq!(inode(&old), inode(&new));
    }

    #[test]
    fn every_mention_of_the_old_place_is_changed() {
        let moved = Move { from: Path::new("/a/b"), to: Path::new("/c") };
        assert_eq!(moved.text(b"x/a/b/bin:/a/b\n/a/bc"), b"x/c/bin:/c\n/cc");
    }
}
