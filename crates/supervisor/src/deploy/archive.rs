//! The archive of a site's folder: received into a file, then unpacked where nothing it says can reach anything else.
//!
//! Owns the rules of what is unpacked (the archive is input): paths below the target only, folders, regular files and
//! symbolic links that stay inside, limits on count and size. Must not know what is in the files.
//!
//! Source: POSIX.1-2017 pax, "ustar Interchange Format"; the `tar` crate reads GNU and pax extensions.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use tar::{Archive, Entry, EntryType};
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use super::error::DeployProblem;

/// How long the sender may be silent.
const IDLE: Duration = Duration::from_secs(60);

/// What an archive may hold.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ArchiveLimits {
    /// Files, folders and links.
    pub(crate) entries: u64,
    /// Bytes, received and unpacked.
    pub(crate) bytes: u64,
}

impl Default for ArchiveLimits {
    fn default() -> Self {
        Self { entries: 200_000, bytes: 4 * 1024 * 1024 * 1024 }
    }
}

/// What was unpacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Unpacked {
    /// Regular files.
    pub(crate) files: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
}

/// Receives the archive into a file in `dir` that has no name.
///
/// # Errors
/// When the sender stops, is silent for a minute, or sends more than `limits` allow.
pub(crate) async fn receive<E: Display>(
    archive: impl Stream<Item = Result<Bytes, E>>,
    dir: &Path,
    limits: ArchiveLimits,
) -> Result<File, DeployProblem> {
    let file = tempfile::tempfile_in(dir).map_err(DeployProblem::file("cannot write in", dir))?;
    let mut file = tokio::fs::File::from_std(file);
    let mut archive = std::pin::pin!(archive);
    let mut received = 0_u64;
    loop {
        let Ok(next) = timeout(IDLE, archive.next()).await else {
            return Err(DeployProblem::ArchiveLost(format!("nothing came for {IDLE:?}")));
        };
        let Some(data) = next else { break };
        let data = data.map_err(|error| DeployProblem::ArchiveLost(error.to_string()))?;
        received = received.saturating_add(data.len() as u64);
        if received > limits.bytes {
            return Err(too_large(limits));
        }
        file.write_all(&data).await.map_err(DeployProblem::file("cannot write in", dir))?;
    }
    file.flush().await.map_err(DeployProblem::file("cannot write in", dir))?;
    let mut file = file.into_std().await;
    file.rewind().map_err(DeployProblem::file("cannot read in", dir))?;
    Ok(file)
}

/// Unpacks a tar archive into the folder `target`, which exists and is empty.
///
/// # Errors
/// When an entry is refused; what was unpacked until then is left for the caller to remove.
pub(crate) fn unpack(
    archive: impl Read,
    target: &Path,
    limits: ArchiveLimits,
) -> Result<Unpacked, DeployProblem> {
    let mut unpacked = Unpacked::default();
    let mut links: BTreeMap<PathBuf, PathBuf> = BTreeMap::new();
    let mut count = 0_u64;
    let mut archive = Archive::new(archive);
    let broken =
        |error: io::Error| DeployProblem::ArchiveRefused(format!("it is damaged: {error}"));
    for entry in archive.entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        count = count.saturating_add(1);
        if count > limits.entries {
            return Err(DeployProblem::ArchiveRefused(format!(
                "it has more than {} entries",
                limits.entries
            )));
        }
        let named = entry.path().map_err(broken)?.into_owned();
        let Some(path) = inside(&named) else {
            return Err(refused(&named, "is not a path below the site's folder"));
        };
        let kind = entry.header().entry_type();
        match kind {
            EntryType::Directory => make_folder(target, &path)?,
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                if path.as_os_str().is_empty() {
                    return Err(refused(&named, "has no name"));
                }
                let left = limits.bytes.saturating_sub(unpacked.bytes);
                if entry.size() > left {
                    return Err(too_large(limits));
                }
                unpacked.bytes = unpacked.bytes.saturating_add(entry.size());
                unpacked.files = unpacked.files.saturating_add(1);
                write_file(target, &path, &mut entry)?;
            }
            EntryType::Symlink => {
                let points_to = entry.link_name().map_err(broken)?.map(|name| name.into_owned());
                let Some(points_to) = points_to.filter(|to| stays_inside(&path, to)) else {
                    return Err(refused(&named, "is a link that leaves the site's folder"));
                };
                links.insert(path, points_to);
            }
            EntryType::XGlobalHeader | EntryType::XHeader => {}
            EntryType::Link => return Err(refused(&named, "is a hard link")),
            _ => return Err(refused(&named, "is neither a file, a folder nor a link")),
        }
    }
    // Links come last, so that no file is ever written through one.
    for (path, points_to) in &links {
        make_parent(target, path)?;
        let place = target.join(path);
        symlink(points_to, &place).map_err(DeployProblem::file("cannot make the link", &place))?;
    }
    Ok(unpacked)
}

