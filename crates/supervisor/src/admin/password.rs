//! Passwords: made, hashed with argon2id, checked. A hash is a PHC string with its own parameters.

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use rand::RngExt;

use crate::store::{Store, StoreError};

/// The first user.
pub(super) const FIRST_USER: &str = "admin";
/// Characters that can't be taken for one another.
const ALPHABET: &[u8] = b"abcdefghjkmnpqrstuvwxyz23456789";
/// 20 of 31 characters: 99 bits.
const LENGTH: usize = 20;

/// Makes the first user where nobody can log in yet; returns the password, which is kept nowhere else.
///
/// # Errors
/// Where the database can't be written.
pub(crate) async fn first_password(store: &Store) -> Result<Option<String>, StoreError> {
    if store.has_users().await? {
        return Ok(None);
    }
    let (password, hashed) = made().await?;
    Ok(store.add_first_user(FIRST_USER, &hashed).await?.then_some(password))
}

/// Gives the first user a new password and ends all sessions; returns the password, which is kept nowhere else.
///
/// # Errors
/// Where the database can't be written.
pub(super) async fn reset(store: &Store) -> Result<String, StoreError> {
    let (password, hashed) = made().await?;
    store.set_password(FIRST_USER, &hashed).await?;
    Ok(password)
}

/// A new password and its hash.
async fn made() -> std::io::Result<(String, String)> {
    let work = || {
        let password = random_password();
        let hashed = hash_password(&password)?;
        Ok((password, hashed))
    };
    tokio::task::spawn_blocking(work).await.map_err(std::io::Error::other)?
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

/// Whether the password is the one that was hashed. An unknown user's check takes as long as a known one's.
pub(super) fn is_right(password: &str, hash: Option<&str>) -> bool {
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
        let hash = store.password_hash(FIRST_USER).await.unwrap();
        assert!(is_right(&password, hash.as_deref()));
        assert_eq!(first_password(&store).await.unwrap(), None);
    }
}
