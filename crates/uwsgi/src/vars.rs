//! The vars block: length-prefixed keys and values, kept encoded and read in place.

use crate::{DecodeError, EncodeError};

/// The names of the variables that proxy and application agree on.
pub mod key {
    /// The request method.
    pub const REQUEST_METHOD: &[u8] = b"REQUEST_METHOD";
    /// The request target as the client sent it.
    pub const REQUEST_URI: &[u8] = b"REQUEST_URI";
    /// The path where the site is mounted; empty at the root.
    pub const SCRIPT_NAME: &[u8] = b"SCRIPT_NAME";
    /// The decoded path below the mount.
    pub const PATH_INFO: &[u8] = b"PATH_INFO";
    /// The part after the question mark, without it.
    pub const QUERY_STRING: &[u8] = b"QUERY_STRING";
    /// `HTTP/1.1` and the like.
    pub const SERVER_PROTOCOL: &[u8] = b"SERVER_PROTOCOL";
    /// The effective host name.
    pub const SERVER_NAME: &[u8] = b"SERVER_NAME";
    /// The effective port.
    pub const SERVER_PORT: &[u8] = b"SERVER_PORT";
    /// The client's address.
    pub const REMOTE_ADDR: &[u8] = b"REMOTE_ADDR";
    /// The client's port.
    pub const REMOTE_PORT: &[u8] = b"REMOTE_PORT";
    /// `http` or `https`.
    pub const REQUEST_SCHEME: &[u8] = b"REQUEST_SCHEME";
    /// The size of the body, in bytes.
    pub const CONTENT_LENGTH: &[u8] = b"CONTENT_LENGTH";
    /// The type of the body.
    pub const CONTENT_TYPE: &[u8] = b"CONTENT_TYPE";
    /// The identity of the request in logs and error pages.
    pub const REQUEST_ID: &[u8] = b"REQUEST_ID";
    /// How long the request may still take, in milliseconds, from proxy to worker. Variables of this prefix never come
    /// from outside and never reach an application.
    pub const TIME_LEFT_MS: &[u8] = b"UWSGI_TIME_LEFT_MS";
}

/// A vars block that was checked: every length stays inside, no key is empty.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Vars {
    block: Vec<u8>,
}

impl Vars {
    /// Takes over an encoded block.
    ///
    /// # Errors
    /// [`DecodeError`] where a length points past the end or a key is empty.
    pub fn decode(block: Vec<u8>) -> Result<Self, DecodeError> {
        let mut offset = 0;
        while offset < block.len() {
            let (key, after_key) = field(&block, offset)?;
            if key.is_empty() {
                return Err(DecodeError::EmptyKey { offset });
            }
            let (_, after_value) = field(&block, after_key)?;
            offset = after_value;
        }
        Ok(Self { block })
    }

    /// The encoded block, as it stands on the wire behind the header.
    pub fn as_bytes(&self) -> &[u8] {
        &self.block
    }

    /// Keys and values in their order; a key may come more than once.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut offset = 0;
        std::iter::from_fn(move || {
            let (key, after_key) = field(&self.block, offset).ok()?;
            let (value, after_value) = field(&self.block, after_key).ok()?;
            offset = after_value;
            Some((key, value))
        })
    }

    /// The last value of `key`: a later one replaces an earlier one, as in uWSGI.
    pub fn get(&self, key: &[u8]) -> Option<&[u8]> {
        self.iter().filter(|(name, _)| *name == key).last().map(|(_, value)| value)
    }
}

/// Writes a vars block and keeps it within a limit.
#[derive(Debug)]
pub struct VarsBuilder {
    block: Vec<u8>,
    limit: usize,
    largest: (usize, usize, usize),
}

impl VarsBuilder {
    /// The largest block whose size a packet header can say, in bytes.
    pub const MAX_BLOCK_BYTES: usize = u16::MAX as usize;

    /// An empty block that may grow to `limit` bytes (`buffer-size`).
    pub fn new(limit: usize) -> Self {
        Self { block: Vec::with_capacity(1024.min(limit)), limit, largest: (0, 0, 0) }
    }

