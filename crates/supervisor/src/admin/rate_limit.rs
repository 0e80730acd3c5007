//! How often a password may be guessed: from one address, and for one account from everywhere.
//!
//! Source: OWASP on authentication. The limit of an account must not lock its owner out: an address that knew the password once is
//! only held by its own limit.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use onebox_config::client_network;
use parking_lot::Mutex;

/// Wrong passwords from one address that are let through before the pause.
const BY_ADDRESS: u32 = 5;
/// The same for one account, from all addresses that never knew its password.
const BY_ACCOUNT: u32 = 20;
/// How long is waited after them.
const PAUSE: Duration = Duration::from_secs(60);
/// Addresses, accounts, and pairs of them that are remembered; an attacker with more of them must not fill the memory.
const REMEMBERED: usize = 10_000;

/// Counts wrong passwords.
#[derive(Debug)]
pub(super) struct RateLimit {
    counts: Mutex<Counts>,
}

#[derive(Debug)]
struct Counts {
    addresses: Attempts<IpNet>,
    accounts: Attempts<String>,
    /// Who knew the password of which account.
    known: HashSet<(IpNet, String)>,
}

impl RateLimit {
    pub(super) fn new() -> Self {
        let (addresses, accounts) = (Attempts::new(BY_ADDRESS), Attempts::new(BY_ACCOUNT));
        Self { counts: Mutex::new(Counts { addresses, accounts, known: HashSet::new() }) }
    }

    /// Counts an attempt before its password is looked at, so that attempts at the same time are all counted.
    ///
    /// # Errors
    /// How many seconds to wait.
    pub(super) fn attempt(&self, from: IpAddr, account: &str, now: Instant) -> Result<(), u64> {
        let from = client_network(from);
        let mut counts = self.counts.lock();
        counts.addresses.count(from, now)?;
        match counts.known.contains(&(from, account.to_owned())) {
            true => Ok(()),
            false => counts.accounts.count(account.to_owned(), now),
        }
    }

    /// Forgets the attempts of an address that knew the password.
    pub(super) fn succeeded(&self, from: IpAddr, account: &str) {
        let from = client_network(from);
        let mut counts = self.counts.lock();
        counts.addresses.by_key.remove(&from);
        if counts.known.len() < REMEMBERED {
            counts.known.insert((from, account.to_owned()));
        }
    }
}

/// Attempts by address or by account.
#[derive(Debug)]
struct Attempts<K> {
    most: u32,
    by_key: HashMap<K, (u32, Instant)>,
}

impl<K: Eq + Hash> Attempts<K> {
    fn new(most: u32) -> Self {
        Self { most, by_key: HashMap::new() }
    }

    fn count(&mut self, key: K, now: Instant) -> Result<(), u64> {
        let by_key = &mut self.by_key;
        if by_key.len() >= REMEMBERED {
            by_key.retain(|_, (_, last)| now.duration_since(*last) < PAUSE);
        }
        if by_key.len() >= REMEMBERED && !by_key.contains_key(&key) {
            return Err(PAUSE.as_secs());
        }
        let (count, last) = by_key.entry(key).or_insert((0, now));
        let since = now.duration_since(*last);
        if since >= PAUSE {
            *count = 0;
        }
        if *count >= self.most {
            return Err((PAUSE - since).as_secs().max(1));
        }
        *count += 1;
        *last = now;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_sixth_wrong_password_waits_a_minute() {
        let (limit, now, alice) = (RateLimit::new(), Instant::now(), address("192.0.2.1"));
        for _ in 0..BY_ADDRESS {
            limit.attempt(alice, "admin", now).unwrap();
        }
        let later = now + Duration::from_secs(10);
        assert_eq!(limit.attempt(alice, "other", later), Err(50));
        limit.attempt(address("192.0.2.2"), "admin", now).unwrap();
        limit.attempt(alice, "admin", now + PAUSE).unwrap();
    }

    #[test]
    fn the_right_password_starts_the_count_again() {
        let (limit, now, alice) = (RateLimit::new(), Instant::now(), address("192.0.2.1"));
        for _ in 0..20 {
            limit.attempt(alice, "admin", now).unwrap();
            limit.succeeded(alice, "admin");
        }
    }

    #[test]
    fn an_account_is_guarded_from_many_addresses_and_its_owner_is_not_locked_out() {
        let (limit, now, owner) = (RateLimit::new(), Instant::now(), address("192.0.2.1"));
        limit.succeeded(owner, "admin");
        for number in 0..BY_ACCOUNT {
            let from = address(&format!("198.51.100.{number}"));
            limit.attempt(from, "admin", now).unwrap();
        }
        let stranger = address("203.0.113.1");
        assert_eq!(limit.attempt(stranger, "admin", now), Err(60));
        limit.attempt(stranger, "other", now).unwrap();
        limit.attempt(owner, "admin", now).unwrap();
    }

    #[test]
    fn a_network_of_ipv6_is_one_client() {
        let (limit, now) = (RateLimit::new(), Instant::now());
        for number in 0..BY_ADDRESS {
            limit.attempt(address(&format!("2001:db8::{number}")), "admin", now).unwrap();
        }
        limit.attempt(address("2001:db8::ffff"), "admin", now).unwrap_err();
        limit.attempt(address("2001:db8:0:1::1"), "admin", now).unwrap();
    }
}
