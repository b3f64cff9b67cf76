//! Which certificate a client is shown: by the name that it asks for, and by the signatures that it understands.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// The certificates of a listener by host. Several for one host are tried in the order of the file, so that an ECDSA and
/// an RSA certificate stand side by side.
#[derive(Debug, Default)]
pub struct HostCertificates {
    exact: HashMap<String, Vec<Arc<CertifiedKey>>>,
    /// By what follows `*.`, which stands for one label (RFC 9525, 6.3).
    wildcard: HashMap<String, Vec<Arc<CertifiedKey>>>,
    /// For clients that name no host, or one that nothing is for.
    default: Vec<Arc<CertifiedKey>>,
    /// Whether those of other hosts are turned away instead.
    strict: bool,
}

impl HostCertificates {
    /// An empty selection.
    pub fn new(strict: bool) -> Self {
        HostCertificates { strict, ..Self::default() }
    }

    /// Adds a certificate for some hosts, of which those that begin with `*.` are wildcards. The first one added is the
    /// default, with those of the same hosts.
    pub fn add(&mut self, hosts: &[String], key: &Arc<CertifiedKey>) {
        let same_as_default = hosts
            .iter()
            .any(|host| self.get(host).is_some_and(|keys| keys.iter().any(|key| self.is_default(key))));
        if self.default.is_empty() || same_as_default {
            self.default.push(key.clone());
        }
        for host in hosts {
            let keys = match host.strip_prefix("*.") {
                Some(parent) => self.wildcard.entry(parent.to_owned()).or_default(),
                None => self.exact.entry(host.clone()).or_default(),
            };
            keys.push(key.clone());
        }
    }

    /// Whether a certificate of its own covers this host (lower case, no port).
    pub fn covers(&self, host: &str) -> bool {
        self.find(host).is_some()
    }

    /// The certificates for a host, an exact name before a wildcard.
    fn find(&self, host: &str) -> Option<&Vec<Arc<CertifiedKey>>> {
        let parent = || host.split_once('.').map(|(_, parent)| parent);
        self.exact.get(host).or_else(|| self.wildcard.get(parent()?))
    }

    fn get(&self, pattern: &str) -> Option<&Vec<Arc<CertifiedKey>>> {
        match pattern.strip_prefix("*.") {
            Some(parent) => self.wildcard.get(parent),
            None => self.exact.get(pattern),
        }
    }

    fn is_default(&self, key: &Arc<CertifiedKey>) -> bool {
        self.default.iter().any(|default| Arc::ptr_eq(default, key))
    }
}

impl ResolvesServerCert for HostCertificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let keys = match hello.server_name() {
            // rustls has made it lower case.
            Some(name) => match self.find(name) {
                Some(keys) => keys,
                None if self.strict => return None,
                None => &self.default,
            },
            None => &self.default,
        };
        let understood =
            |key: &&Arc<CertifiedKey>| key.key.choose_scheme(hello.signature_schemes()).is_some();
        keys.iter().find(understood).or_else(|| keys.first()).cloned()
    }
}
