//! Which certificate a client is shown, and whether it has to show one: by the name that it asks for, and by the
//! signatures that it understands.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// The certificates of a listener by host. Several for one host are tried in the order of the file, so that an ECDSA and
/// an RSA certificate stand side by side.
#[derive(Debug, Default)]
pub struct HostCertificates {
    exact: HashMap<String, Selected>,
    /// By what follows `*.`, which stands for one label (RFC 9525, 6.3).
    wildcard: HashMap<String, Selected>,
    /// For clients that name no host, or one that nothing is for.
    default: Selected,
    /// Whether those of other hosts are turned away instead.
    strict: bool,
}

/// What a host stands for.
#[derive(Debug, Clone, Default)]
pub struct Selected {
    keys: Vec<Arc<CertifiedKey>>,
    /// Which client authentication its clients are asked for: an index, 0 being that of the listener.
    pub auth: usize,
}

impl HostCertificates {
    /// An empty selection.
    pub fn new(strict: bool) -> Self {
        HostCertificates { strict, ..Self::default() }
    }

    /// Adds a certificate for some hosts, of which those that begin with `*.` are wildcards. The first one added is the
    /// default, with those of the same hosts.
    ///
    /// # Errors
    /// A host whose clients another certificate asks for something else: its clients would be asked by chance.
    pub fn add(&mut self, hosts: &[String], key: &Arc<CertifiedKey>, auth: usize) -> Result<(), String> {
        if let Some(host) = hosts.iter().find(|host| self.get(host).is_some_and(|other| other.auth != auth)) {
            return Err(host.clone());
        }
        let same_as_default = hosts.iter().filter_map(|host| self.get(host)).any(|other| {
            other.keys.iter().any(|key| self.default.keys.iter().any(|default| Arc::ptr_eq(default, key)))
        });
        if self.default.keys.is_empty() || same_as_default {
            self.default.keys.push(key.clone());
            self.default.auth = auth;
        }
        for host in hosts {
            let selected = match host.strip_prefix("*.") {
                Some(parent) => self.wildcard.entry(parent.to_owned()).or_default(),
                None => self.exact.entry(host.clone()).or_default(),
            };
            selected.keys.push(key.clone());
            selected.auth = auth;
        }
        Ok(())
    }

    /// Whether a certificate of its own covers this host (lower case, no port).
    pub fn covers(&self, host: &str) -> bool {
        self.find(host).is_some()
    }

    /// How much of a host (lower case) the pattern says that covers it, in bytes from the right.
    pub fn exactness(&self, host: &str) -> Option<usize> {
        if self.exact.contains_key(host) {
            return Some(host.len());
        }
        let (_, parent) = host.split_once('.')?;
        self.wildcard.contains_key(parent).then_some(parent.len())
    }

    /// Whether hosts below this domain (lower case) have certificates of their own.
    pub fn has_below(&self, domain: &str) -> bool {
        let below = |host: &String| host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'));
        self.exact.keys().any(below) || self.wildcard.keys().any(below)
    }

    /// What clients get that ask for this host (lower case), or for none.
    pub fn select(&self, host: Option<&str>) -> &Selected {
        host.and_then(|host| self.find(host)).unwrap_or(&self.default)
    }

    /// What is for a host, an exact name before a wildcard.
    fn find(&self, host: &str) -> Option<&Selected> {
        let parent = || host.split_once('.').map(|(_, parent)| parent);
        self.exact.get(host).or_else(|| self.wildcard.get(parent()?))
    }

    fn get(&self, pattern: &str) -> Option<&Selected> {
        match pattern.strip_prefix("*.") {
            Some(parent) => self.wildcard.get(parent),
            None => self.exact.get(pattern),
        }
    }
}

impl Selected {
    /// Whether the very same certificates were selected.
    pub fn is_same(&self, other: &Selected) -> bool {
        self.auth == other.auth
            && self.keys.len() == other.keys.len()
            && self.keys.iter().zip(&other.keys).all(|(one, other)| Arc::ptr_eq(one, other))
    }

    /// Whether one of these certificates would do for another selection, whose clients are asked for the same.
    pub fn shares_with(&self, other: &Selected) -> bool {
        self.auth == other.auth
            && self.keys.iter().any(|key| other.keys.iter().any(|other| Arc::ptr_eq(key, other)))
    }
}

impl ResolvesServerCert for HostCertificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // rustls has made the name lower case.
        let keys = match hello.server_name() {
            Some(name) if self.strict => &self.find(name)?.keys,
            name => &self.select(name).keys,
        };
        let understood =
            |key: &&Arc<CertifiedKey>| key.key.choose_scheme(hello.signature_schemes()).is_some();
        keys.iter().find(understood).or_else(|| keys.first()).cloned()
    }
}
