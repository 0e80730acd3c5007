//! A part of a file as the whole body of an answer: where it lies, and which files are fit for that.
//!
//! The app server hands over a descriptor in place of bytes, and the proxy reads the file while it sends it. A thread of the proxy
//! serves many clients, so that only files are taken that no other machine and no other program has to be asked for.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::fstatfs;

use crate::DecodeError;

/// File systems on disks of this machine or in its memory: ext2 to ext4, XFS, Btrfs, F2FS, ZFS, bcachefs, tmpfs, ramfs and
/// overlayfs (statfs(2)).
const LOCAL: [u32; 9] = [
    0xef53,
    0x5846_5342,
    0x9123_683e,
    0xf2f5_2010,
    0x2fc1_2fc1,
    0xca45_1a4e,
    0x0102_1994,
    0x8584_58f6,
    0x794c_7630,
];

/// A part of a file.
#[derive(Debug, Clone)]
pub struct FilePart {
    /// The file; whoever opened it may have closed it.
    pub file: Arc<File>,
    /// Where the part begins, in bytes.
    pub offset: u64,
    /// Its size, in bytes.
    pub size: u64,
}

impl FilePart {
    /// The part of the file behind a descriptor that came from an application's process.
    ///
    /// # Errors
    /// Where it is no file that [`may_be_handed_over`], or the part lies where no file can reach.
    pub fn received(descriptor: OwnedFd, range: FileRange) -> io::Result<Self> {
        let FileRange { offset, size } = range;
        let file = File::from(descriptor);
        let ends_in_reach = offset.checked_add(size).is_some_and(|end| i64::try_from(end).is_ok());
        if !ends_in_reach || !may_be_handed_over(&file)? {
            return Err(ErrorKind::InvalidInput.into());
        }
        Ok(Self { file: Arc::new(file), offset, size })
    }
}

impl PartialEq for FilePart {
    /// The same part of the same open file.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.file, &other.file)
            && (self.offset, self.size) == (other.offset, other.size)
    }
}

impl Eq for FilePart {}

/// Where in its file a part lies, as it crosses a socket: two numbers of 64 bits, little endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileRange {
    /// Where the part begins, in bytes.
    pub offset: u64,
    /// Its size, in bytes.
    pub size: u64,
}

impl FileRange {
    /// The size of an encoded range, in bytes.
    pub const LEN: usize = 16;

    /// The range as it stands on the wire.
    pub fn encode(self) -> [u8; Self::LEN] {
        (u128::from(self.size) << 64 | u128::from(self.offset)).to_le_bytes()
    }

    /// The range that stands in `bytes`.
    ///
    /// # Errors
    /// [`DecodeError::FileRange`] where they are not as many as a range has.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let wrong = || DecodeError::FileRange(bytes.len());
        let (offset, rest) = bytes.split_first_chunk().ok_or_else(wrong)?;
        let size = rest.try_into().map_err(|_| wrong())?;
        Ok(Self { offset: u64::from_le_bytes(*offset), size: u64::from_le_bytes(size) })
    }
}

/// Whether a file's bytes can be read while they are sent: a regular file of a file system that needs nobody else.
///
/// # Errors
/// The system's.
pub fn may_be_handed_over(file: &File) -> io::Result<bool> {
    if !file.metadata()?.is_file() {
        return Ok(false);
    }
    let kind = u32::try_from(fstatfs(file)?.f_type).ok();
    Ok(kind.is_some_and(|kind| LOCAL.contains(&kind)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rustix::fs::{MemfdFlags, memfd_create};

    use super::*;

    fn received(file: File, offset: u64, size: u64) -> io::Result<FilePart> {
        FilePart::received(file.into(), FileRange { offset, size })
    }

    #[test]
    fn only_parts_of_regular_local_files_are_taken() {
        // In memory: what file system the folder for temporary files is on depends on the machine.
        let file = || File::from(memfd_create("part", MemfdFlags::CLOEXEC).unwrap());
        assert_eq!(received(file(), 3, 4).unwrap().size, 4);
        assert!(received(file(), u64::MAX, 1).is_err());
        assert!(received(file(), 1 << 63, 1).is_err());
        for path in ["/", "/dev/null", "/proc/self/maps"] {
            assert!(received(File::open(path).unwrap(), 0, 1).is_err(), "{path}");
        }
        let (reader, _writer) = io::pipe().unwrap();
        assert!(received(File::from(OwnedFd::from(reader)), 0, 1).is_err());
    }

    proptest! {
        #[test]
        fn every_range_survives_a_round_trip(offset: u64, size: u64) {
            let range = FileRange { offset, size };
            prop_assert_eq!(FileRange::decode(&range.encode()), Ok(range));
        }

        #[test]
        fn other_sizes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            prop_assert_eq!(FileRange::decode(&bytes).is_ok(), bytes.len() == FileRange::LEN);
        }
    }
}
