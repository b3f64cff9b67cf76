//! Which endpoints of a cluster come into question, as far as the configuration says it.

use ringway_policies::balance::{Candidate, Plan};

use crate::config::{Balance, ClusterConfig, HashKey};
use crate::stats::labels::endpoint_text;

/// One endpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct EndpointView {
    pub name: String,
    pub weight: u32,
    pub priority: u32,
    pub zone: Option<String>,
    /// It gets requests as long as all are healthy; the others are there for when some are not.
    pub first: bool,
}

/// The endpoints of a cluster, all of them taken to be healthy.
pub fn endpoints(cluster: &ClusterConfig) -> Vec<EndpointView> {
    let each = || (0..cluster.endpoints.len()).map(|index| cluster.traits(index));
    let zone = &cluster.spread.zone;
    let candidates: Vec<Candidate> = each()
        .map(|traits| Candidate {
            reachable: true,
            healthy: true,
            weight: traits.weight,
            warmth: 1.0,
            priority: traits.priority,
            near: zone.is_none() || traits.zone == *zone,
        })
        .collect();
    let plan = Plan::build(&candidates, cluster.spread.panic_percent);
    let views =
        cluster.endpoints.iter().zip(each()).enumerate().map(|(index, (endpoint, traits))| EndpointView {
            name: endpoint_text(endpoint),
            weight: traits.weight,
            priority: traits.priority,
            zone: traits.zone.map(|zone| zone.to_string()),
            first: plan.level_of(index) == Some(0),
        });
    views.collect()
}

/// How one of them is chosen.
pub(super) fn balance_text(cluster: &ClusterConfig) -> String {
    let key = match &cluster.spread.hash_key {
        HashKey::Client => "the client's address".to_owned(),
        HashKey::Path => "the path".to_owned(),
        HashKey::Header(name) => format!("the header {name}"),
        HashKey::Cookie(name) => format!("the cookie {name}"),
    };
    let mut text = match cluster.spread.balance {
        Balance::RoundRobin => "in turn".to_owned(),
        Balance::LeastRequest => "the less busy of two".to_owned(),
        Balance::Ewma => "of two the one that answers sooner".to_owned(),
        Balance::Random => "at random".to_owned(),
        Balance::RingHash => format!("by {key}, on a ring"),
        Balance::Maglev => format!("by {key}, in a Maglev table"),
    };
    if let Some(sticky) = &cluster.spread.sticky {
        text.push_str(&format!("; a client with the cookie {} stays where it was", sticky.cookie));
    }
    text
}
