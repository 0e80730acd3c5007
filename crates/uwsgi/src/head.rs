//! The head of an answer: status, reason and headers, in the encoding that crosses the runtime library's boundary.

use crate::vars::field;
use crate::{DecodeError, EncodeError};

/// Status line and headers of an answer, names and values as the application gave them (latin-1 bytes).
///
/// Encoded as `status` (u16, little endian), the length-prefixed reason, then length-prefixed names and values like a
/// vars block.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ResponseHead {
    /// The status, 100 to 999.
    pub status: u16,
    /// The reason phrase; may be empty.
    pub reason: Vec<u8>,
    /// Names and values in the application's order.
    pub headers: Vec<(Vec<u8>, Vec<u8>)>,
}

impl ResponseHead {
    /// The encoded head.
    ///
    /// # Errors
    /// [`EncodeError::FieldTooLong`] where the reason, a name or a value is longer than 65,535 bytes.
    pub fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        let mut bytes = self.status.to_le_bytes().to_vec();
        push_field(&mut bytes, b"reason", &self.reason)?;
        for (name, value) in &self.headers {
            push_field(&mut bytes, name, name)?;
            push_field(&mut bytes, name, value)?;
        }
        Ok(bytes)
    }

    /// The head that stands in `bytes`.
    ///
    /// # Errors
    /// [`DecodeError`] where a length points past the end, a name is empty or the status has not three digits.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let Some(&[low, high]) = bytes.get(..2) else {
            return Err(DecodeError::Truncated { offset: 0 });
        };
        let status = u16::from_le_bytes([low, high]);
        if !(100..=999).contains(&status) {
            return Err(DecodeError::Status(status));
        }
        let (reason, mut offset) = field(bytes, 2)?;
        let mut headers = Vec::new();
        while offset < bytes.len() {
            let (name, after_name) = field(bytes, offset)?;
            if name.is_empty() {
                return Err(DecodeError::EmptyKey { offset });
            }
            let (value, after_value) = field(bytes, after_name)?;
            headers.push((name.to_vec(), value.to_vec()));
            offset = after_value;
        }
        Ok(Self { status, reason: reason.to_vec(), headers })
    }
}

fn push_field(bytes: &mut Vec<u8>, name: &[u8], value: &[u8]) -> Result<(), EncodeError> {
    let len = u16::try_from(value.len()).map_err(|_| EncodeError::FieldTooLong {
        name: String::from_utf8_lossy(name).into_owned(),
    })?;
    bytes.extend_from_slice(&len.to_le_bytes());
    bytes.extend_from_slice(value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_status_without_three_digits_is_refused() {
        let head = ResponseHead { status: 1000, ..ResponseHead::default() };
        assert_eq!(ResponseHead::decode(&head.encode().unwrap()), Err(DecodeError::Status(1000)));
    }

    #[test]
    fn a_header_of_65536_bytes_is_refused() {
        let head = ResponseHead {
            status: 200,
            reason: Vec::new(),
            headers: vec![(b"X".to_vec(), vec![b'x'; 65_536])],
        };
        assert_eq!(head.encode(), Err(EncodeError::FieldTooLong { name: "X".into() }));
    }

    proptest! {
        #[test]
        fn every_head_survives_a_round_trip(
            status in 100u16..=999,
            reason in prop::collection::vec(any::<u8>(), 0..40),
            headers in prop::collection::vec(
                (prop::collection::vec(any::<u8>(), 1..20), prop::collection::vec(any::<u8>(), 0..100)), 0..10)
        ) {
            let head = ResponseHead { status, reason, headers };
            prop_assert_eq!(ResponseHead::decode(&head.encode().unwrap()).unwrap(), head);
        }

        #[test]
        fn any_bytes_are_decoded_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(head) = ResponseHead::decode(&bytes) {
                prop_assert_eq!(head.encode().unwrap(), bytes);
            }
        }
    }
}
