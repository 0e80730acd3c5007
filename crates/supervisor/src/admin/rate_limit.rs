//! How often one address may guess a password.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Wrong passwords that are let through before the pause.
const ATTEMPTS: u32 = 5;
/// How long an address waits after them.
const PAUSE: Duration = Duration::from_secs(60);
/// Addresses that are remembered; an attacker with more of them must not fill the memory.
const ADDRESSES: usize = 10_000;

/// Counts wrong passwords by address.
#[derive(Debug, Default)]
pub(super) struct RateLimit {
    attempts: Mutex<HashMap<IpAddr, (u32, Instant)>>,
}

impl RateLimit {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Counts an attempt before its password is looked at, so that attempts at the same time are all counted.
    ///
    /// # Errors
    /// How many seconds the address has to wait.
    pub(super) fn attempt(&self, address: IpAddr, now: Instant) -> Result<(), u64> {
        let mut attempts = self.attempts.lock();
        if attempts.len() >= ADDRESSES {
            attempts.retain(|_, (_, last)| now.duration_since(*last) < PAUSE);
        }
        if attempts.len() >= ADDRESSES && !attempts.contains_key(&address) {
            return Err(PAUSE.as_secs());
        }
        let (count, last) = attempts.entry(address).or_insert((0, now));
        let since = now.duration_since(*last);
        if since >= PAUSE {
            *count = 0;
        }
        if *count >= ATTEMPTS {
            return Err((PAUSE - since).as_secs().max(1));
        }
        *count += 1;
        *last = now;
        Ok(())
    }

    /// Forgets the attempts of an address that knew the password.
    pub(super) fn succeeded(&self, address: IpAddr) {
        self.attempts.lock().remove(&address);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const BOB: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    #[test]
    fn the_sixth_wrong_password_waits_a_minute() {
        let (limit, now) = (RateLimit::new(), Instant::now());
        for _ in 0..5 {
            limit.attempt(ALICE, now).unwrap();
        }
        assert_eq!(limit.attempt(ALICE, now + Duration::from_secs(10)), Err(50));
        limit.attempt(BOB, now).unwrap();
        limit.attempt(ALICE, now + PAUSE).unwrap();
    }

    #[test]
    fn the_right_password_starts_the_count_again() {
        let (limit, now) = (RateLimit::new(), Instant::now());
        for _ in 0..20 {
            limit.attempt(ALICE, now).unwrap();
            limit.succeeded(ALICE);
        }
    }
}
