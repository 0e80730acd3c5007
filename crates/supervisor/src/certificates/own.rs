//! Certificates that sites bring along, in files: read when they change, and the last good one serves on when they are wrong.
//!
//! A site names what it likes, and the supervisor is root: a file is opened with the rights of the site's user. What that one may
//! not read is opened by root only below the folders that the box names, and no link leads out of them.
//!
//! Source: openat2(2), `RESOLVE_BENEATH`.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use onebox_config::Account;
use onebox_config::site::OwnCertificate;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};

use super::pair::{Pair, PairError};
use crate::users::as_user;

/// More than this is no certificate, in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// Why a site's own certificate can't be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OwnError {
    /// A file that is not the site's to name.
    #[error("{} can't be read by {user}, who runs the site", path.display())]
    Closed {
        /// Which.
        path: PathBuf,
        /// The site's user.
        user: String,
    },
    /// A file.
    #[error("{} can't be read: {reason}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: io::Error,
    },
    /// What is in them.
    #[error("{}: {reason}", path.display())]
    Pair {
        /// The certificate's file.
        path: PathBuf,
        /// Why.
        reason: PairError,
    },
}

/// The files that a site names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OwnFiles {
    pub(crate) files: OwnCertificate,
    /// The site's user; `None`: the supervisor's own.
    pub(crate) user: Option<Account>,
    /// Where it may name files that only the supervisor can read.
    pub(crate) folders: Vec<PathBuf>,
}

impl OwnFiles {
    /// Reads them. Blocks on the disk.
    ///
    /// # Errors
    /// [`OwnError`]
    pub(crate) fn read(&self) -> Result<Pair, OwnError> {
        let OwnCertificate { certificate, key } = &self.files;
        let pair = Pair::new(self.text(certificate)?, self.text(key)?);
        pair.map_err(|reason| OwnError::Pair { path: certificate.clone(), reason })
    }

    fn text(&self, path: &Path) -> Result<String, OwnError> {
        let failed = |reason: io::Error| OwnError::File { path: path.to_owned(), reason };
        let file = match &self.user {
            None => open(path).map_err(failed)?,
            Some(user) => {
                let named = path.to_owned();
                match as_user(user, move || open(&named)) {
                    Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                        let closed =
                            || OwnError::Closed { path: path.to_owned(), user: user.shown() };
                        self.open_allowed(path).ok_or_else(closed)?
                    }
                    opened => opened.map_err(failed)?,
                }
            }
        };
        read(file).map_err(failed)
    }

    /// With the supervisor's rights, below a folder where that is allowed.
    fn open_allowed(&self, path: &Path) -> Option<File> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        self.folders.iter().find_map(|folder| {
            let below = path.strip_prefix(folder).ok()?;
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let folder = openat(CWD, folder, flags, Mode::empty()).ok()?;
            openat2(&folder, below, FILE, Mode::empty(), resolve).ok().map(File::from)
        })
    }
}

/// Not blocking: it may be a FIFO.
const FILE: OFlags =
    OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

fn open(path: &Path) -> io::Result<File> {
    Ok(openat(CWD, path, FILE, Mode::empty())?.into())
}

fn read(file: File) -> io::Result<String> {
    let facts = file.metadata()?;
    if !facts.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no file"));
    }
    if facts.len() > MAX_BYTES {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let mut text = String::new();
    file.take(MAX_BYTES).read_to_string(&mut text)?;
    Ok(text)
}

/// What tells one content of a file from the next without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Identity(u64, u64, i64, i64);

impl From<&Metadata> for Identity {
    fn from(data: &Metadata) -> Self {
        Self(data.ino(), data.size(), data.mtime(), data.mtime_nsec())
    }
}

/// The files of one site, and what was in them.
#[derive(Debug)]
pub(super) struct Watched {
    files: OwnFiles,
    read: Option<[Identity; 2]>,
    pair: Option<Arc<Pair>>,
    problem: Option<String>,
}

impl Watched {
    /// Files that were not looked at yet.
    pub(super) fn new(files: OwnFiles) -> Self {
        Self { files, read: None, pair: None, problem: None }
    }

    pub(super) fn files(&self) -> &OwnFiles {
        &self.files
    }

    /// The last good pair.
    pub(super) fn pair(&self) -> Option<&Arc<Pair>> {
        self.pair.as_ref()
    }

    /// What is wrong with the files as they are now.
    pub(super) fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }

    /// Reads the files where they have changed. Blocks on the disk.
    pub(super) fn look(&mut self, site: &str) {
        let identities = identities(&self.files.files);
        if self.problem.is_none() && identities.is_some() && identities == self.read {
            return;
        }
        self.read = identities;
        let problem = match self.files.read() {
            Ok(pair) => {
                if self.pair.as_deref() != Some(&pair) {
                    tracing::info!(site, names = ?pair.facts.names, "certificate read");
                    self.pair = Some(Arc::new(pair));
                }
                None
            }
            // It may be half written: the next look tries again.
            Err(error) => Some(error.to_string()),
        };
        if problem != self.problem {
            if let Some(error) = &problem {
                tracing::error!(site, error, "the site's certificate can't be used");
            }
            self.problem = problem;
        }
    }
}

