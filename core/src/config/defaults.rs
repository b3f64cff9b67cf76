//! The built structures with the defaults of the table, for tests and for embedding.

use std::sync::Arc;

use super::build::{self, RouteParts};
use super::cpus::Host;
use super::error::{Findings, Place};
use super::layer::Layer;
use super::{
    BufferConfig, ClusterConfig, Config, EndpointConfig, EndpointTraits, ForwardedConfig, ListenerConfig,
    ListenerLimits, PoolConfig, ProcessConfig, RouteConfig, Sources, Targets,
};
use crate::io::Address;

impl Config {
    /// One route from every listener to one cluster, everything else at its default.
    pub fn simple(listen: &[Address], endpoints: &[EndpointConfig], process: ProcessConfig) -> Config {
        let listeners = listen.iter().enumerate();
        let route = Arc::new(RouteConfig::catch_all("default", 0));
        Config {
            generation: 1,
            revision: 1,
            process,
            policies: Vec::new(),
            listeners: listeners
                .map(|(index, bind)| {
                    Arc::new(ListenerConfig::new(&format!("listen-{}", index + 1), bind.clone()))
                })
                .collect(),
            clusters: vec![Arc::new(ClusterConfig::new("upstream", endpoints.to_vec()))],
            route_table: super::built::route_table(std::slice::from_ref(&route)).unwrap_or_default().into(),
            routes: vec![route],
            sources: Arc::new(Sources::default()),
            warnings: Vec::new(),
        }
    }
}

impl ListenerConfig {
    /// A listener with every default.
    pub fn new(name: &str, bind: Address) -> Self {
        build::listener(name, bind, &build::all(&Layer::default()))
    }
}

impl ClusterConfig {
    /// A cluster with every default.
    pub fn new(name: &str, endpoints: Vec<EndpointConfig>) -> Self {
        let plain = endpoints.into_iter().map(|endpoint| (endpoint, EndpointTraits::default()));
        build::cluster(name, plain.collect(), &build::all(&Layer::default()))
    }
}

impl RouteConfig {
    /// A route that takes every request of every listener to one cluster.
    pub fn catch_all(name: &str, cluster: usize) -> Self {
        let targets = Arc::new(Targets::one(cluster));
        let parts = RouteParts { matches: build::every_request(), targets, ..RouteParts::default() };
        build::route(name.to_owned(), parts, &build::all(&Layer::default()))
    }
}

impl Default for ProcessConfig {
    /// One worker, not pinned; nothing of the machine is looked at.
    fn default() -> Self {
        let host = Host { cpus: vec![0], ..Host::default() };
        let process = build::process(&Layer::default(), &host, &|_| Place::Process, &mut Findings::default());
        ProcessConfig { cpus: Vec::new(), ..process }
    }
}

impl Default for BufferConfig {
    fn default() -> Self {
        ProcessConfig::default().buffers
    }
}

impl Default for ListenerLimits {
    fn default() -> Self {
        ListenerConfig::new("", Address::Tcp(([127, 0, 0, 1], 0).into())).limits
    }
}

impl Default for ForwardedConfig {
    fn default() -> Self {
        ListenerConfig::new("", Address::Tcp(([127, 0, 0, 1], 0).into())).forwarded
    }
}

impl Default for PoolConfig {
    fn default() -> Self {
        ClusterConfig::new("", Vec::new()).pool
    }
}
