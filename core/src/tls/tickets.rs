//! Keys of session tickets (RFC 5077, RFC 8446 4.6.1): one set for all workers of a listener, replaced in time.
//!
//! A ticket is `key name (16) ‖ nonce (12) ‖ AES-256-GCM(session)`, the key's name being authenticated with it. Keys are
//! made at random in memory and never leave the process: with a key, what was sent under TLS 1.2 could be read later.
//!
//! **Invariant:** keys belong to one listener and to one state of whom it trusts. A ticket of another listener, or from
//! before authorities, revocation lists or identities changed, cannot be opened: the peer is verified again.

use std::fmt;
use std::sync::{PoisonError, RwLock};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::rand;
use rustls::pki_types::UnixTime;
use rustls::server::ProducesTickets;

const NAME_LEN: usize = 16;
/// Longest life of a ticket (RFC 8446, 4.6.1).
const LIFETIME_SECS_MAX: u32 = 7 * 86_400;

/// The keys of a listener.
pub struct TicketKeys {
    /// How long one key makes tickets. They are taken for as long again.
    rotate_secs: u64,
    keys: RwLock<Option<Keys>>,
}

struct Keys {
    current: Key,
    previous: Option<Key>,
    /// Seconds since 1970.
    since: u64,
}

struct Key {
    name: [u8; NAME_LEN],
    aead: LessSafeKey,
}

impl Key {
    /// `None` where the kernel gives no randomness: no tickets then, and full handshakes.
    fn random() -> Option<Key> {
        let (mut name, mut secret) = ([0; NAME_LEN], zeroize::Zeroizing::new([0; 32]));
        rand::fill(&mut name).ok()?;
        rand::fill(secret.as_mut_slice()).ok()?;
        let aead = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, secret.as_slice()).ok()?);
        Some(Key { name, aead })
    }

    fn seal(&self, session: &[u8]) -> Option<Vec<u8>> {
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).ok()?;
        let mut sealed = session.to_vec();
        let nonce_of_seal = Nonce::assume_unique_for_key(nonce);
        self.aead.seal_in_place_append_tag(nonce_of_seal, Aad::from(self.name), &mut sealed).ok()?;
        Some([&self.name[..], &nonce, &sealed].concat())
    }

    fn open(&self, nonce: [u8; NONCE_LEN], sealed: &[u8]) -> Option<Vec<u8>> {
        let mut session = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(nonce);
        let length = self.aead.open_in_place(nonce, Aad::from(self.name), &mut session).ok()?.len();
        session.truncate(length);
        Some(session)
    }
}

impl TicketKeys {
    /// New keys, made when the first ticket is.
    pub fn new(rotate_secs: u64) -> Self {
        TicketKeys { rotate_secs: rotate_secs.max(1), keys: RwLock::new(None) }
    }

    /// How long one key makes tickets.
    pub fn rotate_secs(&self) -> u64 {
        self.rotate_secs
    }

    fn encrypt_at(&self, now: u64, session: &[u8]) -> Option<Vec<u8>> {
        {
            let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(keys) = keys.as_ref().filter(|keys| self.age(keys, now) == 0) {
                return keys.current.seal(session);
            }
        }
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        // Another worker may have been first.
        if keys.as_ref().is_none_or(|keys| self.age(keys, now) > 0) {
            let previous = keys.take().filter(|keys| self.age(keys, now) == 1).map(|keys| keys.current);
            *keys = Some(Keys { current: Key::random()?, previous, since: now });
        }
        keys.as_ref()?.current.seal(session)
    }

    fn decrypt_at(&self, now: u64, ticket: &[u8]) -> Option<Vec<u8>> {
        let (name, rest) = ticket.split_first_chunk::<NAME_LEN>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>()?;
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let keys = keys.as_ref()?;
        // Names are no secret: tickets carry them in clear.
        let key = match self.age(keys, now) {
            0 if keys.current.name == *name => &keys.current,
            0 => keys.previous.as_ref().filter(|key| key.name == *name)?,
            1 if keys.current.name == *name => &keys.current,
            _ => return None,
        };
        key.open(*nonce, sealed)
    }

    /// How many times the keys should have been replaced since.
    fn age(&self, keys: &Keys, now: u64) -> u64 {
        now.saturating_sub(keys.since) / self.rotate_secs
    }
}

impl fmt::Debug for TicketKeys {
    /// Without the keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TicketKeys").field("rotate_secs", &self.rotate_secs).finish_non_exhaustive()
    }
}

impl ProducesTickets for TicketKeys {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        u32::try_from(self.rotate_secs).unwrap_or(u32::MAX).min(LIFETIME_SECS_MAX)
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.encrypt_at(UnixTime::now().as_secs(), plain)
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        self.decrypt_at(UnixTime::now().as_secs(), cipher)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_opens_until_its_key_was_replaced_twice() {
        let keys = TicketKeys::new(100);
        let ticket = keys.encrypt_at(1_000, b"session").expect("randomness");
        for (now, opens) in [(1_000, true), (1_099, true), (1_199, true), (1_200, false)] {
            assert_eq!(keys.decrypt_at(now, &ticket).is_some(), opens, "{now}");
        }
        // With tickets made in between, the key is the previous one.
        let later = keys.encrypt_at(1_150, b"other").expect("randomness");
        assert_ne!(ticket[..NAME_LEN], later[..NAME_LEN]);
        assert_eq!(keys.decrypt_at(1_160, &ticket).as_deref(), Some(&b"session"[..]));
        assert_eq!(keys.decrypt_at(1_160, &later).as_deref(), Some(&b"other"[..]));
        keys.encrypt_at(1_260, b"third").expect("randomness");
        assert_eq!(keys.decrypt_at(1_260, &ticket), None);
    }

    #[test]
    fn a_ticket_of_other_keys_or_with_any_bit_changed_does_not_open() {
        let (ours, theirs) = (TicketKeys::new(100), TicketKeys::new(100));
        let ticket = ours.encrypt_at(1_000, b"session").expect("randomness");
        theirs.encrypt_at(1_000, b"").expect("randomness");
        assert_eq!(theirs.decrypt_at(1_000, &ticket), None);
        for at in 0..ticket.len() {
            let mut changed = ticket.clone();
            changed[at] ^= 1;
            assert_eq!(ours.decrypt_at(1_000, &changed), None, "byte {at}");
            assert_eq!(ours.decrypt_at(1_000, &ticket[..at]), None, "{at} bytes");
        }
    }

    #[test]
    fn a_clock_that_goes_back_does_not_lose_the_keys() {
        let keys = TicketKeys::new(100);
        let ticket = keys.encrypt_at(1_000, b"session").expect("randomness");
        assert!(keys.decrypt_at(10, &ticket).is_some());
    }
}
