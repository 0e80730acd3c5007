//! What is said about a file besides its bytes: type, validators, how long it may be kept.

use std::fmt::Write;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::hashed_name::has_hashed_name;
use crate::compress::{Coding, is_compressible};

/// What tells one state of a file from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
    size: u64,
    modified_s: i64,
    modified_ns: i64,
}

impl Identity {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified_s: metadata.mtime(),
            modified_ns: metadata.mtime_nsec(),
        }
    }

    /// A strong validator (RFC 9110 §8.8.1): other bytes have another inode (a file that was replaced), another size or
    /// another modification time in nanoseconds (a file that was rewritten). A digest, since inode numbers are nobody's
    /// business.
    fn tag(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(self.device.to_le_bytes());
        hash.update(self.inode.to_le_bytes());
        hash.update(self.size.to_le_bytes());
        hash.update(self.modified_s.to_le_bytes());
        hash.update(self.modified_ns.to_le_bytes());
        hash.finalize().iter().take(10).fold(String::with_capacity(20), |mut text, byte| {
            // Writing to a String does not fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
    }
}

/// The metadata of one state of a file, ready to be sent.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    pub(super) identity: Identity,
    pub(super) size: u64,
    /// Whole seconds, as `Last-Modified` says it.
    pub(super) modified: SystemTime,
    pub(super) last_modified: Bytes,
    pub(super) content_type: Bytes,
    pub(super) is_compressible: bool,
    /// The name holds a hash of the content: it never changes.
    pub(super) is_immutable: bool,
    /// In which codings it lies beside itself, made by whoever made it.
    pub(super) precompressed: Vec<Coding>,
    tag: String,
}

impl Facts {
    pub(super) fn new(relative: &Path, metadata: &Metadata) -> Self {
        let identity = Identity::of(metadata);
        // RFC 9110 §8.8.2.1: not later than now.
        let seconds = u64::try_from(metadata.mtime()).unwrap_or(0);
        let modified = (UNIX_EPOCH + Duration::from_secs(seconds)).min(SystemTime::now());
        let content_type = content_type(relative);
        Self {
            identity,
            size: metadata.size(),
            modified,
            last_modified: httpdate::fmt_http_date(modified).into(),
            is_compressible: is_compressible(&content_type),
            content_type,
            is_immutable: has_hashed_name(relative),
            precompressed: Vec::new(),
            tag: identity.tag(),
        }
    }

    /// These facts for a file that holds `original` in a coding.
    pub(super) fn in_place_of(&self, original: &Self) -> Self {
        Self {
            content_type: original.content_type.clone(),
            is_compressible: original.is_compressible,
            is_immutable: original.is_immutable,
            ..self.clone()
        }
    }

    /// The validator of the file in a coding. Each has its own: they are different bytes.
    pub(super) fn etag(&self, coding: Coding) -> Bytes {
        match coding {
            Coding::Identity => format!("\"{}\"", self.tag).into(),
            coding => format!("\"{}-{}\"", self.tag, coding.token()).into(),
        }
    }
}

fn content_type(path: &Path) -> Bytes {
    let kind = mime_guess::from_path(path).first_raw().unwrap_or("application/octet-stream");
    let is_text = kind.starts_with("text/")
        || matches!(kind, "application/javascript" | "application/xml" | "image/svg+xml");
    if is_text {
        format!("{kind}; charset=utf-8").into()
    } else {
        Bytes::from_static(kind.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn text_has_a_charset_and_the_unknown_is_bytes() {
        let table = [
            ("a.html", "text/html; charset=utf-8"),
            ("a.CSS", "text/css; charset=utf-8"),
            ("a.svg", "image/svg+xml; charset=utf-8"),
            ("a.json", "application/json"),
            ("a.png", "image/png"),
            ("a.woff2", "font/woff2"),
            ("a", "application/octet-stream"),
        ];
        for (name, kind) in table {
            assert_eq!(content_type(Path::new(name)), kind, "{name}");
        }
        assert!(content_type(Path::new("a.js")).ends_with(b"javascript; charset=utf-8"));
    }

    #[test]
    fn another_state_of_a_file_has_another_validator() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.css");
        let etag = |coding| Facts::new(&path, &path.metadata().unwrap()).etag(coding);
        std::fs::write(&path, "one").unwrap();
        let first = etag(Coding::Identity);
        assert_eq!(first, etag(Coding::Identity));
        assert_ne!(first, etag(Coding::Gzip));
        let file = File::options().write(true).open(&path).unwrap();
        file.set_modified(UNIX_EPOCH + Duration::from_nanos(1)).unwrap();
        assert_ne!(first, etag(Coding::Identity));
    }
}