/// The path without `.` components; `None` when it is absolute or climbs.
pub(crate) fn inside(path: &Path) -> Option<PathBuf> {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(clean)
}

/// Whether a link at `path` to `points_to` can only lead below the root, read as text: `..` after a name may climb
/// further than it looks when that name is a link itself, so it is allowed in front only, and never above the root.
pub(super) fn stays_inside(path: &Path, points_to: &Path) -> bool {
    let mut depth = path.components().count().saturating_sub(1);
    let mut named = false;
    for component in points_to.components() {
        match component {
            Component::Normal(_) => named = true,
            Component::CurDir => {}
            Component::ParentDir if !named && depth > 0 => depth -= 1,
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return false,
        }
    }
    !points_to.as_os_str().is_empty()
}

fn make_folder(target: &Path, path: &Path) -> Result<(), DeployProblem> {
    let place = target.join(path);
    fs::create_dir_all(&place).map_err(DeployProblem::file("cannot make the folder", &place))
}

fn make_parent(target: &Path, path: &Path) -> Result<(), DeployProblem> {
    path.parent().map_or(Ok(()), |parent| make_folder(target, parent))
}

fn write_file(
    target: &Path,
    path: &Path,
    entry: &mut Entry<'_, impl Read>,
) -> Result<(), DeployProblem> {
    make_parent(target, path)?;
    let place = target.join(path);
    let mode = entry.header().mode().unwrap_or_default();
    let mut write = || -> io::Result<()> {
        let mut file = create(&place, mode)?;
        io::copy(entry, &mut file)?;
        file.flush()
    };
    write().map_err(DeployProblem::file("cannot unpack", &place))
}

/// A new file of a release. Of the mode only the owner's execute bit counts: releases are 0755 and 0644.
pub(super) fn create(place: &Path, mode: u32) -> io::Result<File> {
    let mode = if mode & 0o100 == 0 { 0o644 } else { 0o755 };
    let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(place)?;
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    Ok(file)
}

fn refused(path: &Path, why: &str) -> DeployProblem {
    DeployProblem::ArchiveRefused(format!("{} {why}", path.display()))
}

