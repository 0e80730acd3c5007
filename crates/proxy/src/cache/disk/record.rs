//! What a file with an answer looks like: its sizes and checksums, what the cache knows of the answer, and its body as it is.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::super::policy::Terms;
use super::super::{Body, Key, Stored};
use super::index::OnDisk;

/// Bodies up to this size are read into memory; larger ones may be sent from their file.
pub(in super::super) const SMALL: u64 = 256 << 10;

/// The first bytes of each file; the last one counts the changes of what follows.
const MAGIC: &[u8; 8] = b"onebox\0\x01";
/// Behind it: the size of the head, its checksum, the size of the body, its checksum.
const PREFIX: usize = MAGIC.len() + 4 + 4 + 8 + 4;
/// No head is larger: fields of answers are limited, and so are URLs.
const MOST_HEAD: u32 = 4 << 20;
/// What is read at a time.
const PIECE: usize = 64 << 10;

struct Prefix {
    head_size: u32,
    head_sum: u32,
    body_size: u64,
    body_sum: u32,
}

/// The size of the file for an answer.
pub(super) fn size(key: &Key, stored: &Stored) -> u64 {
    (PREFIX + head(key, stored).len()) as u64 + stored.body_bytes()
}

/// The bytes of a file, in front of the body and the body.
pub(super) fn write(key: &Key, stored: &Stored) -> io::Result<(Vec<u8>, Bytes)> {
    let (head, body) = (head(key, stored), stored.whole_body().ok_or_else(|| damaged("body"))?);
    let mut start = Vec::with_capacity(PREFIX + head.len());
    start.extend_from_slice(MAGIC);
    let head_size = u32::try_from(head.len()).map_err(|_| damaged("head"))?;
    start.extend_from_slice(&head_size.to_le_bytes());
    start.extend_from_slice(&crc32fast::hash(&head).to_le_bytes());
    start.extend_from_slice(&(body.len() as u64).to_le_bytes());
    start.extend_from_slice(&crc32fast::hash(&body).to_le_bytes());
    start.extend_from_slice(&head);
    Ok((start, body))
}

/// What is in a file of before, as far as the index has to know.
pub(super) fn describe(file: File, id: u64) -> io::Result<(Key, Arc<OnDisk>)> {
    let (key, stored, prefix) = read_head(&file)?;
    let size = PREFIX as u64 + u64::from(prefix.head_size) + prefix.body_size;
    Ok((key, OnDisk::of_before(id, size, &stored)))
}

/// Reads the answer to a URL; `may_stay` says of its terms and size whether its body is left in the file.
pub(super) fn read(
    file: File,
    key: &Key,
    is_checked: bool,
    may_stay: impl FnOnce(&Terms, u64) -> bool,
) -> io::Result<Stored> {
    let (of, stored, prefix) = read_head(&file)?;
    if of != *key {
        return Err(damaged("URL"));
    }
    let (offset, size) = (PREFIX as u64 + u64::from(prefix.head_size), prefix.body_size);
    if may_stay(&stored.terms, size) {
        if !is_checked && checksum(&file, offset)? != prefix.body_sum {
            return Err(damaged("body"));
        }
        return Ok(stored.with_body(Body::File { file: Arc::new(file), offset, size }));
    }
    let mut body = BytesMut::zeroed(usize::try_from(size).map_err(|_| damaged("size"))?);
    file.read_exact_at(&mut body, offset)?;
    if crc32fast::hash(&body) != prefix.body_sum {
        return Err(damaged("body"));
    }
    Ok(stored.with_body(Body::Memory(body.freeze())))
}

fn read_head(mut file: &File) -> io::Result<(Key, Stored, Prefix)> {
    let mut start = [0; PREFIX];
    file.read_exact(&mut start)?;
    let mut start = Reader(&start);
    if start.take(MAGIC.len())? != MAGIC {
        return Err(damaged("format"));
    }
    let prefix = Prefix {
        head_size: start.u32()?,
        head_sum: start.u32()?,
        body_size: start.u64()?,
        body_sum: start.u32()?,
    };
    let expected = (PREFIX as u64 + u64::from(prefix.head_size)).checked_add(prefix.body_size);
    if prefix.head_size > MOST_HEAD || expected != Some(file.metadata()?.len()) {
        return Err(damaged("size"));
    }
    let mut head = vec![0; prefix.head_size as usize];
    file.read_exact(&mut head)?;
    if crc32fast::hash(&head) != prefix.head_sum {
        return Err(damaged("head"));
    }
    let mut head = Reader(&head);
    let key = Key::from_bytes(head.bytes()?);
    Ok((key, Stored::read(&mut head)?, prefix))
}

fn head(key: &Key, stored: &Stored) -> Vec<u8> {
    let mut out = Writer::default();
    out.bytes(key.as_bytes());
    stored.write(&mut out);
    out.into_bytes()
}

fn checksum(file: &File, mut offset: u64) -> io::Result<u32> {
    let (mut hasher, mut piece) = (crc32fast::Hasher::new(), vec![0; PIECE]);
    loop {
        match file.read_at(&mut piece, offset)? {
            0 => return Ok(hasher.finalize()),
            size => {
                hasher.update(piece.get(..size).unwrap_or_default());
                offset += size as u64;
            }
        }
    }
}

fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("its {what} is not what was written"))
}

/// Writes what [`Reader`] reads.
#[derive(Default)]
pub(in super::super) struct Writer(Vec<u8>);

impl Writer {
    pub(in super::super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    pub(in super::super) fn bytes(&mut self, bytes: &[u8]) {
        self.u64(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    pub(in super::super) fn maybe(&mut self, bytes: Option<&[u8]>) {
        self.u64(u64::from(bytes.is_some()));
        self.bytes(bytes.unwrap_or_default());
    }

    pub(in super::super) fn u64(&mut self, number: u64) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }
}

/// Reads a head from its beginning on.
pub(in super::super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(in super::super) fn bytes(&mut self) -> io::Result<&'a [u8]> {
        let size = usize::try_from(self.u64()?).map_err(|_| damaged("head"))?;
        self.take(size)
    }

    pub(in super::super) fn maybe(&mut self) -> io::Result<Option<&'a [u8]>> {
        let is_there = self.u64()? == 1;
        Ok(Some(self.bytes()?).filter(|_| is_there))
    }

    pub(in super::super) fn u64(&mut self) -> io::Result<u64> {
        let bytes = self.take(8)?.try_into().map_err(|_| damaged("head"))?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn u32(&mut self) -> io::Result<u32> {
        let bytes = self.take(4)?.try_into().map_err(|_| damaged("head"))?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn take(&mut self, size: usize) -> io::Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(size).ok_or_else(|| damaged("head"))?;
        self.0 = rest;
        Ok(taken)
    }
}
