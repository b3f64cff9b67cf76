//! Values → the [`super::Config`] that the data path reads. What does not fit together is found in [`super::check`].

use std::path::Path;
use std::sync::Arc;

use ringway_policies::outlier::OutlierRules;
use ringway_policies::path::{
    DotSegments, EncodedSlash, EncodedUnreserved, Parameters, PathRules, RepeatedSlashes,
};
use ringway_policies::policy::PolicyConfig;
use ringway_policies::route::RouteMatch;
use ringway_policies::split::SplitKey;
use ringway_protocols::http1::{HeadLimits, TrailerLimits};
use ringway_protocols::http2::{AbuseLimits, ConnectionConfig};

use super::balance::{BalanceConfig, BreakerLimits, EndpointTraits, HashKey, StickyConfig, Table};
use super::cpus::Host;
use super::error::{ConfigError, Findings, Place};
use super::health::{self, HealthKind, HttpHealth};
use super::layer::{Layer, Own, View};
use super::resilience;
use super::settings::{Id, Setting};
use super::{
    AccessLogConfig, AccessLogFormat, AccessLogTarget, Balance, BufferConfig, CidrSet, ClusterConfig,
    EndpointConfig, ForwardedConfig, ForwardedStyle, GrpcRouteConfig, HealthConfig, Http2Config, IoChoice,
    ListenerConfig, ListenerLimits, MirrorTarget, MultiplexConfig, PoolConfig, ProcessConfig,
    ProxyProtocolVersion, RouteConfig, ServerNames, Targets, TcpConfig, UpstreamProtocol,
};
use crate::access_log;
use crate::io::Address;

/// `buffers.worker_bytes: auto` where memory does not ask for less.
const WORKER_BYTES_AUTO: u64 = 64 << 20;
/// And where it does: below this nothing useful can be proxied.
const WORKER_BYTES_AUTO_MIN: u64 = 4 << 20;

/// 16 characters of a random token are more than can be tried.
const EXPLAIN_TOKEN_BYTES_MIN: usize = 16;

static NOTHING_OWN: Own = Own::new();

/// The view of a whole layer.
pub(super) fn all(base: &Layer) -> View<'_> {
    View { base, own: &NOTHING_OWN }
}

/// Builds the settings of the process. `place` says where a setting was written.
pub(super) fn process(
    layer: &Layer,
    host: &Host,
    place: &dyn Fn(Id) -> Place,
    findings: &mut Findings,
) -> ProcessConfig {
    let view = all(layer);
    let workers = match view.word(Id::Workers) {
        Some(_) => host.worker_count(),
        None => view.number_as::<usize>(Id::Workers).max(1),
    };
    ProcessConfig {
        workers,
        cpus: pinned_cpus(&view, host, workers),
        io: match view.word(Id::Io) {
            Some("uring") => IoChoice::Uring,
            Some("epoll") => IoChoice::Epoll,
            #[cfg(feature = "monoio")]
            Some("monoio") => IoChoice::Monoio,
            #[cfg(feature = "glommio")]
            Some("glommio") => IoChoice::Glommio,
            _ => IoChoice::Auto,
        },
        admin: view.socket_addr(Id::AdminBind),
        admin_socket: view.path(Id::AdminSocket),
        admin_token: token(&view, Id::AdminToken, Id::AdminTokenFile, place, findings),
        explain_token: explain_token(&view, place, findings),
        access_log: access_log(&view, place, findings),
        drain_timeout: view.duration(Id::DrainTimeout),
        watch: view.bool(Id::Watch),
        buffers: buffers(&view, host, workers),
        splice_bytes_min: view.number(Id::Splice),
        dns_servers: view.tokens(Id::DnsServers).iter().filter_map(|text| text.parse().ok()).collect(),
        grpc_methods: view.tokens(Id::GrpcMethods),
        generations_max: view.number_as(Id::Generations),
        wait_nr: view.number_as(Id::WaitNr),
        min_wait_usec: u32::try_from(view.duration(Id::MinWait).as_micros()).unwrap_or(0),
    }
}

/// The CPU of each worker, or nothing. `auto` pins only when the workers fill the affinity mask: with a quota
/// below it, several processes of one machine would all choose the same first CPUs.
fn pinned_cpus(view: &View<'_>, host: &Host, workers: usize) -> Vec<usize> {
    let pin = match view.word(Id::Pin) {
        Some(_) => host.cpus.len() == workers,
        None => view.bool(Id::Pin),
    };
    if !pin {
        return Vec::new();
    }
    host.cpus.iter().copied().cycle().take(workers).collect()
}

