//! Passwords: made, judged, hashed with argon2id, checked. A hash is a PHC string with its own parameters.
//!
//! Source: OWASP on password storage (argon2id, 19 MiB, two passes); NIST SP 800-63B on length instead of kinds of characters.

use std::time::Duration;

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use rand::RngExt;
use tokio::sync::Semaphore;

use super::AdminError;
use crate::store::{Store, StoreError};

/// The first user.
pub(super) const FIRST_USER: &str = "admin";
/// Characters that can't be taken for one another.
const ALPHABET: &[u8] = b"abcdefghjkmnpqrstuvwxyz23456789";
/// 20 of 31 characters: 99 bits.
const LENGTH: usize = 20;
/// A password that somebody chose has at least so many characters.
const SHORTEST: usize = 12;
/// Passwords of more bytes are not looked at.
const LONGEST: usize = 1024;
/// How long the work of others is waited for.
const PATIENCE: Duration = Duration::from_secs(20);

/// Where passwords are hashed and checked, one at a time: each takes 19 MB.
#[derive(Debug)]
pub(super) struct Hashing(Semaphore);

impl Hashing {
    pub(super) fn new() -> Self {
        Self(Semaphore::new(1))
    }

    /// Hashes the password, or one that is made up, which is returned too.
    ///
    /// # Errors
    /// Where the password is too short or too long.
    pub(super) async fn hash(
        &self,
        given: Option<String>,
    ) -> Result<(String, Option<String>), AdminError> {
        if let Some(given) = &given {
            check_length(given)?;
        }
        let work = move || match given {
            Some(given) => Ok((hash_password(&given)?, None)),
            None => make_up().map(|(hash, made)| (hash, Some(made))),
        };
        self.alone(work).await?.map_err(|error: std::io::Error| AdminError::internal(&error))
    }

    /// Whether the password is the one that was hashed. An unknown user's check takes as long as a known one's.
    ///
    /// # Errors
    /// Where too many are waiting.
    pub(super) async fn is_right(
        &self,
        password: String,
        hash: Option<String>,
    ) -> Result<bool, AdminError> {
        if password.len() > LONGEST {
            return Ok(false);
        }
        self.alone(move || is_right(&password, hash.as_deref())).await
    }

    async fn alone<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, AdminError> {
        let permit = tokio::time::timeout(PATIENCE, self.0.acquire()).await;
        let _permit = permit.map_err(|_| AdminError::Busy)?;
        tokio::task::spawn_blocking(work).await.map_err(|error| AdminError::internal(&error))
    }
}

fn check_length(password: &str) -> Result<(), AdminError> {
    if password.chars().count() < SHORTEST {
        return Err(AdminError::Malformed(format!(
            "a password has at least {SHORTEST} characters"
        )));
    }
    if password.len() > LONGEST {
        return Err(AdminError::Malformed(format!("a password has at most {LONGEST} bytes")));
    }
    Ok(())
}

/// Makes the first user where nobody can log in yet; returns the password, which is kept nowhere else.
///
/// # Errors
/// Where the database can't be written.
pub(crate) async fn first_password(store: &Store) -> Result<Option<String>, StoreError> {
    if store.has_users().await? {
        return Ok(None);
    }
    let made = tokio::task::spawn_blocking(make_up).await.map_err(std::io::Error::other)?;
    let (hash, password) = made?;
    Ok(store.add_first_user(FIRST_USER, &hash).await?.then_some(password))
}

/// The hash of a password that is made up, and that password.
fn make_up() -> std::io::Result<(String, String)> {
    let password = random_password();
    Ok((hash_password(&password)?, password))
}

fn random_password() -> String {
    let mut random = rand::rng();
    let characters =
        (0..LENGTH).filter_map(|_| ALPHABET.get(random.random_range(0..ALPHABET.len())));
    characters.map(|byte| char::from(*byte)).collect()
}

/// Hashes a password with argon2id; takes some 20 ms and 19 MB.
///
/// # Errors
/// Where the system gives no random bytes.
pub fn hash_password(password: &str) -> std::io::Result<String> {
    let hash = Argon2::default().hash_password(password.as_bytes());
    hash.map(|hash| hash.to_string()).map_err(|error| std::io::Error::other(error.to_string()))
}

fn is_right(password: &str, hash: Option<&str>) -> bool {
    match hash.map(PasswordHash::new) {
        Some(Ok(hash)) => Argon2::default().verify_password(password.as_bytes(), &hash).is_ok(),
        _ => {
            // The work is done for the time it takes.
            let _ = Argon2::default().hash_password(password.as_bytes());
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::temporary;

    #[test]
    fn only_the_right_password_is_right() {
        let hashed = hash_password("sesame").unwrap();
        assert!(hashed.starts_with("$argon2id$"), "{hashed}");
        assert!(is_right("sesame", Some(&hashed)));
        assert!(!is_right("Sesame", Some(&hashed)));
        assert!(!is_right("sesame", Some("not a hash")));
        assert!(!is_right("sesame", None));
    }

    #[tokio::test]
    async fn the_first_password_is_told_once() {
        let (_folder, store) = temporary().await;
        let password = first_password(&store).await.unwrap().unwrap();
        assert_eq!(password.len(), LENGTH);
        let login = store.login_of(FIRST_USER).await.unwrap().unwrap();
        assert!(is_right(&password, Some(&login.password_hash)));
        assert_eq!(first_password(&store).await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_password_is_made_up_where_none_is_given_and_a_short_one_is_refused() {
        let hashing = Hashing::new();
        let (hash, made) = hashing.hash(None).await.unwrap();
        let made = made.unwrap();
        assert!(hashing.is_right(made, Some(hash.clone())).await.unwrap());
        assert!(!hashing.is_right("x".repeat(LONGEST + 1), Some(hash)).await.unwrap());
        for wrong in ["elevenchars".to_owned(), "x".repeat(LONGEST + 1)] {
            hashing.hash(Some(wrong)).await.unwrap_err();
        }
        let (hash, made) = hashing.hash(Some("twelve chars".to_owned())).await.unwrap();
        assert!(made.is_none() && is_right("twelve chars", Some(&hash)));
    }
}
