//! The hosts of a service (DNS SRV, RFC 2782), as endpoints.

use std::fmt;

use crate::config::discovery::Endpoints;
use crate::config::{EndpointConfig, EndpointTraits};

/// Hosts of one service that are used; more are left out.
const SERVICES_MAX: usize = 256;
/// The largest weight of an endpoint, and the last priority.
const WEIGHT_MAX: u32 = 10_000;
const PRIORITY_MAX: u32 = 127;

/// One host of a service.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Service {
    /// Lower comes first.
    pub(super) priority: u16,
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) weight: u16,
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{} priority {} weight {}", self.host, self.port, self.priority, self.weight)
    }
}

/// The same content in the same order, whatever the order of the answer. A host and port that are there twice count
/// once, with the better priority.
pub(super) fn order(mut found: Vec<Service>) -> Vec<Service> {
    found.sort_unstable();
    let mut ordered: Vec<Service> = Vec::new();
    for service in found {
        let same = |other: &Service| other.host == service.host && other.port == service.port;
        if ordered.len() < SERVICES_MAX && !ordered.iter().any(same) {
            ordered.push(service);
        }
    }
    ordered
}

/// Endpoints by name, so that the addresses of each host are resolved by their own times to live. Priorities become
/// ranks. A weight of 0 is the least share there is (RFC 2782, "Weight").
pub(super) fn endpoints(services: &[Service]) -> Endpoints {
    let mut ranks: Vec<u16> = services.iter().map(|service| service.priority).collect();
    ranks.sort_unstable();
    ranks.dedup();
    let heaviest = services.iter().map(|service| u32::from(service.weight)).max().unwrap_or(0);
    let endpoint = |service: &Service| {
        let weight = match u32::from(service.weight) {
            weight if heaviest > WEIGHT_MAX => weight * WEIGHT_MAX / heaviest,
            weight => weight,
        };
        let rank = ranks.iter().position(|rank| *rank == service.priority).unwrap_or(0);
        let traits = EndpointTraits {
            weight: weight.max(1),
            priority: u32::try_from(rank).unwrap_or(PRIORITY_MAX).min(PRIORITY_MAX),
            zone: None,
        };
        (EndpointConfig::Name { host: service.host.clone(), port: service.port }, traits)
    };
    services.iter().map(endpoint).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(text: &str) -> Service {
        let parts: Vec<&str> = text.split(' ').collect();
        let number = |at: usize| parts[at].parse().expect("a number");
        Service { priority: number(0), weight: number(1), port: number(2), host: parts[3].to_owned() }
    }

    fn check(answer: &[&str], expected: &[&str]) {
        let mut answer: Vec<Service> = answer.iter().copied().map(service).collect();
        let first = shown(&answer);
        assert_eq!(first, expected, "{answer:?}");
        answer.reverse();
        assert_eq!(shown(&answer), first, "the order of an answer says nothing");
    }

    /// `HOST:PORT weight priority` of each endpoint.
    fn shown(answer: &[Service]) -> Vec<String> {
        let endpoints = endpoints(&order(answer.to_vec()));
        let show = |(endpoint, traits): &(EndpointConfig, EndpointTraits)| match endpoint {
            EndpointConfig::Name { host, port } => {
                format!("{host}:{port} {} {}", traits.weight, traits.priority)
            }
            EndpointConfig::Address(address) => panic!("{address} is no name"),
        };
        endpoints.iter().map(show).collect()
    }

    #[test]
    fn priorities_become_ranks_and_weights_stay_shares() {
        check(&[], &[]);
        check(&["10 60 80 a", "10 20 80 b", "20 0 80 c"], &["a:80 60 0", "b:80 20 0", "c:80 1 1"]);
        check(&["0 0 80 a", "0 0 81 a"], &["a:80 1 0", "a:81 1 0"]);
        check(&["1 65535 80 a", "1 13107 80 b", "1 0 80 c"], &["a:80 10000 0", "b:80 2000 0", "c:80 1 0"]);
        check(&["7 1 80 b", "3 1 80 a", "7 9 80 a"], &["a:80 1 0", "b:80 1 1"]);
    }

    #[test]
    fn the_number_of_hosts_is_bounded() {
        let many = (0..1_000u16).map(|number| service(&format!("0 1 80 h{number}")));
        assert_eq!(order(many.collect()).len(), SERVICES_MAX);
    }
}
