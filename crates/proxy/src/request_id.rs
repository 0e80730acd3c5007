//! The identity of a request: in its vars, its answer, its error page and its log lines.

use std::fmt;

/// The digits: lower-case base 32 without letters that look like others (Crockford).
const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// Sixteen base-32 digits, 80 random bits: unique in practice, and not to be guessed from another one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct RequestId([u8; 16]);

impl RequestId {
    /// A new identity.
    pub(crate) fn random() -> Self {
        let mut bits: u128 = rand::random();
        Self(std::array::from_fn(|_| {
            let digit = DIGITS.get((bits & 31) as usize).copied().unwrap_or(b'0');
            bits >>= 5;
            digit
        }))
    }

    /// The digits.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The digits as text.
    pub(crate) fn as_str(&self) -> &str {
        // The digits are ASCII.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_differ_and_are_plain_ascii() {
        let (one, other) = (RequestId::random(), RequestId::random());
        assert_ne!(one, other);
        assert_eq!(one.as_str().len(), 16);
        assert!(one.as_bytes().iter().all(|digit| DIGITS.contains(digit)));
    }
}
