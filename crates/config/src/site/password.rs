//! Hashed passwords as configuration files have them: argon2 and bcrypt.

use argon2::password_hash::phc::PasswordHash;

use crate::types::Invalid;

/// What checking one password may take: argon2's memory in KiB, and bcrypt's cost.
const MOST_MEMORY_KIB: u32 = 256 << 10;
const HIGHEST_COST: u32 = 15;

/// A hash that can be checked.
pub(super) fn hashed(text: &str) -> Result<String, Invalid> {
    let checked = match text.split('$').nth(1) {
        Some("argon2id" | "argon2i" | "argon2d") => check_argon2(text),
        Some("2a" | "2b" | "2x" | "2y") => check_bcrypt(text),
        _ => Err("is not a hashed password"),
    };
    match checked {
        Ok(()) => Ok(text.to_owned()),
        Err(why) => Err(Invalid::new(why).hint(
            "make one with `onebox hash-password`; argon2 and bcrypt (`htpasswd -B`) are understood",
        )),
    }
}

fn check_argon2(text: &str) -> Result<(), &'static str> {
    let hash = PasswordHash::new(text).map_err(|_| "is not a whole hash of argon2")?;
    let parameters =
        argon2::Params::try_from(&hash).map_err(|_| "has parameters that argon2 has not")?;
    if hash.hash.is_none() || hash.salt.is_none() {
        return Err("is not a whole hash of argon2");
    }
    if parameters.m_cost() > MOST_MEMORY_KIB {
        return Err("would take more than 256 MB for each check");
    }
    Ok(())
}

/// `$2b$`, two digits of cost, `$`, 53 characters.
fn check_bcrypt(text: &str) -> Result<(), &'static str> {
    let mut parts = text.split('$').skip(2);
    let (Some(cost), Some(rest), None) = (parts.next(), parts.next(), parts.next()) else {
        return Err("is not a whole hash of bcrypt");
    };
    let is_text = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'/');
    if rest.len() != 53 || !rest.bytes().all(is_text) || cost.len() != 2 {
        return Err("is not a whole hash of bcrypt");
    }
    match cost.parse::<u32>() {
        Ok(4..=HIGHEST_COST) => Ok(()),
        Ok(_) => Err("has a cost that is not 4 to 15"),
        Err(_) => Err("is not a whole hash of bcrypt"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_taken_and_passwords_are_not() {
        let bcrypt = "$2y$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy";
        let argon2 = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$WmXQ0RfnHGMFUS4GSM1hFWmXQ0RfnHGMFUS4GSM1hFU";
        for text in [bcrypt, argon2] {
            assert_eq!(hashed(text).as_deref(), Ok(text));
        }
        let wrong = [
            "sesame".to_owned(),
            "{SHA}xyz".to_owned(),
            "$apr1$x$y".to_owned(),
            bcrypt[..59].to_owned(),
            bcrypt.replace("$10$", "$31$"),
            "$argon2id$v=19$m=19456,t=2,p=1".to_owned(),
            argon2.replace("m=19456", "m=4000000"),
        ];
        for text in wrong {
            assert!(hashed(&text).is_err(), "{text}");
        }
    }
}
