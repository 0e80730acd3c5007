//! Checks passwords against their hashes, on threads that serve no request, and remembers those that were right.
//!
//! A hash is made to take long: tens of milliseconds and, for argon2, tens of megabytes. So few are checked at a time, and a
//! browser that sends its password with each request has it checked once. What is remembered are digests with a key of this
//! process; a hash that was changed in the configuration has another digest.

use std::collections::HashSet;

use parking_lot::Mutex;
use rand::RngExt;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

use crate::error::ProxyError;

/// Passwords that are checked at the same time.
const AT_ONCE: usize = 2;
/// Requests that may wait for a check; further ones get 503.
const MOST_WAITING: usize = 64;
/// How many right passwords are remembered; then all are forgotten.
const MOST_REMEMBERED: usize = 4096;

type Fingerprint = [u8; 32];

/// The checks of a process.
pub(crate) struct Passwords {
    key: [u8; 32],
    right: Mutex<HashSet<Fingerprint>>,
    places: Semaphore,
    checks: Semaphore,
}

impl Default for Passwords {
    fn default() -> Self {
        Self {
            key: rand::rng().random(),
            right: Mutex::default(),
            places: Semaphore::new(AT_ONCE + MOST_WAITING),
            checks: Semaphore::new(AT_ONCE),
        }
    }
}

impl Passwords {
    /// Whether `password` is the one whose `hash` is known.
    ///
    /// # Errors
    /// [`ProxyError::TooManyChecks`] where too many wait already.
    pub(crate) async fn is_right(&self, password: &[u8], hash: &str) -> Result<bool, ProxyError> {
        let fingerprint = self.fingerprint(password, hash);
        if self.right.lock().contains(&fingerprint) {
            return Ok(true);
        }
        let _place = self.places.try_acquire().map_err(|_| ProxyError::TooManyChecks)?;
        // Closed never.
        let _check = self.checks.acquire().await.map_err(|_| ProxyError::TaskLost)?;
        // Somebody may have sent the same one meanwhile: a page with many pictures does.
        if self.right.lock().contains(&fingerprint) {
            return Ok(true);
        }
        let (password, hash) = (password.to_vec(), hash.to_owned());
        let is_right = tokio::task::spawn_blocking(move || verify(&password, &hash))
            .await
            .map_err(|_| ProxyError::TaskLost)?;
        if is_right {
            let mut right = self.right.lock();
            if right.len() >= MOST_REMEMBERED {
                right.clear();
            }
            right.insert(fingerprint);
        }
        Ok(is_right)
    }

    fn fingerprint(&self, password: &[u8], hash: &str) -> Fingerprint {
        let mut digest = Sha256::new();
        digest.update(self.key);
        digest.update(hash.as_bytes());
        digest.update([0]);
        digest.update(password);
        digest.finalize().into()
    }
}

fn verify(password: &[u8], hash: &str) -> bool {
    use argon2::password_hash::PasswordVerifier;
    use argon2::password_hash::phc::PasswordHash;
    if hash.starts_with("$argon2") {
        return PasswordHash::new(hash)
            .is_ok_and(|hash| argon2::Argon2::default().verify_password(password, &hash).is_ok());
    }
    bcrypt::verify(password, hash).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// "sesame", with a cost that is only right for tests.
    fn hash() -> String {
        bcrypt::hash("sesame", 4).unwrap()
    }

    #[tokio::test]
    async fn a_right_password_is_checked_once_and_a_wrong_one_each_time() {
        let (passwords, hash) = (Passwords::default(), hash());
        for _ in 0..2 {
            assert!(passwords.is_right(b"sesame", &hash).await.unwrap());
            assert!(!passwords.is_right(b"Sesame", &hash).await.unwrap());
        }
        assert_eq!(passwords.right.lock().len(), 1);
        // With nobody left to check, only what is remembered is right.
        let _all = passwords.places.try_acquire_many(66).unwrap();
        assert!(passwords.is_right(b"sesame", &hash).await.unwrap());
        let busy = passwords.is_right(b"Sesame", &hash).await;
        assert!(matches!(busy, Err(ProxyError::TooManyChecks)));
        let changed = bcrypt::hash("open", 4).unwrap();
        assert!(passwords.is_right(b"sesame", &changed).await.is_err(), "not the same hash");
    }

    #[tokio::test]
    async fn both_kinds_of_hashes_are_understood() {
        use argon2::password_hash::PasswordHasher;
        let hash = argon2::Argon2::default().hash_password(b"sesame").unwrap().to_string();
        assert!(verify(b"sesame", &hash) && !verify(b"other", &hash));
        assert!(!verify(b"sesame", "nothing of the kind"));
    }
}
