//! The configuration that the data path reads: immutable, shared by all workers, swapped whole by a reload.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use ringway_policies::balance::Balance;
pub use ringway_policies::cidr::{Cidr, CidrSet};
pub use ringway_policies::forwarded::ForwardedStyle;
use ringway_policies::outlier::OutlierRules;
pub use ringway_policies::path::PathRules;
use ringway_policies::policy::PolicyConfig;
use ringway_policies::route::{HostTable, RouteError, RouteMatch, RouteRule, RouteTable};
pub use ringway_policies::split::SplitKey;
use ringway_protocols::http2::ConnectionConfig;

use super::balance::{BalanceConfig, BreakerLimits, EndpointTraits};
use super::discovery::DiscoveryConfig;
use super::health::HealthKind;
use super::{ConfigError, Inputs, Layer, MirrorConfig, Own, ResilienceConfig, Secrets, Targets};
use crate::io::Address;
use crate::tls::{ClientTls, ServerTls};

/// One generation of the whole configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// 1 for the configuration of the start; each successful reload adds one.
    pub generation: u64,
    /// Rises with each reload, and with each change of the endpoints that are found.
    pub revision: u64,
    pub process: ProcessConfig,
    /// Policies of every request.
    pub policies: Vec<PolicyConfig>,
    pub listeners: Vec<Arc<ListenerConfig>>,
    pub clusters: Vec<Arc<ClusterConfig>>,
    pub routes: Vec<Arc<RouteConfig>>,
    /// The match table over `routes`.
    pub route_table: Arc<RouteTable>,
    /// Where each value comes from: for the dump and for the comparison with the next generation.
    pub sources: Arc<Sources>,
    /// What works and is probably not what was meant.
    pub warnings: Vec<ConfigError>,
}

/// The values of all settings with their origins.
#[derive(Debug, Default, Clone)]
pub struct Sources {
    pub base: Layer,
    /// Values of each listener, cluster and route of its own, in the order of [`Config`].
    pub listeners: Vec<Own>,
    pub clusters: Vec<Own>,
    pub routes: Vec<Own>,
    pub file: Option<Arc<str>>,
    /// Names of all files, by their numbers.
    pub files: Vec<Arc<str>>,
    /// Keys at the top of the file that are no settings.
    pub top: Own,
    /// What must not be shown.
    pub secrets: Secrets,
    /// What was read.
    pub inputs: Inputs,
}

/// Settings of the process: changing one needs a restart unless said otherwise.
#[derive(Debug, Clone)]
pub struct ProcessConfig {
    /// Number of worker threads, already resolved from `auto`. At least 1.
    pub workers: usize,
    /// CPU of each worker, `workers` long; empty when pinning is off.
    pub cpus: Vec<usize>,
    pub io: IoChoice,
    /// The admin listener over TCP; `None` switches it off.
    pub admin: Option<SocketAddr>,
    /// The admin listener over a UNIX socket (mode 0600), where writes are allowed.
    pub admin_socket: Option<PathBuf>,
    /// Bearer token that the TCP admin listener asks for before a write.
    pub admin_token: Option<String>,
    /// What a request shows to be told where it went. Reloadable.
    pub explain_token: Option<String>,
    pub access_log: Option<AccessLogConfig>,
    /// How long a drain may take before what is left is cut. Reloadable.
    pub drain_timeout: Duration,
    /// Whether changed files are loaded by themselves.
    pub watch: bool,
    pub buffers: BufferConfig,
    /// Bodies of at least this many bytes leave user space out by `splice(2)`; 0 switches it off.
    pub splice_bytes_min: u64,
    /// Whom names are asked of; empty: as the system says.
    pub dns_servers: Vec<SocketAddr>,
    /// gRPC methods with statistics from the start.
    pub grpc_methods: Vec<String>,
    /// Old generations that may still be in use by running exchanges before a reload is refused.
    pub generations_max: usize,
    /// A deferred item budget for one loop turn and the wait that fills it (io_uring only).
    pub wait_nr: u32,
    pub min_wait_usec: u32,
}