fn buffers(view: &View<'_>, host: &Host, workers: usize) -> BufferConfig {
    let worker_bytes_max = match view.word(Id::WorkerBytes) {
        None => view.number(Id::WorkerBytes),
        Some(_) => match host.cgroup_memory_bytes {
            None => WORKER_BYTES_AUTO,
            Some(limit) => {
                let share = limit / 100 * view.number(Id::MemoryShare) / workers as u64;
                WORKER_BYTES_AUTO.min(share.max(WORKER_BYTES_AUTO_MIN))
            }
        },
    };
    BufferConfig {
        buffer_bytes: view.number_as(Id::BufferBytes),
        ring_buffers: view.number_as(Id::RingBuffers),
        worker_bytes_max,
        connection_bytes_max: view.number_as(Id::ConnectionBytes),
    }
}

fn access_log(
    view: &View<'_>,
    place: &dyn Fn(Id) -> Place,
    findings: &mut Findings,
) -> Option<AccessLogConfig> {
    let target = match view.word(Id::AccessLog) {
        Some("stdout") => AccessLogTarget::Stdout,
        Some(_) => return None,
        None => AccessLogTarget::File(view.path(Id::AccessLog)?),
    };
    let format = match view.word(Id::AccessLogFormat) {
        Some("json") => AccessLogFormat::Json,
        Some(_) => AccessLogFormat::Combined,
        None => AccessLogFormat::Template(view.text(Id::AccessLogFormat)?),
    };
    if let Err(problem) = access_log::Format::compile(&format) {
        findings.push(ConfigError::new(place(Id::AccessLogFormat), "access_log.format", problem));
    }
    Some(AccessLogConfig { format, target })
}

/// A token that is written in the file itself, or in a file of its own.
fn token(
    view: &View<'_>,
    written: Id,
    file: Id,
    place: &dyn Fn(Id) -> Place,
    findings: &mut Findings,
) -> Option<String> {
    if let Some(token) = view.text(written) {
        return Some(token);
    }
    let path = view.path(file)?;
    let problem = match read_token(&path) {
        Ok(token) => return Some(token),
        Err(problem) => problem,
    };
    findings.push(ConfigError::new(place(file), Setting::of(file).key, problem));
    None
}

/// The token for explanations. Whoever can send requests can try tokens: it must not be one that can be guessed.
fn explain_token(view: &View<'_>, place: &dyn Fn(Id) -> Place, findings: &mut Findings) -> Option<String> {
    let token = token(view, Id::ExplainToken, Id::ExplainTokenFile, place, findings)?;
    if token.len() < EXPLAIN_TOKEN_BYTES_MIN {
        let id = if view.text(Id::ExplainToken).is_some() { Id::ExplainToken } else { Id::ExplainTokenFile };
        let expected = format!("a token of at least {EXPLAIN_TOKEN_BYTES_MIN} characters");
        let error = ConfigError::mismatch(place(id), Setting::of(id).key, expected, "a shorter one");
        findings.push(error.hint("`openssl rand -hex 16` makes one".to_owned()));
    }
    Some(token)
}

fn read_token(path: &Path) -> Result<String, String> {
    let text =
        std::fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    let token = text.lines().next().unwrap_or_default().trim();
    if token.is_empty() || token.len() > 512 || !token.bytes().all(|c| c.is_ascii_graphic()) {
        return Err(format!(
            "expected a token of 1 to 512 visible characters in the first line of {}",
            path.display()
        ));
    }
    Ok(token.to_owned())
}

