//! Where the endpoints of a cluster come from when the configuration does not list them, and what changes when others are
//! found.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use super::{ClusterConfig, Config, EndpointConfig, EndpointTraits, UpstreamProtocol};

/// Endpoints, each with what is said of it.
pub type Endpoints = Vec<(EndpointConfig, EndpointTraits)>;

/// Where endpoints come from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum DiscoveryConfig {
    /// Each address of a name is an endpoint.
    Dns { host: String, port: u16 },
    /// Each host and port of a service (RFC 2782), by the whole name, such as `_http._tcp.shop.example.com`.
    Srv { service: String },
    /// What this file lists, which is watched.
    File { path: PathBuf },
}

impl DiscoveryConfig {
    /// The name that certificates of endpoints have to be for, unless the cluster says another. For a service it is
    /// the one that the configuration names and not those that an unsigned answer leads to (RFC 9525 section 6.1);
    /// `None`: each endpoint has its own.
    pub fn server_name(&self) -> Option<&str> {
        match self {
            DiscoveryConfig::Dns { host, .. } => Some(host),
            DiscoveryConfig::Srv { service } => Some(domain(service)),
            DiscoveryConfig::File { .. } => None,
        }
    }
}

/// A service's name without the labels that name service and protocol.
fn domain(service: &str) -> &str {
    let mut rest = service;
    while let Some((label, after)) = rest.split_once('.')
        && label.starts_with('_')
    {
        rest = after;
    }
    rest
}

impl fmt::Display for DiscoveryConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DiscoveryConfig::Dns { host, port } => write!(f, "dns {host}:{port}"),
            DiscoveryConfig::Srv { service } => write!(f, "srv {service}"),
            DiscoveryConfig::File { path } => write!(f, "file {}", path.display()),
        }
    }
}

impl ClusterConfig {
    /// Whether connections of a cluster of this configuration serve one of the other as well: what they were made by
    /// is the same.
    pub fn connects_like(&self, other: &ClusterConfig) -> bool {
        let (own, others) = (&self.multiplex, &other.multiplex);
        self.tls == other.tls
            && self.protocol == other.protocol
            && self.send_proxy_protocol == other.send_proxy_protocol
            && own.machine == others.machine
            && own.settings_timeout == others.settings_timeout
            // Connections of HTTP/2 write by this deadline.
            && (self.protocol == UpstreamProtocol::Http1
                || self.response_head_timeout == other.response_head_timeout)
    }

    /// The same cluster with other endpoints; `None` where these are its endpoints already.
    fn with_endpoints(&self, endpoints: Endpoints) -> Option<ClusterConfig> {
        let same = endpoints.len() == self.endpoints.len()
            && endpoints.iter().enumerate().all(|(index, (endpoint, traits))| {
                self.endpoints.get(index) == Some(endpoint) && self.traits(index) == *traits
            });
        if same {
            return None;
        }
        let (endpoints, endpoint_traits) = endpoints.into_iter().unzip();
        let mut cluster = ClusterConfig { endpoints, endpoint_traits, ..self.clone() };
        cluster.make_table();
        Some(cluster)
    }
}

impl Config {
    /// Replaces the endpoints of clusters by what `found` says of each; `None` leaves them as they are. Returns
    /// the names of those that have others now.
    pub fn set_endpoints(&mut self, found: impl Fn(&ClusterConfig) -> Option<Endpoints>) -> Vec<String> {
        let mut changed = Vec::new();
        for cluster in &mut self.clusters {
            if let Some(other) = found(cluster).and_then(|endpoints| cluster.with_endpoints(endpoints)) {
                changed.push(other.name.clone());
                *cluster = Arc::new(other);
            }
        }
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ProcessConfig;

    fn endpoint(last: u8) -> (EndpointConfig, EndpointTraits) {
        let address = format!("10.0.0.{last}:80").parse().expect("an address");
        (EndpointConfig::Address(address), EndpointTraits::default())
    }

    #[test]
    fn certificates_are_verified_for_the_name_that_the_configuration_has() {
        for (service, expected) in [
            ("_http._tcp.shop.example.com", "shop.example.com"),
            ("_grpc._tcp.payments.prod.svc", "payments.prod.svc"),
            ("web.service.consul", "web.service.consul"),
            ("_only", "_only"),
        ] {
            let discovery = DiscoveryConfig::Srv { service: service.to_owned() };
            assert_eq!(discovery.server_name(), Some(expected));
        }
    }

    #[test]
    fn only_clusters_whose_endpoints_differ_are_made_anew() {
        let (one, two) = (endpoint(1), endpoint(2));
        let mut config = Config::simple(&[], std::slice::from_ref(&one.0), ProcessConfig::default());
        config.clusters.push(Arc::new(ClusterConfig::new("other", vec![two.0.clone()])));
        let before = config.clusters.clone();
        assert!(config.set_endpoints(|_| None).is_empty());
        assert!(
            config
                .set_endpoints(|cluster| (cluster.name == "upstream").then(|| vec![one.clone()]))
                .is_empty()
        );
        let heavier = (two.0.clone(), EndpointTraits { weight: 2, ..EndpointTraits::default() });
        let found = |cluster: &ClusterConfig| {
            Some(if cluster.name == "other" { vec![heavier.clone()] } else { vec![one.clone()] })
        };
        assert_eq!(config.set_endpoints(found), ["other"]);
        assert!(
            Arc::ptr_eq(&before[0], &config.clusters[0]) && !Arc::ptr_eq(&before[1], &config.clusters[1])
        );
        assert!(before[1].connects_like(&config.clusters[1]), "connections are of use to what came after");
    }
}