/// Memory of one worker for bytes in flight.
#[derive(Debug, Clone, Copy)]
pub struct BufferConfig {
    /// Size of one receive buffer.
    pub buffer_bytes: u32,
    /// Buffers offered to the kernel at a time: the hot set. A power of two.
    pub ring_buffers: u16,
    /// Ceiling over all receive buffers of one worker; on reaching it the largest holder is reset.
    pub worker_bytes_max: u64,
    /// What one connection may hold received but not yet forwarded.
    pub connection_bytes_max: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IoChoice {
    Auto,
    Uring,
    Epoll,
    #[cfg(feature = "monoio")]
    Monoio,
    #[cfg(feature = "glommio")]
    Glommio,
}

#[derive(Debug, Clone, PartialEq)]
pub struct AccessLogConfig {
    pub format: AccessLogFormat,
    pub target: AccessLogTarget,
}

#[derive(Debug, Clone, PartialEq)]
pub enum AccessLogFormat {
    Combined,
    Json,
    /// Text with `{variables}`.
    Template(String),
}

#[derive(Debug, Clone, PartialEq)]
pub enum AccessLogTarget {
    Stdout,
    File(PathBuf),
}

#[derive(Debug, Clone)]
pub struct ListenerConfig {
    pub name: String,
    pub bind: Address,
    /// Sources allowed to send a PROXY protocol header, which is then required of them; empty: not spoken.
    pub proxy_protocol_from: Vec<Cidr>,
    /// Which spellings of a path are let through.
    pub path_rules: PathRules,
    pub forwarded: ForwardedConfig,
    pub limits: ListenerLimits,
    pub http2: Http2Config,
    /// Calls of `grpc.health.v1.Health` are answered here.
    pub grpc_health: bool,
    /// Where connections lead that are passed on as they are; `None`: HTTP is spoken.
    pub tcp: Option<TcpConfig>,
    /// `None`: plain text.
    pub tls: Option<Arc<ServerTls>>,
    /// Server names whose connections are passed on with the TLS that they bring, where all others have it ended here.
    pub passthrough: Option<TcpConfig>,
    /// Requests without TLS are sent to this port with it.
    pub redirect_to_https: Option<u16>,
    /// Policies of its requests.
    pub policies: Vec<PolicyConfig>,
}

impl ListenerConfig {
    /// Whether connections for a server name (lower case) are passed on. The more exact of two patterns decides: a name
    /// before a wildcard, a longer wildcard before a shorter one, and of two alike what is passed on before a certificate.
    pub fn passes_on(&self, server_name: &str) -> bool {
        let (Some(passthrough), Some(tls)) = (&self.passthrough, &self.tls) else { return false };
        // Where all the rest is passed on, nothing is said of the name, so that every certificate for it is more exact.
        let rest = passthrough.cluster.map(|_| 0);
        let passed = passthrough.names.exactness(server_name).or(rest);
        passed.is_some() && passed >= tls.exactness(server_name)
    }
}

/// Where a listener passes connections on to.
#[derive(Debug, Clone)]
pub struct TcpConfig {
    /// How long a connection may be silent in both directions.
    pub idle_timeout: Duration,
    /// The cluster of every connection, or of those whose server name has none of its own; `None` refuses these.
    pub cluster: Option<usize>,
    /// Clusters by the server name of a TLS ClientHello, which is not read where there are none.
    pub names: ServerNames,
}

/// Patterns of server names, each with its cluster.
#[derive(Debug, Clone, Default)]
pub struct ServerNames {
    table: Arc<HostTable>,
    /// Patterns and indices into `Config::clusters`, by the table's rules.
    names: Vec<(String, usize)>,
}

impl ServerNames {
    /// # Errors
    /// The index of a name that is there twice or has no meaning.
    pub(super) fn build(names: Vec<(String, usize)>) -> Result<Self, usize> {
        let table = Arc::new(HostTable::build(names.iter().map(|(name, _)| name.as_str()))?);
        Ok(ServerNames { table, names })
    }

    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Patterns, each with its cluster.
    pub fn iter(&self) -> impl Iterator<Item = (&str, usize)> {
        self.names.iter().map(|(name, cluster)| (name.as_str(), *cluster))
    }