    /// Appends one variable.
    ///
    /// # Errors
    /// [`EncodeError`] where the block would pass its limit or a field the 65,535 bytes of its length.
    pub fn push(&mut self, key: &[u8], value: &[u8]) -> Result<(), EncodeError> {
        let (Ok(key_len), Ok(value_len)) = (u16::try_from(key.len()), u16::try_from(value.len()))
        else {
            return Err(EncodeError::FieldTooLong {
                name: String::from_utf8_lossy(key).into_owned(),
            });
        };
        let added = 4 + key.len() + value.len();
        if added > self.largest.2 {
            self.largest = (self.block.len() + 2, key.len(), added);
        }
        self.block.extend_from_slice(&key_len.to_le_bytes());
        self.block.extend_from_slice(key);
        self.block.extend_from_slice(&value_len.to_le_bytes());
        self.block.extend_from_slice(value);
        if self.block.len() > self.limit {
            let (start, len, largest_bytes) = self.largest;
            let name = self.block.get(start..start + len).unwrap_or_default();
            return Err(EncodeError::BlockTooLarge {
                limit: self.limit,
                largest: String::from_utf8_lossy(name).into_owned(),
                largest_bytes,
            });
        }
        Ok(())
    }

    /// The finished block.
    pub fn finish(self) -> Vars {
        Vars { block: self.block }
    }
}

/// The length-prefixed field at `offset`, and the offset behind it.
pub(crate) fn field(block: &[u8], offset: usize) -> Result<(&[u8], usize), DecodeError> {
    let truncated = DecodeError::Truncated { offset };
    let start = offset.checked_add(2).ok_or(truncated)?;
    let [low, high] = *block.get(offset..start).ok_or(truncated)? else { return Err(truncated) };
    let end = start + usize::from(u16::from_le_bytes([low, high]));
    Ok((block.get(start..end).ok_or(truncated)?, end))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn later_values_replace_earlier_ones() {
        let mut builder = VarsBuilder::new(100);
        builder.push(b"A", b"1").unwrap();
        builder.push(b"A", b"2").unwrap();
        assert_eq!(builder.finish().get(b"A"), Some(&b"2"[..]));
    }

    #[test]
    fn a_block_over_the_limit_names_the_largest_variable() {
        let mut builder = VarsBuilder::new(64);
        builder.push(b"HTTP_COOKIE", &[b'x'; 40]).unwrap();
        let error = builder.push(b"HTTP_ACCEPT", b"text/html").unwrap_err();
        assert_eq!(
            error,
            EncodeError::BlockTooLarge {
                limit: 64,
                largest: "HTTP_COOKIE".into(),
                largest_bytes: 55
            }
        );
    }

    #[test]
    fn a_length_past_the_end_is_refused() {
        assert_eq!(Vars::decode(vec![5, 0, b'A']), Err(DecodeError::Truncated { offset: 0 }));
        assert_eq!(Vars::decode(vec![1, 0, b'A', 9, 0]), Err(DecodeError::Truncated { offset: 3 }));
        assert_eq!(Vars::decode(vec![1]), Err(DecodeError::Truncated { offset: 0 }));
    }

    #[test]
    fn an_empty_key_is_refused() {
        assert_eq!(Vars::decode(vec![0, 0, 0, 0]), Err(DecodeError::EmptyKey { offset: 0 }));
    }

    proptest! {
        #[test]
        fn what_is_pushed_is_read_back(
            pairs in prop::collection::vec(
                (prop::collection::vec(any::<u8>(), 1..40), prop::collection::vec(any::<u8>(), 0..300)), 0..20)
        ) {
            let mut builder = VarsBuilder::new(VarsBuilder::MAX_BLOCK_BYTES);
            for (key, value) in &pairs {
                builder.push(key, value).unwrap();
            }
            let vars = Vars::decode(builder.finish().as_bytes().to_vec()).unwrap();
            let read: Vec<_> = vars.iter().map(|(k, v)| (k.to_vec(), v.to_vec())).collect();
            prop_assert_eq!(read, pairs);
        }

        #[test]
        fn any_bytes_are_decoded_or_refused(block in prop::collection::vec(any::<u8>(), 0..400)) {
            if let Ok(vars) = Vars::decode(block.clone()) {
                let read: usize = vars.iter().map(|(k, v)| 4 + k.len() + v.len()).sum();
                prop_assert_eq!(read, block.len());
            }
        }
    }
}
