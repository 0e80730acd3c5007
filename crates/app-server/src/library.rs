//! The runtime library that this binary carries, as a file that interpreters can load.

use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, Write};
use std::os::fd::IntoRawFd;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{
    MemfdFlags, SealFlags, StatVfsMountFlags, fcntl_add_seals, memfd_create, statvfs,
};
use rustix::io::{FdFlags, fcntl_dupfd_cloexec, fcntl_setfd};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::LibraryError;

/// The library's bytes; the build script made them.
const BYTES: &[u8] = include_bytes!(env!("ONEBOX_RUNTIME_LIBRARY"));
/// The library's file name.
const FILE_NAME: &str = "onebox_runtime.abi3.so";
/// In memory it has a descriptor above those that children are given at numbers of their own.
const FLOOR: i32 = 90;

/// The runtime library, written to a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuntimeLibrary {
    /// The file; its folder is named by its SHA-256, so that binaries of two versions share `dir`.
    pub path: PathBuf,
}

impl RuntimeLibrary {
    /// Writes the library to `dir/SHA256/`, once; readable for every user, as sites' users have to load it. Where nothing may
    /// be loaded from `dir` (a mount with `noexec`), it lies in memory for as long as this process lives.
    ///
    /// # Errors
    /// [`LibraryError`] where a folder or the file can't be written.
    pub fn install(dir: &Path) -> Result<Self, LibraryError> {
        let digest: String =
            Sha256::digest(BYTES).iter().map(|byte| format!("{byte:02x}")).collect();
        let folder = dir.join(digest);
        let path = folder.join(FILE_NAME);
        let failed = |path: &Path| {
            let path = path.to_path_buf();
            move |source: io::Error| LibraryError { path, source }
        };
        DirBuilder::new().recursive(true).mode(0o711).create(&folder).map_err(failed(&folder))?;
        if statvfs(&folder).is_ok_and(|mount| mount.f_flag.contains(StatVfsMountFlags::NOEXEC)) {
            return Ok(Self { path: write_to_memory().map_err(failed(&path))? });
        }
        // The name is the content's, but the disk may have been full, or a hand may have been in it.
        if !fs::read(&path).is_ok_and(|bytes| bytes == BYTES) {
            write_atomically(&folder, &path).map_err(failed(&path))?;
        }
        Ok(Self { path })
    }
}

/// Another process may load the file at any moment, so it appears complete or not at all.
fn write_atomically(folder: &Path, path: &Path) -> io::Result<()> {
    // What a process that was killed here left.
    for entry in fs::read_dir(folder)? {
        fs::remove_file(entry?.path())?;
    }
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(BYTES)?;
    file.as_file().set_permissions(Permissions::from_mode(0o644))?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

/// A file of no mount. Its descriptor stays open, and children inherit it with its number: they find it under the same path,
/// whoever they run as. Nobody can change what is in it.
fn write_to_memory() -> io::Result<PathBuf> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let mut file = fs::File::from(memfd_create(FILE_NAME, flags)?);
    file.write_all(BYTES)?;
    fcntl_add_seals(
        &file,
        SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL,
    )?;
    let inherited = fcntl_dupfd_cloexec(&file, FLOOR)?;
    fcntl_setfd(&inherited, FdFlags::empty())?;
    // Closed by nobody: the path is good for as long as the process lives.
    Ok(format!("/proc/self/fd/{}", inherited.into_raw_fd()).into())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;
    use std::os::unix::process::CommandExt;

    use super::*;

    #[test]
    fn the_library_is_installed_once_and_readable_for_all() {
        let dir = tempfile::tempdir().unwrap();
        let first = RuntimeLibrary::install(&dir.path().join("runtime")).unwrap();
        let written = fs::metadata(&first.path).unwrap().modified().unwrap();
        let second = RuntimeLibrary::install(&dir.path().join("runtime")).unwrap();
        assert_eq!(first, second);
        assert_eq!(fs::metadata(&second.path).unwrap().modified().unwrap(), written);
        assert_eq!(fs::metadata(&first.path).unwrap().permissions().mode() & 0o777, 0o644);
        let folder = first.path.parent().unwrap();
        assert_eq!(fs::metadata(folder).unwrap().permissions().mode() & 0o111, 0o111);
    }

    #[test]
    fn in_memory_it_is_the_same_file() {
        let path = write_to_memory().unwrap();
        assert_eq!(fs::read(&path).unwrap(), BYTES);
        fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"x").unwrap_err();
        let mut child = std::process::Command::new("sha256sum");
        if fs::metadata("/proc/self").unwrap().uid() == 0 {
            child.uid(65_530).gid(65_530);
        }
        let said = child.arg(&path).output().unwrap();
        let digest: String =
            Sha256::digest(BYTES).iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(String::from_utf8_lossy(&said.stdout).starts_with(&digest), "{said:?}");
    }

    #[test]
    fn a_damaged_library_is_written_again() {
        let dir = tempfile::tempdir().unwrap();
        let library = RuntimeLibrary::install(dir.path()).unwrap();
        fs::write(&library.path, b"short").unwrap();
        let left = library.path.with_file_name(".tmpleft");
        fs::write(&left, b"half").unwrap();
        RuntimeLibrary::install(dir.path()).unwrap();
        assert_eq!(fs::read(&library.path).unwrap(), BYTES);
        assert!(!left.exists());
    }
}