/// Builds a listener, without what it reads from files.
pub(super) fn listener(name: &str, bind: Address, view: &View<'_>) -> ListenerConfig {
    let every_peer = || ["0.0.0.0/0", "::/0"].iter().filter_map(|text| text.parse().ok()).collect();
    ListenerConfig {
        name: name.to_owned(),
        bind,
        proxy_protocol_from: match view.word(Id::ProxyProtocol) {
            Some("true") => every_peer(),
            Some(_) => Vec::new(),
            None => view.cidrs(Id::ProxyProtocol),
        },
        path_rules: path_rules(view),
        forwarded: ForwardedConfig {
            style: match view.word(Id::ForwardedStyle) {
                Some("forwarded") => ForwardedStyle::Forwarded,
                Some("both") => ForwardedStyle::Both,
                Some("off") => ForwardedStyle::Off,
                _ => ForwardedStyle::XForwarded,
            },
            trusted: CidrSet::new(&view.cidrs(Id::TrustedProxies)),
            via: view.bool(Id::Via),
            request_id: view.bool(Id::RequestId),
            reason_header: view.bool(Id::ReasonHeader),
        },
        limits: ListenerLimits {
            connections_max: view.number_as(Id::Connections),
            connections_per_client_max: view.number_as(Id::ConnectionsPerClient),
            header_bytes_max: view.number_as(Id::HeadersBytes),
            header_count_max: view.number_as(Id::HeadersCount),
            target_bytes_max: view.number_as(Id::TargetBytes),
            body_bytes_max: view.number(Id::BodyBytes),
            header_timeout: view.duration(Id::HeaderTimeout),
            idle_timeout: view.duration(Id::IdleTimeout),
            request_body_timeout: view.duration(Id::RequestBodyTimeout),
            response_body_timeout: view.duration(Id::ResponseBodyTimeout),
            requests_max: view.number(Id::Requests),
        },
        http2: http2(view),
        grpc_health: view.bool(Id::GrpcHealth),
        tcp: speaks_tcp(view).then(|| TcpConfig {
            idle_timeout: view.duration(Id::TcpIdleTimeout),
            cluster: None,
            names: ServerNames::default(),
        }),
        tls: None,
        passthrough: None,
        policies: Vec::new(),
        redirect_to_https: match view.word(Id::RedirectToHttps) {
            Some("true") => Some(443),
            Some(_) => None,
            None => Some(view.number_as(Id::RedirectToHttps)),
        },
    }
}

fn path_rules(view: &View<'_>) -> PathRules {
    PathRules {
        encoded_slash: match view.word(Id::EncodedSlash) {
            Some("keep") => EncodedSlash::Keep,
            Some("decode") => EncodedSlash::Decode,
            _ => EncodedSlash::Refuse,
        },
        repeated_slashes: match view.word(Id::RepeatedSlashes) {
            Some("keep") => RepeatedSlashes::Keep,
            Some("refuse") => RepeatedSlashes::Refuse,
            _ => RepeatedSlashes::Merge,
        },
        dot_segments: match view.word(Id::DotSegments) {
            Some("refuse") => DotSegments::Refuse,
            _ => DotSegments::Resolve,
        },
        encoded_unreserved: match view.word(Id::EncodedUnreserved) {
            Some("refuse") => EncodedUnreserved::Refuse,
            _ => EncodedUnreserved::Decode,
        },
        parameters: match view.word(Id::PathParameters) {
            Some("refuse") => Parameters::Refuse,
            _ => Parameters::Keep,
        },
    }
}

/// Whether a listener passes connections on as they are.
pub(super) fn speaks_tcp(view: &View<'_>) -> bool {
    view.word(Id::ListenerProtocol) == Some("tcp")
}

fn http2(view: &View<'_>) -> Http2Config {
    let stream_window = view.number_as(Id::Http2StreamWindow);
    let (bytes_max, fields_max) = (view.number_as(Id::HeadersBytes), view.number_as(Id::HeadersCount));
    Http2Config {
        enabled: view.bool(Id::Http2),
        upgrade: view.bool(Id::Http2Upgrade),
        settings_timeout: view.duration(Id::Http2SettingsTimeout),
        connection_age: view.duration(Id::Http2ConnectionAge),
        age_grace: view.duration(Id::Http2AgeGrace),
        machine: ConnectionConfig {
            streams_max: view.number_as(Id::Http2Streams),
            stream_window,
            // A ceiling below where it starts would mean no growth.
            stream_window_max: stream_window.max(view.number_as(Id::Http2StreamWindowMax)),
            connection_window: view.number_as(Id::Http2ConnectionWindow),
            frame_bytes_max: view.number_as(Id::Http2FrameBytes),
            header_table_bytes: view.number_as(Id::Http2HeaderTable),
            head_limits: HeadLimits {
                bytes_max,
                fields_max,
                target_bytes_max: view.number_as(Id::TargetBytes),
            },
            trailer_limits: TrailerLimits { bytes_max, fields_max },
            connect_protocol: true,
            queued_control_bytes_max: view.number_as(Id::Http2QueuedBytes),
            abuse: AbuseLimits {
                resets: view.number_as(Id::Http2Resets),
                own_resets: view.number_as(Id::Http2OwnResets),
                continuations: view.number_as(Id::Http2Continuations),
                empty_frames: view.number_as(Id::Http2EmptyFrames),
                control_frames: view.number_as(Id::Http2ControlFrames),
                priorities: view.number_as(Id::Http2Priorities),
                window_updates: view.number_as(Id::Http2WindowUpdates),
                refused_streams: view.number_as(Id::Http2RefusedStreams),
                unknown_frames: view.number_as(Id::Http2UnknownFrames),
                closed_frames: view.number_as(Id::Http2ClosedFrames),
            },
        },
    }
}

