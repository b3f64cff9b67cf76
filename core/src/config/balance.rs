//! How a cluster spreads its requests: what the data path reads.

use std::sync::Arc;
use std::time::Duration;

use ringway_policies::balance::Balance;
use ringway_policies::balance::hash::HashTable;

use super::ClusterConfig;
use crate::stats::labels::endpoint_text;

/// How the endpoints of a cluster share its requests.
#[derive(Debug, Clone, PartialEq)]
pub struct BalanceConfig {
    pub balance: Balance,
    /// What requests are told apart by, for the balancers that hash.
    pub hash_key: HashKey,
    /// Least number of points of a ring or slots of a table.
    pub table_size: u32,
    pub table: Table,
    pub sticky: Option<StickyConfig>,
    /// How long a new endpoint takes to get its whole share; zero gives it at once.
    pub slow_start: Duration,
    /// How soon an average of response times forgets.
    pub ewma_decay: Duration,
    /// The proxy's own zone, where nearness counts.
    pub zone: Option<Arc<str>>,
    /// Below this share of healthy endpoints, health is ignored.
    pub panic_percent: u32,
}

/// Circuit breakers: what one cluster may have at a time over all workers. 0 is unlimited, except for what waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BreakerLimits {
    pub connections_max: u32,
    /// Requests that wait for a connection where the connections are at their limit; 0: none waits.
    pub pending_max: u32,
    pub requests_max: u32,
    pub retries_max: u32,
    /// Requests of each endpoint.
    pub endpoint_requests_max: u32,
}

/// What a request is told apart by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HashKey {
    /// The address of the client.
    Client,
    Path,
    /// The value of a header, by its name in lower case.
    Header(String),
    Cookie(String),
}

/// A cookie that keeps a client with its endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StickyConfig {
    pub cookie: String,
    /// How long a browser keeps it; zero is until it closes.
    pub ttl: Duration,
}

/// What is said of one endpoint beside its address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointTraits {
    pub weight: u32,
    /// 0 comes first.
    pub priority: u32,
    pub zone: Option<Arc<str>>,
}

impl Default for EndpointTraits {
    fn default() -> Self {
        EndpointTraits { weight: 1, priority: 0, zone: None }
    }
}

/// The table of a hash balancer. It follows from the rest of a cluster's configuration, so it is not compared.
#[derive(Debug, Clone, Default)]
pub struct Table(Option<Arc<HashTable>>);

impl PartialEq for Table {
    fn eq(&self, _: &Table) -> bool {
        true
    }
}

impl Table {
    pub fn get(&self) -> Option<&HashTable> {
        self.0.as_deref()
    }
}

impl HashKey {
    /// Reads `client`, `path`, `header:NAME` or `cookie:NAME`.
    pub fn parse(text: &str) -> Option<HashKey> {
        let is_token = |name: &&str| !name.is_empty() && name.bytes().all(is_token_byte);
        match text.split_once(':') {
            None if text == "client" => Some(HashKey::Client),
            None if text == "path" => Some(HashKey::Path),
            Some(("header", name)) => {
                Some(name).filter(is_token).map(|it| HashKey::Header(it.to_ascii_lowercase()))
            }
            Some(("cookie", name)) => Some(name).filter(is_token).map(|it| HashKey::Cookie(it.to_owned())),
            _ => None,
        }
    }
}

/// A character of a name of a header or cookie (RFC 9110 5.6.2).
pub(super) fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

impl ClusterConfig {
    /// What is said of the endpoint at `index` beside its address.
    pub fn traits(&self, index: usize) -> EndpointTraits {
        self.endpoint_traits.get(index).cloned().unwrap_or_default()
    }

    /// Makes the table of a hash balancer, once endpoints and their weights are known.
    pub(super) fn make_table(&mut self) {
        let balance = &self.spread;
        self.spread.table = Table(
            balance
                .balance
                .is_hash()
                .then(|| {
                    let names: Vec<String> = self.endpoints.iter().map(endpoint_text).collect();
                    let weights = (0..names.len()).map(|index| self.traits(index).weight);
                    let endpoints: Vec<(&str, u32)> = names.iter().map(String::as_str).zip(weights).collect();
                    HashTable::build(balance.balance, &endpoints, balance.table_size).map(Arc::new)
                })
                .flatten(),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_name_what_a_request_is_told_apart_by() {
        let header = |name: &str| Some(HashKey::Header(name.to_owned()));
        for (text, expected) in [
            ("client", Some(HashKey::Client)),
            ("path", Some(HashKey::Path)),
            ("header:X-User", header("x-user")),
            ("cookie:Session", Some(HashKey::Cookie("Session".to_owned()))),
            ("header:", None),
            ("header:a b", None),
            ("cookie", None),
            ("query:a", None),
        ] {
            assert_eq!(HashKey::parse(text), expected, "{text}");
        }
    }
}