fn identities(files: &OwnCertificate) -> Option<[Identity; 2]> {
    let identity = |path: &Path| std::fs::metadata(path).ok().map(|data| Identity::from(&data));
    Some([identity(&files.certificate)?, identity(&files.key)?])
}

#[cfg(test)]
pub(super) mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::super::pair::tests::self_signed;
    use super::*;

    pub(in super::super) fn as_the_supervisor(files: OwnCertificate) -> OwnFiles {
        OwnFiles { files, user: None, folders: Vec::new() }
    }

    #[test]
    fn a_site_names_no_file_that_its_user_can_not_read() {
        if !rustix::process::geteuid().is_root() {
            // Nobody else runs sites as another user.
            return;
        }
        let root = tempfile::tempdir().unwrap();
        std::fs::set_permissions(root.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let [allowed, other] = ["allowed", "other"].map(|name| root.path().join(name));
        let (chain, key) = self_signed(&["a.example"]);
        for folder in [&allowed, &other] {
            std::fs::create_dir(folder).unwrap();
            std::fs::write(folder.join("a.pem"), &chain).unwrap();
            std::fs::write(folder.join("a.key"), &key).unwrap();
            let private = std::fs::Permissions::from_mode(0o600);
            std::fs::set_permissions(folder.join("a.key"), private).unwrap();
        }
        symlink("a.key", allowed.join("link.key")).unwrap();
        symlink(other.join("a.key"), allowed.join("out.key")).unwrap();
        let read = |folder: &Path, key: &str, folders: &[&Path]| {
            let files = OwnCertificate { certificate: folder.join("a.pem"), key: folder.join(key) };
            let folders = folders.iter().map(|folder| folder.to_path_buf()).collect();
            let user = Some(Account::of_numbers(12_345, 54_321));
            OwnFiles { files, user, folders }.read().map(drop)
        };
        let is_closed = |read: Result<(), OwnError>| matches!(read, Err(OwnError::Closed { .. }));
        assert!(is_closed(read(&allowed, "a.key", &[])));
        read(&allowed, "a.key", &[&allowed]).unwrap();
        read(&allowed, "link.key", &[&allowed]).unwrap();
        assert!(is_closed(read(&other, "a.key", &[&allowed])));
        assert!(is_closed(read(&allowed, "out.key", &[&allowed])));
        assert!(is_closed(read(&allowed, "../other/a.key", &[&allowed])));
        // What is the user's own needs nobody's leave.
        std::os::unix::fs::chown(other.join("a.key"), Some(12_345), None).unwrap();
        read(&other, "a.key", &[]).unwrap();
    }

    #[test]
    fn what_is_no_file_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let files = |certificate: &str| {
            let (certificate, key) = (certificate.into(), folder.path().join("a.key"));
            as_the_supervisor(OwnCertificate { certificate, key }).read().unwrap_err().to_string()
        };
        for path in ["/dev/zero", "/dev", "/proc/self/mem"] {
            let told = files(path);
            assert!(told.contains("can't be read"), "{told}");
        }
        let fifo = folder.path().join("fifo");
        rustix::fs::mknodat(CWD, &fifo, rustix::fs::FileType::Fifo, Mode::RWXU, 0).unwrap();
        assert!(files(fifo.to_str().unwrap()).contains("no file"));
    }

    #[test]
    fn changed_files_are_read_and_wrong_ones_leave_the_last_good_pair() {
        let folder = tempfile::tempdir().unwrap();
        let files = OwnCertificate {
            certificate: folder.path().join("a.pem"),
            key: folder.path().join("a.key"),
        };
        let write = |(chain, key): &(String, String)| {
            std::fs::write(&files.certificate, chain).unwrap();
            std::fs::write(&files.key, key).unwrap();
        };
        let mut own = Watched::new(as_the_supervisor(files.clone()));
        own.look("blog");
        assert!(own.pair().is_none() && own.problem().unwrap().contains("a.pem can't be read"));
        let (first, second) = (self_signed(&["a.example"]), self_signed(&["b.example"]));
        write(&first);
        own.look("blog");
        assert_eq!((own.problem(), own.pair().unwrap().facts.covers("a.example")), (None, true));
        std::fs::write(&files.key, &second.1).unwrap();
        own.look("blog");
        assert!(own.problem().unwrap().contains("does not belong"), "{:?}", own.problem());
        assert!(own.pair().unwrap().facts.covers("a.example"));
        write(&second);
        own.look("blog");
        assert_eq!((own.problem(), own.pair().unwrap().facts.covers("b.example")), (None, true));
    }
}
