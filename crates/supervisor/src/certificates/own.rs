//! Certificates that sites bring along, in files: read when they change, and the last good one serves on when they are wrong.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use onebox_config::site::OwnCertificate;

use super::pair::{Pair, PairError};

/// More than this is no certificate, in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// Why a site's own certificate can't be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OwnError {
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

/// What tells one content of a file from the next without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Identity(u64, u64, i64, i64);

impl From<&Metadata> for Identity {
    fn from(data: &Metadata) -> Self {
        Self(data.ino(), data.size(), data.mtime(), data.mtime_nsec())
    }
}

/// The files of one site.
#[derive(Debug)]
pub(super) struct OwnFiles {
    files: OwnCertificate,
    read: Option<[Identity; 2]>,
    pair: Option<Arc<Pair>>,
    problem: Option<String>,
}

impl OwnFiles {
    /// Files that were not looked at yet.
    pub(super) fn new(files: OwnCertificate) -> Self {
        Self { files, read: None, pair: None, problem: None }
    }

    pub(super) fn files(&self) -> &OwnCertificate {
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
        let identities = identities(&self.files);
        if self.problem.is_none() && identities.is_some() && identities == self.read {
            return;
        }
        self.read = identities;
        let problem = match read(&self.files) {
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

/// Reads a site's own certificate. Blocks on the disk.
///
/// # Errors
/// [`OwnError`]
pub(crate) fn read(files: &OwnCertificate) -> Result<Pair, OwnError> {
    let pair = Pair::new(text(&files.certificate)?, text(&files.key)?);
    pair.map_err(|reason| OwnError::Pair { path: files.certificate.clone(), reason })
}

fn text(path: &Path) -> Result<String, OwnError> {
    let read = || match std::fs::metadata(path)?.len() {
        ..=MAX_BYTES => std::fs::read_to_string(path),
        _ => Err(io::ErrorKind::FileTooLarge.into()),
    };
    read().map_err(|reason| OwnError::File { path: path.to_owned(), reason })
}

#[cfg(test)]
mod tests {
    use super::super::pair::tests::self_signed;
    use super::*;

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
        let mut own = OwnFiles::new(files.clone());
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