pub(super) fn too_large(limits: ArchiveLimits) -> DeployProblem {
    DeployProblem::ArchiveRefused(format!("it holds more than {} MiB", limits.bytes / 1024 / 1024))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header with any name, however bad: the builder of the crate refuses to write some.
    fn entry(kind: EntryType, name: &str, link: &str, data: &[u8]) -> Vec<u8> {
        let mut header = tar::Header::new_ustar();
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.as_mut_bytes()[157..157 + link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(0o4777);
        header.set_size(data.len() as u64);
        header.set_cksum();
        let mut bytes = header.as_bytes().to_vec();
        bytes.extend_from_slice(data);
        bytes.resize(bytes.len().div_ceil(512) * 512, 0);
        bytes
    }

    fn unpack_in(root: &Path, entries: &[Vec<u8>]) -> Result<Unpacked, DeployProblem> {
        let mut archive = entries.concat();
        archive.extend_from_slice(&[0; 1024]);
        let limits = ArchiveLimits { entries: 10, bytes: 1000 };
        fs::create_dir_all(root.join("app")).unwrap();
        unpack(archive.as_slice(), &root.join("app"), limits)
    }

    #[test]
    fn files_folders_and_links_that_stay_inside_are_unpacked() {
        let root = tempfile::tempdir().unwrap();
        let entries = [
            entry(EntryType::Directory, "./", "", b""),
            entry(EntryType::Directory, "pkg", "", b""),
            entry(EntryType::Regular, "./pkg/app.py", "", b"hello"),
            entry(EntryType::Symlink, "pkg/latest.py", "../pkg/app.py", b""),
        ];
        // `..` then a name: still inside.
        let unpacked = unpack_in(root.path(), &entries).unwrap();
        assert_eq!(unpacked, Unpacked { files: 1, bytes: 5 });
        assert_eq!(fs::read(root.path().join("app/pkg/latest.py")).unwrap(), b"hello");
        let mode = fs::metadata(root.path().join("app/pkg/app.py")).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o755, "no set-uid bit, no write for others");
    }

    #[test]
    fn malicious_entries_are_refused_and_touch_nothing_outside() {
        let cases = [
            entry(EntryType::Regular, "../evil", "", b"x"),
            entry(EntryType::Regular, "a/../../evil", "", b"x"),
            entry(EntryType::Regular, "/tmp/onebox-evil", "", b"x"),
            entry(EntryType::Directory, "../evil", "", b""),
            entry(EntryType::Symlink, "evil", "/etc", b""),
            entry(EntryType::Symlink, "evil", "..", b""),
            entry(EntryType::Symlink, "evil", "a/../../x", b""),
            entry(EntryType::Symlink, "a/evil", "../../x", b""),
            entry(EntryType::Symlink, "evil", "", b""),
            entry(EntryType::Link, "evil", "/etc/passwd", b""),
            entry(EntryType::Char, "evil", "", b""),
            entry(EntryType::Block, "evil", "", b""),
            entry(EntryType::Fifo, "evil", "", b""),
            entry(EntryType::Regular, "./", "", b"x"),
            entry(EntryType::Regular, "big", "", &[b'x'; 1001]),
        ];
        for (number, case) in cases.iter().enumerate() {
            let root = tempfile::tempdir().unwrap();
            let result = unpack_in(root.path(), std::slice::from_ref(case));
            assert!(result.is_err(), "case {number}");
            let left: Vec<_> = fs::read_dir(root.path()).unwrap().collect();
            assert_eq!(left.len(), 1, "case {number} wrote beside the target");
        }
        assert_eq!(cases.len(), 15);
    }

    #[test]
    fn a_file_is_never_written_through_a_link_of_the_archive() {
        let root = tempfile::tempdir().unwrap();
        let entries = [
            entry(EntryType::Directory, "real", "", b""),
            entry(EntryType::Symlink, "alias", "real", b""),
            entry(EntryType::Regular, "alias/file", "", b"x"),
        ];
        assert!(unpack_in(root.path(), &entries).is_err(), "alias is a folder and a link");
        assert!(!root.path().join("app/real/file").exists());
    }

    #[test]
    fn too_many_entries_are_refused() {
        let root = tempfile::tempdir().unwrap();
        let entries: Vec<Vec<u8>> =
            (0..11).map(|n| entry(EntryType::Regular, &format!("f{n}"), "", b"")).collect();
        let problem = unpack_in(root.path(), &entries).unwrap_err();
        assert!(problem.to_string().contains("more than 10 entries"), "{problem}");
    }

    #[test]
    fn what_is_no_archive_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let result = unpack(&[b'x'; 2000][..], root.path(), ArchiveLimits::default());
        assert!(matches!(result, Err(DeployProblem::ArchiveRefused(_))));
    }

    #[tokio::test]
    async fn a_stream_that_breaks_or_is_too_long_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let limits = ArchiveLimits { entries: 1, bytes: 4 };
        let broken = futures_util::stream::iter([Ok(Bytes::from("ab")), Err("reset")]);
        let problem = receive(broken, dir.path(), limits).await.unwrap_err();
        assert!(problem.to_string().contains("reset"), "{problem}");
        let long = futures_util::stream::iter([Ok::<_, String>(Bytes::from("abcde"))]);
        assert!(receive(long, dir.path(), limits).await.is_err());
        let good = futures_util::stream::iter([Ok::<_, String>(Bytes::from("abcd"))]);
        let mut text = String::new();
        receive(good, dir.path(), limits).await.unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "abcd");
    }
}
