//! What a run does.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use super::arrivals::Spacing;
use super::codec::Protocol;
use super::request::RequestConfig;
use super::target::Target;
use super::tls::config::TlsArgs;

/// Shared by all workers, and by the rounds of a comparison.
#[derive(Clone, Debug)]
pub struct LoadConfig {
    pub targets: Vec<Target>,
    /// Local addresses to connect from, in turn. Each has its own range of ports.
    pub sources: Vec<IpAddr>,
    pub protocol: Protocol,
    pub connections: u32,
    /// Requests at a time on one connection: streams, or the depth of a pipeline.
    pub streams: u32,
    pub new_connection: bool,
    pub requests: Vec<RequestConfig>,
    /// Requests per second over all workers; `None` is closed loop.
    pub rate: Option<f64>,
    pub spacing: Spacing,
    /// Arrivals that may wait for a connection, over all workers.
    pub queue_max: usize,
    pub requests_max: Option<u64>,
    pub duration: Option<Duration>,
    pub warmup: Duration,
    pub ramp_up: Duration,
    pub ramp_down: Duration,
    pub timeout: Duration,
    /// How long the last answers are waited for.
    pub drain: Duration,
    pub threads: u32,
    pub cpus: Vec<usize>,
    /// The version of the PROXY protocol that each connection begins with.
    pub proxy_protocol: Option<u8>,
    /// For targets with TLS.
    pub tls: TlsArgs,
    pub seed: u64,
    pub pids: Vec<u32>,
}

/// What workers and the progress line share. Updated once in a turn, not for each request.
#[derive(Debug, Default)]
pub struct Shared {
    pub stop: AtomicBool,
    pub counter: AtomicU64,
    pub requests: AtomicU64,
    pub errors: AtomicU64,
}

impl LoadConfig {
    /// A closed loop of GET for ten seconds.
    pub fn new(targets: Vec<Target>) -> LoadConfig {
        LoadConfig {
            targets,
            sources: Vec::new(),
            protocol: Protocol::Http1,
            connections: 64,
            streams: 1,
            new_connection: false,
            requests: vec![RequestConfig::default()],
            rate: None,
            spacing: Spacing::Fixed,
            queue_max: 100_000,
            requests_max: None,
            duration: Some(Duration::from_secs(10)),
            warmup: Duration::ZERO,
            ramp_up: Duration::ZERO,
            ramp_down: Duration::ZERO,
            timeout: Duration::from_secs(30),
            drain: Duration::from_secs(5),
            threads: 1,
            cpus: Vec::new(),
            proxy_protocol: None,
            tls: TlsArgs::default(),
            seed: 1,
            pids: Vec::new(),
        }
    }
}