    /// The cluster of a server name: that of the name itself before that of the longest `*.` pattern.
    pub fn find(&self, name: &str) -> Option<usize> {
        self.get(name).map(|(_, cluster)| *cluster)
    }

    /// How much of a server name its pattern says, in bytes from the right; `None` where there is no pattern for it.
    pub fn exactness(&self, name: &str) -> Option<usize> {
        self.get(name).map(|(pattern, _)| pattern.strip_prefix("*.").unwrap_or(pattern).len())
    }

    fn get(&self, name: &str) -> Option<&(String, usize)> {
        self.table.find(name.as_bytes()).and_then(|index| self.names.get(index))
    }
}

/// What a listener accepts from one connection, and from all of them.
#[derive(Debug, Clone, Copy)]
pub struct ListenerLimits {
    /// Connections of this listener over all workers.
    pub connections_max: u32,
    /// Connections of one client address over all workers; 0 is unlimited.
    pub connections_per_client_max: u32,
    pub header_bytes_max: u32,
    pub header_count_max: u16,
    /// Bytes of a request target; more is 414.
    pub target_bytes_max: u32,
    /// Bytes of a request body; more is 413. 0 is unlimited.
    pub body_bytes_max: u64,
    /// From the first byte of a request to the end of its head.
    pub header_timeout: Duration,
    /// Keep-alive connection without a request.
    pub idle_timeout: Duration,
    /// Longest time without progress of a request body.
    pub request_body_timeout: Duration,
    /// Longest time without progress of the response towards the client.
    pub response_body_timeout: Duration,
    /// Requests of one connection before it is told to close; 0 is unlimited.
    pub requests_max: u64,
}

/// What a listener does with HTTP/2.
#[derive(Debug, Clone)]
pub struct Http2Config {
    /// HTTP/2 by prior knowledge.
    pub enabled: bool,
    /// HTTP/2 by `Upgrade: h2c`.
    pub upgrade: bool,
    pub settings_timeout: Duration,
    /// Age at which a connection is told to end; zero is unlimited.
    pub connection_age: Duration,
    /// What its requests then get to finish.
    pub age_grace: Duration,
    /// What the state machine of a connection is built with.
    pub machine: ConnectionConfig,
}

/// Which forwarding headers are believed and written.
#[derive(Debug, Clone)]
pub struct ForwardedConfig {
    pub style: ForwardedStyle,
    /// Peers whose forwarding headers and request ids are kept; all others' are replaced.
    pub trusted: CidrSet,
    pub via: bool,
    pub request_id: bool,
    /// `x-ringway-reason` on local replies.
    pub reason_header: bool,
}

/// Longer than any connection lives: the deadline of what has none.
pub const FOREVER: Duration = Duration::from_secs(365 * 24 * 3600);

#[derive(Debug, Clone, PartialEq)]
pub struct ClusterConfig {
    pub name: String,
    pub endpoints: Vec<EndpointConfig>,
    /// What is said of each endpoint, in the same order; nothing stands for the defaults.
    pub endpoint_traits: Vec<EndpointTraits>,
    /// Where they come from, if the file does not list them.
    pub discovery: Option<DiscoveryConfig>,
    pub spread: BalanceConfig,
    pub breakers: BreakerLimits,
    /// `None`: answers never eject an endpoint.
    pub outlier: Option<OutlierRules>,
    pub pool: PoolConfig,
    pub connect_timeout: Duration,
    /// From the last byte of the request head to the end of the response head.
    pub response_head_timeout: Duration,
    /// Longest time without progress of a response body from the origin.
    pub response_body_timeout: Duration,
    pub response_header_bytes_max: u32,
    pub response_header_count_max: u16,
    pub send_proxy_protocol: Option<ProxyProtocolVersion>,
    pub protocol: UpstreamProtocol,
    pub multiplex: MultiplexConfig,
    /// `None`: endpoints are taken to be healthy.
    pub health: Option<HealthConfig>,
    /// `None`: plain text.
    pub tls: Option<Arc<ClientTls>>,
}

/// How endpoints are asked for their health.
#[derive(Debug, Clone, PartialEq)]
pub struct HealthConfig {
    pub kind: HealthKind,
    pub interval: Duration,
    pub timeout: Duration,
    /// Good answers in a row that make an endpoint healthy, and failures that make it unhealthy.
    pub healthy_after: u32,
    pub unhealthy_after: u32,
}

/// What the endpoints of a cluster speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpstreamProtocol {
    Http1,
    Http2,
    /// Found out at the first connection to each endpoint.
    Auto,
}

