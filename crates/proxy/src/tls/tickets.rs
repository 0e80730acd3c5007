//! Session tickets (RFC 5077 §4, RFC 8446 §4.6.1) under keys that all engines of the box have.
//!
//! A ticket is the name of its key, a nonce, and the session under AES-256-GCM. Who changes the keys forgets old ones in time.

use arc_swap::ArcSwap;
use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use rustls::server::ProducesTickets;
use serde::{Deserialize, Serialize};

/// How long a client may keep a ticket, in seconds.
const LIFETIME_S: u32 = 24 * 3600;
const NAME_BYTES: usize = 16;
const SECRET_BYTES: usize = 32;

/// A key for tickets. Whoever has it can read the sessions that it wrote.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TicketKey {
    name: [u8; NAME_BYTES],
    secret: [u8; SECRET_BYTES],
}

impl TicketKey {
    /// A new one.
    pub fn random() -> Self {
        Self { name: rand::random(), secret: rand::random() }
    }
}

impl std::fmt::Debug for TicketKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TicketKey").finish_non_exhaustive()
    }
}

/// Makes and reads tickets.
#[derive(Debug, Default)]
pub(super) struct Tickets(ArcSwap<Vec<Sealer>>);

#[derive(Debug)]
struct Sealer {
    name: [u8; NAME_BYTES],
    key: RandomizedNonceKey,
}

impl Tickets {
    /// The first of the keys makes tickets, all of them read theirs.
    pub(super) fn set(&self, keys: &[TicketKey]) {
        let sealer = |key: &TicketKey| {
            // Only fails for a key of another size.
            let sealer = RandomizedNonceKey::new(&AES_256_GCM, &key.secret).ok()?;
            Some(Sealer { name: key.name, key: sealer })
        };
        self.0.store(std::sync::Arc::new(keys.iter().filter_map(sealer).collect()));
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        LIFETIME_S
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let sealers = self.0.load();
        let sealer = sealers.first()?;
        let mut sealed = plain.to_vec();
        let nonce =
            sealer.key.seal_in_place_append_tag(Aad::from(sealer.name), &mut sealed).ok()?;
        Some([&sealer.name[..], nonce.as_ref(), &sealed].concat())
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (name, rest) = ticket.split_first_chunk::<NAME_BYTES>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>()?;
        let sealers = self.0.load();
        let sealer = sealers.iter().find(|sealer| sealer.name == *name)?;
        let mut sealed = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let plain = sealer.key.open_in_place(nonce, Aad::from(*name), &mut sealed).ok()?;
        Some(plain.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tickets(keys: &[TicketKey]) -> Tickets {
        let tickets = Tickets::default();
        tickets.set(keys);
        tickets
    }

    #[test]
    fn a_ticket_is_read_by_whoever_has_its_key_and_by_nobody_else() {
        let (old, new) = (TicketKey::random(), TicketKey::random());
        let ticket = tickets(std::slice::from_ref(&old)).encrypt(b"session").unwrap();
        let both = tickets(&[new.clone(), old]);
        assert_eq!(both.decrypt(&ticket).as_deref(), Some(&b"session"[..]));
        assert_eq!(tickets(&[new]).decrypt(&ticket), None);
        assert_eq!(Tickets::default().encrypt(b"session"), None);
    }

    proptest! {
        #[test]
        fn a_ticket_that_was_changed_is_none(at in any::<prop::sample::Index>(), bit in 0_u32..8) {
            let tickets = tickets(&[TicketKey::random()]);
            let mut ticket = tickets.encrypt(b"session").unwrap();
            let at = at.index(ticket.len());
            ticket[at] ^= 1_u8 << bit;
            prop_assert_eq!(tickets.decrypt(&ticket), None);
            ticket.truncate(at);
            prop_assert_eq!(tickets.decrypt(&ticket), None);
        }
    }
}
