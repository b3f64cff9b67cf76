//! Identity from the SPIFFE Workload API: an X.509-SVID, and whom to trust by trust domain.
//!
//! ```text
//! control thread                                     handshakes
//!   agents: a task per socket ──▶ Identity ──┐
//!                                            ▼
//!                                        table here ──read──▶ ServerTls, ClientTls (told to read again)
//! ```
//!
//! **Invariant:** without an identity nobody is trusted and nothing is shown. One that was received stays in use until
//! another one comes: when it has expired, peers refuse it.

#[cfg(feature = "spiffe")]
mod agents;

#[cfg(feature = "spiffe")]
pub(crate) use agents::Agents;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_lc_rs::digest;
use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::certificate::CertificateFacts;

/// Where the socket of the agent is said, where the configuration does not (Workload Endpoint, 4).
pub const SOCKET_VARIABLE: &str = "SPIFFE_ENDPOINT_SOCKET";
/// Trust domains of one identity, federated ones included.
const DOMAINS_MAX: usize = 1_000;

/// By socket. One table for the process: configurations come and go, and the identity stays.
static TABLE: Mutex<BTreeMap<String, Arc<Identity>>> = Mutex::new(BTreeMap::new());

/// Who this process is, and whom it may believe.
#[derive(Debug)]
pub struct Identity {
    /// What is shown to peers.
    pub(super) key: Arc<CertifiedKey>,
    pub(super) facts: CertificateFacts,
    /// The authorities of each trust domain.
    pub(super) bundles: BTreeMap<String, Arc<RootCertStore>>,
    /// Over the bundles.
    pub(super) trust: [u8; 32],
}

impl Identity {
    /// Puts together what an agent has sent. The error is for a person.
    pub fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        bundles: impl IntoIterator<Item = (String, Vec<CertificateDer<'static>>)>,
        provider: &CryptoProvider,
    ) -> Result<Self, String> {
        let facts = chain.first().and_then(|leaf| CertificateFacts::read(leaf));
        let facts = facts.ok_or("the certificate cannot be read")?;
        if facts.spiffe_id.is_none() || facts.is_ca {
            return Err("the certificate is not that of a workload: it needs one SPIFFE ID".to_owned());
        }
        let key = CertifiedKey::from_der(chain, key, provider)
            .map_err(|error| format!("the key cannot be used with its certificate: {error}"))?;
        let mut context = digest::Context::new(&digest::SHA256);
        let mut stores = BTreeMap::new();
        for (domain, authorities) in bundles.into_iter().take(DOMAINS_MAX) {
            let mut store = RootCertStore::empty();
            context.update(domain.as_bytes());
            for authority in authorities {
                context.update(&authority);
                store.add(authority).map_err(|error| format!("an authority of {domain}: {error}"))?;
            }
            stores.insert(domain, Arc::new(store));
        }
        let mut trust = [0; 32];
        trust.copy_from_slice(context.finish().as_ref());
        Ok(Identity { key: Arc::new(key), facts, bundles: stores, trust })
    }

    /// The SPIFFE ID.
    pub fn id(&self) -> &str {
        self.facts.spiffe_id.as_deref().unwrap_or_default()
    }

    /// Seconds since 1970.
    pub fn not_after(&self) -> i64 {
        self.facts.not_after
    }

    pub fn bundles_count(&self) -> usize {
        self.bundles.len()
    }
}

/// The identity that the agent behind a socket has sent last.
pub fn current(socket: &str) -> Option<Arc<Identity>> {
    table().get(socket).cloned()
}

/// Puts an identity in the place of the one before.
#[cfg_attr(not(feature = "spiffe"), expect(dead_code, reason = "without the feature there are none"))]
pub(crate) fn replace(socket: &str, identity: Identity) {
    table().insert(socket.to_owned(), Arc::new(identity));
}

/// Forgets the identities of sockets that are not used any more.
#[cfg_attr(not(feature = "spiffe"), expect(dead_code, reason = "without the feature there are none"))]
fn forget_others(used: &[&str]) {
    table().retain(|socket, _| used.contains(&socket.as_str()));
}

/// The table is consistent at every step, so a panic elsewhere does not make it unusable.
fn table() -> MutexGuard<'static, BTreeMap<String, Arc<Identity>>> {
    TABLE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