/// HTTP/2 connections to an endpoint, of each worker.
#[derive(Debug, Clone, PartialEq)]
pub struct MultiplexConfig {
    pub connections_max: u32,
    /// Requests on one connection at a time.
    pub streams_max: u32,
    pub settings_timeout: Duration,
    /// Silence after which a PING is sent; zero sends none.
    pub ping_interval: Duration,
    pub ping_timeout: Duration,
    /// How long `auto` takes HTTP/1.1 for all that an endpoint speaks; zero is for ever.
    pub probe_again: Duration,
    /// What the state machine of a connection is built with.
    pub machine: ConnectionConfig,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyProtocolVersion {
    V1,
    V2,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum EndpointConfig {
    Address(Address),
    /// Resolved on a control thread, again by TTL.
    Name {
        host: String,
        port: u16,
    },
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PoolConfig {
    pub idle_timeout: Duration,
    /// Age after which a connection is not used again; zero is unlimited.
    pub lifetime_max: Duration,
    /// Requests on one connection; 0 is unlimited.
    pub requests_max: u64,
    /// Idle connections per endpoint over all workers.
    pub idle_max: u32,
    /// Connections per endpoint over all workers, busy and idle; 0 is unlimited.
    pub connections_max: u32,
}

#[derive(Debug, Clone)]
pub struct RouteConfig {
    pub name: String,
    /// Indices into `Config::listeners`; empty: all of them.
    pub listeners: Vec<usize>,
    /// Lower-case host names without port; `*.example.com` matches any sub-domain; empty: every host.
    pub hosts: Vec<String>,
    /// Any of them; at least one.
    pub matches: Vec<Arc<RouteMatch>>,
    pub targets: Arc<Targets>,
    /// What keeps a client with one of the targets.
    pub sticky: Option<SplitKey>,
    /// What is done about requests that come to nothing; `None`: no more than what is always safe.
    pub resilience: Option<Arc<ResilienceConfig>>,
    /// Where copies of requests go, if anywhere.
    pub mirror: Option<MirrorConfig>,
    /// Whether origins are told how long they have.
    pub deadline_header: bool,
    /// The whole exchange, from the end of the request head; zero is unlimited.
    pub timeout: Duration,
    /// `Upgrade` tokens that may become a tunnel, lower case.
    pub upgrades: Vec<String>,
    pub tunnel_idle_timeout: Duration,
    /// Whether CONNECT is answered with a tunnel to the cluster.
    pub connect: bool,
    pub grpc: GrpcRouteConfig,
    /// Policies of its requests.
    pub policies: Vec<PolicyConfig>,
}

/// What a route does with gRPC calls.
#[derive(Debug, Clone)]
pub struct GrpcRouteConfig {
    /// How long a call may be silent.
    pub idle_timeout: Duration,
    /// Origins of pages that may make gRPC-Web calls; `*` for all.
    pub web_origins: Vec<String>,
}

/// The match table over routes.
///
/// # Errors
/// When two routes match the very same requests, or a host or prefix has no meaning; routes are named by index.
pub(super) fn route_table(routes: &[Arc<RouteConfig>]) -> Result<RouteTable, RouteError> {
    let rules: Vec<RouteRule<'_>> = routes
        .iter()
        .map(|route| RouteRule { listeners: &route.listeners, hosts: &route.hosts, matches: &route.matches })
        .collect();
    RouteTable::build(&rules)
}