/// Builds a cluster, without what it reads from files.
pub(super) fn cluster(
    name: &str,
    endpoints: Vec<(EndpointConfig, EndpointTraits)>,
    view: &View<'_>,
) -> ClusterConfig {
    let (endpoints, endpoint_traits) = endpoints.into_iter().unzip();
    let mut cluster = ClusterConfig {
        name: name.to_owned(),
        endpoints,
        endpoint_traits,
        discovery: None,
        spread: spread(view),
        breakers: BreakerLimits {
            connections_max: view.number_as(Id::BreakerConnections),
            pending_max: view.number_as(Id::BreakerPending),
            requests_max: view.number_as(Id::BreakerRequests),
            retries_max: view.number_as(Id::BreakerRetries),
            endpoint_requests_max: view.number_as(Id::EndpointRequests),
        },
        outlier: outlier(view),
        pool: PoolConfig {
            idle_timeout: view.duration(Id::PoolIdleTimeout),
            lifetime_max: view.duration(Id::PoolLifetime),
            requests_max: view.number(Id::PoolRequests),
            idle_max: view.number_as(Id::PoolIdle),
            connections_max: view.number_as(Id::PoolConnections),
        },
        connect_timeout: view.duration(Id::ConnectTimeout),
        response_head_timeout: view.duration(Id::ResponseHeadTimeout),
        response_body_timeout: view.duration(Id::UpstreamBodyTimeout),
        response_header_bytes_max: view.number_as(Id::ResponseHeadersBytes),
        response_header_count_max: view.number_as(Id::ResponseHeadersCount),
        send_proxy_protocol: match view.word(Id::SendProxyProtocol) {
            Some("v1") => Some(ProxyProtocolVersion::V1),
            Some("v2") => Some(ProxyProtocolVersion::V2),
            _ => None,
        },
        protocol: match view.word(Id::Protocol) {
            Some("http2") => UpstreamProtocol::Http2,
            Some("auto") => UpstreamProtocol::Auto,
            _ => UpstreamProtocol::Http1,
        },
        multiplex: multiplex(view),
        health: health(view),
        tls: None,
    };
    cluster.make_table();
    cluster
}

/// How a cluster spreads its requests, without the table, which needs the endpoints.
fn spread(view: &View<'_>) -> BalanceConfig {
    BalanceConfig {
        balance: match view.word(Id::Balance) {
            Some("least_request") => Balance::LeastRequest,
            Some("ewma") => Balance::Ewma,
            Some("random") => Balance::Random,
            Some("ring_hash") => Balance::RingHash,
            Some("maglev") => Balance::Maglev,
            _ => Balance::RoundRobin,
        },
        hash_key: view.text(Id::HashKey).and_then(|text| HashKey::parse(&text)).unwrap_or(HashKey::Client),
        table_size: view.number_as(Id::HashSize),
        table: Table::default(),
        sticky: view
            .text(Id::EndpointCookie)
            .map(|cookie| StickyConfig { cookie, ttl: view.duration(Id::EndpointCookieTtl) }),
        slow_start: view.duration(Id::SlowStart),
        ewma_decay: view.duration(Id::EwmaDecay),
        zone: view.text(Id::Zone).filter(|_| view.bool(Id::Locality)).map(Arc::from),
        panic_percent: view.number_as(Id::HealthPanic),
    }
}

fn outlier(view: &View<'_>) -> Option<OutlierRules> {
    let rules = OutlierRules {
        consecutive_5xx: view.number_as(Id::Outlier5xx),
        consecutive_gateway: view.number_as(Id::OutlierGateway),
        success_rate: view.number_as(Id::OutlierSuccessRate),
        latency: view.number_as(Id::OutlierLatency),
        requests_min: view.number_as(Id::OutlierRequests),
        interval: view.duration(Id::OutlierInterval),
        eject_for: view.duration(Id::OutlierEjectFor),
        eject_for_max: view.duration(Id::OutlierEjectForMax),
        eject_percent_max: view.number_as(Id::OutlierEjectAtMost),
    };
    let watches = rules.consecutive_5xx > 0 || rules.consecutive_gateway > 0 || rules.compares();
    watches.then_some(rules)
}

