//! Where a configuration comes from, so that a reload can read it again.

use std::path::PathBuf;
use std::sync::Arc;

use super::{
    AccessLogConfig, Balance, BufferConfig, ClusterConfig, Config, EndpointConfig, ForwardedConfig,
    ForwardedStyle, IoChoice, ListenerConfig, ListenerLimits, PoolConfig, ProcessConfig, RouteConfig,
};
use crate::io::Address;
use std::time::Duration;

/// The arguments of this process that make its configuration.
#[derive(Debug, Clone, Default)]
pub struct ConfigSource {
    /// The file, if there is one: it is read again on a reload.
    pub path: Option<PathBuf>,
    /// Addresses of `--listen`.
    pub listen: Vec<String>,
    /// Origins of `--upstream`; none with no file either means the embedded demo origin.
    pub upstream: Vec<String>,
}

impl ConfigSource {
    /// Whether this source asks for the embedded demo origin as its only upstream.
    pub fn wants_demo_origin(&self) -> bool {
        self.path.is_none() && self.upstream.is_empty()
    }
}

impl Config {
    /// A configuration of one route from every listener to one cluster, everything else at its default.
    pub fn simple(listen: &[Address], endpoints: &[EndpointConfig], process: ProcessConfig) -> Config {
        let listeners = listen.iter().enumerate().map(|(index, bind)| {
            Arc::new(ListenerConfig {
                name: format!("listen-{}", index + 1),
                bind: bind.clone(),
                proxy_protocol_from: Vec::new(),
                forwarded: ForwardedConfig::default(),
                limits: ListenerLimits::default(),
            })
        });
        Config {
            generation: 1,
            process,
            listeners: listeners.collect(),
            clusters: vec![Arc::new(ClusterConfig::new("upstream", endpoints.to_vec()))],
            routes: vec![Arc::new(RouteConfig::catch_all("default", 0))],
        }
    }
}

impl ClusterConfig {
    /// A cluster with every default.
    pub fn new(name: &str, endpoints: Vec<EndpointConfig>) -> Self {
        ClusterConfig {
            name: name.to_owned(),
            endpoints,
            balance: Balance::RoundRobin,
            pool: PoolConfig::default(),
            connect_timeout: Duration::from_secs(5),
            response_head_timeout: Duration::from_secs(60),
            response_body_timeout: Duration::from_secs(60),
            response_header_bytes_max: 64 * 1024,
            response_header_count_max: 100,
            send_proxy_protocol: None,
        }
    }
}

impl RouteConfig {
    /// A route that takes every request of every listener to one cluster.
    pub fn catch_all(name: &str, cluster: usize) -> Self {
        RouteConfig {
            name: name.to_owned(),
            listeners: Vec::new(),
            hosts: Vec::new(),
            path_prefix: "/".to_owned(),
            cluster,
            timeout: Duration::ZERO,
            upgrades: vec!["websocket".to_owned()],
            tunnel_idle_timeout: Duration::from_secs(3600),
            connect: false,
        }
    }
}

impl Default for ListenerLimits {
    fn default() -> Self {
        ListenerLimits {
            connections_max: 100_000,
            connections_per_client_max: 0,
            header_bytes_max: 64 * 1024,
            header_count_max: 100,
            target_bytes_max: 16 * 1024,
            body_bytes_max: 0,
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            request_body_timeout: Duration::from_secs(30),
            response_body_timeout: Duration::from_secs(30),
            requests_max: 0,
        }
    }
}

impl Default for ForwardedConfig {
    fn default() -> Self {
        ForwardedConfig {
            style: ForwardedStyle::XForwarded,
            trusted: Vec::new(),
            via: true,
            request_id: true,
            reason_header: true,
        }
    }
}

impl Default for PoolConfig {
    fn default() -> Self {
        PoolConfig {
            idle_timeout: Duration::from_secs(55),
            lifetime_max: Duration::ZERO,
            requests_max: 0,
            idle_max: 256,
            connections_max: 0,
        }
    }
}

impl Default for BufferConfig {
    fn default() -> Self {
        BufferConfig {
            buffer_bytes: 16 * 1024,
            ring_buffers: 64,
            worker_bytes_max: 64 << 20,
            connection_bytes_max: 256 * 1024,
        }
    }
}

impl Default for ProcessConfig {
    /// One worker, not pinned.
    fn default() -> Self {
        ProcessConfig {
            workers: 1,
            cpus: Vec::new(),
            io: IoChoice::Auto,
            admin: Some(([127, 0, 0, 1], 9901).into()),
            admin_socket: None,
            admin_token: None,
            access_log: None::<AccessLogConfig>,
            drain_timeout: Duration::from_secs(30),
            buffers: BufferConfig::default(),
            splice_bytes_min: 256 * 1024,
            generations_max: 8,
            wait_nr: 1,
            min_wait_usec: 0,
        }
    }
}