fn health(view: &View<'_>) -> Option<HealthConfig> {
    let grpc = match view.word(Id::HealthGrpc) {
        Some("off") => None,
        Some(_) => Some(String::new()),
        None => view.text(Id::HealthGrpc),
    };
    let kind = match (grpc, view.text(Id::HealthPath), view.bool(Id::HealthTcp)) {
        (Some(service), ..) => HealthKind::Grpc { service },
        (None, Some(path), _) => HealthKind::Http(HttpHealth {
            path,
            host: view.text(Id::HealthHost),
            statuses: view.text(Id::HealthStatus).and_then(|it| health::statuses(&it)).unwrap_or_default(),
            body: view.text(Id::HealthBody),
        }),
        (None, None, true) => HealthKind::Tcp,
        (None, None, false) => return None,
    };
    Some(HealthConfig {
        kind,
        interval: view.duration(Id::HealthInterval),
        timeout: view.duration(Id::HealthTimeout),
        healthy_after: view.number_as(Id::HealthHealthy),
        unhealthy_after: view.number_as(Id::HealthUnhealthy),
    })
}

fn multiplex(view: &View<'_>) -> MultiplexConfig {
    let stream_window = view.number_as(Id::UpstreamHttp2StreamWindow);
    let (bytes_max, fields_max) =
        (view.number_as(Id::ResponseHeadersBytes), view.number_as(Id::ResponseHeadersCount));
    MultiplexConfig {
        connections_max: view.number_as(Id::UpstreamHttp2Connections),
        streams_max: view.number_as(Id::UpstreamHttp2Streams),
        settings_timeout: view.duration(Id::UpstreamHttp2SettingsTimeout),
        ping_interval: view.duration(Id::UpstreamHttp2PingInterval),
        ping_timeout: view.duration(Id::UpstreamHttp2PingTimeout),
        probe_again: view.duration(Id::UpstreamHttp2ProbeAgain),
        machine: ConnectionConfig {
            streams_max: view.number_as(Id::UpstreamHttp2Streams),
            stream_window,
            stream_window_max: stream_window.max(view.number_as(Id::UpstreamHttp2StreamWindowMax)),
            connection_window: view.number_as(Id::UpstreamHttp2ConnectionWindow),
            frame_bytes_max: 16 << 10,
            header_table_bytes: 4 << 10,
            head_limits: HeadLimits { bytes_max, fields_max, target_bytes_max: 0 },
            trailer_limits: TrailerLimits { bytes_max, fields_max },
            connect_protocol: false,
            queued_control_bytes_max: 64 << 10,
            abuse: AbuseLimits::of_servers(),
        },
    }
}

/// What a route matches and where it leads, as indices.
#[derive(Debug, Default)]
pub(super) struct RouteParts {
    pub listeners: Vec<usize>,
    pub hosts: Vec<String>,
    pub matches: Vec<Arc<RouteMatch>>,
    pub targets: Arc<Targets>,
    pub mirrors: Vec<MirrorTarget>,
    pub policies: Vec<PolicyConfig>,
}

/// What a route without `match` matches.
pub(super) fn every_request() -> Vec<Arc<RouteMatch>> {
    vec![Arc::default()]
}

/// Builds a route.
pub(super) fn route(name: String, parts: RouteParts, view: &View<'_>) -> RouteConfig {
    RouteConfig {
        name,
        listeners: parts.listeners,
        hosts: parts.hosts,
        matches: parts.matches,
        targets: parts.targets,
        sticky: sticky(view),
        resilience: resilience::build(view).map(Arc::new),
        mirror: resilience::mirror(parts.mirrors, view),
        deadline_header: view.bool(Id::DeadlineHeader),
        timeout: view.duration(Id::RequestTimeout),
        upgrades: view.tokens(Id::Upgrades),
        tunnel_idle_timeout: view.duration(Id::TunnelIdleTimeout),
        connect: view.bool(Id::Connect),
        grpc: GrpcRouteConfig {
            idle_timeout: view.duration(Id::GrpcIdleTimeout),
            web_origins: view.tokens(Id::GrpcWebOrigins),
        },
        policies: parts.policies,
    }
}

/// What keeps a client with one target. That only one is set is checked elsewhere.
fn sticky(view: &View<'_>) -> Option<SplitKey> {
    let header = view.text(Id::StickyHeader).map(|name| SplitKey::Header(name.to_ascii_lowercase()));
    let cookie = view.text(Id::StickyCookie).map(SplitKey::Cookie);
    let client = view.bool(Id::StickyClient).then_some(SplitKey::Client);
    header.or(cookie).or(client)
}
